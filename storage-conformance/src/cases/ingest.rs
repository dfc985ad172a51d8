//! The hot path: latest values and rows.

use bytes::Bytes;
use fleet_core::store::{Error, Ingest, Key, Latest, limits};
use futures::future::join_all;

use crate::{Lab, dsl::*};

pub(crate) async fn latest_value_replaces_the_one_before(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1), latest("gauge", "b", 2)])
        .await
        .unwrap();
    lab.ingest([latest("gauge", "a", 3)]).await.unwrap();
    assert_eq!(lab.latest("gauge", "a").await.as_deref(), Some(r#"{"v":3}"#));
    assert_eq!(lab.latest("gauge", "b").await.as_deref(), Some(r#"{"v":2}"#));
    assert_eq!(lab.latest("gauge", "c").await, None);
}

pub(crate) async fn later_value_of_one_call_wins(lab: &mut Lab) {
    lab.ingest([
        latest("gauge", "a", 1),
        latest("gauge", "b", 1),
        latest("gauge", "a", 2),
    ])
    .await
    .unwrap();
    assert_eq!(lab.latest("gauge", "a").await.as_deref(), Some(r#"{"v":2}"#));
}

pub(crate) async fn sets_of_latest_values_are_apart(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1), latest("state", "a", 2)])
        .await
        .unwrap();
    assert_eq!(lab.latest("gauge", "a").await.as_deref(), Some(r#"{"v":1}"#));
    assert_eq!(lab.latest("state", "a").await.as_deref(), Some(r#"{"v":2}"#));
}

pub(crate) async fn latest_values_answer_in_the_order_of_the_keys(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1), latest("gauge", "b", 2)])
        .await
        .unwrap();
    let keys = ["b", "x", "a", "b"].map(|name| Key::new("gauge", id(name)));
    let found = lab.view().await.latest(&keys).await.unwrap();
    let told: Vec<_> = found.iter().map(|body| body.as_ref().map_or(0, Bytes::len)).collect();
    assert_eq!(told, [7, 0, 7, 7]);
    assert_eq!(found[0], found[3]);
}

pub(crate) async fn latest_values_are_paged_by_id(lab: &mut Lab) {
    lab.ingest(["d", "a", "c", "b"].map(|name| latest("gauge", name, 1)))
        .await
        .unwrap();
    lab.ingest([latest("state", "aa", 1)]).await.unwrap();
    let page = async |after: Option<&str>, limit| {
        let page = lab
            .view()
            .await
            .latest_page("gauge", after.map(id), limit)
            .await
            .unwrap();
        page.iter()
            .map(|Latest { key, .. }| name(key.id))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(page(None, 100).await, "a b c d");
    assert_eq!(page(None, 3).await, "a b c");
    assert_eq!(page(Some("c"), 3).await, "d");
    assert_eq!(page(Some("bb"), 3).await, "c d");
    assert_eq!(page(Some("d"), 3).await, "");
}

pub(crate) async fn readings_of_latest_values_are_checked(lab: &mut Lab) {
    let mut view = lab.view().await;
    assert_eq!(fails(view.latest(&[Key::new("thing", id("a"))]).await), "Invalid");
    assert_eq!(
        fails(view.latest(&vec![Key::new("gauge", id("a")); limits::KEYS + 1]).await),
        "Invalid"
    );
    assert_eq!(fails(view.latest_page("thing", None, 1).await), "Invalid");
    assert_eq!(fails(view.latest_page("gauge", None, 0).await), "Invalid");
    assert_eq!(
        fails(view.latest_page("gauge", None, limits::PAGE + 1).await),
        "Invalid"
    );
}

pub(crate) async fn ingest_takes_no_place_and_makes_no_feed_entry(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ingest([latest("gauge", "a", 1), row("log", "s", 1)]).await.unwrap();
    assert_eq!(lab.seq().await, 1);
    assert_eq!(lab.feed(0).await, ["1 thing/a@1"]);
}

pub(crate) async fn empty_ingest_is_no_error(lab: &mut Lab) {
    lab.store().ingest(Ingest::default()).await.unwrap();
    assert_eq!(lab.seq().await, 0);
}

pub(crate) async fn repeated_row_is_dropped(lab: &mut Lab) {
    lab.ingest([row("log", "s", 1).level(1), row("log", "s", 1).level(1)])
        .await
        .unwrap();
    lab.ingest([row("log", "s", 1).level(1), row("log", "s", 2)])
        .await
        .unwrap();
    lab.ok([row("log", "s", 1).level(1)]).await;
    assert_eq!(lab.rows(read("log")).await, "s@1.0 s@2.0");
    assert_eq!(lab.rows(read("log").stream("s")).await, "s@1.0 s@2.0");
    assert_eq!(lab.rows(read("log").filter(eq("level", 1))).await, "s@1.0");
}

pub(crate) async fn differing_row_is_a_conflict(lab: &mut Lab) {
    lab.ingest([row("log", "s", 1).n(3).level(1)]).await.unwrap();
    let result = lab.ingest([row("log", "s", 1).n(3).level(2)]).await;
    assert!(
        matches!(result, Err(Error::RowConflict { lane: "log", stream, at: 1, n: 3 }) if stream == id("s")),
        "{result:?}"
    );
    assert_eq!(
        fails(
            lab.ingest([row("log", "t", 1).level(1), row("log", "t", 1).level(2)])
                .await
        ),
        "RowConflict"
    );
    assert_eq!(lab.rows(read("log")).await, "s@1.3");
    assert_eq!(
        lab.stored_rows(read("log")).await[0].row.body,
        row("log", "s", 1).level(1).body()
    );
}

pub(crate) async fn refused_ingest_leaves_nothing(lab: &mut Lab) {
    lab.ingest([row("log", "s", 2).level(1), latest("gauge", "a", 1)])
        .await
        .unwrap();
    let steps = [
        latest("gauge", "a", 2),
        latest("gauge", "b", 2),
        row("log", "s", 1),
        row("log", "s", 2).level(2),
        row("log", "s", 3),
    ];
    assert_eq!(fails(lab.ingest(steps).await), "RowConflict");
    assert_eq!(lab.rows(read("log")).await, "s@2.0");
    assert_eq!(lab.latest("gauge", "a").await.as_deref(), Some(r#"{"v":1}"#));
    assert_eq!(lab.latest("gauge", "b").await, None);
}

pub(crate) async fn undeclared_names_are_invalid(lab: &mut Lab) {
    assert_eq!(fails(lab.ingest([latest("thing", "a", 1)]).await), "Invalid");
    assert_eq!(fails(lab.ingest([row("gauge", "a", 1)]).await), "Invalid");
    assert_eq!(
        fails(lab.ingest([latest("gauge", "a", 1), row("nothing", "a", 1)]).await),
        "Invalid"
    );
    assert_eq!(lab.latest("gauge", "a").await, None);
}

pub(crate) async fn largest_ingest_is_taken_and_a_larger_one_is_invalid(lab: &mut Lab) {
    let steps = |count: usize| (0..count).map(|n| row("tape", "s", n as i64));
    assert_eq!(fails(lab.ingest(steps(limits::BATCH + 1)).await), "Invalid");
    lab.ingest(steps(limits::BATCH)).await.unwrap();
    let rows = lab.rows(read("tape").limit(limits::PAGE)).await;
    assert_eq!(rows.split(' ').count(), limits::BATCH);
}

pub(crate) async fn refused_ingest_does_not_harm_its_neighbours(lab: &mut Lab) {
    // Calls at one time share a synchronisation with the disk, and nothing else.
    lab.ingest([row("log", "s", 0).level(0)]).await.unwrap();
    let calls = (0..40).map(|n| {
        let steps = if n % 4 == 0 {
            vec![row("log", "s", 0).level(1), row("log", "bad", n)]
        } else {
            vec![row("log", "s", n), latest("gauge", "a", n)]
        };
        lab.ingest(steps)
    });
    let answers = join_all(calls).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(
            fails(answer),
            if n % 4 == 0 { "RowConflict" } else { "no error" },
            "call {n}"
        );
    }
    assert_eq!(lab.stored_rows(read("log").stream("s")).await.len(), 31);
    assert_eq!(lab.rows(read("log").stream("bad")).await, "");
}

pub(crate) async fn dropped_latest_value_may_come_again(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1)]).await.unwrap();
    lab.ok([drop_latest("gauge", "a")]).await;
    assert_eq!(lab.view().await.latest_page("gauge", None, 10).await.unwrap(), []);
    lab.ingest([latest("gauge", "a", 2)]).await.unwrap();
    assert_eq!(lab.latest("gauge", "a").await.as_deref(), Some(r#"{"v":2}"#));
}
