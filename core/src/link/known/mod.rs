//! What is remembered of devices, so that a request of an idle agent reads nothing from the store.
//!
//! Two facts of a device: how it proves itself, and what is open on it ([`Open`]). Both are dropped by the commits of this
//! process before those are answered ([`CommitObserver`]), by the feed of changes for the commits of other servers
//! ([`super::follow()`]), and by age. While nobody follows the feed nothing is remembered.
//!
//! Whoever fills in takes a [`Ticket`] *before* it opens its view, and what it read is kept only if nothing was dropped in
//! between: what was committed after the view is never hidden by what was read before it.
//!
//! Whoever offers a run as it makes it *claims* its device first ([`KnownDevices::claim`]): until the claim is given back nobody
//! else claims the device, and nobody looks for what is due on it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    certificates::DeviceCertificate,
    devices::{Device, DeviceId},
    kernel::{EntityId as _, PublicKey, Timestamp, Verifier},
    store::{CommitObserver, Entity as _, Expect, Name, Rev, Write},
    work::{Run, RunId, State, desired::Manifest},
};

mod own_commits;

use own_commits::OwnCommits;

/// Devices that are remembered: the largest fleet that one server is for, since devices come in turn, and with less room each would be
/// forgotten just before it comes. Each takes about 400 bytes. Twice as many just before the older half is forgotten.
const CAPACITY: usize = 100_000;
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
    /// Devices for which a run is being made. Bounded by the requests under way.
    claimed: HashSet<DeviceId>,
    own_commits: OwnCommits,
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
    open: Open,
    /// The digest of its manifest when it was looked for what is due; empty where it has none.
    manifest: String,
    read_at: Timestamp,
}

/// What is open on a device, as far as that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// Not known: what is due has to be looked for.
    Unknown,
    /// Nothing: nothing becomes due before one of its runs is written.
    Nothing,
    /// This run alone, which is being made.
    Made(RunId),
    /// This run alone, which was handed to the device's session of this number.
    Handed(RunId, u64),
}

impl Entry {
    fn is_let_in(&self) -> bool {
        !self.device.disabled && !self.device.revoked && !self.device.pending
    }
}

