//! One run from its start to its end.

use std::{
    io::{self, Write as _},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use fleet_core::{
    kernel::{Clock, Error, Result},
    protocol::OutputChunk,
};
use futures::FutureExt;
use rustix::process::{Signal, geteuid, setpriority_process};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use uuid::Uuid;

use super::{
    DIRECTORY_NOT_FOUND, Outcome, PROGRAM_NOT_FOUND, Program, RunAs, START_DENIED, START_FAILED, ShellSpec,
    USER_DENIED,
    output::Output,
    processes::{Group, MARK, has_ended, hunt, is_alive, is_installing},
    pump::Pump,
    script::{RunFile, remove_leftovers},
    users::{User, find},
};

/// How long the output may stay open after the leader has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a package manager that is at work when its run should stop gets to end by itself.
const INSTALLING: Duration = Duration::from_secs(30 * 60);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);
/// How long it may after everything was killed.
const LAST_DRAIN: Duration = Duration::from_millis(250);
/// How long the kernel may take to end a killed process; longer only if it hangs in a driver.
const DEATH: Duration = Duration::from_secs(10);
/// Of the agent's own environment, this is all that a run inherits.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Long enough for everybody, short enough for the arithmetic of clocks.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where an executor works.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The folder for scripts, inside the state directory; made with mode 0700.
    pub scripts: PathBuf,
    /// The folder for scripts that run as other users, which cannot look into the state directory; made with mode 0711 when
    /// first used, its parents must be passable. Not to be shared with another agent.
    pub shared_scripts: PathBuf,
    /// The agent's own environment; all but `PATH`, `HOME`, `LANG` and `TZ` is left out.
    pub environment: Vec<(String, String)>,
}

/// Runs scripts and programs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Executor {
    config: Arc<ExecutorConfig>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    TimedOut,
    Cancelled,
}

impl Executor {
    /// An executor; removes the scripts, and what runs fetched, that a crash left behind.
    pub fn new(mut config: ExecutorConfig, clock: Arc<dyn Clock>) -> Self {
        config
            .environment
            .retain(|(name, _)| INHERITED.contains(&name.as_str()));
        if !config.environment.iter().any(|(name, _)| name == "PATH") {
            config.environment.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
        }
        remove_leftovers(&config.scripts);
        remove_leftovers(&config.shared_scripts);
        Self {
            config: Arc::new(config),
            clock,
        }
    }

    /// Where the scripts of other users lie.
    pub fn shared_scripts(&self) -> &Path {
        &self.config.shared_scripts
    }

    /// An empty file among the scripts, for what a run fetches and hands to programs; removed with the value.
    pub(crate) fn file_of(&self, run: Uuid, suffix: &str) -> std::io::Result<(RunFile, std::fs::File)> {
        RunFile::empty(&self.config.scripts, run, suffix)
    }

    /// Executes to the end. Chunks numbered from `first_sequence` go to `chunks`, which should hold few: a consumer that is
    /// slow slows the process. `cancel` turning true stops it. When the future is dropped, the whole group is killed.
    ///
    /// # Errors
    /// Only when nothing was started: [`SPEC_INVALID`](super::SPEC_INVALID), [`PROGRAM_NOT_FOUND`], [`DIRECTORY_NOT_FOUND`],
    /// [`USER_UNKNOWN`](super::USER_UNKNOWN), [`USER_DENIED`], [`START_DENIED`], [`START_FAILED`].
    pub async fn run(
        &self,
        run: Uuid,
        spec: &ShellSpec,
        first_sequence: u32,
        chunks: mpsc::Sender<OutputChunk>,
        cancel: watch::Receiver<bool>,
    ) -> Result<Outcome> {
        spec.check()?;
        let user = match &spec.run_as {
            Some(RunAs::Name(name)) => Some(find(name).await?),
            Some(RunAs::User(user)) => Some(user.clone()),
            None => None,
        };
        let user = user.as_ref();
        let own = geteuid().as_raw();
        let other = user.filter(|user| user.uid != own);
        if let Some(other) = other.filter(|_| own != 0) {
            return Err(USER_DENIED.error(format!("only an agent that runs as root can run as {}", other.name)));
        }
        let directory = self.working_directory(spec, user)?;
        let script = self.write_script(run, spec, other)?;
        let mut command = self.command(run, spec, script.as_ref(), user);
        command.stdin(
            input(spec).map_err(|error| START_FAILED.error("its input cannot be given to it").caused_by(error))?,
        );
        command.current_dir(&directory);
        if let Some(other) = other {
            command.uid(other.uid).gid(other.gid);
        }
        let started_at = self.clock.now();
        let mut child = spawn(command, spec.nice, run)
            .await
            .map_err(|error| start_error(error, spec, &directory))?;
        let output = Output::new(first_sequence, spec.output_limit_bytes);
        let pump = Pump::new(child.stdout.take(), child.stderr.take(), output, chunks);
        let group = Group::new(child, run).ok_or_else(|| START_FAILED.error("the program has no process id"))?;
        let mut supervisor = Supervisor {
            run,
            group,
            pump,
            deadline: Instant::now() + spec.timeout.min(LONGEST),
            grace: spec.grace.min(LONGEST),
            cancel,
        };
        let (stop, status) = supervisor.run().await;
        drop(script);
        let output = supervisor.pump.output();
        Ok(Outcome {
            exit_code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            timed_out: stop == Some(Stop::TimedOut),
            cancelled: stop == Some(Stop::Cancelled),
            truncated_bytes: output.truncated(),
            next_sequence: output.next_sequence(),
            started_at,
            finished_at: self.clock.now(),
        })
    }

