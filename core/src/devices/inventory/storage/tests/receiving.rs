use std::collections::BTreeMap;

use super::*;
use crate::{
    devices::{
        INVENTORY_CHANGED, PACKAGES_LEARNT,
        device::{DEVICE_GONE, DEVICE_NOT_FOUND},
        inventory::{ContentHash, Interface, InterfaceAddress, Interfaces, Reboot},
    },
    kernel::{Code, EntityId as _},
};

#[tokio::test]
async fn a_section_is_stored_shown_and_told_of_in_one_commit() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    let seq = test.seq().await;
    assert_eq!(send(&test, device, os("12")).await, Received::Changed);
    assert_eq!(test.seq().await, seq + 1);
    let shown = summary(&test, device).await;
    assert_eq!(
        (shown.os.as_deref(), shown.os_version.as_deref()),
        (Some("debian"), Some("12"))
    );
    assert_eq!(
        (shown.architecture.as_deref(), shown.reboot_required),
        (Some("x86_64"), Some(false))
    );
    let events = test.events().await;
    assert_eq!((events.len(), events[0].event.as_str()), (1, INVENTORY_CHANGED));
    assert_eq!(events[0].details["section"], "os");
}

#[tokio::test]
async fn an_unchanged_section_costs_no_write_with_or_without_its_body() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    let inventory = test.fleet.inventory();
    for body in [os("12"), packages(&["bash 5.2", "zlib 1.2 > 1.3"])] {
        send(&test, device, body.clone()).await;
        let seq = test.seq().await;
        test.advance(60);
        assert_eq!(send(&test, device, body.clone()).await, Received::Unchanged);
        let hash_only = report(&test, body).without_body();
        assert_eq!(
            inventory.receive(device, &hash_only).await.unwrap(),
            Received::Unchanged
        );
        assert_eq!(test.seq().await, seq);
    }
    let unknown = report(&test, os("13")).without_body();
    fails(inventory.receive(device, &unknown).await, BODY_WANTED);
}

#[tokio::test]
async fn the_server_wants_what_it_does_not_have() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    send(&test, device, os("12")).await;
    let hash = |body| report(&test, body).hash.to_string();
    let announced: BTreeMap<_, _> = [
        ("os".to_owned(), hash(os("12"))),
        ("users".to_owned(), hash(SectionBody::Users(Users::default()))),
        ("packages".to_owned(), "nonsense".to_owned()),
        ("of_a_newer_agent".to_owned(), hash(os("1"))),
    ]
    .into();
    let inventory = test.fleet.inventory();
    assert_eq!(
        inventory.wanted(device, &announced).await.unwrap(),
        [Section::Users, Section::Packages]
    );
    let hashes = inventory.hashes(device).await.unwrap();
    assert_eq!(hashes.into_keys().collect::<Vec<_>>(), [Section::Os]);
}

#[tokio::test]
async fn a_damaged_or_hostile_report_is_refused_and_leaves_nothing() {
    async fn check(test: &TestFleet, device: DeviceId, report: &SectionReport, code: Code) {
        let seq = test.seq().await;
        fails(test.fleet.inventory().receive(device, report).await, code);
        assert_eq!(test.seq().await, seq);
    }
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    let good = report(&test, os("12"));
    let mut forged = good.clone();
    forged.hash = ContentHash::of_bytes(b"other");
    check(&test, device, &forged, REPORT_INVALID).await;

    let with = |section: Section, body: serde_json::Value| SectionReport {
        section,
        hash: ContentHash::of(&body).unwrap(),
        collected_at: good.collected_at,
        body: Some(body),
    };
    check(
        &test,
        device,
        &with(Section::Users, serde_json::json!({"items": 1})),
        REPORT_INVALID,
    )
    .await;
    let long = serde_json::json!({"items": [], "x": "y".repeat(3 << 20)});
    check(&test, device, &with(Section::Users, long), REPORT_TOO_LARGE).await;
    let many = Users {
        items: vec![LocalUser::default(); 10_001],
        ..Users::default()
    };
    let many = serde_json::to_value(many).unwrap();
    check(&test, device, &with(Section::Users, many), REPORT_TOO_LARGE).await;
    for (name, version) in [
        ("", "1"),
        ("a", ""),
        ("a\nb", "1"),
        (&*"n".repeat(513), "1"),
        ("a", &*"1".repeat(513)),
    ] {
        let SectionBody::Packages(mut body) = packages(&["bash 5"]) else {
            unreachable!()
        };
        (body.items[0].name, body.items[0].version) = (name.to_owned(), version.to_owned());
        let body = serde_json::to_value(body).unwrap();
        check(&test, device, &with(Section::Packages, body), REPORT_INVALID).await;
    }
    let unknown = DeviceId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    check(&test, unknown, &report(&test, packages(&["bash 5"])), DEVICE_NOT_FOUND).await;
    assert_eq!(stored(&test).await, (vec![], 0));
}

