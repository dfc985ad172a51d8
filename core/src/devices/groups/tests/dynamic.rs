//! Groups whose members follow from a query.

use std::{collections::BTreeMap, future::Future, pin::pin};

use futures::future::{Either, join_all, select};
use serde_json::json;

use super::{
    super::query::{DeviceQuery, Facts},
    *,
};
use crate::{
    access::Context,
    devices::{
        Device, DeviceId, DeviceSummary, GROUP_EVALUATION,
        enrolment::NewEnrolmentToken,
        inventory::{Os, Received, SectionBody, SectionReport},
    },
    kernel::Result,
    settings::INVALID,
    store::{Evidence, Tx},
};

pub(super) async fn dynamic(test: &TestFleet, name: &str, query: &str) -> DeviceGroupView {
    let new = NewDeviceGroup {
        query: Some(query.to_owned()),
        ..new(name)
    };
    test.fleet.device_groups().create(&test.admin(), &new).await.unwrap()
}

pub(super) async fn set_query(test: &TestFleet, id: DeviceGroupId, query: &str) -> Result<DeviceGroupView> {
    let change = DeviceGroupChange {
        query: Some(Some(query.to_owned())),
        ..DeviceGroupChange::default()
    };
    test.fleet.device_groups().set(&test.admin(), id, None, &change).await
}

pub(super) async fn label(test: &TestFleet, device: DeviceId, name: &str, value: &str) {
    let labels = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let devices = test.fleet.devices();
    devices.set_labels(&test.admin(), &[device], &labels).await.unwrap();
}

/// How many devices lists show in a group.
pub(super) async fn members(test: &TestFleet, group: DeviceGroupId) -> u64 {
    let filter = DeviceFilter {
        group: Some(group),
        ..DeviceFilter::default()
    };
    test.fleet.devices().count(&test.admin(), &filter).await.unwrap()
}

pub(super) async fn summary(test: &TestFleet, device: DeviceId) -> DeviceSummary {
    let found = test.fleet.store().get::<DeviceSummary>(device).await.unwrap();
    found.unwrap().value
}

/// Changes the group in a single commit, in which it goes from so many members to so many.
async fn check_moves(
    test: &TestFleet,
    group: DeviceGroupId,
    (before, after): (u64, u64),
    change: impl Future<Output = ()>,
) {
    assert_eq!(members(test, group).await, before);
    let seq = test.seq().await;
    change.await;
    assert_eq!(
        (members(test, group).await, test.seq().await),
        (after, seq + 1),
        "in the same commit"
    );
}

#[tokio::test]
async fn a_label_moves_its_device_in_and_out_in_the_same_commit() {
    let test = TestFleet::new().await;
    let device = test.devices(2).await[0];
    let group = dynamic(&test, "prod", "labels.env equals prod").await.id;
    check_moves(&test, group, (0, 1), label(&test, device, "env", "Prod")).await;
    check_moves(&test, group, (1, 0), label(&test, device, "env", "test")).await;
    let shown = summary(&test, device).await;
    assert!(shown.groups.is_empty() && shown.dynamic_groups.is_empty());
    let mut actions = test.actions().await;
    actions.sort_unstable();
    let decisions = ["device.label.set", "device.label.set", "device_group.create"];
    assert_eq!(actions[1..], decisions, "what the system computes is no decision");
}

#[tokio::test]
async fn an_inventory_that_arrives_moves_its_device() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    let group = dynamic(&test, "Debian", "os_family equals debian and os_major greaterThan 20")
        .await
        .id;
    let os = |version: &str| {
        SectionBody::Os(Box::new(Os {
            id: "Ubuntu".into(),
            family: vec!["ubuntu".into(), "debian".into()],
            version: Some(version.into()),
            ..Os::default()
        }))
    };
    for (version, moves) in [("24.04", (0, 1)), ("18.04", (1, 0))] {
        let report = SectionReport::new(os(version), test.clock_now()).unwrap();
        let receive = async {
            assert_eq!(
                test.fleet.inventory().receive(device, &report).await.unwrap(),
                Received::Changed
            )
        };
        check_moves(&test, group, moves, receive).await;
    }
}

#[tokio::test]
async fn a_device_is_enrolled_into_its_dynamic_groups() {
    let test = TestFleet::new().await;
    let group = dynamic(&test, "berlin", "labels.site equals berlin").await.id;
    let token = NewEnrolmentToken {
        labels: [("site".to_owned(), "berlin".to_owned())].into(),
        ..NewEnrolmentToken::default()
    };
    let secret = test.token(token).await;
    let enrol = async { drop(test.enrol_as(&secret, &test.key(), "web", None).await.unwrap()) };
    check_moves(&test, group, (0, 1), enrol).await;
    fails(
        test.fleet
            .enrolment()
            .create_token(
                &test.admin(),
                &NewEnrolmentToken {
                    groups: [group].into(),
                    ..NewEnrolmentToken::default()
                },
            )
            .await,
        GROUP_DYNAMIC,
    );
}

