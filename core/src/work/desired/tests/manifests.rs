//! What is in a manifest, when it has another version, and why.

use super::*;
use crate::{
    devices::testing::fails,
    work::desired::{
        actions::ActionChange, assignments::AssignmentChange, manifest::MAX_OCCURRENCES, sets::ActionSetChange,
    },
};

#[tokio::test]
async fn a_device_that_nothing_was_ever_assigned_to_has_no_manifest() {
    let desired = Desired::new(2).await;
    let seq = desired.test.seq().await;
    let a = desired.action("a").await;
    desired.check(&["none", "none"]).await;
    assert_eq!(desired.test.seq().await, seq + 1);
    let manifests = desired.desired().manifests();
    fails(
        manifests.show(&desired.test.admin(), desired.devices[0]).await,
        MANIFEST_NOT_FOUND,
    );
    desired.assign(a, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["1: a", "none"]).await;
}

#[tokio::test]
async fn the_version_rises_with_what_is_applied_and_its_names_and_with_nothing_else() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let (a, b) = (desired.action("a").await, desired.action("b").await);
    let set = desired.set("Set", &[a, b]).await;
    let assignment = desired
        .assign(Source::ActionSet(set.id), device(desired.devices[0]), Mode::Required)
        .await;
    desired.check(&["1: action_set[a b]"]).await;
    let first = desired.manifest(desired.devices[0]).await.unwrap();
    let rename = ActionSetChange {
        name: Some("Other".into()),
        ..ActionSetChange::default()
    };
    service.action_sets().set(&admin, set.id, None, &rename).await.unwrap();
    desired.check(&["2: action_set[a b]"]).await;
    let renamed = desired.manifest(desired.devices[0]).await.unwrap();
    assert_eq!(
        (first.groups[0].name.as_str(), renamed.groups[0].name.as_str()),
        ("Set", "Other")
    );
    assert_eq!(
        first.groups[0].occurrences, renamed.groups[0].occurrences,
        "nothing else is another"
    );
    desired.assign(b, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["2: action_set[a b]"]).await;
    let change = ActionChange {
        params: Some(json!({"name": "c"}).into()),
        ..ActionChange::default()
    };
    service.actions().set(&admin, a, None, &change).await.unwrap();
    desired.check(&["3: action_set[c b]"]).await;
    let second = desired.manifest(desired.devices[0]).await.unwrap();
    let ids = |manifest: &ManifestView| -> Vec<_> {
        manifest.groups[0]
            .occurrences
            .iter()
            .map(|one| (one.id, one.generation))
            .collect()
    };
    assert_ne!(first.digest, second.digest);
    assert_eq!(ids(&first)[1], ids(&second)[1]);
    assert_eq!(
        (ids(&first)[0].0, 2),
        ids(&second)[0],
        "the same place, another generation"
    );
    let order = ActionSetChange {
        members: Some(vec![b, a]),
        rhythm: Some(NewRhythm {
            when: NewRhythmTimes::Cron {
                cron: "0  3 * * *".into(),
            },
            on_change: false,
            skip_unchanged: true,
        }),
        ..ActionSetChange::default()
    };
    service.action_sets().set(&admin, set.id, None, &order).await.unwrap();
    desired.check(&["4: action_set[b c]"]).await;
    let rhythm = desired.manifest(desired.devices[0]).await.unwrap().groups[0]
        .rhythm
        .clone();
    assert_eq!(
        rhythm.when,
        RhythmTimes::Cron {
            cron: "0 3 * * *".into()
        }
    );
    service.assignments().delete(&admin, assignment.id, None).await.unwrap();
    desired.check(&["5: b"]).await;
    let history = service
        .manifests()
        .history(&admin, desired.devices[0], &PageRequest::default())
        .await
        .unwrap();
    let versions: Vec<_> = history.items.iter().map(|event| event.version).collect();
    assert_eq!(versions.len(), 5);
    let oldest = history.items.iter().find(|event| event.version == 1).unwrap();
    let groups = service
        .manifests()
        .content(&admin, oldest.content.unwrap())
        .await
        .unwrap();
    assert_eq!(groups, first.groups, "earlier versions can be read");
}

