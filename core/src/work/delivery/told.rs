//! What devices tell of their runs, and what that says of a run. Pure.

use crate::{
    kernel::Timestamp,
    protocol::{Finished, Originated, Output, Refused, RunResult},
    work::{
        Run, State,
        operations::is_storable,
        run::{Edge, Ending},
    },
};

/// What a device tells of one of its runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The run is in its journal.
    Accepted,
    /// The device has begun the run by itself, and it is in its journal.
    Originated(Originated),
    /// The run has begun. The device's clock is not trusted beyond now.
    Started(Timestamp),
    /// The device will never execute the run.
    Refused(Refused),
    /// What the run has printed: little, which is stored along with what else is told.
    Output(Output),
    /// The run has ended.
    Finished(Finished),
}

impl Told {
    /// What moves the run; none: nothing does.
    pub(crate) fn edge(&self) -> Option<Edge> {
        Some(match self {
            Self::Accepted => Edge::Accept,
            Self::Originated(_) => Edge::Originate,
            Self::Started(_) => Edge::Start,
            Self::Refused(refused) if refused.code == "offer.expired" => Edge::Finish(State::Expired),
            Self::Refused(_) => Edge::Finish(State::Failed),
            Self::Output(_) => return None,
            Self::Finished(finished) => Edge::Finish(match finished.result {
                RunResult::Succeeded => State::Succeeded,
                RunResult::SucceededWithIssues => State::SucceededWithIssues,
                RunResult::Failed => State::Failed,
                RunResult::NotApplicable => State::NotApplicable,
                RunResult::TimedOut => State::TimedOut,
                RunResult::Cancelled => State::Cancelled,
                RunResult::Indeterminate => State::Indeterminate,
            }),
        })
    }

    /// Why the run moves, where that is worth a word.
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Refused(refused) => Some(format!("refused by the device: {}", refused.code)),
            _ => None,
        }
    }

    /// Notes it in the run. Before the step, which keeps times that the device tells better.
    pub(super) fn note(&self, run: &mut Run, now: Timestamp) {
        match self {
            Self::Accepted | Self::Originated(_) => run.delivery.receipt_at = Some(now),
            Self::Started(at) => {
                run.delivery.receipt_at.get_or_insert(now);
                run.started_at = Some(within(*at, run.created_at, now));
            }
            Self::Refused(refused) => {
                run.ending = Some(Ending {
                    code: Some(bounded(&refused.code, 64)),
                    message: Some(bounded(&refused.message, 1_000)),
                    ..Ending::default()
                });
            }
            Self::Output(_) => {}
            Self::Finished(finished) => {
                run.delivery.receipt_at.get_or_insert(now);
                if run.started_at.is_none() {
                    run.started_at = finished.started_at.map(|at| within(at, run.created_at, now));
                }
                let earliest = run.started_at.unwrap_or(run.created_at);
                run.finished_at = Some(within(finished.finished_at, earliest, now));
                run.ending = Some(Ending {
                    exit_code: finished.exit_code,
                    signal: finished.signal,
                    code: finished.code.as_deref().map(|code| bounded(code, 64)),
                    message: finished.message.as_deref().map(|message| bounded(message, 1_000)),
                    changed: finished.changed,
                    summary: finished.summary.clone().filter(is_storable),
                    chunks: finished.chunks,
                    truncated_bytes: finished.truncated_bytes,
                });
            }
        }
    }
}

/// A time that a device tells, not before `earliest` and never after now. `earliest` may itself be after now: another server wrote it
/// by its own clock, or this one's was set back.
pub(super) fn within(told: Timestamp, earliest: Timestamp, now: Timestamp) -> Timestamp {
    told.max(earliest).min(now)
}

/// Foreign text, cut to a bound and without what cannot be stored.
fn bounded(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}
