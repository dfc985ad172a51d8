//! What callers append.

use fleet_core::kernel::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::frame::{Class, Head};

/// One thing that happened to a run. Bodies are opaque to the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The run's offer was verified and taken; once synced, the run may be accepted.
    Receipt {
        /// The run.
        run: Uuid,
        /// When the offer was taken.
        at: Timestamp,
        /// When the offer ends: the run must not start afterwards.
        expires_at: Option<Timestamp>,
        /// Whether the run's kind may simply be done again after a crash.
        idempotent: bool,
        /// The offer as it came.
        offer: Value,
    },
    /// The run is about to execute; must be synced before the first process starts.
    Started {
        /// The run.
        run: Uuid,
        /// When.
        at: Timestamp,
    },
    /// A piece of the run's output.
    Output {
        /// The run.
        run: Uuid,
        /// Its place: 0, 1, 2 … without gaps, going on across a second start.
        sequence: u64,
        /// The piece.
        body: Value,
    },
    /// How the run ended.
    Result {
        /// The run.
        run: Uuid,
        /// When.
        at: Timestamp,
        /// The outcome.
        body: Value,
    },
    /// The server has (or knows to be lost) all output before a sequence number.
    OutputAcknowledged {
        /// The run.
        run: Uuid,
        /// The first sequence number that the server has not got yet.
        before: u64,
    },
    /// The server has the result.
    ResultAcknowledged {
        /// The run.
        run: Uuid,
        /// When; the run is remembered from here on for [`Limits::finished_age`](super::Limits::finished_age).
        at: Timestamp,
    },
}

impl Record {
    /// The run that it is about.
    pub fn run(&self) -> Uuid {
        match self {
            Self::Receipt { run, .. }
            | Self::Started { run, .. }
            | Self::Output { run, .. }
            | Self::Result { run, .. }
            | Self::OutputAcknowledged { run, .. }
            | Self::ResultAcknowledged { run, .. } => *run,
        }
    }

    pub(super) fn to_head(&self) -> Head {
        match self.clone() {
            Self::Receipt {
                run,
                at,
                expires_at,
                idempotent,
                offer,
            } => Head {
                at: Some(at),
                expires_at,
                idempotent: Some(idempotent),
                body: Some(offer),
                ..Head::new(Class::Receipt, run)
            },
            Self::Started { run, at } => Head {
                at: Some(at),
                ..Head::new(Class::Started, run)
            },
            Self::Output { run, sequence, body } => Head {
                sequence: Some(sequence),
                body: Some(body),
                ..Head::new(Class::Output, run)
            },
            Self::Result { run, at, body } => Head {
                at: Some(at),
                body: Some(body),
                ..Head::new(Class::Result, run)
            },
            Self::OutputAcknowledged { run, before } => Head {
                before: Some(before),
                ..Head::new(Class::OutputAcknowledged, run)
            },
            Self::ResultAcknowledged { run, at } => Head {
                at: Some(at),
                ..Head::new(Class::ResultAcknowledged, run)
            },
        }
    }
}
