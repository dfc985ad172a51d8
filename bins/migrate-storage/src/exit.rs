//! How it ends.

use std::process::ExitCode;

use fleet_core::store::{
    self,
    migration::{MigrationError, Problem},
};
use serde_json::{Value, json};

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Refused = 3,
    Different = 4,
    Unreachable = 5,
    Interrupted = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why it did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) remedy: String,
    pub(crate) problems: Vec<Problem>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            exit,
            code,
            message: message.into(),
            remedy: remedy.into(),
            problems: Vec::new(),
        }
    }

    pub(crate) fn refused(problems: Vec<Problem>) -> Self {
        let unreachable = problems
            .iter()
            .any(|problem| problem.code.name() == "migration.unreachable");
        let texts: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        let remedies: Vec<_> = problems.iter().map(|problem| problem.remedy.as_str()).collect();
        Self {
            exit: if unreachable { Exit::Unreachable } else { Exit::Refused },
            code: problems
                .first()
                .map_or("migration.refused", |problem| problem.code.name()),
            message: texts.join("; "),
            remedy: remedies.join("; "),
            problems,
        }
    }

    /// A store that does not open; nothing was changed.
    pub(crate) fn opening(side: &str, name: &str, error: &store::Error) -> Self {
        let (exit, remedy) = match error {
            store::Error::Unavailable(_) => (
                Exit::Unreachable,
                "nothing was changed; put the store right, or check the URI",
            ),
            store::Error::Refused(why) if why.contains("is in use by another process") => (
                Exit::Refused,
                "nothing was changed; stop the server that uses it, or let that server move it: `fleet storage move URI`",
            ),
            _ => (Exit::Refused, "nothing was changed"),
        };
        Self::new(
            exit,
            "migration.not_opened",
            format!("the {side}, {name}, cannot be opened: {error}"),
            remedy,
        )
    }

    /// With the command that goes on, where something was begun.
    #[must_use]
    pub(crate) fn with_command(mut self, goes_on: &str) -> Self {
        if matches!(self.exit, Exit::Failed | Exit::Different | Exit::Unreachable) && self.problems.is_empty() {
            self.remedy = format!("{}. The command that goes on: `{goes_on}`", self.remedy);
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        json!({"error": {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "problems": self.problems,
        }})
    }
}

impl From<MigrationError> for Failure {
    fn from(error: MigrationError) -> Self {
        let exit = match &error {
            MigrationError::Refused(_) => Exit::Refused,
            MigrationError::Different(_) | MigrationError::Damaged(_) => Exit::Different,
            MigrationError::Store {
                error: store::Error::Unavailable(_) | store::Error::Unknown(_),
                ..
            }
            | MigrationError::OutcomeUnknown(_) => Exit::Unreachable,
            _ => Exit::Failed,
        };
        match error {
            MigrationError::Refused(problems) => Self::refused(problems),
            error => Self::new(exit, error.code().name(), error.to_string(), error.remedy()),
        }
    }
}
