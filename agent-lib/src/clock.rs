//! The device's clock, corrected by what the server said last.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use fleet_core::kernel::{Clock, Timestamp};

/// Tells the server's time as well as the device can know it.
#[derive(Debug)]
pub struct ServerClock {
    local: Arc<dyn Clock>,
    offset_micros: AtomicI64,
}

impl ServerClock {
    /// Begins with the device's own time.
    pub fn new(local: Arc<dyn Clock>) -> Self {
        Self {
            local,
            offset_micros: AtomicI64::new(0),
        }
    }

    /// Takes over what the server said the time is.
    pub fn learn(&self, server: Timestamp) {
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
