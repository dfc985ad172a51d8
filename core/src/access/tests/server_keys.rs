use std::time::Duration;

use super::*;
use crate::{
    access::server_keys::{ServerKey, ServerKeyId},
    kernel::{EntityId as _, Error, named_uuid},
    protocol::follows,
    store::{Evidence, Query},
};

async fn open(world: &World, key: MasterKey) -> Result<Fleet, Error> {
    Fleet::builder(world.backend.clone(), key)
        .clock(world.clock.clone())
        .open()
        .await
}

#[tokio::test]
async fn the_keys_are_made_once_and_found_again() {
    let mut world = World::new().await;
    let keys = world.fleet.keys().clone();
    let mut made: Vec<_> = world.audit().await.iter().map(|entry| entry.action.clone()).collect();
    made.sort();
    assert_eq!(made, ["certificate_authority.create", "server_key.create"]);
    world.restart().await;
    let again = world.fleet.keys();
    assert_eq!(keys.identity().public(), again.identity().public());
    assert_eq!(keys.dispatch().public, again.dispatch().public);
    assert_ne!(keys.identity().public(), keys.dispatch().public);
    assert_eq!(world.audit().await.len(), 2, "finding them changes nothing");
}

#[tokio::test]
async fn another_master_key_is_refused_by_the_id_of_the_missing_one_and_nothing_is_written() {
    let world = World::new().await;
    let entries = world.audit().await.len();
    let error = open(&world, master_key(2)).await.unwrap_err();
    assert_eq!(error.code().name(), "secrets.master_key_wrong");
    for part in [
        master_key(1).id(),
        master_key(2).id(),
        "start with the key file".to_owned(),
    ] {
        assert!(error.message().contains(&part), "{error}");
    }
    assert_eq!(world.audit().await.len(), entries);
    assert!(open(&world, master_key(1)).await.is_ok());
}

#[tokio::test]
async fn a_store_with_some_of_the_keys_is_a_canary_for_a_new_master_key() {
    let world = World::new().await;
    forget(&world, "dispatch").await;
    forget(&world, "identity").await;
    let error = open(&world, master_key(2)).await.unwrap_err();
    assert_eq!(
        error.code().name(),
        "secrets.master_key_wrong",
        "no key is made beside one that does not open"
    );
    assert!(open(&world, master_key(1)).await.is_ok());
}

#[tokio::test]
async fn a_key_that_was_moved_to_another_row_does_not_open() {
    let world = World::new().await;
    let id = |name| ServerKeyId::from_uuid(named_uuid("server_key", name));
    let system = Context::system("test");
    let action = Evidence::Audit(crate::access::Action::new("test.swap"));
    let swap = world.fleet.store().change(&system, action, |mut tx| async move {
        let identity = tx.get::<ServerKey>(id("identity")).await?.unwrap();
        let dispatch = tx.get::<ServerKey>(id("dispatch")).await?.unwrap();
        let mut after = dispatch.value.clone();
        after.sealed = identity.sealed.clone();
        tx.update(&dispatch, &after)?;
        tx.commit().await
    });
    swap.await.unwrap();
    check(open(&world, master_key(1)).await, "secrets.damaged");
}

#[tokio::test]
async fn the_dispatch_key_hands_over_once_a_year_and_every_former_key_leads_to_it() {
    let mut world = World::new().await;
    let first = world.fleet.keys().dispatch().public;
    let another = open(&world, master_key(1)).await.unwrap();
    for year in 1..=70 {
        let before = world.fleet.keys().dispatch().public;
        world.clock.advance(Duration::from_secs(364 * 86_400));
        world.fleet.keys().turn_over().await.unwrap();
        assert_eq!(world.fleet.keys().dispatch().public, before, "not before its time");
        world.clock.advance(Duration::from_secs(86_400));
        // Two servers at once.
        let (here, there) = (world.fleet.keys().clone(), another.keys().clone());
        let (one, other) = tokio::join!(here.turn_over(), there.turn_over());
        one.and(other).unwrap();
        there.refresh().await.unwrap();
        let dispatch = here.dispatch();
        assert_eq!(dispatch.public, there.dispatch().public);
        assert_ne!(dispatch.public, before);
        assert_eq!(dispatch.key.public(), dispatch.public);
        assert!(follows(before, dispatch.public, &dispatch.handovers));
        assert!(!follows(dispatch.public, before, &dispatch.handovers));
        // As long as any device may be away.
        assert_eq!(
            follows(first, dispatch.public, &dispatch.handovers),
            year <= 64,
            "{year}"
        );
    }
    let last = world.fleet.keys().dispatch().public;
    world.restart().await;
    assert_eq!(world.fleet.keys().dispatch().public, last);
    let rotations = world.audit().await;
    let rotations = rotations.iter().filter(|entry| entry.action == "server_key.rotate");
    assert_eq!(rotations.count(), 70);
}

#[tokio::test]
async fn the_dispatch_key_hands_over_when_an_operator_says_so_but_not_every_day_twice() {
    let world = World::new().await;
    let (keys, admin) = (world.fleet.keys(), Context::system("test"));
    let first = keys.show_dispatch(&admin).await.unwrap();
    assert_eq!((first.public_key, first.handovers), (keys.dispatch().public, 0));
    check_code(keys.rotate(&admin).await, "dispatch_key.handed_over_lately");
    world.clock.advance(Duration::from_secs(86_400));
    let next = keys.rotate(&admin).await.unwrap();
    assert_eq!((next.public_key, next.handovers), (keys.dispatch().public, 1));
    assert!(follows(first.public_key, next.public_key, &keys.dispatch().handovers));
    check_code(keys.rotate(&admin).await, "dispatch_key.handed_over_lately");
    assert_eq!(keys.show_dispatch(&admin).await.unwrap(), next);
    // It is as young as any other key now.
    world.clock.advance(Duration::from_secs(364 * 86_400));
    keys.turn_over().await.unwrap();
    assert_eq!(keys.dispatch().public, next.public_key);
}

#[track_caller]
fn check_code<T: std::fmt::Debug>(result: crate::kernel::Result<T>, expected: &str) {
    assert_eq!(result.unwrap_err().code().name(), expected);
}

async fn forget(world: &World, name: &str) {
    let system = Context::system("test");
    let action = Evidence::Audit(crate::access::Action::new("test.forget"));
    let query = &Query::<ServerKey>::all().filter(ServerKey::NAME.eq(name));
    let removed = world.fleet.store().change(&system, action, |mut tx| async move {
        let key = tx.reader().first(query).await?.unwrap();
        tx.delete(&key);
        tx.commit().await
    });
    removed.await.unwrap();
}
