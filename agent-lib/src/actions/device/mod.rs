//! All that touches the device, or a scratch root that stands for one.
//!
//! ```text
//! files.rs      files and folders, found without following a link that nobody checked
//! links.rs      where a path leads;  mounts.rs on which file system
//! contents.rs   what is too large for parameters, from the server
//! downloads.rs  what is fetched from an address, within bounds
//! programs.rs   programs with their arguments, within the run's time
//! escrow.rs     secrets that the server has before anything is changed
//! effects.rs    who hears of what is done
//! notes.rs      what an action remembers from one run to the next
//! accounts.rs   the local users and groups, as their files tell
//! desktops.rs   who is signed in to a desktop
//! ```

mod accounts;
mod contents;
mod desktops;
mod downloads;
mod effects;
mod escrow;
mod files;
mod links;
mod mounts;
mod notes;
mod programs;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fleet_core::{
    kernel::{Clock, EntityId as _, PublicKey, Randomness},
    protocol::{OfferBody, OutputStream},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Actions, action::Problem};
use crate::{
    contents::Contents,
    escrow::Escrow,
    executor::{Executor, RunFile},
    policy::Policy,
    runs::{Cancellation, OutputSink},
};

pub use self::effects::Witness;
pub(super) use self::{
    accounts::{ACCOUNT_FILES, Account, ShadowEntry},
    downloads::{MAX_FILE, shown},
    effects::Effects,
    files::{Found, FoundKind, Place},
    notes::NoteLock,
    programs::{Answer, Call},
};

/// Removes what actions remember in the agent's state folder.
pub(super) fn forget(state: &Path) -> fleet_core::kernel::Result<()> {
    notes::forget(state)
}

/// Where a path leads below a root, all links followed; nothing where that cannot be told.
pub(super) fn leads_to(root: &Path, path: &str) -> Option<String> {
    links::resolve(root, path).ok()
}

/// The most warnings of a run that are kept.
const MAX_WARNINGS: usize = 20;

/// A device while an action is carried out on it.
#[derive(Debug)]
pub(super) struct Device {
    root: PathBuf,
    own: Arc<[String]>,
    policy: Arc<Policy>,
    executor: Executor,
    run: Uuid,
    output: OutputSink,
    cancellation: Cancellation,
    deadline: Instant,
    /// How many bytes of output are still kept.
    room: AtomicU64,
    truncated: AtomicU64,
    warnings: Mutex<Vec<String>>,
    /// What it waits for before it does anything.
    deferred: Mutex<Option<String>>,
    done: Mutex<BTreeSet<&'static str>>,
    fetched: Mutex<Option<Arc<RunFile>>>,
    escrow: Arc<dyn Escrow>,
    contents: Arc<dyn Contents>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    /// The agent's own folder.
    state: PathBuf,
    /// The key that the device is enrolled with.
    device_key: PublicKey,
    effects: Effects,
    /// Whether folders were made that a path goes through, which no look finds missing.
    made_parents: AtomicBool,
}

/// What work on a device may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What its processes are known by.
    pub(super) run: Uuid,
    /// How long it may take, in seconds.
    pub(super) timeout_seconds: u32,
    /// How much of its output is kept, in bytes.
    pub(super) output_limit_bytes: u64,
}

impl Device {
    pub(super) fn new(actions: &Actions, offer: &OfferBody, output: OutputSink, cancellation: Cancellation) -> Self {
        let bounds = Bounds {
            run: offer.run.uuid(),
            timeout_seconds: offer.timeout_seconds,
            output_limit_bytes: offer.output_limit_bytes,
        };
        Self::within(actions, bounds, output, cancellation)
    }

    /// For work that nobody has offered.
    pub(super) fn within(actions: &Actions, bounds: Bounds, output: OutputSink, cancellation: Cancellation) -> Self {
        Self {
            root: actions.root.clone(),
            own: actions.own.clone(),
            policy: actions.policy.clone(),
            executor: actions.executor.clone(),
            run: bounds.run,
            output,
            cancellation,
            deadline: Instant::now() + Duration::from_secs(u64::from(bounds.timeout_seconds)),
            room: AtomicU64::new(bounds.output_limit_bytes),
            truncated: AtomicU64::new(0),
            warnings: Mutex::default(),
            deferred: Mutex::default(),
            done: Mutex::default(),
            fetched: Mutex::default(),
            escrow: actions.escrow.clone(),
            contents: actions.contents.clone(),
            clock: actions.clock.clone(),
            random: actions.random.clone(),
            state: actions.state.clone(),
            device_key: actions.device_key,
            effects: actions.effects.clone(),
            made_parents: AtomicBool::new(false),
        }
    }

    /// Whether it is a device that runs, and not only its files.
    pub(super) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The root folder, where it is not the device's own.
    pub(super) fn scratch_root(&self) -> Option<&str> {
        (!self.is_live()).then(|| self.root.to_str()).flatten()
    }

    /// What this device does not do, whatever its server says.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The agent's own folders.
    pub(super) fn own(&self) -> &[String] {
        &self.own
    }

    /// How long the run may go on.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Fails when the run is to stop.
    pub(super) fn check_time(&self) -> Result<(), Problem> {
        if self.cancellation.is_requested() {
            Err(Problem::Cancelled)
        } else if self.time_left().is_zero() {
            Err(Problem::TimedOut)
        } else {
            Ok(())
        }
    }

    /// The run that it is carried out in.
    pub(super) fn run_id(&self) -> Uuid {
        self.run
    }

    /// Waits, unless the run is to stop.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), Problem> {
        let mut cancellation = self.cancellation.clone();
        tokio::select! {
            () = tokio::time::sleep(time.min(self.time_left())) => {}
            () = cancellation.requested() => {}
        }
        self.check_time()
    }

    /// How many bytes of output are still kept.
    pub(super) fn room(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }

    /// Writes into the run's output, as much as is kept of it.
    pub(super) async fn write(&self, stream: OutputStream, text: &str) {
        let room = usize::try_from(self.room.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let (kept, cut) = text.split_at(text.floor_char_boundary(room.min(text.len())));
        self.room.fetch_sub(kept.len() as u64, Ordering::Relaxed);
        if !cut.is_empty() {
            self.truncated.fetch_add(cut.len() as u64, Ordering::Relaxed);
        }
        self.output.write(stream, kept).await;
    }

    /// Where the run's output goes.
    pub(super) fn output(&self) -> &OutputSink {
        &self.output
    }

    /// Says that something is not as it should be, though the action goes on: its run ends with issues.
    pub(super) async fn warn(&self, warning: String) {
        let is_new = {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = warnings.len() < MAX_WARNINGS && !warnings.contains(&warning);
            if is_new {
                warnings.push(warning.clone());
            }
            is_new
        };
        // The second look finds what the first one found.
        if is_new {
            self.write(OutputStream::Agent, &format!("warning: {warning}\n")).await;
        }
    }

    /// Says what has to happen on the device before there is anything to do. A run that has nothing else to do has succeeded, and says so;
    /// whatever keeps the device as it should be looks again at its next pass.
    pub(super) fn defer(&self, until: impl Into<String>) {
        *self.deferred.lock().unwrap_or_else(PoisonError::into_inner) = Some(until.into());
    }

    /// What it waits for, if for anything.
    pub(super) fn deferred(&self) -> Option<String> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is asked for the first time in this run.
    pub(super) fn is_first(&self, what: &'static str) -> bool {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
    }

    /// Whether the run has made folders that a path goes through.
    pub(super) fn has_made_parents(&self) -> bool {
        self.made_parents.load(Ordering::Relaxed)
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn truncated_bytes(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
    }
}
