//! What is remembered of devices, so that a request of an idle agent reads nothing from the store.
//!
//! Two facts of a device: how it proves itself, and whether nothing is due for it. Both are dropped by the commits of this
//! process before those are answered ([`CommitObserver`]), by the feed of changes for the commits of other servers
//! ([`super::follow()`]), and by age. While nobody follows the feed nothing is remembered.
//!
//! Whoever fills in takes a [`Ticket`] *before* it opens its view, and what it read is kept only if nothing was dropped in
//! between: what was committed after the view is never hidden by what was read before it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    certificates::DeviceCertificate,
    devices::{Device, DeviceId},
    kernel::{EntityId as _, PublicKey, Timestamp, Verifier},
    store::{CommitObserver, Entity as _, Name, Write},
    work::Run,
};

/// Devices that are remembered; each takes about 400 bytes. Twice as many just before the older half is forgotten.
const CAPACITY: usize = 50_000;
/// How long something is remembered at most, whatever is heard of it.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Counters of what was dropped, by device: two devices that share one cost a reading, no more.
const COUNTERS: usize = 1_024;

/// How a device proves itself.
#[derive(Debug)]
pub(crate) struct KnownDevice {
    pub(super) id: DeviceId,
    pub(super) name: Arc<str>,
    pub(super) key: PublicKey,
    pub(super) verifier: Verifier,
    pub(super) disabled: bool,
    pub(super) revoked: bool,
    /// Waits for an operator.
    pub(super) pending: bool,
    /// The certificate that counts.
    pub(super) certificate: Option<DeviceCertificate>,
}

impl From<&Device> for KnownDevice {
    fn from(device: &Device) -> Self {
        Self {
            id: device.id,
            name: device.name.as_str().into(),
            key: device.public_key,
            verifier: device.public_key.verifier(),
            disabled: device.disabled,
            revoked: device.revoked_at.is_some(),
            pending: device.pending.is_some(),
            certificate: device.certificate.clone(),
        }
    }
}

/// What is remembered of devices.
pub(crate) struct KnownDevices(Mutex<Memory>);

struct Memory {
    /// Whether the feed is followed.
    following: bool,
    /// How often something was dropped, by device.
    dropped: Box<[u64]>,
    capacity: usize,
    /// What was filled in or used lately, and what was before that: the least used is forgotten without a search.
    young: HashMap<DeviceId, Entry>,
    old: HashMap<DeviceId, Entry>,
}

#[derive(Clone)]
struct Entry {
    device: Arc<KnownDevice>,
    idle: bool,
    read_at: Timestamp,
}

impl Entry {
    fn is_let_in(&self) -> bool {
        !self.device.disabled && !self.device.revoked && !self.device.pending
    }
}

/// Says what was dropped so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    device: DeviceId,
    dropped: u64,
}

impl fmt::Debug for KnownDevices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownDevices").finish_non_exhaustive()
    }
}

impl Default for KnownDevices {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl KnownDevices {
    fn new(capacity: usize) -> Self {
        Self(Mutex::new(Memory {
            following: false,
            dropped: vec![0; COUNTERS].into(),
            capacity,
            young: HashMap::new(),
            old: HashMap::new(),
        }))
    }

    /// To be taken before the view is opened by whose reading something will be filled in.
    pub(super) fn ticket(&self, device: DeviceId) -> Ticket {
        Ticket {
            device,
            dropped: self.memory().dropped[counter(device)],
        }
    }

    /// How a device proves itself, if that is remembered.
    pub(super) fn find(&self, device: DeviceId, now: Timestamp) -> Option<Arc<KnownDevice>> {
        self.memory().find(device, now).map(|entry| entry.device.clone())
    }

    /// Whether it is remembered that nothing is due for a device, that it is there, and that it is not kept out.
    pub(super) fn is_idle(&self, device: DeviceId, now: Timestamp) -> bool {
        self.memory()
            .find(device, now)
            .is_some_and(|entry| entry.idle && entry.is_let_in())
    }

    /// Whether it is remembered that a device is there and that it is not kept out.
    pub(super) fn is_let_in(&self, device: DeviceId, now: Timestamp) -> bool {
        self.memory().find(device, now).is_some_and(Entry::is_let_in)
    }

