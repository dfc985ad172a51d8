//! What goes wrong: which kinds a simulation knows, when they strike, and how they end.

use std::time::Duration;

use fleet_core::{
    kernel::EntityId as _,
    work::{
        Run, RunId, State,
        operations::{refresh, shell},
    },
};
use tokio::time::Instant;

use crate::{
    agent::Crash,
    dice::Dice,
    executor::{ENDLESS, SHORT},
    network::{Fate, Rates, Road},
    world::World,
};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    ServerCrash,
    AgentKilled,
    PowerLost,
    PowerLostInWrite,
    GoneAtBeginning,
    Cut,
    Partition,
    HalfOpen,
    Stall,
    Refused,
    Busy,
    BadNetwork,
    Disorder,
    StopUnheard,
    DeviceClock,
    ServerClock,
    ClockSetUnderWay,
    DiskFull,
    Store,
}

const ALL: [Trouble; 19] = [
    Trouble::ServerCrash,
    Trouble::AgentKilled,
    Trouble::PowerLost,
    Trouble::PowerLostInWrite,
    Trouble::GoneAtBeginning,
    Trouble::Cut,
    Trouble::Partition,
    Trouble::HalfOpen,
    Trouble::Stall,
    Trouble::Refused,
    Trouble::Busy,
    Trouble::BadNetwork,
    Trouble::Disorder,
    Trouble::StopUnheard,
    Trouble::DeviceClock,
    Trouble::ServerClock,
    Trouble::ClockSetUnderWay,
    Trouble::DiskFull,
    Trouble::Store,
];

/// How agents end in the midst of disorder: most often so that nobody heard of what they had begun.
const DISORDERLY: [Crash; 3] = [Crash::PowerLost, Crash::PowerLost, Crash::Killed];

/// How a trouble ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healing {
    /// The server is started.
    Server,
    /// An agent is started.
    Agent(usize),
    /// The network of a device is good.
    Network(usize),
    /// Its disk has room.
    Disk(usize),
    /// The store is well.
    Store,
}

/// Draws trouble.
#[derive(Debug)]
pub struct Chaos {
    dice: Dice,
    /// What this simulation knows: few kinds let each of them do its worst.
    kinds: Vec<Trouble>,
    longest_pause: u64,
    number: u64,
}

impl Chaos {
    /// The trouble of a seed.
    pub fn new(seed: u64) -> Self {
        let dice = Dice::new(seed, "chaos");
        let share = [200, 500, 900][dice.place(3)];
        let mut kinds: Vec<_> = ALL.into_iter().filter(|_| dice.chance(share)).collect();
        if kinds.is_empty() {
            kinds.push(ALL[dice.place(ALL.len())]);
        }
        Self {
            longest_pause: [40, 120, 300][dice.place(3)],
            dice,
            kinds,
            number: 0,
        }
    }

    /// The time until the next trouble.
    pub fn pause(&self) -> Duration {
        self.dice.seconds(1, self.longest_pause)
    }
}

impl World {
    fn later(&mut self, least: u64, most: u64, healing: Healing) {
        self.chaos.number += 1;
        let at = Instant::now()
            + self
                .chaos
                .dice
                .time(Duration::from_secs(least), Duration::from_secs(most));
        self.healing.insert((at, self.chaos.number), healing);
    }

