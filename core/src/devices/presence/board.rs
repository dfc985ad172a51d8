//! What is remembered of all devices between two commits.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    DeviceState,
    connections::{Connecting, TOGETHER},
    edges::BATCH,
    rules::{is_note_due, is_overdue, listening_since},
};
use crate::{
    devices::{DeviceId, DeviceSummary, Presence},
    gathering::Gathering,
    kernel::{PageRequest, Result, Timestamp},
    store::{Filter, Query, Store},
};

/// Devices that are read at once when the board is filled.
const PAGE: usize = 500;

/// Who was heard of when: one small entry for each device that ever was. What it says is repeated in the store; it is
/// filled from there at start.
#[derive(Debug)]
pub struct PresenceBoard {
    board: Mutex<Board>,
    /// Devices that were heard of and are not known to be online.
    pub(super) arrivals: Gathering<DeviceId, ()>,
    /// Connections that are to get a number.
    pub(super) connections: Gathering<Connecting, u64>,
}

#[derive(Debug)]
struct Board {
    devices: HashMap<DeviceId, Entry>,
    listening_since: Timestamp,
    swept_at: Timestamp,
}

/// What is remembered of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// As its summary says.
    pub presence: Presence,
    /// When it was heard of, never later than now.
    pub seen_at: Timestamp,
    /// What its newest state that is known here says of when that was: the clocks of servers differ, and are set.
    pub state_at: Timestamp,
    /// What its summary says of when it was seen.
    pub noted_at: Option<Timestamp>,
    pub epoch: u64,
    pub agent_version: String,
}

impl Entry {
    pub fn of(summary: &DeviceSummary) -> Self {
        Self {
            presence: summary.presence,
            seen_at: summary.seen_at.unwrap_or(Timestamp::MIN),
            state_at: summary.seen_at.unwrap_or(Timestamp::MIN),
            noted_at: summary.seen_at,
            epoch: 0,
            agent_version: summary.agent_version.clone(),
        }
    }
}

/// What a sweep finds to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub offline: Vec<DeviceId>,
    pub online: Vec<DeviceId>,
    pub note: Vec<DeviceId>,
}

impl PresenceBoard {
    /// A board that begins to listen now.
    fn new(now: Timestamp) -> Self {
        Self {
            board: Mutex::new(Board {
                devices: HashMap::new(),
                listening_since: now,
                swept_at: now,
            }),
            arrivals: Gathering::new(BATCH),
            connections: Gathering::new(TOGETHER),
        }
    }

    /// Fills a board from the store. Whoever was online still is, until he had time to be heard of again.
    pub(crate) async fn load(store: &Store) -> Result<Self> {
        let this = Self::new(store.clock().now());
        let is_not = |presence: Presence| Filter::Not(Box::new(DeviceSummary::PRESENCE.eq(presence.name())));
        let heard = is_not(Presence::Never).and(is_not(Presence::Pending));
        this.read(store, heard).await?;
        let mut reader = store.reader().await?;
        let mut after = None;
        loop {
            let page = reader.latest_page::<DeviceState>(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(this) };
            after = Some(*last);
            let mut board = this.lock();
            for (device, state) in &page {
                if let Some(entry) = board.devices.get_mut(device) {
                    entry.seen_at = entry.seen_at.max(state.seen_at);
                    entry.state_at = state.seen_at;
                    entry.epoch = entry.epoch.max(state.epoch);
                }
            }
        }
    }

    /// Takes over who is online as the store says, where several servers and sweeps take part. Whoever is found offline and
    /// was heard of meanwhile is brought online by the sweep.
    pub(super) async fn reread(&self, store: &Store) -> Result<()> {
        let online = self
            .read(store, DeviceSummary::PRESENCE.eq(Presence::Online.name()))
            .await?;
        for (device, entry) in &mut self.lock().devices {
            if entry.presence == Presence::Online && !online.contains(device) {
                entry.presence = Presence::Offline;
            }
        }
        Ok(())
    }

