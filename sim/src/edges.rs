//! The moves that the tables of core allow, and which of them can be reached by a server and its agents.

use fleet_core::work::{
    State,
    run::{EDGES, Edge, Step},
};

/// Whether the table of runs has a move.
pub fn is_allowed(from: State, to: State) -> bool {
    all().any(|edge| edge == (from, to))
}

/// All moves of the table, with each end that an agent can report spelled out.
pub fn all() -> impl Iterator<Item = (State, State)> {
    let named = EDGES.iter().map(|(from, _, to)| (*from, *to));
    let reported = State::ALL.into_iter().flat_map(|from| {
        State::ALL
            .into_iter()
            .filter(move |to| matches!(from.after(Edge::Finish(*to)), Step::To(_)))
            .map(move |to| (from, to))
    });
    named.chain(reported)
}

/// Why a move of the table cannot happen yet; none for those that can. A campaign fails when one of these happens all the same.
pub fn why_not(from: State, to: State) -> Option<&'static str> {
    use State::{Accepted, Draft, Expired, Skipped};
    if (from, to) == (Draft, Accepted) {
        return Some("the first that is stored of what a device begins by itself is that the device has it");
    }
    if from == Draft {
        return Some("runs are made in the state in which they wait: nothing drafts them");
    }
    if to == Skipped && from != State::Queued {
        return Some("the protocol's results have no such end yet");
    }
    if to == Expired && from.is_with_device() && from != State::Offered {
        return Some("an agent refuses only what it has not taken, so the run is still offered");
    }
    None
}

/// A move as it is counted and printed.
pub fn name(from: State, to: State) -> String {
    format!("{} > {}", from.name(), to.name())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fleet_core::protocol::RunResult;

    use super::*;

    /// The end that each result of the protocol stands for. A new one does not compile until it stands here.
    fn end(result: RunResult) -> State {
        match result {
            RunResult::Succeeded => State::Succeeded,
            RunResult::SucceededWithIssues => State::SucceededWithIssues,
            RunResult::NotApplicable => State::NotApplicable,
            RunResult::Failed => State::Failed,
            RunResult::TimedOut => State::TimedOut,
            RunResult::Cancelled => State::Cancelled,
            RunResult::Indeterminate => State::Indeterminate,
        }
    }

    #[test]
    fn no_end_that_a_device_can_report_is_excused() {
        for result in [
            RunResult::Succeeded,
            RunResult::SucceededWithIssues,
            RunResult::NotApplicable,
            RunResult::Failed,
            RunResult::TimedOut,
            RunResult::Cancelled,
            RunResult::Indeterminate,
        ] {
            for from in [State::Offered, State::Accepted, State::Running, State::Lost] {
                assert_eq!(why_not(from, end(result)), None, "{}", name(from, end(result)));
            }
        }
    }

    #[test]
    fn what_is_excused_is_known_by_name() {
        let excused: BTreeSet<String> = all()
            .filter(|(from, to)| why_not(*from, *to).is_some())
            .map(|(from, to)| name(from, to))
            .collect();
        let known = [
            "accepted > expired",
            "accepted > skipped",
            "draft > accepted",
            "draft > awaiting_approval",
            "draft > cancelled",
            "draft > scheduled",
            "lost > skipped",
            "offered > skipped",
            "running > expired",
            "running > skipped",
        ];
        assert_eq!(excused, known.map(str::to_owned).into());
    }
}
