//! Clocks of machines: all follow the simulated time, each is off by as much as it likes, and they are set.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use fleet_core::kernel::{Clock, Timestamp};
use tokio::time::Instant;

/// When simulations begin.
pub const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// The clock of a machine.
#[derive(Debug)]
pub struct SimClock {
    begun: Instant,
    off_micros: AtomicI64,
    was_set: AtomicBool,
}

impl SimClock {
    /// A clock that is off by so many seconds.
    pub fn new(begun: Instant, off_seconds: i64) -> Self {
        Self {
            begun,
            off_micros: AtomicI64::new(off_seconds * 1_000_000),
            was_set: AtomicBool::new(false),
        }
    }

    /// Somebody sets it.
    pub fn jump(&self, seconds: i64) {
        self.was_set.store(true, Ordering::Relaxed);
        self.off_micros.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    /// Whether it is right to within some seconds, and was so all the time.
    pub fn is_right(&self) -> bool {
        !self.was_set.load(Ordering::Relaxed) && self.off_seconds().abs() <= 10
    }

    /// How far it is off, in seconds.
    pub fn off_seconds(&self) -> i64 {
        self.off_micros.load(Ordering::Relaxed) / 1_000_000
    }

    /// The time that has really passed.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(BEGIN.as_micros() + micros + self.off_micros.load(Ordering::Relaxed))
    }
}
