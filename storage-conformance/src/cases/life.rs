//! Preparing, checking, closing.

use fleet_core::store::{Column, ColumnType, Error, Filter, Ingest, LatestSchema, Patch, Schema, SchemaReport};

use crate::{Lab, dsl::*};

pub(crate) async fn info_says_what_it_is(lab: &mut Lab) {
    let info = lab.store().info();
    assert!(!info.backend.is_empty() && info.format > 0, "{info:?}");
}

pub(crate) async fn first_preparation_creates_everything(lab: &mut Lab) {
    let opened = lab.another().await;
    let mut report = opened.backend.prepare(&schema()).await.unwrap();
    report.created.sort();
    assert_eq!(
        report.created,
        ["bare", "gauge", "ledger", "log", "other", "state", "tape", "thing"]
    );
    assert_eq!(report.filled, [""; 0]);
}

pub(crate) async fn second_preparation_changes_nothing(lab: &mut Lab) {
    lab.ok([put("a").name("x")]).await;
    let report = lab.store().prepare(&schema()).await.unwrap();
    assert_eq!((report.created.len(), report.filled.len()), (0, 0), "{report:?}");
    assert_eq!(lab.list(list(eq("name", "x"))).await, "a");
    assert_eq!(lab.seq().await, 1);
}

fn small(columns: Vec<Column>) -> Schema {
    let lanes = lane(
        "log",
        columns
            .iter()
            .copied()
            .filter(|column| !column.many && !column.unique)
            .collect(),
        false,
    );
    Schema::default()
        .with_kind(kind("thing", columns))
        .and_then(|schema| schema.with_lane(lanes))
        .unwrap()
}

const NAME: Column = Column::one("name", ColumnType::Text);
const SIZE: Column = Column::one("size", ColumnType::Int);
const TAG: Column = Column::many("tag", ColumnType::Text);
const CODE: Column = Column::unique("code", ColumnType::Text);

pub(crate) async fn added_column_is_filled(lab: &mut Lab) {
    let opened = lab.another().await;
    let store = &opened.backend;
    store.prepare(&small(vec![NAME])).await.unwrap();
    let cut = |step: Step| {
        let named = step.body();
        let body: serde_json::Value = serde_json::from_slice(&named).unwrap();
        step.index(vec![vec![body["name"].as_str().into()]])
    };
    let things = (0..30).map(|n| cut(put(&format!("{n:02}")).name("x").size(n % 3).tags(["t", "u"])));
    store.commit(batch(1, things)).await.unwrap();
    store
        .commit(batch(2, [cut(row("log", "s", 1).name("r").size(4))]))
        .await
        .unwrap();

    let mut report = store.prepare(&small(vec![NAME, SIZE, TAG])).await.unwrap();
    report.filled.sort();
    assert_eq!(report.filled, ["log.size", "thing.size", "thing.tag"]);
    assert_eq!(report.created, [""; 0]);
    let mut view = store.view().await.unwrap();
    assert_eq!(view.count("thing", &eq("size", 2)).await.unwrap(), 10);
    assert_eq!(view.count("thing", &eq("tag", "u")).await.unwrap(), 30);
    assert_eq!(view.count("thing", &eq("name", "x")).await.unwrap(), 30);
    assert_eq!(read_all(&mut *view, read("log").filter(eq("size", 4))).await, "s@1.0");
    assert_eq!(view.seq(), 2);
    assert_eq!(store.check().await.unwrap(), []);
}

pub(crate) async fn added_kinds_lanes_and_sets_are_created(lab: &mut Lab) {
    let more = schema()
        .with_kind(kind("extra", vec![NAME]))
        .and_then(|schema| schema.with_lane(lane("extra_log", Vec::new(), false)))
        .and_then(|schema| schema.with_latest(LatestSchema { name: "extra_state" }))
        .unwrap();
    lab.ok([put("a")]).await;
    let mut report = lab.store().prepare(&more).await.unwrap();
    report.created.sort();
    assert_eq!(report.created, ["extra", "extra_log", "extra_state"]);
    let store = lab.store();
    store
        .commit(batch(
            1 << 100,
            [
                put("e").kind("extra").name("n").index(vec![vec!["n".into()]]),
                row("extra_log", "s", 1),
            ],
        ))
        .await
        .unwrap();
    let mut view = store.view().await.unwrap();
    assert_eq!(view.count("extra", &eq("name", "n")).await.unwrap(), 1);
    assert_eq!(view.count("thing", &Filter::All).await.unwrap(), 1);
}