#[tokio::test]
async fn devices_that_shall_be_the_same_share_their_content() {
    let desired = Desired::new(3).await;
    let group = desired.group("all", &desired.devices).await;
    let (a, b) = (desired.action("a").await, desired.action("b").await);
    desired.assign(a, Target::DeviceGroup(group), Mode::Required).await;
    desired.assign(b, device(desired.devices[2]), Mode::Required).await;
    desired.check(&["1: a", "1: a", "1: a b"]).await;
    let mut reader = desired.test.fleet.store().reader().await.unwrap();
    assert_eq!(
        reader
            .count::<ManifestContent>(&crate::store::Filter::All)
            .await
            .unwrap(),
        2
    );
}

#[tokio::test]
async fn what_vanished_is_taken_back_where_its_kind_is_until_the_device_says_so() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let target = device(desired.devices[0]);
    let file = desired.action("file").await;
    let ann = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let bob = desired.action_of(REVERTED_KIND, "bob").await.unwrap().id;
    let set = desired.set("Set", &[file, ann, bob]).await;
    let assigned = desired.assign(Source::ActionSet(set.id), target, Mode::Required).await;
    desired.check(&["1: action_set[file ann bob]"]).await;
    service.assignments().delete(&admin, assigned.id, None).await.unwrap();
    // The last one first.
    desired.check(&["2: ~bob- ~ann-"]).await;
    // One that comes back is not taken back any more.
    let again = desired.assign(ann, target, Mode::Required).await;
    desired.check(&["3: ann ~bob-"]).await;
    let reverts = desired.manifest(desired.devices[0]).await.unwrap().reverts;
    let ids: Vec<_> = reverts.iter().map(|one| one.id).collect();
    service
        .manifests()
        .confirm_reverts(desired.devices[0], &ids)
        .await
        .unwrap();
    let seq = desired.test.seq().await;
    service
        .manifests()
        .confirm_reverts(desired.devices[0], &ids)
        .await
        .unwrap();
    assert_eq!(desired.test.seq().await, seq, "what is told twice changes nothing");
    desired.check(&["4: ann"]).await;
    // Whether what was uninstalled is gone already, the device knows; what is deleted is taken back with what it was.
    let change = AssignmentChange {
        mode: Some(Mode::Uninstall),
        order: None,
    };
    service
        .assignments()
        .set(&admin, again.id, None, &change)
        .await
        .unwrap();
    desired.check(&["5: ann-"]).await;
    service.assignments().delete(&admin, again.id, None).await.unwrap();
    desired.check(&["6: ~ann-"]).await;
    desired.assign(bob, target, Mode::Required).await;
    desired.check(&["7: bob ~ann-"]).await;
    service.actions().delete(&admin, bob, None, true).await.unwrap();
    desired.check(&["8: ~ann- ~bob-"]).await;
}

#[tokio::test]
async fn what_was_to_be_absent_is_taken_back_once_nothing_is_about_it_for_it_may_never_have_been_applied() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let target = device(desired.devices[0]);
    let ann = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let required = desired.assign(ann, target, Mode::Required).await;
    desired.check(&["1: ann"]).await;
    service.assignments().delete(&admin, required.id, None).await.unwrap();
    let taken_away = desired.assign(ann, target, Mode::Uninstall).await;
    desired.check(&["2: ann-"]).await;
    service.assignments().delete(&admin, taken_away.id, None).await.unwrap();
    desired.check(&["3: ~ann-"]).await;
}

#[tokio::test]
async fn what_an_action_is_not_about_any_more_is_taken_back_unless_another_is_about_it() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let target = device(desired.devices[0]);
    let first = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let second = desired.action_of(REVERTED_KIND, "bob").await.unwrap().id;
    let about = async |action, name: &str| {
        let change = ActionChange {
            params: Some(json!({"name": name}).into()),
            ..ActionChange::default()
        };
        service.actions().set(&admin, action, None, &change).await.unwrap();
    };
    let assigned = desired.assign(first, target, Mode::Required).await;
    desired.assign(second, target, Mode::Required).await;
    desired.check(&["1: ann bob"]).await;
    about(second, "eve").await;
    desired.check(&["2: ann eve ~bob-"]).await;
    about(second, "bob").await;
    desired.check(&["3: ann bob ~eve-"]).await;
    // Both are about the same by now.
    about(second, "ann").await;
    desired.check(&["4: ann ann ~eve- ~bob-"]).await;
    service.assignments().delete(&admin, assigned.id, None).await.unwrap();
    desired.check(&["5: ann ~eve- ~bob-"]).await;
    about(second, "bob").await;
    desired.check(&["6: bob ~eve- ~ann-"]).await;
}

