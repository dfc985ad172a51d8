//! A device: its disk, its clock, its network, and the agent that is started on it again and again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fleet_agent_lib::{
    clock::ServerClock,
    collect::{CollectContext, Collectors},
    desired::{Keeper, KeeperParts, Requests},
    identity::Identity,
    journal::{Journal, JournalWriter, Limits, RecoveredRun},
    link::{Http, Preference},
    policy::Policy,
    reports::Reports,
    runs::Runs,
    worker::Worker,
};
use fleet_core::{
    devices::DeviceId,
    kernel::{Clock as _, Result, SeededRandom},
};
use jiff::tz::TimeZone;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    clock::SimClock,
    disk::SimDisk,
    doom::Doom,
    door::Door,
    executor::SimExecutor,
    network::{Fate, Link, Wire},
    plant::Plant,
};

/// How an agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Its process is killed; the kernel closes its connections and keeps what it wrote.
    Killed,
    /// The power goes.
    PowerLost,
}

/// A device.
#[derive(Debug)]
pub struct Agent {
    /// Its place among the devices.
    pub index: usize,
    /// Its id.
    pub device: DeviceId,
    /// Its network.
    pub link: Arc<Link>,
    /// Its clock.
    pub clock: Arc<SimClock>,
    /// Its disk.
    pub disk: Arc<SimDisk>,
    /// How large its journal may be.
    pub limits: Limits,
    /// What waits for it to begin something.
    pub doom: Arc<Doom>,
    /// What runs on it.
    running: Option<Running>,
    parts: Parts,
    boots: u64,
}

/// What each start of the agent is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// A real folder, for the small files that say how it stands.
    pub state: PathBuf,
    /// How it connects.
    pub preference: Preference,
    /// What it does not do.
    pub policy: Policy,
    /// The server.
    pub door: Arc<Door>,
    /// The seed of the simulation.
    pub seed: u64,
    /// A planted fault.
    pub plant: Option<Plant>,
}

#[derive(Debug)]
struct Running {
    tasks: JoinSet<()>,
    dead: watch::Sender<bool>,
}

impl Agent {
    /// A device whose agent was not started yet.
    pub fn new(
        index: usize,
        link: Arc<Link>,
        clock: Arc<SimClock>,
        disk: Arc<SimDisk>,
        limits: Limits,
        doom: Arc<Doom>,
        parts: Parts,
    ) -> Self {
        Self {
            index,
            device: parts.identity.device,
            link,
            clock,
            disk,
            limits,
            doom,
            running: None,
            parts,
            boots: 0,
        }
    }

    /// Whether its agent runs.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the agent, which starts itself again while its disk refuses it.
    pub fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        self.boots += 1;
        let judge = &self.parts.door.judge;
        judge
            .trace
            .say(format_args!("agent {} is started ({})", self.index, self.boots));
        judge.forget_stay_away(self.index);
        let (dead, is_dead) = watch::channel(false);
        let start = Start {
            parts: self.parts.clone(),
            boot: self.boots,
            link: self.link.clone(),
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            doom: self.doom.clone(),
            limits: match self.parts.plant {
                Some(Plant::SpoolUnbounded) => Limits {
                    file_bytes: u64::MAX,
                    ..self.limits
                },
                _ => self.limits,
            },
            dead: is_dead,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(start.run());
        self.running = Some(Running { tasks, dead });
    }

    /// Its agent is gone in the middle of whatever it does.
    pub async fn crash(&mut self, how: Crash) {
        let Some(mut running) = self.running.take() else { return };
        let judge = &self.parts.door.judge;
        judge.trace.say(format_args!("agent {} crashes: {how:?}", self.index));
        judge.crashed(self.device, self.boots);
        match how {
            Crash::Killed => self.disk.killed(),
            Crash::PowerLost => {
                self.link.set_fate(Fate::Silent, Fate::Silent);
                self.disk.power_lost();
            }
        }
        running.dead.send_replace(true);
        running.tasks.shutdown().await;
        // What it had begun notices in the same moment.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
}

/// One start of an agent.
struct Start {
    parts: Parts,
    boot: u64,
    link: Arc<Link>,
    clock: Arc<SimClock>,
    disk: Arc<SimDisk>,
    doom: Arc<Doom>,
    limits: Limits,
    dead: watch::Receiver<bool>,
}

impl Start {
    async fn run(self) {
        loop {
            match self.recover().await {
                Ok((worker, mut keeping)) => {
                    worker.work(std::future::pending()).await;
                    keeping.shutdown().await;
                }
                Err(error) => self.parts.door.judge.trace.say(format_args!(
                    "agent {} cannot start: {}",
                    self.link.agent,
                    error.code().name()
                )),
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    async fn recover(&self) -> Result<(Worker, JoinSet<()>)> {
        let parts = &self.parts;
        let clock = Arc::new(ServerClock::new(self.clock.clone()));
        let disk = self.disk.mount();
        let (journal, mut recovered) = Journal::open(disk.clone(), self.limits, clock.now())?;
        if parts.plant == Some(Plant::RunAgainAfterRestart) {
            for run in &mut recovered.runs {
                run.starts = 0;
            }
        }
        if parts.plant == Some(Plant::OwnRunsForgotten) {
            let is_own = |run: &RecoveredRun| run.offer.as_ref().is_some_and(|offer| offer.get("origin").is_some());
            recovered.runs.retain(|run| !is_own(run));
        }
        let (writer, keeper) = JournalWriter::new(journal);
        let mut keeping = JoinSet::new();
        keeping.spawn(async move { drop(keeper.keep().await) });
        let executor = SimExecutor {
            device: parts.identity.device,
            boot: self.boot,
            disk: self.disk.clone(),
            seed: parts.seed,
            clock: self.clock.clone(),
            door: parts.door.clone(),
            dead: self.dead.clone(),
            doom: self.doom.clone(),
            plant: parts.plant,
        };
        let runs = Runs::recover(
            writer,
            recovered,
            clock.clone(),
            parts.policy.clone(),
            Arc::new(executor),
        )
        .await?;
        let random = Arc::new(SeededRandom::new(
            parts.seed ^ (self.boot << 24) ^ ((self.link.agent as u64 + 1) << 56),
        ));
        let wire = Wire {
            link: self.link.clone(),
            door: parts.door.clone(),
        };
        let http = Http::carried(
            Arc::new(wire),
            parts.identity.clone(),
            &parts.state,
            clock.clone(),
            random.clone(),
        );
        let requests: Arc<Requests> = Arc::default();
        if parts.plant == Some(Plant::WindowsUnheeded) {
            let requests = requests.clone();
            keeping.spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    drop(requests.apply_all(true).await);
                }
            });
        }
        let in_session = watch::Sender::new(false);
        let keeper = Keeper::new(KeeperParts {
            disk,
            http: http.clone(),
            runs: runs.clone(),
            clock: clock.clone(),
            random: random.clone(),
            requests: requests.clone(),
            zone: TimeZone::UTC,
            in_session: in_session.subscribe(),
        });
        let worker = Worker {
            keeper,
            http,
            preference: parts.preference,
            reports: Reports::new(Collectors::new([]), CollectContext::device(clock.clone())),
            clock,
            random,
            runs,
            state: parts.state.clone(),
            in_session,
        };
        Ok((worker, keeping))
    }
}