    /// Something goes wrong.
    pub(crate) async fn trouble(&mut self) {
        let trouble = self.chaos.kinds[self.chaos.dice.place(self.chaos.kinds.len())];
        let index = self.chaos.dice.place(self.agents.len());
        self.judge
            .trace
            .say(format_args!("trouble: {trouble:?} (device {index})"));
        let link = self.agents[index].link.clone();
        let dice = &self.chaos.dice;
        match trouble {
            Trouble::ServerCrash => {
                if self.door.fleet().is_none() {
                    return;
                }
                self.door.crash().await;
                for agent in &self.agents {
                    agent.link.set_fate(Fate::Cut, Fate::Cut);
                }
                self.later(1, 180, Healing::Server);
            }
            Trouble::AgentKilled | Trouble::PowerLost => {
                if !self.agents[index].runs() {
                    return;
                }
                let how = if trouble == Trouble::PowerLost {
                    Crash::PowerLost
                } else {
                    Crash::Killed
                };
                self.agents[index].crash(how).await;
                self.later(1, 600, Healing::Agent(index));
            }
            Trouble::PowerLostInWrite => {
                self.agents[index].disk.power_fails_in(dice.below(6));
            }
            Trouble::GoneAtBeginning => {
                let how = [Crash::Killed, Crash::PowerLost][dice.place(2)];
                let after = Duration::from_millis([0, 1, dice.below(3_000)][dice.place(3)]);
                self.agents[index].doom.waits(how, after);
            }
            Trouble::Cut => link.set_fate(Fate::Cut, Fate::Cut),
            Trouble::Partition => {
                link.set_road(Road::Silent);
                link.set_fate(Fate::Silent, Fate::Silent);
                self.later(5, 900, Healing::Network(index));
            }
            Trouble::HalfOpen => {
                if dice.chance(500) {
                    link.set_fate(Fate::Silent, Fate::Passes);
                } else {
                    link.set_fate(Fate::Passes, Fate::Silent);
                }
            }
            Trouble::Stall => {
                let until = Instant::now() + dice.seconds(5, 240);
                if dice.chance(500) {
                    link.set_fate(Fate::Waits(until), Fate::Silent);
                } else {
                    link.set_fate(Fate::Waits(until), Fate::Waits(until));
                }
            }
            Trouble::Refused => {
                link.set_road(Road::Refusing);
                link.set_fate(Fate::Cut, Fate::Cut);
                self.later(1, 300, Healing::Network(index));
            }
            Trouble::Busy => {
                link.set_road(Road::Busy(5 + dice.below(115) as u32));
                link.set_fate(Fate::Cut, Fate::Cut);
                self.later(1, 60, Healing::Network(index));
            }
            Trouble::BadNetwork => {
                let rate = || [0, 20, 100, 300][dice.place(4)];
                link.set_rates(Rates {
                    lost: rate(),
                    twice: rate(),
                    overtaken: rate(),
                    slow: rate(),
                });
                self.later(30, 900, Healing::Network(index));
            }
            // What is due arrives in any order.
            Trouble::Disorder => {
                link.set_rates(Rates {
                    overtaken: 800,
                    ..Rates::default()
                });
                let (is_doomed, how) = (dice.chance(500), DISORDERLY[dice.place(DISORDERLY.len())]);
                let after = Duration::from_millis([0, 1_500][dice.place(2)]);
                self.later(120, 600, Healing::Network(index));
                if is_doomed {
                    self.agents[index].doom.waits(how, after);
                }
                self.request_script(index, ENDLESS, 1).await;
                self.request_script(index, SHORT, 30).await;
                // Told to stop while nobody knows yet that it began.
                self.request_script(index, ENDLESS, 60).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                if let Some(run) = self.runs.last() {
                    self.cancel(*run).await;
                }
            }
            // A device hears that it should stop, and nobody hears from it.
            Trouble::StopUnheard => {
                if self.executing(index).is_none() {
                    self.request_script(index, ENDLESS, 20).await;
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                let Some(run) = self.executing(index) else { return };
                self.cancel(run).await;
                link.set_road(Road::Silent);
                link.set_fate(Fate::Silent, Fate::Passes);
                self.later(60, 900, Healing::Network(index));
            }
            Trouble::DeviceClock => {
                let by = jump(dice, &[3, 60, 600, 7_200, 172_800]);
                self.agents[index].clock.jump(by);
            }
            Trouble::ServerClock => {
                let by = jump(dice, &[3, 30, 120, 3_600]);
                self.judge.clock.jump(by);
                self.judge.clock_was_set();
            }
            // The server's clock is set while offers are under way, and what was sent after them may arrive before them.
            Trouble::ClockSetUnderWay => {
                link.set_rates(Rates {
                    overtaken: 500,
                    slow: 300,
                    ..Rates::default()
                });
                let by = 60 + dice.below(3_600) as i64;
                let (expires, pause) = (
                    20 + dice.below(60) as u32,
                    dice.time(Duration::ZERO, Duration::from_secs(2)),
                );
                self.later(60, 300, Healing::Network(index));
                for _ in 0..4 {
                    self.request(&[index], refresh::NAME, serde_json::json!({}), 60, expires)
                        .await;
                }
                tokio::time::sleep(pause).await;
                self.judge.clock.jump(by);
                self.judge.clock_was_set();
            }
            Trouble::DiskFull => {
                self.agents[index].disk.set_full(true);
                self.later(5, 300, Healing::Disk(index));
            }
            Trouble::Store => {
                let rate = || [0, 20, 150][dice.place(3)];
                self.door.store.set_faults(rate(), rate(), rate());
                self.later(5, 300, Healing::Store);
            }
        }
        self.judge.cover().fault(&format!("{trouble:?}"));
    }

    /// A trouble ends.
    pub(crate) async fn heal(&mut self, healing: Healing) {
        self.judge.trace.say(format_args!("heals: {healing:?}"));
        match healing {
            Healing::Server => {
                if self.door.fleet().is_none()
                    && let Err(error) = self.door.start().await
                {
                    self.judge
                        .trace
                        .say(format_args!("the server cannot start: {}", error.code().name()));
                    self.later(1, 20, Healing::Server);
                }
            }
            Healing::Agent(index) => self.agents[index].start(),
            Healing::Network(index) => {
                let link = &self.agents[index].link;
                link.set_road(Road::Open);
                link.set_rates(Rates::default());
            }
            Healing::Disk(index) => self.agents[index].disk.set_full(false),
            Healing::Store => self.door.store.set_faults(0, 0, 0),
        }
    }

    /// Devices were struck in the middle of a write, or at the beginning of a run.
    pub(crate) async fn who_was_struck(&mut self) {
        for index in 0..self.agents.len() {
            let agent = &mut self.agents[index];
            let doom = agent.doom.struck();
            let how = agent.disk.has_power_failed().then_some(Crash::PowerLost).or(doom);
            if let Some(how) = how
                && agent.runs()
            {
                agent.crash(how).await;
                self.later(1, 300, Healing::Agent(index));
            }
        }
    }

    /// Somebody asks a device for a script, for so many seconds.
    async fn request_script(&mut self, index: usize, script: &str, timeout: u32) {
        let params = serde_json::json!({"script": script});
        self.request(&[index], shell::NAME, params, timeout, 600).await;
    }

    /// The newest run that the server knows as being executed by a device.
    fn executing(&self, index: usize) -> Option<RunId> {
        let device = self.agents[index].device;
        let is_executed = |run: &Run| run.device == device && run.state == State::Running;
        let newest = self.runs.iter().rev();
        newest
            .filter_map(|run| self.door.stored::<Run>(run.uuid()))
            .find(is_executed)
            .map(|run| run.id)
    }

    /// All trouble ends.
    pub(crate) async fn heal_all(&mut self) {
        self.judge.trace.say("peace");
        self.who_was_struck().await;
        self.healing.clear();
        self.heal(Healing::Store).await;
        for index in 0..self.agents.len() {
            self.heal(Healing::Network(index)).await;
            self.heal(Healing::Disk(index)).await;
            self.agents[index].disk.power_stays();
            self.agents[index].doom.lift();
            self.heal(Healing::Agent(index)).await;
        }
        self.heal(Healing::Server).await;
    }
}

/// A clock is set, by up to one of these.
fn jump(dice: &Dice, most: &[u64]) -> i64 {
    let by = 1 + dice.below(most[dice.place(most.len())]) as i64;
    if dice.chance(500) { by } else { -by }
}
