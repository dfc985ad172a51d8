//! The states of a run and the one table that moves them.

use serde::{Deserialize, Serialize};

use crate::store::{ToColumn, Value};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Written down, not asked for yet.
    Draft,
    /// Waits for somebody's approval.
    AwaitingApproval,
    /// Waits for its time or window.
    Scheduled,
    /// Waits for its device.
    Queued,
    /// Committed to be sent; whether it arrived is not known.
    Offered,
    /// In the agent's journal.
    Accepted,
    /// Has begun.
    Running,
    /// Did what it should.
    Succeeded,
    /// Did what it should, with something to look at.
    SucceededWithIssues,
    /// Did not do what it should.
    Failed,
    /// Does not apply to this device.
    NotApplicable,
    /// Left out on purpose.
    Skipped,
    /// Took too long and was stopped.
    TimedOut,
    /// Stopped or withdrawn on request.
    Cancelled,
    /// Its device did not come for it in time; it never began.
    Expired,
    /// Its device vanished; whether it ran is not known. A late result still lands, once.
    Lost,
    /// Its agent was interrupted while it ran; its effect is not known.
    Indeterminate,
}

/// What moves a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Somebody asks for it, and somebody else must agree.
    Submit,
    /// Somebody asks for it, or agrees.
    Schedule,
    /// Its time has come.
    Release,
    /// It is about to be sent, for the first time or again.
    Offer,
    /// Its device has begun it by itself.
    Originate,
    /// The agent has it.
    Accept,
    /// The agent has begun.
    Start,
    /// The agent tells how it ended.
    Finish(State),
    /// The server withdraws it before it was sent.
    Withdraw,
    /// Its device is offline, and it was not to wait for it.
    Skip,
    /// The time for its device to come has passed.
    Expire,
    /// The time for it to end has passed, and its device is there.
    TimeOut,
    /// The time for it to end has passed, and its device is not there.
    Lose,
}

/// What an edge does to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The run moves.
    To(State),
    /// The run is there already, or further: a repeat, which changes nothing.
    Repeat,
    /// The edge contradicts what is known.
    Illegal,
}

use State::{
    Accepted, AwaitingApproval, Cancelled, Draft, Expired, Failed, Indeterminate, Lost, NotApplicable, Offered, Queued,
    Running, Scheduled, Skipped, Succeeded, SucceededWithIssues, TimedOut,
};

/// Ends that an agent can report.
const REPORTED: [State; 9] = [
    Succeeded,
    SucceededWithIssues,
    Failed,
    NotApplicable,
    Skipped,
    TimedOut,
    Cancelled,
    Expired,
    Indeterminate,
];

/// Every move there is: from, by, to. `Finish` stands for each end that an agent can report and is spelled out by
/// [`State::after`].
pub const EDGES: &[(State, Edge, State)] = &[
    (Draft, Edge::Submit, AwaitingApproval),
    (Draft, Edge::Schedule, Scheduled),
    (AwaitingApproval, Edge::Schedule, Scheduled),
    (Scheduled, Edge::Release, Queued),
    (Queued, Edge::Offer, Offered),
    (Draft, Edge::Originate, Accepted),
    (Offered, Edge::Accept, Accepted),
    (Offered, Edge::Start, Running),
    (Accepted, Edge::Start, Running),
    (Draft, Edge::Withdraw, Cancelled),
    (AwaitingApproval, Edge::Withdraw, Cancelled),
    (Scheduled, Edge::Withdraw, Cancelled),
    (Queued, Edge::Withdraw, Cancelled),
    (Queued, Edge::Skip, Skipped),
    (AwaitingApproval, Edge::Expire, Expired),
    (Scheduled, Edge::Expire, Expired),
    (Queued, Edge::Expire, Expired),
    // An offer that got no answer may have arrived: it is lost, not expired.
    (Offered, Edge::Lose, Lost),
    (Accepted, Edge::TimeOut, TimedOut),
    (Running, Edge::TimeOut, TimedOut),
    (Accepted, Edge::Lose, Lost),
    (Running, Edge::Lose, Lost),
];

impl State {
    /// All states.
    pub const ALL: [Self; 17] = [
        Draft,
        AwaitingApproval,
        Scheduled,
        Queued,
        Offered,
        Accepted,
        Running,
        Succeeded,
        SucceededWithIssues,
        Failed,
        NotApplicable,
        Skipped,
        TimedOut,
        Cancelled,
        Expired,
        Lost,
        Indeterminate,
    ];

    /// Those that a run can be stopped in: it has not ended.
    pub const OPEN: [Self; 7] = [Draft, AwaitingApproval, Scheduled, Queued, Offered, Accepted, Running];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Draft => "draft",
            AwaitingApproval => "awaiting_approval",
            Scheduled => "scheduled",
            Queued => "queued",
            Offered => "offered",
            Accepted => "accepted",
            Running => "running",
            Succeeded => "succeeded",
            SucceededWithIssues => "succeeded_with_issues",
            Failed => "failed",
            NotApplicable => "not_applicable",
            Skipped => "skipped",
            TimedOut => "timed_out",
            Cancelled => "cancelled",
            Expired => "expired",
            Lost => "lost",
            Indeterminate => "indeterminate",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more happens, except that a late result may replace `lost`.
    pub const fn is_terminal(self) -> bool {
        !matches!(
            self,
            Draft | AwaitingApproval | Scheduled | Queued | Offered | Accepted | Running
        )
    }

