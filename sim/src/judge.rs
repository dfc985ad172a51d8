//! What must hold, whatever happens. Checked where it happens, from what is seen at the borders: what the store is given, what the
//! server says, what devices do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fleet_core::{
    Fleet,
    devices::DeviceId,
    kernel::{Clock as _, EntityId as _},
    protocol::{OfferBody, RunResult, ServerFrame},
    store::LaneQuery,
    work::{BatchId, Run, RunId, State, output::Chunk},
};
use futures::FutureExt as _;
use tokio::sync::Notify;

use crate::{
    clock::SimClock,
    coverage::Coverage,
    desired::KEPT,
    panics,
    plans::Times,
    secrets::is_work_of,
    trace::Trace,
    turns::{Blackout, Terms},
};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A run is executed at most once; of an idempotent kind at most three times, and only after an interruption.
    AtMostOnce,
    /// Every run reaches a final state by its deadline.
    EveryRunEnds,
    /// What the server said is stored is stored.
    AcknowledgedIsStored,
    /// What a device did is what the server says of it in the end.
    NoResultLost,
    /// Runs move by the table, and their history is one chain.
    StatesMoveForward,
    /// No device is shown as offline that was heard of within the bound, or before it had the time to be heard of.
    NoFalseOffline,
    /// A device that is gone is shown as offline within the bound.
    OfflineInTime,
    /// No change without the row that says so.
    EveryChangeHasItsRow,
    /// Devices execute what the server's store says, and nothing else.
    OnlyGenuineWork,
    /// No run begins before its time, before others agreed, while a window holds it, or beside more than its rollout lets.
    NothingBeforeItsTurn,
    /// What is done for real after a dry run is that, once, and on devices that said that it would change something.
    OnlyWhatWasLookedAt,
    /// What is tried again by itself does no harm when it is done twice, did not succeed on its device, and is tried as often as was asked.
    OnlyFailuresAgain,
    /// A plan's time makes one batch at most, none before it and none that nobody wants; what is found late is missed or made up for as was asked.
    PlansKeepTime,
    /// Secrets reach the device that does the work and nobody else, stand nowhere in clear, and stay as long as something needs them.
    SecretsKept,
    /// What devices begin by themselves heeds the windows that they know, and is caught up with after them.
    WindowsHoldDevices,
    /// No run begins after its offer has ended.
    NoExpiredWork,
    /// The newest connection of a device counts, and its number is greater than all before.
    NewerConnectionWins,
    /// The device's journal is no larger than it may be.
    SpoolBounded,
    /// All output is there, or it is said how much is not.
    OutputWholeOrAnnounced,
    /// A device that is connected stops when it is asked to.
    CancelledInTime,
    /// No run times out before its time.
    TimeoutsAreNotEarly,
    /// A device that is told to stay away stays away.
    RetryTimeKept,
    /// Once faults stop, every device has the manifest that its server compiled for it.
    ManifestsArrive,
    /// Once faults stop, every device comes back and works.
    EverybodyComesBack,
    /// No code panics, and no request fails for a reason that nobody foresaw.
    NobodyPanics,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::AtMostOnce,
        Self::EveryRunEnds,
        Self::AcknowledgedIsStored,
        Self::NoResultLost,
        Self::StatesMoveForward,
        Self::NoFalseOffline,
        Self::OfflineInTime,
        Self::EveryChangeHasItsRow,
        Self::OnlyGenuineWork,
        Self::NothingBeforeItsTurn,
        Self::OnlyWhatWasLookedAt,
        Self::OnlyFailuresAgain,
        Self::PlansKeepTime,
        Self::SecretsKept,
        Self::WindowsHoldDevices,
        Self::NoExpiredWork,
        Self::NewerConnectionWins,
        Self::SpoolBounded,
        Self::OutputWholeOrAnnounced,
        Self::CancelledInTime,
        Self::TimeoutsAreNotEarly,
        Self::RetryTimeKept,
        Self::ManifestsArrive,
        Self::EverybodyComesBack,
        Self::NobodyPanics,
    ];
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// Why not.
    pub why: String,
}

/// An execution, as the device knows it.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Whose.
    pub device: DeviceId,
    /// Which start of the agent.
    pub boot: u64,
    /// When it began.
    pub began: Duration,
    /// When it ended, and how.
    pub ended: Option<(Duration, RunResult)>,
    /// Whether it changed the device, or would have, in a dry run.
    pub changed: Option<bool>,
}

/// A device may be heard of for the last time so long before it is shown as offline.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(75);
/// How long the server may take until what a device said is in its books.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// A device knows the server's time as of when its welcome was sent, and that may be under way for half a minute; besides, clocks are trimmed.
const EXPIRY_SLACK: Duration = Duration::from_secs(35);

