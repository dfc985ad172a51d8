//! Which windows stand in a manifest: those that concern its device, as they are now.

use super::*;
use crate::work::windows::{
    NewOutside, NewWindow, NewWindowScope, NewWindowTimes, WindowChange, WindowId, WindowKind, WindowService,
};

impl Desired {
    fn windows(&self) -> WindowService<'_> {
        self.test.fleet.windows()
    }

    async fn window(&self, name: &str, scope: NewWindowScope) -> WindowId {
        let new = NewWindow {
            name: name.into(),
            description: String::new(),
            enabled: true,
            kind: WindowKind::Blackout,
            scope,
            when: NewWindowTimes::Recurring {
                cron: "0 3 * * *".into(),
                zone: "UTC".into(),
                duration_seconds: 3_600,
            },
            outside: NewOutside::Gate,
            operations: Vec::new(),
        };
        self.windows().create(&self.test.admin(), &new).await.unwrap().id
    }

    async fn change(&self, id: WindowId, change: WindowChange) {
        self.windows().set(&self.test.admin(), id, None, &change).await.unwrap();
    }

    /// The version of each device's manifest, and the windows in it.
    async fn check_windows(&self, expected: &[&str]) {
        self.keep().await;
        let mut shown = Vec::new();
        for device in &self.devices {
            shown.push(match self.manifest(*device).await {
                None => "none".to_owned(),
                Some(manifest) => {
                    let names: Vec<_> = manifest.windows.iter().map(|window| window.name.as_str()).collect();
                    format!("{}: {}", manifest.version, names.join(" "))
                }
            });
        }
        assert_eq!(shown, expected);
    }
}

fn everywhere() -> NewWindowScope {
    NewWindowScope {
        all: true,
        ..NewWindowScope::default()
    }
}

#[tokio::test]
async fn a_manifest_has_the_windows_that_concern_its_device() {
    let desired = Desired::new(3).await;
    let group = desired.group("Web", &desired.devices[1..]).await;
    let in_group = NewWindowScope {
        groups: vec![group],
        ..NewWindowScope::default()
    };
    let on_first = NewWindowScope {
        devices: vec![desired.devices[0]],
        ..NewWindowScope::default()
    };
    desired.window("before", everywhere()).await;
    desired.check_windows(&["none", "none", "none"]).await;
    let a = desired.action("a").await;
    for id in &desired.devices[..2] {
        desired.assign(a, device(*id), Mode::Required).await;
    }
    desired.check_windows(&["1: before", "1: before", "none"]).await;
    desired.window("group", in_group).await;
    desired.check_windows(&["1: before", "2: before group", "none"]).await;
    let first = desired.window("first", on_first).await;
    desired
        .check_windows(&["2: before first", "2: before group", "none"])
        .await;
    desired
        .windows()
        .delete(&desired.test.admin(), first, None)
        .await
        .unwrap();
    desired.check_windows(&["3: before", "2: before group", "none"]).await;
    // Whoever leaves the group leaves its windows.
    let groups = desired.test.fleet.device_groups();
    let admin = desired.test.admin();
    groups
        .remove_members(&admin, group, &desired.devices[1..2])
        .await
        .unwrap();
    desired.check_windows(&["3: before", "3: before", "none"]).await;
}

#[tokio::test]
async fn only_what_decides_makes_another_version() {
    let desired = Desired::new(1).await;
    let a = desired.action("a").await;
    desired.assign(a, device(desired.devices[0]), Mode::Required).await;
    let window = desired.window("nights", everywhere()).await;
    desired.check_windows(&["1: nights"]).await;
    let seq = desired.test.seq().await;
    let described = WindowChange {
        description: Some("for the night shift".into()),
        ..WindowChange::default()
    };
    desired.change(window, described).await;
    desired.check_windows(&["1: nights"]).await;
    assert_eq!(desired.test.seq().await, seq + 1, "nothing was compiled");
    let shorter = WindowChange {
        when: Some(NewWindowTimes::Recurring {
            cron: "0 3 * * *".into(),
            zone: "UTC".into(),
            duration_seconds: 1_800,
        }),
        ..WindowChange::default()
    };
    desired.change(window, shorter).await;
    desired.check_windows(&["2: nights"]).await;
    let disabled = |enabled| WindowChange {
        enabled: Some(enabled),
        ..WindowChange::default()
    };
    desired.change(window, disabled(false)).await;
    desired.check_windows(&["3: "]).await;
    desired.change(window, disabled(true)).await;
    desired.check_windows(&["4: nights"]).await;
}

#[tokio::test]
async fn a_window_for_all_reaches_those_who_only_have_something_to_take_back() {
    let desired = Desired::new(2).await;
    let user = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let assigned = desired.assign(user, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["1: ann"]).await;
    let assignments = desired.desired().assignments();
    assignments
        .delete(&desired.test.admin(), assigned.id, None)
        .await
        .unwrap();
    desired.check(&["2: ~ann-"]).await;
    desired.window("now", everywhere()).await;
    desired.check_windows(&["3: now", "none"]).await;
}

#[tokio::test]
async fn a_pass_that_is_under_way_begins_anew_when_a_window_for_all_comes() {
    let desired = Desired::new(600).await;
    let group = desired.group("All", &desired.devices).await;
    let a = desired.action("a").await;
    desired.assign(a, Target::DeviceGroup(group), Mode::Required).await;
    desired.keep().await;
    // A pass that has all but the last devices behind it.
    desired.window("first", everywhere()).await;
    let manifests = desired.desired().manifests();
    let mut kept = manifest::Kept::default();
    assert!(manifests.work_off(&mut kept).await.unwrap());
    assert_eq!(kept.changed, 0, "it only has the pass begin");
    assert!(manifests.pass(&mut kept).await.unwrap());
    assert_eq!(kept.changed, 500);
    desired.window("second", everywhere()).await;
    desired.keep().await;
    let mut versions = [0; 4];
    for device in &desired.devices {
        let manifest = desired.manifest(*device).await.unwrap();
        assert_eq!(manifest.windows.len(), 2);
        versions[manifest.version as usize] += 1;
    }
    assert_eq!(versions, [0, 0, 100, 500]);
}