/// A store of an older schema, with documents and rows in it.
async fn older(lab: &Lab) -> crate::Opened {
    let opened = lab.another().await;
    opened.backend.prepare(&small(vec![NAME])).await.unwrap();
    let cut = |step: Step| step.index(vec![vec!["x".into()]]);
    let things = (0..30).map(|n| cut(put(&format!("{n:02}")).name("x").size(n).tags(["t"])));
    opened.backend.commit(batch(1, things)).await.unwrap();
    let rows = [cut(row("log", "s", 1).name("r").size(4))];
    opened.backend.commit(batch(2, rows)).await.unwrap();
    opened
}

/// What the older store becomes.
fn larger() -> Schema {
    let schema = small(vec![NAME, SIZE, TAG]).with_kind(kind("extra", vec![NAME]));
    schema
        .and_then(|schema| schema.with_latest(LatestSchema { name: "extra_state" }))
        .unwrap()
}

fn sorted(mut report: SchemaReport) -> (Vec<String>, Vec<String>) {
    report.created.sort();
    report.filled.sort();
    (report.created, report.filled)
}

pub(crate) async fn pending_says_what_preparing_would_do_and_does_nothing(lab: &mut Lab) {
    let opened = older(lab).await;
    let store = &opened.backend;
    let before = exported(&**store).await;
    let pending = sorted(store.pending(&larger()).await.unwrap());
    assert_eq!(pending.0, ["extra", "extra_state"]);
    assert_eq!(pending.1, ["log.size", "thing.size", "thing.tag"]);
    assert_eq!(
        sorted(store.pending(&larger()).await.unwrap()),
        pending,
        "it was only asked"
    );
    assert_eq!(exported(&**store).await, before);
    let mut view = store.view().await.unwrap();
    assert_eq!(
        fails(view.count("extra", &Filter::All).await),
        "Invalid",
        "the older schema is the store's still"
    );
    assert_eq!(fails(view.count("thing", &eq("size", 2)).await), "NoIndex");
    drop(view);
    assert_eq!(
        sorted(store.prepare(&larger()).await.unwrap()),
        pending,
        "preparing does what it said"
    );
    assert_eq!(store.pending(&larger()).await.unwrap(), SchemaReport::default());
    assert_eq!(
        fails(store.pending(&small(vec![NAME])).await),
        "Refused",
        "a newer version wrote it"
    );
}

pub(crate) async fn pending_of_a_new_store_is_everything(lab: &mut Lab) {
    let opened = lab.another().await;
    let mut pending = opened.backend.pending(&schema()).await.unwrap();
    pending.created.sort();
    assert_eq!(
        pending.created,
        ["bare", "gauge", "ledger", "log", "other", "state", "tape", "thing"]
    );
    assert_eq!(
        sorted(opened.backend.prepare(&schema()).await.unwrap()),
        sorted(pending)
    );
}

pub(crate) async fn store_is_read_by_the_schema_before(lab: &mut Lab) {
    let opened = older(lab).await;
    let store = &opened.backend;
    let before = exported(&**store).await;
    let pending = store.pending(&larger()).await.unwrap();
    let report = store.prepare(&larger().before(&pending)).await.unwrap();
    assert_eq!(report, SchemaReport::default(), "that is what it has");
    assert_eq!(exported(&**store).await, before);
    assert_eq!(sorted(store.prepare(&larger()).await.unwrap()), sorted(pending));
    assert_eq!(
        exported(&**store).await,
        before,
        "index values are no part of an export"
    );
    assert_eq!(store.check().await.unwrap(), []);
}

pub(crate) async fn footprint_names_what_is_declared(lab: &mut Lab) {
    lab.ok([put("a").name("x"), row("ledger", "s", 1).level(1)]).await;
    let footprint = lab.store().footprint().await.unwrap();
    let whole = footprint.bytes.unwrap_or(u64::MAX);
    assert_eq!(
        footprint.bytes.is_some(),
        lab.store().info().durable,
        "what is on a disk takes room"
    );
    assert!(whole > 0);
    for (name, bytes) in &footprint.names {
        assert!(
            schema().names().any(|declared| declared == *name),
            "{name} is not declared"
        );
        assert!(*bytes <= whole, "{footprint:?}");
    }
}

