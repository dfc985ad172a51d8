//! The same changes of groups and labels end in the same membership on every backend. What is right is told by the model in core.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fleet_bench_dataset::{Dataset, Size};
use fleet_core::{
    access::Context,
    devices::{
        DeviceGroupId, DeviceId, DeviceSummary,
        groups::{DeviceGroupChange, NewDeviceGroup},
    },
    kernel::{PageRequest, SystemClock},
    store::{Backend, Query, memory::MemoryStore},
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};

const GROUPS: usize = 4;
const STEPS: u64 = 60;

/// The number of a step's choice.
fn dice(step: u64, choice: u64, sides: usize) -> usize {
    let mixed = (step * 31 + choice + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 33).unwrap() % sides
}

/// Who is in each group after each step.
async fn memberships(backend: Arc<dyn Backend>) -> Vec<Vec<BTreeSet<DeviceId>>> {
    let dataset = Dataset::new(5, Size::of(20));
    dataset.fill(&backend, |_| ()).await.unwrap();
    let fleet = dataset.open(&backend).await.unwrap();
    let (service, admin) = (fleet.device_groups(), Context::system("test"));
    let all = PageRequest::new(Some(100), None).unwrap();
    let listed = async || {
        let mut reader = fleet.store().reader().await.unwrap();
        reader.list(&Query::<DeviceSummary>::all(), &all).await.unwrap().items
    };
    let devices: Vec<_> = listed().await.iter().map(|summary| summary.id).collect();
    let mut groups = Vec::<DeviceGroupId>::new();
    for n in 0..GROUPS {
        let new = NewDeviceGroup {
            name: format!("changing {n}"),
            ..NewDeviceGroup::default()
        };
        groups.push(service.create(&admin, &new).await.unwrap().id);
    }
    let mut seen = Vec::new();
    for step in 0..STEPS {
        let (group, device) = (groups[dice(step, 1, GROUPS)], devices[dice(step, 2, devices.len())]);
        let value = dice(step, 3, 2);
        let change = |query: Option<String>| DeviceGroupChange {
            query: Some(query),
            ..DeviceGroupChange::default()
        };
        match dice(step, 4, 6) {
            0 => {
                let query = change(Some(format!("labels.changing equals {value}")));
                service.set(&admin, group, None, &query).await.unwrap();
            }
            1 => drop(service.set(&admin, group, None, &change(None)).await.unwrap()),
            2 => {
                let labels = BTreeMap::from([("changing".to_owned(), value.to_string())]);
                fleet.devices().set_labels(&admin, &[device], &labels).await.unwrap();
            }
            // Into a dynamic group nobody is put: the same answer everywhere.
            3 => drop(service.add_members(&admin, group, &devices[..dice(step, 5, 20)]).await),
            4 => drop(service.remove_members(&admin, group, &[device]).await),
            _ => drop(service.evaluate().await.unwrap()),
        }
        let summaries = listed().await;
        let members = |group: &DeviceGroupId| {
            let is_in = summaries.iter().filter(|summary| summary.groups.contains(group));
            is_in.map(|summary| summary.id).collect()
        };
        seen.push(groups.iter().map(members).collect());
    }
    seen
}

#[tokio::test]
async fn groups_have_the_same_members_on_every_backend() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.db");
    let sqlite = SqliteStore::open(file, SqliteOptions::default(), Arc::new(SystemClock)).await;
    let in_memory = memberships(Arc::new(MemoryStore::new(Arc::new(SystemClock)))).await;
    assert_eq!(in_memory, memberships(Arc::new(sqlite.unwrap())).await);
    let sizes: BTreeSet<_> = in_memory.iter().flatten().map(BTreeSet::len).collect();
    assert!(sizes.len() > 5, "something happened: {sizes:?}");
}
