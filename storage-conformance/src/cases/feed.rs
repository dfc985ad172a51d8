//! The change feed.

use std::time::Duration;

use fleet_core::store::{Change, Error, Result, Seq};
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};

use crate::{Lab, dsl::*};

async fn follow(lab: &Lab, after: Seq) -> BoxStream<'static, Result<Change>> {
    lab.store().changes(after).await.expect("the feed is followed")
}

async fn next(changes: &mut BoxStream<'static, Result<Change>>) -> Option<Result<Change>> {
    tokio::time::timeout(PATIENCE, changes.next())
        .await
        .expect("the feed goes on")
}

async fn told(changes: &mut BoxStream<'static, Result<Change>>) -> String {
    tell(
        &next(changes)
            .await
            .expect("the feed does not end")
            .expect("the feed holds no error"),
    )
}

pub(crate) async fn entries_are_in_commit_order(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ok([put("b")]).await;
    lab.ok([put("a")]).await;
    assert_eq!(lab.feed(0).await, ["1 thing/a@1", "2 thing/b@1", "3 thing/a@2"]);
}

pub(crate) async fn entries_of_a_commit_follow_the_batch_then_streams(lab: &mut Lab) {
    lab.ok([
        row("log", "z", 5),
        put("c"),
        row("log", "y", 1),
        put("a"),
        row("tape", "z", 1),
        row("log", "z", 1),
        put("b").kind("other"),
    ])
    .await;
    assert_eq!(
        lab.feed(0).await,
        [
            "1 thing/c@1",
            "1 thing/a@1",
            "1 other/b@1",
            "1 log/z",
            "1 log/y",
            "1 tape/z"
        ]
    );
}

pub(crate) async fn delete_tells_the_last_revision(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ok([put("a")]).await;
    lab.ok([delete("a")]).await;
    lab.ok([put("a")]).await;
    assert_eq!(lab.feed(1).await, ["2 thing/a@2", "3 thing/a@2 gone", "4 thing/a@1"]);
}

pub(crate) async fn what_changes_nothing_is_not_told(lab: &mut Lab) {
    lab.ok([
        put("a"),
        check("b"),
        delete("c"),
        drop_latest("gauge", "a"),
        row("log", "s", 1),
    ])
    .await;
    lab.ok([check("a"), row("log", "s", 1)]).await;
    lab.refused([put("a").expect(fleet_core::store::Expect::Absent)]).await;
    lab.ok([row("log", "s", 1), row("log", "t", 1)]).await;
    assert_eq!(lab.feed(0).await, ["1 thing/a@1", "1 log/s", "2 log/t"]);
}

pub(crate) async fn dropped_latest_value_is_not_told(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1)]).await.unwrap();
    lab.ok([drop_latest("gauge", "a")]).await;
    lab.ok([put("a")]).await;
    assert_eq!(lab.feed(0).await, ["2 thing/a@1"]);
}

pub(crate) async fn feed_begins_after_the_given_place(lab: &mut Lab) {
    for name in ["a", "b", "c"] {
        lab.ok([put(name), row("log", name, 1)]).await;
    }
    assert_eq!(lab.feed(2).await, ["3 thing/c@1", "3 log/c"]);
    assert_eq!(lab.feed(4).await, [""; 0]);
}

pub(crate) async fn feed_may_begin_ahead(lab: &mut Lab) {
    let mut changes = follow(lab, 2).await;
    lab.ok([put("a")]).await;
    lab.ok([put("b")]).await;
    lab.ok([put("c")]).await;
    assert_eq!(told(&mut changes).await, "3 thing/c@1");
}

