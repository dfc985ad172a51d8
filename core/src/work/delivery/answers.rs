//! What devices answer about their runs.

use super::offers::DeliveryService;
use crate::{
    access::{Actor, Context, Origin},
    devices::DeviceId,
    kernel::{EntityId, Result, Timestamp},
    protocol::{Finished, Output, Refused, RunResult},
    store::Evidence,
    work::{
        Run, RunId, State,
        output::store_chunks,
        run::{Edge, Ending, Step, step_run},
    },
};

/// What became of an answer. Only what failed for a passing reason is an error of the call; everything else is final, so that
/// the agent does not send it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is stored.
    Stored,
    /// It was stored before.
    Repeat,
    /// It is about a run that the device never had, or contradicts what is stored. The agent may forget it.
    Rejected,
}

impl DeliveryService<'_> {
    /// The device has the run in its journal.
    pub async fn accepted(&self, device: DeviceId, run: RunId) -> Result<Answer> {
        self.step(device, run, Move::new(Edge::Accept, &receive)).await
    }

    /// The device has begun the run. Its clock is not trusted beyond now.
    pub async fn started(&self, device: DeviceId, run: RunId, at: Timestamp) -> Result<Answer> {
        self.step(device, run, Move::new(Edge::Start, &begin(at))).await
    }

    /// The device has the run and has begun it, which it tells together unless others are before it: one commit, in which the run
    /// moves twice.
    pub async fn accepted_and_started(&self, device: DeviceId, run: RunId, at: Timestamp) -> Result<[Answer; 2]> {
        let begin = begin(at);
        self.steps(
            device,
            run,
            [Move::new(Edge::Accept, &receive), Move::new(Edge::Start, &begin)],
        )
        .await
    }

    /// The device will never execute the run.
    pub async fn refused(&self, device: DeviceId, refused: Refused) -> Result<Answer> {
        let end = if refused.code == "offer.expired" {
            State::Expired
        } else {
            State::Failed
        };
        let reason = format!("refused by the device: {}", refused.code);
        let ending = Ending {
            code: Some(bounded(refused.code, 64)),
            message: Some(bounded(refused.message, 1_000)),
            ..Ending::default()
        };
        let set = move |run: &mut Run, _: Timestamp| run.ending = Some(ending.clone());
        let mut refusal = Move::new(Edge::Finish(end), &set);
        refusal.reason = Some(reason);
        self.step(device, refused.run, refusal).await
    }

    /// The run has ended.
    pub async fn finished(&self, device: DeviceId, finished: Finished) -> Result<Answer> {
        let end = match finished.result {
            RunResult::Succeeded => State::Succeeded,
            RunResult::Failed => State::Failed,
            RunResult::TimedOut => State::TimedOut,
            RunResult::Cancelled => State::Cancelled,
            RunResult::Indeterminate => State::Indeterminate,
        };
        let ending = Ending {
            exit_code: finished.exit_code,
            signal: finished.signal,
            code: finished.code.map(|code| bounded(code, 64)),
            message: finished.message.map(|message| bounded(message, 1_000)),
            chunks: finished.chunks,
            truncated_bytes: finished.truncated_bytes,
        };
        let (started_at, finished_at) = (finished.started_at, finished.finished_at);
        let set = move |run: &mut Run, now: Timestamp| {
            run.delivery.receipt_at.get_or_insert(now);
            if run.started_at.is_none() {
                run.started_at = started_at.map(|at| within(at, run.created_at, now));
            }
            run.finished_at = Some(within(finished_at, run.started_at.unwrap_or(run.created_at), now));
            run.ending = Some(ending.clone());
        };
        self.step(device, finished.run, Move::new(Edge::Finish(end), &set))
            .await
    }

    /// Output of the run; returns the place after the last chunk that need not be sent again.
    pub async fn output(&self, device: DeviceId, output: Output) -> Result<u32> {
        let after = output
            .chunks
            .iter()
            .map(|chunk| chunk.sequence.saturating_add(1))
            .max()
            .unwrap_or(0);
        match self.store.get::<Run>(output.run).await? {
            Some(run)
                if run.device == device
                    && !matches!(
                        run.state,
                        State::Draft | State::AwaitingApproval | State::Scheduled | State::Queued
                    ) =>
            {
                match store_chunks(self.store, self.meter, self.runs, &run.value, output.chunks).await {
                    // The device sent other bytes for a chunk that is stored: what is stored stays.
                    Err(error) if error.code() == crate::store::ROW_CONFLICT => {
                        tracing::warn!(%device, run = %output.run, "a chunk of output came again with other contents");
                        Ok(after)
                    }
                    outcome => outcome,
                }
            }
            _ => {
                tracing::warn!(%device, run = %output.run, "output of a run that the device never had");
                Ok(after)
            }
        }
    }

    async fn step(&self, device: DeviceId, id: RunId, step: Move<'_>) -> Result<Answer> {
        let [answer] = self.steps(device, id, [step]).await?;
        Ok(answer)
    }

    /// Moves a run, one step after the other, in one commit.
    async fn steps<const N: usize>(&self, device: DeviceId, id: RunId, moves: [Move<'_>; N]) -> Result<[Answer; N]> {
        let context = Context::new(
            Actor::Device {
                id: device.uuid(),
                name: String::new(),
            },
            Origin::default(),
            std::sync::Arc::default(),
        );
        let moves = &moves;
        let answers = self
            .store
            .change(&context, Evidence::Observed, |mut tx| async move {
                let Some(before) = tx.get::<Run>(id).await?.filter(|run| run.device == device) else {
                    tracing::warn!(%device, run = %id, "an answer about a run that the device never had");
                    return Ok([Answer::Rejected; N]);
                };
                let mut answers = [Answer::Rejected; N];
                let (mut run, now) = (before.value.clone(), tx.now());
                for (step, answer) in moves.iter().zip(&mut answers) {
                    *answer = decide(run.state, step.edge);
                    match answer {
                        Answer::Stored => {
                            (step.set)(&mut run, now);
                            step_run(&mut tx, &before, &mut run, step.edge, step.reason.clone())?;
                        }
                        Answer::Repeat => {}
                        Answer::Rejected => {
                            tracing::warn!(%device, run = %id, state = run.state.name(), edge = ?step.edge, "an answer that contradicts what is stored");
                        }
                    }
                }
                if answers.contains(&Answer::Stored) {
                    tx.commit().await?;
                }
                Ok(answers)
            })
            .await?;
        if answers.contains(&Answer::Stored) {
            self.runs.signal(id);
            if moves.iter().any(|step| matches!(step.edge, Edge::Finish(_))) {
                // The lane is free: the next run may go.
                self.devices.signal(device);
            }
        }
        Ok(answers)
    }
}

