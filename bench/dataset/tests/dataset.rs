//! What a filled store holds.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fleet_bench_dataset::{Dataset, FillError, Filled, Size};
use fleet_core::{
    Fleet,
    access::Context,
    devices::{
        Device, DeviceId, DeviceSummary,
        device::{DeviceFilter, DeviceOrder},
        inventory::{
            InventorySection, InventorySectionId, PackageFilter, PackageMemberId, PackageQuestion, Section,
            StoredMember, StoredSet,
        },
    },
    kernel::{ManualClock, PageRequest, SystemClock},
    store::{Backend, Batch, Entity, Expect, Filter, JsonObject, Query, Record, Write, encode, memory::MemoryStore},
    work::Run,
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};
use futures::StreamExt as _;
use tempfile::TempDir;
use uuid::Uuid;

fn memory() -> Arc<dyn Backend> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

async fn sqlite(folder: &TempDir) -> Arc<dyn Backend> {
    let store = SqliteStore::open(
        folder.path().join("fleet.db"),
        SqliteOptions::default(),
        Arc::new(SystemClock),
    )
    .await;
    Arc::new(store.unwrap())
}

async fn fill(backend: &Arc<dyn Backend>, seed: u64, size: Size) -> (Dataset, Filled) {
    let dataset = Dataset::new(seed, size);
    let filled = dataset.fill(backend, |_| ()).await.unwrap();
    (dataset, filled)
}

/// The end of the export: how many records, where commit order stands, the digest.
async fn end(backend: &Arc<dyn Backend>) -> Record {
    let mut records = backend.view().await.unwrap().export();
    let mut last = None;
    while let Some(record) = records.next().await {
        last = Some(record.unwrap());
    }
    last.unwrap()
}

#[tokio::test]
async fn the_same_seed_gives_the_same_digest_on_every_backend() {
    let size = Size::of(200).adversarial();
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (memory(), sqlite(&folder).await);
    let (_, filled) = fill(&one, 7, size.clone()).await;
    assert_eq!(filled, fill(&two, 7, size).await.1);
    let digest = end(&one).await;
    assert_eq!(digest, end(&two).await);
    for backend in [&one, &two] {
        assert_eq!(backend.check().await.unwrap(), []);
        backend.close().await.unwrap();
    }
    let Record::End { count, .. } = digest else { panic!() };
    // Removed documents are written and not there; changed ones are there once.
    assert!(count > 200 * 15 && count < filled.writes + filled.latest + filled.rows + 10);
}

#[tokio::test]
async fn another_seed_gives_another_fleet() {
    let size = Size {
        packages: 30,
        ..Size::of(10)
    };
    let (one, two) = (memory(), memory());
    fill(&one, 1, size.clone()).await;
    fill(&two, 2, size).await;
    assert_ne!(end(&one).await, end(&two).await);
}

#[tokio::test]
async fn the_share_of_distinct_sets_is_what_was_asked_for() {
    let backend = memory();
    let (dataset, filled) = fill(
        &backend,
        3,
        Size {
            package_sets: 25,
            ..Size::of(100)
        },
    )
    .await;
    assert_eq!((filled.devices, filled.package_sets), (100, 25));
    let fleet = dataset.open(&backend).await.unwrap();
    let mut reader = fleet.store().reader().await.unwrap();
    let mut used = reader
        .tally::<DeviceSummary>(&Filter::All, DeviceSummary::PACKAGE_SET)
        .await
        .unwrap();
    used.retain(|(set, _)| *set != fleet_core::store::Value::Null);
    assert_eq!(used.len(), 25);
    assert_eq!(reader.count::<StoredSet>(&Filter::All).await.unwrap(), 25);
    assert_eq!(
        reader.count::<StoredMember>(&Filter::All).await.unwrap(),
        filled.package_members as u64
    );
    assert_eq!(reader.count::<Run>(&Filter::All).await.unwrap(), 100);
    // Clones: the largest set has several devices.
    assert!(used.iter().any(|(_, devices)| *devices >= 5), "{used:?}");
}

