//! Takes runs, executes them, and says what is still to be sent.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fleet_core::{
    kernel::{Clock, EntityId as _, Result, Timestamp},
    protocol::{
        Accepted, AgentFrame, Finished, OfferBody, Output, OutputStream, Recorded, Refused, RunResult, Started,
    },
    work::RunId,
};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::{Cancellation, Ending, Execute, OutputSink, Sent, output};
use crate::{
    clock::ServerClock,
    journal::{JOURNAL_DISK_FULL, JournalWriter, Record, Recovered, RecoveredRun, Recovery, Status, decide},
    policy::{POLICY_FORBIDS, Policy, Refusal},
};

/// The most runs that are here at once, whatever the server thinks.
const MAX_RUNS: usize = 64;
/// The most shared runs that execute at once.
const SHARED: usize = 4;
/// The most output that is sent in one go, in bytes of JSON.
const OUTPUT_AT_ONCE: usize = 40 * 1024;

/// The first and the longest pause until a full disk is tried again.
const ROOM_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The code of runs that did not begin before their offers ended.
const EXPIRED: &str = "offer.expired";

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in the journal, now or since an earlier offer.
    Accepted,
    /// It will never be executed here.
    Refused(Refused),
}

/// The runs of this device. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    inner: Arc<Inner>,
}

struct Inner {
    journal: JournalWriter,
    clock: Arc<ServerClock>,
    policy: Policy,
    execute: Arc<dyn Execute>,
    table: Mutex<BTreeMap<RunId, Entry>>,
    changed: Notify,
    exclusive: Semaphore,
    shared: Semaphore,
}

struct Entry {
    started_at: Option<Timestamp>,
    /// Chunks in the journal.
    chunks: u32,
    /// Output that the journal did not take, and that no remark tells of yet, in bytes.
    lost_bytes: u64,
    ended: Option<Finished>,
    cancel: watch::Sender<bool>,
}

impl Entry {
    /// What stands in the output for what was lost of it.
    fn remark(&self, run: RunId) -> Option<Record> {
        (self.lost_bytes > 0).then(|| output::remark(run, self.chunks, self.lost_bytes))
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runs({})", self.table().len())
    }
}

impl Runs {
    /// Begins with what the journal remembers: executes what was accepted and never begun, and settles what was interrupted.
    ///
    /// # Errors
    /// When the journal takes nothing any more.
    pub async fn recover(
        journal: JournalWriter,
        recovered: Recovered,
        clock: Arc<ServerClock>,
        policy: Policy,
        execute: Arc<dyn Execute>,
    ) -> Result<Self> {
        let runs = Self {
            inner: Arc::new(Inner {
                journal,
                clock,
                policy,
                execute,
                table: Mutex::default(),
                changed: Notify::new(),
                exclusive: Semaphore::new(1),
                shared: Semaphore::new(SHARED),
            }),
        };
        for run in recovered.runs {
            let id = RunId::from_uuid(run.run);
            let decision = decide(&run, runs.inner.clock.now());
            tracing::info!(run = %id, ?decision, "a run from before the restart");
            let chunks = u32::try_from(run.next_sequence).unwrap_or(u32::MAX);
            let offer = run
                .offer
                .clone()
                .and_then(|offer| serde_json::from_value::<OfferBody>(offer).ok());
            let ended = run
                .result
                .as_ref()
                .and_then(|(result, _)| serde_json::from_value::<Finished>(result.clone()).ok());
            runs.insert(
                id,
                Entry {
                    started_at: run.started_at,
                    chunks,
                    lost_bytes: 0,
                    ended,
                    cancel: watch::channel(false).0,
                },
            );
            match (decision, offer) {
                (Recovery::Execute | Recovery::RunAgain | Recovery::Expire, Some(offer)) => {
                    runs.decide_later(run, offer)
                }
                (Recovery::SendResult | Recovery::Settled, _) => {}
                _ => runs.end(id, interrupted()).await?,
            }
        }
        Ok(runs)
    }

    /// The kinds of operation that this agent executes.
    pub fn kinds(&self) -> Vec<String> {
        self.inner.execute.kinds()
    }

