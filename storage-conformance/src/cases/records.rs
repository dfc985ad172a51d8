//! Records: everything that a view shows, page by page, in one order; and rows by their places.

use fleet_core::store::{Key, Record, RecordKey, View, group::Place, limits};
use uuid::Uuid;

use crate::{Lab, dsl::*, random::Random};

async fn fill(lab: &Lab) {
    lab.ok([
        put("b").size(1),
        put("a"),
        put("z").kind("other"),
        put("y").kind("bare"),
        row("ledger", "s", 9),
        row("ledger", "r", 1),
    ])
    .await;
    lab.ok([put("a").size(2), row("log", "t", 1).level(1), row("log", "s", -4)])
        .await;
    lab.ingest([
        latest("state", "b", 1),
        latest("gauge", "b", 2),
        latest("gauge", "a", 3),
    ])
    .await
    .unwrap();
    lab.ingest([
        row("tape", "", i64::MIN),
        row("tape", "", i64::MAX).id(Uuid::max()).n(u32::MAX),
        row("log", "s", -4).n(1),
    ])
    .await
    .unwrap();
}

async fn paged(view: &mut dyn View, mut limit: impl FnMut() -> usize) -> Vec<Record> {
    let (mut after, mut records) = (None, Vec::new());
    loop {
        let limit = limit();
        let page = view.records(after, limit).await.expect("records are read");
        assert!(page.len() <= limit, "a page holds no more than asked for");
        let Some(last) = page.last() else { return records };
        after = last.key();
        records.extend(page);
    }
}

pub(crate) async fn pages_of_any_size_hold_the_same(lab: &mut Lab) {
    fill(lab).await;
    let mut expected = lab.export().await;
    expected.pop();
    assert_eq!(expected.len(), 14);
    let mut random = Random::new(4);
    for limit in [1, 2, 5, 100] {
        assert_eq!(
            paged(&mut *lab.view().await, || limit).await,
            expected,
            "pages of {limit}"
        );
    }
    assert_eq!(paged(&mut *lab.view().await, || 1 + random.below(4)).await, expected);
    assert!(expected.is_sorted_by(|a, b| a.key() < b.key()), "in canonical order");
}

pub(crate) async fn reading_begins_after_any_key(lab: &mut Lab) {
    fill(lab).await;
    let mut all = lab.export().await;
    all.pop();
    let mut view = lab.view().await;
    let place = |lane, stream: Uuid, at, n| RecordKey::Row(Place { lane, stream, at, n });
    let keys = [
        RecordKey::Doc(Key::new("bare", Uuid::nil())),
        RecordKey::Doc(Key::new("thing", id("aa"))),
        RecordKey::Doc(Key::new("thing", Uuid::max())),
        RecordKey::Latest(Key::new("gauge", id("a"))),
        RecordKey::Latest(Key::new("gauge", Uuid::max())),
        RecordKey::Latest(Key::new("state", Uuid::max())),
        place("ledger", id("r"), 5, 0),
        place("log", id("s"), -4, 0),
        place("log", id("s"), i64::MAX, u32::MAX),
        place("log", Uuid::max(), i64::MAX, u32::MAX),
        place("tape", Uuid::nil(), i64::MIN, 0),
        place("tape", Uuid::max(), i64::MAX, u32::MAX),
    ];
    for key in keys {
        let expected: Vec<_> = all.iter().filter(|record| record.key() > Some(key)).cloned().collect();
        assert_eq!(view.records(Some(key), 100).await.unwrap(), expected, "after {key}");
        let first: Vec<_> = expected.iter().take(1).cloned().collect();
        assert_eq!(view.records(Some(key), 1).await.unwrap(), first, "one after {key}");
    }
}

pub(crate) async fn readings_are_bounded(lab: &mut Lab) {
    fill(lab).await;
    let mut view = lab.view().await;
    assert_eq!(fails(view.records(None, 0).await), "Invalid");
    assert_eq!(fails(view.records(None, limits::PAGE + 1).await), "Invalid");
    assert_eq!(view.records(None, limits::PAGE).await.unwrap().len(), 14);
}

pub(crate) async fn large_bodies_make_shorter_pages(lab: &mut Lab) {
    let megabyte = "x".repeat(1 << 20);
    for n in 0..3 {
        lab.ok((0..8).map(|m| put(&format!("d{n}{m}")).field("note", megabyte.as_str())))
            .await;
    }
    let mut view = lab.view().await;
    let first = view.records(None, 100).await.unwrap();
    assert!(
        !first.is_empty() && first.len() < 24,
        "{} megabytes in one page",
        first.len()
    );
    assert_eq!(paged(&mut *view, || 100).await.len(), 24);
}