#[tokio::test]
async fn summaries_show_updates_restarts_and_addresses() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    let list = ["a 1 > 2", "b 1 > 2 !", "c 1 > 2 ! =", "d 1"];
    send(&test, device, packages(&list)).await;
    let shown = summary(&test, device).await;
    assert_eq!((shown.updates, shown.security_updates), (Some(2), Some(1)));
    assert!(shown.package_set.is_some());

    let SectionBody::Packages(mut body) = packages(&list) else {
        unreachable!()
    };
    body.updates_problem = Some("apt failed".into());
    send(&test, device, SectionBody::Packages(body)).await;
    let shown = summary(&test, device).await;
    assert_eq!(
        (shown.updates, shown.security_updates),
        (None, None),
        "unknown is not none"
    );

    let SectionBody::Os(mut body) = os("12") else {
        unreachable!()
    };
    body.reboot = Reboot {
        required: true,
        reasons: vec![],
    };
    body.id = "DEBIAN".into();
    send(&test, device, SectionBody::Os(body)).await;
    let address = |text: &str| InterfaceAddress {
        address: text.parse().unwrap(),
        prefix: 24,
    };
    let all = [
        "127.0.0.1",
        "::1",
        "fe80::1",
        "169.254.1.1",
        "2001:db8::7",
        "192.0.2.1",
        "192.0.2.1",
    ];
    let interfaces = Interfaces {
        items: vec![Interface {
            addresses: all.map(address).to_vec(),
            ..Interface::default()
        }],
        ..Interfaces::default()
    };
    send(&test, device, SectionBody::Interfaces(interfaces)).await;
    let shown = summary(&test, device).await;
    assert_eq!(
        (shown.os.as_deref(), shown.reboot_required),
        (Some("debian"), Some(true))
    );
    assert_eq!(shown.addresses, ["192.0.2.1", "2001:db8::7"]);
}

#[tokio::test]
async fn equal_packages_are_stored_once_however_many_devices_have_them() {
    let test = TestFleet::new().await;
    let devices = test.devices(3).await;
    send(&test, devices[0], packages(&["bash 5.2", "zlib 1.2"])).await;
    let learnt =
        |events: Vec<crate::devices::DeviceEvent>| events.iter().filter(|event| event.event == PACKAGES_LEARNT).count();
    assert_eq!(learnt(test.events().await), 1);
    send(&test, devices[1], packages(&["zlib 1.2 > 1.3", "bash 5.2"])).await;
    send(&test, devices[2], packages(&["zlib 1.3", "bash 5.2"])).await;
    let expected: Vec<_> = ["bash 5.2", "zlib 1.2", "zlib 1.3"].map(str::to_owned).into();
    assert_eq!(stored(&test).await, (expected, 2));
    let (one, two) = (summary(&test, devices[0]).await, summary(&test, devices[1]).await);
    assert_eq!(one.package_set, two.package_set);
    assert_eq!((one.updates, two.updates), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_set_of_thousands_is_taken_in_in_bounded_commits() {
    let test = TestFleet::new().await;
    let device = test.device("big").await;
    let list: Vec<_> = (0..2_500).map(|n| format!("package{n:05} 1.{n}")).collect();
    let list: Vec<_> = list.iter().map(String::as_str).collect();
    let seq = test.seq().await;
    send(&test, device, packages(&list)).await;
    assert_eq!(
        test.seq().await,
        seq + 4,
        "three commits of members, one of the section"
    );
    let page = PageRequest::new(Some(500), None).unwrap();
    let admin = test.admin();
    let page = test
        .fleet
        .inventory()
        .packages(&admin, device, &PackageFilter::default(), &page)
        .await
        .unwrap();
    assert_eq!((page.items.len(), page.items[499].name.as_str()), (500, "package00499"));
}

#[tokio::test]
async fn two_packages_of_one_number_are_not_taken_for_each_other() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    send(&test, device, packages(&["bash 5.2"])).await;
    // As if another package had come first whose number is that of bash 5.2.
    let other = &{
        let page = PageRequest::new(Some(1), None).unwrap();
        let mut reader = test.fleet.store().reader().await.unwrap();
        reader
            .list(&Query::<StoredMember>::all(), &page)
            .await
            .unwrap()
            .items
            .remove(0)
    };
    let context = crate::access::Context::system("test");
    let evidence = crate::store::Evidence::Audit(crate::devices::device::DEVICE_UPDATE);
    test.fleet
        .store()
        .change(&context, evidence, |mut tx| async move {
            let mut forged = other.value.clone();
            forged.name = "forged".into();
            tx.update(other, &forged)?;
            tx.commit().await
        })
        .await
        .unwrap();
    let seq = test.seq().await;
    let again = report(&test, packages(&["bash 5.2", "zlib 1.2"]));
    fails(test.fleet.inventory().receive(device, &again).await, MEMBER_COLLISION);
    assert_eq!(test.seq().await, seq);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_devices_that_report_the_same_new_packages_at_once_agree() {
    let test = TestFleet::new().await;
    let devices = test.devices(12).await;
    let list: Vec<_> = (0..300).map(|n| format!("p{n} 1")).collect();
    let list: Vec<_> = list.iter().map(String::as_str).collect();
    let reporting: Vec<_> = devices
        .iter()
        .map(|device| {
            let (fleet, device, report) = (test.fleet.clone(), *device, report(&test, packages(&list)));
            tokio::spawn(async move { fleet.inventory().receive(device, &report).await })
        })
        .collect();
    for task in reporting {
        assert_eq!(task.await.unwrap().unwrap(), Received::Changed);
    }
    let (members, sets) = stored(&test).await;
    assert_eq!((members.len(), sets), (300, 1));
}

#[tokio::test]
async fn a_deleted_device_leaves_no_sections_and_reports_no_more() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    send(&test, device, os("12")).await;
    send(&test, device, packages(&["bash 5.2"])).await;
    test.fleet.devices().delete(&test.admin(), device, None).await.unwrap();
    let mut reader = test.fleet.store().reader().await.unwrap();
    let left = InventorySection::DEVICE.eq(device.uuid());
    assert_eq!(reader.count::<InventorySection>(&left).await.unwrap(), 0);
    let late = report(&test, packages(&["new 1"]));
    fails(test.fleet.inventory().receive(device, &late).await, DEVICE_GONE);
    assert_eq!(stored(&test).await.0, ["bash 5.2"]);
}