/// Watches one simulation.
pub struct Judge {
    /// The server's clock.
    pub clock: Arc<SimClock>,
    /// Events.
    pub trace: Arc<Trace>,
    /// What was visited.
    pub coverage: Mutex<Coverage>,
    /// Woken at the first violation.
    pub violated: Notify,
    inner: Mutex<Inner>,
    blackouts: Mutex<Vec<Blackout>>,
    times: Mutex<Times>,
    secrets: AtomicBool,
    terms: Mutex<BTreeMap<BatchId, Terms>>,
}

#[derive(Default)]
struct Inner {
    violation: Option<Violation>,
    executions: BTreeMap<RunId, Vec<Execution>>,
    /// Runs that devices began by themselves.
    own: Vec<RunId>,
    /// Runs whose device had vanished; a late result may have landed since.
    lost: BTreeSet<RunId>,
    crashes: BTreeMap<(DeviceId, u64), Duration>,
    epochs: BTreeMap<DeviceId, u64>,
    /// When a beat was taken last.
    beats: BTreeMap<DeviceId, Duration>,
    server_began: Option<Duration>,
    /// When the server's clock was set last.
    clock_set: Option<Duration>,
    stay_away: BTreeMap<usize, Duration>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

impl Judge {
    /// Nothing was seen yet.
    pub fn new(clock: Arc<SimClock>, trace: Arc<Trace>) -> Self {
        Self {
            clock,
            trace,
            coverage: Mutex::default(),
            violated: Notify::new(),
            inner: Mutex::default(),
            blackouts: Mutex::default(),
            times: Mutex::default(),
            secrets: AtomicBool::new(false),
            terms: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was visited.
    pub fn cover(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something must not be. The first one counts.
    pub fn violate(&self, invariant: Invariant, why: impl fmt::Display) {
        // What follows from a panic is not what was wrong.
        let (invariant, why) = match panics::take() {
            Some(panic) => (Invariant::NobodyPanics, panic),
            None => (invariant, why.to_string()),
        };
        self.trace.say(format_args!("VIOLATION {invariant:?}: {why}"));
        self.inner().violation.get_or_insert(Violation { invariant, why });
        self.violated.notify_one();
    }

    /// The first violation.
    pub fn violation(&self) -> Option<Violation> {
        self.inner().violation.clone()
    }

    /// The server was started.
    pub fn server_began(&self) {
        let now = self.clock.elapsed();
        self.inner().server_began = Some(now);
    }

    /// The server's clock was set.
    pub fn clock_was_set(&self) {
        let now = self.clock.elapsed();
        self.inner().clock_set = Some(now);
    }

    /// Whether the server's clock was ever set: then nobody can say from outside what its time was when it decided.
    pub fn clock_was_ever_set(&self) -> bool {
        self.inner().clock_set.is_some()
    }

    /// The blackouts that people know to be there.
    pub fn blackouts(&self) -> MutexGuard<'_, Vec<Blackout>> {
        self.blackouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The times of plans whose work was made.
    pub fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How what follows dry runs was asked to begin.
    pub fn terms(&self) -> MutexGuard<'_, BTreeMap<BatchId, Terms>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody gives a secret.
    pub fn has_secrets(&self) {
        self.secrets.store(true, Ordering::Relaxed);
    }

    /// Whether anybody has given one.
    pub fn knows_secrets(&self) -> bool {
        self.secrets.load(Ordering::Relaxed)
    }

    /// Whether the server's clock was set within this time.
    pub fn clock_set_within(&self, time: Duration) -> bool {
        let now = self.clock.elapsed();
        self.inner().clock_set.is_some_and(|set| now - set <= time)
    }

    /// A device begins to execute a run. `stored` is what the store says of it.
    pub fn begins(&self, device: DeviceId, boot: u64, offer: &OfferBody, stored: Option<&Run>) {
        let now = self.clock.elapsed();
        let earlier = {
            let mut inner = self.inner();
            let executions = inner.executions.entry(offer.run).or_default();
            executions.push(Execution {
                device,
                boot,
                began: now,
                ended: None,
                changed: None,
            });
            executions.len() - 1
        };
        self.trace.say(format_args!(
            "{} begins {} (boot {boot}, {})",
            short(device),
            short(offer.run),
            offer.kind
        ));
        if earlier > 0 && (!offer.idempotent || earlier >= 3) {
            self.violate(
                Invariant::AtMostOnce,
                format_args!("{} was begun {} times", offer.run, earlier + 1),
            );
        }
        let is_own = offer.epoch == 0;
        match stored {
            // The server hears of it later. Its script is one that somebody assigned to a device.
            None if is_own => {
                let script = offer.params.get("script").and_then(|script| script.as_str());
                if !script.is_some_and(|script| script.starts_with(KEPT)) {
                    let why = format_args!("{} was begun by its device, and is nothing that it keeps", offer.run);
                    self.violate(Invariant::OnlyGenuineWork, why);
                }
                self.inner().own.push(offer.run);
            }
            Some(run) if run.device == device && run.operation == offer.kind && is_work_of(run, offer) => {
                if offer.expires_at > run.expires_at {
                    let why = format_args!("the offer of {} ends later than it does", offer.run);
                    self.violate(Invariant::NoExpiredWork, why);
                }
                let late = self.clock.now().since(run.expires_at);
                // A device hears within two beats that the server's clock was set.
                if earlier == 0 && late > EXPIRY_SLACK && !self.clock_set_within(Duration::from_secs(120)) {
                    self.violate(
                        Invariant::NoExpiredWork,
                        format_args!("{} began {late:?} after its offer had ended", offer.run),
                    );
                }
            }
            _ => self.violate(
                Invariant::OnlyGenuineWork,
                format_args!("{} is not work of this device", offer.run),
            ),
        }
    }

    /// The execution that a device began last has ended.
    pub fn ends(&self, offer: &OfferBody, result: RunResult, changed: Option<bool>) {
        let now = self.clock.elapsed();
        self.trace.say(format_args!("{} ends: {result:?}", short(offer.run)));
        let mut early = None;
        if let Some(execution) = self
            .inner()
            .executions
            .get_mut(&offer.run)
            .and_then(|all| all.last_mut())
        {
            execution.ended = Some((now, result));
            execution.changed = changed;
            let took = now - execution.began;
            if result == RunResult::TimedOut && took < Duration::from_secs(u64::from(offer.timeout_seconds)) {
                early = Some(took);
            }
        }
        if let Some(took) = early {
            self.violate(
                Invariant::TimeoutsAreNotEarly,
                format_args!("{} timed out after {took:?} of {} s", offer.run, offer.timeout_seconds),
            );
        }
    }

    /// The device of a run has vanished.
    pub fn lost(&self, run: RunId) {
        self.inner().lost.insert(run);
    }

    /// Whether the device of a run had vanished at some time.
    pub fn was_lost(&self, run: RunId) -> bool {
        self.inner().lost.contains(&run)
    }

    /// An agent is no more.
    pub fn crashed(&self, device: DeviceId, boot: u64) {
        let now = self.clock.elapsed();
        self.inner().crashes.insert((device, boot), now);
    }

    /// How often and how a run was executed.
    pub fn executions(&self, run: RunId) -> Vec<Execution> {
        self.inner().executions.get(&run).cloned().unwrap_or_default()
    }

    /// The runs that devices began by themselves.
    pub fn own(&self) -> Vec<RunId> {
        self.inner().own.clone()
    }

    /// Whether an agent that lives executes something.
    pub fn is_executing(&self) -> bool {
        let inner = self.inner();
        let mut under_way = inner.executions.values().flatten().filter(|it| it.ended.is_none());
        under_way.any(|it| !inner.crashes.contains_key(&(it.device, it.boot)))
    }

    /// Whether a device has done nothing else for so long, so that what begins now waited for nothing.
    pub fn is_idle(&self, device: DeviceId, boot: u64, run: RunId, time: Duration) -> bool {
        let now = self.clock.elapsed();
        let inner = self.inner();
        let others = inner.executions.iter().filter(|(other, _)| **other != run);
        let mut here = others
            .flat_map(|(_, all)| all)
            .filter(|it| it.device == device && it.boot == boot);
        here.all(|it| it.ended.is_some_and(|(ended, _)| now - ended > time))
    }

    /// Whether a beat of a device was taken within this time.
    pub fn is_heard_of(&self, device: DeviceId, within: Duration) -> bool {
        let now = self.clock.elapsed();
        let beat = self.inner().beats.get(&device).copied();
        beat.is_some_and(|beat| now - beat <= within)
    }

    /// When an agent crashed.
    pub fn crash_of(&self, device: DeviceId, boot: u64) -> Option<Duration> {
        self.inner().crashes.get(&(device, boot)).copied()
    }

    /// The number of the newest connection that was welcomed.
    pub fn epoch(&self, device: DeviceId) -> u64 {
        self.inner().epochs.get(&device).copied().unwrap_or(0)
    }

    /// The server says something to a device. `late`: it answers what an older connection sent after a newer was welcomed.
    pub fn server_says(&self, fleet: &Fleet, device: DeviceId, frame: &ServerFrame, late: bool) {
        match frame {
            ServerFrame::Welcome(welcome) => {
                let before = self.inner().epochs.insert(device, welcome.body.epoch).unwrap_or(0);
                self.trace.say(format_args!(
                    "{} is welcomed, epoch {}",
                    short(device),
                    welcome.body.epoch
                ));
                if welcome.body.epoch <= before {
                    self.violate(
                        Invariant::NewerConnectionWins,
                        format_args!("epoch {} after {before}", welcome.body.epoch),
                    );
                }
            }
            ServerFrame::Beat { .. } => self.beat_taken(device),
            ServerFrame::Offer(offer) => {
                self.trace
                    .say(format_args!("{} is offered {}", short(device), short(offer.body.run)))
            }
            ServerFrame::Cancel(cancel) => {
                self.trace
                    .say(format_args!("{} is told to stop {}", short(device), short(cancel.run)))
            }
            ServerFrame::Recorded(recorded) => {
                self.check_recorded(fleet, device, recorded);
            }
            ServerFrame::Bye(bye) => self
                .trace
                .say(format_args!("{} is told bye: {}", short(device), bye.code)),
            ServerFrame::Want(_) | ServerFrame::Manifest(_) | ServerFrame::Unknown => {}
        }
        if late && matches!(frame, ServerFrame::Beat { .. } | ServerFrame::Recorded(_)) {
            self.violate(
                Invariant::NewerConnectionWins,
                format_args!("an older connection of {device} was answered {frame:?}"),
            );
        }
    }

    /// The server took a beat.
    pub fn beat_taken(&self, device: DeviceId) {
        let now = self.clock.elapsed();
        self.inner().beats.insert(device, now);
    }

    fn check_recorded(&self, fleet: &Fleet, device: DeviceId, recorded: &fleet_core::protocol::Recorded) {
        self.trace.say(format_args!(
            "{} is told recorded {} chunks {} finished {}",
            short(device),
            short(recorded.run),
            recorded.chunks,
            recorded.finished
        ));
        let Some(Ok(Some(run))) = fleet.store().get::<Run>(recorded.run).now_or_never() else {
            return;
        };
        let is_stored = match run.state {
            _ if run.device != device => true,
            State::Queued | State::Offered => !recorded.accepted || recorded.chunks > 0 && !recorded.finished,
            state => !recorded.finished || state.is_terminal(),
        };
        if !is_stored {
            self.violate(
                Invariant::AcknowledgedIsStored,
                format_args!(
                    "{} is {}, and the device was told {recorded:?}",
                    recorded.run,
                    run.state.name()
                ),
            );
        }
        if recorded.chunks > 0 && !recorded.finished {
            let read = async {
                let query = LaneQuery::<Chunk>::oldest_first().stream(recorded.run.uuid());
                let page = fleet_core::kernel::PageRequest::new(Some(500), None)?;
                fleet.store().reader().await?.stored_rows(&query, &page).await
            };
            if let Some(Ok((rows, None))) = read.now_or_never()
                && rows.last().is_none_or(|row| row.row.n + 1 < recorded.chunks)
            {
                self.violate(
                    Invariant::AcknowledgedIsStored,
                    format_args!(
                        "{} has {} chunks, and the device was told {recorded:?}",
                        recorded.run,
                        rows.len()
                    ),
                );
            }
        }
    }

    /// The store shows a device as offline from now on.
    pub fn shown_offline(&self, device: DeviceId) {
        self.trace.say(format_args!("{} is shown as offline", short(device)));
        if self.clock_set_within(OFFLINE_AFTER * 2) {
            return;
        }
        // Not by the server's clock, which may have been set meanwhile.
        let now = self.clock.elapsed();
        let (beat, began) = {
            let inner = self.inner();
            (inner.beats.get(&device).copied(), inner.server_began)
        };
        for (what, at) in [("heard of", beat), ("away", began)] {
            let Some(at) = at else { continue };
            let silent = now.saturating_sub(at);
            // What it said was under way to the server's books for a moment.
            if silent + UNDER_WAY < OFFLINE_AFTER {
                self.violate(
                    Invariant::NoFalseOffline,
                    format_args!("{device} is shown as offline {silent:?} after it was last {what}"),
                );
            }
        }
    }

    /// A device was told to stay away for so long.
    pub fn told_to_stay_away(&self, agent: usize, time: Duration) {
        let until = self.clock.elapsed() + time;
        self.trace
            .say(format_args!("agent {agent} is told to stay away for {time:?}"));
        self.inner().stay_away.insert(agent, until);
    }

    /// A device tries to reach the server.
    pub fn tries(&self, agent: usize) {
        let now = self.clock.elapsed();
        let until = self.inner().stay_away.remove(&agent);
        if let Some(until) = until
            && now < until
        {
            self.violate(
                Invariant::RetryTimeKept,
                format_args!("device {agent} came back {:?} too early", until - now),
            );
        }
    }

    /// An agent that is started anew does not know what its predecessor was told.
    pub fn forget_stay_away(&self, agent: usize) {
        self.inner().stay_away.remove(&agent);
    }
}

/// The end of an id: what tells it from others in a trace.
pub fn short(id: impl fmt::Display) -> String {
    let text = id.to_string();
    text[text.len().saturating_sub(6)..].to_owned()
}