/// What was found when it was looked for what is due for a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// Nothing is.
    pub is_idle: bool,
    /// The digest of its manifest; empty where it has none.
    pub manifest: &'a str,
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
            claimed: HashSet::new(),
            own_commits: OwnCommits::default(),
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

    /// Whether there is nothing to look for in this session of a device: nothing is open on it but what the session was handed, and
    /// it is there and not kept out.
    pub(super) fn is_settled(&self, device: DeviceId, epoch: u64, now: Timestamp) -> bool {
        self.memory().find(device, now).is_some_and(|entry| {
            let is_settled = match entry.open {
                Open::Nothing => true,
                Open::Handed(_, handed_in) => handed_in == epoch,
                Open::Unknown | Open::Made(_) => false,
            };
            is_settled && entry.is_let_in()
        })
    }

    /// Claims a device for a run that is about to be made, if it is remembered that nothing is open on it and that it is not kept
    /// out. To be given back by [`KnownDevices::release`], whatever comes of the run.
    pub(super) fn claim(&self, device: DeviceId, run: RunId, now: Timestamp) -> bool {
        let mut memory = self.memory();
        let is_idle = |entry: &Entry| entry.open == Open::Nothing && entry.is_let_in();
        if memory.claimed.contains(&device) || !memory.find(device, now).is_some_and(is_idle) {
            return false;
        }
        memory.claimed.insert(device);
        memory.drop_open(device, Open::Made(run));
        true
    }

    /// Gives a claim back. `handed`: the run was made, and handed to the session of this number.
    pub(super) fn release(&self, device: DeviceId, run: RunId, handed: Option<u64>) {
        let mut memory = self.memory();
        memory.claimed.remove(&device);
        let open = handed.map_or(Open::Unknown, |epoch| Open::Handed(run, epoch));
        memory.each_entry(device, |entry| {
            if entry.open == Open::Made(run) {
                entry.open = open;
            }
        });
    }

    /// Whether a run is being made for a device: then nobody looks for what is due on it, until the claim was given back.
    pub(super) fn is_claimed(&self, device: DeviceId) -> bool {
        self.memory().claimed.contains(&device)
    }

    /// Whether it is remembered that a device is there and that it is not kept out.
    pub(super) fn is_let_in(&self, device: DeviceId, now: Timestamp) -> bool {
        self.memory().find(device, now).is_some_and(Entry::is_let_in)
    }

    /// A session begins whose agent has this manifest: where it is another than the device's, it has to be told.
    pub(super) fn compare(&self, device: DeviceId, manifest: &str) {
        let mut memory = self.memory();
        let mut is_other = false;
        memory.each_entry(device, |entry| is_other |= entry.manifest != manifest);
        if is_other {
            memory.drop_open(device, Open::Unknown);
        }
    }

    /// Notes what was found of a device that is remembered.
    pub(super) fn note(&self, ticket: Ticket, found: Found<'_>) {
        let mut memory = self.memory();
        if memory.dropped[counter(ticket.device)] != ticket.dropped {
            return;
        }
        memory.each_entry(ticket.device, |entry| {
            entry.open = open(found.is_idle);
            found.manifest.clone_into(&mut entry.manifest);
        });
    }

    /// Remembers what was read of a device, and what was found of it; where that was not looked for, what was remembered of it stays.
    pub(super) fn remember(&self, ticket: Ticket, device: Arc<KnownDevice>, found: Option<Found<'_>>, now: Timestamp) {
        let mut memory = self.memory();
        if !memory.following || memory.dropped[counter(ticket.device)] != ticket.dropped {
            return;
        }
        let (before, manifest) = memory
            .find(ticket.device, now)
            .map_or((Open::Unknown, String::new()), |entry| {
                (entry.open, entry.manifest.clone())
            });
        memory.insert(
            ticket.device,
            Entry {
                device,
                open: found.map_or(before, |found| open(found.is_idle)),
                manifest: found.map_or(manifest, |found| found.manifest.to_owned()),
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

    /// Drops what is open on a device; returns whether that was remembered.
    pub(crate) fn wake(&self, device: DeviceId) -> bool {
        self.memory().drop_open(device, Open::Unknown)
    }

    /// Whether a change of a run that the feed tells of is one of this process, which has heard of it already. Asked once.
    pub(super) fn is_own(&self, run: RunId, rev: Rev) -> bool {
        self.memory().own_commits.take(run, rev)
    }

    /// Drops everything, and says whether anything may be remembered from now on.
    pub(super) fn begin_anew(&self, following: bool) {
        let mut memory = self.memory();
        memory.following = following;
        memory.own_commits = OwnCommits::default();
        drop(memory);
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

    /// Own writes that the feed has not told of yet.
    #[cfg(test)]
    pub(super) fn untold(&self) -> usize {
        self.memory().own_commits.len()
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

    fn each_entry(&mut self, device: DeviceId, change: impl FnMut(&mut Entry)) {
        let Self { young, old, .. } = self;
        let entries = young.get_mut(&device).into_iter().chain(old.get_mut(&device));
        entries.for_each(change);
    }

    /// Notes that what was read of a device until now counts no more, and what is open on it instead; whether something was known of
    /// that.
    fn drop_open(&mut self, device: DeviceId, open: Open) -> bool {
        self.dropped[counter(device)] += 1;
        let mut was_known = false;
        self.each_entry(device, |entry| {
            was_known |= std::mem::replace(&mut entry.open, open) != Open::Unknown;
        });
        was_known
    }

    /// A run was written here.
    fn run_written(&mut self, id: RunId, run: &Written, is_committed: bool) {
        let mut before = Open::Unknown;
        self.each_entry(run.device, |entry| before = entry.open);
        let is_handed = matches!(before, Open::Handed(handed, _) if handed == id);
        let after = match before {
            // Whoever made it says what became of it.
            Open::Made(made) if made == id => before,
            Open::Handed(..) if is_handed && is_committed && run.state.is_terminal() => Open::Nothing,
            Open::Handed(..) if is_handed && is_committed && run.cancel_requested_at.is_none() => before,
            _ => Open::Unknown,
        };
        self.drop_open(run.device, after);
    }

    fn insert(&mut self, device: DeviceId, entry: Entry) {
        if self.young.len() >= self.capacity && !self.young.contains_key(&device) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(device, entry);
    }
}

fn open(idle: bool) -> Open {
    match idle {
        true => Open::Nothing,
        false => Open::Unknown,
    }
}

/// What is read of a run that was written.
#[derive(Deserialize)]
struct Written {
    device: DeviceId,
    state: State,
    cancel_requested_at: Option<Timestamp>,
}

fn counter(device: DeviceId) -> usize {
    // The end of a UUIDv7 is random.
    (device.uuid().as_u128() % COUNTERS as u128) as usize
}

impl CommitObserver for KnownDevices {
    fn watches(&self, kind: Name) -> bool {
        kind == Device::KIND || kind == Run::KIND || kind == Manifest::KIND
    }

    fn written(&self, writes: &[Write], is_committed: bool) {
        for write in writes {
            let key = write.key();
            if key.kind == Device::KIND {
                self.forget(DeviceId::from_uuid(key.id));
            } else if key.kind == Manifest::KIND {
                // Its session is to be told of it.
                self.wake(DeviceId::from_uuid(key.id));
            } else if let Write::Put { body, expect, .. } = write {
                // A run that is removed makes nothing due: where one was open, nothing was remembered.
                let Ok(run) = serde_json::from_slice::<Written>(body) else {
                    self.forget_all();
                    continue;
                };
                let id = RunId::from_uuid(key.id);
                let mut memory = self.memory();
                if let Some(rev) = rev_after(*expect).filter(|_| is_committed && memory.following) {
                    memory.own_commits.add(id, rev);
                }
                memory.run_written(id, &run, is_committed);
            }
        }
    }
}

/// The revision of a document that was written on this demand, where that follows from it.
fn rev_after(expect: Expect) -> Option<Rev> {
    match expect {
        Expect::Absent => Some(1),
        Expect::Rev(rev) => Some(rev + 1),
        Expect::Any | Expect::Present => None,
    }
}

#[cfg(test)]
mod tests;
