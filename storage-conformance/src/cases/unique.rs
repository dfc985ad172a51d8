//! Unique columns.

use fleet_core::store::{Error, Key};
use futures::future::join_all;

use crate::{Lab, dsl::*};

pub(crate) async fn value_of_another_document_is_taken(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    assert_eq!(lab.refused([put("b").code("x")]).await, "Taken");
    assert_eq!(lab.get("b").await, None);
    lab.ok([put("c").field("serial", 5)]).await;
    assert_eq!(lab.refused([put("b").field("serial", 5)]).await, "Taken");
}

pub(crate) async fn taken_names_column_and_holder(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    let result = lab.commit([put("b").code("x")]).await;
    assert!(
        matches!(result, Err(Error::Taken { column: "code", holder }) if holder == key("a")),
        "{result:?}"
    );
}

pub(crate) async fn document_keeps_its_own_value(lab: &mut Lab) {
    lab.ok([put("a").code("x").size(1)]).await;
    lab.ok([put("a").code("x").size(2)]).await;
    assert_eq!(lab.rev("a").await, Some(2));
}

pub(crate) async fn changed_value_frees_the_old_one(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    lab.ok([put("a").code("y")]).await;
    lab.ok([put("b").code("x")]).await;
    assert_eq!(lab.refused([put("c").code("y")]).await, "Taken");
}

pub(crate) async fn deleted_document_frees_its_value(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    lab.ok([delete("a")]).await;
    lab.ok([put("b").code("x")]).await;
    assert_eq!(lab.list(list(eq("code", "x"))).await, "b");
}

pub(crate) async fn value_is_freed_and_taken_in_one_batch(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    lab.ok([delete("a"), put("b").code("x")]).await;
    assert_eq!(lab.list(list(eq("code", "x"))).await, "b");
}

pub(crate) async fn value_is_taken_and_freed_in_one_batch(lab: &mut Lab) {
    // The order of the writes does not matter: what the store holds afterwards does.
    lab.ok([put("a").code("x")]).await;
    lab.ok([put("b").code("x"), delete("a")]).await;
    lab.ok([put("c").code("x"), put("b").code("y")]).await;
    assert_eq!(lab.list(all().by("code")).await, "c b");
}

pub(crate) async fn values_are_swapped_in_one_batch(lab: &mut Lab) {
    lab.ok([put("a").code("x"), put("b").code("y"), put("c").code("z")])
        .await;
    lab.ok([put("a").code("y"), put("b").code("z"), put("c").code("x")])
        .await;
    assert_eq!(lab.list(all().by("code")).await, "c a b");
    assert_eq!(lab.list(list(eq("code", "x"))).await, "c");
}

pub(crate) async fn two_claims_in_one_batch_clash(lab: &mut Lab) {
    assert_eq!(lab.refused([put("a").code("x"), put("b").code("x")]).await, "Taken");
    assert_eq!(lab.list(all()).await, "");
    lab.ok([put("a").code("x")]).await;
    assert_eq!(lab.refused([put("b").code("x"), put("a").code("x")]).await, "Taken");
}

pub(crate) async fn nulls_never_clash(lab: &mut Lab) {
    lab.ok([put("a"), put("b")]).await;
    lab.ok([put("c")]).await;
    assert_eq!(lab.list(list(null("code"))).await, "a b c");
}

pub(crate) async fn kinds_do_not_share_values(lab: &mut Lab) {
    lab.ok([put("a").code("x"), put("a").kind("other").code("x")]).await;
    let result = lab.commit([put("b").kind("other").code("x")]).await;
    let holder = Key::new("other", id("a"));
    assert!(
        matches!(result, Err(Error::Taken { holder: named, .. }) if named == holder),
        "{result:?}"
    );
}

pub(crate) async fn values_are_compared_by_bytes(lab: &mut Lab) {
    // Case, trailing space, composed and decomposed letters, full-width letters: all different.
    for (name, code) in [
        ("a", "é"),
        ("b", "e\u{301}"),
        ("c", "E"),
        ("d", "e"),
        ("e", "e "),
        ("f", "ｅ"),
        ("g", ""),
    ] {
        lab.ok([put(name).code(code)]).await;
    }
    assert_eq!(lab.list(all().by("code")).await, "g c d e b a f");
    assert_eq!(lab.refused([put("z").code("")]).await, "Taken");
}

pub(crate) async fn refused_batch_keeps_values_where_they_were(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    assert_eq!(
        lab.refused([delete("a"), put("b").code("x"), put("c").code("x")]).await,
        "Taken"
    );
    assert_eq!(lab.list(list(eq("code", "x"))).await, "a");
    assert_eq!(lab.refused([put("d").code("x")]).await, "Taken");
}

pub(crate) async fn one_of_many_claims_at_once_wins(lab: &mut Lab) {
    let names: Vec<String> = (0..12).map(|n| format!("d{n}")).collect();
    let answers = join_all(names.iter().map(|name| lab.commit([put(name).code("x")]))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(
        answers
            .iter()
            .flat_map(|answer| answer.as_ref().err())
            .all(|error| variant(error) == "Taken")
    );
    assert_eq!(lab.count(eq("code", "x")).await, 1);
}
