//! Runs that this device begins by itself, to keep its desired state. They take their turn with all others, heed the same policy and
//! are told of in the same way; but what finds nothing to do leaves no trace: a run comes into the journal when it begins to change
//! something, or when its end is worth telling.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::{
    devices::DeviceId,
    kernel::{Clock as _, EntityId as _, Error, Result, Timestamp},
    protocol::{OfferBody, Originated, OutputStream},
    work::{RunId, secrets::ResolvedParams},
};
use tokio::sync::{Mutex, mpsc, watch};
use uuid::Uuid;

use super::{
    Cancellation, Ending, OutputSink,
    execute::{Begin, Hidden},
    manager::{Entry, Held, Runs},
    redaction::Redaction,
};
use crate::{journal::Record, policy::Refusal};

/// The most runs of this device's own that the server has not heard the end of.
const MAX_OWN: usize = 1_000;
/// How much output is kept of one, in bytes.
const OUTPUT_LIMIT: u64 = 4 << 20;
/// How much output is held in memory before a run is written down, in bytes.
const HELD_BACK: usize = 256 << 10;

/// What is to be applied.
#[derive(Clone, Debug)]
pub struct Own {
    /// This device.
    pub device: DeviceId,
    /// The occurrence of the manifest.
    pub occurrence: Uuid,
    /// The version of the manifest in which it stands.
    pub version: u64,
    /// The kind of operation.
    pub kind: String,
    /// Its parameters.
    pub params: ResolvedParams,
    /// How long it may take, in seconds.
    pub timeout_seconds: u32,
    /// Whether nobody is told of it before it has ended.
    pub is_hidden: bool,
    /// How it ends without being executed.
    pub instead: Option<Ending>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct OwnEnd {
    /// When it began.
    pub at: Timestamp,
    /// How.
    pub ending: Ending,
    /// BLAKE3 of all that it printed, in hexadecimal digits.
    pub printed: String,
    /// Whether it was to be told of, and could not be kept for that.
    pub is_lost: bool,
}

/// Whoever begins such runs.
#[async_trait]
pub trait Owner: fmt::Debug + Send + Sync {
    /// Something is about to be made that was not there. Fails when that cannot be remembered: then it is not made.
    async fn making(&self) -> Result<()>;

    /// Whether the server is to hear of a run that ended so.
    fn tells(&self, end: &OwnEnd) -> bool;
}

impl Runs {
    /// Applies something when its turn has come.
    ///
    /// # Errors
    /// When the policy of this device does not let it begin now.
    pub async fn apply(&self, own: Own, owner: Arc<dyn Owner>) -> std::result::Result<OwnEnd, Refusal> {
        let turn = self.inner.exclusive.acquire().await;
        let own_turn = OwnTurn::begin(self);
        if own.instead.is_none() {
            self.inner
                .policy
                .permits(&own.kind, &own.params.params, self.inner.clock.now())?;
        }
        let at = self.next_moment();
        let run = RunId::originated(own.device, own.occurrence, at);
        let offer = OfferBody {
            run,
            device: own.device,
            epoch: 0,
            kind: own.kind,
            params: own.params.params,
            secrets: own.params.secrets,
            expires_at: at,
            timeout_seconds: own.timeout_seconds,
            output_limit_bytes: OUTPUT_LIMIT,
            idempotent: false,
            exclusive: true,
        };
        let (cancel, cancelled) = watch::channel(false);
        let quiet = Arc::new(Quiet {
            runs: self.clone(),
            offer: offer.clone(),
            origin: Originated {
                run,
                occurrence: own.occurrence,
                version: own.version,
                at,
            },
            is_hidden: own.is_hidden,
            owner: owner.clone(),
            cancel,
            held: Mutex::default(),
        });
        let (sender, mut chunks) = mpsc::channel(16);
        let hidden = Hidden::default();
        let mut redaction = Redaction::of(&offer, hidden.clone());
        let store = async {
            let mut batch = Vec::new();
            while chunks.recv_many(&mut batch, 16).await > 0 {
                quiet.take(redaction.take(batch.drain(..))).await;
            }
            quiet.take(redaction.rest()).await;
            redaction
        };
        let begin: Arc<dyn Begin> = quiet.clone();
        let execute = async {
            let sink = OutputSink::beginning(sender, begin).hiding(hidden);
            match own.instead {
                Some(ending) => ending,
                None => {
                    let cancellation = Cancellation::new(cancelled);
                    self.inner.execute.execute(&offer, sink, cancellation).await
                }
            }
        };
        let (ending, mut redaction) = tokio::join!(execute, store);
        let end = quiet.end(at, redaction.ending(ending)).await;
        drop((own_turn, turn));
        Ok(end)
    }

    /// Whether the policy of this device lets this begin now.
    ///
    /// # Errors
    /// Why it does not.
    pub fn permits_own(&self, kind: &str, params: &serde_json::Value) -> std::result::Result<(), Refusal> {
        self.inner.policy.permits(kind, params, self.inner.clock.now())
    }

