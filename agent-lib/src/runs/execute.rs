//! What executes a run.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use fleet_core::{
    kernel::Result,
    protocol::{MAX_CHUNK, OfferBody, OutputStream, RunResult},
    work::secrets::SecretText,
};
use tokio::sync::{mpsc, watch};

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub result: RunResult,
    /// The exit code, where there is one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// A stable code, where it failed for a reason of the agent's.
    pub code: Option<String>,
    /// What people read about it.
    pub message: Option<String>,
    /// Whether it changed the device, or would have, in a dry run; nothing where that is not known.
    pub changed: Option<bool>,
    /// What its kind reports beside that, if anything.
    pub summary: Option<serde_json::Value>,
    /// How many bytes of output were cut.
    pub truncated_bytes: u64,
    /// Whether it made something that was not there before, such as an account. Not told to anybody: it decides what is taken back.
    pub made: bool,
}

/// How a run ends that was under way when the agent was.
pub(crate) fn interrupted() -> Ending {
    Ending {
        message: Some("the agent was interrupted while it ran; its effect is unknown".into()),
        ..Ending::of(RunResult::Indeterminate)
    }
}

impl Ending {
    /// An ending without exit code.
    pub fn of(result: RunResult) -> Self {
        Self {
            result,
            exit_code: None,
            signal: None,
            code: None,
            message: None,
            changed: None,
            summary: None,
            truncated_bytes: 0,
            made: false,
        }
    }

    /// A failure for a reason of the agent's.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: Some(code.into()),
            message: Some(message.into()),
            ..Self::of(RunResult::Failed)
        }
    }
}

/// Executes the kinds of operation that this agent knows.
#[async_trait]
pub trait Execute: Send + Sync + 'static {
    /// The kinds.
    fn kinds(&self) -> Vec<String>;

    /// Executes a run to its end, within its timeout, stopping when it is cancelled.
    async fn execute(&self, offer: &OfferBody, output: OutputSink, cancellation: Cancellation) -> Ending;

    /// Whether runs of this kind that were interrupted, and may not be executed again, are taken up. All others end as indeterminate.
    fn takes_up(&self, _kind: &str) -> bool {
        false
    }

    /// Finds out what became of such a run, however often it was interrupted; it does nothing a second time.
    async fn take_up(&self, _offer: &OfferBody, _output: OutputSink, _cancellation: Cancellation) -> Ending {
        interrupted()
    }
}

/// Is told before a run changes the device.
#[async_trait]
pub(super) trait Begin: fmt::Debug + Send + Sync {
    /// `making` where it makes something that was not there. Fails when the run must not go on.
    async fn begin(&self, making: bool) -> Result<()>;
}

/// Takes a run's output. Bounded: a slow disk slows the run, and memory does not grow.
#[derive(Clone, Debug)]
pub struct OutputSink {
    chunks: mpsc::Sender<(OutputStream, String)>,
    begin: Option<Arc<dyn Begin>>,
    hidden: Hidden,
}

/// Secrets that a run has made or read, which nothing that it tells shows; those of its offer are not among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Hidden(Arc<Mutex<Vec<Secret>>>);

/// A secret that a run made or read.
#[derive(Clone, Debug)]
pub(super) enum Secret {
    /// It is hidden, and each long line of it.
    Lines(SecretText),
    /// It is hidden where all of it stands.
    Whole(SecretText),
}

impl Hidden {
    fn add(&self, secret: Secret) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(secret);
    }

    /// Those after the first `known`.
    pub fn after(&self, known: usize) -> Vec<Secret> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(known..).unwrap_or_default().to_vec()
    }
}

impl OutputSink {
    pub(crate) fn new(chunks: mpsc::Sender<(OutputStream, String)>) -> Self {
        Self {
            chunks,
            begin: None,
            hidden: Hidden::default(),
        }
    }

    /// The same, of a run that is written down only when it begins to change something.
    pub(super) fn beginning(chunks: mpsc::Sender<(OutputStream, String)>, begin: Arc<dyn Begin>) -> Self {
        Self {
            begin: Some(begin),
            ..Self::new(chunks)
        }
    }

    /// The same, where secrets of the run's own are told to whoever takes them out.
    #[must_use]
    pub(super) fn hiding(self, hidden: Hidden) -> Self {
        Self { hidden, ..self }
    }

    /// A secret that is to be taken out of whatever is written from here on, and of how the run is said to have ended.
    pub fn hide(&self, secret: &SecretText) {
        self.hidden.add(Secret::Lines(secret.clone()));
    }

    /// The same, of a text that is a secret as a whole, and whose lines are none.
    pub fn hide_whole(&self, secret: &SecretText) {
        self.hidden.add(Secret::Whole(secret.clone()));
    }

    /// To be told before the device is changed; `making` where something is made that was not there.
    ///
    /// # Errors
    /// When it cannot be written down that the run has begun: nothing may be changed then.
    pub async fn begin(&self, making: bool) -> Result<()> {
        match &self.begin {
            Some(begin) => begin.begin(making).await,
            None => Ok(()),
        }
    }

    /// Takes text; cuts it into pieces that fit a frame.
    pub async fn write(&self, stream: OutputStream, text: &str) {
        for piece in pieces(text) {
            // Nobody listens any more only when the agent stops.
            let _ = self.chunks.send((stream, piece.to_owned())).await;
        }
    }
}

/// A text in pieces that fit a frame.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_CHUNK));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Tells a run that it is to stop.
#[derive(Clone, Debug)]
pub struct Cancellation {
    requested: watch::Receiver<bool>,
}

impl Cancellation {
    pub(crate) fn new(requested: watch::Receiver<bool>) -> Self {
        Self { requested }
    }

    /// The same as a channel.
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.requested.clone()
    }

    /// Whether the run is to stop.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Waits until the run is to stop; for ever if it never is.
    pub async fn requested(&mut self) {
        if self.requested.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
