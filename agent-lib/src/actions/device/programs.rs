//! Programs, with lists of arguments and never through a shell.

use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

use fleet_core::{
    protocol::{OutputChunk, OutputStream},
    work::secrets::SecretText,
};
use tokio::sync::{mpsc, watch};

use super::{Account, Device};
use crate::{
    actions::{PROGRAM_FAILED, action::Problem},
    executor::{Program, RunAs, ShellSpec, User},
};

/// Where programs are looked for. The agent's own environment does not decide.
const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
/// The most that is kept of what a program answers, in bytes for each of its streams.
const MAX_ANSWER: usize = 4 << 20;
/// How long a program may take that takes something back.
const UNDOING: Duration = Duration::from_secs(10);

/// A program and its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::actions) struct Call {
    pub(in crate::actions) program: String,
    pub(in crate::actions) arguments: Vec<String>,
    pub(in crate::actions) environment: Vec<(String, String)>,
    /// The same, of values that are not printed.
    pub(in crate::actions) secret_environment: Vec<(String, SecretText)>,
    /// What it reads from its standard input.
    pub(in crate::actions) input: Option<SecretText>,
    /// Who it runs as; the agent's own user by default.
    pub(in crate::actions) user: Option<Account>,
}

impl Call {
    /// A program, by its name, and its arguments.
    pub(in crate::actions) fn new<T: Into<String>>(program: &str, arguments: impl IntoIterator<Item = T>) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            secret_environment: Vec::new(),
            input: None,
            user: None,
        }
    }

    /// Runs as a user, with what the sessions of that user have in common, and without what the agent has.
    #[must_use]
    pub(in crate::actions) fn of(mut self, user: &Account) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// More arguments.
    #[must_use]
    pub(in crate::actions) fn with<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// What it reads from its standard input: secrets do not stand among arguments, which everybody on the device can read.
    #[must_use]
    pub(in crate::actions) fn reading(mut self, input: String) -> Self {
        self.input = Some(input.into());
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub(in crate::actions) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A secret in a variable of its environment, which only root and who it runs as can read: for programs that read one nowhere else.
    #[must_use]
    pub(in crate::actions) fn secret_env(mut self, name: &str, value: &SecretText) -> Self {
        self.secret_environment.push((name.to_owned(), value.clone()));
        self
    }
}

/// What a program answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::actions) struct Answer {
    /// What it exited with; 128 and the signal where one ended it.
    pub(in crate::actions) code: i32,
    pub(in crate::actions) stdout: String,
    pub(in crate::actions) stderr: String,
}

impl Answer {
    pub(in crate::actions) fn succeeded(&self) -> bool {
        self.code == 0
    }

    /// What it said last, for a message.
    pub(in crate::actions) fn last_words(&self) -> String {
        let words = |text: &str| {
            text.lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .map(str::trim)
                .map(str::to_owned)
        };
        let line = words(&self.stderr).or_else(|| words(&self.stdout)).unwrap_or_default();
        line.chars().take(300).collect()
    }
}

impl Device {
    /// Where a program is; nothing when the device does not have it.
    pub(in crate::actions) fn find_program(&self, name: &str) -> Option<PathBuf> {
        let root = self.scratch_root().unwrap_or_default();
        let mut places = FOLDERS
            .iter()
            .map(|folder| PathBuf::from(format!("{root}{folder}/{name}")));
        places.find(|place| place.is_file())
    }

    /// Whether the device has a program.
    pub(in crate::actions) fn has_program(&self, name: &str) -> bool {
        self.find_program(name).is_some()
    }

    /// Fails as *not applicable* when the device does not have a program.
    pub(in crate::actions) fn require_program(&self, name: &str) -> Result<(), Problem> {
        match self.has_program(name) {
            true => Ok(()),
            false => Err(Problem::not_applicable(format!("this device has no {name}"))),
        }
    }

    /// Runs a program for its answer; what it writes is not shown.
    pub(in crate::actions) async fn ask(&self, call: &Call) -> Result<Answer, Problem> {
        self.call(call, false).await
    }

    /// Runs a program; what it writes belongs to the run's output.
    pub(in crate::actions) async fn run(&self, call: &Call) -> Result<Answer, Problem> {
        self.call(call, true).await
    }

    /// Runs a program that has to succeed.
    pub(in crate::actions) async fn must(&self, call: &Call) -> Result<Answer, Problem> {
        let answer = self.run(call).await?;
        match answer.succeeded() {
            true => Ok(answer),
            false => Err(call.failed(&answer)),
        }
    }

