use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use uuid::Uuid;

use super::super::{
    Batch, Change, Column, ColumnType, Committed, Expect, Ingest, Key, KindSchema, LaneSchema, Latest, LatestSchema,
    Link, Name, Row, Schema, StoredRow, Touched, Value, Write,
};
use super::*;

fn schema() -> Schema {
    Schema::default()
        .with_kind(KindSchema {
            name: "device",
            columns: vec![
                Column::unique("name", ColumnType::Text),
                Column::many("tag", ColumnType::Text),
            ],
            indexes: vec![],
            indexer: Arc::new(|_| Err("not used".into())),
        })
        .and_then(|schema| schema.with_lane(lane("output", false)))
        .and_then(|schema| schema.with_lane(lane("audit", true)))
        .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
        .unwrap()
}

fn lane(name: Name, chained: bool) -> LaneSchema {
    LaneSchema {
        name,
        columns: vec![],
        chained,
        indexer: Arc::new(|_| Ok(vec![])),
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn device(n: u128) -> Key {
    Key::new("device", id(n))
}

fn state(n: u128) -> Key {
    Key::new("state", id(n))
}

fn index(name: &str) -> Vec<Vec<Value>> {
    let name = if name.is_empty() { Value::Null } else { name.into() };
    vec![vec![name], vec![]]
}

fn put(n: u128, expect: Expect, name: &str) -> Write {
    Write::Put {
        key: device(n),
        expect,
        body: Bytes::from(format!("{n}:{name}")),
        index: index(name),
    }
}

fn delete(n: u128, expect: Expect) -> Write {
    Write::Delete { key: device(n), expect }
}

fn batch(n: u128, writes: Vec<Write>, rows: Vec<(Name, Row)>) -> Work {
    Work::Batch(Batch {
        id: id(0xb000 + n),
        writes,
        rows,
    })
}

fn row(stream: u128, at: i64, body: &str) -> Row {
    Row {
        stream: id(stream),
        at,
        n: 0,
        body: Bytes::from(body.to_owned()),
        index: vec![],
    }
}

fn latest(n: u128, body: &str) -> Latest {
    Latest {
        key: state(n),
        body: Bytes::from(body.to_owned()),
    }
}

/// The store before: two devices called `a` and `b` at revisions 3 and 1, one row, one latest value, commit order at 10.
fn facts() -> Facts {
    let name = |name: &str| UniqueValue {
        kind: "device",
        column: "name",
        value: name.into(),
    };
    let place = Place::of("output", &row(1, 1, ""));
    Facts {
        seq: 10,
        documents: [(device(1), 3), (device(2), 1)].into(),
        holders: [(name("a"), id(1)), (name("b"), id(2))].into(),
        rows: [(place, Bytes::from_static(b"old"))].into(),
        latest: HashSet::from([state(1)]),
        ..Facts::default()
    }
}

fn run(group: Vec<Work>) -> (Vec<String>, Effects) {
    let outcome = decide(&schema(), facts(), group);
    let answers = outcome.answers.into_iter().map(|answer| match answer {
        Answer::Batch(Ok(Committed { seq, revs })) => format!("{seq} {revs:?}"),
        Answer::Ingest(Ok(())) => "ok".to_owned(),
        Answer::Batch(Err(error)) | Answer::Ingest(Err(error)) => format!("{error:?}"),
    });
    (answers.collect(), outcome.effects)
}

/// Decides a group and compares the beginnings of its answers, and the documents that are left behind.
#[track_caller]
fn check(group: Vec<Work>, answers: &[&str], puts: &[(u128, u64, u64)], deletes: &[u128]) -> Effects {
    let (got, effects) = run(group);
    assert_eq!(got.len(), answers.len(), "{got:?}");
    for (got, expected) in got.iter().zip(answers) {
        assert!(got.starts_with(expected), "expected {expected}, got {got}");
    }
    let stored: Vec<_> = effects.puts.iter().map(|put| (put.key, put.rev, put.seq)).collect();
    let expected: Vec<_> = puts.iter().map(|(n, rev, seq)| (device(*n), *rev, *seq)).collect();
    assert_eq!(stored, expected);
    assert_eq!(effects.deletes, deletes.iter().map(|n| device(*n)).collect::<Vec<_>>());
    effects
}

#[test]
fn each_batch_takes_a_place_and_later_ones_see_earlier_ones() {
    check(
        vec![
            batch(1, vec![put(1, Expect::Rev(3), "a")], vec![]),
            batch(2, vec![put(1, Expect::Rev(4), "a")], vec![]),
            batch(3, vec![put(9, Expect::Absent, "c")], vec![]),
        ],
        &["11 [Some(4)]", "12 [Some(5)]", "13 [Some(1)]"],
        &[(1, 5, 12), (9, 1, 13)],
        &[],
    );
}

#[test]
fn a_conflict_fails_only_its_own_batch_and_leaves_no_trace_of_it() {
    let effects = check(
        vec![
            batch(
                1,
                vec![put(9, Expect::Absent, "c"), put(1, Expect::Rev(2), "a")],
                vec![("output", row(9, 9, "new"))],
            ),
            batch(2, vec![put(2, Expect::Rev(1), "c")], vec![]),
        ],
        &["Conflict", "11 [Some(2)]"],
        &[(2, 2, 11)],
        &[],
    );
    assert!(effects.rows.is_empty());
    assert_eq!(effects.batches.len(), 1);
}

#[test]
fn a_document_that_was_deleted_begins_again_at_revision_one() {
    check(
        vec![
            batch(1, vec![delete(1, Expect::Present)], vec![]),
            batch(2, vec![put(1, Expect::Absent, "a")], vec![]),
        ],
        &["11 [None]", "12 [Some(1)]"],
        &[(1, 1, 12)],
        &[],
    );
}

#[test]
fn what_a_group_creates_and_deletes_is_in_the_feed_only() {
    let effects = check(
        vec![
            batch(1, vec![put(9, Expect::Absent, "c")], vec![]),
            batch(2, vec![delete(9, Expect::Rev(1)), delete(2, Expect::Any)], vec![]),
        ],
        &["11", "12"],
        &[],
        &[2],
    );
    let touched = |seq, n, rev, deleted| Change {
        seq,
        touched: Touched::Document {
            key: device(n),
            rev,
            deleted,
        },
    };
    assert_eq!(
        effects.feed,
        [
            touched(11, 9, 1, false),
            touched(12, 9, 1, true),
            touched(12, 2, 1, true)
        ]
    );
}

#[test]
fn a_unique_value_is_refused_while_another_document_has_it() {
    check(
        vec![
            batch(1, vec![put(2, Expect::Any, "a")], vec![]),
            batch(2, vec![put(8, Expect::Any, "c"), put(9, Expect::Any, "c")], vec![]),
            batch(3, vec![put(8, Expect::Any, "c")], vec![]),
            batch(4, vec![put(9, Expect::Any, "c")], vec![]),
            batch(5, vec![put(7, Expect::Any, "")], vec![]),
            batch(6, vec![put(6, Expect::Any, "")], vec![]),
        ],
        &["Taken", "Taken", "11", "Taken", "12", "13"],
        &[(8, 1, 11), (7, 1, 12), (6, 1, 13)],
        &[],
    );
}

#[test]
fn unique_values_may_be_freed_and_swapped_in_one_batch_whatever_the_order() {
    check(
        vec![
            batch(1, vec![put(1, Expect::Any, "b"), put(2, Expect::Any, "a")], vec![]),
            batch(2, vec![put(9, Expect::Any, "b"), delete(1, Expect::Any)], vec![]),
            batch(3, vec![put(8, Expect::Any, "a")], vec![]),
            batch(4, vec![put(2, Expect::Any, "")], vec![]),
            batch(5, vec![put(8, Expect::Any, "a")], vec![]),
        ],
        &["11", "12", "Taken", "13", "14"],
        &[(2, 3, 13), (9, 1, 12), (8, 1, 14)],
        &[1],
    );
}

#[test]
fn a_repeated_batch_gets_its_first_answer_and_a_reused_id_is_refused() {
    let first = || batch(1, vec![put(1, Expect::Rev(3), "a")], vec![]);
    check(
        vec![first(), first(), batch(1, vec![put(1, Expect::Any, "a")], vec![])],
        &["11 [Some(4)]", "11 [Some(4)]", "BatchReused"],
        &[(1, 4, 11)],
        &[],
    );
}

#[test]
fn a_batch_that_changes_nothing_takes_no_place_and_is_remembered() {
    let check_only = Write::Check {
        key: device(1),
        expect: Expect::Rev(3),
    };
    let effects = check(
        vec![batch(
            1,
            vec![check_only, delete(9, Expect::Any), Write::DropLatest { key: state(9) }],
            vec![("output", row(1, 1, "old"))],
        )],
        &["10 [Some(3), None, None]"],
        &[],
        &[],
    );
    assert_eq!(effects.seq, 10);
    assert_eq!(effects.feed, []);
    assert_eq!(effects.batches.len(), 1);
}

#[test]
fn identical_rows_are_skipped_and_differing_ones_fail_their_work() {
    let ingest = |rows| {
        Work::Ingest(Ingest {
            latest: vec![latest(5, "x")],
            rows,
        })
    };
    let effects = check(
        vec![
            ingest(vec![("output", row(1, 1, "other"))]),
            batch(
                1,
                vec![],
                vec![("output", row(1, 1, "old")), ("output", row(1, 2, "new"))],
            ),
            ingest(vec![("output", row(1, 2, "new"))]),
            batch(2, vec![], vec![("output", row(1, 2, "newer"))]),
            batch(3, vec![], vec![("output", row(3, 1, "x")), ("output", row(3, 1, "x"))]),
            batch(4, vec![], vec![("output", row(4, 1, "x")), ("output", row(4, 1, "y"))]),
        ],
        &["RowConflict", "11", "ok", "RowConflict", "12", "RowConflict"],
        &[],
        &[],
    );
    let rows: Vec<_> = effects.rows.iter().map(|(_, stored)| stored.row.clone()).collect();
    assert_eq!(rows, [row(1, 2, "new"), row(3, 1, "x")]);
}

#[test]
fn the_feed_names_documents_then_streams_once_in_order_of_their_first_new_row() {
    let effects = check(
        vec![batch(
            1,
            vec![put(9, Expect::Any, "c")],
            vec![
                ("output", row(1, 1, "old")),
                ("output", row(2, 1, "x")),
                ("audit", row(1, 1, "x")),
                ("output", row(2, 2, "x")),
            ],
        )],
        &["11"],
        &[(9, 1, 11)],
        &[],
    );
    let document = Touched::Document {
        key: device(9),
        rev: 1,
        deleted: false,
    };
    let stream = |lane, n| Touched::Stream { lane, stream: id(n) };
    let touched: Vec<_> = effects.feed.into_iter().map(|change| change.touched).collect();
    assert_eq!(touched, [document, stream("output", 2), stream("audit", 1)]);
}

#[test]
fn rows_of_a_chained_lane_are_linked_in_the_order_of_the_group() {
    let effects = check(
        vec![
            batch(1, vec![], vec![("audit", row(1, 5, "a"))]),
            batch(2, vec![delete(1, Expect::Absent)], vec![("audit", row(1, 6, "b"))]),
            batch(3, vec![], vec![("audit", row(0, 1, "c"))]),
        ],
        &["11", "Conflict", "12"],
        &[],
        &[],
    );
    let first = Link::after(None, &row(1, 5, "a"));
    let second = Link::after(Some(first), &row(0, 1, "c"));
    let stored = |row, link| ("audit", StoredRow { row, link: Some(link) });
    assert_eq!(
        effects.rows,
        [stored(row(1, 5, "a"), first), stored(row(0, 1, "c"), second)]
    );
    assert_eq!(effects.heads, [("audit", second)]);
}

#[test]
fn the_last_latest_value_wins_and_a_drop_takes_effect_in_its_place() {
    let ingest = |values| {
        Work::Ingest(Ingest {
            latest: values,
            rows: vec![],
        })
    };
    let drop_latest = |n, of| batch(n, vec![Write::DropLatest { key: state(of) }], vec![]);
    let effects = check(
        vec![
            ingest(vec![latest(2, "a"), latest(2, "b"), latest(3, "c")]),
            drop_latest(1, 1),
            drop_latest(2, 3),
            ingest(vec![latest(4, "d")]),
            drop_latest(3, 4),
            ingest(vec![latest(4, "e")]),
            drop_latest(4, 1),
        ],
        &["ok", "11 [None]", "12", "ok", "13", "ok", "13"],
        &[],
        &[],
    );
    assert_eq!(effects.latest, [latest(2, "b"), latest(4, "e")]);
    assert_eq!(effects.drops, [state(1)]);
    assert_eq!(effects.feed, []);
}

#[test]
fn needs_name_everything_once() {
    let group = [
        batch(
            1,
            vec![put(1, Expect::Any, "a"), Write::DropLatest { key: state(1) }],
            vec![("output", row(1, 1, "x")), ("output", row(1, 1, "x"))],
        ),
        batch(
            1,
            vec![
                delete(1, Expect::Any),
                put(2, Expect::Any, "a"),
                put(3, Expect::Any, ""),
            ],
            vec![],
        ),
    ];
    let needs = Needs::of(&schema(), &group).unwrap();
    assert_eq!(needs.documents, [device(1), device(2), device(3)]);
    assert_eq!(needs.holders.len(), 1);
    assert_eq!(needs.batches.len(), 1);
    assert_eq!(needs.rows.len(), 1);
    assert_eq!(needs.latest, [state(1)]);
}
