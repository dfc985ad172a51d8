//! Preparing again, importing, and what a check finds.

#![allow(clippy::unwrap_used, reason = "what a test stands on must not fail")]

mod common;

use std::path::Path;

use common::{Folder, batch, device, id, ingest, kind, lane, open, schema, try_open};
use fleet_core::{
    kernel::Timestamp,
    store::{
        Backend, Batch, Column, ColumnType, Direction, Error, Expect, Filter, Find, Ingest, Key, LatestSchema, Move,
        Patch, Record, Relocate as _, Schema, Severity, Term, Value, Write,
    },
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};
use futures::{StreamExt as _, stream};
use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};

async fn sql(path: &Path, statement: &'static str) {
    let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    conn.execute(statement).await.unwrap();
}

async fn filled(path: &Path) {
    let store = open(path).await;
    for n in 1..=300 {
        store.commit(batch(n)).await.unwrap();
    }
    store.ingest(ingest(1, 5)).await.unwrap();
    store.close().await.unwrap();
}

fn origin() -> Move {
    Move {
        id: id(0xf00d),
        peer: "memory".into(),
        at: Timestamp::from_seconds(1_000_000),
    }
}

/// The schema with other columns of devices and samples.
fn other(device: Vec<Column>, sample: Vec<Column>) -> Schema {
    Schema::default()
        .with_kind(kind("device", device))
        .and_then(|schema| schema.with_lane(lane("sample", sample, false)))
        .and_then(|schema| schema.with_lane(lane("audit", vec![], true)))
        .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
        .unwrap()
}

