//! How far a move is, for whoever shows it.

use std::time::Duration;

use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use crate::store::{Name, Record};

/// Records after which those who watch are told.
const TELL: u64 = 1_000;

/// What a move is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Nothing yet.
    #[default]
    Idle,
    /// Counting what the source holds.
    Counting,
    /// Copying, or comparing and carrying what differs.
    Copying,
    /// Carrying what was written meanwhile.
    CatchingUp,
    /// Reading back and comparing.
    Verifying,
    /// The target's own check.
    Checking,
    /// Nobody writes: carrying the last writes and making the target serve.
    Switching,
    /// It is over.
    Done,
}

/// How far a move is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// What it is doing.
    pub activity: Activity,
    /// Records that this activity is done with.
    pub done: u64,
    /// Records that it has to do, where that is known.
    pub total: Option<u64>,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Records per second of this activity.
    pub rate: f64,
    /// How long this activity will take still, where that is known.
    #[serde(skip)]
    pub remaining: Option<Duration>,
    /// The kind, set or lane.
    pub name: Option<Name>,
    /// The pass of catching up.
    pub pass: u32,
}

/// Counts, and tells from time to time.
pub(super) struct Meter {
    to: watch::Sender<Progress>,
    now: Progress,
    began: Instant,
    told: u64,
}

impl Meter {
    pub(super) fn new(to: watch::Sender<Progress>) -> Self {
        Self {
            to,
            now: Progress::default(),
            began: Instant::now(),
            told: 0,
        }
    }

    /// A new activity begins.
    pub(super) fn begin(&mut self, activity: Activity, total: Option<u64>) {
        let pass = self.now.pass + u32::from(activity == Activity::CatchingUp);
        self.now = Progress {
            activity,
            total,
            pass,
            ..Progress::default()
        };
        self.began = Instant::now();
        self.told = 0;
        self.to.send_replace(self.now.clone());
    }

    /// How often what was written meanwhile was carried.
    pub(super) fn passes(&self) -> u32 {
        self.now.pass
    }

    /// How long the activity has taken.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A record was dealt with.
    pub(super) fn count(&mut self, name: Name, record: &Record) {
        self.now.done += 1;
        self.now.bytes += record.size() as u64;
        if self.now.done - self.told >= TELL {
            self.now.name = Some(name);
            self.tell();
        }
    }

    /// The records of a page were dealt with.
    pub(super) fn page(&mut self, page: &[Record]) {
        let Some(last) = page.last().and_then(Record::key) else {
            return;
        };
        self.now.done += page.len() as u64;
        self.now.bytes += page.iter().map(|record| record.size() as u64).sum::<u64>();
        self.now.name = Some(last.name());
        self.tell();
    }

    pub(super) fn tell(&mut self) {
        self.told = self.now.done;
        let seconds = self.began.elapsed().as_secs_f64();
        if seconds > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a rate is for people")]
            let done = self.now.done as f64;
            self.now.rate = done / seconds;
            self.now.remaining = self.now.total.and_then(|total| {
                #[expect(clippy::cast_precision_loss, reason = "an estimate is for people")]
                let left = total.saturating_sub(self.now.done) as f64;
                Duration::try_from_secs_f64(left * seconds / done).ok()
            });
        }
        self.to.send_replace(self.now.clone());
    }
}
