//! Windows through the service, over the memory backend; what is decided in all its cases is below.

mod calendar;
mod decisions;

use super::*;
use crate::{
    access::{DENIED, Role},
    devices::{
        DeviceGroupId, DeviceId,
        device::{DEVICE_NAME_INVALID, DEVICE_NOT_FOUND},
        groups::NewDeviceGroup,
        testing::{TestFleet, fails},
    },
    kernel::{EntityId as _, INVALID, PRECONDITION_FAILED, PageRequest, Timestamp},
    work::{
        operations::UNKNOWN_KIND,
        schedule::{SCHEDULE_CRON_INVALID, SCHEDULE_ZONE_UNKNOWN},
    },
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The clock of these tests stands at 2027-01-15 08:00 UTC, a Friday.
fn nightly(name: &str) -> NewWindow {
    NewWindow {
        name: name.into(),
        description: String::new(),
        enabled: true,
        kind: WindowKind::Maintenance,
        scope: NewWindowScope {
            all: true,
            ..NewWindowScope::default()
        },
        when: recurring("0 3 * * *", "Europe/Berlin", 7_200),
        outside: NewOutside::Gate,
        operations: Vec::new(),
    }
}

fn recurring(cron: &str, zone: &str, duration_seconds: u32) -> NewWindowTimes {
    NewWindowTimes::Recurring {
        cron: cron.into(),
        zone: zone.into(),
        duration_seconds,
    }
}

fn once(starts_at: &str, ends_at: &str) -> NewWindowTimes {
    NewWindowTimes::Once {
        starts_at: at(starts_at),
        ends_at: at(ends_at),
    }
}

#[tokio::test]
async fn windows_are_made_shown_changed_listed_and_deleted() {
    let test = TestFleet::new().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let made = windows.create(&admin, &nightly("Nights")).await.unwrap();
    assert_eq!(made.in_words, "every day at 03:00 Europe/Berlin, for 2 hours");
    assert_eq!(
        (made.current_end, made.next_start),
        (None, Some(at("2027-01-16T02:00:00Z")))
    );
    windows.create(&admin, &nightly("days")).await.unwrap();
    fails(windows.create(&admin, &nightly("nIGHTS")).await, WINDOW_NAME_TAKEN);
    test.advance(18 * 3_600 + 60);
    let change = WindowChange {
        enabled: Some(false),
        outside: Some(NewOutside::Postpone {
            give_up_after_seconds: 60,
        }),
        ..WindowChange::default()
    };
    let changed = windows.set(&admin, made.id, Some(1), &change).await.unwrap();
    assert_eq!(
        (changed.revision, changed.enabled, &changed.when),
        (2, false, &made.when)
    );
    assert_eq!(changed.current_end, Some(at("2027-01-16T04:00:00Z")));
    assert_eq!(changed.updated_at, test.clock_now());
    fails(
        windows.set(&admin, made.id, Some(1), &change).await,
        PRECONDITION_FAILED,
    );
    fails(windows.delete(&admin, made.id, Some(1)).await, PRECONDITION_FAILED);
    let entry = test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.changed),
        ("window.update", vec!["enabled".to_owned(), "outside".into()])
    );
    let all = windows.list(&admin, None, &PageRequest::default()).await.unwrap();
    let names: Vec<_> = all.items.iter().map(|window| window.name.as_str()).collect();
    assert_eq!(names, ["days", "Nights"]);
    let some = windows.list(&admin, Some("NI"), &PageRequest::default()).await.unwrap();
    assert_eq!(some.items, [changed]);
    test.advance(1);
    windows.delete(&admin, made.id, Some(2)).await.unwrap();
    fails(windows.show(&admin, made.id).await, WINDOW_NOT_FOUND);
    fails(windows.delete(&admin, made.id, None).await, WINDOW_NOT_FOUND);
    fails(windows.set(&admin, made.id, None, &change).await, WINDOW_NOT_FOUND);
    let actions = test.actions().await;
    assert_eq!(
        actions,
        ["window.create", "window.create", "window.update", "window.delete"]
    );
}