    /// Waits until there may be something new to send.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// Whether a run is here that has not ended, or that the server has not heard the end of.
    pub fn is_busy(&self) -> bool {
        !self.table().is_empty()
    }

    /// Takes a verified offer: into the journal first, then it is accepted and executed. One that is here, or was, is
    /// absorbed.
    ///
    /// # Errors
    /// When the journal takes nothing any more; the offer is then neither accepted nor refused.
    pub async fn take(&self, offer: OfferBody) -> Result<Taken> {
        let refuse = |code: &str, message: String| {
            Ok(Taken::Refused(Refused {
                run: offer.run,
                code: code.into(),
                message,
            }))
        };
        if self.table().contains_key(&offer.run) {
            return Ok(Taken::Accepted);
        }
        let uuid = offer.run.uuid();
        if self.inner.journal.with(move |journal| journal.status(&uuid)).await? == Some(Status::Ended) {
            // It ended, and the server had confirmed that; it asks again, so it hears it again.
            let result = self.inner.journal.with(move |journal| journal.result(&uuid)).await??;
            let ended = result.and_then(|result| serde_json::from_value::<Finished>(result).ok());
            let chunks = ended.as_ref().map_or(0, |ended| ended.chunks);
            self.insert(
                offer.run,
                Entry {
                    started_at: None,
                    chunks,
                    lost_bytes: 0,
                    ended,
                    cancel: watch::channel(false).0,
                },
            );
            return Ok(Taken::Accepted);
        }
        if !self.inner.execute.kinds().contains(&offer.kind) {
            return refuse(
                "operation.unknown",
                format!("this agent does not know the operation {}", offer.kind),
            );
        }
        if let Err(refusal) = self.permits(&offer) {
            return refuse(POLICY_FORBIDS.name(), refusal.to_string());
        }
        if self.table().len() >= MAX_RUNS {
            return refuse("agent.busy", format!("{MAX_RUNS} runs are here already"));
        }
        let receipt = Record::Receipt {
            run: uuid,
            at: self.inner.clock.now(),
            expires_at: Some(offer.expires_at),
            idempotent: offer.idempotent,
            offer: serde_json::to_value(&offer).unwrap_or_default(),
        };
        self.inner.journal.append(vec![receipt]).await?;
        self.insert(
            offer.run,
            Entry {
                started_at: None,
                chunks: 0,
                lost_bytes: 0,
                ended: None,
                cancel: watch::channel(false).0,
            },
        );
        self.execute(offer);
        Ok(Taken::Accepted)
    }

    /// Whether the policy of this device lets a run begin now.
    fn permits(&self, offer: &OfferBody) -> std::result::Result<(), Refusal> {
        let Inner { policy, clock, .. } = &*self.inner;
        policy.permits(&offer.kind, &offer.params, clock.now())
    }

    /// Waits until no shared run executes, and lets none begin from then on: this program is about to end. Exclusive work
    /// is done, where one of its kind asks for this.
    pub async fn quiet(&self) {
        let all = u32::try_from(SHARED).unwrap_or(u32::MAX);
        if let Ok(permits) = self.inner.shared.acquire_many(all).await {
            permits.forget();
        }
    }

    /// Whether a run is here, and the server has not confirmed its end.
    pub fn holds(&self, run: RunId) -> bool {
        self.table().contains_key(&run)
    }

    /// Stops a run. One that never came here will not come any more: its end is told at once.
    pub fn cancel(&self, run: RunId) -> Option<AgentFrame> {
        match self.table().get(&run) {
            Some(entry) => {
                entry.cancel.send_replace(true);
                None
            }
            None => {
                let message = Some("withdrawn before it came to the device".into());
                let ending = Ending {
                    message,
                    ..Ending::of(RunResult::Cancelled)
                };
                Some(AgentFrame::Finished(finished(
                    run,
                    ending,
                    None,
                    self.inner.clock.now(),
                    0,
                )))
            }
        }
    }

