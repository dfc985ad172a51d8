//! One move, by the program that people would use, in a process of its own.

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{child::isolated, machine, storage::Kind};

/// Between two looks at the process; what it holds at most is counted by the kernel.
const LOOK: Duration = Duration::from_millis(5);
/// MB that a move may take, without what a JSON store holds in memory by design (S4).
const MEMORY_MB: f64 = 200.0;

/// Where a store is.
#[derive(Clone, Debug)]
pub struct Place {
    pub kind: Kind,
    pub uri: String,
    /// Where it is on disk, unless a server keeps it.
    pub folder: Option<PathBuf>,
}

impl Place {
    /// In a folder of a folder: where [`Kind::open`] looks for it.
    pub fn sqlite(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        Self {
            kind: Kind::Sqlite,
            uri: format!("sqlite:{}", folder.join("fleet.db").display()),
            folder: Some(folder),
        }
    }

    /// In a folder of a folder: where [`Kind::open`] looks for it.
    pub fn json(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        Self {
            kind: Kind::Json,
            uri: format!("json:{}", folder.join("json").display()),
            folder: Some(folder),
        }
    }
}

/// What the program says of a move.
#[derive(Debug, Deserialize)]
struct Said {
    contents: Contents,
    copying_ms: f64,
    verifying_ms: f64,
    checking_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Contents {
    records: u64,
    bytes: u64,
    digest: String,
}

/// What a move took.
#[derive(Clone, Debug, Serialize)]
pub struct Leg {
    pub from: &'static str,
    pub to: &'static str,
    pub rows: u64,
    pub bytes: u64,
    pub digest: String,
    /// Copying, and reading back what arrived.
    pub seconds: f64,
    pub copying_seconds: f64,
    pub verifying_seconds: f64,
    /// The target's own look for damage, which `--no-check` leaves out: not of what S4 wants, so it is said beside it.
    pub checking_seconds: f64,
    /// From the start of the process to its end: opening and closing both stores, and counting for the progress bar.
    pub process_seconds: f64,
    /// Of the program, in it and in the kernel on its behalf; not what a server of Postgres took.
    pub cpu_seconds: f64,
    pub peak_mb: f64,
    /// What a process holds at most that opens both stores afterwards and does nothing: a JSON store is in memory by design.
    pub stores_mb: f64,
    /// From the start of that process to its end.
    pub opening_seconds: f64,
    /// Rows a second, moved and read back.
    pub rate: f64,
    /// Rows a second, the target's check included.
    pub checked_rate: f64,
    pub copying_rate: f64,
    /// What S4 wants.
    pub goal: f64,
    /// Rows a second of a bare copy of a part of the same records between the same engines, in the same minute.
    pub probe: f64,
}

impl Leg {
    /// What the move itself needs: without a JSON store all of it, else what comes on top of the stores.
    pub fn memory_mb(&self) -> f64 {
        if [self.from, self.to].contains(&Kind::Json.name()) {
            (self.peak_mb - self.stores_mb).max(0.0)
        } else {
            self.peak_mb
        }
    }