/// A time that a device tells, not before `earliest` and never after now. `earliest` may itself be after now: another server wrote it
/// by its own clock, or this one's was set back.
fn within(told: Timestamp, earliest: Timestamp, now: Timestamp) -> Timestamp {
    told.max(earliest).min(now)
}

/// What an answer changes in a run, at this time.
type Set = dyn Fn(&mut Run, Timestamp) + Send + Sync;

/// A step that an answer makes a run take.
struct Move<'m> {
    edge: Edge,
    /// Before the step, which keeps times that the device tells better.
    set: &'m Set,
    reason: Option<String>,
}

impl<'m> Move<'m> {
    fn new(edge: Edge, set: &'m Set) -> Self {
        Self {
            edge,
            set,
            reason: None,
        }
    }
}

fn receive(run: &mut Run, now: Timestamp) {
    run.delivery.receipt_at = Some(now);
}

fn begin(at: Timestamp) -> impl Fn(&mut Run, Timestamp) + Send + Sync {
    move |run, now| {
        run.delivery.receipt_at.get_or_insert(now);
        run.started_at = Some(within(at, run.created_at, now));
    }
}

fn decide(state: State, edge: Edge) -> Answer {
    match state.after(edge) {
        Step::To(_) => Answer::Stored,
        Step::Repeat => Answer::Repeat,
        Step::Illegal => Answer::Rejected,
    }
}

/// Foreign text, cut to a bound and without what cannot be stored.
fn bounded(text: String, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}
