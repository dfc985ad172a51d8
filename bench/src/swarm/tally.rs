//! What is counted.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// No agent may try more often than three times in so long.
const ATTEMPT_WINDOW: Duration = Duration::from_secs(10);
/// Attempts of an agent that are remembered.
const REMEMBERED: usize = 16;

/// What all agents did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Sessions that are open.
    pub sessions: AtomicI64,
    /// Sessions that were opened.
    pub opened: AtomicU64,
    /// Agents whose first beat was acknowledged since the last [`Tally::begin_return`].
    pub back: AtomicU64,
    /// Beats that were acknowledged.
    pub beats: AtomicU64,
    /// Beats that wait for their acknowledgement.
    pub waiting: AtomicI64,
    /// Beats that will never be acknowledged: their connection broke while nothing was done to the server.
    pub lost_beats: AtomicU64,
    /// The same while the server was killed; the next session began with another.
    pub interrupted_beats: AtomicU64,
    /// Results that wait for their acknowledgement.
    pub results_waiting: AtomicI64,
    /// Offers that were verified and accepted.
    pub offers: AtomicU64,
    /// Offers that were refused.
    pub refused_offers: AtomicU64,
    /// Reports that the server took.
    pub reports: AtomicU64,
    /// The most attempts of one agent within ten seconds.
    pub most_attempts: AtomicU64,
    /// From sending to acknowledgement, in microseconds.
    beat_micros: Mutex<Vec<u32>>,
    /// When offers came, when the server had stored their acceptance, and their end.
    runs: Mutex<RunTimes>,
    troubles: Mutex<BTreeMap<String, u64>>,
}

/// When what of runs happened.
#[derive(Clone, Debug, Default)]
pub struct RunTimes {
    pub offered: Vec<Instant>,
    pub accepted: Vec<Instant>,
    pub finished: Vec<Instant>,
}

impl Tally {
    /// A beat was acknowledged.
    pub fn beat(&self, took: Duration) {
        self.beats.fetch_add(1, Relaxed);
        lock(&self.beat_micros).push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Latencies of beats since this was asked last, in milliseconds.
    pub fn take_beats(&self) -> Vec<f64> {
        let micros = std::mem::take(&mut *lock(&self.beat_micros));
        micros.into_iter().map(|micros| f64::from(micros) / 1_000.0).collect()
    }

    /// Something went wrong.
    pub fn trouble(&self, name: &str) {
        *lock(&self.troubles).entry(name.to_owned()).or_default() += 1;
    }

    /// What went wrong how often.
    pub fn troubles(&self) -> BTreeMap<String, u64> {
        lock(&self.troubles).clone()
    }

    /// Of the runs.
    pub fn runs(&self) -> MutexGuard<'_, RunTimes> {
        lock(&self.runs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When one agent tried to connect.
#[derive(Debug, Default)]
pub struct Attempts(Vec<Instant>);

impl Attempts {
    /// It tries now; how many attempts there were in the last ten seconds.
    pub fn note(&mut self, now: Instant) -> u64 {
        self.0.retain(|at| now.duration_since(*at) < ATTEMPT_WINDOW);
        if self.0.len() < REMEMBERED {
            self.0.push(now);
        }
        self.0.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_those_of_the_last_ten_seconds() {
        let begun = Instant::now();
        let mut attempts = Attempts::default();
        let mut at = |seconds| attempts.note(begun + Duration::from_secs(seconds));
        assert_eq!([at(0), at(4), at(9), at(10), at(30)], [1, 2, 3, 3, 1]);
    }

    #[test]
    fn latencies_are_taken_once() {
        let tally = Tally::default();
        tally.beat(Duration::from_micros(1_500));
        assert_eq!(tally.take_beats(), [1.5]);
        assert!(tally.take_beats().is_empty());
        assert_eq!(tally.beats.load(Relaxed), 1);
    }
}