#[tokio::test]
async fn of_two_that_contradict_each_other_the_first_is_in_the_manifest_and_nothing_is_taken_back() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let target = device(desired.devices[0]);
    let first = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let second = desired.action_of(REVERTED_KIND, "bob").await.unwrap().id;
    let assigned = desired.assign(first, target, Mode::Required).await;
    desired.assign(second, target, Mode::Required).await;
    desired.check(&["1: ann bob"]).await;
    let params = async |params: Json| {
        let change = ActionChange {
            params: Some(params.into()),
            ..ActionChange::default()
        };
        service.actions().set(&admin, second, None, &change).await.unwrap();
    };
    params(json!({"name": "ann", "shell": "/bin/sh"})).await;
    desired.check(&["2: ann ~bob-"]).await;
    assert_eq!(
        desired.why(second).await,
        format!(
            "It is not applied but overruled by the action ann ({first}), which is about the same (test_user:ann) with other \
             parameters: it is assigned to the device as required."
        )
    );
    // What only looks contradicts nothing.
    params(json!({"name": "ann", "shell": "/bin/sh", "dry_run": true})).await;
    desired.check(&["3: ann ann ~bob-"]).await;
    params(json!({"name": "ann", "shell": "/bin/sh"})).await;
    desired.check(&["4: ann ~bob-"]).await;
    // It comes in its place, and the user stays.
    service.assignments().delete(&admin, assigned.id, None).await.unwrap();
    desired.check(&["5: ann ~bob-"]).await;
    let manifest = desired.manifest(desired.devices[0]).await.unwrap();
    assert_eq!(manifest.groups[0].occurrences[0].action, second);
    let uninstalled = desired.assign(first, target, Mode::Uninstall).await;
    desired.check(&["6: ann- ~bob-"]).await;
    service
        .assignments()
        .delete(&admin, uninstalled.id, None)
        .await
        .unwrap();
    desired.check(&["7: ann ~bob-"]).await;
}

#[tokio::test]
async fn what_cannot_be_compiled_keeps_the_manifest_that_there_is_and_says_why() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let a = desired.action("a").await;
    let set = desired.set("Set", &[a; 200]).await;
    desired.assign(a, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["1: a"]).await;
    let many = vec![Member::ActionSet(set.id); MAX_OCCURRENCES / 200 + 1];
    let definition = desired.definition("Much", &many).await;
    let much = desired
        .assign(
            Source::Definition(definition.id),
            device(desired.devices[0]),
            Mode::Required,
        )
        .await;
    desired.check(&["1: a !manifest.too_large"]).await;
    let seq = desired.test.seq().await;
    desired.test.advance(601);
    desired.check(&["1: a !manifest.too_large"]).await;
    assert_eq!(desired.test.seq().await, seq, "it is said once");
    service.assignments().delete(&admin, much.id, None).await.unwrap();
    desired.check(&["1: a"]).await;
    let history = service
        .manifests()
        .history(&admin, desired.devices[0], &PageRequest::default())
        .await
        .unwrap();
    let mut events: Vec<_> = history.items.iter().map(|event| format!("{:?}", event.event)).collect();
    events.sort_unstable();
    assert_eq!(events, ["Compiled", "Failed", "Recovered"]);
}

#[tokio::test]
async fn an_action_whose_kind_is_gone_keeps_the_manifest_that_there_is() {
    let mut desired = Desired::new(1).await;
    let (a, b) = (desired.action("a").await, desired.action("b").await);
    desired.assign(a, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["1: a"]).await;
    // The same store without the module.
    desired.test.fleet = desired.test.restarted().await.fleet;
    desired.assign(b, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["1: a !manifest.action_invalid"]).await;
}

