//! Documents: bodies byte for byte, reading by key.

use fleet_core::store::{Filter, Key, limits};
use uuid::Uuid;

use crate::{Lab, dsl::*};

async fn check_body(lab: &Lab, body: impl Into<bytes::Bytes>) {
    let body = body.into();
    lab.ok([
        put("a").raw(body.clone()),
        row("tape", "s", lab.next_batch() as i64).raw(body.clone()),
    ])
    .await;
    lab.ingest([latest("gauge", "a", 0).raw(body.clone())]).await.unwrap();
    assert!(
        lab.get("a").await.unwrap().body == body,
        "a document comes back byte for byte: {body:?}"
    );
    let rows = lab.stored_rows(read("tape").down().limit(1)).await;
    assert!(rows[0].row.body == body, "a row comes back byte for byte: {body:?}");
    let found = lab.view().await.latest(&[Key::new("gauge", id("a"))]).await.unwrap();
    assert!(
        found[0].as_ref() == Some(&body),
        "a latest value comes back byte for byte: {body:?}"
    );
}

pub(crate) async fn numbers_are_kept_as_written(lab: &mut Lab) {
    check_body(
        lab,
        r#"{"size":7,"x":[1e2,1.0,0.1,-0.0,1E300,18446744073709551616,123456789012345678901234567890]}"#,
    )
    .await;
}

pub(crate) async fn spacing_and_member_order_are_kept(lab: &mut Lab) {
    check_body(lab, "{ \"z\" : 1,\n\t\"a\":2 , \"m\":{\"b\":[ ],\"a\":{ }}}\n").await;
}

pub(crate) async fn escapes_are_kept_as_written(lab: &mut Lab) {
    check_body(lab, r#"{"x":"\u00e9\/\ud83d\ude00\n\"'\\","y":"$1 ?1 :a %s {}"}"#).await;
}

pub(crate) async fn characters_of_four_bytes_are_kept(lab: &mut Lab) {
    check_body(lab, "{\"name\":\"😀𐍈\u{10ffff}\u{fffd}\u{feff}\u{2028}\"}").await;
    assert_eq!(
        lab.list(list(eq("name", "😀𐍈\u{10ffff}\u{fffd}\u{feff}\u{2028}")))
            .await,
        "a"
    );
}

pub(crate) async fn scalars_and_arrays_are_bodies_too(lab: &mut Lab) {
    for body in ["null", "true", "1", "\"x\"", "[]", "{}"] {
        check_body(lab, body).await;
    }
}

pub(crate) async fn body_of_a_megabyte_is_kept(lab: &mut Lab) {
    check_body(lab, format!("{{\"x\":\"{}\"}}", "0123456789abcdef".repeat(65_536))).await;
}

pub(crate) async fn largest_body_is_kept(lab: &mut Lab) {
    check_body(lab, format!("\"{}\"", "x".repeat(limits::BODY - 2))).await;
}

pub(crate) async fn get_answers_in_the_order_of_the_keys(lab: &mut Lab) {
    lab.ok([put("a"), put("b"), put("a").kind("other")]).await;
    let keys = [key("b"), key("x"), Key::new("other", id("a")), key("a"), key("b")];
    let docs = lab.view().await.get(&keys).await.unwrap();
    let found: Vec<Option<Key>> = docs.into_iter().map(|doc| doc.map(|doc| doc.key)).collect();
    assert_eq!(
        found,
        [Some(keys[0]), None, Some(keys[2]), Some(keys[3]), Some(keys[4])]
    );
}

pub(crate) async fn get_of_nothing_is_nothing(lab: &mut Lab) {
    assert_eq!(lab.view().await.get(&[]).await.unwrap(), []);
    assert_eq!(lab.get("a").await, None);
}

pub(crate) async fn get_is_checked(lab: &mut Lab) {
    let mut view = lab.view().await;
    assert_eq!(fails(view.get(&[Key::new("nothing", id("a"))]).await), "Invalid");
    assert_eq!(fails(view.get(&[Key::new("gauge", id("a"))]).await), "Invalid");
    assert_eq!(fails(view.get(&vec![key("a"); limits::KEYS + 1]).await), "Invalid");
    assert_eq!(
        view.get(&vec![key("a"); limits::KEYS]).await.unwrap().len(),
        limits::KEYS
    );
}

pub(crate) async fn document_carries_the_place_of_its_last_write(lab: &mut Lab) {
    lab.ok([put("a"), put("b")]).await;
    lab.ok([put("b")]).await;
    lab.ok([put("c")]).await;
    let places = [lab.get("a").await, lab.get("b").await, lab.get("c").await].map(|doc| doc.unwrap().seq);
    assert_eq!(places, [1, 2, 3]);
    let page = lab.page(all()).await.unwrap();
    assert_eq!(
        page.docs.iter().map(|doc| (doc.seq, doc.rev)).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (3, 1)]
    );
}

pub(crate) async fn ids_are_sixteen_bytes_in_order(lab: &mut Lab) {
    let ids = [0, 1, 255, 256, u128::MAX >> 1, (u128::MAX >> 1) + 1, u128::MAX].map(Uuid::from_u128);
    lab.ok(ids
        .iter()
        .rev()
        .map(|id| put("").id(*id).field("owner", id.to_string())))
        .await;
    for list in [all(), all().by("owner")] {
        let page = lab.page(list).await.unwrap();
        assert_eq!(page.docs.iter().map(|doc| doc.key.id).collect::<Vec<_>>(), ids);
    }
    for id in ids {
        assert_eq!(lab.count(eq("owner", id)).await, 1);
    }
}

pub(crate) async fn document_has_thousands_of_values_in_a_column(lab: &mut Lab) {
    let marks = |from: i64| (from..from + 5_000).collect::<Vec<_>>();
    lab.ok([put("a").field("mark", marks(0)), put("b").field("mark", marks(4_000))])
        .await;
    assert_eq!(lab.list(list(eq("mark", 4_500))).await, "a b");
    lab.ok([put("a").field("mark", marks(1))]).await;
    assert_eq!(lab.list(list(eq("mark", 0))).await, "");
    assert_eq!(lab.list(list(eq("mark", 5_000))).await, "a b");
    assert_eq!(lab.count(Filter::All).await, 2);
}

pub(crate) async fn replaced_body_replaces_all_index_values(lab: &mut Lab) {
    lab.ok([put("a").name("x").size(1).owner("o").tags(["p", "q"])]).await;
    lab.ok([put("a").name("y").tags(["q", "r"])]).await;
    for gone in [eq("name", "x"), eq("size", 1), eq("owner", id("o")), eq("tag", "p")] {
        assert_eq!(lab.list(list(gone.clone())).await, "", "{gone:?}");
    }
    for there in [
        eq("name", "y"),
        null("size"),
        null("owner"),
        eq("tag", "q"),
        eq("tag", "r"),
    ] {
        assert_eq!(lab.list(list(there.clone())).await, "a", "{there:?}");
    }
}
