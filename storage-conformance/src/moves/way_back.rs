//! Going back to the old store, which holds nearly everything.

use std::sync::Arc;

use fleet_core::store::{
    Backend,
    migration::{Outcome, Stage},
};

use super::{Pair, Tapped, interruption::Killed};
use crate::dsl::*;

/// Writes of every sort into the store that serves now.
async fn go_on(pair: &Pair, store: &Arc<dyn Backend>) {
    pair.commit(
        store,
        [
            put("t00").name("replaced"),
            delete("t01"),
            put("new").code("fresh").tags(["n"]),
            put("b2").kind("bare"),
            row("ledger", "s", 10),
        ],
    )
    .await;
    pair.commit(store, [delete("t02"), drop_latest("gauge", "t00")]).await;
    pair.commit(store, [put("t02").name("created anew")]).await;
    pair.ingest(
        store,
        [
            latest("state", "t00", -1),
            latest("state", "zz", 1),
            row("log", "s", 50),
            row("tape", "u", 1),
        ],
    )
    .await;
    store.trim("log", -2).await.unwrap();
}

pub(crate) async fn carries_what_was_written_since(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    go_on(pair, pair.target()).await;
    let newest = exported(&**pair.target()).await;
    let report = pair.reverse().back().await.unwrap();
    assert_eq!(report.outcome, Outcome::Moved);
    assert_eq!(pair.phases().await, ("serving", "frozen"));
    assert_eq!(pair.check_equal().await, newest);
    pair.commit(pair.source(), [put("t02").expect(fleet_core::store::Expect::Rev(1))])
        .await;
}

pub(crate) async fn writes_only_what_differs(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    pair.commit(pair.target(), [put("t00").name("replaced"), delete("t01"), put("new")])
        .await;
    let report = pair.reverse().back().await.unwrap();
    let copied = report.copied;
    assert_eq!(
        (copied.added, copied.replaced, copied.removed, copied.equal),
        (1, 1, 1, 44)
    );
    pair.check_equal().await;
}

pub(crate) async fn trimmed_rows_stay_away(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    assert_eq!(pair.target().trim("log", 0).await.unwrap(), 5);
    let report = pair.reverse().back().await.unwrap();
    assert_eq!(report.copied.removed, 5);
    let mut view = pair.source().view().await.unwrap();
    assert_eq!(read_all(&mut *view, read("log")).await, "s@0.0 s@1.0 s@2.0 s@3.0 s@4.0");
}

pub(crate) async fn unique_values_that_changed_hands_arrive(pair: &mut Pair) {
    let first = (0..30).map(|n| put(&format!("u{n:02}")).code(&format!("c{n}")).size(n));
    pair.commit(pair.source(), first).await;
    pair.migration().run().await.unwrap();
    // Everybody gets the value of somebody far behind, so that patches meet values that are held still.
    let turned = (0..30).map(|n| put(&format!("u{n:02}")).code(&format!("c{}", (n + 17) % 30)).size(n));
    pair.commit(pair.target(), turned).await;
    pair.commit(pair.target(), [delete("u29"), put("a0").code("c16")]).await;
    let report = pair.reverse().back().await.unwrap();
    assert!(report.copied.displaced > 0, "{report:?}");
    pair.check_equal().await;
}

pub(crate) async fn broken_off_at_every_call_goes_on(pair: &mut Pair) {
    let mut calls = 0;
    for last in pair.calls() {
        let pair = pair.again().await;
        pair.fill().await;
        pair.migration().run().await.unwrap();
        go_on(&pair, pair.target()).await;
        let newest = exported(&**pair.target()).await;
        let tap = Killed::at(last, last % 2 == 1);
        let tapped = |store: &Arc<dyn Backend>| Tapped::over(Arc::clone(store), tap.clone());
        let result = pair
            .between(&tapped(pair.target()), &tapped(pair.source()))
            .back()
            .await;
        assert!(result.is_ok() || tap.happened(), "{result:?}");
        let phases = pair.phases().await;
        assert_ne!(phases, ("serving", "serving"), "call {last}: both serve");
        assert_eq!(exported(&**pair.target()).await, newest, "call {last}");
        pair.reverse().back().await.unwrap();
        assert_eq!(pair.phases().await, ("serving", "frozen"), "call {last}");
        assert_eq!(pair.check_equal().await, newest, "call {last}");
        if !tap.happened() {
            break;
        }
        calls = last;
    }
    assert!(calls > 50, "only {calls} calls: the sweep has lost its way");
}

pub(crate) async fn there_and_back_and_there_again(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    for round in 0..3 {
        go_on(pair, pair.target()).await;
        pair.reverse().back().await.unwrap();
        pair.check_equal().await;
        pair.ingest(pair.source(), [row("log", "again", 100 + round)]).await;
        assert_eq!(pair.migration().status().await.unwrap().stage, Some(Stage::WayBack));
        pair.migration().back().await.unwrap();
        pair.check_equal().await;
    }
}

pub(crate) async fn two_moves_are_taken_back_one_after_the_other(pair: &mut Pair) {
    let further = pair.again().await;
    let (first, second, third) = (pair.source(), pair.target(), further.target());
    pair.fill().await;
    pair.between(first, second).run().await.unwrap();
    go_on(pair, second).await;
    pair.between(second, third).run().await.unwrap();
    pair.ingest(third, [row("log", "third", 9)]).await;
    // Not past the store between them, which would be left behind.
    assert!(pair.between(third, first).back().await.is_err());
    pair.between(third, second).back().await.unwrap();
    pair.ingest(second, [row("log", "second", 9)]).await;
    pair.between(second, first).back().await.unwrap();
    assert_eq!(pair.phases().await, ("serving", "frozen"));
    pair.check_equal().await;
}

pub(crate) async fn abandoned_way_back_leaves_the_newer_store_serving(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    go_on(pair, pair.target()).await;
    let newest = exported(&**pair.target()).await;
    let tap = Killed::at(30, false);
    let tapped = Tapped::over(Arc::clone(pair.source()), tap);
    assert!(pair.between(pair.target(), &tapped).back().await.is_err());
    assert_eq!(pair.phases().await, ("filling", "frozen"));
    pair.reverse().abandon().await.unwrap();
    assert_eq!(pair.phases().await, ("serving", "serving"));
    assert_eq!(exported(&**pair.target()).await, newest);
    assert_eq!(exported(&**pair.source()).await.len(), 1, "the old store was emptied");
    pair.reverse().run().await.unwrap();
    assert_eq!(pair.check_equal().await, newest);
}
