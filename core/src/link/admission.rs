//! Who may open a session now, and when the others may come again.
//!
//! After a restart all devices come at once. Their sessions are opened in the order in which they come, so many at a time that the
//! beats of those who are there already find their place in between. The others wait here, as long as an agent has patience; whoever
//! has waited in vain, and whoever comes when too many wait already, is told when those who were there will have had their turn.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::kernel::{Class, Clock, Code, Error, Randomness, Result, Timestamp, random_bytes};

/// More devices come at once than the server takes in.
pub const CROWDED: Code = Code::new("link.crowded", Class::RateLimited);

/// Sessions that are opened at the same time: about what one commit takes, and beats wait for no more than that.
const AT_ONCE: usize = 256;
/// Devices that are here at most; each has a connection with its buffers.
const PLACES: usize = 16_384;
/// How long a device waits for its turn at most. An agent waits for twenty seconds.
const PATIENCE: Duration = Duration::from_secs(18);
/// The pace is that of the last such stretch of time.
const STRETCH: Duration = Duration::from_secs(5);
/// Times to come again lie between these, however quickly or slowly sessions are opened.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(60);

/// The door of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    places: Semaphore,
    /// First come, first served.
    openings: Semaphore,
    pace: Mutex<Pace>,
}

impl Admission {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            places: Semaphore::new(PLACES),
            openings: Semaphore::new(AT_ONCE),
            pace: Mutex::new(Pace::new(now)),
        }
    }

    /// Waits until a device may open its session, or refuses it with the time to come again.
    pub(super) async fn enter<'a>(&'a self, clock: &'a dyn Clock, random: &dyn Randomness) -> Result<Turn<'a>> {
        let place = self.places.try_acquire().ok();
        let place = place.ok_or_else(|| self.crowded(clock.now(), random))?;
        match timeout(PATIENCE, self.openings.acquire()).await {
            Ok(opening) => Ok(Turn {
                pace: &self.pace,
                clock,
                _opening: opening.map_err(Error::internal)?,
                _place: place,
            }),
            Err(_) => Err(self.crowded(clock.now(), random)),
        }
    }

    /// Refuses a device for which there is no place, before anything was done for it.
    pub(super) fn check(&self, now: Timestamp, random: &dyn Randomness) -> Result<()> {
        match self.places.available_permits() {
            0 => Err(self.crowded(now, random)),
            _ => Ok(()),
        }
    }

    fn crowded(&self, now: Timestamp, random: &dyn Randomness) -> Error {
        let here = PLACES - self.places.available_permits();
        let wait = lock(&self.pace).time_of(here, now);
        let seconds = (wait + spread(wait, random)).as_secs();
        CROWDED
            .error(format!(
                "more devices come at once than this server takes in; come again in {seconds} s"
            ))
            .with_retry_after(seconds)
    }
}

/// It is a device's turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Mutex<Pace>,
    clock: &'a dyn Clock,
    _opening: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(self.pace).note(self.clock.now());
    }
}

/// How quickly sessions are opened.
#[derive(Debug)]
struct Pace {
    since: Timestamp,
    /// In this stretch, and in the one before.
    opened: u32,
    before: u32,
}

impl Pace {
    fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            opened: 0,
            before: 0,
        }
    }

    fn note(&mut self, now: Timestamp) {
        self.turn(now);
        self.opened = self.opened.saturating_add(1);
    }

    /// Begins a new stretch when it is time, or when the clock was set back.
    fn turn(&mut self, now: Timestamp) {
        let passed = now.since(self.since);
        if passed >= STRETCH || now < self.since {
            self.before = match passed < STRETCH * 2 {
                true => self.opened,
                false => 0,
            };
            (self.since, self.opened) = (now, 0);
        }
    }

    /// How long it takes until so many have had their turn.
    fn time_of(&mut self, devices: usize, now: Timestamp) -> Duration {
        self.turn(now);
        let opened = self.before.max(self.opened).max(1);
        let devices = u32::try_from(devices).unwrap_or(u32::MAX);
        (STRETCH / opened).saturating_mul(devices).clamp(SOONEST, LATEST)
    }
}

fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    // No step leaves it half-changed.
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is added to a wait by chance, up to as much again: those who were sent away must not come at one moment either.
fn spread(wait: Duration, random: &dyn Randomness) -> Duration {
    let drawn = u32::from_le_bytes(random_bytes(random));
    wait.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kernel::{ManualClock, SeededRandom};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// How long so many take, after sessions were opened at a pace for ten seconds.
    #[track_caller]
    fn check(per_second: u32, devices: usize, expected: u64) {
        let mut pace = Pace::new(NOW);
        for n in 0..per_second * 10 {
            pace.note(NOW.plus(Duration::from_secs(1) / per_second * n));
        }
        let wait = pace.time_of(devices, NOW.plus(Duration::from_millis(9_999)));
        assert_eq!(wait.as_secs(), expected);
    }

    #[test]
    fn whoever_is_sent_away_comes_when_those_who_were_there_have_had_their_turn() {
        check(1_000, 16_000, 16);
        check(500, 16_000, 32);
        check(100, 16_000, 60);
        check(1_000, 300, 5);
    }

    #[test]
    fn a_pace_of_long_ago_says_nothing() {
        let mut pace = Pace::new(NOW);
        for _ in 0..5_000 {
            pace.note(NOW);
        }
        assert_eq!(pace.time_of(10_000, NOW), Duration::from_secs(10));
        assert_eq!(pace.time_of(10_000, NOW.plus(STRETCH)), Duration::from_secs(10));
        assert_eq!(pace.time_of(10_000, NOW.plus(STRETCH * 3)), LATEST);
        assert_eq!(
            pace.time_of(10_000, NOW.minus(STRETCH)),
            LATEST,
            "the clock was set back"
        );
    }

    #[test]
    fn chance_adds_as_much_again_at_most() {
        for seed in 0..1_000 {
            let added = spread(Duration::from_secs(10), &SeededRandom::new(seed));
            assert!(added <= Duration::from_secs(10), "{added:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn devices_have_their_turn_in_the_order_in_which_they_came() {
        let (clock, random) = (ManualClock::new(NOW), SeededRandom::new(1));
        let admission = Admission::new(NOW);
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(admission.enter(&clock, &random).await.unwrap());
        }
        let mut next: Vec<_> = (0..3).map(|_| Box::pin(admission.enter(&clock, &random))).collect();
        for waiting in &mut next {
            assert!(futures::poll!(waiting).is_pending());
        }
        turns.truncate(AT_ONCE - 2);
        // A task that has taken so many turns without a pause is held back by the runtime.
        tokio::task::yield_now().await;
        let mut polled = Vec::new();
        for waiting in &mut next {
            polled.push(futures::poll!(waiting));
        }
        let is_ready: Vec<_> = polled.iter().map(std::task::Poll::is_ready).collect();
        assert_eq!(is_ready, [true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_waited_in_vain_is_sent_away_and_leaves_its_place() {
        let (clock, random) = (ManualClock::new(NOW), SeededRandom::new(1));
        let admission = Admission::new(NOW);
        let _all = admission.openings.acquire_many(AT_ONCE as u32).await.unwrap();
        let refused = admission.enter(&clock, &random).await.unwrap_err();
        assert_eq!(refused.code(), CROWDED);
        assert_eq!(admission.places.available_permits(), PLACES);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_when_all_places_are_taken_is_sent_away_at_once() {
        let (clock, random) = (Arc::new(ManualClock::new(NOW)), SeededRandom::new(1));
        let admission = Admission::new(NOW);
        let taken = admission.places.acquire_many(PLACES as u32).await.unwrap();
        assert_eq!(admission.check(NOW, &random).unwrap_err().code(), CROWDED);
        let refused = admission.enter(&*clock, &random).await.unwrap_err();
        // Nothing is known of the pace: a minute, and by chance up to another.
        assert!((60..=120).contains(&refused.retry_after_seconds().unwrap()));
        drop(taken);
        assert!(admission.check(NOW, &random).is_ok());
    }
}
