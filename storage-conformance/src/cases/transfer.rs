//! Export and import.

use fleet_core::store::{Backend, Doc, ExportDigest, Filter, Latest, Record, Result, StoredRow, verify_chain};
use futures::{StreamExt as _, stream};

use crate::{Lab, Opened, dsl::*};

async fn fill(lab: &Lab) {
    lab.ok([
        put("b").name("x").size(1).tags(["t"]).code("c1"),
        put("a").name("😀"),
        put("z").kind("other"),
        put("y").kind("bare"),
    ])
    .await;
    lab.ok([
        put("a").size(5),
        row("ledger", "s", 9),
        row("ledger", "r", 1),
        row("log", "t", 1).level(1),
    ])
    .await;
    lab.ingest([
        latest("state", "b", 1),
        latest("gauge", "b", 2),
        latest("gauge", "a", 3),
    ])
    .await
    .unwrap();
    lab.ingest([
        row("log", "s", 7).n(1),
        row("log", "s", 7),
        row("log", "s", -3),
        row("tape", "s", 1),
    ])
    .await
    .unwrap();
    lab.ok([delete("z").kind("other"), row("ledger", "q", 5)]).await;
}

async fn empty(lab: &Lab) -> Opened {
    let opened = lab.another().await;
    opened.backend.prepare(&schema()).await.unwrap();
    opened
}

async fn import(store: &dyn Backend, records: Vec<Record>) -> Result<Record> {
    store
        .import(origin(1), stream::iter(records.into_iter().map(Ok)).boxed())
        .await
}

fn told(record: &Record) -> String {
    match record {
        Record::Doc(Doc { key, rev, seq, .. }) => format!("{}/{}@{rev}:{seq}", key.kind, name(key.id)),
        Record::Latest(Latest { key, .. }) => format!("{}/{}", key.kind, name(key.id)),
        Record::Row(lane, StoredRow { row, link }) => {
            let link = link.map_or_else(String::new, |link| format!("#{}", link.number));
            format!("{lane}/{}/{}.{}{link}", name(row.stream), row.at, row.n)
        }
        Record::End { seq, count, .. } => format!("end {seq} {count}"),
    }
}

pub(crate) async fn empty_store_exports_its_end(lab: &mut Lab) {
    assert_eq!(lab.export().await, [ExportDigest::default().end(0)]);
}

pub(crate) async fn records_are_in_order(lab: &mut Lab) {
    fill(lab).await;
    let records = lab.export().await;
    assert_eq!(
        records.iter().map(told).collect::<Vec<_>>(),
        [
            "bare/y@1:1",
            "thing/a@2:2",
            "thing/b@1:1",
            "gauge/a",
            "gauge/b",
            "state/b",
            "ledger/q/5.0#3",
            "ledger/r/1.0#2",
            "ledger/s/9.0#1",
            "log/s/-3.0",
            "log/s/7.0",
            "log/s/7.1",
            "log/t/1.0",
            "tape/s/1.0",
            "end 3 14"
        ]
    );
}

pub(crate) async fn digest_is_over_all_records(lab: &mut Lab) {
    fill(lab).await;
    let records = lab.export().await;
    let mut digest = ExportDigest::default();
    records.iter().for_each(|record| digest.add(record));
    assert_eq!(records.last(), Some(&digest.end(3)));
}

pub(crate) async fn equal_contents_have_equal_digests(lab: &mut Lab) {
    let other = empty(lab).await;
    fill(lab).await;
    // The same contents by other ways: rows in another order, a repeated batch, a value replaced.
    let store = &other.backend;
    store
        .ingest(ingest([
            latest("gauge", "b", 9),
            row("tape", "s", 1),
            row("log", "s", 7),
            row("log", "s", -3),
        ]))
        .await
        .unwrap();
    let first = [
        put("b").name("x").size(1).tags(["t"]).code("c1"),
        put("z").kind("other"),
        put("y").kind("bare"),
        put("a").name("😀"),
    ];
    store.commit(batch(1, first.clone())).await.unwrap();
    store.commit(batch(1, first)).await.unwrap();
    store
        .commit(batch(
            2,
            [
                row("log", "t", 1).level(1),
                row("ledger", "s", 9),
                put("a").size(5),
                row("ledger", "r", 1),
            ],
        ))
        .await
        .unwrap();
    store
        .ingest(ingest([
            row("log", "s", 7).n(1),
            latest("gauge", "a", 3),
            latest("gauge", "b", 2),
            latest("state", "b", 1),
        ]))
        .await
        .unwrap();
    store
        .commit(batch(3, [row("ledger", "q", 5), delete("z").kind("other")]))
        .await
        .unwrap();
    assert_eq!(exported(&**store).await.last(), lab.export().await.last());
}

