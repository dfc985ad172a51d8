//! The folder as people and other programs meet it: permissions, locks, foreign folders.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use common::{
    Folder, batch, device, device_columns,
    files::{devices, files, filled, find, refusal},
    id, kind, lane, open, schema, try_open,
};
use fleet_core::{
    kernel::SystemClock,
    store::{Backend as _, Batch, Column, ColumnType, Error, Expect, Filter, Key, LatestSchema, Schema, Write},
};
use fleet_storage_json::{JsonOptions, JsonStore, repair};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_for_this_user_only_and_readable() {
    let folder = Folder::new();
    filled(&folder.path()).await;
    for path in files(&folder.path()) {
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{path:?}"
        );
        let above = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(above.permissions().mode() & 0o777, 0o700, "{path:?}");
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                assert!(
                    serde_json::from_str::<serde_json::Value>(line).unwrap().is_object(),
                    "{line}"
                );
            }
        }
    }
    let devices = fs::read_to_string(find(&folder.path(), "kinds/device.")).unwrap();
    assert_eq!(devices.lines().count(), 10);
    assert!(devices.lines().next().unwrap().ends_with(
        r#","id":"00000000-0000-0000-0000-000000000001","rev":1,"seq":1,"body":{"name":"device-1","tag":["tag-1"]}}"#
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_process_and_is_let_go_with_the_last_clone() {
    let folder = Folder::new();
    let store = open(&folder.path()).await;
    let error = try_open(&folder.path()).await.expect_err("it is in use");
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    let error = repair(folder.path(), |_| Ok(None)).expect_err("it is in use");
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    let clone = store.clone();
    drop(store);
    clone.commit(batch(1)).await.unwrap();
    drop(clone);
    // The writer lets go of it on its own.
    let again = loop {
        match try_open(&folder.path()).await {
            Ok(store) => break store,
            Err(Error::Refused(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    again.close().await.unwrap();
    assert_eq!(devices(&folder.path()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_newer_and_gutted_folders_are_refused_and_left_alone() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path()).unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(refusal(&folder.path()).await, Error::Refused(_)));
    assert_eq!(files(&folder.path()).len(), 1);

    let folder = Folder::new();
    filled(&folder.path()).await;
    let manifest = folder.path().join("MANIFEST.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
    let error = refusal(&folder.path()).await;
    assert!(
        matches!(&error, Error::Refused(text) if text.contains("newer version")),
        "{error:?}"
    );
    fs::write(&manifest, text.replacen("\"seq\": 10", "\"seq\": 11", 1)).unwrap();
    assert!(matches!(refusal(&folder.path()).await, Error::Corrupt(_)));
    fs::remove_file(&manifest).unwrap();
    let before = files(&folder.path()).len();
    assert!(matches!(refusal(&folder.path()).await, Error::Corrupt(_)));
    assert_eq!(files(&folder.path()).len(), before);
    fs::write(&manifest, text).unwrap();
    assert_eq!(devices(&folder.path()).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_write_what_changed_and_leave_no_old_files() {
    let folder = Folder::new();
    filled(&folder.path()).await;
    let store = open(&folder.path()).await;
    let names = || -> Vec<String> {
        let from = folder.path();
        let name = |path: &PathBuf| path.strip_prefix(&from).unwrap().display().to_string();
        files(&from).iter().map(name).collect()
    };
    let before = names();
    let kept = before.iter().find(|name| name.starts_with("latest/")).unwrap().clone();
    store.checkpoint().await.unwrap();
    let after = names();
    assert!(after.contains(&kept), "no latest value changed: {after:?}");
    assert!(!after.iter().any(|name| name.starts_with("journal/")), "{after:?}");
    assert_eq!(
        after.iter().filter(|name| name.starts_with("kinds/")).count(),
        1,
        "{after:?}"
    );
    assert_eq!(store.statistics().checkpoints, 1);
    // Retention: a day without rows has no file.
    assert!(
        after.iter().any(|name| name.starts_with("lanes/sample/1970-01-01.")),
        "{after:?}"
    );
    store.trim("sample", 100).await.unwrap();
    store.compact(20).await.unwrap();
    store.checkpoint().await.unwrap();
    let after = names();
    assert!(!after.iter().any(|name| name.starts_with("lanes/sample/")), "{after:?}");
    assert!(!after.iter().any(|name| name.starts_with("order/")), "{after:?}");
    store.close().await.unwrap();
    assert_eq!(devices(&folder.path()).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_come_by_themselves() {
    let folder = Folder::new();
    let options = JsonOptions {
        checkpoint_bytes: 10_000,
        segment_bytes: 2_000,
        ..JsonOptions::default()
    };
    let store = JsonStore::open(folder.path(), options, Arc::new(SystemClock))
        .await
        .unwrap();
    store.prepare(&schema()).await.unwrap();
    let mut n = 0;
    while store.statistics().checkpoints < 3 {
        n += 1;
        store.commit(batch(n)).await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(u128::from(devices(&folder.path()).await), n);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_line_of_json_come_back_byte_for_byte() {
    let folder = Folder::new();
    let plain = Schema::default().with_kind(kind("device", vec![])).unwrap();
    let bodies: [&[u8]; 7] = [
        b"{\"a\": 1}",
        b" {\"a\":1} ",
        b"{\n}",
        b"\"text\"",
        b"1e2",
        b"{\"a\":1,\"a\":18446744073709551616}",
        "{\"\u{1f600}\":\"\\u0041\"}".as_bytes(),
    ];
    let store = try_open(&folder.path()).await.unwrap();
    store.prepare(&plain).await.unwrap();
    for (n, body) in (1..).zip(bodies) {
        let write = Write::Put {
            key: device(n),
            expect: Expect::Any,
            body: body.into(),
            index: vec![],
        };
        let batch = Batch {
            id: id(n),
            writes: vec![write],
            rows: vec![],
        };
        store.commit(batch).await.unwrap();
    }
    store.close().await.unwrap();
    for round in ["journal", "snapshot"] {
        let store = try_open(&folder.path()).await.unwrap();
        store.prepare(&plain).await.unwrap();
        let mut view = store.view().await.unwrap();
        for (n, body) in (1..).zip(bodies) {
            let found = view.get(&[device(n)]).await.unwrap()[0].clone().unwrap();
            assert_eq!(found.body, body, "{round} {n}");
        }
        store.checkpoint().await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_schema_fills_columns_and_clashes_are_refused() {
    let folder = Folder::new();
    filled(&folder.path()).await;
    let with = |columns: Vec<Column>| {
        Schema::default()
            .with_kind(kind("device", columns))
            .and_then(|schema| schema.with_lane(lane("sample", vec![], false)))
            .and_then(|schema| schema.with_lane(lane("audit", vec![], true)))
            .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
            .unwrap()
    };
    let store = try_open(&folder.path()).await.unwrap();
    let fewer = with(vec![Column::unique("name", ColumnType::Text)]);
    assert_eq!(store.prepare(&fewer).await.unwrap(), Default::default());
    let clash = with(vec![Column::unique("tag", ColumnType::Text)]);
    store.prepare(&clash).await.unwrap();
    store.close().await.unwrap();

    let store = try_open(&folder.path()).await.unwrap();
    let report = store.prepare(&schema()).await.unwrap();
    assert_eq!(report.filled, ["device.name", "device.tag", "sample.level"]);
    let mut view = store.view().await.unwrap();
    let tagged = Filter::Eq("tag", "tag-3".into());
    assert_eq!(view.count("device", &tagged).await.unwrap(), 3);
    drop(view);
    let mut columns = device_columns();
    columns.push(Column::unique("kin", ColumnType::Text));
    let mut same = batch(30);
    for (n, key) in [(30_u128, "one"), (31, "two")] {
        same.id = id(0xc000 + n);
        same.rows.clear();
        if let Write::Put {
            key: of, body, index, ..
        } = &mut same.writes[0]
        {
            *of = Key::new("device", id(n));
            *body = format!(r#"{{"kin":"same","name":"{key}"}}"#).into();
            *index = vec![vec![key.into()], vec![]];
        }
        store.commit(same.clone()).await.unwrap();
    }
    store.close().await.unwrap();
    let store = try_open(&folder.path()).await.unwrap();
    let mut clashing = with(columns.clone());
    for _ in 0..2 {
        let error = store.prepare(&clashing).await.expect_err("two have the value");
        assert!(
            matches!(error, Error::Taken { column: "kin", holder } if holder == device(30)),
            "{error:?}"
        );
        clashing = with(columns.clone());
    }
    store.prepare(&schema()).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_trim_goes_slice_by_slice_and_removes_exactly_what_it_should() {
    let folder = Folder::new();
    let store = open(&folder.path()).await;
    // 12,000 rows of their own times, then 8,000 of one time, then some that stay.
    let time = |n: i64| if n < 12_000 { n } else { n.max(20_000) };
    for start in (0..20_100_i64).step_by(6_700) {
        let rows = (start..start + 6_700).map(|n| ("sample", common::sample(n as u128, time(n))));
        let ingest = fleet_core::store::Ingest {
            latest: vec![],
            rows: rows.collect(),
        };
        store.ingest(ingest).await.unwrap();
    }
    let before = store.statistics().transactions;
    assert_eq!(store.trim("sample", 20_050).await.unwrap(), 20_050);
    assert!(store.statistics().transactions - before >= 3);
    assert_eq!(store.trim("sample", 20_050).await.unwrap(), 0);
    assert_eq!(store.trim("sample", i64::MIN).await.unwrap(), 0);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
    let store = open(&folder.path()).await;
    assert_eq!(store.trim("sample", i64::MAX).await.unwrap(), 50);
    store.close().await.unwrap();
}
