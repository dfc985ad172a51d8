//! A store that is filled is without most of its indexes until all records are there.

use fleet_core::{
    kernel::Timestamp,
    store::{Backend as _, Doc, Filter, Move, Patch, Record, Relocate as _},
};
use fleet_storage_postgres::PostgresStore;
use serde_json::json;

use crate::common::{Namespace, body, device, id, open};

fn by() -> Move {
    Move {
        id: id(0xf00d),
        peer: "sqlite:/elsewhere".into(),
        at: Timestamp::from_seconds(1_000_000),
    }
}

/// Documents of so many devices, each with two tags.
fn patch(devices: std::ops::Range<u128>, tag: &str) -> Patch {
    let doc = |n: u128| {
        Record::Doc(Doc {
            key: device(n),
            rev: 3,
            seq: 7,
            body: body(&json!({"name": format!("device-{n}"), "tag": ["all", tag]})),
        })
    };
    Patch {
        seq: 7,
        removed: Vec::new(),
        records: devices.map(doc).collect(),
    }
}

async fn indexes(namespace: &Namespace) -> Vec<String> {
    let name = &namespace.name;
    let ask = format!("SELECT indexdef FROM pg_indexes WHERE schemaname = '{name}' ORDER BY indexname");
    namespace.ask(&ask).await
}

const NONE: [&str; 0] = [];

/// The indexes of a many-valued column.
async fn sides(namespace: &Namespace) -> Vec<String> {
    let name = &namespace.name;
    let ask = format!(
        "SELECT indexname FROM pg_indexes WHERE schemaname = '{name}' AND tablename = 'many.device.tag' ORDER BY indexname"
    );
    namespace.ask(&ask).await
}

async fn tagged(store: &PostgresStore, tag: &str) -> u64 {
    let mut view = store.view().await.unwrap();
    view.count("device", &Filter::Eq("tag", tag.into())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_were_put_off_are_there_again_once_it_serves() {
    let namespace = Namespace::new();
    let store = open(&namespace.uri()).await;
    let all = indexes(&namespace).await;
    store.fill(by()).await.unwrap();
    assert!(indexes(&namespace).await.len() < all.len());
    store.patch(patch(0..50, "red")).await.unwrap();
    assert_eq!(sides(&namespace).await, NONE);
    // Some of them are there: they are replaced, and what finds their many values is built for that, and nothing else.
    store.patch(patch(40..90, "blue")).await.unwrap();
    assert_eq!(sides(&namespace).await, ["many.device.tag.id"]);
    store.close().await.unwrap();

    // It broke off; another server, or a later start, goes on.
    let store = open(&namespace.uri()).await;
    store.patch(patch(80..100, "green")).await.unwrap();
    store.settle().await.unwrap();
    assert_eq!(indexes(&namespace).await, all);
    store.settle().await.unwrap();
    store.patch(patch(99..120, "late")).await.unwrap();
    assert_eq!(store.check().await.unwrap(), []);
    store.serve().await.unwrap();
    assert_eq!(indexes(&namespace).await, all);
    for (tag, count) in [("all", 120), ("red", 40), ("blue", 40), ("green", 19), ("late", 21)] {
        assert_eq!(tagged(&store, tag).await, count, "{tag}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_serves_or_is_emptied_without_settling_has_all_indexes() {
    for serves in [true, false] {
        let namespace = Namespace::new();
        let store = open(&namespace.uri()).await;
        let all = indexes(&namespace).await;
        store.fill(by()).await.unwrap();
        store.patch(patch(0..50, "red")).await.unwrap();
        if serves {
            store.serve().await.unwrap();
        } else {
            store.clear().await.unwrap();
        }
        assert_eq!(indexes(&namespace).await, all);
        assert_eq!(tagged(&store, "red").await, if serves { 50 } else { 0 });
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_values_of_a_store_of_format_1_are_filled_as_well() {
    let namespace = Namespace::new();
    let store = open(&namespace.uri()).await;
    let make = "DROP INDEX \"many.device.tag.value\"; ALTER TABLE \"many.device.tag\" ADD PRIMARY KEY (value, id)";
    namespace.run(make).await;
    store.fill(by()).await.unwrap();
    store.patch(patch(0..50, "red")).await.unwrap();
    store.patch(patch(0..50, "blue")).await.unwrap();
    store.serve().await.unwrap();
    assert_eq!((tagged(&store, "red").await, tagged(&store, "blue").await), (0, 50));
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}
