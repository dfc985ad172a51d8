//! Groups that change their kind, and groups that are evaluated on demand.

use serde_json::json;

use super::{
    dynamic::{dynamic, label, members, set_query, summary},
    *,
};
use crate::{
    devices::{Device, DeviceId, enrolment::NewEnrolmentToken, permissions::not_found},
    kernel::Result,
};

async fn freeze(test: &TestFleet, id: DeviceGroupId) -> Result<DeviceGroupView> {
    let change = DeviceGroupChange {
        query: Some(None),
        ..DeviceGroupChange::default()
    };
    test.fleet.device_groups().set(&test.admin(), id, None, &change).await
}

/// Goes over all devices; how many were to be settled or moved.
async fn evaluate(test: &TestFleet) -> u64 {
    let done = test.fleet.device_groups().evaluate().await.unwrap();
    assert!(done.complete);
    done.changed
}

async fn device(test: &TestFleet, id: DeviceId) -> Device {
    let found = test.fleet.store().get::<Device>(id).await.unwrap();
    found.ok_or_else(|| not_found(id)).unwrap().value
}

#[tokio::test]
async fn a_frozen_group_keeps_who_was_in_it_whatever_they_become() {
    let test = TestFleet::new().await;
    let groups = test.fleet.device_groups();
    let devices = test.devices(450).await;
    let group = dynamic(&test, "hundreds", "name matches 'device 0[0-2]..'").await.id;
    evaluate(&test).await;
    let frozen = freeze(&test, group).await.unwrap();
    assert_eq!(
        (frozen.query, frozen.members, frozen.settling, frozen.evaluated_at),
        (None, 300, true, None)
    );
    // Its query would take the one out and the other in.
    for (at, name) in [(0, "elsewhere"), (449, "device 0299")] {
        let change = crate::devices::device::DeviceChange {
            name: Some(name.into()),
            ..Default::default()
        };
        let admin = test.admin();
        test.fleet
            .devices()
            .set(&admin, devices[at], None, &change)
            .await
            .unwrap();
    }
    assert_eq!(members(&test, group).await, 300, "while its members are taken over");
    assert_eq!(evaluate(&test).await, 300);
    let shown = groups.show(&test.admin(), group).await.unwrap();
    assert_eq!(
        (shown.members, shown.settling, shown.revision),
        (300, false, frozen.revision)
    );
    let first = summary(&test, devices[0]).await;
    assert_eq!((first.groups, first.dynamic_groups), ([group].into(), [].into()));
    assert_eq!(device(&test, devices[0]).await.groups, [group].into());
    assert!(device(&test, devices[449]).await.groups.is_empty());
    assert_eq!(evaluate(&test).await, 0, "nothing is left to be done");
}

#[tokio::test]
async fn a_group_that_gets_a_query_loses_whom_it_does_not_describe() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let devices = test.devices(450).await;
    let group = groups.create(&admin, &new("picked")).await.unwrap().id;
    for some in devices[..310].chunks(100) {
        groups.add_members(&admin, group, some).await.unwrap();
    }
    let changed = set_query(&test, group, "name endsWith 9").await.unwrap();
    assert_eq!(
        (changed.members, changed.settling),
        (310, true),
        "as before, until they are evaluated"
    );
    assert_eq!(evaluate(&test).await, 310 + 14);
    let shown = groups.show(&admin, group).await.unwrap();
    assert_eq!((shown.members, shown.settling), (45, false));
    let (in_it, out) = (summary(&test, devices[9]).await, summary(&test, devices[8]).await);
    assert_eq!((in_it.dynamic_groups, in_it.groups), ([group].into(), [group].into()));
    assert!(out.groups.is_empty());
    assert!(device(&test, devices[9]).await.groups.is_empty());
    // Nothing of the time when devices were put in comes back.
    freeze(&test, group).await.unwrap();
    evaluate(&test).await;
    assert_eq!(members(&test, group).await, 45);
}

#[tokio::test]
async fn a_change_of_kind_is_one_decision_with_how_many_it_was_about() {
    let test = TestFleet::new().await;
    let device = test.devices(1).await[0];
    let group = dynamic(&test, "all", "").await.id;
    evaluate(&test).await;
    test.advance(1);
    freeze(&test, group).await.unwrap();
    let entry = test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), &entry.changed[..]),
        ("device_group.update", &["query".to_owned()][..])
    );
    assert_eq!(
        entry.details,
        [("query".into(), json!(null)), ("members".into(), json!(1))].into()
    );
    let (before, seq) = (summary(&test, device).await.groups, test.seq().await);
    let again = freeze(&test, group).await.unwrap();
    assert_eq!((again.revision, test.seq().await), (2, seq), "it is static already");
    test.advance(1);
    set_query(&test, group, "os exists").await.unwrap();
    let entry = test.audit().await.remove(0);
    assert_eq!(
        entry.details,
        [("query".into(), json!("os exists")), ("members".into(), json!(1))].into()
    );
    assert_eq!(summary(&test, device).await.groups, before);
    let stale = DeviceGroupChange {
        query: Some(None),
        ..DeviceGroupChange::default()
    };
    let refused = test
        .fleet
        .device_groups()
        .set(&test.admin(), group, Some(2), &stale)
        .await;
    fails(refused, crate::kernel::PRECONDITION_FAILED);
}

