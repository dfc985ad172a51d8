mod dynamic;
mod kinds;
mod sequences;

use super::*;
use crate::{
    access::{DENIED, Role},
    devices::{
        device::{DEVICE_NOT_FOUND, DeviceFilter},
        testing::{TestFleet, fails},
    },
    kernel::PageRequest,
};

fn new(name: &str) -> NewDeviceGroup {
    NewDeviceGroup {
        name: name.to_owned(),
        description: String::new(),
        query: None,
    }
}

#[tokio::test]
async fn groups_are_made_shown_changed_and_listed_by_name() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let web = groups.create(&admin, &new("Web")).await.unwrap();
    groups.create(&admin, &new("db")).await.unwrap();
    fails(groups.create(&admin, &new("wEB")).await, GROUP_NAME_TAKEN);
    test.advance(1);
    let change = DeviceGroupChange {
        description: Some("in front".into()),
        ..DeviceGroupChange::default()
    };
    let changed = groups.set(&admin, web.id, Some(web.revision), &change).await.unwrap();
    assert_eq!((changed.revision, changed.description.as_str()), (2, "in front"));
    fails(
        groups.set(&admin, web.id, Some(1), &change).await,
        crate::kernel::PRECONDITION_FAILED,
    );
    let taken = DeviceGroupChange {
        name: Some("DB".into()),
        ..DeviceGroupChange::default()
    };
    fails(groups.set(&admin, web.id, None, &taken).await, GROUP_NAME_TAKEN);
    let all = groups.list(&admin, None, &PageRequest::default()).await.unwrap();
    let names: Vec<_> = all.items.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["db", "Web"]);
    let some = groups.list(&admin, Some("WE"), &PageRequest::default()).await.unwrap();
    assert_eq!(some.items, [changed]);
    assert_eq!(
        test.actions().await,
        ["device_group.create", "device_group.create", "device_group.update"]
    );
}

#[tokio::test]
async fn members_are_counted_and_filtered_by() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let group = groups.create(&admin, &new("web")).await.unwrap().id;
    let ids = test.devices(3).await;
    let outcome = groups.add_members(&admin, group, &ids[..2]).await.unwrap();
    assert_eq!((outcome.changed, outcome.unchanged), (2, 0));
    let outcome = groups.add_members(&admin, group, &ids).await.unwrap();
    assert_eq!((outcome.changed, outcome.unchanged), (1, 2));
    test.advance(1);
    groups.remove_members(&admin, group, &ids[..1]).await.unwrap();
    assert_eq!(groups.show(&admin, group).await.unwrap().members, 2);
    let filter = DeviceFilter {
        group: Some(group),
        ..DeviceFilter::default()
    };
    assert_eq!(test.fleet.devices().count(&admin, &filter).await.unwrap(), 2);
    let entry = test.audit().await.remove(0);
    assert_eq!(entry.action, "device_group.members.remove");
    assert_eq!(entry.subject.unwrap().name, "web");
    assert_eq!(entry.details["devices"], serde_json::json!([ids[0].to_string()]));
    test.fleet.devices().delete(&admin, ids[1], None).await.unwrap();
    assert_eq!(groups.show(&admin, group).await.unwrap().members, 1);
    fails(groups.add_members(&admin, group, &ids[1..2]).await, DEVICE_NOT_FOUND);
}

#[tokio::test]
async fn a_deleted_group_leaves_no_trace_on_devices() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    let group = groups.create(&admin, &new("big")).await.unwrap().id;
    let ids = test.devices(620).await;
    for some in ids.chunks(500) {
        groups.add_members(&admin, group, some).await.unwrap();
    }
    groups.delete(&admin, group, None).await.unwrap();
    for id in [ids[0], ids[619]] {
        assert!(
            test.fleet
                .devices()
                .show(&admin, id)
                .await
                .unwrap()
                .summary
                .groups
                .is_empty()
        );
    }
    fails(groups.show(&admin, group).await, GROUP_NOT_FOUND);
    fails(groups.delete(&admin, group, None).await, GROUP_NOT_FOUND);
    fails(groups.add_members(&admin, group, &ids[..1]).await, GROUP_NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_put_into_a_group_while_it_is_deleted() {
    let test = TestFleet::new().await;
    let admin = test.admin();
    let ids = test.devices(20).await;
    for round in 0..20 {
        let group = test
            .fleet
            .device_groups()
            .create(&admin, &new(&format!("g{round}")))
            .await
            .unwrap()
            .id;
        let adding: Vec<_> = ids
            .iter()
            .map(|id| {
                let (fleet, admin, id) = (test.fleet.clone(), admin.clone(), *id);
                tokio::spawn(async move { fleet.device_groups().add_members(&admin, group, &[id]).await })
            })
            .collect();
        test.fleet.device_groups().delete(&admin, group, None).await.unwrap();
        for task in adding {
            if let Err(error) = task.await.unwrap() {
                assert_eq!(error.code(), GROUP_NOT_FOUND);
            }
        }
        let filter = DeviceFilter {
            group: Some(group),
            ..DeviceFilter::default()
        };
        assert_eq!(test.fleet.devices().count(&admin, &filter).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn each_use_case_asks_for_its_permission() {
    let test = TestFleet::new().await;
    let groups = test.fleet.device_groups();
    let (viewer, nobody) = (test.role(Role::Viewer), test.nobody());
    let group = groups.create(&test.admin(), &new("g")).await.unwrap().id;
    fails(groups.list(&nobody, None, &PageRequest::default()).await, DENIED);
    fails(groups.show(&nobody, group).await, DENIED);
    assert!(groups.show(&viewer, group).await.is_ok());
    fails(groups.create(&viewer, &new("h")).await, DENIED);
    fails(
        groups.set(&viewer, group, None, &DeviceGroupChange::default()).await,
        DENIED,
    );
    fails(groups.delete(&viewer, group, None).await, DENIED);
    fails(groups.add_members(&viewer, group, &[]).await, DENIED);
    fails(groups.remove_members(&viewer, group, &[]).await, DENIED);
    fails(groups.evaluate_group(&viewer, group).await, DENIED);
}

#[tokio::test]
async fn bad_input_is_refused_with_its_member() {
    let test = TestFleet::new().await;
    let (groups, admin) = (test.fleet.device_groups(), test.admin());
    for bad in ["", " x", "a\nb", &"x".repeat(256)] {
        fails(
            groups.create(&admin, &new(bad)).await,
            crate::devices::device::DEVICE_NAME_INVALID,
        );
    }
    let long = NewDeviceGroup {
        description: "x".repeat(2_001),
        ..new("g")
    };
    assert_eq!(
        groups.create(&admin, &long).await.unwrap_err().fields()[0].pointer,
        "/description"
    );
}