    /// Whether the device has it, or may have it.
    pub const fn is_with_device(self) -> bool {
        matches!(self, Offered | Accepted | Running)
    }

    /// What an edge does to this state. This is the whole state machine.
    pub fn after(self, edge: Edge) -> Step {
        if let Some((_, _, to)) = EDGES.iter().find(|(from, by, _)| *from == self && *by == edge) {
            return Step::To(*to);
        }
        match edge {
            // An agent's report of the end stands whatever was lost on the way to it, and replaces `lost` once.
            Edge::Finish(end) if REPORTED.contains(&end) && (self.is_with_device() || self == Lost) => Step::To(end),
            Edge::Finish(end) if self == end => Step::Repeat,
            // Frames that arrive again, or late, are absorbed.
            Edge::Offer if self == Offered => Step::Repeat,
            Edge::Accept | Edge::Originate if matches!(self, Accepted | Running) || self.is_terminal() => Step::Repeat,
            Edge::Start if self == Running || self.is_terminal() => Step::Repeat,
            Edge::Withdraw | Edge::Skip | Edge::Expire | Edge::TimeOut | Edge::Lose if self.is_terminal() => {
                Step::Repeat
            }
            _ => Step::Illegal,
        }
    }
}

impl ToColumn for State {
    fn to_values(&self) -> Vec<Value> {
        vec![self.name().into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges() -> Vec<Edge> {
        let mut edges = vec![
            Edge::Submit,
            Edge::Schedule,
            Edge::Release,
            Edge::Offer,
            Edge::Originate,
            Edge::Accept,
            Edge::Start,
            Edge::Withdraw,
            Edge::Skip,
            Edge::Expire,
            Edge::TimeOut,
            Edge::Lose,
        ];
        edges.extend(State::ALL.map(Edge::Finish));
        edges
    }

    /// How far along a state is; terminal states are one step behind the last.
    fn rank(state: State) -> usize {
        if state.is_terminal() { 7 } else { state as usize }
    }

    #[test]
    fn states_move_only_forward() {
        for from in State::ALL {
            for edge in edges() {
                if let Step::To(to) = from.after(edge) {
                    assert!(
                        rank(to) > rank(from) || (from == Lost && to.is_terminal() && to != Lost),
                        "{from:?} {edge:?} {to:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn terminal_states_stay_except_that_a_late_result_replaces_lost() {
        for from in State::ALL
            .into_iter()
            .filter(|state| state.is_terminal() && *state != Lost)
        {
            for edge in edges() {
                assert!(!matches!(from.after(edge), Step::To(_)), "{from:?} {edge:?}");
            }
        }
        assert_eq!(Lost.after(Edge::Finish(Succeeded)), Step::To(Succeeded));
    }

    #[test]
    fn a_repeated_frame_changes_nothing() {
        for from in State::ALL {
            for edge in edges() {
                if let Step::To(to) = from.after(edge)
                    && !matches!(edge, Edge::Schedule | Edge::Submit | Edge::Release)
                {
                    assert_eq!(to.after(edge), Step::Repeat, "{from:?} {edge:?} {to:?}");
                }
            }
        }
    }

    #[test]
    fn a_result_for_a_run_that_was_never_sent_is_illegal() {
        for from in [Draft, AwaitingApproval, Scheduled, Queued] {
            assert_eq!(from.after(Edge::Finish(Succeeded)), Step::Illegal);
            assert_eq!(from.after(Edge::Accept), Step::Illegal);
            assert_eq!(from.after(Edge::Start), Step::Illegal);
        }
        assert_eq!(Succeeded.after(Edge::Finish(Failed)), Step::Illegal);
        assert_eq!(Running.after(Edge::Finish(Lost)), Step::Illegal);
        assert_eq!(Running.after(Edge::Finish(Queued)), Step::Illegal);
    }

    #[test]
    fn every_state_is_reachable_and_every_open_state_has_a_way_out() {
        let mut reached = vec![Draft];
        let mut n = 0;
        while n < reached.len() {
            for edge in edges() {
                if let Step::To(to) = reached[n].after(edge)
                    && !reached.contains(&to)
                {
                    reached.push(to);
                }
            }
            n += 1;
        }
        assert_eq!(reached.len(), State::ALL.len());
        for from in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
            let out = [Edge::Withdraw, Edge::Expire, Edge::TimeOut, Edge::Lose]
                .iter()
                .any(|edge| matches!(from.after(*edge), Step::To(_)));
            assert!(out, "the server can end {from:?} without the device");
        }
    }

    #[test]
    fn open_is_what_has_not_ended() {
        for state in State::ALL {
            assert_eq!(State::OPEN.contains(&state), !state.is_terminal(), "{state:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
