//! Executes runs in simulated time: how long each takes, what it prints and how it ends follow from its id and the seed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use fleet_agent_lib::runs::{Cancellation, Ending, Execute, OutputSink};
use fleet_core::{
    devices::DeviceId,
    kernel::{Clock as _, EntityId as _},
    protocol::{OfferBody, OutputStream, RunResult},
    work::{
        Run,
        operations::{refresh, shell},
    },
};
use futures::FutureExt as _;
use tokio::{sync::watch, time::Instant};

use crate::{
    attempts::not_to_be_tried_again, clock::SimClock, desired::KEPT, dice::Dice, disk::SimDisk, doom::Doom, door::Door,
    judge::Invariant, looks::not_looked_at, plant::Plant, secrets::wrong_secret, turns::too_early,
};

/// The script of runs that go on for as long as they may.
pub const ENDLESS: &str = "sleep infinity";
/// The script of runs that are over at once.
pub const SHORT: &str = "true";

/// Executes the runs of one start of an agent.
#[derive(Debug)]
pub struct SimExecutor {
    /// Whose.
    pub device: DeviceId,
    /// Which start of its agent.
    pub boot: u64,
    /// Where its agent keeps its manifest.
    pub disk: Arc<SimDisk>,
    /// The seed of the simulation.
    pub seed: u64,
    /// The device's own clock.
    pub clock: Arc<SimClock>,
    /// The server, for looking at what it stores and for what is seen.
    pub door: Arc<Door>,
    /// Whether the agent is no more.
    pub dead: watch::Receiver<bool>,
    /// What waits for it to begin something.
    pub doom: Arc<Doom>,
    /// A planted fault.
    pub plant: Option<Plant>,
}

/// What a run is going to do.
struct Course {
    takes: Duration,
    /// It goes on for so long after it was told to stop.
    stubborn: Duration,
    chunks: u64,
    chunk_bytes: usize,
    end: RunResult,
}

impl SimExecutor {
    fn course(&self, offer: &OfferBody) -> Course {
        let dice = Dice::new(self.seed, &offer.run.to_string());
        let script = offer.params.get("script").and_then(|script| script.as_str());
        let least = Duration::from_millis(50);
        let (takes, chunks) = match script {
            Some(ENDLESS) => (Duration::from_secs(86_400), 3),
            Some(SHORT) => (least, 1),
            Some(script) if script.starts_with(KEPT) => (dice.time(least, Duration::from_secs(30)), dice.below(3)),
            _ => (dice.time(least, Duration::from_secs(400)), dice.below(9)),
        };
        Course {
            takes,
            // Some processes are stuck in the kernel for longer than the server waits.
            stubborn: match dice.below(12) {
                _ if script == Some(ENDLESS) => Duration::from_secs(1),
                0 => Duration::from_secs(180),
                1 => Duration::from_secs(20),
                _ => dice.time(Duration::from_millis(1), Duration::from_secs(3)),
            },
            chunks,
            chunk_bytes: if dice.chance(150) { 12_000 } else { 120 },
            end: match dice.below(20) {
                0..9 => RunResult::Succeeded,
                9..13 => RunResult::SucceededWithIssues,
                13..16 => RunResult::NotApplicable,
                _ => RunResult::Failed,
            },
        }
    }

    /// Whether a run changes its device. What a device began by itself is told of each time, however it ended.
    fn changed(&self, offer: &OfferBody) -> Option<bool> {
        if offer.params["dry_run"] != true {
            return (offer.epoch == 0).then_some(true);
        }
        let dice = Dice::new(self.seed, &format!("{} would change", offer.run));
        match dice.below(10) {
            0..5 => Some(true),
            5..8 => Some(false),
            _ => None,
        }
    }

