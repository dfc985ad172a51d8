//! Keeps this device as its manifest says.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fleet_core::{
    devices::DeviceId,
    kernel::{Clock as _, Error, Randomness, Result, Timestamp},
    protocol::{Applied, RunResult},
    work::desired::{ManifestGroup, Occurrence, OnFailure, RhythmTimes},
};
use jiff::tz::TimeZone;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use uuid::Uuid;

use super::{
    AppliedAll, Requests,
    applying::Outcome,
    fetch::fetch,
    holding::FleetWindows,
    progress::{Manifest, Progress},
    report::{applied, is_content},
    schedule,
    store::Files,
};
use crate::{
    backoff::{Backoff, BackoffLimits},
    clock::ServerClock,
    disk::Disk,
    link::Http,
    runs::Runs,
    state::STATE_UNUSABLE,
};

/// It is looked at least so often whether something is due: clocks are set, and windows open.
const LOOK: Duration = Duration::from_secs(60);
/// A manifest that could not be fetched is asked for again after so long.
const FETCH_AGAIN: Duration = Duration::from_secs(10);
/// Where there is nothing to keep, it is rung for what comes.
const NOTHING: Duration = Duration::from_secs(86_400);
/// What could not be taken back is tried again after so long.
const REVERT_AGAIN: Duration = Duration::from_secs(3_600);
/// Times alone are written down so often: to look once more after a restart does no harm.
const TIMES_KEPT: Duration = Duration::from_secs(900);
/// The most lines of an answer to who wants all applied.
const MAX_LINES: usize = 500;

/// What a keeper needs.
#[derive(Debug)]
pub struct KeeperParts {
    /// Where manifest and progress lie.
    pub disk: Arc<dyn Disk>,
    /// How the server is reached.
    pub http: Http,
    /// What executes.
    pub runs: Runs,
    /// The time.
    pub clock: Arc<ServerClock>,
    /// Where nonces come from.
    pub random: Arc<dyn Randomness>,
    /// What others want.
    pub requests: Arc<Requests>,
    /// The device's time zone.
    pub zone: TimeZone,
    /// Whether there is a session.
    pub in_session: watch::Receiver<bool>,
}

/// Keeps this device as its manifest says.
#[derive(Debug)]
pub struct Keeper {
    parts: KeeperParts,
    files: Files,
    kept: Mutex<Kept>,
    changed: Notify,
}

/// What one turn is about.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Somebody wants all of it, whatever is due.
    all: bool,
    windows: FleetWindows,
}

#[derive(Debug)]
struct Kept {
    manifest: Option<Manifest>,
    progress: Progress,
    /// As it is on disk, and since when.
    written: (Progress, Timestamp),
    /// How many occurrences are due and wait for a window.
    held: usize,
    /// The server asked not to be asked for the manifest before.
    stay_away_until: Option<Instant>,
}

impl Keeper {
    /// A keeper that begins with what is on disk.
    pub fn new(parts: KeeperParts) -> Arc<Self> {
        let files = Files::new(parts.disk.clone(), parts.http.identity().key.public());
        let (manifest, progress) = files.read();
        let progress = match &manifest {
            // What is remembered may be of another manifest, where only one of the two could be written.
            Some(manifest) => progress.of(manifest, manifest, parts.clock.now()),
            None => progress,
        };
        let written = (progress.clone(), Timestamp::MIN);
        Arc::new(Self {
            files,
            kept: Mutex::new(Kept {
                manifest,
                progress,
                written,
                held: 0,
                stay_away_until: None,
            }),
            changed: Notify::new(),
            parts,
        })
    }

    /// The digest of the manifest that is kept; none when there is none.
    pub fn digest(&self) -> Option<String> {
        let kept = self.kept();
        kept.manifest.as_ref().map(|manifest| manifest.digest.clone())
    }

    /// How the manifest stands; none when there is none.
    pub fn applied(&self) -> Option<Applied> {
        let kept = self.kept();
        let manifest = kept.manifest.as_ref()?;
        Some(applied(manifest, &kept.progress, kept.held))
    }

    /// What was taken back and stands in the manifest still.
    pub fn reverted(&self) -> Vec<Uuid> {
        self.kept().progress.reverted.iter().copied().collect()
    }

    /// Waits until there may be something to tell.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What others want of it.
    pub fn requests(&self) -> &Requests {
        &self.parts.requests
    }

    pub(super) fn runs(&self) -> &Runs {
        &self.parts.runs
    }