pub(crate) async fn any_difference_changes_the_digest(lab: &mut Lab) {
    fill(lab).await;
    let mut ends = vec![lab.export().await.pop()];
    for step in [
        put("a").size(5),
        put("n"),
        delete("n"),
        row("log", "n", 1),
        row("ledger", "n", 1),
    ] {
        lab.ok([step]).await;
        ends.push(lab.export().await.pop());
    }
    lab.ingest([latest("gauge", "a", 4)]).await.unwrap();
    ends.push(lab.export().await.pop());
    lab.ingest([row("tape", "s", 1).n(9)]).await.unwrap();
    ends.push(lab.export().await.pop());
    lab.store().trim("tape", 2).await.unwrap();
    ends.push(lab.export().await.pop());
    for (n, end) in ends.iter().enumerate() {
        assert!(
            !ends[..n].contains(end),
            "step {n} changed nothing in the digest: {end:?}"
        );
    }
}

pub(crate) async fn import_carries_everything(lab: &mut Lab) {
    fill(lab).await;
    let records = lab.export().await;
    let target = empty(lab).await;
    let end = import(&*target.backend, records.clone()).await.unwrap();
    assert_eq!(Some(&end), records.last());
    assert_eq!(exported(&*target.backend).await, records);
    assert_eq!(target.backend.check().await.unwrap(), []);
}

pub(crate) async fn imported_store_is_indexed(lab: &mut Lab) {
    fill(lab).await;
    let target = empty(lab).await;
    import(&*target.backend, lab.export().await).await.unwrap();
    let mut view = target.backend.view().await.unwrap();
    assert_eq!(listed(&mut *view, list(eq("tag", "t"))).await, "b");
    assert_eq!(listed(&mut *view, all().by("size")).await, "b a");
    assert_eq!(read_all(&mut *view, read("log").filter(eq("level", 1))).await, "t@1.0");
    assert_eq!(view.latest_page("gauge", None, 10).await.unwrap().len(), 2);
    let taken = target.backend.commit(batch(1, [put("x").code("c1")])).await;
    assert_eq!(fails(taken), "Taken");
}

pub(crate) async fn imported_store_goes_on_where_the_source_stood(lab: &mut Lab) {
    fill(lab).await;
    let target = empty(lab).await;
    import(&*target.backend, lab.export().await).await.unwrap();
    let store = &target.backend;
    let mut changes = store.changes(3).await.unwrap();
    let old = store.changes(2).await.unwrap().next().await;
    assert!(
        matches!(old, Some(Err(fleet_core::store::Error::Compacted(3)))),
        "{old:?}"
    );
    let steps = [
        put("a").expect(fleet_core::store::Expect::Rev(2)),
        row("ledger", "s", 10),
    ];
    let committed = store.commit(batch(1, steps)).await.unwrap();
    assert_eq!((committed.seq, committed.revs), (4, vec![Some(3)]));
    assert_eq!(tell(&changes.next().await.unwrap().unwrap()), "4 thing/a@3");
    let mut rows = store.view().await.unwrap().rows(&read("ledger").0).await.unwrap().rows;
    rows.sort_by_key(|stored| stored.link.map(|link| link.number));
    let last = verify_chain(None, rows.iter().map(|stored| (&stored.row, stored.link))).expect("the chain goes on");
    assert_eq!(last.map(|link| link.number), Some(4));
}

pub(crate) async fn empty_export_is_imported(lab: &mut Lab) {
    let target = empty(lab).await;
    let end = import(&*target.backend, lab.export().await).await.unwrap();
    assert_eq!(told(&end), "end 0 0");
    assert_eq!(target.backend.commit(batch(1, [put("a")])).await.unwrap().seq, 1);
}

pub(crate) async fn target_that_is_not_empty_is_refused(lab: &mut Lab) {
    let records = lab.export().await;
    for filling in ["document", "row", "latest value", "deleted document"] {
        let target = empty(lab).await;
        let store = &target.backend;
        match filling {
            "document" => drop(store.commit(batch(1, [put("a")])).await.unwrap()),
            "row" => store.ingest(ingest([row("log", "s", 1)])).await.unwrap(),
            "latest value" => store.ingest(ingest([latest("gauge", "a", 1)])).await.unwrap(),
            _ => {
                store.commit(batch(1, [put("a")])).await.unwrap();
                store.commit(batch(2, [delete("a")])).await.unwrap();
            }
        }
        let before = exported(&**store).await;
        assert_eq!(fails(import(&**store, records.clone()).await), "Refused", "{filling}");
        assert_eq!(exported(&**store).await, before, "{filling}: what is there stays");
    }
}