    async fn until_dead(&self) {
        let mut dead = self.dead.clone();
        if dead.wait_for(|dead| *dead).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps for so long, by the clock that the device has for such things.
    async fn sleep(&self, time: Duration) {
        if self.plant != Some(Plant::TimeoutByWallClock) {
            return tokio::time::sleep(time).await;
        }
        let until = self.clock.now().plus(time);
        while self.clock.now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn live(&self, offer: &OfferBody, output: &OutputSink, mut cancellation: Cancellation) -> RunResult {
        let course = self.course(offer);
        let began = Instant::now();
        let work = async {
            for chunk in 0..course.chunks {
                let at = course.takes.mul_f64((chunk + 1) as f64 / (course.chunks + 1) as f64);
                tokio::time::sleep_until(began + at.min(Duration::from_secs(20 * (chunk + 1)))).await;
                let text = format!("{chunk}:{}\n", "x".repeat(course.chunk_bytes));
                output.write(OutputStream::Stdout, &text).await;
            }
            tokio::time::sleep_until(began + course.takes).await;
        };
        let never_stops = self.plant == Some(Plant::ExecutorNeverStops);
        let limit = Duration::from_secs(u64::from(offer.timeout_seconds));
        let (result, stopped) = tokio::select! {
            biased;
            () = work => (course.end, false),
            () = cancellation.requested(), if !never_stops => (RunResult::Cancelled, true),
            () = self.sleep(limit) => (RunResult::TimedOut, true),
        };
        if stopped {
            tokio::time::sleep(course.stubborn).await;
        }
        result
    }
}

#[async_trait]
impl Execute for SimExecutor {
    fn kinds(&self) -> Vec<String> {
        vec![shell::NAME.to_owned(), refresh::NAME.to_owned()]
    }

    async fn execute(&self, offer: &OfferBody, output: OutputSink, cancellation: Cancellation) -> Ending {
        let interrupted = Ending::of(RunResult::Indeterminate);
        if *self.dead.borrow() {
            return interrupted;
        }
        // One of this device's own is written down before anything is done; where that fails, nothing is.
        if offer.epoch == 0
            && let Err(error) = output.begin(false).await
        {
            return Ending::failed(error.code().name(), error.message());
        }
        let judge = &self.door.judge;
        let stored = self.door.stored::<Run>(offer.run.uuid());
        judge.begins(self.device, self.boot, offer, stored.as_ref());
        if let Some(why) = wrong_secret(offer) {
            judge.violate(Invariant::SecretsKept, why);
        }
        if let Some(why) = stored.as_ref().and_then(|run| too_early(&self.door, run)) {
            let why = format!("{} begins, and {why}", offer.run);
            judge.violate(Invariant::NothingBeforeItsTurn, why);
        }
        if let Some(why) = stored.as_ref().and_then(|run| not_to_be_tried_again(&self.door, run)) {
            let why = format!("{} begins, and {why}", offer.run);
            judge.violate(Invariant::OnlyFailuresAgain, why);
        }
        if offer.epoch == 0
            && let Some(why) = self.held_itself(offer)
        {
            let why = format!("{} is begun by its device, and {why}", offer.run);
            judge.violate(Invariant::WindowsHoldDevices, why);
        }
        if let Some(why) = stored.and_then(|run| not_looked_at(&self.door, &run)) {
            let why = format!("{} begins, and {why}", offer.run);
            judge.violate(Invariant::OnlyWhatWasLookedAt, why);
        }
        let result = tokio::select! {
            biased;
            // Nobody keeps what it returns: its journal is gone.
            () = self.until_dead() => return interrupted,
            () = self.doom.run_begins() => return interrupted,
            result = self.live(offer, &output, cancellation) => result,
        };
        // What does not concern a device is told of once only, so that nothing would follow from a run that is not there.
        let result = match result {
            RunResult::NotApplicable if offer.epoch == 0 => RunResult::Succeeded,
            result => result,
        };
        let changed = self.changed(offer);
        judge.ends(offer, result, changed);
        Ending {
            changed,
            exit_code: (result == RunResult::Succeeded).then_some(0),
            ..Ending::of(result)
        }
    }
}

impl Door {
    /// A document as it is stored, whether the server runs or not.
    pub fn stored<T: fleet_core::store::Entity>(&self, id: uuid::Uuid) -> Option<T> {
        use fleet_core::store::{Backend as _, Key, decode};
        let read = async {
            let key = Key { kind: T::KIND, id };
            self.store.view().await?.get(&[key]).await
        };
        let doc = read.now_or_never()?.ok()?.pop()??;
        decode::<T>(&doc).ok().map(|found| found.value)
    }
}
