//! Actions, sets, definitions and assignments as they are written.

use super::*;
use crate::{
    access::{DENIED, Role},
    devices::{device::DEVICE_NAME_INVALID, testing::fails},
    kernel::{INVALID, PRECONDITION_FAILED},
    work::{
        desired::{
            actions::ActionChange,
            assignments::{AssignmentChange, AssignmentFilter},
            authoring::AuthoredFilter,
            definitions::DefinitionChange,
            sets::ActionSetChange,
        },
        operations::{INVALID_PARAMS, UNKNOWN_KIND},
        schedule::SCHEDULE_CRON_INVALID,
    },
};

fn script(name: &str) -> NewAction {
    NewAction {
        name: name.into(),
        description: "for tests".into(),
        operation: "shell".into(),
        params: json!({"script": "true"}).into(),
        state: DesiredState::Present,
        timeout_seconds: None,
        rhythm: None,
    }
}

#[tokio::test]
async fn actions_are_made_shown_changed_listed_and_deleted() {
    let desired = Desired::new(0).await;
    let (actions, admin) = (desired.desired().actions(), desired.test.admin());
    let made = actions.create(&admin, &script("Motd")).await.unwrap();
    assert_eq!((made.revision, made.generation, made.timeout_seconds), (1, 1, 300));
    assert_eq!(made.params, json!({"script": "true", "interpreter": "/bin/sh"}));
    fails(actions.create(&admin, &script("mOTD")).await, ACTION_NAME_TAKEN);
    let renamed = ActionChange {
        name: Some("Banner".into()),
        ..ActionChange::default()
    };
    let named = actions.set(&admin, made.id, Some(1), &renamed).await.unwrap();
    assert_eq!((named.revision, named.generation), (2, 1), "a name is not applied");
    let other = ActionChange {
        params: Some(json!({"script": "false"}).into()),
        ..ActionChange::default()
    };
    fails(actions.set(&admin, made.id, Some(1), &other).await, PRECONDITION_FAILED);
    assert_eq!(
        actions.set(&admin, made.id, Some(2), &other).await.unwrap().generation,
        2
    );
    actions.create(&admin, &script("account")).await.unwrap();
    let page = actions
        .list(&admin, &AuthoredFilter::named("BAN"), &PageRequest::default())
        .await;
    assert_eq!(page.unwrap().items[0].name, "Banner");
    actions.delete(&admin, made.id, None, false).await.unwrap();
    fails(actions.show(&admin, made.id).await, ACTION_NOT_FOUND);
    let mut audited = desired.test.actions().await;
    audited.retain(|action| action.starts_with("action."));
    audited.sort_unstable();
    assert_eq!(
        audited,
        [
            "action.create",
            "action.create",
            "action.delete",
            "action.update",
            "action.update"
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_kept_up_is_refused_with_the_member_that_is_wrong() {
    let desired = Desired::new(0).await;
    let (actions, admin) = (desired.desired().actions(), desired.test.admin());
    let refused = [
        (
            NewAction {
                name: " a".into(),
                ..script("a")
            },
            DEVICE_NAME_INVALID,
            "/name",
        ),
        (
            NewAction {
                operation: "nothing".into(),
                ..script("a")
            },
            UNKNOWN_KIND,
            "/operation",
        ),
        (
            NewAction {
                operation: "agent.update".into(),
                ..script("a")
            },
            ACTION_KIND_UNFIT,
            "/operation",
        ),
        (
            NewAction {
                params: json!({"script": ""}).into(),
                ..script("a")
            },
            INVALID_PARAMS,
            "/params",
        ),
        (
            NewAction {
                params: json!({"script": "x", "state": "present"}).into(),
                ..script("a")
            },
            INVALID_PARAMS,
            "/params/state",
        ),
        (
            NewAction {
                state: DesiredState::Absent,
                ..script("a")
            },
            ACTION_NEVER_ABSENT,
            "/state",
        ),
        (
            NewAction {
                timeout_seconds: Some(0),
                ..script("a")
            },
            INVALID,
            "/timeout_seconds",
        ),
        (
            NewAction {
                description: "x".repeat(2_001),
                ..script("a")
            },
            INVALID,
            "/description",
        ),
        (
            NewAction {
                rhythm: Some(every(59)),
                ..script("a")
            },
            INVALID,
            "/rhythm/when/every_seconds",
        ),
        (
            NewAction {
                rhythm: Some(at("61 * * * *")),
                ..script("a")
            },
            SCHEDULE_CRON_INVALID,
            "/rhythm/when/cron",
        ),
    ];
    for (new, code, field) in refused {
        let error = actions.create(&admin, &new).await.unwrap_err();
        assert_eq!(
            (error.code(), error.fields()[0].pointer.as_str()),
            (code, field),
            "{new:?}"
        );
    }
}

fn every(seconds: u32) -> NewRhythm {
    NewRhythm {
        when: NewRhythmTimes::Interval { every_seconds: seconds },
        on_change: true,
        skip_unchanged: false,
    }
}

fn at(cron: &str) -> NewRhythm {
    NewRhythm {
        when: NewRhythmTimes::Cron { cron: cron.into() },
        ..every(60)
    }
}

#[tokio::test]
async fn authors_need_the_right_to_the_operation_as_well() {
    let desired = Desired::new(1).await;
    let actions = desired.desired().actions();
    let author = with(&desired.test, &[ACTIONS_READ, ACTIONS_WRITE]);
    fails(actions.create(&author, &script("a")).await, DENIED);
    let runner = with(&desired.test, &[ACTIONS_READ, ACTIONS_WRITE, SHELL_RUN]);
    let made = actions.create(&runner, &script("a")).await.unwrap();
    let change = ActionChange::default();
    fails(actions.set(&author, made.id, None, &change).await, DENIED);
    let viewer = desired.test.role(Role::Viewer);
    fails(actions.create(&viewer, &script("b")).await, DENIED);
    actions.show(&viewer, made.id).await.unwrap();
    let new = NewAssignment {
        source: made.id.into(),
        target: device(desired.devices[0]),
        mode: Mode::Required,
        order: 0,
    };
    fails(desired.desired().assignments().create(&viewer, &[new]).await, DENIED);
}

#[tokio::test]
async fn sets_and_definitions_name_what_there_is_and_no_more_than_they_may() {
    let desired = Desired::new(0).await;
    let (sets, admin) = (desired.desired().action_sets(), desired.test.admin());
    let a = desired.action("a").await;
    let set = desired.set("Set", &[a, a]).await;
    let gone: ActionId = ActionId::new(desired.test.clock_now(), &*desired.test.random);
    let change = |members: Vec<ActionId>| ActionSetChange {
        members: Some(members),
        ..ActionSetChange::default()
    };
    let error = sets
        .set(&admin, set.id, None, &change(vec![a, gone]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.fields()[0].pointer.as_str()),
        (MEMBER_UNKNOWN, "/members/1")
    );
    fails(sets.set(&admin, set.id, None, &change(vec![a; 201])).await, INVALID);
    assert_eq!(
        sets.set(&admin, set.id, None, &change(vec![a; 200]))
            .await
            .unwrap()
            .revision,
        2
    );
    let definition = desired
        .definition("Definition", &[Member::ActionSet(set.id), Member::Action(a)])
        .await;
    let members = DefinitionChange {
        members: Some(vec![Member::Action(gone)]),
        ..DefinitionChange::default()
    };
    let definitions = desired.desired().definitions();
    fails(
        definitions.set(&admin, definition.id, None, &members).await,
        MEMBER_UNKNOWN,
    );
}

#[tokio::test]
async fn what_is_in_use_is_deleted_only_by_force_and_then_everywhere() {
    let desired = Desired::new(1).await;
    let (service, admin) = (desired.desired(), desired.test.admin());
    let (a, b) = (desired.action("a").await, desired.action("b").await);
    let set = desired.set("Set", &[a, b, a]).await;
    let definition = desired
        .definition("Definition", &[Member::Action(a), Member::ActionSet(set.id)])
        .await;
    desired
        .assign(
            Source::Definition(definition.id),
            device(desired.devices[0]),
            Mode::Required,
        )
        .await;
    desired.assign(a, device(desired.devices[0]), Mode::Required).await;
    desired.check(&["1: definition[a a b a]"]).await;
    fails(service.actions().delete(&admin, a, None, false).await, ACTION_IN_USE);
    service.actions().delete(&admin, a, None, true).await.unwrap();
    assert_eq!(service.action_sets().show(&admin, set.id).await.unwrap().members, [b]);
    desired.check(&["2: definition[b]"]).await;
    fails(
        service.action_sets().delete(&admin, set.id, None, false).await,
        SET_IN_USE,
    );
    fails(
        service.definitions().delete(&admin, definition.id, None, false).await,
        DEFINITION_IN_USE,
    );
    service
        .definitions()
        .delete(&admin, definition.id, None, true)
        .await
        .unwrap();
    let page = service
        .assignments()
        .list(&admin, &AssignmentFilter::default(), &PageRequest::default())
        .await;
    assert!(page.unwrap().items.is_empty());
    desired.check(&["3: "]).await;
    service.action_sets().delete(&admin, set.id, None, false).await.unwrap();
}

#[tokio::test]
async fn one_thing_is_assigned_to_one_target_once() {
    let desired = Desired::new(2).await;
    let (assignments, admin) = (desired.desired().assignments(), desired.test.admin());
    let (a, first) = (desired.action("a").await, device(desired.devices[0]));
    let made = desired.assign(a, first, Mode::Required).await;
    assert_eq!(made.source_name.as_deref(), Some("a"));
    assert_eq!(made.target_name.as_deref(), Some("device 0000"));
    let seq = desired.test.seq().await;
    assert_eq!(desired.assign(a, first, Mode::Required).await, made);
    assert_eq!(desired.test.seq().await, seq, "nothing was written");
    let new = |target, mode| NewAssignment {
        source: a.into(),
        target,
        mode,
        order: 0,
    };
    let second = device(desired.devices[1]);
    let both = [new(second, Mode::Required), new(first, Mode::Excluded)];
    fails(assignments.create(&admin, &both).await, ASSIGNMENT_EXISTS);
    let of = |target: Target| AssignmentFilter {
        target: Some(target.uuid()),
        ..AssignmentFilter::default()
    };
    let page = assignments
        .list(&admin, &of(second), &PageRequest::default())
        .await
        .unwrap();
    assert!(page.items.is_empty(), "all or nothing");
    let change = AssignmentChange {
        mode: Some(Mode::Excluded),
        order: Some(-3),
    };
    fails(
        assignments.set(&admin, made.id, Some(7), &change).await,
        PRECONDITION_FAILED,
    );
    let changed = assignments.set(&admin, made.id, Some(1), &change).await.unwrap();
    assert_eq!((changed.mode, changed.order, changed.revision), (Mode::Excluded, -3, 2));
    fails(assignments.delete(&admin, made.id, Some(1)).await, PRECONDITION_FAILED);
    assignments.delete(&admin, made.id, Some(2)).await.unwrap();
    fails(assignments.show(&admin, made.id).await, ASSIGNMENT_NOT_FOUND);
    fails(assignments.create(&admin, &[]).await, INVALID);
    let nobody = device(DeviceId::new(desired.test.clock_now(), &*desired.test.random));
    fails(
        assignments.create(&admin, &[new(nobody, Mode::Required)]).await,
        ASSIGNMENT_TARGET_UNKNOWN,
    );
    desired
        .desired()
        .actions()
        .delete(&admin, a, None, false)
        .await
        .unwrap();
    fails(
        assignments.create(&admin, &[new(first, Mode::Required)]).await,
        ASSIGNMENT_SOURCE_UNKNOWN,
    );
}

#[tokio::test]
async fn actions_are_found_by_kind_and_where_nothing_leads_to_them() {
    let desired = Desired::new(1).await;
    let direct = desired.action("direct").await;
    let in_set = desired.action("in a set").await;
    let deep = desired.action("in a set of a definition").await;
    let held = desired.action("in a set that nobody has").await;
    desired.action("alone").await;
    desired.action_of("shell", "script").await.unwrap();
    let set = desired.set("set", &[in_set]).await.id;
    let inner = desired.set("inner", &[deep]).await.id;
    desired.set("idle", &[held]).await;
    let definition = desired.definition("definition", &[Member::ActionSet(inner)]).await.id;
    let target = device(desired.devices[0]);
    desired.assign(direct, target, Mode::Required).await;
    desired.assign(Source::ActionSet(set), target, Mode::Excluded).await;
    desired
        .assign(Source::Definition(definition), target, Mode::Available)
        .await;

    let check = async |filter: AuthoredFilter, limit: usize, expected: &[&str]| {
        let (actions, admin) = (desired.desired().actions(), desired.test.admin());
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = PageRequest::new(Some(limit), token).unwrap();
            let page = actions.list(&admin, &filter, &page).await.unwrap();
            assert!(page.items.len() <= limit && (!page.items.is_empty() || page.next.is_none()));
            found.extend(page.items.into_iter().map(|action| action.name));
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
    };
    let of_kind = |operation: &str| AuthoredFilter {
        operation: Some(operation.into()),
        ..AuthoredFilter::default()
    };
    let unassigned = || AuthoredFilter {
        unassigned: true,
        ..AuthoredFilter::default()
    };
    check(of_kind("shell"), 50, &["script"]).await;
    check(of_kind("nothing"), 50, &[]).await;
    let free = ["alone", "in a set that nobody has", "script"];
    for limit in [1, 2, 50] {
        check(unassigned(), limit, &free).await;
    }
    let both = AuthoredFilter {
        unassigned: true,
        ..of_kind("shell")
    };
    check(both, 50, &["script"]).await;
    let (sets, admin) = (desired.desired().action_sets(), desired.test.admin());
    let page = sets.list(&admin, &unassigned(), &PageRequest::default()).await.unwrap();
    let names: Vec<_> = page.items.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["idle"]);
}
