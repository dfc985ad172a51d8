//! Batches: demands, revisions, places in commit order, atomicity, limits.

use bytes::Bytes;
use fleet_core::store::{Error, Expect, Expect::*, Key, Value, limits};

use crate::{Lab, dsl::*};

pub(crate) async fn first_write_has_revision_one_and_place_one(lab: &mut Lab) {
    let committed = lab.ok([put("a").size(1)]).await;
    assert_eq!((committed.seq, committed.revs), (1, vec![Some(1)]));
}

pub(crate) async fn every_write_raises_the_revision(lab: &mut Lab) {
    for rev in 1..=5 {
        assert_eq!(lab.ok([put("a").size(rev)]).await.revs, [Some(rev as u64)]);
    }
    assert_eq!(lab.rev("a").await, Some(5));
}

pub(crate) async fn absent_takes_a_free_name(lab: &mut Lab) {
    lab.ok([put("a").expect(Absent)]).await;
    assert_eq!(lab.rev("a").await, Some(1));
}

pub(crate) async fn absent_refuses_a_document(lab: &mut Lab) {
    lab.ok([put("a").size(1)]).await;
    assert_eq!(lab.refused([put("a").size(2).expect(Absent)]).await, "Conflict");
    assert_eq!(lab.get("a").await.unwrap().body, put("a").size(1).body());
}

pub(crate) async fn present_refuses_nothing(lab: &mut Lab) {
    assert_eq!(lab.refused([put("a").expect(Present)]).await, "Conflict");
    assert_eq!(lab.get("a").await, None);
}

pub(crate) async fn present_takes_any_revision(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ok([put("a").expect(Present)]).await;
    assert_eq!(lab.ok([put("a").expect(Present)]).await.revs, [Some(3)]);
}

pub(crate) async fn revision_takes_its_own(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    assert_eq!(lab.ok([put("a").expect(Rev(1))]).await.revs, [Some(2)]);
    assert_eq!(lab.ok([put("a").expect(Rev(2))]).await.revs, [Some(3)]);
}

pub(crate) async fn revision_refuses_an_older_and_a_newer(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ok([put("a").size(2)]).await;
    assert_eq!(lab.refused([put("a").expect(Rev(1))]).await, "Conflict");
    assert_eq!(lab.refused([put("a").expect(Rev(3))]).await, "Conflict");
    assert_eq!(lab.get("a").await.unwrap().body, put("a").size(2).body());
}

pub(crate) async fn revision_refuses_nothing(lab: &mut Lab) {
    assert_eq!(lab.refused([put("a").expect(Rev(1))]).await, "Conflict");
    assert_eq!(lab.refused([put("a").expect(Rev(0))]).await, "Conflict");
    assert_eq!(lab.get("a").await, None);
}

pub(crate) async fn any_creates_and_replaces(lab: &mut Lab) {
    lab.ok([put("a").expect(Any).size(1)]).await;
    lab.ok([put("a").expect(Any).size(2)]).await;
    assert_eq!(lab.get("a").await.unwrap().body, put("a").size(2).body());
}

pub(crate) async fn conflict_names_document_demand_and_finding(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ok([put("a")]).await;
    let told = |result| match result {
        Err(Error::Conflict { key, expect, found }) => (key, expect, found),
        other => panic!("not a conflict: {other:?}"),
    };
    let check = |name: &str, expect: Expect, found| (key(name), expect, found);
    assert_eq!(
        told(lab.commit([put("a").expect(Rev(1))]).await),
        check("a", Rev(1), Some(2))
    );
    assert_eq!(
        told(lab.commit([put("a").expect(Absent)]).await),
        check("a", Absent, Some(2))
    );
    assert_eq!(
        told(lab.commit([put("b").expect(Present)]).await),
        check("b", Present, None)
    );
}

pub(crate) async fn first_failing_write_is_named(lab: &mut Lab) {
    lab.ok([put("a"), put("b")]).await;
    let result = lab
        .commit([put("z"), put("b").expect(Absent), put("a").expect(Absent)])
        .await;
    assert!(
        matches!(result, Err(Error::Conflict { key: named, .. }) if named == key("b")),
        "{result:?}"
    );
}

