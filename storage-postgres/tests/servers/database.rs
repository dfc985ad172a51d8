//! What the database has to be, what people see in it, and what it cannot hold.

use bytes::Bytes;
use fleet_core::store::{Backend as _, Error, Filter, Write};
use fleet_storage_postgres::{PostgresOptions, PostgresStore};
use futures::future::join_all;

use crate::common::{Namespace, batch, database, ingest, named, open, run_at};

/// Opening is refused, and the message says so.
async fn refused(uri: &str, says: &str) {
    let error = PostgresStore::open(uri, PostgresOptions::default())
        .await
        .expect_err("it is refused");
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_cannot_be_are_refused() {
    let namespace = Namespace::new();
    open(&namespace.uri()).await.close().await.unwrap();
    namespace.run("UPDATE state SET format = 99").await;
    refused(&namespace.uri(), "format 99").await;

    let foreign = Namespace::new();
    let make = format!("CREATE SCHEMA \"{0}\"; CREATE TABLE \"{0}\".customers ()", foreign.name);
    run_at(database(), &make).await;
    refused(&foreign.uri(), "something else").await;

    let read_only = format!(
        "{}&options=-c%20default_transaction_read_only%3Don",
        Namespace::new().uri()
    );
    refused(&read_only, "takes no writes").await;

    // Kept for the next run: dropping a database makes the cluster write everything out.
    let there = "SELECT datname::text FROM pg_database WHERE datname = 'ascii'";
    if namespace.ask(there).await.is_empty() {
        let make = "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
        run_at(database(), make).await;
    }
    refused(&database().replace("/postgres?", "/ascii?"), "has to be UTF8").await;

    let nobody = PostgresStore::open("postgres://fleet@127.0.0.1:1/x", PostgresOptions::default()).await;
    assert!(matches!(nobody, Err(Error::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn password_is_in_no_message() {
    let store = Namespace::new();
    let uri = store.uri().replace("fleet@", "fleet:hunter2@");
    let opened = open(&uri).await;
    let shown = format!("{} {opened:?}", opened.info().location);
    assert!(!opened.info().location.contains("hunter2"), "{shown}");
    opened.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_proper_types() {
    let namespace = Namespace::new();
    let store = open(&namespace.uri()).await;
    store.commit(batch(1)).await.unwrap();
    store.ingest(ingest(1, 1_500_000)).await.unwrap();
    store.ingest(ingest(1, i64::MAX)).await.unwrap();
    let read = format!("\"{}_read\"", namespace.name);
    let ask = async |text: &str| namespace.ask(&text.replace("READ", &read)).await;
    assert_eq!(
        ask("SELECT concat_ws(' ', rev, name, tag, body->>'name') FROM READ.device").await,
        ["1 device-1 {tag-1} device-1"]
    );
    assert_eq!(
        ask("SELECT concat_ws(' ', (time AT TIME ZONE 'UTC')::text, level) FROM READ.sample_rows ORDER BY at").await,
        [
            "1970-01-01 00:00:00.000001 1".to_owned(),
            "1970-01-01 00:00:01.5 1500000".to_owned(),
            i64::MAX.to_string()
        ]
    );
    assert_eq!(
        ask("SELECT (number || ' ' || length(hash))::text FROM READ.audit_rows").await,
        ["1 32"]
    );
    assert_eq!(
        ask("SELECT body->>'at' FROM READ.state_latest").await,
        [i64::MAX.to_string()]
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn body_that_is_no_json_fails_alone() {
    let namespace = Namespace::new();
    let store = open(&namespace.uri()).await;
    let commits = (0..30).map(|n| {
        let mut batch = batch(n);
        if n == 7
            && let Write::Put { body, .. } = &mut batch.writes[0]
        {
            *body = Bytes::from_static(b"{\"name\": ");
        }
        store.commit(batch)
    });
    for (n, answer) in join_all(commits).await.into_iter().enumerate() {
        assert_eq!(matches!(answer, Err(Error::Invalid(_))), n == 7, "{n}: {answer:?}");
    }
    let mut view = store.view().await.unwrap();
    assert_eq!(view.count("device", &Filter::All).await.unwrap(), 29);
    drop(view);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_engines_trip_over_are_kept_byte_for_byte() {
    let namespace = Namespace::new();
    let store = open(&namespace.uri()).await;
    let names = [
        "'; DROP TABLE state; --",
        "\\x00 \\u0000 $1 %s",
        "😀 𝄞 \u{10ffff} \u{feff}",
        "\u{202e}abc\u{200b}",
        "a\tb\r\n\u{1}\u{7f}",
        "\"quoted\" {array} [1,2] NULL",
    ];
    for (n, name) in names.iter().enumerate() {
        store.commit(named(n as u128, name)).await.unwrap();
    }
    // An escaped U+0000 inside a body is text like any other here.
    let mut escaped = named(50, "escaped");
    if let Write::Put { body, .. } = &mut escaped.writes[0] {
        *body = Bytes::from_static(br#"{"name":"escaped","note":"\u0000","tag":["tag-1"]}"#);
    }
    store.commit(escaped.clone()).await.unwrap();
    let mut view = store.view().await.unwrap();
    for name in names {
        let filter = Filter::Eq("name", name.into());
        assert_eq!(view.count("device", &filter).await.unwrap(), 1, "{name:?}");
    }
    let found = view.get(&[crate::common::device(50)]).await.unwrap();
    assert_eq!(
        found[0].as_ref().unwrap().body,
        br#"{"name":"escaped","note":"\u0000","tag":["tag-1"]}"#.as_slice()
    );
    drop(view);
    let raw = Bytes::from_static(b"{\"name\":\"\0\"}");
    for bad in [raw, Bytes::from_static(b"{\"name\":\"\xff\"}")] {
        let mut batch = named(60, "bad");
        if let Write::Put { body, .. } = &mut batch.writes[0] {
            *body = bad;
        }
        assert!(matches!(store.commit(batch).await, Err(Error::Invalid(_))));
    }
    store.close().await.unwrap();
}