/// After a failed import nothing of it may be seen.
async fn check_nothing_usable(lab: &Lab, what: &str, records: Vec<Result<Record>>, expected: &str) {
    let target = empty(lab).await;
    let result = target.backend.import(origin(1), stream::iter(records).boxed()).await;
    assert_eq!(fails(result), expected, "{what}");
    if let Ok(mut view) = target.backend.view().await {
        let seen = view.find(&all().0).await.map(|page| page.docs.len()).unwrap_or(0);
        let rows = view.rows(&read("log").0).await.map(|page| page.rows.len()).unwrap_or(0);
        let latest = view
            .latest_page("gauge", None, 10)
            .await
            .map(|page| page.len())
            .unwrap_or(0);
        assert_eq!((seen, rows, latest), (0, 0, 0), "{what}: something of it is seen");
    }
}

/// An export, damaged in each way.
fn damaged(records: &[Record]) -> Vec<(&'static str, Vec<Record>)> {
    let changed = |what: &'static str, change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = records.to_vec();
        change(&mut records);
        (what, records)
    };
    let altered = |what: &'static str, change: &dyn Fn(&mut Doc)| {
        changed(what, &|records| {
            if let Some(Record::Doc(doc)) = records.get_mut(1) {
                change(doc);
            }
        })
    };
    vec![
        changed("the end is missing", &|records| drop(records.pop())),
        changed("a record is missing", &|records| drop(records.remove(1))),
        changed("a row is missing", &|records| drop(records.remove(9))),
        changed("a record comes twice", &|records| records.insert(1, records[1].clone())),
        changed("records are out of order", &|records| records.swap(1, 2)),
        changed("a record follows the end", &|records| records.push(records[13].clone())),
        changed("two ends", &|records| records.push(records[14].clone())),
        altered("a revision was altered", &|doc| doc.rev += 1),
        altered("a place was altered", &|doc| doc.seq -= 1),
        altered("a body was altered", &|doc| doc.body = "{}".into()),
        altered("a body is not JSON", &|doc| doc.body = "{".into()),
        changed("nothing at all", &Vec::clear),
    ]
}

pub(crate) async fn damaged_export_leaves_nothing_usable(lab: &mut Lab) {
    fill(lab).await;
    for (what, records) in damaged(&lab.export().await) {
        check_nothing_usable(lab, what, records.into_iter().map(Ok).collect(), "Corrupt").await;
    }
}

pub(crate) async fn broken_off_import_leaves_nothing_usable(lab: &mut Lab) {
    fill(lab).await;
    let records = lab.export().await;
    for cut in [1, 5, 12, 14] {
        let broken = fleet_core::store::Error::Unavailable("the source is gone".into());
        let records = records[..cut].iter().cloned().map(Ok).chain([Err(broken)]).collect();
        check_nothing_usable(lab, &format!("broken off after {cut}"), records, "Unavailable").await;
    }
}

pub(crate) async fn altered_link_is_found_although_the_digest_is_right(lab: &mut Lab) {
    fill(lab).await;
    let mut records = lab.export().await;
    records.pop();
    if let Some(Record::Row("ledger", stored)) = records.get_mut(7) {
        stored.row.body = r#"{"level":666}"#.into();
    }
    let mut digest = ExportDigest::default();
    records.iter().for_each(|record| digest.add(record));
    records.push(digest.end(3));
    check_nothing_usable(lab, "a forged chain", records.into_iter().map(Ok).collect(), "Corrupt").await;
}

pub(crate) async fn export_is_one_place_while_writers_run(lab: &mut Lab) {
    fill(lab).await;
    let expected = lab.export().await;
    let view = lab.view().await;
    let mut export = view.export();
    let mut records = vec![without_index(export.next().await.unwrap().unwrap())];
    lab.ok([put("a"), put("zz"), delete("b"), row("log", "s", 99)]).await;
    lab.ingest([latest("gauge", "zz", 1)]).await.unwrap();
    while let Some(record) = export.next().await {
        records.push(without_index(record.unwrap()));
    }
    assert_eq!(records, expected);
}

pub(crate) async fn long_export_is_imported(lab: &mut Lab) {
    lab.ok((0..3_000).map(|n| put(&format!("{n:04}")).size(n).tags(["a", "b"])))
        .await;
    lab.ok((0..3_000).map(|at| row("ledger", "s", 3_000 - at))).await;
    lab.ingest((0..3_000).map(|at| row("log", "s", at).level(at)))
        .await
        .unwrap();
    lab.ingest((0..3_000).map(|n| latest("gauge", &format!("{n:04}"), n)))
        .await
        .unwrap();
    let records = lab.export().await;
    let target = empty(lab).await;
    let end = import(&*target.backend, records.clone()).await.unwrap();
    assert_eq!(told(&end), "end 2 12000");
    assert_eq!(exported(&*target.backend).await.last(), records.last());
    assert_eq!(
        target
            .backend
            .view()
            .await
            .unwrap()
            .count("thing", &Filter::Eq("tag", "b".into()))
            .await
            .unwrap(),
        3_000
    );
}