    async fn read(&self, store: &Store, filter: Filter) -> Result<HashSet<DeviceId>> {
        let query = Query::<DeviceSummary>::all().filter(filter);
        let mut reader = store.reader().await?;
        let (mut read, mut token) = (HashSet::new(), None);
        loop {
            let page = reader.list(&query, &PageRequest::new(Some(PAGE), token)?).await?;
            let mut board = self.lock();
            for summary in &page.items {
                let entry = board.devices.entry(summary.id).or_insert_with(|| Entry::of(summary));
                entry.presence = summary.presence;
                entry.noted_at = summary.seen_at;
                read.insert(summary.id);
            }
            token = page.next;
            if token.is_none() {
                return Ok(read);
            }
        }
    }

    /// What is remembered of a device.
    pub(super) fn entry(&self, device: DeviceId) -> Option<Entry> {
        self.lock().devices.get(&device).cloned()
    }

    /// The number of a device's newest connection.
    pub(super) fn epoch(&self, device: DeviceId) -> Option<u64> {
        self.lock().devices.get(&device).map(|entry| entry.epoch)
    }

    /// Remembers a device that it did not know.
    pub(super) fn add(&self, device: DeviceId, entry: Entry) {
        self.lock().devices.entry(device).or_insert(entry);
    }

    /// Forgets a device that was deleted.
    pub(crate) fn forget(&self, device: DeviceId) {
        self.lock().devices.remove(&device);
    }

    /// Whether the device is online, as far as this server knows.
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.lock()
            .devices
            .get(&device)
            .is_some_and(|entry| entry.presence == Presence::Online)
    }

    /// How many devices are online, as far as this server knows.
    pub fn online(&self) -> u64 {
        let board = self.lock();
        board
            .devices
            .values()
            .filter(|entry| entry.presence == Presence::Online)
            .count() as u64
    }

    /// A device was heard of. Returns whether that makes it come online.
    pub(super) fn heard(&self, device: DeviceId, seen_at: Timestamp, epoch: u64, agent_version: &str) -> bool {
        let mut board = self.lock();
        let Some(entry) = board.devices.get_mut(&device) else {
            return false;
        };
        // After a silence another server may have shown it as offline.
        let arrives = entry.presence != Presence::Online || is_overdue(entry.seen_at, Timestamp::MIN, seen_at);
        entry.seen_at = seen_at;
        entry.state_at = seen_at;
        entry.epoch = entry.epoch.max(epoch);
        if entry.agent_version != agent_version {
            agent_version.clone_into(&mut entry.agent_version);
            // A new version is worth a note at once.
            entry.noted_at = None;
        }
        arrives
    }

    /// The number of a new connection.
    pub(super) fn connected(&self, device: DeviceId, epoch: u64) {
        if let Some(entry) = self.lock().devices.get_mut(&device) {
            entry.epoch = entry.epoch.max(epoch);
        }
    }

    /// What the summary says by now.
    pub(super) fn committed(&self, device: DeviceId, presence: Presence, noted_at: Option<Timestamp>) {
        if let Some(entry) = self.lock().devices.get_mut(&device) {
            entry.presence = presence;
            entry.noted_at = noted_at;
        }
    }

    /// What is to be done now.
    pub(super) fn due(&self, now: Timestamp) -> Due {
        let mut board = self.lock();
        board.listening_since = listening_since(board.listening_since, board.swept_at, now);
        board.swept_at = now;
        let since = board.listening_since;
        let mut due = Due::default();
        for (device, entry) in &mut board.devices {
            // A clock that was set back would keep a device online for as long.
            entry.seen_at = entry.seen_at.min(now);
            entry.noted_at = entry.noted_at.min(Some(now));
            match entry.presence {
                Presence::Online if is_overdue(entry.seen_at, since, now) => due.offline.push(*device),
                Presence::Online if is_note_due(*device, entry.noted_at, entry.seen_at) => due.note.push(*device),
                Presence::Online => {}
                // Its beat came while its edge could not be committed.
                Presence::Offline | Presence::Never | Presence::Pending
                    if !is_overdue(entry.seen_at, Timestamp::MIN, now) =>
                {
                    due.online.push(*device);
                }
                Presence::Offline | Presence::Never | Presence::Pending => {}
            }
        }
        // An order of our own, so that equal stores see equal commits.
        due.offline.sort_unstable();
        due.online.sort_unstable();
        due.note.sort_unstable();
        due
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // No step leaves the board half-changed.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