    /// Takes over what the server has stored.
    ///
    /// # Errors
    /// When the journal takes nothing any more.
    pub async fn recorded(&self, recorded: &Recorded) -> Result<()> {
        let run = recorded.run.uuid();
        let ended = match self.table().get(&recorded.run) {
            None => return Ok(()),
            Some(entry) => entry.ended.is_some(),
        };
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
        let runs: Vec<(RunId, Option<Timestamp>, Option<Finished>)> = self
            .table()
            .iter()
            .map(|(run, entry)| (*run, entry.started_at, entry.ended.clone()))
            .collect();
        for (run, started_at, ended) in runs {
            let told = sent.runs.entry(run).or_default();
            if !told.accepted {
                told.accepted = true;
                frames.push(AgentFrame::Accepted(Accepted { run }));
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

    /// Whether the journal has no output of a run beyond what was told.
    async fn output_is_told(&self, run: RunId, chunks: u32) -> Result<bool> {
        let uuid = run.uuid();
        self.inner
            .journal
            .with(move |journal| journal.pending(&uuid, u64::from(chunks), 1).map(|rest| rest.is_empty()))
            .await?
    }

    /// Decides on a run from before the restart once the server's time is known: the device's own clock may be off by years, and
    /// what it holds for valid may have ended long ago.
    fn decide_later(&self, recovered: RecoveredRun, offer: OfferBody) {
        let runs = self.clone();
        tokio::spawn(async move {
            let (run, clock) = (offer.run, &runs.inner.clock);
            clock.known().await;
            let settled = match decide(&recovered, clock.at_least()) {
                Recovery::Execute | Recovery::RunAgain => runs.execute_to_end(offer).await,
                Recovery::Expire => {
                    let why = "the agent was not running while the offer was valid";
                    runs.end(run, Ending::failed(EXPIRED, why)).await
                }
                _ => runs.end(run, interrupted()).await,
            };
            if let Err(error) = settled {
                tracing::error!(%run, error = error.log(), "the journal failed; the run's end could not be written");
            }
        });
    }

    /// Executes a run in a task of its own, which ends with the run.
    fn execute(&self, offer: OfferBody) {
        let runs = self.clone();
        tokio::spawn(async move {
            let run = offer.run;
            if let Err(error) = runs.execute_to_end(offer).await {
                tracing::error!(%run, error = error.log(), "the journal failed; the run's end could not be written");
            }
        });
    }

    async fn execute_to_end(&self, offer: OfferBody) -> Result<()> {
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

        let (sender, mut chunks) = mpsc::channel(16);
        let store = async {
            let mut batch = Vec::new();
            while chunks.recv_many(&mut batch, 16).await > 0 {
                self.store(run, batch.drain(..)).await;
            }
        };
        let (ending, ()) = tokio::join!(
            self.inner
                .execute
                .execute(&offer, OutputSink::new(sender), cancellation),
            store
        );
        tracing::info!(%run, kind = offer.kind, result = ?ending.result, exit_code = ending.exit_code, "run ended");
        self.end(run, ending).await
    }

    /// Writes output into the journal. What the journal does not take is lost, and a remark in the output says how much it was: the
    /// run itself matters more.
    async fn store(&self, run: RunId, chunks: impl Iterator<Item = (OutputStream, String)>) {
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
    async fn end(&self, run: RunId, ending: Ending) -> Result<()> {
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

    fn insert(&self, run: RunId, entry: Entry) {
        self.table().insert(run, entry);
        self.inner.changed.notify_one();
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<RunId, Entry>> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a run ends that was under way when the agent was.
fn interrupted() -> Ending {
    Ending {
        message: Some("the agent was interrupted while it ran; its effect is unknown".into()),
        ..Ending::of(RunResult::Indeterminate)
    }
}

fn finished(
    run: RunId,
    ending: Ending,
    started_at: Option<Timestamp>,
    finished_at: Timestamp,
    chunks: u32,
) -> Finished {
    Finished {
        run,
        result: ending.result,
        exit_code: ending.exit_code,
        signal: ending.signal,
        code: ending.code,
        message: ending.message,
        started_at,
        finished_at,
        chunks,
        truncated_bytes: ending.truncated_bytes,
    }
}
