//! What came of it, for people and for programs.

use std::{collections::BTreeMap, process::ExitCode, sync::atomic::Ordering::Relaxed};

use anyhow::Result;
use serde::Serialize;

use super::{
    arguments::Arguments, enrol::Enrolments, fanout::Fanout, probe::Probe, run::Command, steady::Steady, storm::Storm,
    tally::Tally,
};
use crate::machine;

/// The last line of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub ok: bool,
    /// What was missed, in words.
    pub missed: Vec<String>,
    pub agents: u64,
    pub tls: bool,
    pub poll: bool,
    pub backend: String,
    pub beat_seconds: u64,
    /// Beats and results that were sent and never acknowledged.
    pub lost: u64,
    #[serde(flatten)]
    pub steady: Steady,
    /// Of the server's CPU time, for a beat.
    pub micros_per_beat: Option<f64>,
    /// Memory of the server for each connected agent.
    pub kb_per_idle_agent: Option<f64>,
    /// How long all took to come for the first time.
    pub connect_seconds: f64,
    #[serde(flatten)]
    pub enrolments: Enrolments,
    #[serde(flatten)]
    pub run: Option<Command>,
    #[serde(flatten)]
    pub storm: Option<Storm>,
    #[serde(flatten)]
    pub probe: Option<Probe>,
    #[serde(flatten)]
    pub fanout: Option<Fanout>,
    pub reports: u64,
    /// Beats that were under way when the server was killed.
    pub interrupted: u64,
    pub refused_offers: u64,
    /// What went wrong, how often.
    pub troubles: BTreeMap<String, u64>,
    pub load_average: f64,
}

/// A machine that takes longer for the same without storage, keys and signatures may take this many times as long for all of it.
const TIMES_BARE: f64 = 2.0;

/// What a command to all may take, in seconds: what is wanted, or on a slow machine so many times what the bare fan-out took.
fn fanout_bound(wanted: f64, bare: Option<f64>) -> f64 {
    bare.map_or(wanted, |bare| wanted.max(TIMES_BARE * bare))
}

/// A figure and its bound.
struct Goal {
    row: &'static str,
    what: &'static str,
    value: f64,
    most: f64,
}

impl Outcome {
    pub fn new(arguments: &Arguments, enrolments: Enrolments) -> Self {
        let backend = match (&arguments.token_file, &arguments.storage) {
            (Some(_), _) => "unknown".to_owned(),
            (None, Some(uri)) => uri.split(':').next().unwrap_or_default().to_owned(),
            (None, None) => format!("{:?}", arguments.backend).to_lowercase(),
        };
        Self {
            ok: false,
            missed: Vec::new(),
            agents: arguments.agents,
            tls: arguments.tls,
            poll: arguments.poll,
            backend,
            beat_seconds: arguments.beat().as_secs(),
            lost: 0,
            steady: Steady::default(),
            micros_per_beat: None,
            kb_per_idle_agent: None,
            connect_seconds: 0.0,
            enrolments,
            run: None,
            storm: None,
            probe: None,
            fanout: None,
            reports: 0,
            interrupted: 0,
            refused_offers: 0,
            troubles: BTreeMap::new(),
            load_average: machine::load(),
        }
    }

    /// What agents counted, when they have ended.
    pub fn take(&mut self, tally: &Tally) {
        let open = |counter: &std::sync::atomic::AtomicI64| u64::try_from(counter.load(Relaxed)).unwrap_or(0);
        self.lost = tally.lost_beats.load(Relaxed) + open(&tally.waiting) + open(&tally.results_waiting);
        self.interrupted = tally.interrupted_beats.load(Relaxed);
        self.refused_offers = tally.refused_offers.load(Relaxed);
        self.reports = tally.reports.load(Relaxed);
        self.troubles = tally.troubles();
        self.load_average = machine::load();
        let beats = self.steady.beats_per_second;
        self.micros_per_beat = self
            .steady
            .cpu_percent
            .filter(|_| beats > 0.0)
            .map(|percent| percent * 1e4 / beats);
        self.missed = self.judge();
        self.ok = self.missed.is_empty();
    }

    /// Sizes have targets; what is measured at others has none but that nothing is lost.
    fn goals(&self) -> Vec<Goal> {
        let mut goals = vec![Goal {
            row: "R1",
            what: "lost beats and results",
            value: self.lost as f64,
            most: 0.0,
        }];
        let mut goal = |row, what, value: Option<f64>, most| {
            goals.extend(value.map(|value| Goal { row, what, value, most }));
        };
        let steady = &self.steady;
        match (self.poll, self.agents) {
            (false, 10_000) => {
                goal("P1", "% of a core", steady.cpu_percent, 15.0);
                goal("P1", "MB resident", steady.rss_mb, if self.tls { 500.0 } else { 150.0 });
                goal("P1", "ms at the 99th percentile", Some(steady.p99_ms), 50.0);
                goal("P5", "s to enrol all", Some(self.enrolments.seconds), 40.0);
                goal(
                    "P7",
                    "kB an idle agent",
                    self.kb_per_idle_agent,
                    if self.tls { 45.0 } else { 12.0 },
                );
                let (run, bare) = (self.run.as_ref(), self.fanout.as_ref());
                goal(
                    "P6",
                    "s until half have acknowledged",
                    run.map(|run| run.run_acknowledged_half_seconds),
                    fanout_bound(1.0, bare.map(|bare| bare.bare_acknowledged_half_seconds)),
                );
                goal(
                    "P6",
                    "s until all have acknowledged",
                    run.map(|run| run.run_acknowledged_all_seconds),
                    fanout_bound(3.0, bare.map(|bare| bare.bare_acknowledged_all_seconds)),
                );
                let storm = self.storm.as_ref();
                goal(
                    "P8",
                    "s until all are back",
                    storm.map(|storm| storm.reconnect_seconds),
                    30.0,
                );
                goal(
                    "P8",
                    "shown offline",
                    storm.map(|storm| storm.shown_offline as f64),
                    0.0,
                );
                goal(
                    "P8",
                    "attempts in ten seconds",
                    storm.map(|storm| storm.most_attempts_in_10_seconds as f64),
                    3.0,
                );
            }
            (true, 100_000) => {
                goal("P2", "% of a core", steady.cpu_percent, 120.0);
                goal("P2", "MB resident", steady.rss_mb, 1_024.0);
                goal("P2", "ms at the 99th percentile", Some(steady.p99_ms), 250.0);
            }
            _ => {}
        }
        goals
    }

