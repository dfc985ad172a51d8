//! What a backend does in a second, beside the bare engine in the same minute: heartbeats, commits and rows of a migration.
//!
//! ```text
//!   bare         a copy without a store, beside a migration
//!   engines      the table of backends: one entry each
//!   load         what is written, and the clients
//!   migration    a whole fleet from one backend into another
//!   probe/       the bare engines
//! ```
//!
//! Probe and product take turns, each in a new folder; figures are medians of the turns. The last line is one JSON object.

mod bare;
mod engines;
mod load;
mod migration;
mod probe;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Result;
use serde::Serialize;

pub use self::{
    bare::{Bare, Copying, plain},
    engines::{Kind, postgres},
    load::{Ours, Source, Target, What},
};
use self::{
    engines::Goal,
    load::{Turn, turn},
    probe::Probe,
};
use crate::{figures::median, machine};

/// What our store has to reach of the probe's rate.
const GATE: f64 = 0.6;

/// Writes a second.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which backends [default: all]
    #[arg(long, value_enum)]
    backend: Vec<Kind>,
    /// Which writes [default: all]
    #[arg(long, value_enum)]
    what: Vec<What>,
    /// How many clients write at once
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    clients: u64,
    /// How long each turn is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How often each has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=20))]
    rounds: u64,
    /// How many devices a migration moves; 0: none is made
    #[arg(long, default_value_t = 1_000)]
    devices: usize,
    /// Print nothing but the JSON object to standard output
    #[arg(long)]
    json: bool,
}

/// The last line.
#[derive(Debug, Serialize)]
struct Report {
    backends: Vec<Line>,
}

/// One figure of one backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    name: &'static str,
    what: &'static str,
    /// A second.
    absolute: f64,
    /// The bare engine's; none where there is none.
    probe: Option<f64>,
    /// The median of the ratios pair by pair: what was measured in the same moments.
    ratio: Option<f64>,
    #[serde(skip)]
    goal: Goal,
    /// Whether the ratio is the gate.
    #[serde(skip)]
    gated: bool,
    /// What else there is to say.
    #[serde(skip)]
    note: String,
}

/// What is to be said of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Reached,
    Missed,
    Void,
}

/// The turns of a backend and of its probe.
struct Pairs {
    kind: Kind,
    what: What,
    turns: Vec<(Turn, Option<Turn>)>,
}

/// Measures, prints, and says whether it is enough.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    // As the server's own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let lines = runtime.block_on(measure(arguments))?;
    let verdicts: Vec<_> = lines.iter().map(Line::verdict).collect();
    for (line, verdict) in lines.iter().zip(&verdicts) {
        let text = line.text(*verdict);
        if arguments.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
    println!("{}", serde_json::to_string(&Report { backends: lines })?);
    Ok(exit_code(&verdicts))
}

