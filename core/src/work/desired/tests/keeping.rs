//! Manifests follow whatever they are compiled from.

use super::*;
use crate::{
    access::users::{NewUser, UserId},
    devices::enrolment::NewEnrolmentToken,
    store::Filter,
    work::desired::owners::OwnersChange,
};

#[tokio::test]
async fn devices_that_shall_be_the_same_are_written_five_hundred_in_a_commit() {
    let desired = Desired::new(0).await;
    let mut devices = Vec::new();
    for _ in 0..3 {
        devices.extend(desired.test.devices(500).await);
    }
    let all = NewDeviceGroup {
        name: "all".into(),
        query: Some(String::new()),
        ..NewDeviceGroup::default()
    };
    let groups = desired.test.fleet.device_groups();
    let group = groups.create(&desired.test.admin(), &all).await.unwrap().id;
    groups.evaluate().await.unwrap();
    desired.keep().await;
    desired
        .assign(desired.action("a").await, Target::DeviceGroup(group), Mode::Required)
        .await;
    let kept = desired.keep().await;
    assert_eq!((kept.changed, kept.commits, kept.complete), (1_500, 3, true));
    let again = desired.keep().await;
    assert_eq!(
        (again.changed, again.devices),
        (0, 0),
        "only devices that a change concerns are looked at"
    );
    let mut reader = desired.test.fleet.store().reader().await.unwrap();
    assert_eq!(reader.count::<Manifest>(&Filter::All).await.unwrap(), 1_500);
    assert_eq!(reader.count::<DesiredChange>(&Filter::All).await.unwrap(), 0);
}

#[tokio::test]
async fn many_changes_that_each_concern_one_device_share_their_commits() {
    let desired = Desired::new(600).await;
    // One in a group that is larger than what is left of a commit's devices.
    let group = desired.group("Web", &desired.devices[100..]).await;
    let action = desired.action("a").await;
    desired.keep().await;
    for device in &desired.devices[..200] {
        desired.assign(action, Target::Device(*device), Mode::Required).await;
    }
    desired
        .assign(desired.action("b").await, Target::DeviceGroup(group), Mode::Required)
        .await;
    let kept = desired.keep().await;
    assert_eq!((kept.changed, kept.commits, kept.complete), (600, 2, true));
    let mut expected = vec!["1: a"; 100];
    expected.extend(["1: a b"; 100]);
    expected.extend(["1: b"; 400]);
    desired.check(&expected).await;
}

#[tokio::test]
async fn a_device_that_enters_or_leaves_a_group_follows() {
    let desired = Desired::new(2).await;
    let (groups, admin) = (desired.test.fleet.device_groups(), desired.test.admin());
    let group = desired.group("Web", &desired.devices[..1]).await;
    desired
        .assign(desired.action("a").await, Target::DeviceGroup(group), Mode::Required)
        .await;
    desired.check(&["1: a", "none"]).await;
    groups.add_members(&admin, group, &desired.devices[1..]).await.unwrap();
    desired.check(&["1: a", "1: a"]).await;
    groups
        .remove_members(&admin, group, &desired.devices[..1])
        .await
        .unwrap();
    desired.check(&["2: ", "1: a"]).await;
    groups.delete(&admin, group, None).await.unwrap();
    desired.check(&["2: ", "2: "]).await;
}

#[tokio::test]
async fn a_label_that_moves_a_device_into_a_dynamic_group_is_enough() {
    let desired = Desired::new(2).await;
    let (groups, admin) = (desired.test.fleet.device_groups(), desired.test.admin());
    let query = NewDeviceGroup {
        name: "prod".into(),
        query: Some("labels.env equals prod".into()),
        ..NewDeviceGroup::default()
    };
    let group = groups.create(&admin, &query).await.unwrap().id;
    desired
        .assign(desired.action("a").await, Target::DeviceGroup(group), Mode::Required)
        .await;
    desired.check(&["none", "none"]).await;
    let label = [("env".to_owned(), "prod".to_owned())].into();
    desired
        .test
        .fleet
        .devices()
        .set_labels(&admin, &desired.devices[..1], &label)
        .await
        .unwrap();
    desired.check(&["1: a", "none"]).await;
    let other = [("site".to_owned(), "oslo".to_owned())].into();
    desired
        .test
        .fleet
        .devices()
        .set_labels(&admin, &desired.devices, &other)
        .await
        .unwrap();
    // Once for each: what groups they are in was not known of all of them.
    desired.keep().await;
    desired
        .test
        .fleet
        .devices()
        .remove_labels(&admin, &desired.devices, &["site".to_owned()])
        .await
        .unwrap();
    assert_eq!(
        desired.keep().await.devices,
        0,
        "labels that move nobody concern nobody"
    );
}