    /// Notes whether nothing is due for a device that is remembered.
    pub(super) fn note(&self, ticket: Ticket, idle: bool) {
        let mut memory = self.memory();
        if memory.dropped[counter(ticket.device)] != ticket.dropped {
            return;
        }
        let Memory { young, old, .. } = &mut *memory;
        let entries = young
            .get_mut(&ticket.device)
            .into_iter()
            .chain(old.get_mut(&ticket.device));
        entries.for_each(|entry| entry.idle = idle);
    }

    /// Remembers what was read of a device, and whether nothing is due for it; where that was not read, what was remembered
    /// of it stays.
    pub(super) fn remember(&self, ticket: Ticket, device: Arc<KnownDevice>, idle: Option<bool>, now: Timestamp) {
        let mut memory = self.memory();
        if !memory.following || memory.dropped[counter(ticket.device)] != ticket.dropped {
            return;
        }
        let before = memory.find(ticket.device, now).is_some_and(|entry| entry.idle);
        memory.insert(
            ticket.device,
            Entry {
                device,
                idle: idle.unwrap_or(before),
                read_at: now,
            },
        );
    }

    /// Drops all that is remembered of a device.
    pub(super) fn forget(&self, device: DeviceId) {
        let mut memory = self.memory();
        memory.dropped[counter(device)] += 1;
        memory.young.remove(&device);
        memory.old.remove(&device);
    }

    /// Drops that nothing is due for a device; returns whether that was remembered.
    pub(crate) fn wake(&self, device: DeviceId) -> bool {
        let mut memory = self.memory();
        memory.dropped[counter(device)] += 1;
        let Memory { young, old, .. } = &mut *memory;
        let entries = young.get_mut(&device).into_iter().chain(old.get_mut(&device));
        entries.fold(false, |was, entry| was | std::mem::take(&mut entry.idle))
    }

    /// Drops everything, and says whether anything may be remembered from now on.
    pub(super) fn begin_anew(&self, following: bool) {
        self.memory().following = following;
        self.forget_all();
    }

    /// Drops everything.
    pub(super) fn forget_all(&self) {
        let mut memory = self.memory();
        memory.dropped.iter_mut().for_each(|dropped| *dropped += 1);
        memory.young.clear();
        memory.old.clear();
    }

    /// Whether anything may be remembered.
    #[cfg(test)]
    pub(super) fn is_following(&self) -> bool {
        self.memory().following
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // No step leaves it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn find(&mut self, device: DeviceId, now: Timestamp) -> Option<&Entry> {
        if !self.young.contains_key(&device) {
            let entry = self.old.remove(&device)?;
            self.insert(device, entry);
        }
        // A clock that was set back makes it as old as can be.
        let is_fresh = |entry: &&Entry| entry.read_at <= now && now.since(entry.read_at) <= MAX_AGE;
        self.young.get(&device).filter(is_fresh)
    }

    fn insert(&mut self, device: DeviceId, entry: Entry) {
        if self.young.len() >= self.capacity && !self.young.contains_key(&device) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(device, entry);
    }
}

fn counter(device: DeviceId) -> usize {
    // The end of a UUIDv7 is random.
    (device.uuid().as_u128() % COUNTERS as u128) as usize
}

impl CommitObserver for KnownDevices {
    fn watches(&self, kind: Name) -> bool {
        kind == Device::KIND || kind == Run::KIND
    }

