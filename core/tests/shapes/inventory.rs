//! What `devices` stores of inventories.

use std::sync::Arc;

use fleet_core::{
    Fleet,
    access::Context,
    devices::{
        DeviceSummary,
        device::DEVICE_UPDATE,
        inventory::{
            InventorySection, InventorySectionId, PackageFacts, PackageMember, PackageMemberId, PackageSet,
            PackageSetId, Section, SectionReport, StoredMember, StoredSet,
        },
    },
    kernel::{ManualClock, MasterKey, PageRequest, SeededRandom},
    store::{Entity, Evidence, Query, memory::MemoryStore},
};
use serde_json::json;

use crate::{
    devices::device,
    reports::bodies,
    sample::{Sample, document, show},
    values::{at, id},
};

fn member() -> PackageMember {
    PackageMember {
        manager: "dpkg".into(),
        name: "libssl3".into(),
        version: "3.0.15-1~deb12u1".into(),
        architecture: "amd64".into(),
    }
}

pub fn samples() -> Vec<Sample> {
    let set = PackageSet::new([member()]);
    vec![
        document(
            "of packages",
            &InventorySection {
                id: InventorySectionId::of(id(10), Section::Packages),
                device: id(10),
                section: Section::Packages,
                hash: set.hash(),
                collected_at: at(0),
                received_at: at(1),
                body: json!({
                    "available": true, "manager": "dpkg", "truncated": false, "left_out": 0, "installed": 1,
                    "set": PackageSetId::of(set.hash()), "notes": [],
                }),
                updates: vec!["dpkg/libssl3".into()],
                security_updates: vec!["dpkg/libssl3".into()],
            },
        ),
        document(
            "that a set holds",
            &StoredMember {
                id: PackageMemberId::of(member().member_id()),
                number: member().member_id(),
                manager: member().manager,
                name: member().name,
                version: member().version,
                version_key: member().version_key(),
                architecture: member().architecture,
                facts: PackageFacts {
                    source: Some("openssl".into()),
                    source_version: Some("3.0.15".into()),
                    installed_size_bytes: Some(6_000_000),
                },
                doubted_since: None,
            },
        ),
        document(
            "of one package",
            &StoredSet {
                id: PackageSetId::of(set.hash()),
                hash: set.hash(),
                members: set.member_ids(),
                doubted_since: Some(at(2)),
            },
        ),
    ]
}

#[test]
fn what_is_stored_of_inventories() {
    insta::assert_snapshot!(show(&samples()));
}

/// All documents of a kind.
async fn stored<T: Entity>(fleet: &Fleet) -> Vec<Sample> {
    let mut reader = fleet.store().reader().await.unwrap();
    let page = reader.list(&Query::<T>::all(), &PageRequest::default()).await.unwrap();
    let samples = page.items.iter().map(|entity| document("as received", &entity.value));
    samples.collect()
}

#[tokio::test]
async fn what_reports_become() {
    let clock = Arc::new(ManualClock::new(at(0)));
    let backend = Arc::new(MemoryStore::new(clock.clone()));
    let fleet = Fleet::builder(backend, MasterKey::generate(&SeededRandom::new(1)))
        .clock(clock)
        .open()
        .await
        .unwrap();
    fleet
        .store()
        .change(
            &Context::system("test"),
            Evidence::Audit(DEVICE_UPDATE),
            |mut tx| async move {
                tx.create(&device())?;
                tx.create(&DeviceSummary::new(&device()))?;
                tx.commit().await
            },
        )
        .await
        .unwrap();
    for body in bodies() {
        let report = SectionReport::new(body, at(-1)).unwrap();
        fleet.inventory().receive(device().id, &report).await.unwrap();
    }
    let mut documents = stored::<InventorySection>(&fleet).await;
    documents.extend(stored::<StoredSet>(&fleet).await);
    documents.extend(stored::<StoredMember>(&fleet).await);
    documents.extend(stored::<DeviceSummary>(&fleet).await);
    insta::assert_snapshot!(show(&documents));
}
