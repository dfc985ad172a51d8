//! Runs that are offered as they are made: to devices whose socket ends here and on which nothing is open.
//!
//! ```text
//!   batch:    claim ── commit: the run is made as offered, in the device's session ── hand over ── give the claim back
//!   session:  woken ── takes what was handed ── signs and sends it; nothing is read
//! ```
//!
//! Whatever goes wrong in between is mended by the common way, which looks in storage: a device that cannot be claimed gets a queued
//! run; a session that is over by then is followed by one that is offered the run again; and where nobody waited for the end of the
//! commit, its outcome is not known here, and the session is *in doubt*: the next look offers again what it was perhaps never sent.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{KnownDevices, Session, Sessions};
use crate::{
    access::server_keys::ServerKeys,
    devices::{DeviceId, presence::PresenceBoard},
    kernel::Clock,
    live::Signals,
    work::{Run, RunId, delivery::Deliveries},
};

/// What was handed to the sessions whose socket ends here, and was not sent yet. One run each at most: a device is claimed only while
/// nothing is open on it.
#[derive(Debug, Default)]
pub(crate) struct Inboxes(Mutex<HashMap<DeviceId, Inbox>>);

#[derive(Debug)]
struct Inbox {
    epoch: u64,
    run: Option<Box<Run>>,
    in_doubt: bool,
}

impl Inboxes {
    fn open(&self, session: &Session) {
        let mut inboxes = self.inboxes();
        if inboxes
            .get(&session.device)
            .is_none_or(|known| known.epoch < session.epoch)
        {
            let inbox = Inbox {
                epoch: session.epoch,
                run: None,
                in_doubt: false,
            };
            inboxes.insert(session.device, inbox);
        }
    }

    fn close(&self, session: &Session) {
        let mut inboxes = self.inboxes();
        if inboxes
            .get(&session.device)
            .is_some_and(|known| known.epoch == session.epoch)
        {
            inboxes.remove(&session.device);
        }
    }

    fn epoch(&self, device: DeviceId) -> Option<u64> {
        self.inboxes().get(&device).map(|inbox| inbox.epoch)
    }

    fn put(&self, epoch: u64, run: Run) {
        if let Some(inbox) = self.inboxes().get_mut(&run.device)
            && inbox.epoch == epoch
        {
            inbox.run = Some(Box::new(run));
        }
    }

    /// The outcome of what was made for a device is not known here.
    pub(super) fn doubt(&self, device: DeviceId) {
        if let Some(inbox) = self.inboxes().get_mut(&device) {
            inbox.in_doubt = true;
        }
    }

    /// What was handed to a session and was not taken yet.
    pub(super) fn take(&self, session: &Session) -> Option<Box<Run>> {
        let mut inboxes = self.inboxes();
        let inbox = inboxes.get_mut(&session.device)?;
        inbox.run.take_if(|_| inbox.epoch == session.epoch)
    }

    /// Whether a session may have been handed something that it was never sent. It stays so until something was offered again.
    pub(super) fn is_in_doubt(&self, session: &Session) -> bool {
        let inboxes = self.inboxes();
        let inbox = inboxes.get(&session.device);
        inbox.is_some_and(|inbox| inbox.epoch == session.epoch && inbox.in_doubt)
    }

    /// What the session was in doubt about was offered again.
    pub(super) fn settle(&self, session: &Session) {
        if let Some(inbox) = self.inboxes().get_mut(&session.device) {
            inbox.in_doubt = false;
        }
    }

    fn inboxes(&self) -> MutexGuard<'_, HashMap<DeviceId, Inbox>> {
        // No step leaves it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as this lives, the session takes what it is handed.
#[derive(Debug)]
pub struct Listening<'a> {
    inboxes: &'a Inboxes,
    session: &'a Session,
}

impl<'a> Listening<'a> {
    pub(super) fn begin(inboxes: &'a Inboxes, session: &'a Session) -> Self {
        inboxes.open(session);
        Self { inboxes, session }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.inboxes.close(self.session);
    }
}

/// Claims devices for runs that are being made, and hands these over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectOffers<'a> {
    pub(crate) known: &'a KnownDevices,
    pub(crate) inboxes: &'a Inboxes,
    pub(crate) sessions: &'a Sessions,
    pub(crate) keys: &'a ServerKeys,
    pub(crate) devices: &'a Signals<DeviceId>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) presence: &'a PresenceBoard,
    pub(crate) deliveries: &'a Deliveries,
}

impl<'a> DirectOffers<'a> {
    /// No device is claimed yet.
    pub fn begin(self) -> Claims<'a> {
        Claims {
            offers: self,
            claimed: Vec::new(),
        }
    }
}

/// Devices that are claimed. What is not handed over before this is dropped is left in doubt.
#[derive(Debug)]
pub(crate) struct Claims<'a> {
    offers: DirectOffers<'a>,
    claimed: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    device: DeviceId,
    run: RunId,
    epoch: u64,
}

impl Claims<'_> {
    /// Claims a device for a run that is about to be made. The number of the session in which the run is offered thereby; none where
    /// it has to be queued.
    pub fn claim(&mut self, device: DeviceId, run: RunId) -> Option<u64> {
        let DirectOffers {
            known,
            inboxes,
            sessions,
            keys,
            clock,
            ..
        } = self.offers;
        let epoch = inboxes.epoch(device)?;
        let session = sessions.find(device, epoch)?;
        if session.dispatch != keys.dispatch().public || !known.claim(device, run, clock.now()) {
            return None;
        }
        self.claimed.push(Claim { device, run, epoch });
        Some(epoch)
    }

    /// The runs are durable: hands over those whose devices were claimed, and wakes the sessions of all.
    pub fn hand_over(mut self, runs: impl IntoIterator<Item = Run>) {
        let mut claims: HashMap<_, _> = self.claimed.drain(..).map(|claim| (claim.run, claim)).collect();
        let DirectOffers {
            known,
            inboxes,
            devices,
            ..
        } = self.offers;
        for run in runs {
            let device = run.device;
            if let Some(Claim { run: id, epoch, .. }) = claims.remove(&run.id) {
                inboxes.put(epoch, run);
                known.release(device, id, Some(epoch));
            }
            devices.signal(device);
        }
        // None is left: each run that was claimed for is here.
        self.claimed.extend(claims.into_values());
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for claim in &self.claimed {
            self.offers.inboxes.doubt(claim.device);
            self.offers.known.release(claim.device, claim.run, None);
            self.offers.devices.signal(claim.device);
        }
    }
}