#[tokio::test]
async fn the_services_answer_from_it() {
    let backend = memory();
    let (dataset, _) = fill(&backend, 4, Size::of(60)).await;
    let fleet = dataset.open(&backend).await.unwrap();
    let (context, page) = (Context::system("test"), PageRequest::default());
    let counts = fleet.devices().counts(&context).await.unwrap();
    // Debian, Ubuntu, and those that never told.
    assert_eq!((counts.devices, counts.os.len()), (60, 3));
    assert!(
        counts.online > 40 && counts.with_updates > 5 && counts.reboot_required > 0,
        "{counts:?}"
    );
    let list = fleet
        .devices()
        .list(&context, &DeviceFilter::default(), DeviceOrder::default(), &page)
        .await
        .unwrap();
    assert_eq!(list.items.len(), 50);
    let packages = fleet
        .inventory()
        .packages(
            &context,
            dataset.device_id(0),
            &PackageFilter::default(),
            &PageRequest::new(Some(500), None).unwrap(),
        )
        .await
        .unwrap();
    assert_eq!((packages.items.len(), packages.next.is_some()), (500, true));
    let question = |below: &str| PackageQuestion {
        name: "libc6".into(),
        manager: Some("dpkg".into()),
        version: None,
        below: Some(below.into()),
    };
    let below = async |version| {
        let found = fleet
            .inventory()
            .devices_with_package(&context, &question(version), &page)
            .await;
        found.unwrap().items.len()
    };
    let (none, some, most) = (
        below("2.36-9+deb12u1").await,
        below("2.36-9+deb12u14").await,
        below("3").await,
    );
    assert!(none == 0 && some > 0 && most == 50, "{none} {some} {most}");
}

/// A fleet that knows the device and nothing of its inventory.
async fn with_device(dataset: &Dataset, device: &Device) -> Fleet {
    let fleet = dataset.open(&memory()).await.unwrap();
    let put = |body, key, index| Write::Put {
        key,
        expect: Expect::Absent,
        body,
        index,
    };
    let summary = DeviceSummary::new(device);
    let writes = vec![
        put(
            encode(device, &JsonObject::new()).unwrap(),
            Device::key(device.id),
            device.index(),
        ),
        put(
            encode(&summary, &JsonObject::new()).unwrap(),
            DeviceSummary::key(device.id),
            summary.index(),
        ),
    ];
    let batch = Batch {
        id: Uuid::from_u128(1),
        writes,
        rows: vec![],
    };
    fleet.store().backend().commit(batch).await.unwrap();
    fleet
}

#[tokio::test]
async fn an_inventory_is_what_the_reports_of_the_device_leave_behind() {
    let backend = memory();
    let (dataset, _) = fill(
        &backend,
        5,
        Size {
            packages: 400,
            ..Size::of(30)
        },
    )
    .await;
    let filled = dataset.open(&backend).await.unwrap();
    let mut compared = BTreeSet::new();
    // Those of the changes after the filling are others.
    for n in [1, 2, 3, 4] {
        let device = dataset.device(n);
        let reported = with_device(&dataset, &device).await;
        for report in dataset.reports(n).unwrap() {
            reported.inventory().receive(device.id, &report).await.unwrap();
            let id = InventorySectionId::of(device.id, report.section);
            let [one, two] = [&filled, &reported].map(|fleet| fleet.store().get::<InventorySection>(id));
            let (one, two) = (one.await.unwrap().unwrap().value, two.await.unwrap().unwrap().value);
            assert_eq!(one, two);
            compared.insert(report.section);
        }
        let (one, two) = (summary(&filled, device.id).await, summary(&reported, device.id).await);
        let set = one.package_set.unwrap();
        // Presence is not reported, and the other fleet has no dynamic groups.
        assert_eq!(
            one,
            DeviceSummary {
                presence: one.presence,
                seen_at: one.seen_at,
                groups: one.groups.clone(),
                dynamic_groups: one.dynamic_groups.clone(),
                ..two
            }
        );
        let [one, two] = [&filled, &reported].map(|fleet| fleet.store().get::<StoredSet>(set));
        let (one, two) = (one.await.unwrap().unwrap().value, two.await.unwrap().unwrap().value);
        assert_eq!(one, two);
        for number in one.members {
            let id = PackageMemberId::of(number);
            let [one, two] = [&filled, &reported].map(|fleet| fleet.store().get::<StoredMember>(id));
            let (one, two) = (one.await.unwrap().unwrap().value, two.await.unwrap().unwrap().value);
            // A member is doubted from its birth until the first cleaning.
            assert_eq!(
                one,
                StoredMember {
                    doubted_since: None,
                    ..two
                }
            );
        }
    }
    assert_eq!(compared, BTreeSet::from(Section::ALL));
}

