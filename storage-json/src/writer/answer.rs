//! Answers, which wait until what they say is on the disk.

use fleet_core::store::{Committed, Error, Result};

use super::{Ask, Reply, not_prepared};
use crate::error::again;

/// An answer and where it goes.
pub(crate) enum Answer {
    Committed(Reply<Committed>, Result<Committed>),
    Done(Reply<()>, Result<()>),
    Count(Reply<u64>, Result<u64>),
    Trimmed(Reply<(u64, bool)>, Result<(u64, bool)>),
    Lease(Reply<Option<u64>>, Result<Option<u64>>),
}

impl Answer {
    /// Sends it; or the error, if the group that it belongs to could not be written.
    pub(super) fn send(self, failed: Option<&Error>) {
        fn to<T>(reply: Reply<T>, answer: Result<T>, failed: Option<&Error>) {
            // Nobody may be waiting any more; the work is done all the same.
            let _ = reply.send(failed.map_or(answer, |error| Err(again(error))));
        }
        match self {
            Self::Committed(reply, answer) => to(reply, answer, failed),
            Self::Done(reply, answer) => to(reply, answer, failed),
            Self::Count(reply, answer) => to(reply, answer, failed),
            Self::Trimmed(reply, answer) => to(reply, answer, failed),
            Self::Lease(reply, answer) => to(reply, answer, failed),
        }
    }

    /// The answer to whatever comes before `prepare`.
    pub(super) fn unprepared(ask: Ask) -> Self {
        match ask {
            Ask::Commit(_, reply) => Self::Committed(reply, Err(not_prepared())),
            Ask::Ingest(_, reply) => Self::Done(reply, Err(not_prepared())),
            Ask::Fill(_, reply) | Ask::Patch(_, reply) | Ask::Serve(reply) | Ask::Clear(reply) => {
                Self::Done(reply, Err(not_prepared()))
            }
            Ask::Compact(_, reply) | Ask::Freeze(_, reply) => Self::Count(reply, Err(not_prepared())),
            Ask::Trim(_, _, reply) => Self::Trimmed(reply, Err(not_prepared())),
            Ask::Lease(_, _, _, reply) => Self::Lease(reply, Err(not_prepared())),
        }
    }
}
