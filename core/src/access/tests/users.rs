use secrecy::ExposeSecret as _;

use super::*;
use crate::{
    access::{
        Actor, Grants, Scope,
        users::{Password, USERS_WRITE, UserChange, UserFilter},
    },
    kernel::EntityId as _,
};

fn role(role: Role) -> UserChange {
    UserChange {
        role: Some(role),
        ..UserChange::default()
    }
}

fn disabled(disabled: bool) -> UserChange {
    UserChange {
        disabled: Some(disabled),
        ..UserChange::default()
    }
}

#[tokio::test]
async fn names_are_unique_whatever_their_case() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    check(users.create(&root, new_user("Anna", Role::Viewer)).await, "ok");
    check(
        users.create(&root, new_user("aNNA", Role::Viewer)).await,
        "storage.taken",
    );
    check(world.login("ANNA ").await, "ok");
    let rename = UserChange {
        name: Some("ROOT".to_owned()),
        ..UserChange::default()
    };
    let anna = world.login("anna").await.unwrap().user;
    check(users.set(&root, anna.id, rename, None).await, "storage.taken");
}

#[tokio::test]
async fn lists_are_filtered_searched_and_paged() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    for (name, display_name, role) in [
        ("anna", "Anna Schmidt", Role::Operator),
        ("bert", "Bert Schmidt", Role::Viewer),
        ("cleo", "Cleo Maier", Role::Viewer),
    ] {
        let mut new = new_user(name, role);
        new.display_name = Some(display_name.to_owned());
        users.create(&root, new).await.unwrap();
    }
    let cleo = world.login("cleo").await.unwrap().user.id;
    users.set(&root, cleo, disabled(true), None).await.unwrap();

    let names = async |filter: UserFilter| {
        let mut names = Vec::new();
        let mut page = PageRequest::new(Some(1), None).unwrap();
        loop {
            let found = users.list(&root, &filter, &page).await.unwrap();
            names.extend(found.items.into_iter().map(|user| user.name));
            let Some(next) = found.next else { break };
            page = PageRequest::new(Some(1), Some(next)).unwrap();
        }
        names.sort_unstable();
        names
    };
    let all = UserFilter::default();
    let viewers = UserFilter {
        role: Some(Role::Viewer),
        ..all.clone()
    };
    let enabled_viewers = UserFilter {
        disabled: Some(false),
        ..viewers.clone()
    };
    let schmidt = UserFilter {
        search: Some("SCHM".to_owned()),
        ..all.clone()
    };
    assert_eq!(names(all).await, ["anna", "bert", "cleo", "root"]);
    assert_eq!(names(viewers).await, ["bert", "cleo"]);
    assert_eq!(names(enabled_viewers).await, ["bert"]);
    assert_eq!(names(schmidt).await, ["anna", "bert"]);
}

#[tokio::test]
async fn only_administrators_manage_people_and_everybody_sees_themselves() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    let root_id = UserId::from_uuid(root.user().unwrap());
    for role_of_actor in [Role::Operator, Role::Viewer] {
        let (id, context) = world.signed_in(&root, role_of_actor.name(), role_of_actor).await;
        check(users.show(&context, id).await, "ok");
        check(users.show(&context, root_id).await, "access.denied");
        let list = users
            .list(&context, &UserFilter::default(), &PageRequest::default())
            .await;
        check(list, "access.denied");
        check(
            users.create(&context, new_user("x", Role::Viewer)).await,
            "access.denied",
        );
        check(users.set(&context, id, role(Role::Admin), None).await, "access.denied");
        check(
            users.set_password(&context, root_id, None, &PASSWORD.into()).await,
            "access.denied",
        );
        check(users.delete(&context, id, None).await, "access.denied");
    }
    check(
        users.show(&root, UserId::from_uuid(uuid::Uuid::nil())).await,
        "user.not_found",
    );
}

