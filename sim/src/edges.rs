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

/// Why a move of the table cannot happen yet; none for those that can.
pub fn why_not(from: State, to: State) -> Option<&'static str> {
    use State::{AwaitingApproval, Draft, Expired, NotApplicable, Scheduled, Skipped, SucceededWithIssues};
    if matches!(from, Draft | AwaitingApproval | Scheduled) {
        return Some("runs are made in `queued`: nothing drafts, approves or schedules them yet");
    }
    if matches!(to, SucceededWithIssues | NotApplicable | Skipped) {
        return Some("the protocol's results have no such end yet");
    }
    if to == Expired && from.is_with_device() && from != State::Offered {
        return Some("an agent refuses only what it has not taken, so the run is still offered");
    }
    None
}
