//! Outcomes that nobody heard, and their settlement by the batch's id: across futures that were dropped, stores that were
//! closed under load, and openings.

use std::collections::BTreeSet;

use fleet_core::store::{Error, Expect};
use futures::{FutureExt as _, future::join_all};

use crate::{Lab, dsl::*, random::Random};

pub(crate) async fn repeat_after_reopening_changes_nothing_at_all(lab: &mut Lab) {
    let steps = || {
        [
            put("a").size(1).expect(Expect::Absent),
            row("ledger", "s", 1),
            row("log", "s", 1),
            put("b").code("x"),
        ]
    };
    let first = lab.commit_as(7, steps()).await.unwrap();
    lab.ok([delete("a"), put("b").code("y")]).await;
    let before = lab.export().await;
    if lab.reopen().await {
        assert_eq!(lab.commit_as(7, steps()).await.unwrap(), first);
        assert_eq!(lab.export().await, before);
        assert_eq!(lab.feed(2).await, [""; 0]);
    }
}

pub(crate) async fn batch_without_change_is_remembered_after_reopening(lab: &mut Lab) {
    lab.ok([put("b")]).await;
    let first = lab.commit_as(7, [delete("a")]).await.unwrap();
    lab.ok([put("a")]).await;
    if lab.reopen().await {
        assert_eq!(lab.commit_as(7, [delete("a")]).await.unwrap(), first);
        assert_eq!(lab.rev("a").await, Some(1), "a late repeat deletes nothing");
    }
}

pub(crate) async fn reuse_after_reopening_is_refused(lab: &mut Lab) {
    lab.commit_as(7, [put("a").size(1)]).await.unwrap();
    if lab.reopen().await {
        for other in [put("a").size(2), put("a").size(1).expect(Expect::Rev(1)), delete("a")] {
            assert_eq!(fails(lab.commit_as(7, [other]).await), "BatchReused");
        }
        assert_eq!(lab.seq().await, 1);
    }
}

pub(crate) async fn refused_batch_is_judged_anew_after_reopening(lab: &mut Lab) {
    let steps = || [put("a").expect(Expect::Absent), row("log", "s", 1)];
    lab.ok([put("a")]).await;
    assert_eq!(fails(lab.commit_as(7, steps()).await), "Conflict");
    if lab.reopen().await {
        assert_eq!(fails(lab.commit_as(7, steps()).await), "Conflict");
        lab.ok([delete("a")]).await;
        assert_eq!(lab.commit_as(7, steps()).await.unwrap().seq, 3);
        // Its id was free for other contents until now.
        assert_eq!(fails(lab.commit_as(7, [put("z")]).await), "BatchReused");
    }
}

pub(crate) async fn forgotten_ids_stay_forgotten_after_reopening(lab: &mut Lab) {
    lab.commit_as(7, [put("a")]).await.unwrap();
    lab.commit_as(8, [put("b")]).await.unwrap();
    lab.store().compact(1).await.unwrap();
    if lab.reopen().await {
        assert_eq!(
            lab.commit_as(8, [put("b")]).await.unwrap().seq,
            2,
            "this one is remembered"
        );
        assert_eq!(
            lab.commit_as(7, [put("c")]).await.unwrap().seq,
            3,
            "and this one is new"
        );
    }
}

pub(crate) async fn commits_in_flight_at_closing_are_settled_by_their_ids(lab: &mut Lab) {
    let steps = |n: u128| {
        [
            put(&format!("d{n}")),
            row("ledger", &format!("d{n}"), 1),
            put("sum").size(n as i64),
        ]
    };
    let tasks: Vec<_> = (1..=60_u128)
        .map(|n| {
            let store = lab.store().clone();
            tokio::spawn(async move { store.commit(batch(n, steps(n))).await })
        })
        .collect();
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    if !lab.reopens() {
        join_all(tasks).await;
        lab.reopen().await;
        return;
    }
    lab.reopen().await;
    let mut places = BTreeSet::new();
    for (n, task) in (1_u128..).zip(tasks) {
        let said = task.await.expect("a writer ends");
        let there = lab.get(&format!("d{n}")).await.map(|doc| doc.seq);
        match &said {
            Ok(committed) => assert_eq!(there, Some(committed.seq), "commit {n} was acknowledged"),
            Err(Error::Unavailable(_)) => assert_eq!(there, None, "commit {n} was certainly not written"),
            Err(Error::Unknown(_)) => {}
            Err(error) => panic!("commit {n}: {error}"),
        }
        let settled = lab.commit_as(n, steps(n)).await.expect("a repeat settles it");
        assert!(there.is_none_or(|seq| seq == settled.seq), "commit {n} happened once");
        assert!(places.insert(settled.seq), "each has a place of its own");
    }
    assert_eq!(places, (1..=60).collect());
    assert_eq!(lab.rev("sum").await, Some(60));
    assert_eq!(lab.stored_rows(read("ledger")).await.len(), 60);
}

