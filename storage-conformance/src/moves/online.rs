//! Moves while writers go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::store::{
    Backend, Error, Result, Switch, Tracked,
    migration::{Options, Outcome},
};

use super::{
    Pair, Tap, Tapped,
    interruption::Killed,
    pair::refused,
    writers::{Writers, check_all},
};
use crate::dsl::*;

/// No move of the suite makes writers wait longer: a busy machine is not what is tested.
fn patient() -> Options {
    Options {
        page: 8,
        pause: Duration::from_secs(20),
        ..Options::default()
    }
}

pub(crate) fn switch(pair: &Pair) -> Switch {
    Switch::new(Arc::clone(pair.source()), Duration::from_secs(60))
}

pub(crate) async fn quiet_store_is_moved(pair: &mut Pair) {
    pair.fill().await;
    let before = exported(&**pair.source()).await;
    let report = pair.migration().online(None).await.unwrap();
    assert!(
        report.online && report.pause.is_some() && report.attempts == 1,
        "{report:?}"
    );
    assert_eq!(pair.phases().await, ("frozen", "serving"));
    assert_eq!(pair.check_equal().await, before);
    assert!(
        matches!(pair.source().tracked(0).await, Err(Error::Refused(_))),
        "notes are taken no more"
    );
}

pub(crate) async fn writers_wait_and_lose_nothing(pair: &mut Pair) {
    pair.fill().await;
    let switch = switch(pair);
    let store: Arc<dyn Backend> = Arc::new(switch.clone());
    let writers = Writers::begin(&store, 4);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let migration = pair.between_with(pair.source(), pair.target(), patient());
    let report = migration.online(Some(&switch)).await.unwrap();
    assert_eq!(report.outcome, Outcome::Moved);
    let moved = pair.target().view().await.unwrap().seq();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let acknowledged = writers.end().await;
    for one in &acknowledged {
        assert!(one.refusal.is_none(), "a writer was refused: {:?}", one.refusal);
    }
    assert!(acknowledged.iter().all(|one| one.commits > 1 && one.ingests > 1));
    check_all(&acknowledged, pair.target()).await;
    let newest = pair.target().view().await.unwrap().seq();
    assert!(newest > moved, "writers went on in the target");
    assert_eq!(pair.phases().await, ("frozen", "serving"));
}

pub(crate) async fn writers_of_the_source_itself_lose_nothing(pair: &mut Pair) {
    pair.fill().await;
    let writers = Writers::begin(pair.source(), 4);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let migration = pair.between_with(pair.source(), pair.target(), patient());
    migration.online(None).await.unwrap();
    let acknowledged = writers.join().await;
    for one in &acknowledged {
        assert!(matches!(one.refusal, Some(Error::NotServing(_))), "{:?}", one.refusal);
    }
    check_all(&acknowledged, pair.target()).await;
    pair.check_equal().await;
}

