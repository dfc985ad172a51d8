//! Why a section could not be collected.

use std::{io, path::Path};

use fleet_core::{
    devices::inventory::{BodyError, clean_text},
    kernel::{Class, Code},
};

/// Why a section could not be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// It took longer than its collector may.
    #[error("not finished within {seconds} seconds")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// The one before is still hanging.
    #[error("an earlier attempt is still hanging")]
    Busy,
    /// The collector has a fault.
    #[error("the collector panicked")]
    Panicked,
    /// A file could not be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The system refused something.
    #[error("{what}: {cause}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        cause: io::Error,
    },
    /// More came than is read.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What it came from.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A program failed.
    #[error("{program} ended with {status}: {stderr}")]
    Program {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The first of what it wrote to its error output.
        stderr: String,
    },
    /// What was read is not of the expected form.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The body cannot be reported.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl CollectError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::TimedOut { .. } => Code::new("collect.timed_out", Class::Unavailable),
            Self::Busy => Code::new("collect.busy", Class::Unavailable),
            Self::Panicked => Code::new("collect.panicked", Class::Internal),
            Self::Read { .. } => Code::new("collect.read_failed", Class::Unavailable),
            Self::System { .. } => Code::new("collect.system_failed", Class::Unavailable),
            Self::TooLarge { .. } => Code::new("collect.too_large", Class::TooLarge),
            Self::Program { .. } => Code::new("collect.program_failed", Class::Unavailable),
            Self::Malformed { .. } => Code::new("collect.malformed", Class::Invalid),
            Self::Body(_) => Code::new("collect.body_refused", Class::Internal),
        }
    }

    /// The message as text that can be stored, at most 512 bytes.
    pub fn message(&self) -> String {
        clean_text(&self.to_string(), fleet_core::devices::inventory::MAX_TEXT_BYTES)
    }

    pub(super) fn read(path: &Path, cause: io::Error) -> Self {
        Self::Read {
            path: clean_text(&path.display().to_string(), 256),
            cause,
        }
    }
}
