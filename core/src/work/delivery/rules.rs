//! Which runs a device is offered next. Pure.

use crate::{
    kernel::Timestamp,
    work::{Operations, Run, State, operations::Lane},
};

/// The most runs that are with one device at once.
pub(super) const MAX_WITH_DEVICE: usize = 8;

/// The places of the runs to offer, out of a device's open runs in due order. What was offered in the session of number `sent_in` is
/// known to have been sent.
///
/// One exclusive run is with the device at a time, so that a run's time begins when it is sent. What was offered in an older
/// session and not confirmed is offered again: the agent absorbs what it has already.
pub(super) fn choose(runs: &[&Run], operations: &Operations, sent_in: Option<u64>, now: Timestamp) -> Vec<usize> {
    let exclusive = |run: &Run| {
        operations
            .kind(&run.operation)
            .map_or(true, |kind| kind.lane == Lane::Exclusive)
    };
    let is_with_device = |run: &&&Run| run.state.is_with_device();
    let mut with_device = runs.iter().filter(is_with_device).count();
    let mut lane_taken = runs.iter().filter(is_with_device).any(|run| exclusive(run));
    let mut chosen = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let waits = now < run.expires_at && run.cancel_requested_at.is_none();
        match run.state {
            State::Offered if waits && (sent_in.is_none() || run.delivery.epoch != sent_in) => chosen.push(place),
            State::Queued if waits && with_device < MAX_WITH_DEVICE && !(lane_taken && exclusive(run)) => {
                lane_taken |= exclusive(run);
                with_device += 1;
                chosen.push(place);
            }
            _ => {}
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        devices::DeviceId,
        kernel::SeededRandom,
        work::{
            BatchId, Priority, RunId, StoredParams,
            operations::{refresh, shell},
            run::Delivery,
        },
    };

    const NOW: i64 = 1_800_000_000;

    /// `s` is a shell run, `r` a refresh; then the state: q(ueued), o(ffered in this session), O(ffered in an older one),
    /// a(ccepted), x (queued, expired), c (offered before, being cancelled).
    #[track_caller]
    fn check(runs: &str, expected: &[usize]) {
        let random = SeededRandom::new(1);
        let now = Timestamp::from_seconds(NOW);
        let runs: Vec<_> = runs
            .split_whitespace()
            .map(|run| {
                let mut chars = run.chars();
                let operation = if chars.next() == Some('s') {
                    shell::NAME
                } else {
                    refresh::NAME
                };
                let how = chars.next().unwrap();
                Run {
                    id: RunId::new(now, &random),
                    batch: Some(BatchId::new(now, &random)),
                    origin: None,
                    device: DeviceId::new(now, &random),
                    device_name: "d".into(),
                    operation: operation.into(),
                    params: StoredParams::without_secrets(serde_json::Value::Null),
                    state: match how {
                        'o' | 'O' | 'c' => State::Offered,
                        'a' => State::Accepted,
                        _ => State::Queued,
                    },
                    priority: Priority::Normal,
                    due_at: now,
                    delivery: Delivery {
                        epoch: match how {
                            'o' => Some(7),
                            'O' | 'c' => Some(6),
                            _ => None,
                        },
                        ..Delivery::default()
                    },
                    created_at: now,
                    expires_at: if how == 'x' { now } else { Timestamp::MAX },
                    timeout_seconds: 1,
                    output_limit_bytes: 1,
                    started_at: None,
                    finished_at: None,
                    cancel_requested_at: (how == 'c').then_some(now),
                    on_hold: false,
                    ending: None,
                }
            })
            .collect();
        let operations = Operations::new([shell::KIND, refresh::KIND]).unwrap();
        let runs: Vec<_> = runs.iter().collect();
        assert_eq!(choose(&runs, &operations, Some(7), now), expected);
    }

    #[test]
    fn one_exclusive_run_at_a_time_and_shared_ones_beside_it() {
        check("sq sq rq", &[0, 2]);
        check("sa sq rq", &[2]);
        check("rq rq rq", &[0, 1, 2]);
    }

    #[test]
    fn what_an_older_session_was_offered_is_offered_again() {
        check("sO sq", &[0]);
        check("so sq", &[]);
        check("sc sq", &[]);
    }

    #[test]
    fn expired_runs_are_not_offered() {
        check("sx sq", &[1]);
    }

    #[test]
    fn a_device_has_a_bounded_number_of_runs() {
        check("rq rq rq rq rq rq rq rq rq rq", &[0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
