//! Devices whose groups changed, as the commits of this process tell. It makes things fast: what is lost here, the pass over all
//! devices finds.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    devices::{DeviceId, DeviceSummary},
    kernel::EntityId as _,
    store::{CommitObserver, Entity as _, Name, Value, Write},
};

/// The most devices that are marked, and of which is remembered which groups they are in.
const MAX_MARKS: usize = 200_000;

/// Devices that may have to be compiled.
#[derive(Debug, Default)]
pub(in crate::work::desired) struct Marks {
    marked: Mutex<Marked>,
    /// Rung when there is one.
    pub bell: Notify,
}

#[derive(Debug, Default)]
struct Marked {
    devices: BTreeSet<DeviceId>,
    /// What is remembered of the groups of devices: summaries are written for many other reasons.
    groups: HashMap<DeviceId, u64>,
    /// More were marked than are remembered.
    overflown: bool,
}

impl Marks {
    /// Takes out some of the marked devices.
    pub fn take(&self, most: usize) -> Vec<DeviceId> {
        let mut marked = self.locked();
        let taken: Vec<_> = marked.devices.iter().take(most).copied().collect();
        for device in &taken {
            marked.devices.remove(device);
        }
        taken
    }

    /// Marks devices again: they could not be compiled.
    pub fn put_back(&self, devices: &[DeviceId]) {
        self.locked().devices.extend(devices);
    }

    /// Whether more were marked than are remembered since this was asked last: then all devices have to be looked at.
    pub fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.locked().overflown)
    }

    fn mark(&self, device: DeviceId, groups: Option<u64>) -> bool {
        let mut marked = self.locked();
        if marked.groups.len() >= MAX_MARKS {
            marked.groups.clear();
        }
        let known = match groups {
            Some(groups) => marked.groups.insert(device, groups),
            None => {
                marked.groups.remove(&device);
                None
            }
        };
        if groups.is_some() && known == groups {
            return false;
        }
        if marked.devices.len() >= MAX_MARKS {
            marked.overflown = true;
            return true;
        }
        marked.devices.insert(device)
    }

    fn locked(&self) -> MutexGuard<'_, Marked> {
        // No step leaves it half-changed.
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitObserver for Marks {
    fn watches(&self, kind: Name) -> bool {
        kind == DeviceSummary::KIND
    }

    fn written(&self, writes: &[Write], is_committed: bool) {
        let column = DeviceSummary::columns();
        let column = column
            .iter()
            .position(|column| column.name == DeviceSummary::GROUPS.name());
        let mut is_new = false;
        for write in writes {
            let groups = match write {
                // What may not have been written must not be remembered.
                Write::Put { index, .. } if is_committed => {
                    column.and_then(|column| index.get(column)).map(|groups| hash(groups))
                }
                _ => None,
            };
            is_new |= self.mark(DeviceId::from_uuid(write.key().id), groups);
        }
        if is_new {
            self.bell.notify_one();
        }
    }
}

fn hash(groups: &[Value]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for group in groups {
        if let Value::Id(id) = group {
            hasher.update(id.as_bytes());
        }
    }
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