#[tokio::test]
async fn a_group_put_into_by_hand_counts_in_the_same_commit_and_its_name_by_the_evaluation() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let device = test.devices(1).await[0];
    let web = groups.create(&admin, &new("Web")).await.unwrap().id;
    let group = dynamic(
        &test,
        "front",
        "device.group in ('web', 'edge') and device.group notEquals front2",
    )
    .await
    .id;
    let put = async { drop(groups.add_members(&admin, web, &[device]).await.unwrap()) };
    check_moves(&test, group, (0, 1), put).await;
    assert_eq!(
        summary(&test, device).await.hand_made_groups().collect::<Vec<_>>(),
        [web]
    );
    for (name, expected) in [("Elsewhere", 0), ("EDGE", 1)] {
        let change = DeviceGroupChange {
            name: Some(name.into()),
            ..DeviceGroupChange::default()
        };
        groups.set(&admin, web, None, &change).await.unwrap();
        assert!(groups.evaluate().await.unwrap().complete);
        assert_eq!(members(&test, group).await, expected, "{name}");
    }
    let take = async { drop(groups.remove_members(&admin, web, &[device]).await.unwrap()) };
    check_moves(&test, group, (1, 0), take).await;
}

#[tokio::test]
async fn a_query_that_is_made_or_changed_is_evaluated_for_all_devices() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    test.devices(450).await;
    let group = dynamic(&test, "hundreds", "name matches 'device 0[0-2]..'").await;
    assert_eq!((group.members, group.evaluated_at), (0, None));
    test.advance(5);
    let done = groups.evaluate().await.unwrap();
    assert_eq!((done.devices, done.changed, done.complete), (450, 300, true));
    let shown = groups.show(&admin, group.id).await.unwrap();
    assert_eq!((shown.members, shown.evaluated_at), (300, Some(test.clock_now())));
    let changed = set_query(&test, group.id, "name endsWith 9").await.unwrap();
    assert_eq!(
        (changed.members, changed.evaluated_at),
        (300, None),
        "of the query before"
    );
    let done = groups.evaluate().await.unwrap();
    assert_eq!(done.changed, 15 + 270, "those from 300 on come in, nine of ten leave");
    assert_eq!(groups.show(&admin, group.id).await.unwrap().members, 45);
    assert_eq!(
        groups.evaluate().await.unwrap().devices,
        0,
        "nothing is left to be done"
    );
    let entry = test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.changed.as_slice()),
        ("device_group.update", &["query".to_owned()][..])
    );
    assert_eq!(entry.details["query"], "name endsWith 9");
    let event = test.events().await.pop().unwrap();
    assert_eq!((event.event.as_str(), event.device), ("devices.groups_evaluated", None));
}

#[tokio::test]
async fn the_bell_starts_the_evaluation_at_once() {
    let test = TestFleet::new().await;
    test.devices(3).await;
    let group = dynamic(&test, "all", "").await.id;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let evaluated = async {
        while groups.show(&admin, group).await.unwrap().evaluated_at.is_none() {
            tokio::task::yield_now().await;
        }
    };
    if let Either::Left(_) = select(pin!(groups.drive(&test.fleet)), pin!(evaluated)).await {
        panic!("it never ends");
    }
    assert_eq!(members(&test, group).await, 3);
}

#[tokio::test]
async fn an_evaluation_goes_on_after_a_restart_where_it_was() {
    let test = TestFleet::new().await;
    test.devices(450).await;
    let group = dynamic(&test, "all", "").await.id;
    let mut done = Evaluated::default();
    assert!(test.fleet.device_groups().evaluate_page(&mut done, 200).await.unwrap());
    assert_eq!((done.devices, members(&test, group).await), (200, 200));
    let later = test.restarted().await;
    // A query that is changed meanwhile has a pass of its own.
    let other = dynamic(&later, "none", "not name exists").await;
    let done = later.fleet.device_groups().evaluate().await.unwrap();
    assert_eq!((done.devices, done.changed), (250 + 450, 250));
    let shown = later
        .fleet
        .device_groups()
        .show(&later.admin(), other.id)
        .await
        .unwrap();
    assert!(shown.evaluated_at.is_some());
}