pub(crate) async fn way_back_is_online_too(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    let switch = Switch::new(Arc::clone(pair.target()), Duration::from_secs(60));
    let store: Arc<dyn Backend> = Arc::new(switch.clone());
    let writers = Writers::begin(&store, 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let migration = pair.between_with(pair.target(), pair.source(), patient());
    migration.online(Some(&switch)).await.unwrap();
    let acknowledged = writers.end().await;
    check_all(&acknowledged, pair.source()).await;
    assert_eq!(pair.phases().await, ("serving", "frozen"));
}

/// Writes into the source at every call that the move makes: whatever falls between two steps.
#[derive(Debug)]
struct Between {
    source: Arc<dyn Backend>,
    writes: AtomicU64,
    refused: AtomicBool,
}

impl Between {
    fn over(source: &Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::clone(source),
            writes: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        })
    }

    async fn write(&self) {
        if self.refused.load(Ordering::SeqCst) {
            return;
        }
        let n = self.writes.load(Ordering::SeqCst) + 1;
        let i = i64::try_from(n).unwrap_or(0);
        // New names, old names, names before and behind everything, and a unique value that goes round.
        let steps = [
            put(&format!("m{n:05}")).size(i),
            put("t06").size(i),
            if n.is_multiple_of(2) {
                put("t07").kind("bare")
            } else {
                delete("t07").kind("bare")
            },
            put(&format!("r{}", n % 3)).code("round"),
            put(&format!("r{}", (n + 1) % 3)),
            put(&format!("r{}", (n + 2) % 3)),
            row("ledger", "m", i),
        ];
        let committed = self.source.commit(batch(u128::from(n) << 70, steps)).await;
        if committed.is_ok() {
            self.writes.store(n, Ordering::SeqCst);
            let hot = [latest("state", "t01", i), row("log", "m", i), row("tape", "m", -i)];
            // Frozen in between, it may be refused; then it was not acknowledged.
            let _ = self.source.ingest(ingest(hot)).await;
        } else {
            self.refused.store(true, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Tap for Between {
    async fn before(&self, call: &'static str) -> Result<()> {
        // Passes must end at some time, and the last write comes just before the freeze.
        let many = self.writes.load(Ordering::SeqCst) >= 300;
        if call == "freeze" || (!many && ["records", "view", "fill", "track", "patch"].contains(&call)) {
            self.write().await;
        }
        Ok(())
    }

    async fn after(&self, call: &'static str) -> Result<()> {
        self.before(call).await
    }
}

pub(crate) async fn writes_between_all_steps_arrive(pair: &mut Pair) {
    pair.fill().await;
    let tap = Between::over(pair.source());
    let source = Tapped::over(Arc::clone(pair.source()), tap.clone());
    let target = Tapped::over(Arc::clone(pair.target()), tap.clone());
    pair.between_with(&source, &target, patient())
        .online(None)
        .await
        .unwrap();
    let writes = tap.writes.load(Ordering::SeqCst);
    assert!(writes > 50, "only {writes} writes");
    pair.check_equal().await;
    let mut view = pair.target().view().await.unwrap();
    let counter = view.get(&[key("t06")]).await.unwrap().remove(0);
    assert_eq!(counter.map(|doc| doc.rev), Some(1 + writes));
}

/// The source says once that notes were lost.
#[derive(Debug)]
struct Forgetful(AtomicU64);

#[async_trait]
impl Tap for Forgetful {
    async fn before(&self, call: &'static str) -> Result<()> {
        if call == "tracked" && self.0.fetch_add(1, Ordering::SeqCst) == 1 {
            return Err(Error::Compacted(1));
        }
        Ok(())
    }
}

pub(crate) async fn notes_that_were_lost_are_begun_anew(pair: &mut Pair) {
    pair.fill().await;
    let source = Tapped::over(Arc::clone(pair.source()), Arc::new(Forgetful(AtomicU64::new(0))));
    pair.between_with(&source, pair.target(), patient())
        .online(None)
        .await
        .unwrap();
    pair.check_equal().await;
}

/// Writes something just before the freeze, and is slow in the pause.
#[derive(Debug)]
struct Slow {
    source: Arc<dyn Backend>,
    frozen: AtomicBool,
    for_so_long: Duration,
}

#[async_trait]
impl Tap for Slow {
    async fn before(&self, call: &'static str) -> Result<()> {
        match call {
            "freeze" => {
                self.source.ingest(ingest([latest("gauge", "late", 1)])).await?;
                self.frozen.store(true, Ordering::SeqCst);
            }
            "serve" => self.frozen.store(false, Ordering::SeqCst),
            "tracked" if self.frozen.load(Ordering::SeqCst) => tokio::time::sleep(self.for_so_long).await,
            _ => {}
        }
        Ok(())
    }
}

pub(crate) async fn pause_that_grows_too_long_is_put_off(pair: &mut Pair) {
    pair.fill().await;
    let slow = Slow {
        source: Arc::clone(pair.source()),
        frozen: AtomicBool::new(false),
        for_so_long: Duration::from_millis(2_100),
    };
    let source = Tapped::over(Arc::clone(pair.source()), Arc::new(slow));
    let options = Options {
        page: 8,
        pause: Duration::from_secs(2),
        attempts: 2,
        ..Options::default()
    };
    let failed = pair.between_with(&source, pair.target(), options).online(None).await;
    assert_eq!(refused(failed), "migration.pause_too_long");
    assert_eq!(pair.phases().await, ("serving", "filling"));
    pair.commit(pair.source(), [put("on")]).await;
    pair.between_with(pair.source(), pair.target(), patient())
        .online(None)
        .await
        .unwrap();
    pair.check_equal().await;
}

/// Fails once the source is frozen, when asked for this.
#[derive(Debug)]
struct FailsInThePause {
    at: &'static [&'static str],
    armed: AtomicBool,
}

#[async_trait]
impl Tap for FailsInThePause {
    async fn before(&self, call: &'static str) -> Result<()> {
        if call == "freeze" {
            self.armed.store(true, Ordering::SeqCst);
        }
        if self.armed.load(Ordering::SeqCst) && self.at.contains(&call) {
            return Err(Error::Unavailable("the cable was pulled".into()));
        }
        Ok(())
    }
}

/// A move whose target fails at these calls in the pause; the code that it ends in.
async fn failing_in_the_pause(pair: &Pair, at: &'static [&'static str]) -> &'static str {
    pair.fill().await;
    let tap = Arc::new(FailsInThePause {
        at,
        armed: AtomicBool::new(false),
    });
    // The source only arms it: what fails is asked of the target.
    let armed = Arc::new(Arms(tap.clone()));
    let source = Tapped::over(Arc::clone(pair.source()), armed);
    let target = Tapped::over(Arc::clone(pair.target()), tap);
    refused(pair.between_with(&source, &target, patient()).online(None).await)
}