    fn working_directory(&self, spec: &ShellSpec, user: Option<&User>) -> Result<PathBuf> {
        if let Some(path) = &spec.working_directory {
            return if path.is_dir() {
                Ok(path.clone())
            } else {
                Err(DIRECTORY_NOT_FOUND.error(format!("there is no directory {}", path.display())))
            };
        }
        let own = || self.config.environment.iter().find(|(name, _)| name == "HOME");
        let home = user
            .map(|user| user.home.clone())
            .or_else(|| own().map(|(_, home)| home.into()));
        Ok(home
            .filter(|home| home.is_absolute() && home.is_dir())
            .unwrap_or_else(|| "/".into()))
    }

    fn write_script(&self, run: Uuid, spec: &ShellSpec, other: Option<&User>) -> Result<Option<RunFile>> {
        let Program::Script { text, .. } = &spec.program else {
            return Ok(None);
        };
        let directory = match other {
            Some(_) => &self.config.shared_scripts,
            None => &self.config.scripts,
        };
        RunFile::write(directory, run, text, other).map(Some).map_err(|error| {
            START_FAILED
                .error(format!(
                    "the script cannot be written to {}: {error}",
                    directory.display()
                ))
                .caused_by(error)
        })
    }

    fn command(&self, run: Uuid, spec: &ShellSpec, script: Option<&RunFile>, user: Option<&User>) -> Command {
        let (program, arguments) = match &spec.program {
            Program::Script {
                interpreter, arguments, ..
            } => (interpreter, arguments),
            Program::Command { program, arguments } => (program, arguments),
        };
        let mut command = Command::new(program);
        command
            .args(script.map(RunFile::path))
            .args(arguments)
            .env_clear()
            .envs(self.config.environment.iter().map(|(name, value)| (name, value)));
        if let Some(user) = user {
            command
                .env("HOME", &user.home)
                .env("USER", &user.name)
                .env("LOGNAME", &user.name)
                .env("SHELL", if user.shell.is_empty() { "/bin/sh" } else { &user.shell });
        }
        command
            .envs(spec.variables())
            .env(MARK, run.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }
}

/// What a program reads: all of its input is in the pipe before it starts.
fn input(spec: &ShellSpec) -> std::io::Result<Stdio> {
    let Some(input) = &spec.input else {
        return Ok(Stdio::null());
    };
    let (reader, mut writer) = std::io::pipe()?;
    writer.write_all(input.reveal().as_bytes())?;
    Ok(reader.into())
}

/// Watches over a group until nothing of it is left.
struct Supervisor {
    run: Uuid,
    group: Group,
    pump: Pump,
    deadline: Instant,
    grace: Duration,
    cancel: watch::Receiver<bool>,
}

impl Supervisor {
    /// Answers why it was stopped, if it was, and the leader's status; no status when the kernel does not let go of it.
    async fn run(&mut self) -> (Option<Stop>, Option<ExitStatus>) {
        let leader = self.group.leader();
        let ended = has_ended(leader);
        tokio::pin!(ended);
        let stop = loop {
            tokio::select! {
                biased;
                () = &mut ended => break None,
                stop = stop_asked(self.deadline, &mut self.cancel) => break Some(stop),
                () = self.pump.step(), if !self.pump.is_done() => {}
            }
        };
        let mut is_over = stop.is_none();
        if is_over {
            // What the leader left behind may finish its sentence.
            let stop = stop_asked(self.deadline, &mut self.cancel);
            self.pump.drain(DRAIN, stop.map(|_| ())).await;
        } else {
            let last = Instant::now() + INSTALLING;
            let mut is_told = false;
            while Instant::now() < last && is_installing(leader, self.run).await {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(run = %self.run, "stopped when the package manager that is at work has ended");
                }
                let next = Instant::now() + LOOK;
                while Instant::now() < next {
                    tokio::select! {
                        biased;
                        () = &mut ended, if !is_over => is_over = true,
                        () = sleep_until(next) => {}
                        () = self.pump.step(), if !self.pump.is_done() => {}
                    }
                }
            }
            self.group.signal(Signal::TERM);
            // One that is stopped cannot act on it.
            self.group.signal(Signal::CONT);
            let last = Instant::now() + self.grace;
            let mut look = interval(Duration::from_millis(50));
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = &mut ended, if !is_over => is_over = true,
                    () = sleep_until(last) => break,
                    _ = look.tick() => if is_over && !is_alive(leader).await {
                        break;
                    },
                    () = self.pump.step(), if !self.pump.is_done() => {}
                }
            }
        }
        self.group.signal(Signal::KILL);
        let last = Instant::now() + DEATH;
        while !is_over && Instant::now() < last {
            tokio::select! {
                biased;
                () = &mut ended => is_over = true,
                () = sleep_until(last) => {}
                () = self.pump.step(), if !self.pump.is_done() => {}
            }
        }
        let status = if is_over { self.reap().await } else { None };
        self.pump.drain(LAST_DRAIN, std::future::pending()).await;
        if stop.is_some() || !self.pump.is_eof() {
            let killed = hunt(self.run, self.pump.inodes()).await;
            if killed > 0 {
                tracing::info!(run = %self.run, killed, "processes had left the run's group and were killed");
            }
            self.pump.drain(LAST_DRAIN, std::future::pending()).await;
        }
        self.pump.close();
        while !self.pump.is_done() {
            self.pump.step().await;
        }
        (stop, status)
    }

    async fn reap(&mut self) -> Option<ExitStatus> {
        match timeout(DEATH, self.group.reap()).await {
            Ok(Ok(status)) => Some(status),
            Ok(Err(error)) => {
                tracing::warn!(run = %self.run, %error, "the exit status of a run is unknown");
                None
            }
            Err(_) => None,
        }
    }
}

