//! What a session tells the server of runs, and what the server has stored of them.

use std::sync::atomic::Ordering;

use fleet_core::{
    kernel::{Clock as _, EntityId as _, Result, Timestamp},
    protocol::{Accepted, AgentFrame, Finished, Originated, Output, Recorded, Started},
    work::RunId,
};

use super::{
    Sent,
    manager::{Entry, Runs},
    output,
};
use crate::journal::Record;

/// The most output that is sent in one go, in bytes of JSON.
const OUTPUT_AT_ONCE: usize = 40 * 1024;
/// About as many frames are sent in one go.
const FRAMES_AT_ONCE: usize = 48;

/// A run of which the server may lack something.
struct Due {
    run: RunId,
    origin: Option<Originated>,
    is_known: bool,
    started_at: Option<Timestamp>,
    ended: Option<Finished>,
}

impl Runs {
    /// Takes over what the server has stored.
    ///
    /// # Errors
    /// When the journal takes nothing any more.
    pub async fn recorded(&self, recorded: &Recorded) -> Result<()> {
        let run = recorded.run.uuid();
        let (ended, is_news) = match self.table().get_mut(&recorded.run) {
            None => return Ok(()),
            Some(entry) => (entry.ended.is_some(), !std::mem::replace(&mut entry.is_known, true)),
        };
        if is_news {
            // The rest may be told now.
            self.inner.changed.notify_one();
        }
        let mut records = Vec::new();
        if recorded.chunks > 0 {
            records.push(Record::OutputAcknowledged {
                run,
                before: u64::from(recorded.chunks),
            });
        }
        let over = recorded.finished && ended;
        if over {
            records.push(Record::ResultAcknowledged {
                run,
                at: self.inner.clock.now(),
            });
        }
        if !records.is_empty() {
            self.inner.journal.append(records).await?;
        }
        if over {
            self.table().remove(&recorded.run);
        }
        Ok(())
    }

    /// The next frames that a session has to send, in order: for each run its acceptance, its start, its output, its end.
    ///
    /// # Errors
    /// When the journal cannot be read any more.
    pub async fn due(&self, sent: &mut Sent) -> Result<Vec<AgentFrame>> {
        let mut frames = Vec::new();
        sent.runs.retain(|run, _| self.table().contains_key(run));
        for due in self.to_tell() {
            let Due {
                run,
                origin,
                is_known,
                started_at,
                ended,
            } = due;
            if frames.len() >= FRAMES_AT_ONCE {
                // The rest in the next go: a device that was offline for long has much to tell.
                self.inner.changed.notify_one();
                break;
            }
            let told = sent.runs.entry(run).or_default();
            if !told.accepted {
                told.accepted = true;
                frames.push(match origin {
                    Some(origin) => AgentFrame::Originated(origin),
                    None => AgentFrame::Accepted(Accepted { run }),
                });
            }
            if !is_known {
                continue;
            }
            if let Some(at) = started_at
                && !told.started
            {
                told.started = true;
                frames.push(AgentFrame::Started(Started { run, at }));
            }
            let (uuid, from) = (run.uuid(), u64::from(told.chunks));
            let pending = self
                .inner
                .journal
                .with(move |journal| journal.pending(&uuid, from, OUTPUT_AT_ONCE))
                .await??;
            for item in pending {
                let chunk = output::chunk(item);
                told.chunks = chunk.sequence.saturating_add(1).max(told.chunks);
                frames.push(AgentFrame::Output(Output {
                    run,
                    chunks: vec![chunk],
                }));
            }
            if let Some(ended) = ended
                && !told.finished
                && self.output_is_told(run, told.chunks).await?
            {
                told.finished = true;
                frames.push(AgentFrame::Finished(ended));
            }
        }
        if frames.iter().any(|frame| matches!(frame, AgentFrame::Output(_))) {
            // There may be more than fits one go.
            self.inner.changed.notify_one();
        }
        Ok(frames)
    }

    /// The runs that the server is told of, as they are now.
    fn to_tell(&self) -> Vec<Due> {
        let table = self.table();
        // The time of an exclusive run begins for the server when it hears that it is here. While one of this device's own has its
        // turn, of which the server may know nothing, it must not begin.
        let is_own_turn = self.inner.is_own_turn.load(Ordering::SeqCst);
        let is_untold = |entry: &Entry| entry.is_hidden || (is_own_turn && entry.is_waiting());
        let told = table.iter().filter(|(_, entry)| !is_untold(entry));
        let due = |(run, entry): (&RunId, &Entry)| Due {
            run: *run,
            origin: entry.origin.clone(),
            is_known: entry.is_known,
            started_at: entry.started_at,
            ended: entry.ended.clone(),
        };
        told.map(due).collect()
    }

    /// Whether the journal has no output of a run beyond what was told.
    async fn output_is_told(&self, run: RunId, chunks: u32) -> Result<bool> {
        let uuid = run.uuid();
        self.inner
            .journal
            .with(move |journal| journal.pending(&uuid, u64::from(chunks), 1).map(|rest| rest.is_empty()))
            .await?
    }
}
