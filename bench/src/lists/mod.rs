//! How long people wait for lists (P11) and for "which devices have package x below version y" (P12), through the services.

mod questions;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use fleet_bench_dataset::{Dataset, Size};
use fleet_core::{
    Fleet,
    store::{Backend, View},
};
use serde::Serialize;

use self::questions::{Part, Question};
use crate::{
    figures::{median, quantile},
    machine::{self, Jitter},
    storage::Kind,
};

/// The most bytes of a page (P11).
const MOST_BYTES: usize = 64 * 1024;
/// Milliseconds that 99 of a hundred questions for a package may take (P12).
const PACKAGE_MS: f64 = 100.0;
/// From so many devices on the greater limit holds (P11 at L).
const LARGE: usize = 100_000;
/// Memory that all questions together may add, in kB, whatever the fleet: SQLite's six readers cache 8 MB each.
const MOST_KB: u64 = 128 * 1024;

/// Lists and questions for packages.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which backends [default: sqlite]
    #[arg(long, value_enum)]
    backend: Vec<Kind>,
    /// How many devices there are
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    devices: u64,
    /// How many package sets they share [default: 15 for each 100 devices]
    #[arg(long)]
    package_sets: Option<usize>,
    /// How often each question is asked
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    times: u64,
    /// Only questions whose name holds this
    #[arg(long)]
    only: Option<String>,
    /// Fill the store here, or use what was filled before; else in a folder that goes away
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Print nothing but the JSON object to standard output
    #[arg(long)]
    json: bool,
}

/// The last line.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// Something was missed, and the machine is too busy for that to mean anything.
    void: bool,
    devices: usize,
    packages: usize,
    package_sets: usize,
    backends: Vec<Outcome>,
}

/// What came of a backend.
#[derive(Debug, Serialize)]
struct Outcome {
    name: &'static str,
    ok: bool,
    /// How much longer than usual a millisecond of plain work took, in one of a hundred cases.
    jitter_ms: f64,
    /// Of the slowest question of each part: the latency that 99 of a hundred askings did not exceed.
    p99_ms: BTreeMap<&'static str, f64>,
    /// The largest page.
    largest_page_bytes: usize,
    /// Memory before the questions and at most during them, in kB.
    resident_kb: u64,
    peak_kb: u64,
    missed: Vec<String>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
struct Answered {
    part: Part,
    name: String,
    p50_ms: f64,
    p99_ms: f64,
    bytes: usize,
}

/// Asks, prints, and says whether it was quick enough.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(arguments))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else if report.void {
        ExitCode::from(crate::VOID)
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let devices = usize::try_from(arguments.devices)?;
    let mut size = Size::of(devices);
    size.package_sets = arguments.package_sets.unwrap_or(size.package_sets);
    let dataset = Dataset::new(1, size);
    let kinds = if arguments.backend.is_empty() {
        vec![Kind::Sqlite]
    } else {
        arguments.backend.clone()
    };
    let mut backends = Vec::new();
    for kind in kinds {
        backends.push(of_backend(kind, &dataset, arguments).await?);
    }
    Ok(Report {
        ok: backends.iter().all(|backend| backend.ok),
        void: backends
            .iter()
            .any(|backend| !backend.ok && Jitter::is_too_much(backend.jitter_ms)),
        devices,
        packages: dataset.size().packages,
        package_sets: dataset.size().package_sets,
        backends,
    })
}

