//! Reading and trimming lanes.

use fleet_core::store::{Filter, RowCursor, limits};
use uuid::Uuid;

use crate::{Lab, dsl::*};

async fn some(lab: &Lab) {
    lab.ingest([
        row("log", "t", 1).level(1).field("word", "x"),
        row("log", "s", 2).level(2).field("word", "y"),
        row("log", "s", 2).n(1).level(1).field("word", "X"),
        row("log", "t", 2).level(2),
        row("log", "s", -5).level(1).field("word", "x"),
        row("log", "u", 9).field("who", id("o").to_string()),
        row("tape", "s", 3),
    ])
    .await
    .unwrap();
}

async fn check(lab: &Lab, reading: Reading, expected: &str) {
    let mut reversed: Vec<&str> = expected.split(' ').collect();
    reversed.reverse();
    for limit in [1, 2, 3, 6, 100] {
        assert_eq!(
            lab.rows(reading.clone().limit(limit)).await,
            expected,
            "pages of {limit}: {reading:?}"
        );
        assert_eq!(
            lab.rows(reading.clone().down().limit(limit)).await,
            reversed.join(" "),
            "pages of {limit}, down: {reading:?}"
        );
    }
}

pub(crate) async fn rows_are_in_order_of_time_stream_and_number(lab: &mut Lab) {
    check(lab, read("log"), "").await;
    some(lab).await;
    check(lab, read("log"), "s@-5.0 t@1.0 s@2.0 s@2.1 t@2.0 u@9.0").await;
    check(lab, read("tape"), "s@3.0").await;
}

pub(crate) async fn one_stream_is_read(lab: &mut Lab) {
    some(lab).await;
    check(lab, read("log").stream("s"), "s@-5.0 s@2.0 s@2.1").await;
    check(lab, read("log").stream("x"), "").await;
}

pub(crate) async fn times_bound_a_reading(lab: &mut Lab) {
    some(lab).await;
    check(lab, read("log").from(2), "s@2.0 s@2.1 t@2.0 u@9.0").await;
    check(lab, read("log").to(2), "s@-5.0 t@1.0").await;
    check(lab, read("log").from(1).to(9), "t@1.0 s@2.0 s@2.1 t@2.0").await;
    check(lab, read("log").from(2).to(2), "").await;
    check(lab, read("log").from(9).to(1), "").await;
    check(lab, read("log").stream("s").from(-4).to(100), "s@2.0 s@2.1").await;
}

pub(crate) async fn rows_are_filtered(lab: &mut Lab) {
    some(lab).await;
    check(lab, read("log").filter(eq("level", 1)), "s@-5.0 t@1.0 s@2.1").await;
    check(lab, read("log").filter(null("level")), "u@9.0").await;
    check(lab, read("log").filter(null("word")), "t@2.0 u@9.0").await;
    check(lab, read("log").filter(not(eq("word", "x"))), "s@2.0 s@2.1 t@2.0 u@9.0").await;
    check(lab, read("log").filter(prefix("word", "x")), "s@-5.0 t@1.0").await;
    check(lab, read("log").filter(one_of("level", [2, 7])), "s@2.0 t@2.0").await;
    check(lab, read("log").filter(range("level", 1, 2)), "s@-5.0 t@1.0 s@2.1").await;
    check(lab, read("log").filter(eq("who", id("o"))), "u@9.0").await;
}

pub(crate) async fn stream_filter_and_times_combine(lab: &mut Lab) {
    some(lab).await;
    check(lab, read("log").stream("s").filter(eq("level", 1)), "s@-5.0 s@2.1").await;
    check(lab, read("log").stream("s").filter(eq("level", 1)).from(0), "s@2.1").await;
    check(
        lab,
        read("log")
            .filter(Filter::And(vec![eq("level", 1), eq("word", "x")]))
            .to(1),
        "s@-5.0",
    )
    .await;
    check(lab, read("log").filter(eq("level", 2)).from(2).to(3), "s@2.0 t@2.0").await;
}

