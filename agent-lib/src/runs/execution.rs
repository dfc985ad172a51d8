//! From a run's turn to its end in the journal.

use std::time::Duration;

use fleet_core::{
    kernel::{Clock as _, EntityId as _, Result},
    protocol::{OfferBody, OutputStream, RunResult},
    work::RunId,
};
use tokio::sync::mpsc;

use super::{
    Cancellation, Ending, OutputSink,
    execute::{Hidden, interrupted},
    manager::{Runs, finished},
    output,
    redaction::Redaction,
};
use crate::{
    journal::{JOURNAL_DISK_FULL, Record},
    policy::POLICY_FORBIDS,
};

/// The first and the longest pause until a full disk is tried again.
const ROOM_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The code of runs that did not begin before their offers ended.
pub(super) const EXPIRED: &str = "offer.expired";

impl Runs {
    /// Executes a run in a task of its own, which ends with the run.
    pub(super) fn execute(&self, offer: OfferBody) {
        let runs = self.clone();
        tokio::spawn(async move {
            let run = offer.run;
            if let Err(error) = runs.execute_to_end(offer).await {
                tracing::error!(%run, error = error.log(), "the journal failed; the run's end could not be written");
            }
        });
    }

    pub(super) async fn execute_to_end(&self, offer: OfferBody) -> Result<()> {
        let run = offer.run;
        let Some(receiver) = self.table().get(&run).map(|entry| entry.cancel.subscribe()) else {
            return Ok(());
        };
        let mut cancellation = Cancellation::new(receiver);
        let lane = if offer.exclusive {
            &self.inner.exclusive
        } else {
            &self.inner.shared
        };
        let turn = tokio::select! {
            biased;
            turn = lane.acquire() => turn.ok(),
            () = cancellation.requested() => None,
        };
        if turn.is_none() || cancellation.is_requested() {
            let ending = Ending {
                message: Some("stopped before it began".into()),
                ..Ending::of(RunResult::Cancelled)
            };
            return self.end(run, ending).await;
        }
        // What had begun in time and was interrupted may go on: the end of an offer bounds the beginning.
        let has_begun = self.table().get(&run).is_some_and(|entry| entry.started_at.is_some());
        if !has_begun && self.inner.clock.at_least() >= offer.expires_at {
            let why = "others took so long that its offer had ended when its turn came";
            return self.end(run, Ending::failed(EXPIRED, why)).await;
        }
        // It may have waited for long, also for a start of the agent with another policy.
        if let Err(refusal) = self.permits(&offer) {
            return self
                .end(run, Ending::failed(POLICY_FORBIDS.name(), refusal.to_string()))
                .await;
        }
        let at = self.inner.clock.now();
        // Synced before the first process starts: after a crash nobody may believe that it never began.
        let started = vec![Record::Started { run: run.uuid(), at }];
        match self.inner.journal.append(started).await {
            Err(error) if error.code() == JOURNAL_DISK_FULL => {
                let why = "the device's disk is full; nothing was executed";
                let ending = match has_begun {
                    true => interrupted(),
                    false => Ending::failed(error.code().name(), why),
                };
                return self.end(run, ending).await;
            }
            started => started?,
        }
        if let Some(entry) = self.table().get_mut(&run) {
            entry.started_at = Some(at);
        }
        self.inner.changed.notify_one();
        self.to_its_end(&offer, cancellation, false).await
    }

    /// Goes on with a run of before a restart, in a task of its own, which ends with the run.
    pub(super) fn take_up(&self, offer: OfferBody) {
        let runs = self.clone();
        tokio::spawn(async move {
            let run = offer.run;
            let Some(receiver) = runs.table().get(&run).map(|entry| entry.cancel.subscribe()) else {
                return;
            };
            // What else changes the device waits for it, as before.
            let _turn = runs.inner.exclusive.acquire().await;
            if let Err(error) = runs.to_its_end(&offer, Cancellation::new(receiver), true).await {
                tracing::error!(%run, error = error.log(), "the journal failed; the run's end could not be written");
            }
        });
    }

    async fn to_its_end(&self, offer: &OfferBody, cancellation: Cancellation, is_taken_up: bool) -> Result<()> {
        let run = offer.run;
        let (sender, mut chunks) = mpsc::channel(16);
        let hidden = Hidden::default();
        let mut redaction = Redaction::of(offer, hidden.clone());
        let store = async {
            let mut batch = Vec::new();
            while chunks.recv_many(&mut batch, 16).await > 0 {
                self.store(run, redaction.take(batch.drain(..))).await;
            }
            self.store(run, redaction.rest()).await;
            redaction
        };
        let execute = async {
            let (execute, sink) = (&self.inner.execute, OutputSink::new(sender).hiding(hidden));
            match is_taken_up {
                true => execute.take_up(offer, sink, cancellation).await,
                false => execute.execute(offer, sink, cancellation).await,
            }
        };
        let (ending, mut redaction) = tokio::join!(execute, store);
        let ending = redaction.ending(ending);
        tracing::info!(%run, kind = offer.kind, result = ?ending.result, exit_code = ending.exit_code, "run ended");
        self.end(run, ending).await
    }

    /// Writes output into the journal. What the journal does not take is lost, and a remark in the output says how much it was: the
    /// run itself matters more.
    pub(super) async fn store(&self, run: RunId, chunks: Vec<(OutputStream, String)>) {
        if chunks.is_empty() {
            return;
        }
        let (mut next, remark) = self
            .table()
            .get(&run)
            .map_or((0, None), |entry| (entry.chunks, entry.remark(run)));
        next += u32::from(remark.is_some());
        let mut bytes = 0;
        let mut records = Vec::from_iter(remark);
        for (stream, text) in chunks {
            bytes += text.len() as u64;
            records.push(output::record(run, next, stream, text));
            next = next.saturating_add(1);
        }
        let stored = self.inner.journal.append(records).await;
        if let Some(entry) = self.table().get_mut(&run) {
            match &stored {
                Ok(()) => (entry.chunks, entry.lost_bytes) = (next, 0),
                Err(_) => entry.lost_bytes += bytes,
            }
        }
        match stored {
            Ok(()) => self.inner.changed.notify_one(),
            Err(error) => tracing::error!(%run, bytes, error = error.log(), "output lost"),
        }
    }

    /// Writes down how a run ended. Where the disk is full, it waits until there is room: what was done is not forgotten.
    pub(super) async fn end(&self, run: RunId, ending: Ending) -> Result<()> {
        let now = self.inner.clock.now();
        let mut pause = ROOM_PAUSES.0;
        let finished = loop {
            let (started_at, chunks, remark) = self.table().get(&run).map_or((None, 0, None), |entry| {
                (entry.started_at, entry.chunks, entry.remark(run))
            });
            let chunks = chunks + u32::from(remark.is_some());
            let finished = finished(run, ending.clone(), started_at, now, chunks);
            let body = serde_json::to_value(&finished).unwrap_or_default();
            let result = Record::Result {
                run: run.uuid(),
                at: now,
                body,
            };
            match self
                .inner
                .journal
                .append(remark.into_iter().chain([result]).collect())
                .await
            {
                Ok(()) => break finished,
                Err(error) if error.code() == JOURNAL_DISK_FULL => {
                    tracing::error!(%run, "the disk is full; the run's end is written down when there is room");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ROOM_PAUSES.1);
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(entry) = self.table().get_mut(&run) {
            entry.ended = Some(finished);
        }
        self.inner.changed.notify_one();
        Ok(())
    }
}