pub(crate) async fn added_unique_column_must_not_clash(lab: &mut Lab) {
    let opened = lab.another().await;
    let store = &opened.backend;
    store.prepare(&small(vec![NAME])).await.unwrap();
    let cut = |name: &str| put(name).name(name).code("same").index(vec![vec![name.into()]]);
    store.commit(batch(1, [cut("a"), cut("b")])).await.unwrap();
    assert_eq!(fails(store.prepare(&small(vec![NAME, CODE])).await), "Taken");
    store.prepare(&small(vec![NAME])).await.unwrap();
    assert_eq!(
        store.view().await.unwrap().count("thing", &Filter::All).await.unwrap(),
        2
    );
}

pub(crate) async fn stored_kind_that_is_not_declared_is_refused(lab: &mut Lab) {
    lab.ok([put("a"), put("o").kind("other"), row("log", "s", 1)]).await;
    assert_eq!(fails(lab.store().prepare(&small(thing_columns())).await), "Refused");
    lab.store().prepare(&schema()).await.unwrap();
    assert_eq!(lab.count(Filter::All).await, 1);
}

pub(crate) async fn clean_store_has_no_findings(lab: &mut Lab) {
    assert_eq!(lab.store().check().await.unwrap(), []);
    lab.ok([
        put("a").name("x").tags(["t"]).code("c"),
        put("b"),
        row("log", "s", 1).level(1),
        row("ledger", "s", 1),
    ])
    .await;
    lab.ok([put("a").name("y").tags(["u"]), delete("b"), row("ledger", "s", 0)])
        .await;
    lab.ingest([latest("gauge", "a", 1), row("log", "s", 2)]).await.unwrap();
    lab.store().trim("log", 2).await.unwrap();
    lab.store().compact(1).await.unwrap();
    assert_eq!(lab.store().check().await.unwrap(), []);
}

pub(crate) async fn index_values_that_differ_from_the_body_are_found(lab: &mut Lab) {
    let null = || vec![fleet_core::store::Value::Null];
    let wrong = vec![vec!["y".into()], null(), null(), vec![], vec![], null(), null()];
    lab.ok([put("a").name("x").index(wrong)]).await;
    let findings = lab.store().check().await.unwrap();
    assert!(
        !findings.is_empty(),
        "an index value that the body does not give is found"
    );
    lab.ok([delete("a")]).await;
}

pub(crate) async fn closed_store_is_unavailable(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    let store = lab.store().clone();
    store.close().await.unwrap();
    lab.closed = true;
    let unavailable = |what: &str, answer: &str| assert_eq!(answer, "Unavailable", "{what}");
    unavailable("commit", fails(lab.commit([put("a")]).await));
    unavailable("ingest", fails(store.ingest(Ingest::default()).await));
    unavailable("view", fails(store.view().await.map(|_| ())));
    unavailable("trim", fails(store.trim("log", 0).await));
    unavailable("changes", fails(store.changes(0).await.map(|_| ())));
    unavailable("compact", fails(store.compact(0).await));
    unavailable("lease", fails(store.lease("job", id("a"), PATIENCE).await));
    unavailable("standing", fails(store.standing().await));
    unavailable("freeze", fails(store.freeze(origin(1)).await));
    unavailable("fill", fails(store.fill(origin(1)).await));
    unavailable("patch", fails(store.patch(Patch::default()).await));
    unavailable("serve", fails(store.serve().await));
    unavailable("clear", fails(store.clear().await));
    unavailable("track", fails(store.track(true).await));
    unavailable("tracked", fails(store.tracked(0).await));
    unavailable("check", fails(store.check().await));
    unavailable("prepare", fails(store.prepare(&schema()).await));
    store.close().await.expect("closing again is no error");
}

pub(crate) async fn closing_finishes_what_was_accepted(lab: &mut Lab) {
    let store = lab.store().clone();
    let writers: Vec<_> = (0..20_u128)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { (n, store.commit(batch(n, [put(&format!("d{n}"))])).await) })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    lab.closed = true;
    let mut acknowledged = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            (n, Ok(_)) => acknowledged.push(n),
            (_, Err(Error::Unavailable(_))) => {}
            (n, Err(error)) => panic!("writer {n}: {error}"),
        }
    }
    drop(store);
    if lab.reopen().await {
        lab.closed = false;
        let mut found: Vec<u128> = Vec::new();
        for n in 0..20 {
            if lab.get(&format!("d{n}")).await.is_some() {
                found.push(n);
            }
        }
        assert_eq!(found, acknowledged, "exactly what was acknowledged is there");
    }
}
