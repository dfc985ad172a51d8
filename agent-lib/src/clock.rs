//! The device's clock, corrected by what the server said last.
//!
//! A device's own clock may be off by years, and what it holds for true decides whom it believes: which certificate has ended,
//! which offer has expired, which assertion proves something for a minute. So only a time that the server's identity key
//! signed over a nonce of this device sets it. What comes unsigned with each beat trims it: it makes up for drift, and for a
//! clock that somebody sets while the agent runs, but it never leads far away from what was signed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use fleet_core::kernel::{Clock, Timestamp};
use tokio::{sync::watch, time::Instant};

/// A time that nobody signed is believed as far as this from what was signed.
const TRIM: Duration = Duration::from_secs(300);
/// Beyond this the server's clock was set, or somebody in between lies: what is signed decides.
const AGREED: Duration = Duration::from_secs(10);

/// Tells the server's time as well as the device can know it.
#[derive(Debug)]
pub struct ServerClock {
    local: Arc<dyn Clock>,
    offset_micros: AtomicI64,
    /// The last time that the server signed, and when it was heard.
    signed: Mutex<Option<(Timestamp, Instant)>>,
    known: watch::Sender<bool>,
}

impl ServerClock {
    /// Begins with the device's own time.
    pub fn new(local: Arc<dyn Clock>) -> Self {
        Self {
            local,
            offset_micros: AtomicI64::new(0),
            signed: Mutex::default(),
            known: watch::Sender::new(false),
        }
    }

    /// Takes over what the server said the time is, signed over a nonce of this device.
    pub fn learn(&self, server: Timestamp) {
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = Some((server, Instant::now()));
        self.set(server);
        self.known.send_replace(true);
    }

    /// Waits until the server has signed what time it is; not at all if it has.
    pub async fn known(&self) {
        // The sender lives as long as this.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// Takes over what came unsigned, unless it leads away from what was signed. Whether the two agree: where they do not, whoever
    /// receives this asks for the signed time, or [`ServerClock::at_least`] would stay ahead of a server that was set back.
    pub fn trim(&self, unsigned: Timestamp) -> bool {
        let Some(signed) = self.signed_now() else { return false };
        let apart = unsigned.since(signed).max(signed.since(unsigned));
        if apart <= TRIM {
            self.set(unsigned);
        }
        apart <= AGREED
    }

    /// The time that nothing unsigned can hold back: for what must not be done too late.
    pub fn at_least(&self) -> Timestamp {
        self.now().max(self.signed_now().unwrap_or(Timestamp::MIN))
    }

    /// What was signed last, and the time since then. A device that sleeps makes this late, never early.
    fn signed_now(&self) -> Option<Timestamp> {
        let signed = *self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        signed.map(|(server, heard)| server.plus(heard.elapsed()))
    }

    fn set(&self, server: Timestamp) {
        let offset = server.as_micros().saturating_sub(self.local.now().as_micros());
        self.offset_micros.store(offset, Ordering::Relaxed);
    }

    /// How far the device's clock is behind the server's, in seconds; negative when it is ahead.
    pub fn offset_seconds(&self) -> i64 {
        self.offset_micros.load(Ordering::Relaxed) / 1_000_000
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(
            self.local
                .now()
                .as_micros()
                .saturating_add(self.offset_micros.load(Ordering::Relaxed)),
        )
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::kernel::ManualClock;

    use super::*;

    const SIGNED: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn seconds(offset: i64) -> Timestamp {
        Timestamp::from_seconds(SIGNED.as_seconds() + offset)
    }

    /// A device whose clock is off by `off` seconds hears the signed time, and a minute later `unsigned` after it; what time it
    /// holds it for, and what it does not fall behind, both in seconds after the signed time.
    async fn check(off: i64, unsigned: i64, expected: (i64, i64)) {
        let local = Arc::new(ManualClock::new(seconds(off)));
        let clock = ServerClock::new(local.clone());
        clock.learn(SIGNED);
        assert_eq!(clock.now(), SIGNED);
        tokio::time::advance(Duration::from_secs(60)).await;
        local.advance(Duration::from_secs(60));
        clock.trim(seconds(unsigned));
        let got = (clock.now().as_seconds(), clock.at_least().as_seconds());
        assert_eq!(
            got,
            (seconds(expected.0).as_seconds(), seconds(expected.1).as_seconds())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unsigned_trims_the_clock_and_leads_it_nowhere() {
        let year = 365 * 86_400;
        for off in [0, 90, -year, 20 * year] {
            check(off, 61, (61, 61)).await;
            check(off, 58, (58, 60)).await;
            check(off, 60 + 300, (360, 360)).await;
            check(off, 60 + 301, (60, 60)).await;
            check(off, -year, (60, 60)).await;
            check(off, year, (60, 60)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_sets_its_clock_is_followed_when_it_signs_that() {
        for set in [-3_600, -200, 3_600] {
            let clock = ServerClock::new(Arc::new(ManualClock::new(SIGNED)));
            clock.learn(SIGNED);
            assert!(
                !clock.trim(seconds(set)),
                "whoever receives this asks for the signed time"
            );
            clock.learn(seconds(set));
            assert_eq!((clock.now(), clock.at_least()), (seconds(set), seconds(set)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_while_the_agent_runs_is_made_up_for_at_the_next_beat() {
        let local = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let clock = ServerClock::new(local.clone());
        assert!(!clock.trim(SIGNED), "nothing was signed yet");
        clock.learn(SIGNED);
        tokio::time::advance(Duration::from_secs(30)).await;
        local.set(seconds(30));
        assert!(clock.trim(seconds(30)));
        assert_eq!((clock.now(), clock.offset_seconds()), (seconds(30), 0));
    }
}