    pub(super) fn device(&self) -> DeviceId {
        self.parts.http.identity().device
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Manifest, &Progress) -> T) -> T {
        let kept = self.kept();
        match &kept.manifest {
            Some(manifest) => look(manifest, &kept.progress),
            None => look(&Manifest::default(), &kept.progress),
        }
    }

    /// Notes something, to be written down soon.
    pub(super) fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.kept().progress);
    }

    /// Notes something, and writes it down before it goes on.
    pub(super) fn remember(&self, change: impl FnOnce(&mut Progress)) -> Result<()> {
        self.note(change);
        self.write_progress()
    }

    fn write_progress(&self) -> Result<()> {
        let progress = self.kept().progress.clone();
        self.files
            .write_progress(&progress)
            .map_err(|error| STATE_UNUSABLE.error(format!("what was done cannot be written down: {error}")))?;
        self.kept().written = (progress, self.now());
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Keeps the device as its manifest says, until it is dropped.
    pub async fn keep(self: &Arc<Self>) {
        loop {
            let wait = self.turn().await;
            tokio::select! {
                biased;
                () = self.parts.requests.rung() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is to be done now; for how long there is nothing after that.
    pub(super) async fn turn(self: &Arc<Self>) -> Duration {
        if let Err(error) = self.fetch_named().await {
            tracing::warn!(
                error = error.log(),
                "the manifest could not be fetched; it is tried again"
            );
        }
        let orders = self.parts.requests.orders();
        let turn = Turn {
            all: !orders.is_empty(),
            windows: match orders.iter().any(|order| order.ignore_windows) {
                true => FleetWindows::Ignored,
                false => FleetWindows::Heeded,
            },
        };
        let mut all = AppliedAll::default();
        let mut held = self.take_back_all(turn, &mut all).await;
        for label in self.due(turn.all) {
            held += self.apply_group(&label, turn, &mut all).await;
        }
        if std::mem::replace(&mut self.kept().held, held) != held {
            self.changed.notify_one();
        }
        for order in orders {
            // Who asked may be gone.
            let _ = order.applied.send(all.clone());
        }
        self.idle()
    }

    /// Fetches the manifest that the server has named, if it is not here.
    async fn fetch_named(&self) -> Result<()> {
        let Some(named) = self.parts.requests.named() else {
            return Ok(());
        };
        if !*self.parts.in_session.borrow() {
            // The server may have said to stay away; the next session names it again.
            return Ok(());
        }
        if !self.stay_away().is_zero() {
            return Ok(());
        }
        let before = self.look(|manifest, _| manifest.clone());
        if self.digest().is_none_or(|digest| digest != named.digest) {
            let fetched = fetch(&self.parts.http, &*self.parts.random, &before).await;
            let after = fetched.map_err(|error| {
                if let Some(wait) = error.retry_after() {
                    let mut backoff = Backoff::new(BackoffLimits::default());
                    backoff.hint(wait);
                    let wait = backoff.next_delay(&*self.parts.random);
                    self.kept().stay_away_until = Some(Instant::now() + wait);
                }
                Error::internal(error.to_string())
            })?;
            self.take(before, after)?;
        }
        // It may be newer than the one that was named: then that one was superseded, and its name is no news.
        self.parts.requests.has(&named.digest);
        Ok(())
    }

    /// For how long the server is not to be asked.
    fn stay_away(&self) -> Duration {
        let until = self.kept().stay_away_until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    fn take(&self, before: Manifest, after: Manifest) -> Result<()> {
        tracing::info!(
            version = after.version,
            groups = after.groups.len(),
            reverts = after.reverts.len(),
            "a manifest came"
        );
        let progress = self.look(|_, progress| progress.of(&before, &after, self.now()));
        let unusable = |error| STATE_UNUSABLE.error(format!("the manifest cannot be kept: {error}"));
        // In this order: what is remembered too much of a group that is not there yet does no harm, and what was made is not forgotten.
        self.files.write_progress(&progress).map_err(unusable)?;
        self.files.write_manifest(&after).map_err(unusable)?;
        let mut kept = self.kept();
        kept.written = (progress.clone(), self.now());
        (kept.manifest, kept.progress) = (Some(after), progress);
        drop(kept);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes back what is to be taken back; how many of that wait for a window.
    async fn take_back_all(self: &Arc<Self>, turn: Turn, all: &mut AppliedAll) -> usize {
        let now = self.now();
        let open = self.look(|manifest, progress| {
            let is_due = |id: &Uuid| match progress.occurrences.get(id) {
                Some(last) => turn.all || last.at > now || now.since(last.at) >= REVERT_AGAIN,
                None => true,
            };
            let open = manifest
                .reverts
                .iter()
                .filter(|revert| !progress.reverted.contains(&revert.id));
            open.filter(|revert| is_due(&revert.id)).cloned().collect::<Vec<_>>()
        });
        let mut held = 0;
        for revert in open {
            if let Some(why) = self.held(std::slice::from_ref(&revert), turn.windows) {
                held += 1;
                all.say(format!(
                    "{} ({}) to be taken back: {why}",
                    revert.name, revert.operation
                ));
                continue;
            }
            if self.take_back(&revert).await {
                tracing::info!(occurrence = %revert.id, kind = revert.operation, "taken back");
            }
            self.told(self.write_progress());
        }
        held
    }

    /// The groups that are due, in order.
    fn due(&self, all: bool) -> Vec<String> {
        let now = self.now();
        self.look(|manifest, progress| {
            let is_due =
                |group: &&ManifestGroup| all || self.next(group, progress, now).is_some_and(|next| next <= now);
            manifest
                .groups
                .iter()
                .filter(is_due)
                .map(|group| group.label.clone())
                .collect()
        })
    }

    fn next(&self, group: &ManifestGroup, progress: &Progress, now: Timestamp) -> Option<Timestamp> {
        let progress = progress.groups.get(&group.label)?;
        schedule::next(&group.rhythm, progress, &self.parts.zone, now)
    }

    /// Applies the occurrences of a group, in order; how many wait for a window.
    async fn apply_group(self: &Arc<Self>, label: &str, turn: Turn, all: &mut AppliedAll) -> usize {
        let Some(group) = self.look(|manifest, _| manifest.groups.iter().find(|group| group.label == label).cloned())
        else {
            return 0;
        };
        if let Some(why) = self.held(&group.occurrences, turn.windows) {
            all.say(format!("{}: {why}", group.name));
            return group.occurrences.len();
        }
        let is_by_clock = matches!(group.rhythm.when, RhythmTimes::Cron { .. });
        let looked = |progress: &mut Progress| {
            if let Some(progress) = progress.groups.get_mut(label) {
                (progress.looked_at, progress.at_once) = (Some(self.now()), false);
            }
        };
        if is_by_clock {
            // A time of day is met once, whatever happens while it is.
            self.told(self.remember(looked));
        }
        let mut place = 0;
        for occurrence in &group.occurrences {
            place += 1;
            let outcome = self.apply(occurrence, group.rhythm.skip_unchanged).await;
            all.count(&group, occurrence, &outcome);
            let has_failed = !is_content(outcome.result) && outcome.result != RunResult::NotApplicable;
            if has_failed && group.on_failure == OnFailure::Stop {
                break;
            }
        }
        if place < group.occurrences.len() {
            all.say(format!(
                "{}: the rest waits for the next time, since one failed",
                group.name
            ));
        }
        if !is_by_clock {
            self.note(looked);
        }
        self.write_what_changed();
        0
    }

    /// Writes down what is remembered, unless nothing but times is new.
    fn write_what_changed(&self) {
        let is_due = {
            let kept = self.kept();
            let (written, at) = &kept.written;
            let now = self.now();
            *at > now || now.since(*at) >= TIMES_KEPT || without_times(written) != without_times(&kept.progress)
        };
        if is_due {
            self.told(self.write_progress());
        }
        self.changed.notify_one();
    }

    fn told(&self, written: Result<()>) {
        if let Err(error) = written {
            tracing::error!(
                error = error.log(),
                "after a restart it is looked at anew what there is to be done"
            );
        }
        self.changed.notify_one();
    }

    /// For how long there is nothing to be done.
    fn idle(&self) -> Duration {
        let now = self.now();
        if self.parts.requests.named().is_some() {
            // What is due meanwhile is not to wait for that.
            return self.stay_away().clamp(FETCH_AGAIN, LOOK);
        }
        let next = self.look(|manifest, progress| {
            let next = manifest
                .groups
                .iter()
                .filter_map(|group| self.next(group, progress, now));
            next.min()
        });
        let Some(next) = next.or_else(|| self.look(|manifest, _| manifest.reverts.first().map(|_| now))) else {
            return NOTHING;
        };
        // What is due and was not done waits for a window.
        let left = match next <= now {
            true => LOOK,
            false => next.since(now).min(LOOK),
        };
        left.max(Duration::from_secs(1))
    }
}

/// Equal where nothing but times is another.
fn without_times(progress: &Progress) -> Progress {
    let mut progress = progress.clone();
    for last in progress.occurrences.values_mut() {
        (last.at, last.told_at) = (Timestamp::MIN, last.told_at.map(|_| Timestamp::MIN));
    }
    for group in progress.groups.values_mut() {
        group.looked_at = group.looked_at.map(|_| Timestamp::MIN);
    }
    progress
}

impl AppliedAll {
    fn count(&mut self, group: &ManifestGroup, occurrence: &Occurrence, outcome: &Outcome) {
        let is_changed = outcome.changed == Some(true);
        self.changed += u32::from(is_changed);
        let what = match outcome.result {
            RunResult::Succeeded | RunResult::SucceededWithIssues if is_changed => "changed",
            RunResult::Succeeded | RunResult::SucceededWithIssues => "as it shall be",
            RunResult::NotApplicable => "does not concern this device",
            RunResult::TimedOut => "took too long",
            RunResult::Cancelled => "was stopped",
            RunResult::Failed | RunResult::Indeterminate => "failed",
        };
        let is_failed = !is_content(outcome.result) && outcome.result != RunResult::NotApplicable;
        self.failed += u32::from(is_failed);
        let why = outcome.message.as_ref().filter(|_| is_failed);
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let (name, operation) = (&occurrence.name, &occurrence.operation);
        // An action that stands alone is its group.
        let set = match group.name == *name {
            true => String::new(),
            false => format!("{}, ", group.name),
        };
        self.say(format!("{set}{name} ({operation}): {what}{why}"));
    }

    fn say(&mut self, line: String) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }
}