pub(crate) async fn delete_removes(lab: &mut Lab) {
    lab.ok([put("a").name("x")]).await;
    assert_eq!(lab.ok([delete("a")]).await.revs, [None]);
    assert_eq!(lab.get("a").await, None);
    assert_eq!(lab.list(all()).await, "");
    assert_eq!(lab.list(list(eq("name", "x"))).await, "");
}

pub(crate) async fn delete_demands_are_judged(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    assert_eq!(lab.refused([delete("a").expect(Rev(2))]).await, "Conflict");
    assert_eq!(lab.refused([delete("a").expect(Absent)]).await, "Conflict");
    assert_eq!(lab.refused([delete("b").expect(Present)]).await, "Conflict");
    lab.ok([delete("a").expect(Rev(1))]).await;
    assert_eq!(lab.get("a").await, None);
}

pub(crate) async fn delete_of_nothing_is_no_change(lab: &mut Lab) {
    let before = lab.ok([put("a")]).await.seq;
    let committed = lab.ok([delete("b"), delete("c").expect(Absent)]).await;
    assert_eq!((committed.seq, committed.revs), (before, vec![None, None]));
}

pub(crate) async fn recreated_document_begins_at_revision_one(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ok([put("a")]).await;
    lab.ok([delete("a")]).await;
    assert_eq!(lab.ok([put("a").expect(Absent)]).await.revs, [Some(1)]);
    assert_eq!(lab.rev("a").await, Some(1));
}

pub(crate) async fn refused_write_refuses_the_whole_batch(lab: &mut Lab) {
    lab.ok([put("a").size(1), put("b").size(1)]).await;
    let steps = [put("a").size(2), delete("b"), put("c"), put("d").expect(Present)];
    assert_eq!(lab.refused(steps).await, "Conflict");
    assert_eq!(lab.list(all()).await, "a b");
    assert_eq!(lab.get("a").await.unwrap().body, put("a").size(1).body());
    assert_eq!(lab.list(list(eq("size", 1))).await, "a b");
}

