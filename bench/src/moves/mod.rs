//! Whole fleets, moved between backends by `migrate-storage`: JSON, SQLite, Postgres, SQLite, JSON, Postgres, JSON. Each leg is a
//! process of its own, so that its memory is its own; what each stop holds must have one digest.
//!
//! ```text
//!   leg      one move, and what the process took
//!   route    the stops, and the fleet at the first of them
//!   killed   moves that are killed and go on, for as long as one likes
//!   online   a move while writers go on, as a server makes it
//! ```
//!
//! Beside each leg a bare copy of a part of the same records is made, from a file or table of the one engine into one of the
//! other, so that it shows how busy the machine is. The last line is one JSON object. Exit codes: 0 reached, 1 missed, or a
//! digest differs, or a write was lost.

mod killed;
mod leg;
mod online;
pub mod route;

use std::{path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::{
    leg::{Leg, Place},
    online::{Online, Writers, online},
};
use crate::{
    child::beside,
    machine,
    storage::{Bare, Copying, Kind},
};

/// How long writers may wait when an online move switches over (S5).
const PAUSE_MS: f64 = 1_000.0;

/// Moves of a whole fleet.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many devices there are
    #[arg(long, default_value_t = 10_000)]
    devices: usize,
    /// Leave Postgres out; else it is where FLEET_TEST_POSTGRES says
    #[arg(long)]
    without_postgres: bool,
    /// Leave out the target's own check of each move
    #[arg(long)]
    no_check: bool,
    /// Leave out the moves while writers go on
    #[arg(long)]
    offline: bool,
    /// Kill the moves into SQLite and into JSON at so many random moments, all together, before they are finished
    #[arg(long, default_value_t = 0)]
    kills: u32,
    /// Print nothing but the JSON object to standard output
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn say(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}

/// The last line.
#[derive(Debug, Serialize)]
struct Report {
    devices: usize,
    rows: u64,
    digest: String,
    equal: bool,
    kills: u32,
    legs: Vec<Leg>,
    online: Vec<Online>,
    /// Whether all gates were reached.
    reached: bool,
}

impl Online {
    fn is_reached(&self) -> bool {
        self.pause_ms <= PAUSE_MS && self.lost == 0
    }
}

/// Moves, prints, and says whether it is enough.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(arguments))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(if report.reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let program = beside("migrate-storage")?;
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let folder = folder.path();
    let route = route::stops(folder, arguments.without_postgres).await?;
    let begun = Instant::now();
    let sample = route::fill(&folder.join("first"), arguments.devices).await?;
    arguments.say(&format!(
        "a fleet of {} devices, made in {:.0} s (load average {:.1})",
        arguments.devices,
        begun.elapsed().as_secs_f64(),
        machine::load()
    ));
    let options: &[&str] = if arguments.no_check { &["--no-check"] } else { &[] };
    let mut legs: Vec<Leg> = Vec::new();
    for (from, to) in route.iter().zip(route.iter().skip(1)) {
        let probe = bare(from.kind, to.kind, &sample).await?;
        let leg = leg::moved(&program, from, to, options, probe)?;
        arguments.say(&leg.to_string());
        legs.push(leg);
        route::leave(from).await?;
    }
    let first = legs.first().context("no leg")?;
    let (rows, digest) = (first.rows, first.digest.clone());
    let equal = legs.iter().all(|leg| leg.digest == digest);
    arguments.say(if equal { "digests: equal" } else { "digests: DIFFERENT" });
    let mut last = route.last().context("no stop")?.clone();
    if arguments.kills > 0 {
        last = killed::there_and_back(&program, folder, &last, arguments.kills, &digest, |text| {
            arguments.say(text)
        })?;
    }
    let online = match arguments.offline {
        true => Vec::new(),
        false => all_online(folder, &last, arguments).await?,
    };
    Ok(Report {
        devices: arguments.devices,
        rows,
        digest,
        equal,
        kills: arguments.kills,
        reached: equal && legs.iter().all(Leg::is_reached) && online.iter().all(Online::is_reached),
        legs,
        online,
    })
}

async fn bare(from: Kind, to: Kind, records: &[Bare]) -> Result<f64> {
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let mut copying = Copying::new(from, folder.path()).await?;
    for page in records.chunks(Copying::PAGE) {
        copying.put(page).await?;
    }
    copying.copy(to, folder.path()).await
}

/// Online from the last stop to SQLite or JSON, and on to Postgres.
async fn all_online(folder: &Path, last: &Place, arguments: &Arguments) -> Result<Vec<Online>> {
    let from = last.folder.as_deref().context("a store without a folder")?;
    let mut stops = vec![if last.kind == Kind::Json {
        Kind::Sqlite
    } else {
        Kind::Json
    }];
    if !arguments.without_postgres {
        stops.push(Kind::Postgres);
    }
    let (mut moves, writers) = (Vec::new(), Writers::new());
    let mut source = last.kind.open(from).await?;
    for kind in stops {
        let to = folder.join(format!("online-{}", kind.name()));
        std::fs::create_dir_all(&to)?;
        let target = kind.open(&to).await?;
        let moved = online(source.clone(), target.clone(), &writers).await;
        source.close().await?;
        source = target;
        let moved = moved?;
        arguments.say(&format!(
            "online, {} to {}: {} rows in {:.1} s beside {:.0} writes/s; pause {:.0} ms (S5 wants {PAUSE_MS:.0} at most), at attempt {}, \
             the longest write {:.0} ms; {} writes acknowledged, {} lost: {} (load average {:.1})",
            moved.from,
            moved.to,
            moved.rows,
            moved.seconds,
            moved.writes,
            moved.pause_ms,
            moved.attempts,
            moved.longest_write_ms,
            moved.acknowledged,
            moved.lost,
            if moved.is_reached() { "reached" } else { "missed" },
            machine::load(),
        ));
        moves.push(moved);
    }
    source.close().await?;
    Ok(moves)
}