#[tokio::test]
async fn a_device_that_is_enrolled_gets_its_manifest_and_one_that_is_deleted_leaves_nothing() {
    let mut desired = Desired::new(0).await;
    let admin = desired.test.admin();
    let group = desired.group("Web", &[]).await;
    desired
        .assign(desired.action("a").await, Target::DeviceGroup(group), Mode::Required)
        .await;
    desired.keep().await;
    let token = NewEnrolmentToken {
        groups: [group].into(),
        ..NewEnrolmentToken::default()
    };
    let secret = desired.test.token(token).await;
    let enrolled = desired
        .test
        .enrol_as(&secret, &desired.test.key(), "web", None)
        .await
        .unwrap();
    desired.devices.push(enrolled.device_id);
    desired.check(&["1: a"]).await;
    desired
        .assign(desired.action("b").await, device(desired.devices[0]), Mode::Required)
        .await;
    desired.check(&["2: a b"]).await;
    desired
        .test
        .fleet
        .devices()
        .delete(&admin, desired.devices[0], None)
        .await
        .unwrap();
    desired.check(&["none"]).await;
    desired.test.advance(601);
    desired.keep().await;
    let left = desired
        .test
        .fleet
        .store()
        .reader()
        .await
        .unwrap()
        .count::<Assignment>(&Filter::All)
        .await
        .unwrap();
    assert_eq!(left, 1, "what was assigned to it alone is taken back");
}

#[tokio::test]
async fn the_devices_of_a_user_follow_what_is_assigned_to_the_user() {
    let desired = Desired::new(2).await;
    let (owners, admin) = (desired.desired().owners(), desired.test.admin());
    let ann = user(&desired, "ann").await;
    desired
        .assign(desired.action("a").await, Target::User(ann), Mode::Required)
        .await;
    desired.check(&["none", "none"]).await;
    let change = OwnersChange { users: vec![ann] };
    let given = owners.set(&admin, desired.devices[1], None, &change).await.unwrap();
    assert_eq!((given.revision, given.users.len()), (1, 1));
    desired.check(&["none", "1: a"]).await;
    desired
        .assign(desired.action("b").await, Target::User(ann), Mode::Required)
        .await;
    desired.check(&["none", "2: a b"]).await;
    crate::devices::testing::fails(
        owners
            .set(&admin, desired.devices[1], Some(7), &OwnersChange::default())
            .await,
        crate::kernel::PRECONDITION_FAILED,
    );
    let nobody = OwnersChange {
        users: vec![UserId::new(desired.test.clock_now(), &*desired.test.random)],
    };
    crate::devices::testing::fails(
        owners.set(&admin, desired.devices[0], None, &nobody).await,
        OWNER_UNKNOWN,
    );
    owners
        .set(&admin, desired.devices[1], Some(1), &OwnersChange::default())
        .await
        .unwrap();
    desired.check(&["none", "3: "]).await;
}

pub(super) async fn user(desired: &Desired, name: &str) -> UserId {
    let new = NewUser {
        name: name.into(),
        display_name: None,
        role: crate::access::Role::Viewer,
        password: None,
    };
    let users = desired.test.fleet.access();
    users.users().create(&desired.test.admin(), new).await.unwrap().id
}

