//! Numbers and ids at the edges of what they can be.

use std::time::Duration;

use fleet_core::store::{Cursor, Error, Expect, Filter, Key, RowCursor, Value};
use futures::{FutureExt as _, StreamExt as _};
use uuid::Uuid;

use crate::{Lab, dsl::*};

/// From end to end, with neighbours that a floating point number cannot tell apart.
const EDGES: [i64; 11] = [
    i64::MIN,
    i64::MIN + 1,
    -(1 << 53) - 1,
    -(1 << 53),
    -1,
    0,
    1,
    1 << 53,
    (1 << 53) + 1,
    i64::MAX - 1,
    i64::MAX,
];

async fn edges(lab: &Lab) -> Vec<String> {
    let names: Vec<String> = (0..EDGES.len()).map(|n| format!("{n:02}")).collect();
    lab.ok(names
        .iter()
        .zip(EDGES)
        .rev()
        .map(|(name, n)| put(name).size(n).field("serial", n).field("mark", vec![n])))
        .await;
    names
}

pub(crate) async fn neighbours_are_apart_in_every_filter(lab: &mut Lab) {
    let names = edges(lab).await;
    for (at, n) in EDGES.into_iter().enumerate() {
        for column in ["size", "serial", "mark"] {
            assert_eq!(lab.list(list(eq(column, n))).await, names[at], "{column} is {n}");
            assert_eq!(
                lab.list(list(one_of(column, [n]))).await,
                names[at],
                "{column} is one of {n}"
            );
            assert_eq!(
                lab.list(list(range::<i64>(column, n, None))).await,
                names[at..].join(" "),
                "{column} from {n}"
            );
            assert_eq!(
                lab.list(list(range::<i64>(column, None, n))).await,
                names[..at].join(" "),
                "{column} below {n}"
            );
        }
        assert_eq!(
            lab.refused([put("new").field("serial", n)]).await,
            "Taken",
            "{n} is taken"
        );
    }
}

pub(crate) async fn integers_are_in_order_from_end_to_end(lab: &mut Lab) {
    let names = edges(lab).await;
    let down: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    for column in ["size", "serial"] {
        for limit in [1, 2, 100] {
            assert_eq!(lab.list(all().by(column).limit(limit)).await, names.join(" "));
            assert_eq!(lab.list(all().by(column).down().limit(limit)).await, down.join(" "));
        }
    }
    let tally = EDGES.map(|n| format!("{n}:1")).join(" ");
    assert_eq!(lab.tally(Filter::All, "size").await, tally);
    assert_eq!(lab.tally(Filter::All, "mark").await, tally);
}

pub(crate) async fn cursors_lie_at_the_ends_too(lab: &mut Lab) {
    edges(lab).await;
    let after = |mut list: List, value: i64, id: Uuid| {
        list.0.after = Some(Cursor {
            value: Value::Int(value),
            id,
        });
        list
    };
    let up = || all().by("size");
    assert_eq!(lab.list(after(up(), i64::MAX, Uuid::max())).await, "");
    assert_eq!(lab.list(after(up(), i64::MAX, Uuid::nil())).await, "10");
    assert_eq!(lab.list(after(up().down(), i64::MIN, Uuid::nil())).await, "");
    assert_eq!(lab.list(after(up().down(), i64::MIN, Uuid::max())).await, "00");
}

pub(crate) async fn levels_of_rows_reach_from_end_to_end(lab: &mut Lab) {
    lab.ingest((0_i64..).zip(EDGES).map(|(at, n)| row("log", "s", at).level(n)))
        .await
        .unwrap();
    for (at, n) in EDGES.into_iter().enumerate() {
        assert_eq!(
            lab.rows(read("log").filter(eq("level", n))).await,
            format!("s@{at}.0"),
            "level is {n}"
        );
    }
    let high = range::<i64>("level", i64::MAX - 1, None);
    assert_eq!(lab.rows(read("log").filter(high)).await, "s@9.0 s@10.0");
}

pub(crate) async fn row_cursors_lie_at_the_ends_too(lab: &mut Lab) {
    let ends = [
        row("log", "", i64::MIN),
        row("log", "", i64::MAX).id(Uuid::max()).n(u32::MAX),
        row("log", "s", 0),
    ];
    lab.ingest(ends).await.unwrap();
    let after = |mut reading: Reading, at: i64, stream: Uuid, n: u32| {
        reading.0.after = Some(RowCursor { at, stream, n });
        reading
    };
    let count = async |reading: Reading| lab.stored_rows(reading).await.len();
    assert_eq!(count(after(read("log"), i64::MAX, Uuid::max(), u32::MAX)).await, 0);
    assert_eq!(count(after(read("log"), i64::MAX, Uuid::max(), u32::MAX - 1)).await, 1);
    assert_eq!(count(after(read("log"), i64::MIN, Uuid::nil(), 0)).await, 2);
    assert_eq!(count(after(read("log").down(), i64::MIN, Uuid::nil(), 0)).await, 0);
    assert_eq!(
        count(after(read("log").down(), i64::MAX, Uuid::max(), u32::MAX)).await,
        2
    );
}