#[derive(Debug)]
struct Arms(Arc<FailsInThePause>);

#[async_trait]
impl Tap for Arms {
    async fn before(&self, call: &'static str) -> Result<()> {
        if call == "freeze" {
            self.0.armed.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

pub(crate) async fn failure_during_the_pause_lets_the_source_serve(pair: &mut Pair) {
    for at in [&["patch"][..], &["view"], &["serve"]] {
        let pair = pair.again().await;
        assert_eq!(
            failing_in_the_pause(&pair, at).await,
            "migration.store_failed",
            "{at:?}"
        );
        assert_eq!(pair.phases().await, ("serving", "filling"), "{at:?}");
        pair.commit(pair.source(), [put("on")]).await;
        pair.between_with(pair.source(), pair.target(), patient())
            .online(None)
            .await
            .unwrap();
        pair.check_equal().await;
    }
}

pub(crate) async fn target_that_does_not_answer_the_last_step_leaves_the_source_frozen(pair: &mut Pair) {
    let code = failing_in_the_pause(pair, &["serve", "standing"]).await;
    assert_eq!(code, "migration.outcome_unknown");
    assert_eq!(pair.phases().await, ("frozen", "filling"));
    pair.migration().run().await.unwrap();
    pair.check_equal().await;
}

/// A source that forgets to note what is written to one name.
#[derive(Debug)]
struct Blind;

impl Tap for Blind {
    fn tracked(&self, mut tracked: Tracked) -> Tracked {
        tracked.keys.retain(|key| key.name() != "other");
        tracked
    }
}

pub(crate) async fn difference_without_a_note_ends_the_move(pair: &mut Pair) {
    pair.fill().await;
    let source = Tapped::over(Arc::clone(pair.source()), Arc::new(Blind));
    let late = WritesAtTheFirstNotes(Arc::clone(pair.source()), AtomicBool::new(false));
    let source = Tapped::over(source, Arc::new(late));
    let failed = pair.between_with(&source, pair.target(), patient()).online(None).await;
    assert_eq!(refused(failed), "migration.different");
    assert_eq!(pair.phases().await, ("serving", "filling"));
}

/// Writes to a document that was copied already, before the first notes are taken.
#[derive(Debug)]
struct WritesAtTheFirstNotes(Arc<dyn Backend>, AtomicBool);

#[async_trait]
impl Tap for WritesAtTheFirstNotes {
    async fn before(&self, call: &'static str) -> Result<()> {
        if call == "tracked" && !self.1.swap(true, Ordering::SeqCst) {
            self.0
                .commit(batch(9 << 100, [put("o1").kind("other").name("late")]))
                .await?;
        }
        Ok(())
    }
}

pub(crate) async fn broken_off_at_every_call_goes_on(pair: &mut Pair) {
    let mut calls = 0;
    for last in pair.calls() {
        let pair = pair.again().await;
        pair.fill().await;
        let before = exported(&**pair.source()).await;
        let tap = Killed::at(last, last % 2 == 0);
        let tapped = |store: &Arc<dyn Backend>| Tapped::over(Arc::clone(store), tap.clone());
        let (source, target) = (tapped(pair.source()), tapped(pair.target()));
        let result = pair.between_with(&source, &target, patient()).online(None).await;
        assert!(result.is_ok() || tap.happened(), "{result:?}");
        pair.check_one_serves().await;
        assert_eq!(exported(&**pair.source()).await, before, "call {last}");
        // What notes there were ended with the process.
        pair.source().track(false).await.unwrap();
        let again = pair.between_with(pair.source(), pair.target(), patient());
        let finished = if last % 3 == 0 {
            again.run().await
        } else {
            again.online(None).await
        };
        finished.unwrap();
        assert_eq!(pair.phases().await, ("frozen", "serving"), "call {last}");
        assert_eq!(pair.check_equal().await, before, "call {last}");
        if !tap.happened() {
            break;
        }
        calls = last;
    }
    assert!(calls > 50, "only {calls} calls: the sweep has lost its way");
}

pub(crate) async fn frozen_source_is_finished_and_exchanged(pair: &mut Pair) {
    let code = failing_in_the_pause(pair, &["serve", "standing"]).await;
    assert_eq!(code, "migration.outcome_unknown");
    let switch = switch(pair);
    pair.migration().online(Some(&switch)).await.unwrap();
    assert!(Arc::ptr_eq(&switch.active(), pair.target()));
    switch.commit(batch(1 << 110, [put("on")])).await.unwrap();
}

pub(crate) async fn another_store_than_the_one_in_use_is_refused(pair: &mut Pair) {
    pair.fill().await;
    let switch = Switch::new(Arc::clone(pair.target()), Duration::from_secs(1));
    let refusal = pair.migration().online(Some(&switch)).await;
    assert_eq!(refused(refusal), "migration.source_not_in_use");
    assert_eq!(pair.phases().await, ("serving", "serving"));
}
