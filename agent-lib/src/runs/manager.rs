//! The runs that are here: which are taken, refused and stopped.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use fleet_core::{
    kernel::{Clock as _, EntityId as _, Result, Timestamp},
    protocol::{AgentFrame, Finished, OfferBody, Originated, Refused, RunResult},
    work::RunId,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, watch};

use super::{Ending, Execute, output};
use crate::{
    clock::ServerClock,
    journal::{JournalWriter, Record, Status},
    policy::{POLICY_FORBIDS, Policy, Refusal},
};

/// The most runs that are here at once, whatever the server thinks.
const MAX_RUNS: usize = 64;
/// Runs that are remembered as stopped before they came.
const MAX_WITHDRAWN: usize = 1_024;
/// The code of runs that were stopped before they came.
const WITHDRAWN: &str = "offer.withdrawn";
/// The most shared runs that execute at once.
pub(super) const SHARED: usize = 4;

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
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) journal: JournalWriter,
    pub(super) clock: Arc<ServerClock>,
    pub(super) policy: Policy,
    pub(super) execute: Arc<dyn Execute>,
    pub(super) table: Mutex<BTreeMap<RunId, Entry>>,
    /// Runs that were stopped before they came, the newest last: the network may bring their offers after all, as long as this agent's
    /// session lives.
    pub(super) withdrawn: Mutex<VecDeque<RunId>>,
    pub(super) changed: Notify,
    pub(super) exclusive: Semaphore,
    pub(super) shared: Semaphore,
    /// Whether a run of this device's own has its turn.
    pub(super) is_own_turn: AtomicBool,
    /// The last time at which a run of this device's own began: each has its own, and its id follows from it.
    pub(super) last_own: Mutex<Timestamp>,
}

/// A run as the journal has it: the offer, and what this device began it for where nobody offered it.
#[derive(Serialize, Deserialize)]
pub(super) struct Held {
    #[serde(flatten)]
    pub offer: OfferBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Originated>,
}

pub(super) struct Entry {
    pub(super) started_at: Option<Timestamp>,
    /// Chunks in the journal.
    pub(super) chunks: u32,
    /// Output that the journal did not take, and that no remark tells of yet, in bytes.
    pub(super) lost_bytes: u64,
    pub(super) ended: Option<Finished>,
    pub(super) cancel: watch::Sender<bool>,
    /// What this device began it for by itself; none where it was offered.
    pub(super) origin: Option<Originated>,
    /// The server knows of it. What is told of one that it does not know yet would be rejected.
    pub(super) is_known: bool,
    /// It waits for other exclusive work.
    pub(super) is_exclusive: bool,
    /// Nobody is told of it, or not yet.
    pub(super) is_hidden: bool,
}

impl Entry {
    /// A run that was offered, and has not begun.
    pub(super) fn offered(cancel: watch::Sender<bool>) -> Self {
        Self {
            started_at: None,
            chunks: 0,
            lost_bytes: 0,
            ended: None,
            cancel,
            origin: None,
            is_known: true,
            is_exclusive: false,
            is_hidden: false,
        }
    }

    /// Whether it waits for its turn, and nobody was told that it is here.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_exclusive && self.origin.is_none() && self.started_at.is_none() && self.ended.is_none()
    }

    /// What stands in the output for what was lost of it.
    pub(super) fn remark(&self, run: RunId) -> Option<Record> {
        (self.lost_bytes > 0).then(|| output::remark(run, self.chunks, self.lost_bytes))
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runs({})", self.table().len())
    }
}

impl Runs {
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
        self.table().values().any(|entry| !entry.is_hidden)
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
        if self.is_withdrawn(offer.run) {
            return refuse(WITHDRAWN, "withdrawn before it came to the device".into());
        }
        let uuid = offer.run.uuid();
        if self.inner.journal.with(move |journal| journal.status(&uuid)).await? == Some(Status::Ended) {
            // It ended, and the server had confirmed that; it asks again, so it hears it again.
            let result = self.inner.journal.with(move |journal| journal.result(&uuid)).await??;
            let ended = result.and_then(|result| serde_json::from_value::<Finished>(result).ok());
            let chunks = ended.as_ref().map_or(0, |ended| ended.chunks);
            let entry = Entry {
                chunks,
                ended,
                ..Entry::offered(watch::channel(false).0)
            };
            self.insert(offer.run, entry);
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
        if self.table().values().filter(|entry| entry.origin.is_none()).count() >= MAX_RUNS {
            return refuse("agent.busy", format!("{MAX_RUNS} runs are here already"));
        }
        let receipt = Record::Receipt {
            run: uuid,
            at: self.inner.clock.now(),
            expires_at: Some(offer.expires_at),
            idempotent: offer.idempotent,
            offer: serde_json::to_value(Held {
                offer: offer.clone(),
                origin: None,
            })
            .unwrap_or_default(),
        };
        self.inner.journal.append(vec![receipt]).await?;
        {
            let mut table = self.table();
            // It may have been stopped meanwhile, when it was not here yet.
            let is_withdrawn = self.is_withdrawn(offer.run);
            let entry = Entry {
                is_exclusive: offer.exclusive,
                ..Entry::offered(watch::channel(is_withdrawn).0)
            };
            table.insert(offer.run, entry);
        }
        self.inner.changed.notify_one();
        self.execute(offer);
        Ok(Taken::Accepted)
    }

    /// Whether the policy of this device lets a run begin now.
    pub(super) fn permits(&self, offer: &OfferBody) -> std::result::Result<(), Refusal> {
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
        // Held to the end: an offer that overtakes this is in it, and one that comes later finds the run withdrawn.
        let table = self.table();
        match table.get(&run) {
            Some(entry) => {
                entry.cancel.send_replace(true);
                None
            }
            None => {
                let mut withdrawn = self.withdrawn();
                if withdrawn.len() >= MAX_WITHDRAWN {
                    withdrawn.pop_front();
                }
                withdrawn.push_back(run);
                drop(withdrawn);
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

    fn withdrawn(&self) -> MutexGuard<'_, VecDeque<RunId>> {
        self.inner.withdrawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_withdrawn(&self, run: RunId) -> bool {
        self.withdrawn().contains(&run)
    }

    pub(super) fn insert(&self, run: RunId, entry: Entry) {
        self.table().insert(run, entry);
        self.inner.changed.notify_one();
    }

    pub(super) fn table(&self) -> MutexGuard<'_, BTreeMap<RunId, Entry>> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of an end.
pub(super) fn finished(
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
        changed: ending.changed,
        summary: ending.summary,
        started_at,
        finished_at,
        chunks,
        truncated_bytes: ending.truncated_bytes,
    }
}