#[tokio::test]
async fn what_was_marked_when_a_server_went_down_is_found_by_the_pass() {
    let mut desired = Desired::new(3).await;
    let group = desired.group("Web", &[]).await;
    desired
        .assign(desired.action("a").await, Target::DeviceGroup(group), Mode::Required)
        .await;
    desired.keep().await;
    let groups = desired.test.fleet.device_groups();
    groups
        .add_members(&desired.test.admin(), group, &desired.devices)
        .await
        .unwrap();
    desired.test.fleet = Desired::open(&desired.test).await;
    desired.check(&["none"]).await;
    desired.test.advance(600);
    desired.check(&["1: a", "1: a", "1: a"]).await;
}

#[tokio::test]
async fn a_round_that_was_broken_off_goes_on_where_it_was() {
    let desired = Desired::new(0).await;
    let mut devices = desired.test.devices(500).await;
    devices.extend(desired.test.devices(500).await);
    let group = desired.group("half", &[]).await;
    let groups = desired.test.fleet.device_groups();
    for chunk in devices.chunks(500) {
        groups.add_members(&desired.test.admin(), group, chunk).await.unwrap();
    }
    desired.keep().await;
    desired
        .assign(desired.action("a").await, Target::DeviceGroup(group), Mode::Required)
        .await;
    // One step, and then another server.
    let mut kept = manifest::Kept::default();
    assert!(desired.desired().manifests().work_off(&mut kept).await.unwrap());
    assert_eq!(kept.changed, 500);
    let other = Desired {
        test: desired.test.restarted().await,
        devices: Vec::new(),
    };
    let other = Desired {
        test: TestFleet {
            fleet: Desired::open(&other.test).await,
            ..other.test
        },
        devices,
    };
    let kept = other.keep().await;
    assert_eq!((kept.devices, kept.changed), (500, 500));
    let mut reader = other.test.fleet.store().reader().await.unwrap();
    assert_eq!(reader.count::<Manifest>(&Filter::All).await.unwrap(), 1_000);
}

#[tokio::test]
async fn devices_that_differ_much_are_written_in_more_commits() {
    let desired = Desired::new(150).await;
    let a = desired.action("a").await;
    let set = desired.set("Set", &[a]).await;
    let group = desired.group("all", &desired.devices).await;
    for id in &desired.devices {
        let own = desired.action(&format!("of {id}")).await;
        desired.assign(own, device(*id), Mode::Required).await;
    }
    desired.keep().await;
    desired
        .assign(Source::ActionSet(set.id), Target::DeviceGroup(group), Mode::Required)
        .await;
    let kept = desired.keep().await;
    // Each has an old content and gets a new one: thirty-two in a commit.
    assert_eq!((kept.changed, kept.commits, kept.complete), (150, 5, true));
}

#[tokio::test]
async fn changes_that_wait_are_worked_off_together() {
    let desired = Desired::new(4).await;
    let group = desired.group("all", &desired.devices).await;
    desired.keep().await;
    for name in ["a", "b", "c", "d", "e"] {
        desired
            .assign(desired.action(name).await, Target::DeviceGroup(group), Mode::Required)
            .await;
    }
    let kept = desired.keep().await;
    assert_eq!((kept.devices, kept.changed, kept.commits), (4, 4, 1));
    desired.check(&["1: a b c d e"]).await;
}

#[tokio::test]
async fn the_bell_rings_whenever_there_is_something_to_do() {
    let desired = Desired::new(1).await;
    let fleet = &desired.test.fleet;
    let group = desired.group("Web", &desired.devices).await;
    let a = desired.action("a").await;
    let mut driving = std::pin::pin!(async { desired.desired().manifests().drive(fleet).await });
    let work = async {
        desired.assign(a, Target::DeviceGroup(group), Mode::Required).await;
        while desired.shown(0).await != "1: a" {
            tokio::task::yield_now().await;
        }
        fleet
            .device_groups()
            .remove_members(&desired.test.admin(), group, &desired.devices)
            .await
            .unwrap();
        while desired.shown(0).await != "2: " {
            tokio::task::yield_now().await;
        }
    };
    let work = std::pin::pin!(work);
    let done = futures::future::select(work, &mut driving).await;
    assert!(matches!(done, futures::future::Either::Left(_)));
}
