use super::*;
use crate::{
    access::DENIED,
    devices::device::DEVICE_NOT_FOUND,
    kernel::{INVALID, PAGE_TOKEN_INVALID},
};

/// Three devices: two with the same packages, one with others.
async fn three() -> (TestFleet, Vec<DeviceId>) {
    let test = TestFleet::new().await;
    let devices = test.devices(3).await;
    for device in &devices[..2] {
        send(
            &test,
            *device,
            packages(&["bash 5.2-1 > 5.2-2 !", "openssl 3.0.9-1", "linux 6.1~rc1", "linux 6.1"]),
        )
        .await;
    }
    send(
        &test,
        devices[2],
        packages(&["bash 5.2-2", "openssl 3.0.11-1 > 3.0.12-1"]),
    )
    .await;
    (test, devices)
}

async fn device_packages(test: &TestFleet, device: DeviceId, filter: PackageFilter, limit: usize) -> Vec<String> {
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(Some(limit), token).unwrap();
        let admin = test.admin();
        let found = test
            .fleet
            .inventory()
            .packages(&admin, device, &filter, &page)
            .await
            .unwrap();
        assert!(found.items.len() <= limit);
        names.extend(
            found
                .items
                .iter()
                .map(|package| format!("{} {}", package.name, package.version)),
        );
        token = found.next;
        if token.is_none() {
            return names;
        }
    }
}

#[tokio::test]
async fn sections_are_shown_with_and_without_their_bodies() {
    let (test, devices) = three().await;
    let (inventory, admin) = (test.fleet.inventory(), test.admin());
    send(&test, devices[0], os("12")).await;
    let all = inventory.sections(&admin, devices[0]).await.unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|section| (section.section, section.body.is_some()))
        .collect();
    assert_eq!(shown, [(Section::Os, false), (Section::Packages, false)]);
    let section = inventory.section(&admin, devices[0], Section::Os).await.unwrap();
    assert_eq!(
        (section.revision, section.body.unwrap()["version"].as_str()),
        (1, Some("12"))
    );
    let section = inventory.section(&admin, devices[0], Section::Packages).await.unwrap();
    let body = section.body.unwrap();
    assert_eq!((&body["installed"], &body["updates"]), (&4.into(), &1.into()));
    assert!(body.get("notes").is_none());
    fails(
        inventory.section(&admin, devices[0], Section::Users).await,
        SECTION_NOT_FOUND,
    );
    let unknown = DeviceId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    fails(inventory.section(&admin, unknown, Section::Os).await, DEVICE_NOT_FOUND);
}

#[tokio::test]
async fn packages_of_a_device_are_joined_with_what_is_true_on_it() {
    let test = TestFleet::new().await;
    let devices = test.devices(2).await;
    let mut first = package("libc6 2.36 > 2.37 !");
    first.source = Some("glibc".into());
    first.installed_size_bytes = Some(7);
    let mut second = package("libc6 2.36 =");
    second.source = Some("forged".into());
    for (device, package) in devices.iter().zip([first, second]) {
        let SectionBody::Packages(mut body) = packages(&[]) else {
            unreachable!()
        };
        body.items = vec![package];
        send(&test, *device, SectionBody::Packages(body)).await;
    }
    let (inventory, admin) = (test.fleet.inventory(), test.admin());
    let (filter, page) = (PackageFilter::default(), PageRequest::default());
    let one = inventory
        .packages(&admin, devices[0], &filter, &page)
        .await
        .unwrap()
        .items
        .remove(0);
    let two = inventory
        .packages(&admin, devices[1], &filter, &page)
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(
        (one.available_version.as_deref(), one.security, one.held),
        (Some("2.37"), true, false)
    );
    assert_eq!(
        (one.source.as_deref(), one.installed_size_bytes),
        (Some("glibc"), Some(7))
    );
    assert_eq!((two.available_version, two.held), (None, true));
    assert_eq!(
        two.source.as_deref(),
        Some("forged"),
        "nobody speaks for another device"
    );
}

#[tokio::test]
async fn packages_of_a_device_come_by_name_in_pages_and_filtered() {
    let (test, devices) = three().await;
    let all = ["bash 5.2-1", "linux 6.1", "linux 6.1~rc1", "openssl 3.0.9-1"];
    for limit in [1, 3, 500] {
        assert_eq!(
            device_packages(&test, devices[0], PackageFilter::default(), limit).await,
            all
        );
    }
    let filter = PackageFilter::default;
    for (filter, expected) in [
        (
            PackageFilter {
                search: Some("s".into()),
                ..filter()
            },
            &["bash 5.2-1", "openssl 3.0.9-1"][..],
        ),
        (
            PackageFilter {
                updates: Some(true),
                ..filter()
            },
            &["bash 5.2-1"],
        ),
        (
            PackageFilter {
                security: Some(true),
                ..filter()
            },
            &["bash 5.2-1"],
        ),
        (
            PackageFilter {
                updates: Some(false),
                search: Some("bash".into()),
                ..filter()
            },
            &[],
        ),
        (
            PackageFilter {
                held: Some(true),
                ..filter()
            },
            &[],
        ),
    ] {
        assert_eq!(
            device_packages(&test, devices[0], filter.clone(), 1).await,
            expected,
            "{filter:?}"
        );
    }
}