/// Damages a filled store and checks what is found: how bad, and about what.
async fn check_finds(damage: &'static str, severity: Severity, subject: &str, problem: &str) {
    let folder = Folder::new();
    filled(&folder.file()).await;
    sql(&folder.file(), damage).await;
    let store = open(&folder.file()).await;
    let findings = store.check().await.unwrap();
    let found = findings.iter().any(|finding| {
        finding.severity == severity && finding.subject.contains(subject) && finding.problem.contains(problem)
    });
    assert!(found, "{damage}: {findings:?}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_columns_are_filled_and_serve_lists_and_dropped_ones_are_forgotten() {
    let folder = Folder::new();
    filled(&folder.file()).await;
    let store = try_open(&folder.file()).await.unwrap();
    let without = other(vec![Column::unique("name", ColumnType::Text)], vec![]);
    let report = store.prepare(&without).await.unwrap();
    assert_eq!(report, Default::default());
    let report = store.prepare(&schema()).await.unwrap();
    assert_eq!(report.created, [""; 0]);
    assert_eq!(report.filled, ["device.tag", "sample.level"]);
    let mut view = store.view().await.unwrap();
    let tagged = Filter::Eq("tag", "tag-3".into());
    assert_eq!(view.count("device", &tagged).await.unwrap(), 43);
    drop(view);
    assert_eq!(store.check().await.unwrap(), []);
    assert_eq!(store.prepare(&schema()).await.unwrap(), Default::default());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_may_change_its_type_and_composite_indexes_come_and_go() {
    let folder = Folder::new();
    filled(&folder.file()).await;
    let store = try_open(&folder.file()).await.unwrap();
    let columns = vec![
        Column::unique("name", ColumnType::Text),
        Column::one("size", ColumnType::Int),
        Column::many("tag", ColumnType::Text),
    ];
    let mut composite = kind("device", columns);
    composite.indexes = vec![vec!["size", "name"]];
    let wanted = |device| {
        Schema::default()
            .with_kind(device)
            .and_then(|schema| schema.with_lane(lane("sample", vec![Column::one("level", ColumnType::Int)], false)))
            .and_then(|schema| schema.with_lane(lane("audit", vec![], true)))
            .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
            .unwrap()
    };
    assert_eq!(store.prepare(&wanted(composite)).await.unwrap().filled, ["device.size"]);
    let text = vec![
        Column::unique("name", ColumnType::Text),
        Column::one("size", ColumnType::Text),
        Column::many("tag", ColumnType::Text),
    ];
    assert_eq!(
        store.prepare(&wanted(kind("device", text))).await.unwrap().filled,
        ["device.size"]
    );
    assert_eq!(store.prepare(&schema()).await.unwrap().filled, [""; 0]);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filling_that_was_refused_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let path = folder.file();
    let store = try_open(&path).await.unwrap();
    let bare = || other(vec![], vec![]);
    store.prepare(&bare()).await.unwrap();
    for n in 1..=400 {
        let mut batch = batch(n);
        batch.rows.clear();
        if let Write::Put { index, body, .. } = &mut batch.writes[0] {
            index.clear();
            if n == 300 {
                *body = "no object".into();
            }
        }
        store.commit(batch).await.unwrap();
    }
    let error = store.prepare(&schema()).await.expect_err("one body cannot be read");
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    store.close().await.unwrap();
    // Two steps of 128 are behind it.
    let store = try_open(&path).await.unwrap();
    store.prepare(&bare()).await.unwrap();
    let mut mended = batch(300);
    mended.id = id(0xc000);
    mended.rows.clear();
    if let Write::Put { index, .. } = &mut mended.writes[0] {
        index.clear();
    }
    store.commit(mended).await.unwrap();
    assert_eq!(
        store.prepare(&schema()).await.unwrap().filled,
        ["device.name", "device.tag", "sample.level"]
    );
    let mut view = store.view().await.unwrap();
    let list = Find {
        kind: "device",
        filter: Filter::Prefix("name", "device-".into()),
        order: Some(Term {
            column: "name",
            direction: Direction::Ascending,
        }),
        after: None,
        limit: 1_000,
    };
    assert_eq!(view.find(&list).await.unwrap().docs.len(), 400);
    drop(view);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_unique_column_that_clashes_is_refused() {
    let folder = Folder::new();
    let store = try_open(&folder.file()).await.unwrap();
    store.prepare(&other(vec![], vec![])).await.unwrap();
    for n in 1..=2 {
        let mut batch = batch(n);
        batch.rows.clear();
        if let Write::Put { index, body, .. } = &mut batch.writes[0] {
            index.clear();
            *body = r#"{"name":"same"}"#.into();
        }
        store.commit(batch).await.unwrap();
    }
    let unique = other(vec![Column::unique("name", ColumnType::Text)], vec![]);
    let error = store.prepare(&unique).await.expect_err("two have the name");
    assert!(
        matches!(error, Error::Taken { column: "name", holder } if holder == device(1)),
        "{error:?}"
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_broke_off_is_not_served_and_can_begin_again() {
    let (from, into) = (Folder::new(), Folder::new());
    filled(&from.file()).await;
    let source = open(&from.file()).await;
    let all: Vec<_> = source.view().await.unwrap().export().collect().await;
    source.close().await.unwrap();
    let target = open(&into.file()).await;
    let half = all.iter().take(250);
    let records = half.map(|record| record.as_ref().unwrap().clone()).collect();
    target.fill(origin()).await.unwrap();
    target
        .patch(Patch {
            seq: 1_000,
            records,
            ..Patch::default()
        })
        .await
        .unwrap();
    target.close().await.unwrap();
    let again = open(&into.file()).await;
    for refused in [
        again.commit(batch(1)).await.map(drop),
        again.ingest(Ingest::default()).await,
        again.compact(1).await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::NotServing(_))), "{refused:?}");
    }
    assert_eq!(again.standing().await.unwrap().origin, Some(origin()));
    again.clear().await.unwrap();
    let empty: &dyn Backend = &again;
    empty.import(origin(), stream::iter(all).boxed()).await.unwrap();
    again.commit(batch(9_000)).await.unwrap();
    again.close().await.unwrap();
}

/// The indexes of a file, by name.
async fn indexes(path: &Path) -> Vec<String> {
    let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let query = "SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name";
    sqlx::query_scalar(query).fetch_all(&mut conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_does_without_indexes_while_it_is_filled_though_documents_are_replaced_and_has_all_in_the_end() {
    let (from, into) = (Folder::new(), Folder::new());
    filled(&from.file()).await;
    let source = open(&from.file()).await;
    let records = source.view().await.unwrap().records(None, 1_000).await.unwrap();
    source.close().await.unwrap();
    let all = indexes(&from.file()).await;
    let put_off = |name: &String| name.starts_with("many.");
    let target = open(&into.file()).await;
    target.fill(origin()).await.unwrap();
    let patch = Patch {
        seq: 1_000,
        records,
        ..Patch::default()
    };
    // As many patches as make a checkpoint beside them, and one more: from the second on each replaces all documents.
    for _ in 0..18 {
        target.patch(patch.clone()).await.unwrap();
        let now = indexes(&into.file()).await;
        assert!(!now.iter().any(put_off), "{now:?}");
    }
    target.serve().await.unwrap();
    assert!(all.iter().any(put_off));
    assert_eq!(indexes(&into.file()).await, all);
    assert_eq!(target.check().await.unwrap(), []);
    target.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_export_is_imported_whole_and_in_several_transactions() {
    let (from, into) = (Folder::new(), Folder::new());
    let source = open(&from.file()).await;
    for start in (1..=6_000_u128).step_by(500) {
        let commits = (start..start + 500).map(|n| source.commit(batch(n)));
        for answer in futures::future::join_all(commits).await {
            answer.unwrap();
        }
    }
    let target = open(&into.file()).await;
    let into: &dyn Backend = &target;
    let end = into
        .import(origin(), source.view().await.unwrap().export())
        .await
        .unwrap();
    let exported: Vec<_> = target.view().await.unwrap().export().collect().await;
    assert_eq!(exported.len(), 18_001);
    assert_eq!(exported.last().unwrap().as_ref().unwrap(), &end);
    assert!(matches!(
        end,
        Record::End {
            seq: 6_000,
            count: 18_000,
            ..
        }
    ));
    assert_eq!(target.check().await.unwrap(), []);
    source.close().await.unwrap();
    target.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_indexes_that_are_not_what_bodies_say() {
    use Severity::Repairable;
    check_finds(
        "UPDATE \"kind.device\" SET name = 'other' WHERE name = 'device-7'",
        Repairable,
        "device/",
        "column name",
    )
    .await;
    check_finds(
        "DELETE FROM \"many.device.tag\" WHERE value = 'tag-2'",
        Repairable,
        "device/",
        "column tag",
    )
    .await;
    check_finds(
        "INSERT INTO \"many.device.tag\" VALUES (x'ffffffffffffffffffffffffffffffff', 'x')",
        Repairable,
        "device/ffffffff",
        "not there",
    )
    .await;
    check_finds(
        "UPDATE \"lane.sample\" SET level = 77 WHERE at = 5",
        Repairable,
        "sample/",
        "column level",
    )
    .await;
}

async fn sets(path: &Path) -> SqliteStore {
    let set = kind("set", vec![Column::many("member", ColumnType::Int)]);
    let store = try_open(path).await.unwrap();
    store.prepare(&Schema::default().with_kind(set).unwrap()).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_compares_all_numbers_of_a_document() {
    let folder = Folder::new();
    let store = sets(&folder.file()).await;
    for (n, body, numbers) in [
        (1, r#"{"member":[]}"#, vec![]),
        (
            2,
            r#"{"member":[-1,9,10,9223372036854775807]}"#,
            vec![-1, 9, 10, i64::MAX],
        ),
        (3, r#"{"member":[3]}"#, vec![3]),
    ] {
        let put = Write::Put {
            key: Key::new("set", id(n)),
            expect: Expect::Any,
            body: body.into(),
            index: vec![numbers.into_iter().map(Value::Int).collect()],
        };
        let batch = Batch {
            id: id(0xb000 + n),
            writes: vec![put],
            rows: vec![],
        };
        store.commit(batch).await.unwrap();
    }
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
    for (damage, expected) in [
        ("DELETE FROM \"many.set.member\" WHERE value = 9", 1),
        ("INSERT INTO \"many.set.member\" SELECT id, 8 FROM \"kind.set\"", 3),
        (
            "INSERT INTO \"many.set.member\" VALUES (x'ffffffffffffffffffffffffffffffff', 7)",
            4,
        ),
    ] {
        sql(&folder.file(), damage).await;
        let store = sets(&folder.file()).await;
        let findings = store.check().await.unwrap();
        assert_eq!(findings.len(), expected, "{damage}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.severity == Severity::Repairable));
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_lost_and_altered_data() {
    use Severity::Damage;
    check_finds(
        "UPDATE \"kind.device\" SET body = x'00' WHERE name = 'device-7'",
        Damage,
        "device/",
        "",
    )
    .await;
    check_finds(
        "UPDATE \"lane.sample\" SET body = x'00' WHERE at = 5",
        Damage,
        "sample/",
        "",
    )
    .await;
    check_finds(
        "UPDATE \"kind.device\" SET rev = 0 WHERE name = 'device-7'",
        Damage,
        "device/",
        "revision",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_a_chain_that_was_cut_or_altered() {
    use Severity::Damage;
    check_finds(
        "UPDATE \"lane.audit\" SET body = x'7b7d' WHERE _number = 9",
        Damage,
        "audit",
        "altered",
    )
    .await;
    check_finds(
        "DELETE FROM \"lane.audit\" WHERE _number = 9",
        Damage,
        "audit",
        "missing",
    )
    .await;
    check_finds(
        "DELETE FROM \"lane.audit\" WHERE _number >= 299",
        Damage,
        "audit",
        "end of the chain",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_commit_order_that_fell_behind() {
    check_finds(
        "UPDATE meta SET value = 5 WHERE name = 'seq'",
        Severity::Damage,
        "feed",
        "ahead of commit order",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_index_is_not_written_again() {
    let folder = Folder::new();
    filled(&folder.file()).await;
    // Values that no body says: they stay as long as nothing writes the index.
    sql(
        &folder.file(),
        "UPDATE \"many.device.tag\" SET value = 'marked' WHERE value = 'tag-1'",
    )
    .await;
    let store = open(&folder.file()).await;
    let rewrite = |tag: &str, id: uuid::Uuid| {
        let mut batch = batch(1);
        batch.id = id;
        batch.rows.clear();
        if let Write::Put {
            body, index, expect, ..
        } = &mut batch.writes[0]
        {
            *body = format!(r#"{{"name":"device-1","tag":["{tag}"],"more":1}}"#).into();
            index[1] = vec![tag.into()];
            *expect = Expect::Present;
        }
        batch
    };
    let marked = Filter::Eq("tag", "marked".into());
    store.commit(rewrite("tag-1", id(0xc001))).await.unwrap();
    assert_eq!(store.view().await.unwrap().count("device", &marked).await.unwrap(), 43);
    store.commit(rewrite("tag-2", id(0xc002))).await.unwrap();
    assert_eq!(store.view().await.unwrap().count("device", &marked).await.unwrap(), 42);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_takes_longer_than_a_view_may_be_held() {
    let folder = tempfile::tempdir().unwrap();
    let limit = std::time::Duration::from_secs(1);
    let options = SqliteOptions {
        view_limit: limit,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(
        folder.path().join("fleet.db"),
        options,
        std::sync::Arc::new(fleet_core::kernel::SystemClock),
    );
    let store = std::sync::Arc::new(store.await.unwrap());
    fleet_storage_conformance::check_export_outlives_the_limit_of_views(store, limit).await;
}