#[tokio::test]
async fn contents_that_no_device_has_are_kept_for_thirty_days() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let a = desired.action("a").await;
    desired.assign(a, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["1: a"]).await;
    let b = desired
        .assign(desired.action("b").await, device(desired.devices[0]), Mode::Required)
        .await;
    desired.check(&["2: a b"]).await;
    service.assignments().delete(&admin, b.id, None).await.unwrap();
    desired.check(&["3: a"]).await;
    let count = async || {
        let mut reader = desired.test.fleet.store().reader().await.unwrap();
        reader
            .count::<ManifestContent>(&crate::store::Filter::All)
            .await
            .unwrap()
    };
    for (days, removed, left) in [(30, 0, 2), (1, 1, 1), (31, 0, 1)] {
        desired.test.advance(days * 86_400);
        assert_eq!(service.manifests().remove_idle().await.unwrap(), removed, "{days}");
        assert_eq!(count().await, left, "{days}");
    }
    desired.check(&["3: a"]).await;
}

#[tokio::test]
async fn why_is_said_in_words_of_what_is_applied_and_of_what_is_not() {
    let desired = Desired::new(1).await;
    let target = device(desired.devices[0]);
    let group = desired.group("Web", &desired.devices).await;
    let (a, b, c) = (
        desired.action("a").await,
        desired.action("b").await,
        desired.action("c").await,
    );
    let script = desired.action_of("shell", "script").await.unwrap().id;
    let set = desired.set("Base", &[a, b, script]).await;
    let definition = desired.definition("Host", &[Member::ActionSet(set.id)]).await;
    desired
        .assign(
            Source::Definition(definition.id),
            Target::DeviceGroup(group),
            Mode::Uninstall,
        )
        .await;
    desired.assign(b, target, Mode::Excluded).await;
    assert_eq!(
        desired.why(a).await,
        "It is applied as absent: the action set Base of the definition Host is assigned to the device group as uninstall."
    );
    assert_eq!(
        desired.why(b).await,
        "It is not applied: it is assigned to the device as excluded."
    );
    assert_eq!(desired.why(c).await, "It is not applied: no assignment leads to it.");
    assert!(
        desired
            .why(script)
            .await
            .starts_with("It is not applied: it is to be taken away, and its kind knows no absence")
    );
    desired.check(&["1: definition[a-]"]).await;
    let page = PageRequest::new(Some(2), None).unwrap();
    let manifests = desired.desired().manifests();
    let admin = desired.test.admin();
    let first = manifests
        .why(&admin, desired.devices[0], &WhyFilter::default(), &page)
        .await
        .unwrap();
    let page = PageRequest::new(Some(2), first.next).unwrap();
    let second = manifests
        .why(&admin, desired.devices[0], &WhyFilter::default(), &page)
        .await
        .unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (2, 1, None));
    assert_eq!(first.items[0].groups, [format!("definition:{}", definition.id)]);
}

#[tokio::test]
async fn devices_that_have_taken_something_back_at_once_are_answered_together() {
    let desired = Desired::new(100).await;
    let group = desired.group("All", &desired.devices).await;
    let user = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let assigned = desired.assign(user, Target::DeviceGroup(group), Mode::Required).await;
    desired.keep().await;
    let (assignments, admin) = (desired.desired().assignments(), desired.test.admin());
    assignments.delete(&admin, assigned.id, None).await.unwrap();
    desired.check(&["2: ~ann-"; 100]).await;
    let revert = desired.manifest(desired.devices[0]).await.unwrap().reverts[0].id;
    let seq = desired.test.seq().await;
    let manifests = &desired.desired().manifests();
    // Each tells it twice.
    let devices = desired.devices.iter().flat_map(|device| [device, device]);
    let confirm = |device: &DeviceId| manifests.confirm_reverts(*device, std::slice::from_ref(&revert));
    let all = futures::future::join_all(devices.map(confirm));
    tokio::select! {
        biased;
        () = manifests.drive(&desired.test.fleet) => unreachable!(),
        confirmed = all => assert!(confirmed.iter().all(Result::is_ok)),
    }
    assert!(desired.test.seq().await <= seq + 4, "in a few commits");
    desired.check(&["3: "; 100]).await;
}
