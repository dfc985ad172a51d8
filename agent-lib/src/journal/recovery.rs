//! What was found after a restart, and what follows from it.

use fleet_core::kernel::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::scan::Damage;

/// How often a run of an idempotent kind is started before it counts as indeterminate: one that takes the agent down each
/// time must not do so for ever.
pub(super) const MAX_STARTS: u32 = 3;

/// What opening a journal brought to light.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The runs that are not finished, in the order of their arrival.
    pub runs: Vec<RecoveredRun>,
    /// How many finished runs are remembered.
    pub finished: usize,
    /// Bytes of a last write that the crash cut short; they were never synced.
    pub torn_bytes: u64,
    /// Places where bytes are not what had been written. The old file is kept as `journal.damaged`.
    pub damage: Vec<Damage>,
    /// Records of a class that this version does not know; they were passed over.
    pub unknown: u64,
}

/// A run that is not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredRun {
    /// The run.
    pub run: Uuid,
    /// The offer; nothing when its record was damaged.
    pub offer: Option<Value>,
    /// When the offer was taken.
    pub received_at: Option<Timestamp>,
    /// When the offer ends.
    pub expires_at: Option<Timestamp>,
    /// Whether the kind may simply be done again.
    pub idempotent: bool,
    /// How often it was started.
    pub starts: u32,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
    /// The start is assumed, because a damaged place may have held it.
    pub doubtful: bool,
    /// Pieces of output (and losses) that the server has not got yet.
    pub pending_output: usize,
    /// The sequence number of the next output.
    pub next_sequence: u64,
    /// The result, and whether the server has it.
    pub result: Option<(Value, bool)>,
}

/// What to do with a run that was found after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It was received and never started: execute it now.
    Execute,
    /// It was received and never started, and its offer has ended: record that.
    Expire,
    /// It was started, has no result, and its kind may be done again: execute it again.
    RunAgain,
    /// It was started, has no result and must not be done again: record that nobody knows how it ended.
    Indeterminate,
    /// It has a result that the server has not acknowledged: send it again.
    SendResult,
    /// The server has the result; at most output is still to be sent.
    Settled,
}

/// The recovery rule. Output that is pending is sent in any case.
pub fn decide(run: &RecoveredRun, now: Timestamp) -> Recovery {
    let expired = run.expires_at.is_some_and(|at| at <= now);
    match &run.result {
        Some((_, true)) => Recovery::Settled,
        Some((_, false)) => Recovery::SendResult,
        None if run.offer.is_none() => Recovery::Indeterminate,
        None if run.starts == 0 && expired => Recovery::Expire,
        None if run.starts == 0 => Recovery::Execute,
        None if run.idempotent && run.starts < MAX_STARTS && !expired => Recovery::RunAgain,
        None => Recovery::Indeterminate,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn run() -> RecoveredRun {
        RecoveredRun {
            run: Uuid::nil(),
            offer: Some(json!({})),
            received_at: Some(Timestamp::from_seconds(900)),
            expires_at: Some(Timestamp::from_seconds(1_001)),
            idempotent: false,
            starts: 0,
            started_at: None,
            doubtful: false,
            pending_output: 0,
            next_sequence: 0,
            result: None,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut RecoveredRun), expected: Recovery) {
        let mut run = run();
        change(&mut run);
        assert_eq!(decide(&run, NOW), expected, "{run:?}");
    }

    #[test]
    fn a_run_that_was_never_started_is_executed_unless_its_offer_has_ended() {
        check(|_| {}, Recovery::Execute);
        check(|run| run.expires_at = None, Recovery::Execute);
        check(|run| run.expires_at = Some(NOW), Recovery::Expire);
        check(|run| run.idempotent = true, Recovery::Execute);
    }

    #[test]
    fn a_started_run_without_result_is_done_again_only_if_its_kind_allows() {
        check(|run| run.starts = 1, Recovery::Indeterminate);
        check(|run| (run.starts, run.idempotent) = (1, true), Recovery::RunAgain);
        check(|run| (run.starts, run.idempotent) = (2, true), Recovery::RunAgain);
        check(|run| (run.starts, run.idempotent) = (3, true), Recovery::Indeterminate);
        check(
            |run| (run.starts, run.idempotent, run.expires_at) = (1, true, Some(NOW)),
            Recovery::Indeterminate,
        );
    }

    #[test]
    fn a_run_whose_offer_was_damaged_is_never_executed() {
        check(|run| run.offer = None, Recovery::Indeterminate);
        check(
            |run| (run.offer, run.starts, run.idempotent) = (None, 1, true),
            Recovery::Indeterminate,
        );
    }

    #[test]
    fn a_result_is_sent_until_it_is_acknowledged() {
        check(
            |run| (run.starts, run.result) = (1, Some((json!(1), false))),
            Recovery::SendResult,
        );
        check(|run| run.result = Some((json!(1), false)), Recovery::SendResult);
        check(
            |run| (run.starts, run.result) = (1, Some((json!(1), true))),
            Recovery::Settled,
        );
        check(
            |run| (run.offer, run.result) = (None, Some((json!(1), false))),
            Recovery::SendResult,
        );
    }
}