#[tokio::test]
async fn nobody_gives_or_rules_over_more_than_they_have() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    let root_id = UserId::from_uuid(root.user().unwrap());
    let viewer = world.user(&root, "viewer", Role::Viewer).await.id;
    // Somebody who may manage users and nothing else but what viewers may.
    let mut grants = vec![(USERS_WRITE, Scope::All)];
    let table = world.fleet.permissions();
    grants.extend(
        table
            .iter()
            .filter(|e| e.least == Role::Viewer)
            .map(|e| (e.permission, Scope::All)),
    );
    let actor = Actor::User {
        id: uuid::Uuid::from_u128(7),
        name: "helpdesk".to_owned(),
    };
    let helpdesk = Context::new(actor, origin(), Arc::new(Grants::of(grants)));

    check(users.create(&helpdesk, new_user("new", Role::Viewer)).await, "ok");
    check(
        users.create(&helpdesk, new_user("boss", Role::Admin)).await,
        "access.denied",
    );
    check(
        users.set(&helpdesk, viewer, role(Role::Admin), None).await,
        "access.denied",
    );
    check(
        users.set(&helpdesk, root_id, disabled(true), None).await,
        "access.denied",
    );
    check(
        users
            .set_password(&helpdesk, root_id, None, &"another fine password".into())
            .await,
        "access.denied",
    );
    check(
        users
            .set_password(&helpdesk, viewer, None, &"another fine password".into())
            .await,
        "ok",
    );
    check(users.delete(&helpdesk, root_id, None).await, "access.denied");
    check(users.delete(&helpdesk, viewer, None).await, "ok");
}

#[tokio::test]
async fn the_last_administrator_who_can_sign_in_stays() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    let root_id = UserId::from_uuid(root.user().unwrap());
    let mut silent = new_user("silent", Role::Admin);
    silent.password = None;
    let silent = users.create(&root, silent).await.unwrap().id;

    // The other one has no password: nobody could sign in.
    check(
        users.set(&root, root_id, role(Role::Viewer), None).await,
        "user.last_admin",
    );
    check(users.set(&root, root_id, disabled(true), None).await, "user.last_admin");
    check(users.delete(&root, root_id, None).await, "user.last_admin");
    check(users.set_password(&root, silent, None, &PASSWORD.into()).await, "ok");
    check(users.set(&root, root_id, role(Role::Viewer), None).await, "ok");

    let silent_context = world.context(&world.login("silent").await.unwrap()).await;
    check(users.delete(&silent_context, silent, None).await, "user.last_admin");
    check(users.set(&silent_context, root_id, role(Role::Admin), None).await, "ok");
    check(users.set(&silent_context, root_id, disabled(true), None).await, "ok");
    check(users.delete(&silent_context, silent, None).await, "user.last_admin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn administrators_who_remove_each_other_at_once_leave_one() {
    let (world, root) = World::with_root().await;
    let mut ids = vec![UserId::from_uuid(root.user().unwrap())];
    for n in 0..5 {
        ids.push(world.user(&root, &format!("admin{n}"), Role::Admin).await.id);
    }
    let removals = ids.into_iter().map(|id| {
        let (fleet, root) = (world.fleet.clone(), root.clone());
        tokio::spawn(async move {
            fleet
                .access()
                .users()
                .set(&root, id, role(Role::Viewer), None)
                .await
                .is_ok()
        })
    });
    let done = futures::future::join_all(removals).await;
    assert_eq!(done.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 5);
}

#[tokio::test]
async fn a_change_names_its_members_and_holds_to_its_revision() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    let anna = world.user(&root, "anna", Role::Viewer).await;
    let change = UserChange {
        display_name: Some("Anna S.".to_owned()),
        role: Some(Role::Operator),
        ..UserChange::default()
    };
    let changed = users
        .set(&root, anna.id, change.clone(), Some(anna.revision))
        .await
        .unwrap();
    let entry = world.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.changed),
        ("user.set", vec!["display_name".into(), "role".into()])
    );
    assert_eq!(entry.subject.unwrap().id, anna.id.uuid());

    let stale = users.set(&root, anna.id, disabled(true), Some(anna.revision)).await;
    check(stale, "request.precondition_failed");
    check(
        users.delete(&root, anna.id, Some(anna.revision)).await,
        "request.precondition_failed",
    );

    let before = world.audit().await.len();
    let again = users.set(&root, anna.id, change, Some(changed.revision)).await.unwrap();
    assert_eq!(
        (again, world.audit().await.len()),
        (changed.clone(), before),
        "nothing changed"
    );
    assert_eq!(users.show(&root, anna.id).await.unwrap(), changed);
    check(users.delete(&root, anna.id, Some(changed.revision)).await, "ok");
}