fn exit_code(verdicts: &[Verdict]) -> ExitCode {
    if verdicts.contains(&Verdict::Void) {
        ExitCode::from(crate::VOID)
    } else if verdicts.contains(&Verdict::Missed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

async fn measure(arguments: &Arguments) -> Result<Vec<Line>> {
    let kinds = if arguments.backend.is_empty() {
        Kind::all()
    } else {
        arguments.backend.clone()
    };
    let whats: &[What] = if arguments.what.is_empty() {
        &What::ALL
    } else {
        &arguments.what
    };
    let source = Source::new();
    let mut all: Vec<Pairs> = kinds
        .iter()
        .flat_map(|kind| {
            whats.iter().map(|what| Pairs {
                kind: *kind,
                what: *what,
                turns: Vec::new(),
            })
        })
        .collect();
    for round in 1..=arguments.rounds {
        for pairs in &mut all {
            let probe = probe_turn(pairs, &source, arguments).await?;
            let ours = our_turn(pairs, &source, arguments).await?;
            eprintln!(
                "round {round} of {}, {} {}: {}{} (load average {:.1})",
                arguments.rounds,
                pairs.kind.name(),
                pairs.what.name(),
                spent(ours),
                probe.map_or_else(String::new, |probe| format!(", the probe {}", spent(probe))),
                machine::load(),
            );
            pairs.turns.push((ours, probe));
        }
    }
    let mut lines: Vec<Line> = all.iter().map(Pairs::line).collect();
    for kind in kinds {
        if let Some((from, goal)) = kind.moved_from().filter(|_| arguments.devices > 0) {
            lines.push(migration_line(from, kind, goal, arguments).await?);
        }
    }
    Ok(lines)
}

/// The rate of a turn, and what each of its writes cost.
fn spent(turn: Turn) -> String {
    format!("{:.0} with {:.1} µs of CPU each", turn.rate, turn.cpu_us)
}

async fn migration_line(from: Kind, to: Kind, goal: f64, arguments: &Arguments) -> Result<Line> {
    let mut turns = Vec::new();
    for round in 1..=arguments.rounds {
        let moved = migration::turn(from, to, arguments.devices).await?;
        eprintln!(
            "round {round} of {}, migration from {} to {}: {:.0} rows/s, {:.0} while copying, the probe {:.0} (load average {:.1})",
            arguments.rounds,
            from.name(),
            to.name(),
            moved.rate,
            moved.copying,
            moved.probe,
            machine::load(),
        );
        turns.push(moved);
    }
    let of = |read: fn(&migration::Moved) -> f64| median(turns.iter().map(read).collect());
    Ok(Line {
        name: to.name(),
        what: "migration rows/s",
        absolute: of(|moved| moved.rate),
        probe: Some(of(|moved| moved.probe)),
        ratio: Some(of(|moved| moved.rate / moved.probe)),
        goal: Goal {
            absolute: Some(("S4", goal)),
            published: None,
        },
        gated: false,
        note: format!(
            "from {}, read back and verified; {:.0}/s while copying",
            from.name(),
            of(|moved| moved.copying)
        ),
    })
}

async fn our_turn(pairs: &Pairs, source: &Source, arguments: &Arguments) -> Result<Turn> {
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let backend = pairs.kind.open(folder.path()).await?;
    let target = Ours {
        backend: backend.clone(),
        source: source.clone(),
        what: pairs.what,
    };
    let turn = clients(Arc::new(target), arguments).await?;
    backend.close().await?;
    Ok(turn)
}

async fn probe_turn(pairs: &Pairs, source: &Source, arguments: &Arguments) -> Result<Option<Turn>> {
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let Some((engine, group)) = pairs.kind.probe(pairs.what, folder.path()).await? else {
        return Ok(None);
    };
    let (probe, done) = Probe::start(engine, group, source.clone(), pairs.what);
    let turn = clients(Arc::new(probe), arguments).await;
    // What went wrong with it says more than that nobody answered.
    done.await??;
    turn.map(Some)
}

async fn clients(target: Arc<dyn Target>, arguments: &Arguments) -> Result<Turn> {
    let clients = usize::try_from(arguments.clients)?;
    turn(target, clients, Duration::from_secs(arguments.seconds)).await
}

impl Pairs {
    fn line(&self) -> Line {
        let ratios: Vec<f64> = self
            .turns
            .iter()
            .filter_map(|(ours, probe)| Some(ours.rate / probe.as_ref()?.rate))
            .collect();
        let probes: Vec<f64> = self
            .turns
            .iter()
            .filter_map(|(_, probe)| Some(probe.as_ref()?.rate))
            .collect();
        Line {
            name: self.kind.name(),
            what: self.what.name(),
            absolute: median(self.turns.iter().map(|(ours, _)| ours.rate).collect()),
            probe: (!probes.is_empty()).then(|| median(probes)),
            ratio: (!ratios.is_empty()).then(|| median(ratios)),
            goal: self.kind.goal(self.what),
            gated: true,
            note: format!(
                "p99 {:.1} ms",
                median(self.turns.iter().map(|(ours, _)| ours.p99_ms).collect())
            ),
        }
    }
}

impl Line {
    fn verdict(&self) -> Verdict {
        let too_slow = |(probe, published): (f64, f64)| probe < published / 2.0;
        if self.probe.zip(self.goal.published).is_some_and(too_slow) {
            Verdict::Void
        } else if self.gated && self.ratio.is_some_and(|ratio| ratio < GATE) {
            Verdict::Missed
        } else {
            Verdict::Reached
        }
    }

    fn text(&self, verdict: Verdict) -> String {
        let mut text = format!(
            "{:14} {:16} {:>9.0}/s, {}",
            self.name, self.what, self.absolute, self.note
        );
        if let (Some(probe), Some(ratio)) = (self.probe, self.ratio) {
            text += &format!("; the probe {probe:.0}/s, {:.1} % of it pair by pair", ratio * 100.0);
            text += &match (verdict, self.goal.published) {
                (Verdict::Void, Some(published)) => format!(": void, the probe is published with {published:.0}/s"),
                (Verdict::Missed, _) => format!(": missed, the gate is {:.0} %", GATE * 100.0),
                _ if self.gated => format!(": reached, the gate is {:.0} %", GATE * 100.0),
                _ => String::new(),
            };
        }
        if let Some((target, goal)) = self.goal.absolute {
            let verdict = if self.absolute >= goal { "pass" } else { "fail" };
            text += &format!("; {target} wants {goal:.0}/s: {verdict}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, what: What, turns: &[(f64, Option<f64>)], expected: (Verdict, &str)) {
        let turn = |rate| Turn {
            rate,
            p99_ms: 1.0,
            cpu_us: 1.0,
        };
        let turns = turns
            .iter()
            .map(|(ours, probe)| (turn(*ours), probe.map(turn)))
            .collect();
        let line = Pairs { kind, what, turns }.line();
        let text = line.text(line.verdict());
        assert_eq!(line.verdict(), expected.0, "{text}");
        assert!(text.contains(expected.1), "{text}");
    }

    #[test]
    fn the_gate_is_the_ratio_and_a_slow_probe_says_nothing() {
        use {Verdict::*, What::*};
        check(
            Kind::Sqlite,
            Heartbeats,
            &[(12_000.0, Some(20_000.0))],
            (Reached, "60.0 % of it"),
        );
        check(
            Kind::Sqlite,
            Heartbeats,
            &[(11_900.0, Some(20_000.0))],
            (Missed, "59.5 % of it"),
        );
        check(
            Kind::Sqlite,
            Heartbeats,
            &[(10_300.0, Some(10_399.0))],
            (Void, "published with 20800"),
        );
        check(
            Kind::Sqlite,
            Heartbeats,
            &[(9_900.0, Some(10_500.0))],
            (Reached, "P3 wants 10000/s: fail"),
        );
        check(Kind::Sqlite, Commits, &[(1.0, Some(1.0))], (Reached, "100.0 %"));
        check(Kind::Memory, Heartbeats, &[(1.0, None)], (Reached, "memory"));
        // Pair by pair: what was slow together counts as what it was.
        check(
            Kind::Sqlite,
            Commits,
            &[(6.0, Some(10.0)), (600.0, Some(1_000.0)), (70.0, Some(100.0))],
            (Reached, "60.0 % of it"),
        );
    }

    #[test]
    fn the_last_line_holds_what_was_asked_for() {
        let pairs = Pairs {
            kind: Kind::Sqlite,
            what: What::Commits,
            turns: vec![(
                Turn {
                    rate: 3.0,
                    ..Turn::default()
                },
                None,
            )],
        };
        let report = serde_json::to_string(&Report {
            backends: vec![pairs.line()],
        })
        .unwrap();
        assert_eq!(
            report,
            r#"{"backends":[{"name":"sqlite","what":"commits/s","absolute":3.0,"probe":null,"ratio":null}]}"#
        );
    }
}
