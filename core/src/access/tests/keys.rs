use super::*;
use crate::{
    access::{
        Actor,
        keys::{ApiKeyId, KeyPurpose, NewApiKey},
        users::{USERS_READ, UserChange},
    },
    kernel::EntityId as _,
};

fn new_key(role: Role) -> NewApiKey {
    NewApiKey {
        name: " script ".to_owned(),
        role,
        purpose: KeyPurpose::Api,
        owner: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_acts_for_its_owner() {
    let (world, root) = World::with_root().await;
    let keys = world.fleet.access().keys();
    let created = keys.create(&root, new_key(Role::Viewer)).await.unwrap();
    assert_eq!((created.key.name.as_str(), created.key.last_used_at), ("script", None));
    assert!(created.token.expose().starts_with(&created.key.prefix) && created.key.prefix.len() == 11);

    let context = world.authenticate(created.token.expose()).await.unwrap();
    let actor = Actor::Key {
        id: created.key.id.uuid(),
        name: "script".to_owned(),
    };
    assert_eq!(
        (context.actor(), context.user(), context.session()),
        (&actor, root.user(), None)
    );
    assert_eq!(
        context.grants(),
        &Role::Viewer.grants(world.fleet.permissions()),
        "capped below its owner"
    );

    let shown = keys.show(&root, created.key.id).await.unwrap();
    assert_eq!(shown.last_used_at, Some(created.key.created_at));
    assert_eq!(shown.last_used_from.as_deref(), Some("192.0.2.7"));
    assert_eq!(
        keys.list(&root, None, &PageRequest::default()).await.unwrap().items,
        [shown]
    );
}

#[tokio::test]
async fn a_key_never_does_more_than_its_owner_may_at_that_moment() {
    let (world, root) = World::with_root().await;
    let (id, anna) = world.signed_in(&root, "anna", Role::Admin).await;
    let key = world
        .fleet
        .access()
        .keys()
        .create(&anna, new_key(Role::Admin))
        .await
        .unwrap();
    let context = world.authenticate(key.token.expose()).await.unwrap();
    assert!(context.require(USERS_READ).is_ok());

    let demote = UserChange {
        role: Some(Role::Viewer),
        ..UserChange::default()
    };
    world.fleet.access().users().set(&root, id, demote, None).await.unwrap();
    let context = world.authenticate(key.token.expose()).await.unwrap();
    check(context.require(USERS_READ), "access.denied");
    assert_eq!(context.grants(), &Role::Viewer.grants(world.fleet.permissions()));

    let disable = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    world
        .fleet
        .access()
        .users()
        .set(&root, id, disable, None)
        .await
        .unwrap();
    check(world.authenticate(key.token.expose()).await, "auth.required");
}

#[tokio::test]
async fn an_expired_or_revoked_key_proves_nothing() {
    let (world, root) = World::with_root().await;
    let keys = world.fleet.access().keys();
    let mut new = new_key(Role::Viewer);
    new.expires_at = Some(world.fleet.clock().now());
    check(keys.create(&root, new.clone()).await, "request.invalid");
    new.expires_at = Some(world.fleet.clock().now().plus(Duration::from_secs(60)));
    let key = keys.create(&root, new).await.unwrap();
    world.pass(59);
    check(world.authenticate(key.token.expose()).await, "ok");
    world.pass(1);
    check(world.authenticate(key.token.expose()).await, "auth.key_expired");

    let key = keys.create(&root, new_key(Role::Viewer)).await.unwrap();
    check(keys.revoke(&root, key.key.id).await, "ok");
    check(world.authenticate(key.token.expose()).await, "auth.required");
    check(keys.revoke(&root, key.key.id).await, "api_key.not_found");
    assert_eq!(world.audit().await[0].action, "api_key.revoke");
}

#[tokio::test]
async fn ones_own_keys_need_a_sign_in_and_those_of_others_a_permission() {
    let (world, root) = World::with_root().await;
    let keys = world.fleet.access().keys();
    let (anna_id, anna) = world.signed_in(&root, "anna", Role::Operator).await;
    let (_, bert) = world.signed_in(&root, "bert", Role::Operator).await;
    let page = PageRequest::default();
    let key = keys.create(&anna, new_key(Role::Operator)).await.unwrap();

    check(keys.create(&anna, new_key(Role::Admin)).await, "access.denied");
    check(keys.list(&anna, None, &page).await, "access.denied");
    assert_eq!(keys.list(&anna, Some(anna_id), &page).await.unwrap().items.len(), 1);
    check(keys.list(&bert, Some(anna_id), &page).await, "access.denied");
    check(keys.show(&bert, key.key.id).await, "api_key.not_found");
    check(keys.revoke(&bert, key.key.id).await, "api_key.not_found");
    check(
        keys.show(&root, ApiKeyId::from_uuid(uuid::Uuid::nil())).await,
        "api_key.not_found",
    );

    let mut for_anna = new_key(Role::Viewer);
    for_anna.owner = Some(anna_id);
    check(keys.create(&bert, for_anna.clone()).await, "access.denied");
    check(keys.create(&root, for_anna.clone()).await, "ok");
    for_anna.role = Role::Admin;
    check(keys.create(&root, for_anna).await, "request.invalid");
    check(
        keys.create(&Context::anonymous(origin()), new_key(Role::Viewer)).await,
        "auth.required",
    );
}

#[tokio::test]
async fn a_key_makes_no_keys_sets_no_password_and_sees_no_sessions_of_its_owner() {
    let (world, root) = World::with_root().await;
    let access = world.fleet.access();
    let (anna_id, anna) = world.signed_in(&root, "anna", Role::Operator).await;
    let created = access.keys().create(&anna, new_key(Role::Operator)).await.unwrap();
    let other = access.keys().create(&anna, new_key(Role::Operator)).await.unwrap();
    let key = world.authenticate(created.token.expose()).await.unwrap();

    check(access.keys().create(&key, new_key(Role::Viewer)).await, "access.denied");
    check(access.keys().revoke(&key, other.key.id).await, "api_key.not_found");
    let new = "another fine password".into();
    check(
        access
            .users()
            .set_password(&key, anna_id, Some(&PASSWORD.into()), &new)
            .await,
        "access.denied",
    );
    check(
        access.sessions().list(&key, None, &PageRequest::default()).await,
        "access.denied",
    );
    check(access.sessions().revoke_all(&key, None).await, "access.denied");
    check(access.users().show(&key, anna_id).await, "ok");
    check(access.keys().revoke(&key, created.key.id).await, "ok");
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_keys() {
    let (world, root) = World::with_root().await;
    let keys = world.fleet.access().keys();
    for _ in 0..100 {
        check(keys.create(&root, new_key(Role::Viewer)).await, "ok");
    }
    check(keys.create(&root, new_key(Role::Viewer)).await, "api_key.too_many");
    for name in ["", "  ", "a\nb", &"x".repeat(129)] {
        let mut new = new_key(Role::Viewer);
        new.name = name.to_owned();
        check(keys.create(&root, new).await, "request.invalid");
    }
}
