//! The store of the simulated server: the reference backend, which a server that crashes does not take along. It may be slow, away for
//! a while, or lose answers; and it is where each change is seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::{
    devices::{DeviceId, DeviceSummary, Presence},
    kernel::EntityId as _,
    store::{
        Backend, Batch, Change, Committed, Entity as _, Error, Finding, Footprint, Info, Ingest, Key, LaneRow as _,
        Move, Name, Patch, Relocate, Result, Schema, SchemaReport, Seq, Standing, Tracked, View, Write,
        memory::MemoryStore,
    },
    work::{self, BatchId, Rollout, Run, RunId, State, rollouts::RolloutPolicy, run::RunEvent},
};
use futures::{FutureExt as _, stream::BoxStream};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    clock::SimClock,
    dice::Dice,
    judge::{Invariant, Judge},
    plans::{self, Planned},
    plant::Plant,
    secrets,
};

/// A backend with faults.
pub struct SimStore {
    inner: MemoryStore,
    dice: Dice,
    judge: Arc<Judge>,
    plant: Option<Plant>,
    /// Out of a thousand writes so many are slow; fail before anything happened; fail although it happened.
    slow: AtomicU32,
    away: AtomicU32,
    mute: AtomicU32,
    /// The runs of rollouts with a bound that were let go and have not ended.
    under_way: Mutex<BTreeMap<BatchId, BTreeSet<RunId>>>,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStore").finish_non_exhaustive()
    }
}

/// What is read of a document to judge a change.
#[derive(Deserialize)]
struct RunState {
    state: State,
    batch: Option<BatchId>,
}

/// The same of a rollout.
#[derive(Deserialize)]
struct Rolling {
    policy: RolloutPolicy,
}

#[derive(Deserialize)]
struct Shown {
    presence: Presence,
}

impl SimStore {
    /// An empty store.
    /// Its leases lapse by a clock of its own, as those of a database do.
    pub fn new(seed: u64, judge: Arc<Judge>, clock: Arc<SimClock>, plant: Option<Plant>) -> Self {
        Self {
            inner: MemoryStore::new(clock),
            dice: Dice::new(seed, "store"),
            judge,
            plant,
            slow: AtomicU32::new(0),
            away: AtomicU32::new(0),
            mute: AtomicU32::new(0),
            under_way: Mutex::default(),
        }
    }

    /// How often, out of a thousand writes, it is slow, away, or loses its answer.
    pub fn set_faults(&self, slow: u32, away: u32, mute: u32) {
        self.slow.store(slow, Ordering::Relaxed);
        self.away.store(away, Ordering::Relaxed);
        self.mute.store(mute, Ordering::Relaxed);
    }