#[tokio::test]
async fn a_new_password_of_ones_own_needs_the_present_one_and_ends_all_other_sessions() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    let (id, here) = world.signed_in(&root, "anna", Role::Viewer).await;
    let here_token = world.login("anna").await.unwrap().token;
    let here_context = world.authenticate(here_token.expose()).await.unwrap();
    let elsewhere = world.login("anna").await.unwrap().token;
    let (new, present): (Password, Password) = ("another fine password".into(), PASSWORD.into());

    check(users.set_password(&here, id, None, &new).await, "request.invalid");
    check(
        users.set_password(&here, id, Some(&"wrong".into()), &new).await,
        "request.invalid",
    );
    assert_eq!(world.audit().await[0].action, "user.password.refuse");
    check(
        users.set_password(&here, id, Some(&present), &present).await,
        "request.invalid",
    );
    check(
        users.set_password(&here, id, Some(&present), &"short".into()).await,
        "request.invalid",
    );
    check(users.set_password(&here_context, id, Some(&present), &new).await, "ok");

    check(world.authenticate(here_token.expose()).await, "ok");
    check(world.authenticate(elsewhere.expose()).await, "auth.required");
    check(world.login("anna").await, "auth.credentials_invalid");
    check(world.login_with("anna", "another fine password").await, "ok");
}

#[tokio::test]
async fn guessing_the_present_password_from_a_session_is_locked_like_signing_in() {
    let (world, root) = World::with_root().await;
    let (id, anna) = world.signed_in(&root, "anna", Role::Viewer).await;
    let users = world.fleet.access().users();
    let new = Password::from("another fine password");
    for _ in 0..5 {
        check(
            users.set_password(&anna, id, Some(&"a wrong guess".into()), &new).await,
            "request.invalid",
        );
    }
    check(
        users.set_password(&anna, id, Some(&PASSWORD.into()), &new).await,
        "auth.locked",
    );
    check(world.login("anna").await, "auth.locked");
    // An administrator sets a new one: that ends the lock.
    check(users.set_password(&root, id, None, &new).await, "ok");
    check(world.login_with("anna", "another fine password").await, "ok");
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_stays_out_of_old_sessions() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    world.user(&root, "anna", Role::Viewer).await;
    let session = world.login("anna").await.unwrap();
    check(users.set(&root, session.user.id, disabled(true), None).await, "ok");
    check(world.authenticate(session.token.expose()).await, "auth.required");
    check(world.login("anna").await, "auth.credentials_invalid");
    check(users.set(&root, session.user.id, disabled(false), None).await, "ok");
    check(world.authenticate(session.token.expose()).await, "auth.required");
    check(world.login("anna").await, "ok");
}

#[tokio::test]
async fn a_deleted_user_takes_sessions_and_keys_along() {
    let (world, root) = World::with_root().await;
    let (id, anna) = world.signed_in(&root, "anna", Role::Viewer).await;
    let session = world.login("anna").await.unwrap();
    let new = crate::access::keys::NewApiKey {
        name: "script".to_owned(),
        role: Role::Viewer,
        purpose: crate::access::keys::KeyPurpose::Api,
        owner: None,
        expires_at: None,
    };
    let key = world.fleet.access().keys().create(&anna, new).await.unwrap();
    check(world.fleet.access().users().delete(&root, id, None).await, "ok");
    let entry = world.audit().await.remove(0);
    assert_eq!(
        (&entry.details["sessions"], &entry.details["keys"]),
        (&2.into(), &1.into())
    );
    check(world.authenticate(session.token.expose()).await, "auth.required");
    check(world.authenticate(key.token.expose()).await, "auth.required");
    check(world.login("anna").await, "auth.credentials_invalid");
    check(world.fleet.access().users().show(&root, id).await, "user.not_found");
}

#[tokio::test]
async fn whoever_holds_the_store_gets_a_locked_out_administrator_back_in() {
    let (world, root) = World::with_root().await;
    let users = world.fleet.access().users();
    users.create(&root, new_user("anna", Role::Viewer)).await.unwrap();
    let anna = world.login("anna").await.unwrap();
    users.set(&root, anna.user.id, disabled(true), None).await.unwrap();

    let recovered = users.recover("Anna").await.unwrap();
    assert!(!recovered.created);
    assert_eq!((recovered.user.role, recovered.user.disabled), (Role::Admin, false));
    let password = recovered.password.expose_secret();
    let signed_in = world.login_with("anna", password).await.unwrap();
    assert_eq!(signed_in.user.id, anna.user.id);
    check(world.login("anna").await, "auth.credentials_invalid");
    check(world.authenticate(anna.token.expose()).await, "auth.required");
    let entries = world.audit().await;
    let recoveries = entries.iter().filter(|entry| entry.action == "user.recover");
    assert_eq!(recoveries.count(), 1);
}

#[tokio::test]
async fn recovering_a_name_that_is_not_there_makes_an_administrator() {
    let world = World::new().await;
    let users = world.fleet.access().users();
    let recovered = users.recover("rescue").await.unwrap();
    assert!(recovered.created && recovered.user.role == Role::Admin);
    check(users.recover("not a name!").await, "request.invalid");
}
