//! How often a device may deposit secrets and ask for them. Pure.

use std::{collections::HashMap, time::Duration};

use crate::{devices::DeviceId, kernel::Timestamp};

/// So much at once: the 64 users of an action twice.
const BURST: u32 = 128;
/// Then one more in this time: 60 an hour.
const EVERY: Duration = Duration::from_secs(60);
/// More devices than use it up at the same time.
const CAPACITY: usize = 65_536;

/// What devices have left, as one number each (generic cell rate algorithm): when it will be whole again. In memory, for this server.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    whole_at: HashMap<DeviceId, Timestamp>,
}

impl Allowance {
    /// Takes one from what a device has; else the seconds until there is one.
    pub(super) fn take(&mut self, device: DeviceId, now: Timestamp) -> Result<(), u64> {
        if self.whole_at.len() >= CAPACITY && !self.whole_at.contains_key(&device) {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
            if self.whole_at.len() >= CAPACITY {
                return Err(EVERY.as_secs());
            }
        }
        let depth = EVERY.saturating_mul(BURST);
        let before = self.whole_at.get(&device).copied().unwrap_or(now);
        // A clock that was set back must not lock a device out for longer than an empty allowance takes to fill.
        let whole_at = before.max(now).min(now.plus(depth));
        let taken = whole_at.plus(EVERY);
        let latest = now.plus(depth);
        if taken > latest {
            self.whole_at.insert(device, whole_at);
            return Err(taken.since(latest).as_secs().max(1));
        }
        self.whole_at.insert(device, taken);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::EntityId as _;

    #[test]
    fn a_device_has_a_supply_that_fills_again_and_takes_none_from_others() {
        let mut allowance = Allowance::default();
        let device = |number| DeviceId::from_uuid(uuid::Uuid::from_u128(number));
        let now = Timestamp::from_seconds(1_800_000_000);
        for _ in 0..BURST {
            assert_eq!(allowance.take(device(1), now), Ok(()));
        }
        assert_eq!(allowance.take(device(1), now), Err(60));
        assert_eq!(allowance.take(device(2), now), Ok(()));
        let later = now.plus(EVERY);
        assert_eq!(allowance.take(device(1), later), Ok(()));
        assert_eq!(allowance.take(device(1), later), Err(60));
        // Set back by years, it waits for two hours at most.
        let before = now.minus(Duration::from_secs(400_000_000));
        assert_eq!(allowance.take(device(1), before), Err(60));
        assert_eq!(allowance.take(device(1), before.plus(EVERY)), Ok(()));
    }
}
