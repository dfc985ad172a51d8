//! One simulation: a server, some devices, people who ask for work, and what goes wrong, all from one seed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet_agent_lib::{identity::Identity, journal::Limits, link::Preference, policy::Policy};
use fleet_core::{
    access::{Context, Origin},
    devices::enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
    kernel::{Error, Result, SeededRandom, SigningKey},
    work::{BatchId, RunId},
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    agent::{Agent, Parts},
    clock::SimClock,
    coverage::Coverage,
    dice::Dice,
    disk::SimDisk,
    doom::Doom,
    door::Door,
    faults::{Chaos, Healing},
    judge::{Invariant, Judge, Violation},
    network::Link,
    panics,
    plans::Planner,
    plant::Plant,
    secrets::Secrets,
    store::SimStore,
    trace::Trace,
};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// A planted fault.
    pub plant: Option<Plant>,
    /// Whether all events are kept.
    pub whole_trace: bool,
    /// How long things go wrong.
    pub trouble: Duration,
    /// How many devices there are; up to three, as the seed draws them, when nothing is said.
    pub agents: Option<usize>,
}

/// Devices of a large seed.
const MANY: usize = 100;

/// How large simulations are made, whatever is usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    /// How many devices there are.
    pub agents: Option<usize>,
    /// How long things go wrong.
    pub trouble: Option<Duration>,
}

impl Plan {
    /// The usual plan of a seed.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            plant: None,
            whole_trace: false,
            // Short ones are cheap and many; a tenth is long, for what builds up slowly.
            trouble: match seed % 10 {
                0 => Duration::from_secs(20 * 60),
                n => Duration::from_secs(2 * 60 + n * 20),
            },
            // Few devices meet each trouble more often; some seeds have many, for what only shows among them.
            agents: (seed % 500 == 251).then_some(MANY),
        }
    }

    /// The same, as large as that.
    #[must_use]
    pub fn scaled(self, scale: Scale) -> Self {
        Self {
            agents: scale.agents.or(self.agents),
            trouble: scale.trouble.unwrap_or(self.trouble),
            ..self
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What did not hold, if anything.
    pub violation: Option<Violation>,
    /// What was visited.
    pub coverage: Coverage,
    /// The digest of all events.
    pub digest: String,
    /// How many there were.
    pub events: u64,
    /// The last of them, or all.
    pub trace: Vec<String>,
    /// The simulated time.
    pub simulated: Duration,
}

/// The server, the devices and what is known of them.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) judge: Arc<Judge>,
    pub(crate) door: Arc<Door>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) chaos: Chaos,
    /// What people do.
    pub(crate) people: Dice,
    /// The runs that people asked for, and whether asking was answered.
    pub(crate) runs: Vec<RunId>,
    pub(crate) batches: u64,
    /// The batches of those runs.
    pub(crate) asked: Vec<BatchId>,
    pub(crate) cancels: u64,
    /// Actions that people made.
    pub(crate) actions: u64,
    /// What they do with plans.
    pub(crate) planner: Planner,
    /// How what they want to look at first is to begin.
    pub(crate) looks: Dice,
    /// The secrets that they give.
    pub(crate) secrets: Secrets,
    /// What ends by itself, and when.
    pub(crate) healing: BTreeMap<(Instant, u64), Healing>,
    /// Woken when a device is struck in the middle of a write, or at the beginning of a run.
    struck: Arc<Notify>,
    folder: tempfile::TempDir,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Simulates.
///
/// # Errors
/// When the machine refuses what a simulation needs: a runtime, a folder.
pub fn simulate(plan: Plan) -> anyhow::Result<Outcome> {
    panics::watch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let mut world = World::new(plan).await?;
        world.live().await;
        Ok(world.outcome())
    })
}

/// Small files of agents; in memory where the system has such a place.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = std::path::Path::new("/dev/shm");
    let builder = tempfile::Builder::new().prefix("fleet-sim-").to_owned();
    builder.tempdir_in(memory).or_else(|_| builder.tempdir())
}