pub(crate) async fn follower_gets_what_comes_later(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    let mut changes = follow(lab, 0).await;
    assert_eq!(told(&mut changes).await, "1 thing/a@1");
    let waiting = tokio::spawn(async move {
        let first = told(&mut changes).await;
        (first, told(&mut changes).await)
    });
    tokio::task::yield_now().await;
    lab.ok([put("b")]).await;
    lab.ok([put("c")]).await;
    assert_eq!(
        waiting.await.unwrap(),
        ("2 thing/b@1".to_owned(), "3 thing/c@1".to_owned())
    );
}

pub(crate) async fn followers_do_not_take_from_each_other(lab: &mut Lab) {
    let (mut one, mut two) = (follow(lab, 0).await, follow(lab, 0).await);
    lab.ok([put("a")]).await;
    lab.ok([put("b")]).await;
    for changes in [&mut one, &mut two] {
        assert_eq!(told(changes).await, "1 thing/a@1");
        assert_eq!(told(changes).await, "2 thing/b@1");
    }
}

pub(crate) async fn acknowledged_commit_is_in_the_feed(lab: &mut Lab) {
    for n in 1..=30 {
        lab.ok([put("a")]).await;
        assert_eq!(told(&mut follow(lab, n - 1).await).await, format!("{n} thing/a@{n}"));
    }
}

