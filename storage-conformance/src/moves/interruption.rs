//! Moves that are broken off, given up, or made between stores that fail.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use fleet_core::store::{
    Backend, Doc, Error, Patch, Record, Result,
    migration::{Outcome, Stage},
};

use super::{Pair, Tap, Tapped, pair::refused};
use crate::dsl::*;

/// From the n-th call on nothing works any more, as for a process that was killed.
#[derive(Debug)]
pub(crate) struct Killed {
    calls: AtomicU64,
    last: u64,
    /// Whether the call at which it happens is done, and only its answer lost.
    done: bool,
}

impl Killed {
    pub(crate) fn at(last: u64, done: bool) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicU64::new(0),
            last,
            done,
        })
    }

    /// Whether it has happened.
    pub(crate) fn happened(&self) -> bool {
        self.calls.load(Ordering::SeqCst) >= self.last
    }
}

fn killed() -> Error {
    Error::Unavailable("killed".into())
}

#[async_trait]
impl Tap for Killed {
    async fn before(&self, _call: &'static str) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call > self.last || (call == self.last && !self.done) {
            return Err(killed());
        }
        Ok(())
    }

    async fn after(&self, _call: &'static str) -> Result<()> {
        // Others may have been under way; what they did is done, and their answers are lost too.
        if self.happened() { Err(killed()) } else { Ok(()) }
    }
}

/// Does something with a pair of which every call may be the last.
async fn broken_off(pair: &Pair, tap: &Arc<Killed>, back: bool) -> bool {
    let (source, target) = if back {
        (pair.target(), pair.source())
    } else {
        (pair.source(), pair.target())
    };
    let tapped = |store: &Arc<dyn Backend>| Tapped::over(Arc::clone(store), tap.clone());
    let migration = pair.between(&tapped(source), &tapped(target));
    let result = if back {
        migration.back().await
    } else {
        migration.run().await
    };
    assert!(result.is_ok() || tap.happened(), "{result:?}");
    result.is_ok()
}

async fn move_at_every_call(pair: &Pair, done: bool) {
    let mut calls = 0;
    for last in pair.calls() {
        let pair = pair.again().await;
        pair.fill().await;
        let before = exported(&**pair.source()).await;
        let tap = Killed::at(last, done);
        let finished = broken_off(&pair, &tap, false).await;
        pair.check_one_serves().await;
        assert_eq!(exported(&**pair.source()).await, before, "call {last}");
        let report = pair.migration().run().await.unwrap();
        assert_eq!(pair.phases().await, ("frozen", "serving"), "call {last}");
        assert_eq!(pair.check_equal().await, before, "call {last}");
        assert!(!finished || report.outcome == Outcome::AlreadyMoved, "call {last}");
        if !tap.happened() {
            break;
        }
        calls = last;
    }
    assert!(calls > 40, "only {calls} calls: the sweep has lost its way");
}

pub(crate) async fn move_broken_off_at_every_call_goes_on(pair: &mut Pair) {
    move_at_every_call(pair, false).await;
}

pub(crate) async fn move_whose_answer_is_lost_at_every_call_goes_on(pair: &mut Pair) {
    move_at_every_call(pair, true).await;
}

pub(crate) async fn move_broken_off_at_every_call_can_be_abandoned(pair: &mut Pair) {
    for last in pair.calls() {
        let pair = pair.again().await;
        pair.fill().await;
        let before = exported(&**pair.source()).await;
        let tap = Killed::at(last, last % 2 == 0);
        broken_off(&pair, &tap, false).await;
        match pair.migration().abandon().await {
            Ok(status) => {
                assert_eq!(status.stage, Some(Stage::Apart), "call {last}");
                assert_eq!(pair.phases().await, ("serving", "serving"), "call {last}");
                assert_eq!(exported(&**pair.source()).await, before, "call {last}");
                assert_eq!(
                    exported(&**pair.target()).await.len(),
                    1,
                    "call {last}: the target is empty"
                );
                pair.commit(pair.source(), [put("on")]).await;
            }
            Err(refusal) => {
                assert_eq!(refusal.code().name(), "migration.already_done");
                assert_eq!(pair.phases().await, ("frozen", "serving"), "call {last}");
            }
        }
        if !tap.happened() {
            break;
        }
    }
}

pub(crate) async fn reopened_stores_go_on(pair: &mut Pair) {
    for last in [12, 18, 24, 30, 40] {
        let mut pair = pair.again().await;
        pair.fill().await;
        let before = exported(&**pair.source()).await;
        broken_off(&pair, &Killed::at(last, true), false).await;
        let phases = pair.phases().await;
        pair.reopen().await;
        assert_eq!(pair.phases().await, phases, "marks outlive the process");
        pair.migration().run().await.unwrap();
        assert_eq!(pair.check_equal().await, before);
        pair.reopen().await;
        assert_eq!(pair.phases().await, ("frozen", "serving"));
        assert_eq!(pair.check_equal().await, before);
    }
}