async fn summary(fleet: &Fleet, device: DeviceId) -> DeviceSummary {
    fleet.store().get::<DeviceSummary>(device).await.unwrap().unwrap().value
}

#[tokio::test]
async fn every_device_is_in_the_groups_whose_queries_describe_it() {
    let backend = memory();
    let (dataset, _) = fill(&backend, 9, Size::of(60)).await;
    // All are evaluated once in a while.
    let later = dataset.now().plus(Duration::from_secs(86_400));
    let fleet = Fleet::builder(backend, dataset.master_key())
        .clock(Arc::new(ManualClock::new(later)))
        .open()
        .await
        .unwrap();
    let context = Context::system("test");
    let groups = fleet.device_groups();
    let page = PageRequest::new(Some(500), None).unwrap();
    let all = groups.list(&context, None, &page).await.unwrap().items;
    let dynamic: Vec<_> = all.iter().filter(|group| group.query.is_some()).collect();
    assert!(dynamic.iter().all(|group| (1..60).contains(&group.members)));
    let evaluated = groups.evaluate().await.unwrap();
    assert_eq!(
        (evaluated.devices, evaluated.changed, evaluated.complete),
        (60, 0, true)
    );
}

#[tokio::test]
async fn every_kind_lane_and_set_of_latest_values_has_something_in_it() {
    let backend = memory();
    fill(&backend, 6, Size::of(40)).await;
    let mut found = BTreeSet::new();
    let mut records = backend.view().await.unwrap().export();
    while let Some(record) = records.next().await {
        match record.unwrap() {
            Record::Doc(doc) => found.insert(doc.key.kind),
            Record::Latest(latest) => found.insert(latest.key.kind),
            Record::Row(lane, _) => found.insert(lane),
            Record::End { .. } => break,
        };
    }
    let schema = fleet_core::modules::schema(&fleet_core::modules::built_in()).unwrap();
    let declared = schema.kinds().map(|kind| kind.name);
    let declared = declared.chain(schema.lanes().map(|lane| lane.name));
    let declared: BTreeSet<_> = declared.chain(schema.latests().map(|latest| latest.name)).collect();
    // There is none once there is a user.
    let missing: Vec<_> = declared.difference(&found).copied().collect();
    assert_eq!(missing, ["bootstrap_token"]);
}

#[tokio::test]
async fn only_an_empty_store_is_filled() {
    let backend = memory();
    let (dataset, _) = fill(
        &backend,
        8,
        Size {
            packages: 20,
            ..Size::of(2)
        },
    )
    .await;
    let again = dataset.fill(&backend, |_| ()).await;
    assert!(matches!(again, Err(FillError::NotEmpty)), "{again:?}");
}

#[tokio::test]
async fn adversarial_texts_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let backend = sqlite(&folder).await;
    let (dataset, _) = fill(
        &backend,
        9,
        Size {
            packages: 20,
            ..Size::of(3)
        }
        .adversarial(),
    )
    .await;
    let fleet = dataset.open(&backend).await.unwrap();
    let mut reader = fleet.store().reader().await.unwrap();
    for text in [
        "𝒇𝒍𝒆𝒆𝒕 🛰️ 🧑‍🚀 𠜎",
        "e\u{301}",
        "é",
        "\u{10FFFF}\u{FFFE}\u{FFFF}",
        " leading and trailing ",
    ] {
        let found = reader
            .first(&Query::<DeviceSummary>::all().filter(DeviceSummary::OS.eq(text)))
            .await
            .unwrap();
        assert_eq!(found.map(|found| found.value.name).as_deref(), Some(text));
    }
    backend.close().await.unwrap();
}
