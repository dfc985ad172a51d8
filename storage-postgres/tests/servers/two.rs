//! Two servers on one database.

use std::{collections::BTreeSet, time::Duration};

use fleet_core::{
    kernel::Timestamp,
    store::{
        Backend as _, Batch, Change, Column, ColumnType, Error, Expect, Filter, Key, LatestSchema, Move, Relocate as _,
        Result, Schema, Value, Write,
    },
};
use fleet_storage_postgres::{Listen, PostgresOptions, PostgresStore};
use futures::{StreamExt as _, future::join_all, stream::BoxStream};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    common::{Namespace, batch, body, device, id, ingest, kind, lane, named, open, open_with, schema},
    load::rows,
};

async fn two() -> (Namespace, PostgresStore, PostgresStore) {
    let namespace = Namespace::new();
    // At one time, as servers that are started together do.
    let uri = namespace.uri();
    let (one, other) = tokio::join!(open(&uri), open(&uri));
    (namespace, one, other)
}

async fn close(one: PostgresStore, other: PostgresStore) {
    one.close().await.unwrap();
    other.close().await.unwrap();
}

async fn next(changes: &mut BoxStream<'static, Result<Change>>) -> Change {
    let change = timeout(Duration::from_secs(60), changes.next()).await;
    change.expect("the feed goes on").unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_both_have_one_order_and_both_feeds_tell_it() {
    let (_namespace, one, other) = two().await;
    let (mut here, mut there) = (one.changes(0).await.unwrap(), other.changes(0).await.unwrap());
    let answers = join_all((0..200).map(|n| {
        let store = if n % 2 == 0 { &one } else { &other };
        store.commit(batch(n))
    }))
    .await;
    let places: BTreeSet<u64> = answers.into_iter().map(|answer| answer.unwrap().seq).collect();
    assert_eq!(places, (1..=200).collect());
    // A document and two streams each.
    for n in 0..600 {
        let change = next(&mut here).await;
        assert_eq!(change.seq, n / 3 + 1);
        assert_eq!(next(&mut there).await, change);
    }
    let head = other.view().await.unwrap().chain_head("audit").await.unwrap();
    assert_eq!(head.unwrap().number, 200, "one chain, whoever appends");
    assert_eq!(one.check().await.unwrap(), []);
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_acknowledges_the_other_shows_at_once() {
    let (_namespace, one, other) = two().await;
    for n in 1..=30 {
        let (writer, reader) = if n % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let seq = writer.commit(batch(n)).await.unwrap().seq;
        let mut view = reader.view().await.unwrap();
        assert_eq!(view.seq(), seq);
        assert!(view.get(&[device(n)]).await.unwrap()[0].is_some());
    }
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_that_cannot_listen_finds_what_the_other_commits() {
    let namespace = Namespace::new();
    let deaf = PostgresOptions {
        listen: Listen::Off,
        ..PostgresOptions::default()
    };
    let one = open_with(&namespace.uri(), deaf).await;
    let other = open(&namespace.uri()).await;
    let mut changes = one.changes(0).await.unwrap();
    for n in 1..=3 {
        other.commit(batch(n)).await.unwrap();
        assert_eq!(next(&mut changes).await.seq, n as u64);
        assert_eq!(next(&mut changes).await.seq, n as u64);
        assert_eq!(next(&mut changes).await.seq, n as u64);
    }
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_value_is_given_once() {
    let (_namespace, one, other) = two().await;
    let answers = join_all((1..=40).map(|n| {
        let store = if n % 2 == 0 { &one } else { &other };
        store.commit(named(n, &format!("name-{}", n % 4)))
    }))
    .await;
    let given = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(given, 4);
    let taken = answers
        .iter()
        .filter(|answer| matches!(answer, Err(Error::Taken { .. })));
    assert_eq!(taken.count(), 36);
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revision_is_taken_once() {
    let (_namespace, one, other) = two().await;
    one.commit(batch(1)).await.unwrap();
    let write = |n: u128| Batch {
        id: id(0xa000 + n),
        writes: vec![Write::Put {
            key: device(1),
            expect: Expect::Rev(1),
            body: body(&json!({"name": "x", "tag": []})),
            index: vec![vec!["x".into()], vec![]],
        }],
        rows: vec![],
    };
    let answers = join_all((0..20).map(|n| if n % 2 == 0 { &one } else { &other }.commit(write(n)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.is_ok() || matches!(answer, Err(Error::Conflict { .. })))
    );
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_both_send_is_committed_once() {
    let (_namespace, one, other) = two().await;
    for n in 1..=20 {
        let (here, there) = tokio::join!(one.commit(batch(n)), other.commit(batch(n)));
        assert_eq!(here.unwrap(), there.unwrap());
    }
    assert_eq!(one.view().await.unwrap().seq(), 20);
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_latest_values_that_both_ingest_are_there_once() {
    let (_namespace, one, other) = two().await;
    let both = (0..200).flat_map(|n| [one.ingest(ingest(n % 50, 5)), other.ingest(ingest(n % 50, 5))]);
    for answer in join_all(both).await {
        answer.unwrap();
    }
    let mut view = one.view().await.unwrap();
    for n in 0..50 {
        assert_eq!(rows(&mut *view, "sample", n).await, 1);
    }
    assert_eq!(view.latest_page("state", None, 100).await.unwrap().len(), 50);
    // Another row at a place that is taken is refused, whoever took it.
    let mut differs = ingest(1, 5);
    differs.rows[0].1.body = body(&json!({"level": 6}));
    differs.rows[0].1.index = vec![Value::Int(6)];
    assert!(matches!(other.ingest(differs).await, Err(Error::RowConflict { .. })));
    drop(view);
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_belongs_to_one_and_lapses_by_the_databases_clock() {
    let (_namespace, one, other) = two().await;
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(60));
    let first = one.lease("job", id(1), short).await.unwrap();
    assert!(first.is_some());
    let second = loop {
        // It is refused while it is held, and given when it has lapsed: nobody says when that is.
        if let Some(fence) = other.lease("job", id(2), long).await.unwrap() {
            break fence;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(Some(second) > first);
    assert_eq!(one.lease("job", id(1), short).await.unwrap(), None);
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_by_one_is_frozen_for_the_other_at_once() {
    let (_namespace, one, other) = two().await;
    let to = Move {
        id: id(0xf00d),
        peer: "sqlite:/elsewhere".into(),
        at: Timestamp::from_seconds(1_000_000),
    };
    let writing = {
        let other = other.clone();
        tokio::spawn(async move {
            let mut acknowledged = 0;
            for n in 1.. {
                match other.commit(batch(n)).await {
                    Ok(committed) => acknowledged = committed.seq,
                    Err(Error::NotServing(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            acknowledged
        })
    };
    one.commit(batch(1_000_000)).await.unwrap();
    let seq = one.freeze(to).await.unwrap();
    assert_eq!(one.view().await.unwrap().seq(), seq);
    let last = writing.await.unwrap();
    assert!(
        last <= seq,
        "{last} was acknowledged after the store was frozen at {seq}"
    );
    assert!(matches!(other.ingest(ingest(1, 1)).await, Err(Error::NotServing(_))));
    assert!(matches!(
        other.lease("job", id(1), Duration::from_secs(1)).await,
        Err(Error::NotServing(_))
    ));
    other.serve().await.unwrap();
    one.commit(batch(2_000_000)).await.unwrap();
    close(one, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_write_is_tracked() {
    let (_namespace, one, other) = two().await;
    one.track(true).await.unwrap();
    one.commit(batch(1)).await.unwrap();
    other.ingest(ingest(2, 5)).await.unwrap();
    let noted = other.tracked(0).await.unwrap();
    let names: BTreeSet<String> = noted.keys.iter().map(ToString::to_string).collect();
    let expected = [
        format!("device/{}", id(1)),
        format!("audit/{}/1/0", id(1)),
        format!("sample/{}/1/0", id(1)),
        format!("state/{}", id(2)),
        format!("sample/{}/5/0", id(2)),
    ];
    assert_eq!(names, expected.into_iter().collect());
    one.close().await.unwrap();
    assert!(matches!(other.tracked(0).await, Err(Error::Refused(_))));
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn server_of_an_older_version_may_not_write_any_more() {
    let (_namespace, old, new) = two().await;
    old.commit(batch(1)).await.unwrap();
    let columns = vec![
        Column::unique("name", ColumnType::Text),
        Column::many("tag", ColumnType::Text),
        Column::one("colour", ColumnType::Text),
    ];
    let schema_of_the_new = Schema::default()
        .with_kind(kind("device", columns))
        .and_then(|schema| schema.with_lane(lane("sample", vec![Column::one("level", ColumnType::Int)], false)))
        .and_then(|schema| schema.with_lane(lane("audit", vec![], true)))
        .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
        .unwrap();
    let report = new.prepare(&schema_of_the_new).await.unwrap();
    assert_eq!(report.filled, ["device.colour"]);
    assert!(matches!(old.commit(batch(2)).await, Err(Error::Refused(_))));
    assert!(matches!(old.ingest(ingest(2, 1)).await, Err(Error::Refused(_))));
    // It still reads what it knows.
    assert_eq!(
        old.view().await.unwrap().count("device", &Filter::All).await.unwrap(),
        1
    );
    // Prepared again by the older one, the column is forgotten, and it is the newer one that stands aside.
    old.prepare(&schema()).await.unwrap();
    old.commit(batch(2)).await.unwrap();
    let mut wide = batch(3);
    if let Write::Put { index, .. } = &mut wide.writes[0] {
        index.push(vec![Value::Null]);
    }
    assert!(matches!(new.commit(wide).await, Err(Error::Refused(_))));
    assert_eq!(old.check().await.unwrap(), []);
    let state = Key::new("state", id(1));
    assert_eq!(old.view().await.unwrap().latest(&[state]).await.unwrap(), [None]);
    close(old, new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_of_every_server_ends_where_one_froze_the_store() {
    let namespace = Namespace::new();
    let deaf = PostgresOptions {
        listen: Listen::Off,
        ..PostgresOptions::default()
    };
    let one = open(&namespace.uri()).await;
    let others = [open(&namespace.uri()).await, open_with(&namespace.uri(), deaf).await];
    let seq = one.commit(batch(1)).await.unwrap().seq;
    let mut feeds = Vec::new();
    for other in &others {
        let mut feed = other.changes(0).await.unwrap();
        for _ in 0..3 {
            assert_eq!(next(&mut feed).await.seq, seq);
        }
        feeds.push(feed);
    }
    let to = Move {
        id: id(0xf00d),
        peer: "sqlite:/elsewhere".into(),
        at: Timestamp::from_seconds(1_000_000),
    };
    one.freeze(to).await.unwrap();
    for mut feed in feeds {
        let end = timeout(Duration::from_secs(60), feed.next()).await;
        assert!(end.expect("the feed ends").is_none());
    }
    one.serve().await.unwrap();
    for other in others {
        other.close().await.unwrap();
    }
    one.close().await.unwrap();
}