pub(crate) async fn feed_has_no_gap_and_no_repeat_under_concurrency(lab: &mut Lab) {
    const WRITERS: u128 = 8;
    const COMMITS: u128 = 25;
    let mut changes = follow(lab, 0).await;
    let writers = (0..WRITERS).map(|writer| {
        let store = lab.store().clone();
        tokio::spawn(async move {
            for n in 0..COMMITS {
                store
                    .commit(batch(
                        (writer << 32) | n,
                        [put(&format!("w{writer}")), put(&format!("n{writer}-{n}"))],
                    ))
                    .await
                    .unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let total = (WRITERS * COMMITS) as u64;
    for place in 1..=total {
        let (first, second) = (told(&mut changes).await, told(&mut changes).await);
        assert!(
            first.starts_with(&format!("{place} thing/w")),
            "{first} stands at {place}"
        );
        assert!(
            second.starts_with(&format!("{place} thing/n")),
            "{second} stands at {place}"
        );
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(lab.seq().await, total);
    assert_eq!(lab.feed(total).await, [""; 0]);
}

pub(crate) async fn followers_joining_midway_see_the_same(lab: &mut Lab) {
    let store = lab.store().clone();
    let writer = tokio::spawn(async move {
        for n in 0..100 {
            store.commit(batch(n, [put(&format!("d{}", n % 9))])).await.unwrap();
        }
    });
    for after in [0, 13, 50, 99] {
        let mut changes = follow(lab, after).await;
        for place in after + 1..=100 {
            let change = next(&mut changes).await.unwrap().unwrap();
            assert_eq!(change.seq, place);
        }
    }
    writer.await.unwrap();
}

pub(crate) async fn slow_follower_misses_nothing(lab: &mut Lab) {
    let mut changes = follow(lab, 0).await;
    for n in 0..1_500 {
        lab.ok([put("a"), put(&format!("d{}", n % 3))]).await;
    }
    for place in 1..=1_500 {
        assert_eq!(told(&mut changes).await, format!("{place} thing/a@{place}"));
        assert_eq!(next(&mut changes).await.unwrap().unwrap().seq, place);
    }
}

pub(crate) async fn large_commit_is_told_completely(lab: &mut Lab) {
    lab.ok((0..5_000).map(|n| put(&format!("{n:04}")).kind("bare"))).await;
    let mut changes = follow(lab, 0).await;
    for n in 0..5_000 {
        assert_eq!(told(&mut changes).await, format!("1 bare/{n:04}@1"));
    }
}

pub(crate) async fn compaction_forgets_up_to_a_place(lab: &mut Lab) {
    for name in ["a", "b", "c", "d"] {
        lab.ok([put(name)]).await;
    }
    assert_eq!(lab.store().compact(2).await.unwrap(), 2);
    assert_eq!(lab.feed(2).await, ["3 thing/c@1", "4 thing/d@1"]);
    for after in [0, 1] {
        let first = next(&mut follow(lab, after).await).await;
        assert!(
            matches!(first, Some(Err(Error::Compacted(2)))),
            "after {after}: {first:?}"
        );
    }
}

pub(crate) async fn compaction_counts_the_places_newly_forgotten(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1)]).await.unwrap();
    lab.ok([put("a")]).await;
    lab.ok([drop_latest("gauge", "a")]).await;
    lab.ok([put("b"), put("c")]).await;
    assert_eq!(lab.store().compact(0).await.unwrap(), 0);
    assert_eq!(lab.store().compact(2).await.unwrap(), 2);
    assert_eq!(lab.store().compact(1).await.unwrap(), 0);
    assert_eq!(lab.store().compact(2).await.unwrap(), 0);
    assert_eq!(lab.store().compact(Seq::from(u32::MAX)).await.unwrap(), 1);
    assert_eq!(lab.feed(3).await, [""; 0]);
    assert_eq!(lab.list(all()).await, "a b c");
}

pub(crate) async fn feed_goes_on_after_everything_is_compacted(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.store().compact(1).await.unwrap();
    let mut changes = follow(lab, 1).await;
    assert_eq!(lab.ok([put("a")]).await.seq, 2);
    assert_eq!(told(&mut changes).await, "2 thing/a@2");
}

pub(crate) async fn follower_that_is_up_to_date_survives_compaction(lab: &mut Lab) {
    let mut changes = follow(lab, 0).await;
    lab.ok([put("a")]).await;
    assert_eq!(told(&mut changes).await, "1 thing/a@1");
    lab.store().compact(1).await.unwrap();
    lab.ok([put("b")]).await;
    assert_eq!(told(&mut changes).await, "2 thing/b@1");
}

pub(crate) async fn silent_feed_waits(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    let mut changes = follow(lab, 1).await;
    // Neither an item nor an end: the follower has to wait. This cannot fail by slowness, only by an answer.
    let early = tokio::time::timeout(Duration::from_millis(5), changes.next()).await;
    assert!(early.is_err(), "{early:?}");
    lab.ingest([row("log", "s", 1)]).await.unwrap();
    assert!(changes.next().now_or_never().is_none());
}

pub(crate) async fn feed_ends_when_the_store_closes(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    let mut changes = follow(lab, 1).await;
    let waiting = tokio::spawn(async move { next(&mut changes).await });
    tokio::task::yield_now().await;
    lab.store().close().await.unwrap();
    lab.closed = true;
    let last = waiting.await.unwrap();
    assert!(matches!(last, None | Some(Err(Error::Unavailable(_)))), "{last:?}");
}

pub(crate) async fn feed_of_a_frozen_store_ends_behind_its_last_commit(lab: &mut Lab) {
    lab.ok([put("a"), row("log", "s", 1)]).await;
    let mut waiting = follow(lab, 1).await;
    let waiting = tokio::spawn(async move { next(&mut waiting).await });
    lab.ok([put("b"), put("c")]).await;
    let seq = lab.store().freeze(origin(1)).await.unwrap();
    let first = waiting.await.unwrap().expect("what was committed is told").unwrap();
    assert_eq!(tell(&first), "2 thing/b@1");
    for (after, expected) in [(0, 4), (1, 2), (seq, 0), (seq + 5, 0)] {
        let mut changes = follow(lab, after).await;
        let mut told = 0;
        while let Some(change) = next(&mut changes).await {
            change.expect("the feed holds no error");
            told += 1;
        }
        assert_eq!(told, expected, "after {after}");
    }
    lab.store().serve().await.unwrap();
    let mut changes = follow(lab, seq).await;
    lab.ok([put("d")]).await;
    assert_eq!(tell(&next(&mut changes).await.unwrap().unwrap()), "3 thing/d@1");
}