#[tokio::test]
async fn a_report_between_two_pages_does_not_disturb_them() {
    let (test, devices) = three().await;
    let (inventory, admin) = (test.fleet.inventory(), test.admin());
    let filter = PackageFilter::default();
    let first = PageRequest::new(Some(2), None).unwrap();
    let token = inventory
        .packages(&admin, devices[0], &filter, &first)
        .await
        .unwrap()
        .next;
    send(&test, devices[0], packages(&["aaa 1", "openssl 3.0.11-1", "zlib 1"])).await;
    let next = PageRequest::new(Some(2), token.clone()).unwrap();
    let page = inventory.packages(&admin, devices[0], &filter, &next).await.unwrap();
    let names: Vec<_> = page.items.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["openssl", "zlib"]);
    fails(
        inventory.packages(&admin, devices[1], &filter, &next).await,
        PAGE_TOKEN_INVALID,
    );
}

#[tokio::test]
async fn packages_of_the_fleet_count_devices_by_version_and_updates() {
    let (test, _) = three().await;
    let (inventory, admin) = (test.fleet.inventory(), test.admin());
    for limit in [1, 2, 500] {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let page = PageRequest::new(Some(limit), token).unwrap();
            let found = inventory.fleet_packages(&admin, None, &page).await.unwrap();
            all.extend(found.items);
            token = found.next;
            if token.is_none() {
                break;
            }
        }
        let shown: Vec<_> = all
            .iter()
            .map(|package| {
                let versions: Vec<_> = package
                    .versions
                    .iter()
                    .map(|version| format!("{}×{}", version.version, version.devices))
                    .collect();
                let FleetPackageView {
                    name,
                    devices,
                    updates,
                    security_updates,
                    ..
                } = package;
                format!("{name} {devices} {updates} {security_updates}: {}", versions.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "bash 3 2 2: 5.2-2×1 5.2-1×2",
                "linux 2 0 0: 6.1×2 6.1~rc1×2",
                "openssl 3 1 0: 3.0.11-1×1 3.0.9-1×2",
            ]
        );
    }
    let page = PageRequest::default();
    let some = inventory.fleet_packages(&admin, Some("open"), &page).await.unwrap();
    assert_eq!(some.items.len(), 1);
}

#[tokio::test]
async fn devices_are_found_by_a_package_below_a_version_in_the_managers_own_order() {
    let (test, devices) = three().await;
    let check = async |name: &str, manager: Option<&str>, version: Option<&str>, below: Option<&str>| {
        let question = PackageQuestion {
            name: name.into(),
            manager: manager.map(str::to_owned),
            version: version.map(str::to_owned),
            below: below.map(str::to_owned),
        };
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = PageRequest::new(Some(1), token).unwrap();
            let admin = test.admin();
            let page = test
                .fleet
                .inventory()
                .devices_with_package(&admin, &question, &page)
                .await
                .unwrap();
            found.extend(
                page.items
                    .iter()
                    .map(|device| devices.iter().position(|id| *id == device.id).unwrap()),
            );
            token = page.next;
            if token.is_none() {
                return found;
            }
        }
    };
    for manager in [None, Some("dpkg")] {
        assert_eq!(check("openssl", manager, None, None).await, [0, 1, 2]);
        assert_eq!(
            check("openssl", manager, None, Some("3.0.10")).await,
            [0, 1],
            "3.0.9 is below 3.0.10"
        );
        assert_eq!(check("openssl", manager, None, Some("3.0.11-1")).await, [0, 1]);
        assert_eq!(check("openssl", manager, None, Some("3.0.11-1+b1")).await, [0, 1, 2]);
        assert_eq!(check("openssl", manager, Some("3.0.11-1"), None).await, [2]);
        assert_eq!(
            check("linux", manager, None, Some("6.1")).await,
            [0, 1],
            "a release candidate is below"
        );
        assert!(check("linux", manager, None, Some("6.1~rc1")).await.is_empty());
        assert!(check("nothing", manager, None, None).await.is_empty());
    }
    assert!(check("openssl", Some("rpm"), None, None).await.is_empty());
}

#[tokio::test]
async fn hostile_questions_are_refused_and_each_asks_for_its_permission() {
    let (test, devices) = three().await;
    let (inventory, admin, nobody) = (test.fleet.inventory(), test.admin(), test.nobody());
    let page = PageRequest::default();
    for bad in ["", "a\0", &"x".repeat(513)] {
        fails(inventory.fleet_packages(&admin, Some(bad), &page).await, INVALID);
        let question = PackageQuestion {
            name: bad.to_owned(),
            ..PackageQuestion::default()
        };
        fails(inventory.devices_with_package(&admin, &question, &page).await, INVALID);
    }
    let question = PackageQuestion {
        name: "bash".into(),
        ..PackageQuestion::default()
    };
    fails(inventory.devices_with_package(&nobody, &question, &page).await, DENIED);
    fails(inventory.fleet_packages(&nobody, None, &page).await, DENIED);
    fails(
        inventory
            .packages(&nobody, devices[0], &PackageFilter::default(), &page)
            .await,
        DENIED,
    );
    fails(inventory.section(&nobody, devices[0], Section::Packages).await, DENIED);
    fails(inventory.sections(&nobody, devices[0]).await, DENIED);
    let long = PackageFilter {
        search: Some("x".repeat(257)),
        ..PackageFilter::default()
    };
    fails(inventory.packages(&admin, devices[0], &long, &page).await, INVALID);
}