pub(crate) async fn next_is_none_at_the_end(lab: &mut Lab) {
    some(lab).await;
    for (reading, count) in [
        (read("log"), 6),
        (read("log").stream("s"), 3),
        (read("log").filter(eq("level", 2)), 2),
        (read("log").down(), 6),
    ] {
        assert_eq!(
            lab.row_page(reading.clone().limit(count)).await.unwrap().next,
            None,
            "{reading:?}"
        );
        assert!(
            lab.row_page(reading.clone().limit(count - 1))
                .await
                .unwrap()
                .next
                .is_some(),
            "{reading:?}"
        );
    }
}

pub(crate) async fn cursor_may_lie_anywhere(lab: &mut Lab) {
    some(lab).await;
    let after = |mut reading: Reading, at: i64, stream: &str, n: u32| {
        reading.0.after = Some(RowCursor {
            at,
            stream: id(stream),
            n,
        });
        reading
    };
    assert_eq!(lab.rows(after(read("log"), 2, "s", 0)).await, "s@2.1 t@2.0 u@9.0");
    assert_eq!(lab.rows(after(read("log"), 2, "sx", 7)).await, "t@2.0 u@9.0");
    assert_eq!(
        lab.rows(after(read("log").down(), 2, "sx", 7)).await,
        "s@2.1 s@2.0 t@1.0 s@-5.0"
    );
    assert_eq!(
        lab.rows(after(read("log").from(2), -9, "s", 0)).await,
        "s@2.0 s@2.1 t@2.0 u@9.0"
    );
    assert_eq!(
        lab.rows(after(read("log").to(2).down(), 5, "s", 0)).await,
        "t@1.0 s@-5.0"
    );
    assert_eq!(lab.rows(after(read("log").to(2), 2, "s", 0)).await, "");
    assert_eq!(lab.rows(after(read("log").stream("s"), 2, "a", 0)).await, "s@2.0 s@2.1");
    assert_eq!(lab.rows(after(read("log").stream("s"), 2, "z", 0)).await, "");
    assert_eq!(
        lab.rows(after(read("log").stream("s").down(), 2, "z", 0)).await,
        "s@2.1 s@2.0 s@-5.0"
    );
    assert_eq!(
        lab.rows(after(read("log").filter(eq("level", 1)), 1, "t", 0)).await,
        "s@2.1"
    );
}

pub(crate) async fn row_comes_back_whole(lab: &mut Lab) {
    some(lab).await;
    let stored = lab.stored_rows(read("log").stream("s").from(2).limit(1)).await;
    let (_, expected) = row("log", "s", 2).level(2).field("word", "y").into_row();
    assert_eq!(stored[0].row, expected);
    assert_eq!(stored[0].link, None);
}

pub(crate) async fn times_numbers_and_streams_reach_from_end_to_end(lab: &mut Lab) {
    let rows = [
        row("log", "", i64::MIN).n(0),
        row("log", "", i64::MIN).id(Uuid::max()).n(u32::MAX).level(i64::MIN),
        row("log", "a", 0).n(u32::MAX),
        row("log", "", i64::MAX).n(0),
        row("log", "", i64::MAX).id(Uuid::max()).n(u32::MAX).level(i64::MAX),
    ];
    lab.ingest(rows).await.unwrap();
    let places = |rows: Vec<fleet_core::store::StoredRow>| {
        rows.into_iter()
            .map(|stored| (stored.row.at, stored.row.n))
            .collect::<Vec<_>>()
    };
    let up = [
        (i64::MIN, 0),
        (i64::MIN, u32::MAX),
        (0, u32::MAX),
        (i64::MAX, 0),
        (i64::MAX, u32::MAX),
    ];
    assert_eq!(places(lab.stored_rows(read("log")).await), up);
    assert_eq!(
        places(lab.stored_rows(read("log").from(i64::MIN).to(i64::MAX)).await),
        up[..3]
    );
    assert_eq!(places(lab.stored_rows(read("log").from(i64::MAX)).await), up[3..]);
    assert_eq!(places(lab.stored_rows(read("log").to(i64::MIN)).await), []);
    assert_eq!(
        places(lab.stored_rows(read("log").filter(eq("level", i64::MIN))).await),
        up[1..2]
    );
    assert_eq!(lab.rows(read("log").limit(1)).await.split(' ').count(), 5);
    assert_eq!(lab.rows(read("log").down().limit(1)).await.split(' ').count(), 5);
    assert_eq!(lab.store().trim("log", i64::MAX).await.unwrap(), 3);
    assert_eq!(lab.store().trim("log", i64::MIN).await.unwrap(), 0);
}