impl World {
    async fn new(plan: Plan) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let dice = Dice::new(plan.seed, "world");
        let trace = Arc::new(Trace::new(begun, plan.whole_trace));
        let judge = Arc::new(Judge::new(Arc::new(SimClock::new(begun, 0)), trace));
        let store = Arc::new(SimStore::new(
            plan.seed,
            judge.clone(),
            Arc::new(SimClock::new(begun, 0)),
            plan.plant,
        ));
        let door = Door::new(plan.seed, store, judge.clone(), plan.plant);
        door.start().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let folder = folder()?;
        let mut world = Self {
            plan,
            judge,
            door,
            agents: Vec::new(),
            chaos: Chaos::new(plan.seed),
            people: Dice::new(plan.seed, "people"),
            runs: Vec::new(),
            batches: 0,
            asked: Vec::new(),
            cancels: 0,
            actions: 0,
            planner: Planner::new(plan.seed),
            looks: Dice::new(plan.seed, "looks"),
            secrets: Secrets::new(plan.seed),
            healing: BTreeMap::new(),
            struck: Arc::new(Notify::new()),
            folder,
        };
        let few = 1 + dice.place(3);
        for index in 0..plan.agents.unwrap_or(few) {
            let agent = world.enrol(index, begun, &dice).await;
            world.agents.push(agent.map_err(|error| anyhow::anyhow!("{error}"))?);
        }
        Ok(world)
    }

    /// A device that was enrolled, whose agent was not started yet.
    async fn enrol(&self, index: usize, begun: Instant, dice: &Dice) -> Result<Agent> {
        let (seed, plant) = (self.plan.seed, self.plan.plant);
        let fleet = self.door.fleet().ok_or_else(|| Error::internal("no server"))?;
        let system = Context::system("people");
        let new = NewEnrolmentToken::default();
        let (_, secret) = fleet.enrolment().create_token(&system, &new).await?;
        let key = SigningKey::generate(&SeededRandom::new(seed ^ (index as u64 + 1) << 48));
        let machine = Machine {
            hostname: format!("device-{index}"),
            machine_id: None,
            agent_version: "1.0.0".into(),
        };
        let request = EnrolRequest::prove(secret, &key, [9; 32], machine);
        let enrolled = fleet.enrolment().enrol(&request, Origin::default()).await?;
        let identity = Identity {
            device: enrolled.device_id,
            name: enrolled.name,
            address: "http://fleet.invalid".into(),
            own_tls: false,
            server: fleet.keys().identity().public(),
            key,
        };
        let state = self.folder.path().join(index.to_string());
        std::fs::create_dir_all(&state).map_err(Error::internal)?;
        let off_seconds = match dice.below(4) {
            0 => -(dice.below(7_200) as i64),
            1 => dice.below(7_200) as i64,
            2 => dice.below(20) as i64 - 10,
            _ => 0,
        };
        let small = dice.chance(500);
        let limits = Limits {
            file_bytes: if small { SMALL_SPOOL } else { LARGE_SPOOL },
            garbage_bytes: 16 << 10,
            ..Limits::default()
        };
        let preference = match dice.below(5) {
            0 => Preference::Poll,
            1 => Preference::Auto,
            _ => Preference::Socket,
        };
        let policy = if dice.chance(100) {
            let text = "forbid_kinds = [\"inventory.*\"]";
            Policy::parse(text, "root", jiff::tz::TimeZone::UTC).map_err(Error::internal)?
        } else {
            Policy::permissive("root")
        };
        let parts = Parts {
            identity: Arc::new(identity),
            state,
            preference,
            policy,
            door: self.door.clone(),
            seed,
            plant,
        };
        Ok(Agent::new(
            index,
            Link::new(seed, index, self.judge.clone(), plant),
            Arc::new(SimClock::new(begun, off_seconds)),
            SimDisk::new(seed, &format!("disk {index}"), plant, self.struck.clone()),
            limits,
            Doom::new(self.struck.clone()),
            parts,
        ))
    }

    /// Trouble, then peace, then the reckoning.
    async fn live(&mut self) {
        for agent in &mut self.agents {
            agent.start();
        }
        let end = Instant::now() + self.plan.trouble;
        let mut trouble = Instant::now() + self.chaos.pause();
        let mut request = Instant::now() + self.pause();
        let (judge, struck) = (self.judge.clone(), self.struck.clone());
        while self.judge.violation().is_none() {
            let healing = self.healing.keys().next().map_or(end, |(at, _)| *at);
            let next = trouble.min(request).min(healing).min(end);
            tokio::select! {
                biased;
                () = judge.violated.notified() => break,
                () = struck.notified() => {
                    self.who_was_struck().await;
                    continue;
                }
                () = tokio::time::sleep_until(next) => {}
            }
            if next == end {
                break;
            } else if next == healing {
                if let Some((_, healing)) = self.healing.pop_first() {
                    self.heal(healing).await;
                }
            } else if next == request {
                self.ask().await;
                request = next + self.pause();
            } else {
                self.trouble().await;
                trouble = next + self.chaos.pause();
            }
        }
        if self.judge.violation().is_none() {
            self.heal_all().await;
            let judge = self.judge.clone();
            tokio::select! {
                biased;
                () = judge.violated.notified() => {}
                () = self.reckon() => {}
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let judge = &self.judge;
        if let Some(panic) = panics::take() {
            judge.violate(Invariant::NobodyPanics, panic);
        }
        Outcome {
            seed: self.plan.seed,
            violation: judge.violation(),
            coverage: judge.cover().clone(),
            digest: judge.trace.digest(),
            events: judge.trace.events(),
            trace: judge.trace.lines(),
            simulated: judge.clock.elapsed(),
        }
    }

    /// Something must not be.
    pub(crate) fn violate(&self, invariant: Invariant, why: impl std::fmt::Display) {
        self.judge.violate(invariant, why);
    }
}

/// The bounds of journals.
pub const SMALL_SPOOL: u64 = 48 << 10;
/// The bound of most journals.
pub const LARGE_SPOOL: u64 = 512 << 10;