async fn of_backend(kind: Kind, dataset: &Dataset, arguments: &Arguments) -> Result<Outcome> {
    let temporary = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let folder = match &arguments.keep {
        Some(folder) => folder.join(kind.name()),
        None => temporary.path().to_owned(),
    };
    std::fs::create_dir_all(&folder)?;
    let backend = filled(kind, &folder, dataset).await?;
    let fleet = dataset.open(&backend).await?;
    let mut all = questions::all(&fleet, dataset).await?;
    all.retain(|question| {
        arguments
            .only
            .as_ref()
            .is_none_or(|part| question.name.contains(part.as_str()))
    });
    let own = std::process::id();
    let before = machine::memory(own)?;
    let (mut answered, mut jitter) = (Vec::new(), Jitter::default());
    for question in &all {
        answered.push(ask(question, arguments.times).await?);
        (0..10).for_each(|_| jitter.look());
    }
    let after = machine::memory(own)?;
    fleet.close().await.map_err(|error| anyhow::anyhow!(error.log()))?;
    let outcome = judge(
        kind,
        dataset.size().devices,
        &answered,
        (before.resident, after.resident),
        jitter.ms(),
    );
    let text = table(kind, dataset.size(), &answered, &outcome);
    if arguments.json {
        eprint!("{text}");
    } else {
        print!("{text}");
    }
    Ok(outcome)
}

/// A store with the fleet in it.
async fn filled(kind: Kind, folder: &Path, dataset: &Dataset) -> Result<Arc<dyn Backend>> {
    let backend = kind.open(folder).await?;
    let view: Box<dyn View> = backend.view().await?;
    if view.seq() > 0 {
        let fleet: Fleet = dataset.open(&backend).await.context("the store that was kept")?;
        let counts = fleet
            .devices()
            .counts(&fleet_core::access::Context::system("bench"))
            .await;
        let devices = counts.map_err(|error| anyhow::anyhow!(error.log()))?.devices;
        if devices != dataset.size().devices as u64 {
            bail!(
                "{} holds {devices} devices; remove it, or ask for as many",
                folder.display()
            );
        }
        return Ok(backend);
    }
    drop(view);
    let begun = Instant::now();
    let mut said = Instant::now();
    let filled = dataset
        .fill(&backend, |progress| {
            if said.elapsed().as_secs() >= 5 {
                said = Instant::now();
                eprintln!(
                    "filling {}: {}, {} of {}",
                    kind.name(),
                    progress.phase,
                    progress.done,
                    progress.of
                );
            }
        })
        .await?;
    eprintln!(
        "filled {} in {:.1} s: {filled}",
        kind.name(),
        begun.elapsed().as_secs_f64()
    );
    Ok(backend)
}

async fn ask(question: &Question, times: u64) -> Result<Answered> {
    let mut latencies = Vec::new();
    let mut bytes = (question.ask)().await.with_context(|| question.name.clone())?;
    for _ in 0..times {
        let begun = Instant::now();
        bytes = bytes.max((question.ask)().await?);
        latencies.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Answered {
        part: question.part,
        name: question.name.clone(),
        p50_ms: median(latencies.clone()),
        p99_ms: quantile(latencies, 0.99),
        bytes,
    })
}

/// Milliseconds that 99 of a hundred askings may take; none where no target stands.
fn limit(kind: Kind, devices: usize, part: Part) -> Option<f64> {
    match part {
        Part::List | Part::Count | Part::Summary if devices >= LARGE => Some(200.0),
        Part::List | Part::Count | Part::Summary => Some(kind.list_ms()),
        Part::Package => Some(PACKAGE_MS),
        Part::Other => None,
    }
}

fn judge(kind: Kind, devices: usize, answered: &[Answered], (before, after): (u64, u64), jitter_ms: f64) -> Outcome {
    let mut missed = Vec::new();
    let mut p99_ms: BTreeMap<&'static str, f64> = BTreeMap::new();
    for one in answered {
        let slowest = p99_ms.entry(one.part.name()).or_default();
        *slowest = slowest.max(one.p99_ms);
        if let Some(limit) = limit(kind, devices, one.part)
            && one.p99_ms > limit
        {
            missed.push(format!(
                "{}: {:.1} ms, the limit is {limit:.0} ms",
                one.name, one.p99_ms
            ));
        }
        if one.part != Part::Other && one.bytes > MOST_BYTES {
            missed.push(format!(
                "{}: a body of {} bytes, the limit is {MOST_BYTES}",
                one.name, one.bytes
            ));
        }
    }
    if after.saturating_sub(before) > MOST_KB {
        missed.push(format!("memory grew from {before} to {after} kB"));
    }
    Outcome {
        name: kind.name(),
        ok: missed.is_empty(),
        jitter_ms,
        p99_ms,
        largest_page_bytes: answered.iter().map(|one| one.bytes).max().unwrap_or(0),
        resident_kb: before,
        peak_kb: after,
        missed,
    }
}