    async fn write<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let happens = |rate: &AtomicU32| {
            let rate = rate.load(Ordering::Relaxed);
            rate > 0 && self.dice.chance(rate)
        };
        if happens(&self.slow) {
            self.judge.cover().fault("store slow");
            tokio::time::sleep(self.dice.time(Duration::from_millis(1), Duration::from_secs(5))).await;
        }
        if happens(&self.away) {
            self.judge.cover().fault("store away");
            return Err(Error::Unavailable("the simulated store is away".into()));
        }
        let result = work.await;
        if happens(&self.mute) {
            self.judge.cover().fault("store's answer lost");
            return Err(Error::Unavailable("the simulated store's answer was lost".into()));
        }
        result
    }

    /// The body of a document, as it is stored now.
    pub(crate) fn stored<T: for<'de> Deserialize<'de>>(&self, key: Key) -> Option<T> {
        let read = async { self.inner.view().await?.get(&[key]).await };
        let doc = read.now_or_never()?.ok()?.pop()??;
        serde_json::from_slice(&doc.body).ok()
    }

    pub(crate) fn stored_as<T: fleet_core::store::Entity>(&self, id: Uuid) -> Option<T> {
        self.stored(Key { kind: T::KIND, id })
    }

    /// No more runs of a rollout are under way than it lets.
    fn count(&self, batch: BatchId, run: RunId, state: State) {
        let rolling: Option<Rolling> = self.stored(Key {
            kind: Rollout::KIND,
            id: batch.uuid(),
        });
        let Some(most) = rolling.and_then(|rolling| rolling.policy.max_parallel) else {
            return;
        };
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = under_way.entry(batch).or_default();
        match state {
            State::Queued | State::Offered | State::Accepted | State::Running => runs.insert(run),
            _ => runs.remove(&run),
        };
        if runs.len() > most as usize {
            let why = format!("{} runs of {batch} are under way, and {most} may be", runs.len());
            self.judge.violate(Invariant::NothingBeforeItsTurn, why);
        }
    }

    /// Looks at what is about to be stored; gives back what to say once it is.
    fn look(&self, batch: &Batch) -> Vec<Seen> {
        let mut seen = Vec::new();
        let changes = batch.writes.iter().any(|write| !matches!(write, Write::Check { .. }));
        if changes && batch.rows.is_empty() {
            seen.push(Seen::Without(format!(
                "a commit of {:?}",
                batch.writes.iter().map(Write::key).collect::<Vec<_>>()
            )));
        }
        seen.extend(
            secrets::look(self, &self.judge, batch)
                .into_iter()
                .map(Seen::SecretGone),
        );
        seen.extend(plans::look(self, &self.judge, batch).into_iter().map(Seen::Planned));
        for write in &batch.writes {
            let Write::Put { key, body, .. } = write else { continue };
            if key.kind == Run::KIND {
                let Ok(RunState { state: to, batch: of }) = serde_json::from_slice(body) else {
                    continue;
                };
                let from = self.stored::<RunState>(*key).map(|run| run.state);
                let Some(from) = from.filter(|from| *from != to) else {
                    continue;
                };
                seen.push(Seen::Run(RunId::from_uuid(key.id), path(batch, key.id, from, to)));
                if let Some(of) = of {
                    seen.push(Seen::OfBatch(of, RunId::from_uuid(key.id), to));
                }
                if (from, to) == (State::Scheduled, State::Queued)
                    && let Ok(run) = serde_json::from_slice::<Run>(body)
                    && let Some(of) = of.and_then(|of| self.stored_as::<work::Batch>(of.uuid()))
                    && let Some(why) = self.judge.held_by(&of, &run)
                {
                    seen.push(Seen::TooEarly(format!("{} was let go, and {why}", run.id)));
                }
            } else if key.kind == DeviceSummary::KIND {
                let Ok(Shown { presence: to }) = serde_json::from_slice(body) else {
                    continue;
                };
                let from = self.stored::<Shown>(*key).map(|shown| shown.presence);
                if let Some(from) = from.filter(|from| *from != to) {
                    seen.push(Seen::Presence(DeviceId::from_uuid(key.id), from, to));
                }
            }
        }
        seen
    }

    fn say(&self, seen: Vec<Seen>) {
        for seen in seen {
            match seen {
                Seen::TooEarly(why) => self.judge.violate(Invariant::NothingBeforeItsTurn, why),
                Seen::OfBatch(batch, run, state) => self.count(batch, run, state),
                Seen::SecretGone(why) => self.judge.violate(Invariant::SecretsKept, why),
                Seen::Planned(Planned::Wrong(why)) => self.judge.violate(Invariant::PlansKeepTime, why),
                Seen::Planned(Planned::Made(plan, due_at, batch)) => {
                    let made = format_args!("plan {} makes its work of {due_at}", crate::judge::short(plan));
                    self.judge.trace.say(made);
                    if let Some(other) = self.judge.times().made(plan, due_at, batch) {
                        let why = format!("{other} and {batch} were made for {due_at} of {plan}");
                        self.judge.violate(Invariant::PlansKeepTime, why);
                    }
                }
                Seen::Without(what) => self.judge.violate(Invariant::EveryChangeHasItsRow, what),
                Seen::Run(run, Ok(path)) => {
                    for (from, to) in path {
                        let moved = format!("{} > {}", from.name(), to.name());
                        self.judge
                            .trace
                            .say(format_args!("{} {moved}", crate::judge::short(run)));
                        self.judge.cover().run(from, to);
                        if to == State::Lost {
                            self.judge.lost(run);
                        }
                        if !crate::edges::is_allowed(from, to) {
                            let why = format!("{run} moved {moved}");
                            self.judge.violate(Invariant::StatesMoveForward, why);
                        }
                    }
                }
                Seen::Run(_, Err(why)) => self.judge.violate(Invariant::EveryChangeHasItsRow, why),
                Seen::Presence(device, from, to) => {
                    self.judge.cover().presence(from.name(), to.name());
                    if to == Presence::Offline {
                        self.judge.shown_offline(device);
                    } else {
                        self.judge.trace.say(format_args!(
                            "{} is shown as {}",
                            crate::judge::short(device),
                            to.name()
                        ));
                    }
                }
            }
        }
    }
}