#[tokio::test]
async fn a_window_that_is_over_can_still_be_described() {
    let test = TestFleet::new().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let when = once("2027-01-15T09:00:00Z", "2027-01-15T10:00:00Z");
    let made = windows
        .create(
            &admin,
            &NewWindow {
                when: when.clone(),
                ..nightly("Move")
            },
        )
        .await
        .unwrap();
    assert_eq!(made.in_words, "once, from 2027-01-15 09:00 UTC to 2027-01-15 10:00 UTC");
    test.advance(86_400);
    let told = WindowChange {
        description: Some("it went well".into()),
        ..WindowChange::default()
    };
    assert_eq!(
        windows.set(&admin, made.id, None, &told).await.unwrap().next_start,
        None
    );
    let again = WindowChange {
        when: Some(when),
        ..WindowChange::default()
    };
    fails(windows.set(&admin, made.id, None, &again).await, WINDOW_NEVER_OPENS);
}

#[tokio::test]
async fn a_window_that_cannot_be_is_refused_with_its_member() {
    let test = TestFleet::new().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let with = |when| NewWindow { when, ..nightly("w") };
    let scoped = |all, groups: usize, devices: usize| NewWindow {
        scope: NewWindowScope {
            all,
            groups: (0..groups)
                .map(|_| DeviceGroupId::from_uuid(test.fleet.store().new_uuid()))
                .collect(),
            devices: (0..devices)
                .map(|_| DeviceId::from_uuid(test.fleet.store().new_uuid()))
                .collect(),
        },
        ..nightly("w")
    };
    let operations = |names: &[&str]| NewWindow {
        operations: names.iter().map(|name| (*name).to_owned()).collect(),
        ..nightly("w")
    };
    let outside = |give_up_after_seconds| NewWindow {
        outside: NewOutside::Postpone { give_up_after_seconds },
        ..nightly("w")
    };
    let long = NewWindow {
        description: "x".repeat(2_001),
        ..nightly("w")
    };
    let many: Vec<_> = (0..51).map(|_| "shell").collect();
    for (new, code, pointer) in [
        (nightly(" w"), DEVICE_NAME_INVALID, "/name"),
        (long, INVALID, "/description"),
        (
            with(recurring("0 3 * *", "UTC", 60)),
            SCHEDULE_CRON_INVALID,
            "/when/cron",
        ),
        (
            with(recurring("0 3 30 2 *", "UTC", 60)),
            WINDOW_NEVER_OPENS,
            "/when/cron",
        ),
        (
            with(recurring("0 3 * * *", "Berlin", 60)),
            SCHEDULE_ZONE_UNKNOWN,
            "/when/zone",
        ),
        (
            with(recurring("0 3 * * *", "UTC", 59)),
            INVALID,
            "/when/duration_seconds",
        ),
        (
            with(recurring("0 3 * * *", "UTC", 2_678_401)),
            INVALID,
            "/when/duration_seconds",
        ),
        (
            with(once("2027-01-16T00:00:00Z", "2027-01-16T00:00:00Z")),
            WINDOW_NEVER_OPENS,
            "/when/ends_at",
        ),
        (
            with(once("2027-01-14T00:00:00Z", "2027-01-15T08:00:00Z")),
            WINDOW_NEVER_OPENS,
            "/when/ends_at",
        ),
        (
            with(once("2027-01-16T00:00:00Z", "2027-02-16T00:00:01Z")),
            INVALID,
            "/when/ends_at",
        ),
        (scoped(false, 0, 0), INVALID, "/scope"),
        (scoped(true, 1, 0), INVALID, "/scope"),
        (scoped(false, 101, 0), INVALID, "/scope/groups"),
        (scoped(false, 0, 501), INVALID, "/scope/devices"),
        (scoped(false, 1, 0), WINDOW_SCOPE_UNKNOWN, "/scope/groups"),
        (scoped(false, 0, 1), WINDOW_SCOPE_UNKNOWN, "/scope/devices"),
        (operations(&["shell", "tea.make"]), UNKNOWN_KIND, "/operations/1"),
        (operations(&many), INVALID, "/operations"),
        (outside(0), INVALID, "/outside/give_up_after_seconds"),
        (outside(2_592_001), INVALID, "/outside/give_up_after_seconds"),
    ] {
        let error = windows.create(&admin, &new).await.unwrap_err();
        assert_eq!(
            (error.code(), error.fields()[0].pointer.as_str()),
            (code, pointer),
            "{error}"
        );
    }
    assert!(test.actions().await.is_empty());
}