pub(crate) async fn readings_are_checked(lab: &mut Lab) {
    assert_eq!(fails(lab.row_page(read("nothing")).await), "Invalid");
    assert_eq!(fails(lab.row_page(read("thing")).await), "Invalid");
    assert_eq!(fails(lab.row_page(read("log").limit(0)).await), "Invalid");
    assert_eq!(
        fails(lab.row_page(read("log").limit(limits::PAGE + 1)).await),
        "Invalid"
    );
    assert_eq!(
        fails(lab.row_page(read("tape").filter(eq("level", 1))).await),
        "NoIndex"
    );
}

pub(crate) async fn trim_removes_what_is_before_a_time(lab: &mut Lab) {
    some(lab).await;
    assert_eq!(lab.store().trim("log", 2).await.unwrap(), 2);
    check(lab, read("log"), "s@2.0 s@2.1 t@2.0 u@9.0").await;
    check(lab, read("log").stream("s"), "s@2.0 s@2.1").await;
    check(lab, read("log").filter(eq("level", 1)), "s@2.1").await;
    assert_eq!(lab.store().trim("log", 2).await.unwrap(), 0);
    check(lab, read("tape"), "s@3.0").await;
}

pub(crate) async fn trim_takes_no_place_and_makes_no_feed_entry(lab: &mut Lab) {
    lab.ok([row("log", "s", 1)]).await;
    lab.store().trim("log", 10).await.unwrap();
    assert_eq!(lab.seq().await, 1);
    assert_eq!(lab.feed(0).await, ["1 log/s"]);
}

pub(crate) async fn trim_of_more_than_a_slice_is_complete(lab: &mut Lab) {
    lab.ingest((0..9_000).map(|at| row("log", "s", at).level(at % 5)))
        .await
        .unwrap();
    assert_eq!(lab.store().trim("log", 8_990).await.unwrap(), 8_990);
    assert_eq!(lab.stored_rows(read("log").limit(1_000)).await.len(), 10);
}

pub(crate) async fn trimmed_row_may_come_again(lab: &mut Lab) {
    lab.ingest([row("log", "s", 1).level(1)]).await.unwrap();
    lab.store().trim("log", 2).await.unwrap();
    lab.ingest([row("log", "s", 1).level(2)]).await.unwrap();
    check(lab, read("log").filter(eq("level", 2)), "s@1.0").await;
}

pub(crate) async fn trim_is_checked(lab: &mut Lab) {
    assert_eq!(fails(lab.store().trim("nothing", 1).await), "Invalid");
    assert_eq!(fails(lab.store().trim("thing", 1).await), "Invalid");
    assert_eq!(fails(lab.store().trim("ledger", 1).await), "Invalid");
}

pub(crate) async fn rows_of_commits_and_ingests_stand_side_by_side(lab: &mut Lab) {
    lab.ingest([row("log", "s", 1).level(1)]).await.unwrap();
    lab.ok([row("log", "s", 2).level(1), row("log", "s", 0).level(1)]).await;
    check(lab, read("log").filter(eq("level", 1)), "s@0.0 s@1.0 s@2.0").await;
    assert_eq!(fails(lab.ingest([row("log", "s", 2).level(2)]).await), "RowConflict");
}

pub(crate) async fn long_lane_is_walked_completely(lab: &mut Lab) {
    let rows = (0..5_000_i64).map(|n| {
        row("log", ["s", "t", "u"][n as usize % 3], n / 10)
            .n((n % 10) as u32)
            .level(n % 2)
    });
    lab.ingest(rows).await.unwrap();
    for (reading, count) in [
        (read("log"), 5_000),
        (read("log").stream("t"), 1_667),
        (read("log").filter(eq("level", 1)), 2_500),
    ] {
        let up = lab.rows(reading.clone().limit(777)).await;
        let mut down: Vec<String> = lab
            .rows(reading.clone().down().limit(613))
            .await
            .split(' ')
            .map(str::to_owned)
            .collect();
        down.reverse();
        assert!(up == down.join(" "), "both directions agree: {reading:?}");
        assert_eq!(down.len(), count, "{reading:?}");
    }
}
