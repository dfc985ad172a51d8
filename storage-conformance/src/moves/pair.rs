//! What a case of the migration suite works with: two stores, and moves between them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fleet_core::{
    kernel::{ManualClock, SeededRandom, Timestamp},
    store::{
        Backend, Committed, Phase, Record,
        migration::{Migration, MigrationError, Options},
    },
};

use crate::{Harness, Opened, dsl::*};

/// Pairs so far: the moves of each have ids of their own.
static PAIRS: AtomicU64 = AtomicU64::new(1);

/// Two new stores, prepared.
pub struct Pair {
    pub(crate) harnesses: (Arc<dyn Harness>, Arc<dyn Harness>),
    // None only while it is being reopened.
    opened: Option<(Opened, Opened)>,
    batches: AtomicU64,
    pub(crate) clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    case: &'static str,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("case", &self.case).finish_non_exhaustive()
    }
}

async fn prepared(harness: &dyn Harness) -> Opened {
    let opened = harness.open().await;
    let ready = opened.backend.prepare(&schema()).await;
    ready.expect("a new store is prepared");
    opened
}

impl Pair {
    pub(crate) async fn open(from: Arc<dyn Harness>, to: Arc<dyn Harness>, case: &'static str) -> Self {
        let opened = (prepared(&*from).await, prepared(&*to).await);
        Self {
            harnesses: (from, to),
            opened: Some(opened),
            batches: AtomicU64::new(1),
            clock: Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000))),
            random: Arc::new(SeededRandom::new(PAIRS.fetch_add(1, Ordering::Relaxed))),
            case,
        }
    }

    /// Another pair of the same kinds.
    pub(crate) async fn again(&self) -> Self {
        Self::open(self.harnesses.0.clone(), self.harnesses.1.clone(), self.case).await
    }

    fn opened(&self) -> &(Opened, Opened) {
        self.opened.as_ref().expect("both stores are open")
    }

    pub(crate) fn source(&self) -> &Arc<dyn Backend> {
        &self.opened().0.backend
    }

    pub(crate) fn target(&self) -> &Arc<dyn Backend> {
        &self.opened().1.backend
    }

    /// The move there, a few records at a time so that small stores have many pages.
    pub(crate) fn migration(&self) -> Migration {
        self.between(self.source(), self.target())
    }

    /// The move back.
    pub(crate) fn reverse(&self) -> Migration {
        self.between(self.target(), self.source())
    }

    pub(crate) fn between(&self, source: &Arc<dyn Backend>, target: &Arc<dyn Backend>) -> Migration {
        self.between_with(
            source,
            target,
            Options {
                page: 8,
                ..Options::default()
            },
        )
    }

    pub(crate) fn between_with(
        &self,
        source: &Arc<dyn Backend>,
        target: &Arc<dyn Backend>,
        options: Options,
    ) -> Migration {
        let (source, target) = (Arc::clone(source), Arc::clone(target));
        Migration::new(source, target, schema(), self.clock.clone(), self.random.clone()).with_options(options)
    }

    /// Commits what must be taken.
    pub(crate) async fn commit(&self, store: &Arc<dyn Backend>, steps: impl IntoIterator<Item = Step>) -> Committed {
        let number = u128::from(self.batches.fetch_add(1, Ordering::Relaxed)) << 64;
        let committed = store.commit(batch(number, steps)).await;
        committed.expect("the batch is taken")
    }

    pub(crate) async fn ingest(&self, store: &Arc<dyn Backend>, steps: impl IntoIterator<Item = Step>) {
        store.ingest(ingest(steps)).await.expect("the ingest is taken");
    }

    /// A little of everything in the source: 46 records.
    pub(crate) async fn fill(&self) {
        fill(self, self.source()).await;
    }

    /// Both stores are closed and opened again, where they can be.
    pub(crate) async fn reopen(&mut self) {
        let (from, to) = self.opened.take().expect("both stores are open");
        self.opened = Some((
            reopened(&*self.harnesses.0, from).await,
            reopened(&*self.harnesses.1, to).await,
        ));
    }

    /// Both hold the same, to the last record, and each is sound.
    pub(crate) async fn check_equal(&self) -> Vec<Record> {
        let (source, target) = (exported(&**self.source()).await, exported(&**self.target()).await);
        let differs = source.iter().zip(&target).find(|(one, other)| one != other);
        assert!(differs.is_none(), "they differ: {differs:?}");
        assert_eq!(source.len(), target.len());
        for store in [self.source(), self.target()] {
            assert_eq!(store.check().await.expect("a store is checked"), []);
        }
        source
    }

    /// The calls at which a sweep breaks off: all of them in memory; where each takes time, every fifth.
    pub(crate) fn calls(&self) -> impl Iterator<Item = u64> + use<> {
        let is_slow = self.source().info().durable || self.target().info().durable;
        (1..).step_by(if is_slow { 5 } else { 1 })
    }

    /// One phase in a word: serving, filling, frozen.
    pub(crate) async fn phase(&self, store: &Arc<dyn Backend>) -> &'static str {
        match store.standing().await.expect("a standing is told").phase {
            Phase::Serving => "serving",
            Phase::Filling(_) => "filling",
            Phase::Frozen(_) => "frozen",
        }
    }

    pub(crate) async fn phases(&self) -> (&'static str, &'static str) {
        (self.phase(self.source()).await, self.phase(self.target()).await)
    }

    /// At no moment do both serve the same data.
    pub(crate) async fn check_one_serves(&self) {
        let (source, target) = self.phases().await;
        let target_holds = exported(&**self.target()).await.len() > 1;
        assert!(
            !(source == "serving" && target == "serving" && target_holds),
            "both stores serve"
        );
    }
}

async fn reopened(harness: &dyn Harness, opened: Opened) -> Opened {
    if !harness.reopens() {
        return opened;
    }
    let Opened { backend, guard, .. } = opened;
    backend.close().await.expect("a store closes");
    drop(backend);
    let opened = harness.reopen(guard).await;
    let ready = opened.backend.prepare(&schema()).await;
    ready.expect("a reopened store is prepared");
    opened
}

async fn fill(pair: &Pair, store: &Arc<dyn Backend>) {
    let things = (0..12).map(|n| {
        let name = format!("t{n:02}");
        put(&name)
            .name(&format!("thing {n}"))
            .size(n)
            .tags(["x", "y"])
            .code(&format!("c{n}"))
            .field("serial", n)
    });
    pair.commit(store, things).await;
    pair.commit(
        store,
        [
            put("o1").kind("other").name("one"),
            put("o2").kind("other").name("two").code("k"),
            put("b1").kind("bare"),
            row("ledger", "s", 9).level(1),
            row("ledger", "r", 1).level(2),
        ],
    )
    .await;
    pair.commit(
        store,
        [put("t03").size(33).name("again"), delete("t05"), row("ledger", "q", 5)],
    )
    .await;
    let mut hot: Vec<Step> = (0..9).map(|n| latest("gauge", &format!("t{n:02}"), n)).collect();
    hot.extend((0..5).map(|n| latest("state", &format!("t{n:02}"), 7 * n)));
    hot.extend((0..10).map(|at| row("log", "s", at - 5).level(at).field("word", "w")));
    hot.extend((0..6).map(|at| row("tape", "t", at).n(3)));
    pair.ingest(store, hot).await;
    pair.commit(store, [drop_latest("gauge", "t08")]).await;
}

/// The stable code of what a call must fail with.
#[track_caller]
pub(crate) fn refused<T: fmt::Debug>(result: Result<T, MigrationError>) -> &'static str {
    result.expect_err("the call is refused").code().name()
}