pub(crate) async fn times_before_1970_are_trimmed_like_others(lab: &mut Lab) {
    lab.ingest([-9, -5, -1, 0, 5].map(|at| row("log", "s", at)))
        .await
        .unwrap();
    assert_eq!(lab.store().trim("log", -5).await.unwrap(), 1);
    assert_eq!(lab.rows(read("log")).await, "s@-5.0 s@-1.0 s@0.0 s@5.0");
    assert_eq!(lab.store().trim("log", 0).await.unwrap(), 2);
    assert_eq!(lab.rows(read("log")).await, "s@0.0 s@5.0");
}

pub(crate) async fn demanded_revision_may_be_any_number(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    for rev in [0, 2, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        for (name, found) in [("a", Some(1)), ("b", None)] {
            for step in [put(name), delete(name), check(name)] {
                let error = lab
                    .commit([step.expect(Expect::Rev(rev))])
                    .await
                    .expect_err("it is refused");
                let Error::Conflict {
                    key: at,
                    expect,
                    found: told,
                } = error
                else {
                    panic!("revision {rev} is demanded: {error}");
                };
                assert_eq!((at, expect, told), (key(name), Expect::Rev(rev), found));
            }
        }
    }
    assert_eq!(lab.seq().await, 1);
}

pub(crate) async fn feed_may_begin_beyond_every_place(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    for after in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let mut changes = lab.store().changes(after).await.expect("the feed is followed");
        lab.ok([put("a")]).await;
        tokio::task::yield_now().await;
        assert!(changes.next().now_or_never().is_none(), "nothing is after {after}");
    }
}

pub(crate) async fn compaction_beyond_every_place_ends_at_the_newest(lab: &mut Lab) {
    for _ in 0..3 {
        lab.ok([put("a")]).await;
    }
    assert_eq!(lab.store().compact(u64::MAX).await.unwrap(), 3);
    assert_eq!(lab.store().compact(i64::MAX as u64 + 1).await.unwrap(), 0);
    lab.ok([put("b")]).await;
    let mut changes = lab.store().changes(0).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    assert!(matches!(first, Some(Err(Error::Compacted(3)))), "{first:?}");
    assert_eq!(lab.feed(3).await, ["4 thing/b@1"]);
}

pub(crate) async fn ids_of_zeros_and_of_ones_are_ids(lab: &mut Lab) {
    for end in [Uuid::nil(), Uuid::max()] {
        let owner = end.to_string();
        let steps = [
            put("x").id(end).field("owner", owner),
            row("log", "x", 1).id(end).field("who", end.to_string()),
        ];
        let committed = lab
            .store()
            .commit(fleet_core::store::Batch {
                id: end,
                ..batch(0, steps.clone())
            })
            .await
            .unwrap();
        let again = lab
            .store()
            .commit(fleet_core::store::Batch {
                id: end,
                ..batch(0, steps)
            })
            .await
            .unwrap();
        assert_eq!(committed, again, "a batch id may be {end}");
        lab.ingest([latest("gauge", "x", 1).id(end)]).await.unwrap();
        assert!(
            lab.store()
                .lease("job", end, Duration::from_secs(9))
                .await
                .unwrap()
                .is_some()
        );
        lab.store().lease("job", end, Duration::ZERO).await.unwrap();
        assert_eq!(lab.get_key(Key::new("thing", end)).await.unwrap().rev, 1);
        assert_eq!(lab.count(eq("owner", end)).await, 1);
        let found = lab.stored_rows(read("log").filter(eq("who", end))).await;
        assert_eq!(found[0].row.stream, end);
        assert!(lab.view().await.latest(&[Key::new("gauge", end)]).await.unwrap()[0].is_some());
    }
    let page = lab.page(all().by("owner").down()).await.unwrap();
    assert_eq!(
        page.docs.iter().map(|doc| doc.key.id).collect::<Vec<_>>(),
        [Uuid::max(), Uuid::nil()]
    );
    let mut view = lab.view().await;
    assert_eq!(view.latest_page("gauge", Some(Uuid::nil()), 9).await.unwrap().len(), 1);
    assert_eq!(view.latest_page("gauge", Some(Uuid::max()), 9).await.unwrap().len(), 0);
}
