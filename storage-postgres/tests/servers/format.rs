//! Stores of older formats.

use fleet_core::store::{Backend as _, Change, Seq};
use fleet_storage_postgres::PostgresStore;
use futures::StreamExt as _;

use crate::common::{Namespace, batch, open};

/// Turns the history of a store into the tables of format 1: an entry of the feed there has a row of its own.
const FORMAT_1: &str = "\
    CREATE TABLE feed (seq bigint NOT NULL, n bigint NOT NULL, type bigint NOT NULL, name text NOT NULL, id uuid NOT NULL, \
    rev bigint, PRIMARY KEY (seq, n)); \
    CREATE TABLE batches (id uuid PRIMARY KEY, seq bigint NOT NULL, fingerprint bytea NOT NULL, revs bytea NOT NULL); \
    INSERT INTO batches SELECT id, seq, fingerprint, revs FROM history; \
    WITH RECURSIVE entry (seq, n, rest) AS (SELECT seq, -1, feed FROM history UNION ALL SELECT seq, n + 1, \
    substring(rest FROM 27 + get_byte(rest, 1)) FROM entry WHERE rest <> '') \
    INSERT INTO feed SELECT seq, n + 1, get_byte(rest, 0), convert_from(substring(rest FROM 3 FOR get_byte(rest, 1)), 'UTF8'), \
    encode(substring(rest FROM 3 + get_byte(rest, 1) FOR 16), 'hex')::uuid, CASE WHEN get_byte(rest, 0) < 2 \
    THEN ('x' || encode(substring(rest FROM 19 + get_byte(rest, 1) FOR 8), 'hex'))::bit(64)::bigint END FROM entry WHERE rest <> ''; \
    DROP TABLE history; UPDATE state SET format = 1";

async fn feed(store: &PostgresStore, upto: Seq) -> Vec<Change> {
    let changes = store.changes(0).await.unwrap().map(Result::unwrap);
    let entries = 3 * usize::try_from(upto).unwrap();
    changes.take(entries).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn store_of_format_1_keeps_its_feed_and_the_ids_of_its_batches() {
    let namespace = Namespace::new();
    let store = open(&namespace.uri()).await;
    let mut answers = Vec::new();
    for n in 0..5 {
        answers.push(store.commit(batch(n)).await.unwrap());
    }
    // It changes nothing, and answers with the place of the one before.
    let idle = fleet_core::store::Batch {
        writes: Vec::new(),
        ..batch(4)
    };
    let idle = fleet_core::store::Batch {
        id: crate::common::id(0xd1e),
        ..idle
    };
    let idle_answer = store.commit(idle.clone()).await.unwrap();
    assert_eq!(idle_answer.seq, 5);
    let before = feed(&store, 5).await;
    store.close().await.unwrap();

    namespace.run(FORMAT_1).await;
    let store = open(&namespace.uri()).await;
    assert_eq!(feed(&store, 5).await, before);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(&store.commit(batch(n as u128)).await.unwrap(), answer);
    }
    assert_eq!(store.commit(idle).await.unwrap(), idle_answer);
    assert_eq!(store.commit(batch(5)).await.unwrap().seq, 6);
    assert_eq!(store.compact(5).await.unwrap(), 5);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}
