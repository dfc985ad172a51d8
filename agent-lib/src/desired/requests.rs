//! What others want of the keeper.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet_core::protocol::ManifestMark;
use tokio::sync::{Notify, oneshot};

/// The most requests to apply all now that wait.
const MAX_ORDERS: usize = 16;

/// What became of a request to apply all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedAll {
    /// What was done, a line each.
    pub lines: Vec<String>,
    /// How many were changed.
    pub changed: u32,
    /// How many failed.
    pub failed: u32,
}

/// What others want of the keeper, which may come before it is there.
#[derive(Debug, Default)]
pub struct Requests {
    wanted: Mutex<Wanted>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    named: Option<ManifestMark>,
    orders: Vec<Order>,
}

/// A request to apply all now.
#[derive(Debug)]
pub(super) struct Order {
    /// Whether the fleet's windows do not count.
    pub ignore_windows: bool,
    /// Told what became of it.
    pub applied: oneshot::Sender<AppliedAll>,
}

impl Requests {
    /// The server has named the manifest of this device.
    pub fn name(&self, mark: ManifestMark) {
        self.wanted().named = Some(mark);
        self.bell.notify_one();
    }

    /// Applies all now, whatever the fleet's windows say where they are ignored; nothing when so many wait for that already, or nobody
    /// does it.
    pub async fn apply_all(&self, ignore_windows: bool) -> Option<AppliedAll> {
        let (applied, answer) = oneshot::channel();
        {
            let mut wanted = self.wanted();
            if wanted.orders.len() >= MAX_ORDERS {
                return None;
            }
            wanted.orders.push(Order {
                ignore_windows,
                applied,
            });
        }
        self.bell.notify_one();
        answer.await.ok()
    }

    /// The manifest that was named last, until it is [here](Self::has).
    pub(super) fn named(&self) -> Option<ManifestMark> {
        self.wanted().named.clone()
    }

    /// The manifest of this digest is here.
    pub(super) fn has(&self, digest: &str) {
        let mut wanted = self.wanted();
        if wanted.named.as_ref().is_some_and(|named| named.digest == digest) {
            wanted.named = None;
        }
    }

    /// Those who want all applied now.
    pub(super) fn orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.wanted().orders)
    }

    /// Waits until somebody wants something.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