pub(crate) async fn finished_move_is_not_made_again(pair: &mut Pair) {
    pair.fill().await;
    let report = pair.migration().run().await.unwrap();
    pair.commit(pair.target(), [put("newer")]).await;
    let before = exported(&**pair.target()).await;
    let again = pair.migration().run().await.unwrap();
    assert_eq!((again.outcome, again.id), (Outcome::AlreadyMoved, report.id));
    assert_eq!(exported(&**pair.target()).await, before);
}

pub(crate) async fn abandoned_move_leaves_the_source_serving(pair: &mut Pair) {
    pair.fill().await;
    pair.target().fill(origin(3)).await.unwrap();
    // Nothing is begun between the two: nothing is given up.
    assert_eq!(refused(pair.migration().abandon().await), "migration.target_filling");
    pair.target().clear().await.unwrap();
    assert_eq!(pair.migration().abandon().await.unwrap().stage, Some(Stage::Apart));
    pair.migration().run().await.unwrap();
    pair.check_equal().await;
}

pub(crate) async fn finished_move_cannot_be_abandoned(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    assert_eq!(refused(pair.migration().abandon().await), "migration.already_done");
    assert_eq!(pair.phases().await, ("frozen", "serving"));
}

/// A target that stores something else than it is sent.
#[derive(Debug)]
struct Careless(fn(Patch) -> Patch);

impl Tap for Careless {
    fn patch(&self, patch: Patch) -> Patch {
        self.0(patch)
    }
}

/// The move must fail, and the target must not serve; with the fault away the same call finishes it.
async fn check_never_serves(pair: &Pair, careless: fn(Patch) -> Patch) {
    pair.fill().await;
    let target = Tapped::over(Arc::clone(pair.target()), Arc::new(Careless(careless)));
    let failed = pair.between(pair.source(), &target).run().await;
    assert_eq!(refused(failed), "migration.different");
    assert_eq!(pair.phases().await, ("frozen", "filling"));
    pair.migration().run().await.unwrap();
    assert_eq!(pair.phases().await, ("frozen", "serving"));
    pair.check_equal().await;
}

pub(crate) async fn target_that_loses_a_record_never_serves(pair: &mut Pair) {
    check_never_serves(pair, |mut patch| {
        patch
            .records
            .retain(|record| record.key().is_none_or(|key| key.name() != "bare"));
        patch
    })
    .await;
}

pub(crate) async fn target_that_alters_a_body_never_serves(pair: &mut Pair) {
    check_never_serves(pair, |mut patch| {
        for record in &mut patch.records {
            if let Record::Latest(latest) = record
                && latest.key.id == id("t03")
            {
                latest.body = Bytes::from_static(b"{\"v\":3 }");
            }
        }
        patch
    })
    .await;
}

pub(crate) async fn target_that_keeps_a_surplus_never_serves(pair: &mut Pair) {
    check_never_serves(pair, |mut patch| {
        let docs: Vec<Doc> = patch
            .records
            .iter()
            .filter_map(|record| match record {
                Record::Doc(doc) if doc.key.kind == "bare" => Some(doc.clone()),
                _ => None,
            })
            .collect();
        patch.records.extend(docs.into_iter().map(|mut doc| {
            doc.key.id = id("surplus");
            Record::Doc(doc)
        }));
        patch
    })
    .await;
}

/// Pages in another order than the canonical one.
#[derive(Debug)]
struct Shuffled;

impl Tap for Shuffled {
    fn records(&self, mut records: Vec<Record>) -> Vec<Record> {
        records.reverse();
        records
    }
}

pub(crate) async fn source_that_is_damaged_stops_the_move(pair: &mut Pair) {
    pair.fill().await;
    let source = Tapped::over(Arc::clone(pair.source()), Arc::new(Shuffled));
    let failed = pair.between(&source, pair.target()).run().await;
    assert_eq!(refused(failed), "migration.store_failed");
    assert_eq!(pair.phases().await, ("frozen", "filling"));
    pair.migration().abandon().await.unwrap();
    assert_eq!(pair.phases().await, ("serving", "serving"));
    assert_eq!(exported(&**pair.target()).await.len(), 1);
}

/// Somebody empties the target just before it is told to serve.
#[derive(Debug)]
struct Emptied(Arc<dyn Backend>, AtomicBool);

#[async_trait]
impl Tap for Emptied {
    async fn before(&self, call: &'static str) -> Result<()> {
        if call == "serve" && !self.1.swap(true, Ordering::SeqCst) {
            self.0.clear().await?;
        }
        Ok(())
    }
}

pub(crate) async fn target_emptied_at_the_last_moment_is_noticed(pair: &mut Pair) {
    pair.fill().await;
    let tap = Emptied(Arc::clone(pair.target()), AtomicBool::new(false));
    let target = Tapped::over(Arc::clone(pair.target()), Arc::new(tap));
    let failed = pair.between(pair.source(), &target).run().await;
    assert_eq!(refused(failed), "migration.store_failed");
    pair.migration().run().await.unwrap();
    pair.check_equal().await;
}