#[tokio::test]
async fn a_deleted_group_leaves_a_window_that_concerns_nobody_by_it() {
    let test = TestFleet::new().await;
    let (windows, groups, admin) = (test.fleet.windows(), test.fleet.device_groups(), test.admin());
    let new_group = NewDeviceGroup {
        name: "web".into(),
        ..NewDeviceGroup::default()
    };
    let group = groups.create(&admin, &new_group).await.unwrap().id;
    let device = test.devices(1).await[0];
    groups.add_members(&admin, group, &[device]).await.unwrap();
    let of_group = NewWindow {
        scope: NewWindowScope {
            groups: vec![group],
            ..NewWindowScope::default()
        },
        ..nightly("Nights")
    };
    let window = windows.create(&admin, &of_group).await.unwrap();
    let check = WindowCheck {
        device,
        operation: "shell".into(),
        at: None,
    };
    let before = windows.check(&admin, &check).await.unwrap();
    assert_eq!(
        before.standing,
        WindowStanding::Closed {
            until: at("2027-01-16T02:00:00Z")
        }
    );
    assert_eq!(
        before.reason,
        "outside of maintenance window “Nights”; it waits; open again at 2027-01-16 02:00 UTC"
    );
    groups.delete(&admin, group, None).await.unwrap();
    assert_eq!(
        windows.check(&admin, &check).await.unwrap().standing,
        WindowStanding::Open { until: None }
    );
    // The id stays where it stands, and may stay when something else is changed.
    let renamed = WindowChange {
        name: Some("Nights of the web".into()),
        ..WindowChange::default()
    };
    let renamed = windows.set(&admin, window.id, None, &renamed).await.unwrap();
    assert_eq!(renamed.scope, window.scope);
}

#[tokio::test]
async fn what_follows_is_told_for_known_devices_and_operations() {
    let test = TestFleet::new().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let device = test.devices(1).await[0];
    windows.create(&admin, &nightly("Nights")).await.unwrap();
    let disabled = NewWindow {
        enabled: false,
        kind: WindowKind::Blackout,
        ..nightly("Freeze")
    };
    windows.create(&admin, &disabled).await.unwrap();
    let check = |operation: &str, at| WindowCheck {
        device,
        operation: operation.into(),
        at,
    };
    let at_night = Some(at("2027-01-16T02:30:00Z"));
    let decision = windows.check(&admin, &check("shell", at_night)).await.unwrap();
    assert_eq!(
        decision.reason,
        "within maintenance window “Nights” until 2027-01-16 04:00 UTC"
    );
    assert_eq!(decision.handling, WindowHandling::Run);
    // It only looks: a window that names no operations does not concern it.
    let looks = windows.check(&admin, &check("inventory.refresh", None)).await.unwrap();
    assert_eq!(looks.reason, "no window concerns this");
    fails(windows.check(&admin, &check("tea.make", None)).await, UNKNOWN_KIND);
    let unknown = WindowCheck {
        device: DeviceId::from_uuid(test.fleet.store().new_uuid()),
        ..check("shell", None)
    };
    fails(windows.check(&admin, &unknown).await, DEVICE_NOT_FOUND);
}

#[tokio::test]
async fn each_use_case_asks_for_its_permission() {
    let test = TestFleet::new().await;
    let windows = test.fleet.windows();
    let (viewer, operator, nobody) = (test.role(Role::Viewer), test.role(Role::Operator), test.nobody());
    let window = windows.create(&operator, &nightly("w")).await.unwrap().id;
    let device = test.devices(1).await[0];
    let check = WindowCheck {
        device,
        operation: "shell".into(),
        at: None,
    };
    let filter = OccurrenceFilter::default();
    let page = PageRequest::default();
    fails(windows.list(&nobody, None, &page).await, DENIED);
    fails(windows.show(&nobody, window).await, DENIED);
    fails(windows.check(&nobody, &check).await, DENIED);
    fails(windows.occurrences(&nobody, &filter, &page).await, DENIED);
    fails(windows.calendar(&nobody, &filter).await, DENIED);
    assert!(windows.show(&viewer, window).await.is_ok());
    assert!(windows.check(&viewer, &check).await.is_ok());
    fails(windows.create(&viewer, &nightly("x")).await, DENIED);
    fails(
        windows.set(&viewer, window, None, &WindowChange::default()).await,
        DENIED,
    );
    fails(windows.delete(&viewer, window, None).await, DENIED);
    windows.delete(&operator, window, None).await.unwrap();
}