#[tokio::test]
async fn another_server_places_devices_by_the_newest_query() {
    let test = TestFleet::new().await;
    let device = test.devices(1).await[0];
    let other = test.restarted().await;
    label(&other, device, "a", "1").await;
    let group = dynamic(&test, "prod", "labels.env equals prod").await.id;
    check_moves(&other, group, (0, 1), label(&other, device, "env", "prod")).await;
    set_query(&test, group, "labels.env equals test").await.unwrap();
    check_moves(&other, group, (1, 0), label(&other, device, "a", "2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_that_race_with_each_other_and_with_labels_end_in_what_the_query_says() {
    let test = TestFleet::new().await;
    let devices = test.devices(12).await;
    let group = dynamic(&test, "raced", "labels.n equals 0").await.id;
    for round in 0..10 {
        let editing = (0..2).map(|n| {
            let (fleet, admin) = (test.fleet.clone(), test.admin());
            let change = DeviceGroupChange {
                query: Some(Some(format!("labels.n equals {}", round + n))),
                ..DeviceGroupChange::default()
            };
            tokio::spawn(async move {
                fleet.device_groups().set(&admin, group, None, &change).await.unwrap();
                fleet.device_groups().evaluate().await.unwrap();
            })
        });
        let labelling = devices.iter().enumerate().map(|(n, device)| {
            let (fleet, admin, device) = (test.fleet.clone(), test.admin(), *device);
            let labels = BTreeMap::from([("n".to_owned(), (round + n % 3).to_string())]);
            tokio::spawn(async move { drop(fleet.devices().set_labels(&admin, &[device], &labels).await.unwrap()) })
        });
        let tasks: Vec<_> = editing.chain(labelling.collect::<Vec<_>>()).collect();
        for task in join_all(tasks).await {
            task.unwrap();
        }
        test.fleet.device_groups().evaluate().await.unwrap();
        let stored = test.fleet.store().get::<DeviceGroup>(group).await.unwrap().unwrap();
        let query: DeviceQuery = stored.query.as_deref().unwrap().parse().unwrap();
        for device in &devices {
            let shown = summary(&test, *device).await;
            let expected = query.matches(&Facts::of(&shown, []));
            assert_eq!(shown.dynamic_groups.contains(&group), expected, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_deleted_dynamic_group_disappears_from_its_devices() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let devices = test.devices(450).await;
    let web = groups.create(&admin, &new("web")).await.unwrap().id;
    groups.add_members(&admin, web, &devices[..1]).await.unwrap();
    let (gone, stays) = (
        dynamic(&test, "gone", "").await.id,
        dynamic(&test, "stays", "").await.id,
    );
    groups.evaluate().await.unwrap();
    groups.delete(&admin, gone, None).await.unwrap();
    assert_eq!((members(&test, gone).await, members(&test, stays).await), (0, 450));
    assert_eq!(summary(&test, devices[0]).await.groups, [web, stays].into());
    fails(groups.delete(&admin, gone, None).await, GROUP_NOT_FOUND);
    assert_eq!(members(&test, stays).await, 450);
}

#[tokio::test]
async fn nobody_puts_devices_into_a_dynamic_group() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let device = test.devices(1).await;
    let dynamic = dynamic(&test, "Web", "os exists").await.id;
    fails(groups.add_members(&admin, dynamic, &device).await, GROUP_DYNAMIC);
    fails(groups.remove_members(&admin, dynamic, &device).await, GROUP_DYNAMIC);
}

#[tokio::test]
async fn a_query_that_cannot_be_is_refused_with_its_member() {
    let test = TestFleet::new().await;
    let groups = test.fleet.device_groups();
    let id = dynamic(&test, "Web", "device.group equals db").await.id;
    for (query, code) in [
        ("os is debian", GROUP_QUERY_INVALID),
        (&"x".repeat(5_000), GROUP_QUERY_TOO_LARGE),
        ("not device.group in (db, 'wEB')", GROUP_QUERY_NAMES_ITSELF),
    ] {
        let error = set_query(&test, id, query).await.unwrap_err();
        assert_eq!((error.code(), error.fields()[0].pointer.as_str()), (code, "/query"));
    }
    let change = DeviceGroupChange {
        name: Some("DB".into()),
        ..DeviceGroupChange::default()
    };
    fails(
        groups.set(&test.admin(), id, None, &change).await,
        GROUP_QUERY_NAMES_ITSELF,
    );
}

#[tokio::test]
async fn there_are_at_most_a_thousand_dynamic_groups() {
    let test = TestFleet::new().await;
    let edition = &GroupEdition {
        id: GroupEditionId::only(),
        number: 1,
        token: test.fleet.store().new_uuid(),
        dynamic: MAX_DYNAMIC_GROUPS,
    };
    write(&test, |mut tx| async move {
        tx.create(edition)?;
        tx.commit().await.map(drop)
    })
    .await;
    let new = NewDeviceGroup {
        query: Some(String::new()),
        ..new("one more")
    };
    let made = test.fleet.device_groups().create(&test.admin(), &new).await;
    fails(made, GROUP_TOO_MANY_DYNAMIC);
}

/// Writes past the services.
async fn write<F, Fut>(test: &TestFleet, change: F)
where
    F: FnMut(Tx) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let context = Context::system("test");
    let store = test.fleet.store();
    store
        .change(&context, Evidence::Audit(GROUP_UPDATE), change)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_query_that_cannot_be_read_leaves_its_members_and_the_other_groups_alone() {
    let test = TestFleet::new().await;
    let device = test.devices(1).await[0];
    let (broken, fine) = (
        dynamic(&test, "broken", "").await.id,
        dynamic(&test, "fine", "labels.a exists").await.id,
    );
    test.fleet.device_groups().evaluate().await.unwrap();
    let token = test.fleet.store().new_uuid();
    write(&test, |mut tx| async move {
        let before = tx.get::<DeviceGroup>(broken).await?.unwrap();
        let query = Some("of a later version".into());
        tx.update(
            &before,
            &DeviceGroup {
                query,
                ..before.value.clone()
            },
        )?;
        let before = tx.get::<GroupEdition>(GroupEditionId::only()).await?.unwrap();
        let number = before.number + 1;
        tx.update(
            &before,
            &GroupEdition {
                number,
                token,
                ..before.value.clone()
            },
        )?;
        tx.commit().await.map(drop)
    })
    .await;
    label(&test, device, "a", "1").await;
    test.fleet.device_groups().evaluate().await.unwrap();
    assert_eq!((members(&test, broken).await, members(&test, fine).await), (1, 1));
    let shown = test.fleet.device_groups().show(&test.admin(), broken).await.unwrap();
    assert!(shown.problem.unwrap().contains("expected an operator"));
}

#[tokio::test]
async fn a_pass_now_and_then_heals_what_should_not_be() {
    let test = TestFleet::new().await;
    let (groups, settings) = (test.fleet.device_groups(), test.fleet.settings());
    let device = test.devices(1).await[0];
    let group = dynamic(&test, "all", "").await.id;
    groups.evaluate().await.unwrap();
    write(&test, |mut tx| async move {
        let before = tx.get::<DeviceSummary>(device).await?.unwrap();
        let known = tx.get::<Device>(device).await?.unwrap();
        tx.update(&before, &DeviceSummary::new(&known))?;
        tx.commit().await.map(drop)
    })
    .await;
    let set = |seconds: u64| {
        let (admin, value) = (test.admin(), json!(seconds));
        async move { settings.set(&admin, GROUP_EVALUATION.name(), &value, None).await }
    };
    fails(set(60).await, INVALID);
    for (seconds, advance, changed) in [(3_600, 3_599, 0), (0, 100_000, 0), (28_800, 0, 1)] {
        set(seconds).await.unwrap();
        test.advance(advance);
        assert_eq!(groups.evaluate().await.unwrap().changed, changed, "every {seconds} s");
    }
    assert_eq!(members(&test, group).await, 1);
}

#[tokio::test]
async fn a_query_is_tried_on_devices_that_the_caller_may_see() {
    let test = &TestFleet::new().await;
    let groups = test.fleet.device_groups();
    test.devices(30).await;
    let web = groups.create(&test.admin(), &new("web")).await.unwrap().id;
    let found = test.devices(1).await;
    groups.add_members(&test.admin(), web, &found).await.unwrap();
    let check = |query: &str, limit| {
        let check = QueryCheck {
            query: query.to_owned(),
            limit,
        };
        let viewer = test.role(Role::Viewer);
        async move { test.fleet.device_groups().check_query(&viewer, &check).await }
    };
    let seq = test.seq().await;
    let all = check("name startsWith device", Some(3)).await.unwrap();
    assert_eq!(
        (all.matching, all.looked_at, all.complete, all.examples.len()),
        (31, 31, true, 3)
    );
    let in_web = check("DEVICE.group equals 'WEB'", None).await.unwrap();
    assert_eq!((in_web.matching, in_web.examples[0].id), (1, found[0]));
    assert_eq!(in_web.canonical.as_deref(), Some("device.group equals \"WEB\""));
    let wrong = check("os", None).await.unwrap().problem.unwrap();
    assert_eq!((wrong.code.as_str(), wrong.position), ("device_group.query_invalid", 2));
    assert_eq!(check("os", Some(101)).await.unwrap_err().fields()[0].pointer, "/limit");
    fails(groups.check_query(&test.nobody(), &QueryCheck::default()).await, DENIED);
    assert_eq!(test.seq().await, seq, "nothing was stored");
}
