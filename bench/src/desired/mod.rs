//! How long it takes until a whole fleet has its new manifests (five seconds for 10,000 devices), and until one device is placed among a
//! thousand dynamic groups (five milliseconds).
//!
//! ```text
//!   changes    what somebody changes, each with the manifests that follow
//!   groups     one device among a thousand queries
//! ```
//!
//! Beside it the bare engine copies as many rows, in the same run: the machine is noisy.

mod changes;
mod groups;

use std::process::ExitCode;

use anyhow::Result;
use fleet_core::{Fleet, kernel::MasterKey, kernel::SystemRandom};
use serde::Serialize;

use self::changes::Followed;
use crate::{
    machine::Jitter,
    storage::{Copying, Kind},
};

/// Seconds until 10,000 devices have their manifests after a change; more devices have as much longer.
const SECONDS: f64 = 5.0;
const SECONDS_FOR: f64 = 10_000.0;
/// Milliseconds in which 99 of a hundred devices are placed among a thousand groups.
const PLACE_MS: f64 = 5.0;

/// Desired state of a whole fleet.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which backends [default: sqlite]
    #[arg(long, value_enum)]
    backend: Vec<Kind>,
    /// How many devices there are
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=100_000))]
    devices: u64,
    /// How many windows there are at last; each names ten devices
    #[arg(long, default_value_t = 999, value_parser = clap::value_parser!(u64).range(1..=999))]
    windows: u64,
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
    /// How much longer than usual a millisecond of plain work took, in one of a hundred cases.
    jitter_ms: f64,
    devices: usize,
    /// In which 99 of a hundred devices were placed among a thousand groups.
    place_p99_ms: f64,
    backends: Vec<Outcome>,
}

/// What came of a backend.
#[derive(Debug, Serialize)]
struct Outcome {
    name: &'static str,
    /// Rows a second that its bare engine copies.
    bare_rows: Option<f64>,
    followed: Vec<Followed>,
}

impl Report {
    fn missed(&self) -> Vec<String> {
        let limit = SECONDS * (self.devices as f64 / SECONDS_FOR).max(1.0);
        let slow = self.backends.iter().flat_map(|backend| {
            let slow = backend.followed.iter().filter(move |step| step.seconds > limit);
            slow.map(|step| {
                let (name, what, seconds) = (backend.name, step.what, step.seconds);
                format!("{name}, {what}: {seconds:.2} s, the limit is {limit:.0} s")
            })
        });
        let place = (self.place_p99_ms > PLACE_MS).then(|| {
            let took = self.place_p99_ms;
            format!("one device among a thousand groups: {took:.2} ms, the limit is {PLACE_MS:.0} ms")
        });
        slow.chain(place).collect()
    }
}

/// Changes, prints, and says whether it was quick enough.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = runtime.block_on(measure(arguments))?;
    let missed = report.missed();
    report.ok = missed.is_empty();
    report.void = !report.ok && Jitter::is_too_much(report.jitter_ms);
    let text = table(&report, &missed);
    match arguments.json {
        true => eprint!("{text}"),
        false => print!("{text}"),
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(match (report.ok, report.void) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(crate::VOID),
        (false, false) => ExitCode::FAILURE,
    })
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let (devices, windows) = (usize::try_from(arguments.devices)?, usize::try_from(arguments.windows)?);
    let kinds = match arguments.backend.as_slice() {
        [] => &[Kind::Sqlite],
        kinds => kinds,
    };
    let mut jitter = Jitter::default();
    let mut backends = Vec::new();
    for kind in kinds {
        let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
        let backend = kind.open(folder.path()).await?;
        let fleet = Fleet::builder(backend, MasterKey::generate(&SystemRandom))
            .open()
            .await?;
        let followed = changes::measure(&fleet, devices, windows, &mut jitter).await?;
        fleet.close().await.map_err(|error| anyhow::anyhow!(error.log()))?;
        backends.push(Outcome {
            name: kind.name(),
            bare_rows: bare(*kind, devices).await?,
            followed,
        });
    }
    let place_p99_ms = groups::measure(&mut jitter)?;
    Ok(Report {
        ok: false,
        void: false,
        jitter_ms: jitter.ms(),
        devices,
        place_p99_ms,
        backends,
    })
}

/// Rows a second that the bare engine copies, of about the size of a device's manifest.
async fn bare(kind: Kind, rows: usize) -> Result<Option<f64>> {
    if kind == Kind::Memory {
        return Ok(None);
    }
    let (from, to) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut copying = Copying::new(kind, from.path()).await?;
    let numbers: Vec<_> = (0..rows).collect();
    for page in numbers.chunks(Copying::PAGE) {
        let row = |n: &usize| (format!("d-desired/{n:016}").into_bytes(), vec![b'x'; 600].into());
        copying.put(&page.iter().map(row).collect::<Vec<_>>()).await?;
    }
    copying.copy(kind, to.path()).await.map(Some)
}

fn table(report: &Report, missed: &[String]) -> String {
    let mut text = String::new();
    for backend in &report.backends {
        text += &format!("{}: {} devices\n", backend.name, report.devices);
        for step in &backend.followed {
            let rate = step.changed as f64 / step.seconds;
            let ratio = backend.bare_rows.filter(|_| step.changed > 0);
            let ratio = ratio.map(|bare| format!(", {:.2} of the bare engine's rows", rate / bare));
            text += &format!(
                "  {:<32} {:6.2} s  {:6} manifests in {} commits{}\n",
                step.what,
                step.seconds,
                step.changed,
                step.commits,
                ratio.unwrap_or_default()
            );
        }
        if let Some(bare) = backend.bare_rows {
            text += &format!("  the bare engine copies {bare:.0} rows a second\n");
        }
    }
    text += &format!(
        "one device among a thousand groups: 99 of a hundred within {:.2} ms\n",
        report.place_p99_ms
    );
    for missed in missed {
        text += &format!("missed: {missed}\n");
    }
    text += match (report.ok, report.void) {
        (true, _) => "reached\n",
        (false, true) => "void: other programs take the processor away; what was missed may be theirs\n",
        (false, false) => "",
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(devices: usize, seconds: f64, place_p99_ms: f64, missed: usize) {
        let followed = vec![Followed {
            what: "x",
            seconds,
            changed: 1,
            commits: 1,
        }];
        let report = Report {
            ok: false,
            void: false,
            jitter_ms: 0.0,
            devices,
            place_p99_ms,
            backends: vec![Outcome {
                name: "memory",
                bare_rows: None,
                followed,
            }],
        };
        assert_eq!(report.missed().len(), missed, "{:?}", report.missed());
    }

    #[test]
    fn each_change_has_its_limit() {
        check(10_000, 5.0, 5.0, 0);
        check(10_000, 5.1, 5.1, 2);
        check(20_000, 9.9, 0.1, 0);
        check(100, 5.1, 0.1, 1);
    }

    #[tokio::test]
    async fn every_change_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let backend = Kind::Memory.open(folder.path()).await.unwrap();
        let fleet = Fleet::builder(backend, MasterKey::generate(&SystemRandom));
        let fleet = fleet.open().await.unwrap();
        let followed = changes::measure(&fleet, 100, 20, &mut Jitter::default()).await.unwrap();
        let found: Vec<_> = followed.iter().map(|step| (step.what, step.changed)).collect();
        assert_eq!(
            found,
            [
                ("before anything is assigned", 0),
                ("40 actions assigned to all", 100),
                ("one of them changed", 100),
                ("and renamed", 100),
                ("a window for all", 100),
                ("many windows for some", 100),
                ("taken back", 100),
            ]
        );
    }
}