    fn written(&self, writes: &[Write]) {
        #[derive(Deserialize)]
        struct OfDevice {
            device: DeviceId,
        }
        for write in writes {
            let key = write.key();
            if key.kind == Device::KIND {
                self.forget(DeviceId::from_uuid(key.id));
            } else if let Write::Put { body, .. } = write {
                // A run that is removed makes nothing due: where one was open, nothing was remembered.
                match serde_json::from_slice::<OfDevice>(body) {
                    Ok(run) => {
                        self.wake(run.device);
                    }
                    Err(_) => self.forget_all(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SeededRandom, SigningKey};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn id(seed: u64) -> DeviceId {
        DeviceId::new(NOW, &SeededRandom::new(seed))
    }

    fn device(seed: u64, disabled: bool) -> Arc<KnownDevice> {
        let key = SigningKey::generate(&SeededRandom::new(seed)).public();
        Arc::new(KnownDevice {
            id: id(seed),
            name: "web".into(),
            key,
            verifier: key.verifier(),
            disabled,
            revoked: false,
            pending: false,
            certificate: None,
        })
    }

    fn following(capacity: usize) -> KnownDevices {
        let known = KnownDevices::new(capacity);
        known.begin_anew(true);
        known
    }

    /// What is remembered of device 1 after it was read, with nothing due, and `between` happened since the ticket: whether it
    /// is known, whether it is idle.
    #[track_caller]
    fn check(between: impl FnOnce(&KnownDevices), after: impl FnOnce(&KnownDevices), expected: (bool, bool)) {
        let known = following(10);
        let ticket = known.ticket(id(1));
        between(&known);
        known.remember(ticket, device(1, false), Some(true), NOW);
        after(&known);
        let got = (known.find(id(1), NOW).is_some(), known.is_idle(id(1), NOW));
        assert_eq!(got, expected);
    }

    #[test]
    fn what_was_read_is_remembered_until_it_is_dropped() {
        check(|_| {}, |_| {}, (true, true));
        check(|_| {}, |known| assert!(known.wake(id(1))), (true, false));
        check(|_| {}, |known| known.forget(id(1)), (false, false));
        check(|_| {}, |known| known.begin_anew(true), (false, false));
        check(|_| {}, |known| known.forget(id(2)), (true, true));
    }

    #[test]
    fn what_was_dropped_while_it_was_read_is_not_remembered() {
        check(|known| assert!(!known.wake(id(1))), |_| {}, (false, false));
        check(|known| known.forget(id(1)), |_| {}, (false, false));
        check(|known| known.begin_anew(true), |_| {}, (false, false));
    }

    #[test]
    fn nothing_is_remembered_while_nobody_follows_the_feed() {
        check(|_| {}, |known| known.begin_anew(false), (false, false));
        let known = KnownDevices::new(10);
        known.remember(known.ticket(id(1)), device(1, false), Some(true), NOW);
        assert!(known.find(id(1), NOW).is_none());
    }

    #[test]
    fn reading_the_device_alone_says_nothing_of_what_is_due() {
        let known = following(10);
        known.remember(known.ticket(id(1)), device(1, false), None, NOW);
        assert!(!known.is_idle(id(1), NOW));
        known.remember(known.ticket(id(1)), device(1, false), Some(true), NOW);
        known.remember(known.ticket(id(1)), device(1, false), None, NOW);
        assert!(known.is_idle(id(1), NOW));
        known.remember(known.ticket(id(1)), device(1, false), Some(false), NOW);
        assert!(!known.is_idle(id(1), NOW));
    }

    #[test]
    fn what_is_noted_of_work_holds_as_long_as_what_is_known_of_the_device() {
        let known = following(10);
        known.note(known.ticket(id(1)), true);
        assert!(
            !known.is_idle(id(1), NOW) && !known.is_let_in(id(1), NOW),
            "nothing is known of it"
        );
        known.remember(known.ticket(id(1)), device(1, false), Some(false), NOW);
        assert!(known.is_let_in(id(1), NOW));
        let ticket = known.ticket(id(1));
        known.note(ticket, true);
        assert!(known.is_idle(id(1), NOW) && !known.is_idle(id(1), NOW.plus(MAX_AGE + Duration::from_secs(1))));
        known.wake(id(1));
        known.note(ticket, true);
        assert!(!known.is_idle(id(1), NOW), "one of its runs was written meanwhile");
        known.remember(known.ticket(id(2)), device(2, true), Some(false), NOW);
        assert!(!known.is_let_in(id(2), NOW), "it is kept out");
    }

    #[test]
    fn a_device_that_is_disabled_is_never_idle() {
        let known = following(10);
        known.remember(known.ticket(id(1)), device(1, true), Some(true), NOW);
        assert!(known.find(id(1), NOW).is_some_and(|device| device.disabled));
        assert!(!known.is_idle(id(1), NOW));
    }

    #[test]
    fn nothing_is_believed_for_longer_than_five_minutes_nor_after_the_clock_was_set_back() {
        let known = following(10);
        known.remember(known.ticket(id(1)), device(1, false), Some(true), NOW);
        assert!(known.is_idle(id(1), NOW.plus(MAX_AGE)));
        assert!(!known.is_idle(id(1), NOW.plus(MAX_AGE + Duration::from_secs(1))));
        assert!(known.find(id(1), NOW.minus(Duration::from_secs(1))).is_none());
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let known = following(10);
        for seed in 1..=100 {
            known.remember(known.ticket(id(seed)), device(seed, false), Some(true), NOW);
            assert!(known.find(id(1), NOW).is_some(), "{seed}");
        }
        let memory = known.memory();
        assert!(memory.young.len() <= 10 && memory.old.len() <= 10);
    }
}