pub(crate) async fn dropped_commits_are_settled_after_reopening(lab: &mut Lab) {
    let mut random = Random::new(5);
    for n in 1..=40_u128 {
        let store = lab.store().clone();
        let task = tokio::spawn(async move {
            store
                .commit(batch(n, [put("sum").size(n as i64), row("log", "s", n as i64)]))
                .await
        });
        for _ in 0..random.below(6) {
            tokio::task::yield_now().await;
        }
        task.abort();
    }
    if lab.reopen().await {
        for n in 1..=40_u128 {
            lab.commit_as(n, [put("sum").size(n as i64), row("log", "s", n as i64)])
                .await
                .expect("a repeat settles it");
        }
        assert_eq!(lab.rev("sum").await, Some(40), "each happened once, before or now");
        assert_eq!(lab.stored_rows(read("log")).await.len(), 40);
        assert_eq!(lab.seq().await, 40);
    }
}

pub(crate) async fn repeats_among_writers_after_reopening_are_applied_once(lab: &mut Lab) {
    for n in 1..=20_u128 {
        lab.commit_as(n, [put(&format!("d{n}"))]).await.unwrap();
    }
    if lab.reopen().await {
        let old = (1..=20_u128)
            .flat_map(|n| [n, n])
            .map(|n| lab.commit_as(n, [put(&format!("d{n}"))]));
        let new = (101..=120_u128)
            .flat_map(|n| [n, n, n])
            .map(|n| lab.commit_as(n, [put(&format!("d{n}"))]));
        let (old, new) = futures::join!(join_all(old), join_all(new));
        for (at, answer) in old.into_iter().enumerate() {
            assert_eq!(answer.unwrap().seq, at as u64 / 2 + 1);
        }
        let places: Vec<u64> = new.into_iter().map(|answer| answer.unwrap().seq).collect();
        assert!(
            places.chunks(3).all(|of| of[0] == of[1] && of[1] == of[2]),
            "{places:?}"
        );
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 20);
        assert_eq!(lab.seq().await, 40);
    }
}

pub(crate) async fn dropped_ingest_may_be_sent_again(lab: &mut Lab) {
    let steps = |n: i64| {
        [
            latest("gauge", &format!("g{n}"), n),
            row("log", "s", n),
            row("tape", "s", n),
        ]
    };
    for n in 0..40 {
        drop(lab.ingest(steps(n)).now_or_never());
        let store = lab.store().clone();
        let task = tokio::spawn(async move { store.ingest(ingest(steps(n))).await });
        for _ in 0..n % 4 {
            tokio::task::yield_now().await;
        }
        task.abort();
    }
    let again = join_all((0..40).map(|n| lab.ingest(steps(n)))).await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    for lane in ["log", "tape"] {
        assert_eq!(lab.stored_rows(read(lane)).await.len(), 40, "{lane}: no row twice");
    }
    assert_eq!(
        lab.view().await.latest_page("gauge", None, 100).await.unwrap().len(),
        40
    );
}

pub(crate) async fn counting_is_exact_although_answers_get_lost(lab: &mut Lab) {
    // Each writer adds one, loses the answer at some moment, and settles it by the id before it goes on.
    let writers: Vec<_> = (0..6_u64)
        .map(|writer| {
            let store = lab.store().clone();
            tokio::spawn(async move {
                let mut random = Random::new(writer);
                let (mut added, mut number) = (0, u128::from(writer) << 64);
                while added < 8 {
                    number += 1;
                    let doc = store.view().await.unwrap().get(&[key("sum")]).await.unwrap().remove(0);
                    let (size, expect) = match doc {
                        None => (0, Expect::Absent),
                        Some(doc) => (doc.rev as i64, Expect::Rev(doc.rev)),
                    };
                    let add = || batch(number, [put("sum").size(size + 1).expect(expect)]);
                    let lost = tokio::spawn({
                        let (store, add) = (store.clone(), add());
                        async move { store.commit(add).await }
                    });
                    for _ in 0..random.below(4) {
                        tokio::task::yield_now().await;
                    }
                    lost.abort();
                    drop(lost.await);
                    match store.commit(add()).await {
                        Ok(_) => added += 1,
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let doc = lab.get("sum").await.unwrap();
    assert_eq!((doc.rev, doc.body), (48, put("sum").size(48).body()));
}
