mod list;

use std::collections::BTreeMap;

use super::*;
use crate::{
    access::{Context, DENIED, Role},
    devices::{
        DeviceEvent, DeviceId, DeviceSummaryView,
        enrolment::NewEnrolmentToken,
        testing::{TestFleet, fails},
    },
    kernel::{EntityId as _, PAGE_TOKEN_INVALID, PageRequest},
    store::{Direction, Evidence},
};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn names(test: &TestFleet, filter: DeviceFilter, order: DeviceOrder) -> Vec<String> {
    let devices = test.fleet.devices();
    let admin = test.admin();
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        // Small pages, so that every list is also a test of its pages.
        let page = PageRequest::new(Some(2), token).unwrap();
        let found = devices.list(&admin, &filter, order, &page).await.unwrap();
        names.extend(found.items.into_iter().map(|device: DeviceSummaryView| device.name));
        token = found.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(devices.count(&admin, &filter).await.unwrap(), names.len() as u64);
    names
}

async fn check(test: &TestFleet, filter: DeviceFilter, expected: &[&str]) {
    assert_eq!(
        names(test, filter.clone(), DeviceOrder::default()).await,
        expected,
        "{filter:?}"
    );
}

/// Sets what inventory and presence would.
async fn show(test: &TestFleet, id: DeviceId, edit: impl Fn(&mut DeviceSummary) + Sync) {
    let edit = &edit;
    let context = crate::access::Context::system("test");
    let evidence = crate::store::Evidence::Audit(DEVICE_UPDATE);
    test.fleet
        .store()
        .change(&context, evidence, |mut tx| async move {
            let before = tx.get::<DeviceSummary>(id).await?.unwrap();
            let mut after = before.value.clone();
            edit(&mut after);
            tx.update(&before, &after)?;
            tx.commit().await
        })
        .await
        .unwrap();
}

async fn three() -> (TestFleet, [DeviceId; 3]) {
    let test = TestFleet::new().await;
    let mut ids = Vec::new();
    for name in ["web-01.example.org", "Alpha", "db"] {
        ids.push(test.device(name).await);
        test.advance(1);
    }
    (test, ids.try_into().unwrap())
}

#[tokio::test]
async fn a_change_is_seen_in_device_and_summary_and_says_what_it_altered() {
    let (test, [web, ..]) = three().await;
    let (devices, admin) = (test.fleet.devices(), test.admin());
    let before = devices.show(&admin, web).await.unwrap();
    let change = DeviceChange {
        name: Some("front".into()),
        disabled: Some(true),
        ..DeviceChange::default()
    };
    let after = devices.set(&admin, web, Some(before.revision), &change).await.unwrap();
    assert_eq!((after.summary.name.as_str(), after.summary.disabled), ("front", true));
    assert_eq!(after.revision, before.revision + 1);
    check(
        &test,
        DeviceFilter {
            search: Some("front".into()),
            ..DeviceFilter::default()
        },
        &["front"],
    )
    .await;
    let entry = test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.changed),
        ("device.update", vec!["name".into(), "disabled".into()])
    );
    assert_eq!(entry.subject.unwrap().id, web.uuid());

    fails(
        devices.set(&admin, web, Some(before.revision), &change).await,
        crate::kernel::PRECONDITION_FAILED,
    );
    let seq = test.seq().await;
    devices.set(&admin, web, Some(after.revision), &change).await.unwrap();
    assert_eq!(test.seq().await, seq, "what changes nothing is not committed");
    let bad = DeviceChange {
        name: Some(" ".into()),
        ..DeviceChange::default()
    };
    fails(devices.set(&admin, web, None, &bad).await, DEVICE_NAME_INVALID);
}