    /// Runs a program that takes something back, also when the run is to stop.
    pub(in crate::actions) async fn undo(&self, call: &Call) -> Result<Answer, Problem> {
        let (_kept, never) = watch::channel(false);
        self.call_within(call, true, UNDOING, never).await
    }

    async fn call(&self, call: &Call, is_shown: bool) -> Result<Answer, Problem> {
        self.check_time()?;
        self.call_within(call, is_shown, self.time_left(), self.cancellation.receiver())
            .await
    }

    async fn call_within(
        &self,
        call: &Call,
        is_shown: bool,
        timeout: Duration,
        cancel: watch::Receiver<bool>,
    ) -> Result<Answer, Problem> {
        let path = self
            .find_program(&call.program)
            .ok_or_else(|| Problem::new(PROGRAM_FAILED, format!("this device has no program {}", call.program)))?;
        let what = || format!("run {} {}", call.program, call.arguments.join(" "));
        self.effects.before(what).map_err(|error| {
            let why = format!("{} could not be started: {error}", call.program);
            Problem::new(PROGRAM_FAILED, why)
        })?;
        let program = path.to_string_lossy().into_owned();
        let arguments = call.arguments.clone();
        let spec = ShellSpec {
            program: Program::Command { program, arguments },
            working_directory: Some("/".into()),
            environment: [("LC_ALL".to_owned(), "C".to_owned())]
                .into_iter()
                .chain(call.user.iter().filter_map(|user| self.runtime_folder(user)))
                .chain(call.environment.iter().cloned())
                .collect(),
            secret_environment: call.secret_environment.iter().cloned().collect(),
            input: call.input.clone(),
            run_as: call.user.as_ref().map(|user| RunAs::User(self.executed_as(user))),
            timeout,
            output_limit_bytes: match is_shown {
                true => self.room(),
                false => 2 * MAX_ANSWER as u64,
            },
            ..ShellSpec::script("")
        };
        let (sender, mut chunks) = mpsc::channel::<OutputChunk>(16);
        let mut answer = Answer::default();
        let listen = async {
            while let Some(chunk) = chunks.recv().await {
                let kept = match chunk.stream {
                    OutputStream::Stdout => Some(&mut answer.stdout),
                    OutputStream::Stderr => Some(&mut answer.stderr),
                    OutputStream::Agent => None,
                };
                if let Some(kept) = kept.filter(|kept| kept.len() + chunk.text.len() <= MAX_ANSWER) {
                    kept.push_str(&chunk.text);
                }
                if is_shown {
                    self.write(chunk.stream, &chunk.text).await;
                }
            }
        };
        let running = self.executor.run(self.run, &spec, 0, sender, cancel);
        let (outcome, ()) = tokio::join!(running, listen);
        self.effects.after(what);
        let outcome = outcome.map_err(|error| Problem::new(error.code(), error.message().to_owned()))?;
        if is_shown {
            self.truncated.fetch_add(outcome.truncated_bytes, Ordering::Relaxed);
        }
        if outcome.cancelled {
            return Err(Problem::Cancelled);
        }
        if outcome.timed_out {
            return Err(Problem::TimedOut);
        }
        answer.code = outcome.exit_code.unwrap_or_else(|| 128 + outcome.signal.unwrap_or(0));
        Ok(answer)
    }
}

impl Device {
    pub(in crate::actions) fn executed_as(&self, user: &Account) -> User {
        User {
            name: user.name.clone(),
            uid: user.uid,
            gid: user.gid,
            home: format!("{}{}", self.scratch_root().unwrap_or_default(), user.home).into(),
            shell: user.shell.clone(),
        }
    }

    /// Where programs of somebody who is signed in find each other.
    pub(in crate::actions) fn runtime_folder(&self, user: &Account) -> Option<(String, String)> {
        let folder = format!("/run/user/{}", user.uid);
        let root = self.scratch_root().unwrap_or_default();
        let variable = ("XDG_RUNTIME_DIR".to_owned(), format!("{root}{folder}"));
        self.exists(&folder).then_some(variable)
    }
}

impl Call {
    /// The problem that it failed.
    pub(in crate::actions) fn failed(&self, answer: &Answer) -> Problem {
        let verb = self.arguments.iter().find(|argument| !argument.starts_with('-'));
        let verb = verb.map(|verb| format!(" {verb}")).unwrap_or_default();
        Problem::Failed {
            code: PROGRAM_FAILED,
            message: format!(
                "{}{verb} exited with {}: {}",
                self.program,
                answer.code,
                answer.last_words()
            ),
            exit_code: Some(answer.code),
        }
    }
}
