//! Which frames tell of a run, and what is said when that is stored. Pure.

use crate::{
    protocol::{AgentFrame, Recorded},
    work::{
        RunId,
        delivery::{Answer, Told},
    },
};

/// Output of so many bytes is stored along with what else is told of its run; more has a way that needs no commit.
const LITTLE: usize = 4_096;

/// The run that a frame tells of; none where it is about something else, or much.
pub(super) fn run_of(frame: &AgentFrame) -> Option<RunId> {
    match frame {
        AgentFrame::Accepted(accepted) => Some(accepted.run),
        AgentFrame::Originated(originated) => Some(originated.run),
        AgentFrame::Started(started) => Some(started.run),
        AgentFrame::Refused(refused) => Some(refused.run),
        AgentFrame::Finished(finished) => Some(finished.run),
        AgentFrame::Output(output) => {
            let bytes: usize = output.chunks.iter().map(|chunk| chunk.text.len()).sum();
            (bytes <= LITTLE).then_some(output.run)
        }
        AgentFrame::Hello(_)
        | AgentFrame::Beat(_)
        | AgentFrame::Announce(_)
        | AgentFrame::Applied(_)
        | AgentFrame::Reverted(_)
        | AgentFrame::Unknown => None,
    }
}

/// What a frame tells of its run.
pub(super) fn told(frame: AgentFrame) -> Option<Told> {
    match frame {
        AgentFrame::Accepted(_) => Some(Told::Accepted),
        AgentFrame::Originated(originated) => Some(Told::Originated(originated)),
        AgentFrame::Started(started) => Some(Told::Started(started.at)),
        AgentFrame::Refused(refused) => Some(Told::Refused(refused)),
        AgentFrame::Output(output) => Some(Told::Output(output)),
        AgentFrame::Finished(finished) => Some(Told::Finished(finished)),
        AgentFrame::Hello(_)
        | AgentFrame::Beat(_)
        | AgentFrame::Announce(_)
        | AgentFrame::Applied(_)
        | AgentFrame::Reverted(_)
        | AgentFrame::Unknown => None,
    }
}

/// What the agent hears of something that it told. Of a step that is rejected no more is to be said.
pub(super) fn recorded(run: RunId, told: &Told, answer: Answer) -> Recorded {
    let (chunks, finished) = match told {
        Told::Accepted | Told::Originated(_) | Told::Started(_) => (0, answer == Answer::Rejected),
        Told::Refused(_) => (0, true),
        Told::Output(output) => (output.after(), false),
        Told::Finished(finished) => (finished.chunks, true),
    };
    Recorded {
        run,
        chunks,
        accepted: true,
        finished,
    }
}