pub(crate) async fn refused_batch_leaves_rows_and_latest_values_alone(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1)]).await.unwrap();
    let steps = [row("log", "s", 1), drop_latest("gauge", "a"), put("a").expect(Present)];
    assert_eq!(lab.refused(steps).await, "Conflict");
    assert_eq!(lab.rows(read("log")).await, "");
    assert_eq!(lab.latest("gauge", "a").await.as_deref(), Some(r#"{"v":1}"#));
}

pub(crate) async fn refused_row_refuses_the_writes(lab: &mut Lab) {
    lab.ok([row("log", "s", 1).level(1)]).await;
    assert_eq!(
        lab.refused([put("a"), row("log", "s", 1).level(2)]).await,
        "RowConflict"
    );
    assert_eq!(lab.get("a").await, None);
    assert_eq!(lab.seq().await, 1);
}

pub(crate) async fn refused_batch_takes_no_place(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.refused([put("a").expect(Absent)]).await;
    lab.refused([put("b"), put("a").expect(Absent)]).await;
    assert_eq!(lab.seq().await, 1);
    assert_eq!(lab.ok([put("b")]).await.seq, 2);
}

pub(crate) async fn places_rise_by_one(lab: &mut Lab) {
    for place in 1..=20 {
        assert_eq!(lab.ok([put(&format!("d{}", place % 3))]).await.seq, place);
    }
    assert_eq!(lab.seq().await, 20);
}

pub(crate) async fn one_batch_is_one_place(lab: &mut Lab) {
    let committed = lab.ok([put("a"), put("b"), row("log", "s", 1), put("c")]).await;
    assert_eq!(committed.seq, 1);
    for name in ["a", "b", "c"] {
        assert_eq!(lab.get(name).await.unwrap().seq, 1);
    }
}

pub(crate) async fn answers_follow_the_order_of_writes(lab: &mut Lab) {
    lab.ok([put("b"), put("c")]).await;
    lab.ok([put("b")]).await;
    let steps = [
        put("c"),
        delete("a"),
        check("b"),
        drop_latest("gauge", "x"),
        put("b1"),
        check("zz"),
    ];
    assert_eq!(lab.ok(steps).await.revs, [Some(2), None, Some(2), None, Some(1), None]);
}

pub(crate) async fn check_changes_nothing(lab: &mut Lab) {
    lab.ok([put("a").size(1)]).await;
    let before = lab.get("a").await;
    let committed = lab.ok([check("a").expect(Rev(1))]).await;
    assert_eq!((committed.seq, committed.revs), (1, vec![Some(1)]));
    assert_eq!(lab.get("a").await, before);
}

pub(crate) async fn check_guards_against_write_skew(lab: &mut Lab) {
    // Two on call; each may leave while the other stays. Both read the same view.
    lab.ok([put("a").size(1), put("b").size(1)]).await;
    lab.ok([put("a").size(0).expect(Rev(1)), check("b").expect(Rev(1))])
        .await;
    assert_eq!(
        lab.refused([put("b").size(0).expect(Rev(1)), check("a").expect(Rev(1))])
            .await,
        "Conflict"
    );
    assert_eq!(lab.list(list(eq("size", 1))).await, "b");
}

pub(crate) async fn check_of_absence_guards_a_free_name(lab: &mut Lab) {
    lab.ok([put("a"), check("lock").expect(Absent)]).await;
    lab.ok([put("lock")]).await;
    assert_eq!(lab.refused([put("b"), check("lock").expect(Absent)]).await, "Conflict");
    assert_eq!(lab.get("b").await, None);
}

pub(crate) async fn batch_without_change_takes_no_place(lab: &mut Lab) {
    lab.ok([put("a"), row("log", "s", 1)]).await;
    let steps = [check("a"), delete("b"), drop_latest("gauge", "x"), row("log", "s", 1)];
    assert_eq!(lab.ok(steps).await.seq, 1);
    assert_eq!(lab.seq().await, 1);
    assert_eq!(lab.ok([put("b")]).await.seq, 2);
}

pub(crate) async fn empty_batch_answers_with_the_newest_place(lab: &mut Lab) {
    assert_eq!(lab.ok([]).await.seq, 0);
    lab.ok([put("a")]).await;
    let committed = lab.ok([]).await;
    assert_eq!((committed.seq, committed.revs), (1, vec![]));
}

pub(crate) async fn put_of_an_equal_body_is_a_change(lab: &mut Lab) {
    lab.ok([put("a").size(1)]).await;
    let committed = lab.ok([put("a").size(1)]).await;
    assert_eq!((committed.seq, committed.revs), (2, vec![Some(2)]));
}

pub(crate) async fn dropping_a_latest_value_takes_a_place(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1), latest("state", "a", 2)])
        .await
        .unwrap();
    assert_eq!(lab.ok([drop_latest("gauge", "a")]).await.seq, 1);
    assert_eq!(lab.latest("gauge", "a").await, None);
    assert_eq!(lab.latest("state", "a").await.as_deref(), Some(r#"{"v":2}"#));
}

pub(crate) async fn rows_alone_take_a_place(lab: &mut Lab) {
    assert_eq!(lab.ok([row("log", "s", 1), row("log", "t", 1)]).await.seq, 1);
    assert_eq!(lab.ok([row("log", "s", 2), row("log", "s", 1)]).await.seq, 2);
}

pub(crate) async fn one_id_in_two_kinds_is_two_documents(lab: &mut Lab) {
    lab.ok([put("a").name("thing"), put("a").kind("other").name("other")])
        .await;
    lab.ok([delete("a")]).await;
    let other = lab.get_key(Key::new("other", id("a"))).await.unwrap();
    assert_eq!(other.body, put("a").name("other").body());
    assert_eq!(other.key.kind, "other");
}

pub(crate) async fn key_twice_in_a_batch_is_invalid(lab: &mut Lab) {
    assert_eq!(lab.refused([put("a").size(1), put("a").size(2)]).await, "Invalid");
    assert_eq!(lab.refused([put("a"), delete("a")]).await, "Invalid");
    assert_eq!(lab.refused([check("a"), put("a")]).await, "Invalid");
    assert_eq!(lab.seq().await, 0);
}

pub(crate) async fn undeclared_names_are_invalid(lab: &mut Lab) {
    assert_eq!(lab.refused([put("a").kind("nothing")]).await, "Invalid");
    assert_eq!(lab.refused([put("a").kind("log")]).await, "Invalid");
    assert_eq!(lab.refused([delete("a").kind("nothing")]).await, "Invalid");
    assert_eq!(lab.refused([check("a").kind("nothing")]).await, "Invalid");
    assert_eq!(lab.refused([drop_latest("thing", "a")]).await, "Invalid");
    assert_eq!(lab.refused([row("nothing", "s", 1)]).await, "Invalid");
    assert_eq!(lab.refused([row("thing", "s", 1)]).await, "Invalid");
}

fn values() -> Vec<Vec<Value>> {
    let null = || vec![Value::Null];
    vec![null(), null(), null(), vec![], vec![], null(), null()]
}

async fn check_invalid(lab: &Lab, column: usize, bad: Vec<Value>) {
    let mut index = values();
    index[column] = bad;
    let told = format!("{index:?}");
    assert_eq!(fails(lab.commit([put("a").index(index)]).await), "Invalid", "{told}");
}

pub(crate) async fn index_values_of_another_type_are_invalid(lab: &mut Lab) {
    check_invalid(lab, 0, vec![Value::Int(1)]).await;
    check_invalid(lab, 1, vec![Value::from("1")]).await;
    check_invalid(lab, 2, vec![Value::from("a")]).await;
    check_invalid(lab, 3, vec![Value::Int(1)]).await;
    check_invalid(lab, 3, vec![Value::Null]).await;
}

pub(crate) async fn index_values_of_another_shape_are_invalid(lab: &mut Lab) {
    check_invalid(lab, 0, vec![]).await;
    check_invalid(lab, 0, vec![Value::from("a"), Value::from("b")]).await;
    check_invalid(lab, 3, vec![Value::from("b"), Value::from("a")]).await;
    check_invalid(lab, 3, vec![Value::from("a"), Value::from("a")]).await;
    assert_eq!(lab.refused([put("a").index(vec![])]).await, "Invalid");
    assert_eq!(
        lab.refused([put("a").index(values().into_iter().chain([vec![]]).collect())])
            .await,
        "Invalid"
    );
    assert_eq!(lab.refused([row("log", "s", 1).index(vec![])]).await, "Invalid");
}

pub(crate) async fn texts_beyond_the_limits_are_invalid(lab: &mut Lab) {
    check_invalid(lab, 0, vec![Value::from("x".repeat(limits::TEXT + 1))]).await;
    check_invalid(lab, 0, vec![Value::from("x\0y")]).await;
    lab.ok([put("a").name(&"x".repeat(limits::TEXT))]).await;
    assert_eq!(lab.list(list(eq("name", "x".repeat(limits::TEXT)))).await, "a");
}

pub(crate) async fn bodies_beyond_the_limit_are_invalid(lab: &mut Lab) {
    let large = Bytes::from(vec![b' '; limits::BODY + 1]);
    assert_eq!(
        lab.refused([put("a").raw(large.clone()).index(values())]).await,
        "Invalid"
    );
    let nulls = vec![vec![Value::Null]; 3];
    assert_eq!(
        lab.refused([row("log", "s", 1).raw(large).index(nulls)]).await,
        "Invalid"
    );
    assert_eq!(lab.seq().await, 0);
}

pub(crate) async fn largest_batch_is_taken_and_a_larger_one_is_invalid(lab: &mut Lab) {
    let steps = |count: usize| (0..count).map(|n| put(&format!("{n:05}")).kind("bare"));
    assert_eq!(lab.refused(steps(limits::BATCH + 1)).await, "Invalid");
    assert_eq!(lab.ok(steps(limits::BATCH)).await.revs.len(), limits::BATCH);
    let count = lab
        .view()
        .await
        .count("bare", &fleet_core::store::Filter::All)
        .await
        .unwrap();
    assert_eq!(count, limits::BATCH as u64);
}

pub(crate) async fn invalid_comes_before_conflict(lab: &mut Lab) {
    assert_eq!(
        lab.refused([put("a").expect(Present), put("b").kind("nothing")]).await,
        "Invalid"
    );
}

pub(crate) async fn conflict_comes_before_taken_and_row_conflict(lab: &mut Lab) {
    lab.ok([put("a").code("x"), row("log", "s", 1).level(1)]).await;
    let taken = || put("b").code("x");
    let other_row = || row("log", "s", 1).level(2);
    assert_eq!(
        lab.refused([other_row(), taken(), put("c").expect(Present)]).await,
        "Conflict"
    );
    assert_eq!(lab.refused([other_row(), taken()]).await, "Taken");
}