fn table(kind: Kind, size: &Size, answered: &[Answered], outcome: &Outcome) -> String {
    let mut text = format!(
        "{}: {} devices with {} packages each in {} distinct sets, load average {:.1}\n",
        kind.name(),
        size.devices,
        size.packages,
        size.package_sets,
        machine::load()
    );
    for part in Part::ALL {
        let mut of_part: Vec<_> = answered.iter().filter(|one| one.part == part).collect();
        of_part.sort_by(|a, b| b.p99_ms.total_cmp(&a.p99_ms));
        if of_part.is_empty() {
            continue;
        }
        let typical = median(of_part.iter().map(|one| one.p50_ms).collect());
        text += &format!(
            "  {}: {} questions, typically {typical:.1} ms; the slowest:\n",
            part.name(),
            of_part.len()
        );
        for one in of_part.iter().take(12) {
            text += &format!(
                "    p50 {:7.2} ms  p99 {:7.2} ms  {:6} bytes  {}\n",
                one.p50_ms, one.p99_ms, one.bytes, one.name
            );
        }
    }
    text += &format!(
        "  memory: {} kB before, {} kB after\n",
        outcome.resident_kb, outcome.peak_kb
    );
    for missed in &outcome.missed {
        text += &format!("  missed: {missed}\n");
    }
    text += &match (outcome.ok, Jitter::is_too_much(outcome.jitter_ms)) {
        (true, _) => "  reached\n".to_owned(),
        (false, false) => String::new(),
        (false, true) => format!(
            "  void: other programs take the processor away for {:.0} ms; what was missed may be theirs\n",
            outcome.jitter_ms
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(part: Part, p99_ms: f64, bytes: usize) -> Answered {
        Answered {
            part,
            name: "x".into(),
            p50_ms: 1.0,
            p99_ms,
            bytes,
        }
    }

    #[track_caller]
    fn check(devices: usize, answered: Answered, memory: (u64, u64), missed: usize) {
        let outcome = judge(Kind::Sqlite, devices, &[answered], memory, 0.1);
        assert_eq!(outcome.missed.len(), missed, "{:?}", outcome.missed);
        assert_eq!(outcome.ok, missed == 0);
    }

    #[test]
    fn each_question_has_its_limit() {
        check(10_000, answered(Part::List, 50.0, 65_536), (1, 1), 0);
        check(10_000, answered(Part::Count, 50.1, 1), (1, 1), 1);
        check(100_000, answered(Part::Summary, 200.0, 1), (1, 1), 0);
        check(100_000, answered(Part::Package, 100.1, 70_000), (1, 1), 2);
        check(10_000, answered(Part::Other, 900.0, 70_000), (1, 1), 0);
        check(10_000, answered(Part::List, 1.0, 1), (1_000, 132_073), 1);
    }

    #[tokio::test]
    async fn every_question_has_an_answer() {
        let dataset = Dataset::new(
            2,
            Size {
                packages: 300,
                ..Size::of(60)
            },
        );
        let folder = tempfile::tempdir().unwrap();
        let backend = filled(Kind::Memory, folder.path(), &dataset).await.unwrap();
        let fleet = dataset.open(&backend).await.unwrap();
        let all = questions::all(&fleet, &dataset).await.unwrap();
        let mut empty = Vec::new();
        for question in &all {
            if ask(question, 1).await.unwrap().bytes == r#"{"items":[],"next":null}"#.len() {
                empty.push(question.name.as_str());
            }
        }
        // What nobody has is asked for on purpose; most is there.
        assert!(all.len() > 250 && empty.len() < all.len() / 3, "{empty:?}");
    }
}
