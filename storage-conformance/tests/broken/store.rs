//! A reference backend that survives being opened again, and that can be broken.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::{
        Backend, Batch, Change, Committed, Error, Expect, Filter, Find, Finding, Footprint, Info, Ingest, Key,
        KindSchema, LaneSchema, Name, RecordKey, Relocate, Result, Row, Schema, SchemaReport, Seq, Touched, Value,
        View, Write, memory::MemoryStore,
    },
};
use fleet_storage_conformance::{Guard, Harness, Opened, async_trait};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Fault,
    moving::{copy, thawed},
    texts,
    view::BrokenView,
};

/// Opens stores with a fault.
#[derive(Clone, Copy)]
pub struct Broken(pub Fault);

/// What is left of a store that was closed.
struct Disk {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Harness for Broken {
    async fn open(&self) -> Opened {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
        self.over(Arc::new(MemoryStore::new(clock.clone())), clock)
    }

    fn reopens(&self) -> bool {
        true
    }

    async fn reopen(&self, guard: Guard) -> Opened {
        let disk = guard.downcast::<Disk>().expect("the guard is ours");
        self.over(disk.store, disk.clock)
    }
}

impl Broken {
    fn over(self, disk: Arc<MemoryStore>, clock: Arc<ManualClock>) -> Opened {
        // What is not durable is seen until the store is closed, and is not on the disk.
        let lags = matches!(self.0, Fault::CommitNotDurable | Fault::IngestNotDurable);
        let live = if lags {
            Arc::new(MemoryStore::new(clock.clone()))
        } else {
            disk.clone()
        };
        let store = BrokenStore {
            fault: self.0,
            live,
            disk: disk.clone(),
            closed: watch::Sender::new(false),
            waiting: Mutex::new(None),
            count: AtomicU64::new(1 << 40),
            epoch: clock_tick(&disk),
            seen: Mutex::new(HashSet::new()),
            stale: Mutex::new(None),
            ingested: Mutex::default(),
            answers: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            kept: Mutex::new(None),
            offsets: Arc::default(),
        };
        Opened::new(
            store,
            Disk {
                store: disk,
                clock: clock.clone(),
            },
        )
        .with_clock(clock)
    }
}

/// Differs from opening to opening.
fn clock_tick(disk: &Arc<MemoryStore>) -> u128 {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    // Kept apart from ids in use by the high bits.
    u128::from(OPENED.fetch_add(1, Ordering::Relaxed) + Arc::strong_count(disk) as u64) << 100
}

#[derive(Debug)]
pub struct BrokenStore {
    pub fault: Fault,
    /// What is seen.
    pub live: Arc<MemoryStore>,
    /// What is left after closing; the same, unless the fault is about that.
    disk: Arc<MemoryStore>,
    closed: watch::Sender<bool>,
    /// The batch that is not yet on the disk.
    waiting: Mutex<Option<Batch>>,
    count: AtomicU64,
    epoch: u128,
    /// Rows that came before.
    seen: Mutex<HashSet<(Name, Uuid, i64, u32)>>,
    stale: Mutex<Option<Stale>>,
    /// What came by ingests.
    pub ingested: Mutex<BTreeSet<RecordKey>>,
    /// Answers that outlive what they answered.
    answers: Mutex<HashMap<Uuid, Committed>>,
    in_flight: AtomicUsize,
    kept: Mutex<Option<Stale>>,
    /// How far a list was read when a page of it ended at this document.
    offsets: Arc<Mutex<HashMap<Uuid, usize>>>,
}

struct Stale(Box<dyn View>);

impl std::fmt::Debug for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stale")
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BrokenStore {
    pub fn open(&self) -> Result<()> {
        if *self.closed.borrow() && self.fault != Fault::CloseForgotten {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        Ok(())
    }

    fn lags(&self) -> bool {
        !Arc::ptr_eq(&self.live, &self.disk)
    }

    fn change_batch(&self, batch: &mut Batch) {
        let fresh = || u128::from(self.count.fetch_add(1, Ordering::Relaxed)) << 64;
        match self.fault {
            Fault::IdempotencyForgotten => batch.id = Uuid::from_u128(fresh()),
            Fault::IdempotencyForgottenByReopening => batch.id = Uuid::from_u128(batch.id.as_u128() ^ self.epoch),
            _ => {}
        }
        for write in &mut batch.writes {
            if let Write::Put { index, .. } = write {
                texts::keep(self.fault, index);
            }
            match (self.fault, write) {
                (Fault::LostUpdate, Write::Put { expect, .. }) if matches!(expect, Expect::Rev(_)) => {
                    *expect = Expect::Present
                }
                (Fault::SkewAllowed, Write::Check { expect, .. }) => *expect = Expect::Any,
                (Fault::BodyNormalised, Write::Put { body, .. }) => {
                    if let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(body) {
                        *body = parsed.to_string().into();
                    }
                }
                (Fault::IntegersAsFloats, Write::Put { index, .. }) => {
                    for value in index.iter_mut().flatten() {
                        if let Value::Int(value) = value {
                            *value = *value as f64 as i64;
                        }
                    }
                }
                _ => {}
            }
        }
        if matches!(self.fault, Fault::ChainExtendedByRepeats) {
            self.number_repeats(&mut batch.rows, |lane| lane == "ledger");
        }
    }

    /// Gives rows that came before another number, so that they are new.
    fn number_repeats(&self, rows: &mut [(Name, Row)], lane: impl Fn(Name) -> bool) {
        let mut seen = lock(&self.seen);
        for (name, row) in rows.iter_mut().filter(|(name, _)| lane(name)) {
            if !seen.insert((name, row.stream, row.at, row.n)) {
                row.n += 1_000 + self.count.fetch_add(1, Ordering::Relaxed) as u32;
            }
        }
    }

    /// Whether a value is taken at the moment of its write, although a later write frees it.
    async fn taken_for_a_moment(&self, batch: &Batch) -> Option<Error> {
        for write in &batch.writes {
            let Write::Put { key, index, .. } = write else { continue };
            let Some(code) = index
                .get(5)
                .filter(|_| key.kind == "thing")
                .and_then(|values| values.first())
            else {
                continue;
            };
            if *code == Value::Null {
                continue;
            }
            let find = Find {
                kind: "thing",
                filter: Filter::Eq("code", code.clone()),
                order: None,
                after: None,
                limit: 1,
            };
            let holder = self
                .live
                .view()
                .await
                .ok()?
                .find(&find)
                .await
                .ok()?
                .docs
                .first()
                .map(|doc| doc.key);
            if let Some(holder) = holder.filter(|holder| holder != key) {
                return Some(Error::Taken { column: "code", holder });
            }
        }
        None
    }
}

fn relaxed(schema: &Schema, unique: bool, chained: bool) -> Schema {
    let mut relaxed = Schema::default();
    for kind in schema.kinds() {
        let mut kind = KindSchema::clone(kind);
        kind.columns.iter_mut().for_each(|column| column.unique &= unique);
        relaxed = relaxed.with_kind(kind).expect("it is a schema");
    }
    for lane in schema.lanes() {
        let mut lane = LaneSchema::clone(lane);
        lane.chained &= chained;
        relaxed = relaxed.with_lane(lane).expect("it is a schema");
    }
    for latest in schema.latests() {
        relaxed = relaxed.with_latest(latest.clone()).expect("it is a schema");
    }
    relaxed
}

#[async_trait]
impl Backend for BrokenStore {
    fn info(&self) -> Info {
        self.live.info()
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        self.open()?;
        let schema = match self.fault {
            Fault::UniqueIgnored => relaxed(schema, false, true),
            Fault::ChainSkipped => relaxed(schema, true, false),
            _ => schema.clone(),
        };
        if self.fault == Fault::FreezingForgottenByReopening {
            self.disk.serve().await?;
        }
        let report = self.disk.prepare(&schema).await?;
        if self.lags() {
            self.live.prepare(&schema).await?;
            let records: Vec<_> = self.disk.view().await?.export().collect().await;
            let live: &dyn Backend = &*self.live;
            live.import(copy(), stream::iter(records).boxed()).await?;
        }
        Ok(report)
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.open()?;
        if let Some(Stale(view)) = lock(&self.stale).take() {
            return Ok(view);
        }
        let frozen =
            self.fault == Fault::FrozenStoreCannotBeRead && self.live.standing().await?.phase != Default::default();
        if frozen {
            return Err(Error::Unavailable("frozen".into()));
        }
        let mut view = self.live.view().await?;
        if self.fault == Fault::ViewOfTheTimeBefore {
            // Each gets what the one before should have got.
            let newest = Stale(self.live.view().await?);
            if let Some(Stale(before)) = lock(&self.kept).replace(newest) {
                view = before;
            }
        }
        Ok(Box::new(BrokenView {
            fault: self.fault,
            store: self.live.clone(),
            view,
            offsets: self.offsets.clone(),
        }))
    }

    async fn commit(&self, mut batch: Batch) -> Result<Committed> {
        self.open()?;
        self.change_batch(&mut batch);
        if self.fault == Fault::StaleView {
            let view = self.live.view().await?;
            *lock(&self.stale) = Some(Stale(view));
        }
        if self.fault == Fault::UniqueJudgedWriteByWrite
            && let Some(error) = self.taken_for_a_moment(&batch).await
        {
            return Err(error);
        }
        if self.fault == Fault::TornByDropping && batch.writes.len() > 1 {
            let first = Batch {
                id: Uuid::from_u128(u128::from(self.count.fetch_add(1, Ordering::Relaxed)) << 64),
                writes: vec![batch.writes.remove(0)],
                rows: Vec::new(),
            };
            self.live.commit(first).await?;
            tokio::task::yield_now().await;
        }
        if self.fault == Fault::FillKeepsBatchIds
            && let Some(answer) = lock(&self.answers).get(&batch.id)
        {
            return Ok(answer.clone());
        }
        if self.fault == Fault::QueueThatRefuses {
            let waiting = self.in_flight.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            if waiting > 1_000 {
                return Err(Error::Unavailable("too many are waiting".into()));
            }
        }
        if self.fault == Fault::FreezingDoesNotWait && self.live.standing().await?.phase == Default::default() {
            // Accepted, and written whatever happens meanwhile.
            for _ in 0..6 {
                tokio::task::yield_now().await;
            }
            return thawed(&self.live, self.live.commit(batch)).await;
        }
        let result = match self.fault {
            Fault::CommitWhileFrozen => thawed(&self.live, self.live.commit(batch.clone())).await,
            _ => self.live.commit(batch.clone()).await,
        };
        match (self.fault, &result) {
            (Fault::FillKeepsBatchIds, Ok(committed)) => {
                lock(&self.answers).insert(batch.id, committed.clone());
            }
            (Fault::TornBatch, Err(Error::Conflict { .. })) => {
                batch.writes.truncate(1);
                self.live.commit(batch).await?;
            }
            (Fault::ReuseUnnoticed, Err(Error::BatchReused(_))) => {
                return Ok(Committed {
                    seq: self.live.view().await?.seq(),
                    revs: vec![None; batch.writes.len()],
                });
            }
            (Fault::ThirdRevisionTwice, Ok(committed)) => {
                let revs = committed
                    .revs
                    .iter()
                    .map(|rev| if *rev == Some(3) { Some(2) } else { *rev });
                return Ok(Committed {
                    seq: committed.seq,
                    revs: revs.collect(),
                });
            }
            (Fault::CommitNotDurable, Ok(_)) => {
                let earlier = lock(&self.waiting).replace(batch);
                if let Some(earlier) = earlier {
                    self.disk.commit(earlier).await?;
                }
            }
            (Fault::IngestNotDurable, Ok(_)) => drop(self.disk.commit(batch).await?),
            _ => {}
        }
        result
    }

    async fn ingest(&self, mut ingest: Ingest) -> Result<()> {
        self.open()?;
        if self.fault == Fault::RowRepeatedUnderAnotherNumber {
            self.number_repeats(&mut ingest.rows, |_| true);
        }
        if self.fault == Fault::OldestValueWins {
            let keys: Vec<Key> = ingest.latest.iter().map(|latest| latest.key).collect();
            let there = self.live.view().await?.latest(&keys).await?;
            let mut there = there.iter();
            ingest.latest.retain(|_| there.next().is_none_or(Option::is_none));
        }
        if self.fault == Fault::TrackedMissesIngests {
            lock(&self.ingested).extend(ingest.record_keys());
        }
        if self.fault == Fault::NulCutOff {
            for (_, row) in &mut ingest.rows {
                let mut values = vec![std::mem::take(&mut row.index)];
                texts::keep(self.fault, &mut values);
                row.index = values.remove(0);
            }
        }
        let result = match self.fault {
            Fault::IngestWhileFrozen => thawed(&self.live, self.live.ingest(ingest.clone())).await,
            _ => self.live.ingest(ingest.clone()).await,
        };
        match (self.fault, &result) {
            (Fault::IngestPartial, Err(_)) => {
                for row in ingest.rows {
                    drop(
                        self.live
                            .ingest(Ingest {
                                latest: Vec::new(),
                                rows: vec![row],
                            })
                            .await,
                    );
                }
            }
            (Fault::CommitNotDurable, Ok(())) => self.disk.ingest(ingest).await?,
            _ => {}
        }
        result
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        self.open()?;
        match self.fault {
            Fault::TrimWhileFrozen => thawed(&self.live, self.live.trim(lane, before)).await,
            Fault::TrimWhileTracking => match self.live.trim(lane, before).await {
                Err(Error::Refused(_)) => {
                    self.live.track(false).await?;
                    let trimmed = self.live.trim(lane, before).await;
                    self.live.track(true).await?;
                    trimmed
                }
                result => result,
            },
            Fault::TrimOffByOne => self.live.trim(lane, before.saturating_add(1)).await,
            Fault::TrimTakesTheStreamAlong => self.live.trim(lane, before.saturating_add(2)).await,
            _ => self.live.trim(lane, before).await,
        }
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        self.open()?;
        let mut changes = self.live.changes(after).await?;
        let mut closed = self.closed.subscribe();
        let changes = match self.fault {
            Fault::FeedGap => changes
                .try_filter(|change| futures::future::ready(change.seq % 3 != 2))
                .boxed(),
            Fault::FeedRepeat => changes
                .flat_map(|change| match change {
                    Ok(change) if change.seq % 3 == 2 => stream::iter(vec![Ok(change.clone()), Ok(change)]),
                    change => stream::iter(vec![change]),
                })
                .boxed(),
            Fault::FeedOutOfOrder => {
                let reversed = |mut chunk: Vec<Result<Change>>| {
                    chunk.reverse();
                    stream::iter(chunk)
                };
                changes.ready_chunks(2).flat_map(reversed).boxed()
            }
            Fault::FeedWithoutDeletes => changes
                .try_filter(|change| {
                    futures::future::ready(!matches!(change.touched, Touched::Document { deleted: true, .. }))
                })
                .boxed(),
            Fault::FeedEndsWhenReached => {
                let mut there = Vec::new();
                while let Some(Some(change)) = changes.next().now_or_never() {
                    there.push(change);
                }
                stream::iter(there).boxed()
            }
            Fault::CompactionUnnoticed => match changes.next().now_or_never() {
                Some(Some(Err(Error::Compacted(oldest)))) => self.live.changes(oldest).await?,
                _ => self.live.changes(after).await?,
            },
            _ => changes,
        };
        Ok(changes
            .take_until(async move {
                let _ = closed.wait_for(|closed| *closed).await;
            })
            .boxed())
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        self.open()?;
        let forgotten = match self.live.changes(0).await?.next().now_or_never() {
            Some(Some(Err(Error::Compacted(oldest)))) if self.fault == Fault::CompactionBeyondTheAsked => oldest,
            _ => 0,
        };
        self.live.compact(upto.max(forgotten)).await
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        self.open()?;
        let long = self.fault == Fault::LeaseNeverLapses && !ttl.is_zero();
        let fence = self
            .live
            .lease(name, holder, if long { Duration::MAX } else { ttl })
            .await?;
        Ok(match self.fault {
            Fault::LeaseGivenTwice if !ttl.is_zero() => fence.or(Some(7)),
            Fault::FenceNotRaised => fence.map(|_| 1),
            _ => fence,
        })
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        self.open()?;
        self.live.check().await
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        self.open()?;
        match self.fault {
            Fault::PendingPrepares => self.live.prepare(schema).await,
            Fault::PendingTellsNothing => Ok(SchemaReport::default()),
            _ => self.live.pending(schema).await,
        }
    }

    async fn footprint(&self) -> Result<Footprint> {
        self.open()?;
        self.live.footprint().await
    }

    async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        self.live.track(false).await
    }
}