    fn judge(&self) -> Vec<String> {
        let missed = |goal: &Goal| {
            (goal.value > goal.most).then(|| {
                format!(
                    "{}: {:.1} {}, at most {} are wanted",
                    goal.row, goal.value, goal.what, goal.most
                )
            })
        };
        self.goals().iter().filter_map(missed).collect()
    }

    /// Prints, and says whether it is enough.
    pub fn print(&self, arguments: &Arguments) -> Result<ExitCode> {
        for (name, value) in self.table() {
            println!("{name:26} {value}");
        }
        for missed in &self.missed {
            println!("missed: {missed}");
        }
        println!("{}", if self.ok { "reached" } else { "missed" });
        if arguments.json {
            println!("{}", serde_json::to_string(self)?);
        }
        Ok(if self.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn table(&self) -> Vec<(&'static str, String)> {
        let (steady, enrolments) = (&self.steady, &self.enrolments);
        let way = match (self.poll, self.tls) {
            (false, false) => "connected, plain",
            (false, true) => "connected, mutual TLS",
            (true, false) => "polling, plain",
            (true, true) => "polling, mutual TLS",
        };
        let mut rows = vec![
            (
                "agents",
                format!(
                    "{} {way}, a beat every {} s, {}",
                    self.agents, self.beat_seconds, self.backend
                ),
            ),
            (
                "enrolment",
                format!(
                    "{:.0} a second, {:.1} s in all; median {:.0} ms, p99 {:.0} ms",
                    enrolments.enrolments_per_second,
                    enrolments.seconds,
                    enrolments.enrol_p50_ms,
                    enrolments.enrol_p99_ms
                ),
            ),
            ("first connection of all", format!("{:.1} s", self.connect_seconds)),
            (
                "beats",
                format!(
                    "{:.0} a second; median {:.1} ms, p99 {:.1} ms, at most {:.0} ms",
                    steady.beats_per_second, steady.p50_ms, steady.p99_ms, steady.max_ms
                ),
            ),
        ];
        if let (Some(cpu), Some(system), Some(rss)) = (steady.cpu_percent, steady.cpu_system_percent, steady.rss_mb) {
            rows.push((
                "server",
                format!("{cpu:.1} % of a core ({system:.1} % in the kernel), {rss:.0} MB resident"),
            ));
        }
        if let Some(kilobytes) = self.kb_per_idle_agent {
            rows.push(("memory for an idle agent", format!("{kilobytes:.1} kB")));
        }
        if let (Some(probe), Some(micros)) = (&self.probe, self.micros_per_beat) {
            rows.push((
                "CPU time for a beat",
                format!(
                    "{micros:.0} µs; a bare server at its limit {:.0} µs ({:.0} beats a second)",
                    probe.probe_micros_per_beat, probe.probe_beats_per_second
                ),
            ));
        }
        if let Some(run) = &self.run {
            rows.push((
                "one command to all",
                format!(
                    "answered in {:.2} s; acknowledged by half in {:.2} s, by all in {:.2} s; all results in {:.2} s",
                    run.run_answered_seconds,
                    run.run_acknowledged_half_seconds,
                    run.run_acknowledged_all_seconds,
                    run.run_finished_all_seconds
                ),
            ));
        }
        if let Some(bare) = &self.fanout {
            let ratio = |ours: f64, bare: f64| format!("{bare:.2} s ({:.1} times as long)", ours / bare);
            let run = self.run.clone().unwrap_or_default();
            rows.push((
                "the same by a bare server",
                format!(
                    "without TLS; by half in {}, by all in {}; all results in {}",
                    ratio(run.run_acknowledged_half_seconds, bare.bare_acknowledged_half_seconds),
                    ratio(run.run_acknowledged_all_seconds, bare.bare_acknowledged_all_seconds),
                    ratio(run.run_finished_all_seconds, bare.bare_finished_all_seconds)
                ),
            ));
        }
        if let Some(storm) = &self.storm {
            rows.push((
                "after kill -9",
                format!(
                    "restarted in {:.1} s, all back {:.1} s later; at most {} attempts of an agent in 10 s, {} in vain; {} shown offline",
                    storm.restart_seconds,
                    storm.reconnect_seconds,
                    storm.most_attempts_in_10_seconds,
                    storm.failed_attempts,
                    storm.shown_offline
                ),
            ));
        }
        rows.push((
            "lost",
            format!(
                "{} ({} were under way when the server was killed)",
                self.lost, self.interrupted
            ),
        ));
        rows.push((
            "generator",
            format!(
                "{:.0} % of a core, {:.0} MB",
                steady.generator_cpu_percent, steady.generator_rss_mb
            ),
        ));
        if !self.troubles.is_empty() {
            rows.push(("what went wrong", format!("{:?}", self.troubles)));
        }
        rows
    }
}