    /// Whether it was quick enough and small enough.
    pub fn is_reached(&self) -> bool {
        self.rate >= self.goal && self.memory_mb() <= MEMORY_MB
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = |ok| if ok { "reached" } else { "missed" };
        writeln!(
            f,
            "{} to {}: {:.0} rows/s, read back and verified (S4 wants {:.0}: {}), {:.0}/s with the target's check, {:.0}/s copying; \
             the bare copy {:.0}/s",
            self.from,
            self.to,
            self.rate,
            self.goal,
            verdict(self.rate >= self.goal),
            self.checked_rate,
            self.copying_rate,
            self.probe,
        )?;
        writeln!(
            f,
            "    {} rows: copying {:.1} s, reading back {:.1} s, checking {:.1} s, the process {:.1} s; CPU {:.1} s, {:.1} µs a row \
             (load average {:.1})",
            self.rows,
            self.copying_seconds,
            self.verifying_seconds,
            self.checking_seconds,
            self.process_seconds,
            self.cpu_seconds,
            self.cpu_seconds * 1e6 / self.rows as f64,
            machine::load(),
        )?;
        write!(
            f,
            "    peak {:.0} MB, the stores alone {:.0} MB and opened in {:.1} s, the move {:.0} MB (at most {MEMORY_MB:.0}: {})",
            self.peak_mb,
            self.stores_mb,
            self.opening_seconds,
            self.memory_mb(),
            verdict(self.memory_mb() <= MEMORY_MB),
        )
    }
}

/// Rows a second that a move has to make (S4).
fn goal(from: Kind, to: Kind) -> f64 {
    if [from, to].contains(&Kind::Postgres) {
        20_000.0
    } else {
        50_000.0
    }
}

/// A process that has ended.
struct Ended {
    printed: String,
    code: Option<i32>,
    seconds: f64,
    cpu: f64,
    peak_mb: f64,
}

fn run(program: &Path, verb: &str, from: &Place, to: &Place, options: &[&str]) -> Result<Ended> {
    let begun = Instant::now();
    let mut child = command(program, verb, from, to, options)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not start", program.display()))?;
    let mut pipe = child.stdout.take().context("a child without a pipe")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let (mut cpu, mut peak) = (0.0_f64, 0_u64);
    let status = loop {
        // Both fail once it is gone.
        cpu = machine::cpu(child.id()).map_or(cpu, |now| now.total().max(cpu));
        peak = machine::memory(child.id()).map_or(peak, |now| now.peak.max(peak));
        match child.try_wait()? {
            Some(status) => break status,
            None => thread::sleep(LOOK),
        }
    };
    let printed = reader
        .join()
        .map_err(|_| anyhow::anyhow!("reading its answer failed"))??;
    Ok(Ended {
        printed,
        code: status.code(),
        seconds: begun.elapsed().as_secs_f64(),
        cpu,
        peak_mb: peak as f64 / 1_024.0,
    })
}

fn command(program: &Path, verb: &str, from: &Place, to: &Place, options: &[&str]) -> Command {
    let mut command = isolated(program);
    command.args([verb, "--json", "--from", &from.uri, "--to", &to.uri]);
    command.args(options).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Makes a move and says what it took; `probe` is what a bare copy does in a second.
pub fn moved(program: &Path, from: &Place, to: &Place, options: &[&str], probe: f64) -> Result<Leg> {
    let ended = run(program, "run", from, to, options)?;
    if ended.code != Some(0) {
        bail!("{} to {}: exit {:?}, {}", from.uri, to.uri, ended.code, ended.printed);
    }
    let said: Value = serde_json::from_str(&ended.printed)?;
    let said = Said::deserialize(&said).with_context(|| format!("it answered {said}"))?;
    let seconds = |millis: f64| millis / 1_000.0;
    let checking = seconds(said.checking_ms.unwrap_or(0.0));
    let (copying, verifying) = (seconds(said.copying_ms), seconds(said.verifying_ms));
    let total = copying + verifying;
    let rows = said.contents.records as f64;
    let status = run(program, "status", from, to, &[])?;
    Ok(Leg {
        from: from.kind.name(),
        to: to.kind.name(),
        rows: said.contents.records,
        bytes: said.contents.bytes,
        digest: said.contents.digest,
        seconds: total,
        copying_seconds: copying,
        verifying_seconds: verifying,
        checking_seconds: checking,
        process_seconds: ended.seconds,
        cpu_seconds: ended.cpu,
        peak_mb: ended.peak_mb,
        stores_mb: status.peak_mb,
        opening_seconds: status.seconds,
        rate: rows / total,
        checked_rate: rows / (total + checking),
        copying_rate: rows / copying,
        goal: goal(from.kind, to.kind),
        probe,
    })
}

/// Begins a move and kills it after a time; whether it was still at it.
pub fn killed(program: &Path, from: &Place, to: &Place, after: Duration) -> Result<bool> {
    let mut child = command(program, "run", from, to, &["--resume"])
        .stdout(Stdio::null())
        .spawn()?;
    thread::sleep(after);
    let alive = child.try_wait()?.is_none();
    if alive {
        child.kill()?;
    }
    let status = child.wait()?;
    if !alive && !status.success() {
        bail!("{} to {}: it ended by itself, {status}", from.uri, to.uri);
    }
    Ok(alive)
}

/// Compares the two stores; the digest of what the target holds.
pub fn verified(program: &Path, from: &Place, to: &Place) -> Result<String> {
    let ended = run(program, "verify", from, to, &[])?;
    if ended.code != Some(0) {
        bail!("{} and {} differ: {}", from.uri, to.uri, ended.printed);
    }
    let said: Value = serde_json::from_str(&ended.printed)?;
    let digest = said.pointer("/target/digest").and_then(Value::as_str);
    Ok(digest.with_context(|| format!("it answered {said}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: Kind, to: Kind, rate: f64, (peak_mb, stores_mb): (f64, f64), expected: bool) {
        let leg = Leg {
            from: from.name(),
            to: to.name(),
            rows: 1,
            bytes: 1,
            digest: String::new(),
            seconds: 1.0,
            copying_seconds: 0.5,
            verifying_seconds: 0.5,
            checking_seconds: 0.0,
            process_seconds: 1.0,
            cpu_seconds: 1.0,
            peak_mb,
            stores_mb,
            opening_seconds: 1.0,
            rate,
            checked_rate: rate,
            copying_rate: rate,
            goal: goal(from, to),
            probe: 1.0,
        };
        assert_eq!(leg.is_reached(), expected, "{leg}");
        assert_eq!(leg.to_string().contains("missed"), !expected, "{leg}");
    }

    #[test]
    fn a_move_has_to_be_quick_and_small_and_only_a_json_store_may_be_in_memory() {
        let small = (200.0, 20.0);
        check(Kind::Json, Kind::Sqlite, 50_000.0, small, true);
        check(Kind::Sqlite, Kind::Json, 49_999.0, small, false);
        check(Kind::Sqlite, Kind::Postgres, 20_000.0, small, true);
        check(Kind::Postgres, Kind::Json, 19_999.0, small, false);
        check(Kind::Postgres, Kind::Sqlite, 20_000.0, (201.0, 20.0), false);
        check(Kind::Json, Kind::Postgres, 20_000.0, (900.0, 700.0), true);
        check(Kind::Postgres, Kind::Json, 20_000.0, (901.0, 700.0), false);
        check(Kind::Sqlite, Kind::Json, 50_000.0, (100.0, 700.0), true);
    }
}
