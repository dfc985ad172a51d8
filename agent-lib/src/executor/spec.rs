//! What to run, and how it ended.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use fleet_core::{
    kernel::{Result, Timestamp},
    protocol::{OfferBody, RunResult},
    work::{operations::shell::ShellParams, secrets::SecretText},
};

use super::{RunAs, SPEC_INVALID};

/// How long a run gets between SIGTERM and SIGKILL when nobody says.
const GRACE: Duration = Duration::from_secs(10);

/// The longest input, in bytes: as much as a pipe always holds (PIPE_BUF in limits.h), so that nobody waits for who reads it.
pub const MAX_INPUT: usize = 4 * 1024;

/// What is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A script; its interpreter reads it from a file, so that it does not show in the list of processes.
    Script {
        /// The text.
        text: String,
        /// Who reads it, with an absolute path.
        interpreter: String,
        /// The script's arguments.
        arguments: Vec<String>,
    },
    /// A program and its arguments, without a shell.
    Command {
        /// An absolute path, or a name that is looked up in `PATH`.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// A run of a script or program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellSpec {
    /// What is executed.
    pub program: Program,
    /// Where; by default the user's home, or `/` where that is missing.
    pub working_directory: Option<PathBuf>,
    /// Additions to its environment.
    pub environment: BTreeMap<String, String>,
    /// The same, of values that are not printed.
    pub secret_environment: BTreeMap<String, SecretText>,
    /// What it reads from its standard input, at most [`MAX_INPUT`] bytes; nothing by default.
    pub input: Option<SecretText>,
    /// Who it runs as; the agent's own user by default. It has that user's primary group only.
    pub run_as: Option<RunAs>,
    /// How long it may run.
    pub timeout: Duration,
    /// How long it gets to end after SIGTERM, before SIGKILL.
    pub grace: Duration,
    /// How much output is kept, in bytes of text.
    pub output_limit_bytes: u64,
    /// Niceness, 0 to 19.
    pub nice: u8,
}

impl ShellSpec {
    /// A script with the usual limits: 5 minutes, 4 MiB of output.
    pub fn script(text: impl Into<String>) -> Self {
        Self {
            program: Program::Script {
                text: text.into(),
                interpreter: "/bin/sh".to_owned(),
                arguments: Vec::new(),
            },
            working_directory: None,
            environment: BTreeMap::new(),
            secret_environment: BTreeMap::new(),
            input: None,
            run_as: None,
            timeout: Duration::from_secs(300),
            grace: GRACE,
            output_limit_bytes: 4 << 20,
            nice: 0,
        }
    }

    /// What an offer of a `shell` run asks for.
    pub fn from_offer(params: &ShellParams, offer: &OfferBody) -> Self {
        Self {
            program: Program::Script {
                text: params.script.clone(),
                interpreter: params.interpreter.clone(),
                arguments: params.arguments.clone(),
            },
            working_directory: params.working_directory.as_ref().map(PathBuf::from),
            environment: params.environment.clone(),
            secret_environment: params.secret_env.clone(),
            run_as: params.run_as.clone().map(RunAs::Name),
            timeout: Duration::from_secs(u64::from(offer.timeout_seconds)),
            output_limit_bytes: offer.output_limit_bytes,
            ..Self::script("")
        }
    }

    /// The same with another script.
    #[must_use]
    pub fn with_text(mut self, other: &str) -> Self {
        if let Program::Script { text, .. } = &mut self.program {
            other.clone_into(text);
        }
        self
    }

    /// All additions to its environment, secret or not.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let secret = self.secret_environment.iter();
        let secret = secret.map(|(name, value)| (name.as_str(), value.reveal()));
        let open = self.environment.iter();
        open.map(|(name, value)| (name.as_str(), value.as_str())).chain(secret)
    }

    /// Refuses what the operating system cannot express.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |why: &str| Err(SPEC_INVALID.error(why));
        let (program, arguments) = match &self.program {
            Program::Script {
                interpreter, arguments, ..
            } => (interpreter, arguments),
            Program::Command { program, arguments } => (program, arguments),
        };
        if program.is_empty() {
            return refuse("no program is named");
        }
        let directory = self
            .working_directory
            .as_ref()
            .map(|path| path.as_os_str().as_encoded_bytes());
        if program.contains('\0')
            || arguments.iter().any(|argument| argument.contains('\0'))
            || self.variables().any(|(_, value)| value.contains('\0'))
            || directory.is_some_and(|path| path.contains(&0))
        {
            return refuse("programs, arguments, directories and environment variables cannot hold U+0000");
        }
        if self
            .variables()
            .any(|(name, _)| name.is_empty() || name.contains(['=', '\0']))
        {
            return refuse("the name of an environment variable is not empty and holds no =");
        }
        if self
            .input
            .as_ref()
            .is_some_and(|input| input.reveal().len() > MAX_INPUT)
        {
            return refuse("the input is longer than 4 KiB");
        }
        if self.nice > 19 {
            return refuse("niceness is 0 to 19");
        }
        Ok(())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the leader exited with; nothing when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended the leader.
    pub signal: Option<i32>,
    /// It took too long and was stopped.
    pub timed_out: bool,
    /// It was stopped on request.
    pub cancelled: bool,
    /// Bytes of output that were not kept.
    pub truncated_bytes: u64,
    /// The sequence number after the last chunk.
    pub next_sequence: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// When all of it had ended.
    pub finished_at: Timestamp,
}

impl Outcome {
    /// The outcome in the protocol's words. A run that was stopped has not succeeded, whatever it exited with.
    pub fn result(&self) -> RunResult {
        if self.cancelled {
            RunResult::Cancelled
        } else if self.timed_out {
            RunResult::TimedOut
        } else if self.exit_code == Some(0) {
            RunResult::Succeeded
        } else {
            RunResult::Failed
        }
    }
}
