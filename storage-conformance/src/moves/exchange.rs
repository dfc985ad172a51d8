//! A store that is exchanged for another while it is used.

use std::{sync::Arc, time::Duration};

use fleet_core::store::{Backend, Change, Error, Switch};
use futures::StreamExt as _;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Pair,
    online::switch,
    writers::{Writers, check_all},
};
use crate::dsl::*;

/// Follows until a change of this place came.
async fn follow(store: &Switch, after: u64, until: u64) -> Vec<Change> {
    let mut changes = store.changes(after).await.expect("the feed is followed");
    let mut seen = Vec::new();
    loop {
        let next = timeout(PATIENCE, changes.next()).await.expect("the feed goes on");
        let change = next.expect("the feed does not end").expect("the feed holds no error");
        let done = change.seq >= until;
        seen.push(change);
        if done {
            return seen;
        }
    }
}

pub(crate) async fn followers_see_every_commit_once(pair: &mut Pair) {
    pair.fill().await;
    let switch = switch(pair);
    let store: Arc<dyn Backend> = Arc::new(switch.clone());
    let from = store.view().await.unwrap().seq();
    let mut changes = store.changes(from).await.unwrap();
    let follower = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(change) = changes.next().await {
            let change = change.expect("the feed holds no error");
            seen.push((change.seq, tell(&change)));
            if tell(&change).contains("thing/end@") {
                break;
            }
        }
        seen
    });
    let writers = Writers::begin(&store, 3);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let migration = pair.migration();
    let report = migration.online(Some(&switch)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let acknowledged = writers.end().await;
    let end = pair.commit(&store, [put("end")]).await.seq;
    let seen = timeout(PATIENCE, follower)
        .await
        .expect("the follower comes to the end")
        .unwrap();
    assert!(report.attempts >= 1);
    check_all(&acknowledged, pair.target()).await;
    let mut places: Vec<u64> = seen.iter().map(|(seq, _)| *seq).collect();
    places.dedup();
    assert_eq!(places, (from + 1..=end).collect::<Vec<_>>(), "every commit, in order");
    let mut told: Vec<&String> = seen.iter().map(|(_, told)| told).collect();
    told.sort();
    let all = told.len();
    told.dedup();
    assert_eq!(told.len(), all, "nothing twice");
    // Each commit of a writer tells of its documents and its two streams.
    let commits: i64 = acknowledged.iter().map(|one| one.commits).sum();
    let streams = seen.iter().filter(|(_, told)| told.contains(" ledger/l")).count();
    assert_eq!(i64::try_from(streams).ok(), Some(commits));
}

pub(crate) async fn followers_from_the_past_get_the_old_part(pair: &mut Pair) {
    pair.fill().await;
    let switch = switch(pair);
    pair.migration().online(Some(&switch)).await.unwrap();
    let store: Arc<dyn Backend> = Arc::new(switch.clone());
    let end = pair.commit(&store, [put("new")]).await.seq;
    let seen = follow(&switch, 1, end).await;
    let mut places: Vec<u64> = seen.iter().map(|change| change.seq).collect();
    places.dedup();
    // The last commit of the old store dropped a latest value, of which no feed tells.
    assert_eq!(places, [2, 3, end]);
    assert_eq!(end, 5);
}

pub(crate) async fn followers_outlive_a_move_that_was_put_off(pair: &mut Pair) {
    pair.fill().await;
    let switch = switch(pair);
    let store: Arc<dyn Backend> = Arc::new(switch.clone());
    let from = store.view().await.unwrap().seq();
    let mut changes = store.changes(from).await.unwrap();
    for n in 0..3 {
        pair.source().freeze(origin(4)).await.unwrap();
        let waiting = timeout(Duration::from_millis(20), changes.next()).await;
        assert!(
            waiting.is_err(),
            "nothing is told and the feed does not end: {waiting:?}"
        );
        pair.source().serve().await.unwrap();
        let seq = pair.commit(&store, [put(&format!("n{n}"))]).await.seq;
        let next = timeout(PATIENCE, changes.next()).await.expect("the feed goes on");
        assert_eq!(next.unwrap().unwrap().seq, seq);
    }
}

pub(crate) async fn followers_learn_that_an_old_store_was_closed(pair: &mut Pair) {
    pair.fill().await;
    let switch = switch(pair);
    pair.migration().online(Some(&switch)).await.unwrap();
    pair.source().close().await.unwrap();
    let told = switch.changes(1).await.unwrap().next().await;
    assert!(matches!(told, Some(Err(Error::Compacted(4)))), "{told:?}");
}

pub(crate) async fn writes_wait_while_the_gate_is_shut(pair: &mut Pair) {
    let switch = switch(pair);
    let pause = switch.pause(PATIENCE).await.unwrap();
    let writer = switch.clone();
    let mut waiting = tokio::spawn(async move { writer.commit(batch(1, [put("a")])).await });
    let early = timeout(Duration::from_millis(30), &mut waiting).await;
    assert!(early.is_err(), "the write waits");
    pause.flip(Arc::clone(pair.target()), 0);
    let committed = timeout(PATIENCE, waiting).await.expect("the gate is open").unwrap();
    assert_eq!(committed.unwrap().seq, 1);
    let docs = |store: &Arc<dyn Backend>| {
        let store = Arc::clone(store);
        async move { exported(&*store).await.len() - 1 }
    };
    assert_eq!((docs(pair.source()).await, docs(pair.target()).await), (0, 1));
    assert_eq!(switch.info(), pair.target().info());
}

pub(crate) async fn impatient_writes_fail_unwritten(pair: &mut Pair) {
    let switch = Switch::new(Arc::clone(pair.source()), Duration::from_millis(30));
    let pause = switch.pause(PATIENCE).await.unwrap();
    let refused = switch.commit(batch(1, [put("a")])).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)) && refused.certainly_not_written());
    drop(pause);
    assert_eq!(switch.commit(batch(1, [put("a")])).await.unwrap().seq, 1);
}

pub(crate) async fn reads_do_not_wait(pair: &mut Pair) {
    pair.fill().await;
    let switch = switch(pair);
    let pause = switch.pause(PATIENCE).await.unwrap();
    let mut view = timeout(PATIENCE, switch.view()).await.expect("reads go on").unwrap();
    assert_eq!(listed(&mut *view, list(eq("code", "c1"))).await, "t01");
    drop(pause);
}

pub(crate) async fn leases_begin_anew(pair: &mut Pair) {
    let switch = switch(pair);
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let minute = Duration::from_secs(60);
    assert!(switch.lease("sweep", one, minute).await.unwrap().is_some());
    assert_eq!(switch.lease("sweep", other, minute).await.unwrap(), None);
    pair.migration().online(Some(&switch)).await.unwrap();
    assert!(
        switch.lease("sweep", other, minute).await.unwrap().is_some(),
        "nobody holds it any more"
    );
    assert_eq!(switch.lease("sweep", one, minute).await.unwrap(), None);
}

pub(crate) async fn closing_closes_all_stores(pair: &mut Pair) {
    let switch = switch(pair);
    pair.migration().online(Some(&switch)).await.unwrap();
    switch.close().await.unwrap();
    for store in [pair.source(), pair.target()] {
        assert!(matches!(store.view().await, Err(Error::Unavailable(_))));
    }
}
