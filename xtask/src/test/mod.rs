//! `cargo xtask test`: everything that has to hold before a change lands, part by part.

mod parts;
mod summary;

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, Read, Write},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{setup, workspace::Workspace};
use parts::{PARTS, Part, Step};
use summary::Counts;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave a part out. May be repeated.
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,
    /// Search longer: more cases in tests that make up their own.
    #[arg(long)]
    long: bool,
}

/// What became of a part.
struct Outcome {
    name: &'static str,
    took: Duration,
    counts: Counts,
    /// Why it was left out, where it was.
    left_out: Option<String>,
}

/// How the parts are run.
pub struct Settings {
    long: bool,
    nextest: bool,
}

/// Runs all parts, also after a failure, and says how each went.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    for name in &arguments.without {
        if !PARTS.iter().any(|part| part.name == name) {
            let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
            bail!("there is no part {name}; there are {}", names.join(", "));
        }
    }
    let is_wanted = |name: &str| !arguments.without.iter().any(|without| without == name);
    let needs = [(parts::OPENAPI, "python"), (parts::POSTGRES, "postgres")];
    let without = needs.iter().filter(|(part, _)| !is_wanted(part));
    let without = without.map(|(_, needed)| (*needed).to_owned()).collect();
    setup::run(workspace, &setup::Arguments { without })?;
    let settings = Settings {
        long: arguments.long,
        nextest: setup::succeeds(workspace.cargo().args(["nextest", "--version"])),
    };
    let mut outcomes = Vec::new();
    for part in PARTS {
        let begun = Instant::now();
        let (counts, left_out) = if is_wanted(part.name) {
            eprintln!("\n── {}: {}", part.name, part.what);
            run_part(workspace, &settings, part)?
        } else {
            (Counts::default(), Some("as asked".into()))
        };
        outcomes.push(Outcome {
            name: part.name,
            took: begun.elapsed(),
            counts,
            left_out,
        });
    }
    Ok(report(&outcomes))
}

fn run_part(workspace: &Workspace, settings: &Settings, part: &Part) -> Result<(Counts, Option<String>)> {
    let mut counts = Counts::default();
    for step in (part.steps)(workspace, settings) {
        match step {
            Step::LeaveOut(reason) => {
                eprintln!("{} is left out: {reason}", part.name);
                return Ok((Counts::default(), Some(reason)));
            }
            Step::Fail(problem) => {
                eprintln!("{}: {problem}", part.name);
                counts.add(Counts::default().with_ending(false));
            }
            Step::Run(mut command) => counts.add(run_counted(&mut command)?),
            Step::RunOn(cluster, mut command) => {
                let ran = run_counted(&mut command);
                cluster.remove();
                counts.add(ran?);
            }
        }
        if counts.failed > 0 {
            break;
        }
    }
    Ok((counts, None))
}

/// Runs a command, shows what it prints, and counts the tests that it tells of. A command without tests counts as one.
fn run_counted(command: &mut Command) -> Result<Counts> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} does not start"))?;
    // Both pipes are read at once, or a full one would block the child.
    let errors = child
        .stderr
        .take()
        .map(|pipe| thread::spawn(move || show(pipe, std::io::stderr())));
    let output = child.stdout.take().map(|pipe| show(pipe, std::io::stdout()));
    let mut counts = output.unwrap_or_default();
    if let Some(errors) = errors {
        counts.add(errors.join().unwrap_or_default());
    }
    let status = child.wait()?;
    Ok(counts.with_ending(status.success()))
}

fn show(pipe: impl Read, mut to: impl Write) -> Counts {
    let mut counts = Counts::default();
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // A terminal that is gone is no reason to stop the tests.
        let _ = to.write_all(&line);
        counts.add(summary::counts_of(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    counts
}

fn report(outcomes: &[Outcome]) -> ExitCode {
    let mut total = Counts::default();
    let mut left_out = Vec::new();
    println!("\n{:<10} {:>8}  {:>7}  {:>7}", "part", "minutes", "passed", "failed");
    for outcome in outcomes {
        if let Some(reason) = &outcome.left_out {
            println!("{:<10} {:>8}  {:>7}  {:>7}", outcome.name, "-", "-", "-");
            left_out.push(format!("{} ({reason})", outcome.name));
            continue;
        }
        let minutes = outcome.took.as_secs_f64() / 60.0;
        let Counts { passed, failed, .. } = outcome.counts;
        println!("{:<10} {minutes:>8.1}  {passed:>7}  {failed:>7}", outcome.name);
        total.add(outcome.counts);
    }
    let minutes: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64() / 60.0).sum();
    println!("{:<10} {minutes:>8.1}  {:>7}  {:>7}", "all", total.passed, total.failed);
    if !left_out.is_empty() {
        println!("\nleft out: {}", left_out.join(", "));
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 && total.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Settings {
    /// Colours where the reader is a terminal, although the commands write into pipes.
    fn color(&self) -> &'static str {
        if std::io::stderr().is_terminal() {
            "always"
        } else {
            "never"
        }
    }
}
