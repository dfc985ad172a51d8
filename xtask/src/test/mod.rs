//! `cargo xtask test`: everything that has to hold before a change lands, part by part.

mod parts;
mod summary;

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    io::{BufRead as _, BufReader, IsTerminal as _, Read, Write},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
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
    ran: Ran,
    /// Why it was left out, where it was.
    left_out: Option<String>,
}

/// What commands came to.
#[derive(Default)]
struct Ran {
    counts: Counts,
    /// The last lines of those that failed.
    tail: Vec<String>,
}

impl Ran {
    fn add(&mut self, other: Self) {
        self.counts.add(other.counts);
        self.tail.extend(other.tail);
    }
}

/// Lines of a command that failed which are shown again at the end, where its reader begins.
const TAIL: usize = 40;

/// How the parts are run.
pub struct Settings {
    long: bool,
    nextest: bool,
    /// The file to which tests say that this machine lacks what they need.
    not_run: PathBuf,
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
        not_run: workspace.target.join("tests-not-run"),
    };
    if settings.not_run.exists() {
        fs::remove_file(&settings.not_run)?;
    }
    let mut outcomes = Vec::new();
    for part in PARTS {
        let begun = Instant::now();
        let (ran, left_out) = if is_wanted(part.name) {
            eprintln!("\n── {}: {}", part.name, part.what);
            run_part(workspace, &settings, part)?
        } else {
            (Ran::default(), Some("as asked".into()))
        };
        outcomes.push(Outcome {
            name: part.name,
            took: begun.elapsed(),
            ran,
            left_out,
        });
    }
    let not_run = match fs::read_to_string(&settings.not_run) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(report(&outcomes, &not_run))
}

fn run_part(workspace: &Workspace, settings: &Settings, part: &Part) -> Result<(Ran, Option<String>)> {
    let mut all = Ran::default();
    for step in (part.steps)(workspace, settings) {
        match step {
            Step::LeaveOut(reason) => {
                eprintln!("{} is left out: {reason}", part.name);
                return Ok((Ran::default(), Some(reason)));
            }
            Step::Fail(problem) => {
                eprintln!("{}: {problem}", part.name);
                all.add(Ran {
                    counts: Counts::default().with_ending(false),
                    tail: vec![problem],
                });
            }
            Step::Run(mut command) => all.add(run_counted(&mut command)?),
            Step::RunOn(cluster, mut command) => {
                let ran = run_counted(&mut command);
                cluster.remove();
                all.add(ran?);
            }
        }
        if all.counts.failed > 0 {
            break;
        }
    }
    Ok((all, None))
}

/// Runs a command, shows what it prints, and counts the tests that it tells of. A command without tests counts as one.
fn run_counted(command: &mut Command) -> Result<Ran> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} does not start"))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let tail = Mutex::default();
    // Both pipes are read at once, or a full one would block the child.
    let counts = thread::scope(|scope| {
        let errors = scope.spawn(|| errors.map(|pipe| show(pipe, std::io::stderr(), &tail)));
        let mut counts = output
            .map(|pipe| show(pipe, std::io::stdout(), &tail))
            .unwrap_or_default();
        counts.add(errors.join().ok().flatten().unwrap_or_default());
        counts
    });
    let counts = counts.with_ending(child.wait()?.success());
    let tail = tail.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Ran {
        counts,
        tail: if counts.failed > 0 { tail.into() } else { Vec::new() },
    })
}

/// Passes lines on, counts the tests that they tell of, and remembers the last.
fn show(pipe: impl Read, mut to: impl Write, tail: &Mutex<VecDeque<String>>) -> Counts {
    let mut counts = Counts::default();
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // A terminal that is gone is no reason to stop the tests.
        let _ = to.write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        counts.add(summary::counts_of(&text));
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text);
        line.clear();
    }
    counts
}

fn report(outcomes: &[Outcome], not_run: &str) -> ExitCode {
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
        let Counts { passed, failed, .. } = outcome.ran.counts;
        println!("{:<10} {minutes:>8.1}  {passed:>7}  {failed:>7}", outcome.name);
        total.add(outcome.ran.counts);
    }
    let minutes: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64() / 60.0).sum();
    println!("{:<10} {minutes:>8.1}  {:>7}  {:>7}", "all", total.passed, total.failed);
    if !left_out.is_empty() {
        println!("\nleft out: {}", left_out.join(", "));
    }
    let not_run: BTreeSet<_> = not_run.lines().collect();
    if !not_run.is_empty() {
        println!(
            "\n{} tests prove less than they could here, which counts as passed:",
            not_run.len()
        );
        for line in not_run {
            println!("  {line}");
        }
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.ran.tail.is_empty()) {
        println!("\n── {} failed; its last lines:", outcome.name);
        for line in &outcome.ran.tail {
            println!("{line}");
        }
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