#[tokio::test]
async fn labels_of_one_device_are_merged_with_those_that_it_has() {
    let (test, [web, ..]) = three().await;
    let (devices, admin) = (test.fleet.devices(), test.admin());
    let change = |labels: &[(&str, Option<&str>)]| DeviceChange {
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect(),
        ..DeviceChange::default()
    };
    for (step, expected) in [
        (
            change(&[("a", Some("1")), ("b", Some("2"))]),
            labels(&[("a", "1"), ("b", "2")]),
        ),
        (
            change(&[("b", Some("3")), ("c", None)]),
            labels(&[("a", "1"), ("b", "3")]),
        ),
        (change(&[("a", None)]), labels(&[("b", "3")])),
    ] {
        let after = devices.set(&admin, web, None, &step).await.unwrap();
        assert_eq!(after.summary.labels, expected);
    }
    for bad in [change(&[("A", None)]), change(&[("a", Some("x\ny"))])] {
        fails(devices.set(&admin, web, None, &bad).await, DEVICE_LABEL_INVALID);
    }
    let many: Vec<_> = (0..64).map(|n| format!("l{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), Some(""))).collect();
    fails(
        devices.set(&admin, web, None, &change(&many)).await,
        DEVICE_LABEL_INVALID,
    );
}

#[tokio::test]
async fn labels_are_set_and_removed_in_one_change() {
    let (test, [web, alpha, _]) = three().await;
    let (devices, admin) = (test.fleet.devices(), test.admin());
    devices
        .set_labels(&admin, &[web], &labels(&[("old", "")]))
        .await
        .unwrap();
    let change = LabelChange {
        devices: vec![web, alpha],
        set: labels(&[("site", "Bonn")]),
        remove: ["old".to_owned()].into(),
    };
    let outcome = devices.change_labels(&admin, &change).await.unwrap();
    assert_eq!((outcome.changed, outcome.unchanged), (2, 0));
    for device in [web, alpha] {
        let shown = devices.show(&admin, device).await.unwrap();
        assert_eq!(shown.summary.labels, labels(&[("site", "Bonn")]));
    }
    let both = LabelChange {
        remove: ["site".to_owned()].into(),
        ..change
    };
    fails(devices.change_labels(&admin, &both).await, crate::kernel::INVALID);
}

#[tokio::test]
async fn the_timeline_of_a_device_comes_newest_first_and_is_its_own() {
    let (test, [web, alpha, _]) = three().await;
    let (devices, admin) = (test.fleet.devices(), test.admin());
    let context = Context::system("test");
    for (device, event) in [
        (Some(web), "one"),
        (Some(alpha), "other"),
        (None, "fleet"),
        (Some(web), "two"),
    ] {
        let event = &DeviceEvent::new(device, event, test.fleet.clock().now());
        let change = test
            .fleet
            .store()
            .change(&context, Evidence::Observed, |mut tx| async move {
                event.append_to(&mut tx)?;
                tx.commit().await
            });
        change.await.unwrap();
        test.advance(1);
    }
    let page = devices.events(&admin, web, &PageRequest::default()).await.unwrap();
    let names: Vec<_> = page.items.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["two", "one"]);
    fails(
        devices.events(&test.nobody(), web, &PageRequest::default()).await,
        DENIED,
    );
    devices.delete(&admin, web, None).await.unwrap();
    fails(
        devices.events(&admin, web, &PageRequest::default()).await,
        DEVICE_NOT_FOUND,
    );
}

#[tokio::test]
async fn labels_of_many_devices_change_in_bounded_commits() {
    let test = TestFleet::new().await;
    let ids = test.devices(250).await;
    test.advance(1);
    let (devices, admin) = (test.fleet.devices(), test.admin());
    let seq = test.seq().await;
    let site = labels(&[("site", "Bonn")]);
    let outcome = devices.set_labels(&admin, &ids, &site).await.unwrap();
    assert_eq!((outcome.changed, outcome.unchanged, outcome.failed.len()), (250, 0, 0));
    assert_eq!(test.seq().await, seq + 3, "three commits of at most a hundred devices");
    let entries = test.audit().await;
    let mut sizes: Vec<_> = entries[..3]
        .iter()
        .map(|entry| entry.details["devices"].as_array().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    let outcome = devices.set_labels(&admin, &ids, &site).await.unwrap();
    assert_eq!((outcome.changed, outcome.unchanged), (0, 250));
    assert_eq!(test.seq().await, seq + 3);

    let unknown = DeviceId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    let outcome = devices
        .remove_labels(&admin, &[ids[0], unknown, ids[0]], &["site".into()])
        .await
        .unwrap();
    assert_eq!((outcome.changed, outcome.unchanged), (1, 0));
    assert_eq!(outcome.failed[0].device, unknown);
    assert_eq!(outcome.failed[0].code, "device.not_found");
    fails(devices.set_labels(&admin, &[unknown], &site).await, DEVICE_NOT_FOUND);
    fails(devices.set_labels(&admin, &[ids[0]; 501], &site).await, DEVICE_TOO_MANY);
}

#[tokio::test]
async fn a_device_with_64_labels_takes_no_more_and_keeps_what_it_has() {
    let test = TestFleet::new().await;
    let id = test.device("full").await;
    let (devices, admin) = (test.fleet.devices(), test.admin());
    let full: BTreeMap<_, _> = (0..64).map(|n| (format!("l{n}"), String::new())).collect();
    devices.set_labels(&admin, &[id], &full).await.unwrap();
    fails(
        devices.set_labels(&admin, &[id], &labels(&[("more", "")])).await,
        DEVICE_LABEL_INVALID,
    );
    assert_eq!(devices.show(&admin, id).await.unwrap().summary.labels, full);
}

#[tokio::test]
async fn concurrent_changes_of_one_device_lose_nothing() {
    let test = TestFleet::new().await;
    let id = test.device("busy").await;
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (fleet, admin) = (test.fleet.clone(), test.admin());
            tokio::spawn(async move {
                let one = labels(&[(&format!("l{n}"), "x")]);
                fleet.devices().set_labels(&admin, &[id], &one).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let device = test.fleet.devices().show(&test.admin(), id).await.unwrap();
    assert_eq!(device.summary.labels.len(), 20);
}

#[tokio::test]
async fn a_deleted_device_is_gone_for_its_agent_and_unknown_to_everybody_else() {
    let (test, [web, alpha, _]) = three().await;
    let (devices, admin) = (test.fleet.devices(), test.admin());
    assert!(devices.of_agent(web).await.is_ok());
    fails(
        devices.delete(&admin, web, Some(99)).await,
        crate::kernel::PRECONDITION_FAILED,
    );
    devices.delete(&admin, web, None).await.unwrap();
    assert_eq!(test.actions().await.last().unwrap(), "device.delete");
    check(&test, DeviceFilter::default(), &["Alpha", "db"]).await;
    fails(devices.show(&admin, web).await, DEVICE_NOT_FOUND);
    fails(
        devices.set(&admin, web, None, &DeviceChange::default()).await,
        DEVICE_NOT_FOUND,
    );
    fails(devices.set_labels(&admin, &[web], &labels(&[])).await, DEVICE_NOT_FOUND);
    fails(devices.delete(&admin, web, None).await, DEVICE_NOT_FOUND);
    fails(devices.of_agent(web).await, DEVICE_GONE);
    let unknown = DeviceId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    fails(devices.of_agent(unknown).await, DEVICE_NOT_FOUND);

    let disable = DeviceChange {
        disabled: Some(true),
        ..DeviceChange::default()
    };
    devices.set(&admin, alpha, None, &disable).await.unwrap();
    fails(devices.of_agent(alpha).await, DEVICE_DISABLED);
}

#[tokio::test]
async fn each_use_case_asks_for_its_permission() {
    let (test, [web, ..]) = three().await;
    let devices = test.fleet.devices();
    let (viewer, operator, nobody) = (test.role(Role::Viewer), test.role(Role::Operator), test.nobody());
    let (filter, order, page) = (DeviceFilter::default(), DeviceOrder::default(), PageRequest::default());
    fails(devices.list(&nobody, &filter, order, &page).await, DENIED);
    fails(devices.count(&nobody, &filter).await, DENIED);
    fails(devices.counts(&nobody).await, DENIED);
    fails(devices.show(&nobody, web).await, DENIED);
    assert!(devices.show(&viewer, web).await.is_ok());
    fails(devices.set(&viewer, web, None, &DeviceChange::default()).await, DENIED);
    fails(devices.set_labels(&viewer, &[web], &labels(&[])).await, DENIED);
    fails(devices.remove_labels(&viewer, &[web], &[]).await, DENIED);
    assert!(
        devices
            .set(&operator, web, None, &DeviceChange::default())
            .await
            .is_ok()
    );
    fails(devices.delete(&operator, web, None).await, DENIED);
    let tokens = test.fleet.enrolment();
    fails(
        tokens.create_token(&viewer, &NewEnrolmentToken::default()).await,
        DENIED,
    );
}

#[tokio::test]
async fn summary_bodies_and_columns_are_what_lists_were_built_for() {
    let (test, [web, ..]) = three().await;
    let summary = test.fleet.store().get::<DeviceSummary>(web).await.unwrap().unwrap();
    assert_eq!(summary.short_id(), web.to_string()[28..]);
    let columns = <DeviceSummary as crate::store::Entity>::columns();
    assert!(columns.len() <= crate::store::limits::COLUMNS);
}