pub(crate) async fn held_view_shows_the_same_records(lab: &mut Lab) {
    fill(lab).await;
    let mut view = lab.view().await;
    let before = paged(&mut *view, || 3).await;
    lab.ok([
        put("a").size(9),
        delete("b"),
        put("aa"),
        row("ledger", "q", 1),
        drop_latest("gauge", "a"),
    ])
    .await;
    lab.ingest([latest("gauge", "b", 7), row("tape", "a", 1)])
        .await
        .unwrap();
    lab.store().trim("log", 100).await.unwrap();
    assert_eq!(paged(&mut *view, || 2).await, before);
    assert_ne!(paged(&mut *lab.view().await, || 2).await, before);
}

pub(crate) async fn rows_answer_in_the_order_of_their_places(lab: &mut Lab) {
    fill(lab).await;
    let mut view = lab.view().await;
    let place = |lane, stream: &str, at, n| Place {
        lane,
        stream: id(stream),
        at,
        n,
    };
    let places = [
        place("log", "t", 1, 0),
        place("log", "t", 2, 0),
        place("ledger", "s", 9, 0),
        place("tape", "", i64::MIN, 0),
        place("log", "s", -4, 1),
        place("log", "s", -4, 1),
        place("log", "s", -4, 2),
        Place {
            stream: Uuid::max(),
            ..place("tape", "", i64::MAX, u32::MAX)
        },
    ];
    let rows = view.rows_at(&places).await.unwrap();
    let told: Vec<Option<(i64, u32, Option<u64>)>> = rows
        .iter()
        .map(|row| {
            row.as_ref()
                .map(|stored| (stored.row.at, stored.row.n, stored.link.map(|link| link.number)))
        })
        .collect();
    let expected = [
        Some((1, 0, None)),
        None,
        Some((9, 0, Some(1))),
        Some((i64::MIN, 0, None)),
        Some((-4, 1, None)),
        Some((-4, 1, None)),
        None,
        Some((i64::MAX, u32::MAX, None)),
    ];
    assert_eq!(told, expected);
    assert_eq!(rows[0].as_ref().unwrap().row.body, row("log", "t", 1).level(1).body());
    assert_eq!(view.rows_at(&[]).await.unwrap(), []);
}

pub(crate) async fn places_are_checked(lab: &mut Lab) {
    let mut view = lab.view().await;
    let place = |lane| Place {
        lane,
        stream: id("s"),
        at: 1,
        n: 0,
    };
    assert_eq!(fails(view.rows_at(&[place("log"), place("thing")]).await), "Invalid");
    assert_eq!(
        fails(view.rows_at(&vec![place("log"); limits::KEYS + 1]).await),
        "Invalid"
    );
    assert_eq!(view.rows_at(&vec![place("log"); 2_000]).await.unwrap().len(), 2_000);
}

pub(crate) async fn walk_of_records_goes_on_under_writers(lab: &mut Lab) {
    // Each page in a view of its own: what stays is met once.
    lab.ok((0..40).map(|n| put(&format!("s{n:02}")))).await;
    lab.ingest((0..40).map(|n| latest("gauge", &format!("s{n:02}"), n)))
        .await
        .unwrap();
    lab.ingest((0..40).map(|n| row("log", &format!("s{n:02}"), 1)))
        .await
        .unwrap();
    let store = lab.store().clone();
    let writer = tokio::spawn(async move {
        for n in 0..150_u128 {
            let name = format!("s{:02}x", n % 40);
            let steps = if n % 3 == 0 {
                vec![delete(&name), drop_latest("gauge", &name)]
            } else {
                vec![put(&name), row("log", &name, n as i64)]
            };
            store.commit(batch(n, steps)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut random = Random::new(8);
    for _ in 0..3 {
        let (mut after, mut met) = (None, Vec::new());
        loop {
            let page = lab.view().await.records(after, 1 + random.below(11)).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.key();
            met.extend(page.iter().filter_map(|record| {
                let told = match record {
                    Record::Doc(doc) => name(doc.key.id),
                    Record::Latest(latest) => name(latest.key.id),
                    Record::Row(_, stored) => name(stored.row.stream),
                    Record::End { .. } => return None,
                };
                (!told.ends_with('x')).then_some(told)
            }));
            tokio::task::yield_now().await;
        }
        let once: Vec<String> = (0..40).map(|n| format!("s{n:02}")).collect();
        assert_eq!(met, [once.clone(), once.clone(), once].concat());
    }
    writer.await.unwrap();
}
