//! What is refused, with which code, and that nothing is changed by it.

use std::sync::Arc;

use fleet_core::store::{
    Backend, LatestSchema, Move,
    migration::{Migration, MigrationError},
};

use super::{Pair, pair::refused};
use crate::dsl::*;

async fn both(pair: &Pair) -> (Vec<fleet_core::store::Record>, Vec<fleet_core::store::Record>) {
    (exported(&**pair.source()).await, exported(&**pair.target()).await)
}

/// A plan must say the same as a refused call.
async fn check(pair: &Pair, migration: &Migration, code: &str) {
    let plan = migration.plan().await.unwrap();
    let problems: Vec<&str> = plan.status.problems.iter().map(|problem| problem.code.name()).collect();
    assert_eq!(problems, [code], "{plan:?}");
    let before = (pair.phases().await, both(pair).await);
    assert_eq!(refused(migration.run().await), code);
    assert_eq!((pair.phases().await, both(pair).await), before, "nothing is changed");
}

pub(crate) async fn target_that_is_not_empty(pair: &mut Pair) {
    pair.fill().await;
    pair.commit(pair.target(), [put("mine")]).await;
    check(pair, &pair.migration(), "migration.target_not_empty").await;
    let other = pair.again().await;
    other.ingest(other.target(), [latest("gauge", "g", 1)]).await;
    check(&other, &other.migration(), "migration.target_not_empty").await;
}

pub(crate) async fn target_that_was_emptied_by_deletes(pair: &mut Pair) {
    pair.fill().await;
    pair.commit(pair.target(), [put("mine")]).await;
    pair.commit(pair.target(), [delete("mine")]).await;
    check(pair, &pair.migration(), "migration.target_not_empty").await;
}

pub(crate) async fn one_store_twice(pair: &mut Pair) {
    pair.fill().await;
    let migration = pair.between(pair.source(), pair.source());
    assert_eq!(refused(migration.run().await), "migration.same_store");
    assert_eq!(refused(migration.abandon().await), "migration.same_store");
    assert_eq!(pair.phases().await.0, "serving");
}

pub(crate) async fn source_that_was_moved_elsewhere(pair: &mut Pair) {
    pair.fill().await;
    let elsewhere = Move {
        peer: "postgres://elsewhere/fleet".to_owned(),
        ..origin(1)
    };
    pair.source().freeze(elsewhere).await.unwrap();
    check(pair, &pair.migration(), "migration.source_frozen").await;
    let told = pair.migration().run().await.unwrap_err().to_string();
    assert!(told.contains("postgres://elsewhere/fleet"), "{told}");
    assert_eq!(refused(pair.migration().abandon().await), "migration.source_frozen");
}

pub(crate) async fn target_that_is_filled_from_elsewhere(pair: &mut Pair) {
    pair.fill().await;
    let elsewhere = Move {
        peer: "postgres://elsewhere/fleet".to_owned(),
        ..origin(1)
    };
    pair.target().fill(elsewhere).await.unwrap();
    check(pair, &pair.migration(), "migration.target_filling").await;
    assert_eq!(refused(pair.migration().abandon().await), "migration.target_filling");
    assert_eq!(pair.phases().await, ("serving", "filling"));
}

pub(crate) async fn source_that_is_being_filled(pair: &mut Pair) {
    pair.source().fill(origin(1)).await.unwrap();
    check(pair, &pair.migration(), "migration.source_filling").await;
}

pub(crate) async fn target_of_another_version(pair: &mut Pair) {
    pair.fill().await;
    let newer = schema().with_latest(LatestSchema { name: "unheard_of" }).unwrap();
    pair.target().prepare(&newer).await.unwrap();
    check(pair, &pair.migration(), "migration.other_version").await;
}

pub(crate) async fn closed_stores(pair: &mut Pair) {
    pair.fill().await;
    let spare = pair.again().await;
    spare.target().close().await.unwrap();
    let migration = pair.between(pair.source(), spare.target());
    let failed = migration.run().await.unwrap_err();
    assert!(
        matches!(&failed, MigrationError::Store { side, .. } if side.to_string() == "target"),
        "{failed:?}"
    );
    assert_eq!(pair.phases().await.0, "serving");
}

pub(crate) async fn way_back_by_running(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    let code = "migration.target_is_point_of_return";
    assert_eq!(refused(pair.reverse().run().await), code);
    assert_eq!(pair.phases().await, ("frozen", "serving"));
    assert!(
        pair.reverse().plan().await.unwrap().is_possible(),
        "the way back is open"
    );
}

pub(crate) async fn way_back_to_a_stranger(pair: &mut Pair) {
    pair.fill().await;
    let report = pair.migration().run().await.unwrap();
    let other = pair.again().await;
    other.fill().await;
    let strange = other.migration().run().await.unwrap();
    let stranger = pair.between(pair.target(), other.source());
    let refusal = stranger.back().await.unwrap_err();
    assert_eq!(refusal.code().name(), "migration.target_is_no_point_of_return");
    let told = refusal.to_string();
    let names = |id: uuid::Uuid| told.contains(&id.to_string());
    assert!(names(report.id) && names(strange.id), "both moves are named: {told}");
    assert_eq!(
        (pair.phases().await, other.phases().await),
        (("frozen", "serving"), ("frozen", "serving"))
    );
}

pub(crate) async fn way_back_to_a_store_that_serves(pair: &mut Pair) {
    pair.fill().await;
    assert_eq!(
        refused(pair.migration().back().await),
        "migration.target_is_no_point_of_return"
    );
    assert_eq!(pair.phases().await, ("serving", "serving"));
}

pub(crate) async fn refused_moves_change_nothing(pair: &mut Pair) {
    pair.fill().await;
    pair.commit(pair.target(), [put("mine")]).await;
    let before = both(pair).await;
    for _ in 0..2 {
        assert!(pair.migration().run().await.is_err());
        assert!(pair.reverse().back().await.is_err());
    }
    assert_eq!(both(pair).await, before);
    for store in [pair.source(), pair.target()] {
        let store: &Arc<dyn Backend> = store;
        pair.commit(store, [put("still")]).await;
    }
}