/// What a commit writes.
fn bodies(batch: &Batch) -> impl Iterator<Item = (Name, &[u8])> {
    let documents = batch.writes.iter().filter_map(|write| match write {
        Write::Put { key, body, .. } => Some((key.kind, body.as_ref())),
        _ => None,
    });
    documents.chain(batch.rows.iter().map(|(lane, row)| (*lane, row.body.as_ref())))
}

/// The moves of a run that a commit has rows of, which lead from where it was to where it is; or why they do not.
fn path(batch: &Batch, run: Uuid, from: State, to: State) -> std::result::Result<Vec<(State, State)>, String> {
    let rows = batch.rows.iter();
    let rows = rows.filter(|(lane, row)| *lane == RunEvent::LANE && row.stream == run);
    let moves = rows.filter_map(|(_, row)| RunEvent::from_row(row).ok());
    let moves: Vec<_> = moves.map(|event| (event.from, event.to)).collect();
    let moves: Vec<_> = moves.into_iter().filter(|(from, to)| from != to).collect();
    let mut at = from;
    for (left, came) in &moves {
        if *left != at {
            break;
        }
        at = *came;
    }
    match !moves.is_empty() && at == to {
        true => Ok(moves),
        false => Err(format!(
            "{run} moved from {} to {}, by rows {moves:?}",
            from.name(),
            to.name()
        )),
    }
}

/// Something about a change.
enum Seen {
    Without(String),
    Run(RunId, std::result::Result<Vec<(State, State)>, String>),
    Presence(DeviceId, Presence, Presence),
    /// A run of a batch came to be in this state.
    OfBatch(BatchId, RunId, State),
    TooEarly(String),
    /// A secret is gone too early.
    SecretGone(String),
    /// Something about a plan.
    Planned(Planned),
}

#[async_trait]
impl Backend for SimStore {
    fn info(&self) -> Info {
        self.inner.info()
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        self.inner.prepare(schema).await
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        self.inner.pending(schema).await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.inner.view().await
    }

    async fn commit(&self, mut batch: Batch) -> Result<Committed> {
        if self.plant == Some(Plant::MoveWithoutRow) {
            let others = |(lane, _): &(Name, _)| *lane != RunEvent::LANE;
            batch.rows.retain(others);
        }
        for (what, body) in bodies(&batch) {
            self.judge.check_written(what, body);
        }
        self.write(async {
            let seen = self.look(&batch);
            let committed = self.inner.commit(batch).await?;
            self.say(seen);
            Ok(committed)
        })
        .await
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        if self.plant == Some(Plant::IngestForgotten) && self.dice.chance(500) {
            return Ok(());
        }
        let rows = ingest.rows.iter().map(|(lane, row)| (*lane, &row.body));
        for (what, body) in ingest
            .latest
            .iter()
            .map(|latest| (latest.key.kind, &latest.body))
            .chain(rows)
        {
            self.judge.check_written(what, body);
        }
        self.write(self.inner.ingest(ingest)).await
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        self.write(self.inner.trim(lane, before)).await
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        self.inner.changes(after).await
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        self.write(self.inner.compact(upto)).await
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        match self.plant {
            Some(Plant::WorkSweepNeverRuns) if name == "work.sweep" => return Ok(None),
            Some(Plant::SecretsStay) if name == "work.secrets" => return Ok(None),
            Some(Plant::PlansNeverLooked) if name == "work.plans" => return Ok(None),
            Some(Plant::PresenceSweepNeverRuns) if name == "devices.presence" => return Ok(None),
            Some(Plant::LeaseNeverLapses) => return self.inner.lease(name, holder, ttl * 100_000).await,
            _ => {}
        }
        self.write(self.inner.lease(name, holder, ttl)).await
    }

    async fn footprint(&self) -> Result<Footprint> {
        self.inner.footprint().await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        self.inner.check().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Relocate for SimStore {
    async fn standing(&self) -> Result<Standing> {
        self.inner.standing().await
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        self.inner.freeze(to).await
    }

    async fn fill(&self, from: Move) -> Result<()> {
        self.inner.fill(from).await
    }

    async fn patch(&self, patch: Patch) -> Result<()> {
        self.inner.patch(patch).await
    }

    async fn serve(&self) -> Result<()> {
        self.inner.serve().await
    }

    async fn clear(&self) -> Result<()> {
        self.inner.clear().await
    }

    async fn track(&self, on: bool) -> Result<()> {
        self.inner.track(on).await
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        self.inner.tracked(after).await
    }
}