#[tokio::test]
async fn members_of_a_frozen_group_are_put_in_and_taken_out_at_once() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let devices = test.devices(4).await;
    label(&test, devices[3], "other", "1").await;
    let group = dynamic(&test, "all", "labels.other notExists").await.id;
    evaluate(&test).await;
    freeze(&test, group).await.unwrap();
    let added = groups.add_members(&admin, group, &devices[2..]).await.unwrap();
    assert_eq!((added.changed, added.unchanged), (1, 1));
    let removed = groups.remove_members(&admin, group, &devices[..2]).await.unwrap();
    assert_eq!((removed.changed, removed.unchanged), (2, 0));
    for _ in 0..2 {
        let shown = summary(&test, devices[0]).await.groups.is_empty();
        assert_eq!((members(&test, group).await, shown), (2, true));
        evaluate(&test).await;
    }
    assert_eq!(device(&test, devices[2]).await.groups, [group].into());
}

#[tokio::test]
async fn a_group_that_changes_its_kind_can_be_deleted_at_any_moment() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let devices = test.devices(450).await;
    // Remembered by this server, and read anew by the other.
    let other = test.restarted().await;
    for (kinds, by) in [
        ("frozen", &test),
        ("filled", &test),
        ("frozen", &other),
        ("filled", &other),
    ] {
        let group = dynamic(&test, "short-lived", "name matches '[02468]$'").await.id;
        evaluate(&test).await;
        freeze(&test, group).await.unwrap();
        if kinds == "filled" {
            groups.add_members(&admin, group, &devices[..100]).await.unwrap();
            set_query(&test, group, "name matches '[13579]$'").await.unwrap();
            groups.evaluate_page(&mut Evaluated::default(), 200).await.unwrap();
        }
        by.fleet.device_groups().delete(&by.admin(), group, None).await.unwrap();
        for step in ["deleted", "evaluated"] {
            assert_eq!(members(&test, group).await, 0, "{kinds} {step}");
            evaluate(&test).await;
        }
        for id in &devices {
            assert!(device(&test, *id).await.groups.is_empty(), "{kinds}");
        }
    }
}

#[tokio::test]
async fn there_is_room_for_another_dynamic_group_where_one_was_frozen() {
    let test = TestFleet::new().await;
    let group = dynamic(&test, "one", "").await.id;
    let count = || async {
        let edition = test.fleet.store().get::<GroupEdition>(GroupEditionId::only()).await;
        edition.unwrap().unwrap().dynamic
    };
    assert_eq!(count().await, 1);
    freeze(&test, group).await.unwrap();
    assert_eq!(count().await, 0);
    set_query(&test, group, "os exists").await.unwrap();
    assert_eq!(count().await, 1);
    set_query(&test, group, "os notExists").await.unwrap();
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn other_queries_see_whom_a_frozen_group_holds() {
    let test = TestFleet::new().await;
    let device = test.devices(1).await[0];
    let seen = dynamic(&test, "front", "device.group equals web").await.id;
    let web = dynamic(&test, "Web", "").await.id;
    evaluate(&test).await;
    assert_eq!(members(&test, seen).await, 0, "of dynamic groups nobody is asked");
    freeze(&test, web).await.unwrap();
    evaluate(&test).await;
    assert_eq!(summary(&test, device).await.groups, [seen, web].into());
    set_query(&test, web, "").await.unwrap();
    evaluate(&test).await;
    assert_eq!(summary(&test, device).await.groups, [web].into());
}

#[tokio::test]
async fn a_token_does_not_put_devices_into_a_group_that_became_dynamic() {
    let test = TestFleet::new().await;
    let group = test
        .fleet
        .device_groups()
        .create(&test.admin(), &new("web"))
        .await
        .unwrap()
        .id;
    let token = NewEnrolmentToken {
        groups: [group].into(),
        max_uses: 3,
        ..NewEnrolmentToken::default()
    };
    let secret = test.token(token).await;
    for (n, becomes, expected) in [(1, Some("os exists"), 1), (2, None, 0), (3, None, 1)] {
        let key = test.key();
        let enrolled = test.enrol_as(&secret, &key, &format!("web-{n}"), None).await.unwrap();
        assert_eq!(device(&test, enrolled.device_id).await.groups.len(), expected, "{n}");
        match becomes {
            Some(query) => drop(set_query(&test, group, query).await.unwrap()),
            None => drop(freeze(&test, group).await.unwrap()),
        }
        evaluate(&test).await;
    }
}

#[tokio::test]
async fn a_group_is_evaluated_on_demand_and_says_who_came_and_went() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    test.devices(450).await;
    let group = dynamic(&test, "hundreds", "name matches 'device 0[0-2]..'").await.id;
    test.advance(1);
    let done = groups.evaluate_group(&admin, group).await.unwrap();
    assert_eq!(
        (done.added, done.removed, done.devices, done.complete),
        (300, 0, 450, true)
    );
    let entry = test.audit().await.remove(0);
    assert_eq!(entry.action, "device_group.evaluate");
    assert_eq!(entry.subject.unwrap().name, "hundreds");
    assert_eq!(
        entry.details,
        [
            ("added".into(), json!(300)),
            ("removed".into(), json!(0)),
            ("devices".into(), json!(450))
        ]
        .into()
    );
    set_query(&test, group, "name endsWith 9").await.unwrap();
    let done = groups.evaluate_group(&admin, group).await.unwrap();
    assert_eq!((done.added, done.removed), (15, 270));
    assert_eq!(members(&test, group).await, 45);
    let done = groups.evaluate_group(&admin, group).await.unwrap();
    assert_eq!((done.added, done.removed), (0, 0), "again");
    freeze(&test, group).await.unwrap();
    fails(groups.evaluate_group(&admin, group).await, GROUP_STATIC);
    groups.delete(&admin, group, None).await.unwrap();
    fails(groups.evaluate_group(&admin, group).await, GROUP_NOT_FOUND);
}
