//! Sessions, as this process knows them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{devices::DeviceId, kernel::PublicKey};

/// An agent's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The device.
    pub device: DeviceId,
    /// Its name when the session was opened.
    pub name: Arc<str>,
    /// The session's number; a newer one wins.
    pub epoch: u64,
    /// The version of the agent.
    pub agent_version: Arc<str>,
    /// The key that it was told signs its work.
    pub dispatch: PublicKey,
}

/// The newest session of each device that was opened here. Bounded by the number of devices.
#[derive(Debug, Default)]
pub struct Sessions {
    current: Mutex<HashMap<DeviceId, Current>>,
}

/// A session, and what its agent knows.
#[derive(Debug)]
struct Current {
    session: Session,
    /// The digest of the manifest that the agent has, or was told of; empty where it has none.
    manifest: String,
}

impl Sessions {
    /// Makes a session the current one, unless a newer one is there already. `manifest` is the digest of the one that its agent has.
    pub(super) fn open(&self, session: &Session, manifest: String) {
        let mut current = self.current();
        if current
            .get(&session.device)
            .is_none_or(|known| known.session.epoch < session.epoch)
        {
            let session = session.clone();
            current.insert(session.device, Current { session, manifest });
        }
    }

    /// Notes that the session is told of a manifest; whether that is news to it.
    pub(super) fn tell_manifest(&self, session: &Session, digest: &str) -> bool {
        let mut current = self.current();
        let current = current.get_mut(&session.device);
        let Some(current) = current.filter(|current| current.session.epoch == session.epoch) else {
            return false;
        };
        let is_news = current.manifest != digest;
        if is_news {
            digest.clone_into(&mut current.manifest);
        }
        is_news
    }

    /// The session of this device and number, if it is the current one.
    pub(super) fn find(&self, device: DeviceId, epoch: u64) -> Option<Session> {
        self.current()
            .get(&device)
            .map(|current| &current.session)
            .filter(|session| session.epoch == epoch)
            .cloned()
    }

    /// The number of the device's current session.
    pub(super) fn epoch(&self, device: DeviceId) -> Option<u64> {
        self.current().get(&device).map(|current| current.session.epoch)
    }

    /// Whether no newer session of the device was opened here.
    pub fn is_current(&self, session: &Session) -> bool {
        self.current()
            .get(&session.device)
            .is_some_and(|known| known.session.epoch == session.epoch)
    }

    /// Forgets a session that has ended, if it is still the current one.
    pub fn close(&self, session: &Session) {
        let mut current = self.current();
        if current
            .get(&session.device)
            .is_some_and(|known| known.session.epoch == session.epoch)
        {
            current.remove(&session.device);
        }
    }

    /// How many devices have a session here.
    pub fn len(&self) -> usize {
        self.current().len()
    }

    /// Whether no device has a session here.
    pub fn is_empty(&self) -> bool {
        self.current().is_empty()
    }

    fn current(&self) -> std::sync::MutexGuard<'_, HashMap<DeviceId, Current>> {
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