    /// Now, later than when any such run began: a clock may stand, or be set back.
    fn next_moment(&self) -> Timestamp {
        let mut last = self
            .inner
            .last_own
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let after = last.plus(Duration::from_micros(1));
        let now = self.inner.clock.now();
        // Set back by far it begins anew, or all of the device's times would be wrong.
        *last = if after.since(now) < Duration::from_secs(1) {
            now.max(after)
        } else {
            now
        };
        *last
    }
}

/// As long as this lives, a run of this device's own has its turn.
struct OwnTurn<'a>(&'a Runs);

impl<'a> OwnTurn<'a> {
    fn begin(runs: &'a Runs) -> Self {
        runs.inner.is_own_turn.store(true, Ordering::SeqCst);
        Self(runs)
    }
}

impl Drop for OwnTurn<'_> {
    fn drop(&mut self) {
        self.0.inner.is_own_turn.store(false, Ordering::SeqCst);
        // What waited is told now.
        self.0.inner.changed.notify_one();
    }
}

/// A run that is not written down yet, or not told of.
struct Quiet {
    runs: Runs,
    offer: OfferBody,
    origin: Originated,
    is_hidden: bool,
    owner: Arc<dyn Owner>,
    cancel: watch::Sender<bool>,
    held: Mutex<HeldBack>,
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quiet({})", self.offer.run)
    }
}

#[derive(Default)]
struct HeldBack {
    is_begun: bool,
    output: Vec<(OutputStream, String)>,
    bytes: usize,
    lost_bytes: u64,
    printed: blake3::Hasher,
}

impl Quiet {
    async fn take(&self, chunks: Vec<(OutputStream, String)>) {
        let mut held = self.held.lock().await;
        for (_, text) in &chunks {
            held.printed.update(text.as_bytes());
        }
        if held.is_begun {
            self.runs.store(self.offer.run, chunks).await;
            return;
        }
        for (stream, text) in chunks {
            if held.bytes + text.len() > HELD_BACK {
                held.lost_bytes += text.len() as u64;
            } else {
                held.bytes += text.len();
                held.output.push((stream, text));
            }
        }
    }

    /// Writes down that the run has begun, with what it printed so far.
    async fn write_down(&self, held: &mut HeldBack) -> Result<()> {
        if held.is_begun {
            return Ok(());
        }
        let (inner, run, at) = (&self.runs.inner, self.offer.run, self.origin.at);
        let own = |entry: &&Entry| entry.origin.is_some();
        if self.runs.table().values().filter(own).count() >= MAX_OWN {
            return Err(Error::internal("so many runs wait to be told of that no more are kept"));
        }
        let body = Held {
            offer: self.offer.clone(),
            origin: Some(self.origin.clone()),
        };
        let receipt = Record::Receipt {
            run: run.uuid(),
            at,
            expires_at: None,
            idempotent: false,
            offer: serde_json::to_value(body).map_err(Error::internal)?,
        };
        let started = Record::Started { run: run.uuid(), at };
        inner.journal.append(vec![receipt, started]).await?;
        let entry = Entry {
            started_at: Some(at),
            origin: Some(self.origin.clone()),
            is_known: false,
            is_hidden: self.is_hidden,
            lost_bytes: held.lost_bytes,
            ..Entry::offered(self.cancel.clone())
        };
        self.runs.insert(run, entry);
        held.is_begun = true;
        self.runs.store(run, std::mem::take(&mut held.output)).await;
        Ok(())
    }

    async fn end(&self, at: Timestamp, ending: Ending) -> OwnEnd {
        let mut held = self.held.lock().await;
        let mut end = OwnEnd {
            at,
            ending,
            printed: held.printed.finalize().to_hex().to_string(),
            is_lost: false,
        };
        let (run, is_told) = (self.offer.run, self.owner.tells(&end));
        let settled = match (is_told, held.is_begun) {
            (false, false) => Ok(()),
            (true, _) => match self.write_down(&mut held).await {
                Ok(()) => self.runs.tell(run, end.ending.clone()).await,
                written => written,
            },
            (false, true) => self.runs.settle(run, end.ending.clone()).await,
        };
        if let Err(error) = settled {
            tracing::error!(%run, kind = self.offer.kind, error = error.log(), "a run is not told of");
            end.is_lost = true;
        }
        end
    }
}

#[async_trait]
impl Begin for Quiet {
    async fn begin(&self, making: bool) -> Result<()> {
        if making {
            self.owner.making().await?;
        }
        let mut held = self.held.lock().await;
        match self.write_down(&mut held).await {
            // It matters more that the device is as it shall be than that each change is told of.
            Err(error) if error.class() == fleet_core::kernel::Class::Internal => Ok(()),
            written => written,
        }
    }
}

impl Runs {
    /// Ends a run, and tells of it.
    async fn tell(&self, run: RunId, ending: Ending) -> Result<()> {
        if let Some(entry) = self.table().get_mut(&run) {
            entry.is_hidden = false;
        }
        self.end(run, ending).await
    }

    /// Ends a run that nobody is told of.
    async fn settle(&self, run: RunId, ending: Ending) -> Result<()> {
        self.end(run, ending).await?;
        let Some(entry) = self.table().remove(&run) else {
            return Ok(());
        };
        let acknowledged = vec![
            Record::OutputAcknowledged {
                run: run.uuid(),
                before: u64::from(entry.chunks),
            },
            Record::ResultAcknowledged {
                run: run.uuid(),
                at: self.inner.clock.now(),
            },
        ];
        self.inner.journal.append(acknowledged).await
    }
}