/// Waits until the run has to be stopped.
async fn stop_asked(deadline: Instant, cancel: &mut watch::Receiver<bool>) -> Stop {
    let cancelled = async {
        if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
            // Nobody is left who could cancel.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = cancelled => Stop::Cancelled,
        () = sleep_until(deadline) => Stop::TimedOut,
    }
}

/// Starts the program. Niceness belongs to a thread and is inherited: a thread of its own takes it on first, so that there is
/// no moment in which the program runs without it.
async fn spawn(mut command: Command, nice: u8, run: Uuid) -> io::Result<Child> {
    if nice == 0 {
        return command.spawn();
    }
    let (answer, answered) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("spawn".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        let child = setpriority_process(None, i32::from(nice))
            .map_err(io::Error::from)
            .and_then(|()| command.spawn());
        if let Err(Ok(child)) = answer.send(child) {
            // The run was dropped meanwhile.
            drop(Group::new(child, run));
        }
    })?;
    answered
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread that starts programs died")))
}

fn start_error(error: io::Error, spec: &ShellSpec, directory: &Path) -> Error {
    let program = match &spec.program {
        Program::Script { interpreter, .. } => interpreter,
        Program::Command { program, .. } => program,
    };
    let as_whom = spec
        .run_as
        .as_ref()
        .map(|user| format!(" as {}", user.name()))
        .unwrap_or_default();
    let (code, message) = match error.kind() {
        io::ErrorKind::NotFound => (PROGRAM_NOT_FOUND, format!("there is no program {program}")),
        io::ErrorKind::PermissionDenied => (
            START_DENIED,
            format!("{program} may not be started{as_whom} in {}", directory.display()),
        ),
        _ => (START_FAILED, format!("{program} could not be started: {error}")),
    };
    code.error(message).caused_by(error)
}
