//! Orders, pages and cursors.

use fleet_core::store::{Cursor, Filter, Value, limits};

use crate::{Lab, dsl::*};

/// A dozen things; every size three times, every third without one.
async fn dozen(lab: &Lab) {
    let steps = (0..12_i64).map(|n| {
        let thing = put(&format!("{n:02}"))
            .name(["x", "y"][n as usize % 2])
            .field("serial", 100 - n);
        if n % 3 == 0 { thing } else { thing.size(n % 3) }
    });
    lab.ok(steps).await;
}

async fn check_all_limits(lab: &Lab, list: List, expected: &str) {
    for limit in [1, 2, 3, 5, 11, 12, 13, 100] {
        assert_eq!(
            lab.list(list.clone().limit(limit)).await,
            expected,
            "pages of {limit}: {list:?}"
        );
    }
}

pub(crate) async fn list_without_order_is_by_id(lab: &mut Lab) {
    lab.ok([put("b"), put("a"), put("ab"), put("B")]).await;
    check_all_limits(lab, all(), "B a ab b").await;
}

pub(crate) async fn ascending_with_null_first_and_ties_by_id(lab: &mut Lab) {
    dozen(lab).await;
    check_all_limits(lab, all().by("size"), "00 03 06 09 01 04 07 10 02 05 08 11").await;
}

pub(crate) async fn descending_is_the_exact_reverse(lab: &mut Lab) {
    dozen(lab).await;
    check_all_limits(lab, all().by("size").down(), "11 08 05 02 10 07 04 01 09 06 03 00").await;
}

pub(crate) async fn filtered_lists_keep_the_order(lab: &mut Lab) {
    dozen(lab).await;
    check_all_limits(lab, list(eq("name", "x")).by("size"), "00 06 04 10 02 08").await;
    check_all_limits(lab, list(eq("name", "y")).by("size").down(), "11 05 07 01 09 03").await;
    check_all_limits(lab, list(range("size", 1, 2)).by("serial"), "10 07 04 01").await;
    check_all_limits(
        lab,
        list(not(null("size"))).by("size").down(),
        "11 08 05 02 10 07 04 01",
    )
    .await;
    check_all_limits(lab, list(null("size")).by("size"), "00 03 06 09").await;
}

pub(crate) async fn list_by_its_own_equality(lab: &mut Lab) {
    dozen(lab).await;
    check_all_limits(lab, list(eq("size", 1)).by("size"), "01 04 07 10").await;
    check_all_limits(lab, list(eq("size", 1)).by("size").down(), "10 07 04 01").await;
    check_all_limits(lab, list(eq("size", 1)), "01 04 07 10").await;
}

pub(crate) async fn document_with_many_matches_is_listed_once(lab: &mut Lab) {
    lab.ok([
        put("a").tags(["x", "y", "z"]),
        put("b").tags(["y"]),
        put("c").tags(["x", "z"]),
    ])
    .await;
    check_all_limits(lab, list(one_of("tag", ["x", "y", "z"])), "a b c").await;
    check_all_limits(lab, list(prefix("tag", "")).by("name"), "a b c").await;
    check_all_limits(lab, list(Filter::Or(vec![eq("tag", "x"), eq("tag", "y")])), "a b c").await;
}

pub(crate) async fn texts_are_ordered_by_bytes(lab: &mut Lab) {
    let texts = [
        "",
        " ",
        "B",
        "Z",
        "_",
        "a",
        "aa",
        "ab",
        "b",
        "z",
        "~",
        "\u{80}",
        "é",
        "ü",
        "ﬀ",
        "\u{ffff}",
        "😀",
        "\u{10ffff}",
    ];
    lab.ok(texts
        .iter()
        .enumerate()
        .rev()
        .map(|(n, text)| put(&format!("{n:02}")).name(text)))
        .await;
    let expected = (0..texts.len()).map(|n| format!("{n:02}")).collect::<Vec<_>>();
    check_all_limits(lab, all().by("name"), &expected.join(" ")).await;
    let reversed: Vec<_> = expected.into_iter().rev().collect();
    check_all_limits(lab, all().by("name").down(), &reversed.join(" ")).await;
}

pub(crate) async fn texts_of_digits_are_no_numbers(lab: &mut Lab) {
    lab.ok([
        put("a").name("10"),
        put("b").name("9"),
        put("c").name("010"),
        put("d").name("1e1"),
    ])
    .await;
    assert_eq!(lab.list(all().by("name")).await, "c a d b");
    assert_eq!(lab.list(list(eq("name", "10"))).await, "a");
}

pub(crate) async fn next_is_none_at_the_end(lab: &mut Lab) {
    lab.ok([put("a").size(1), put("b").size(2), put("c").size(3)]).await;
    for list in [
        all(),
        all().by("size"),
        list(range("size", 1, None)),
        list(one_of("size", [1, 2, 3])).by("size").down(),
    ] {
        assert_eq!(
            lab.page(list.clone().limit(3)).await.unwrap().next,
            None,
            "a full last page: {list:?}"
        );
        assert_eq!(
            lab.page(list.clone().limit(4)).await.unwrap().next,
            None,
            "a page that is not full: {list:?}"
        );
        assert!(
            lab.page(list.clone().limit(2)).await.unwrap().next.is_some(),
            "a page before the last: {list:?}"
        );
    }
}

pub(crate) async fn next_is_none_when_only_others_follow(lab: &mut Lab) {
    lab.ok([put("a").size(1), put("b").size(1), put("c").size(2)]).await;
    assert_eq!(lab.page(list(eq("size", 1)).limit(2)).await.unwrap().next, None);
    assert_eq!(lab.page(list(not(eq("size", 2))).limit(2)).await.unwrap().next, None);
}

pub(crate) async fn cursor_is_value_and_id_of_the_last_document(lab: &mut Lab) {
    lab.ok([put("a").size(5), put("b").size(5), put("c")]).await;
    let next = async |list: List| lab.page(list.limit(1)).await.unwrap().next;
    let at = |value: Value, name: &str| Some(Cursor { value, id: id(name) });
    assert_eq!(next(all()).await, at(Value::Null, "a"));
    assert_eq!(next(all().by("size")).await, at(Value::Null, "c"));
    assert_eq!(next(all().by("size").down()).await, at(Value::Int(5), "b"));
}

pub(crate) async fn cursor_outlives_its_document(lab: &mut Lab) {
    dozen(lab).await;
    let first = lab.page(all().by("size").limit(5)).await.unwrap();
    lab.ok([delete("01"), put("03").size(9)]).await;
    let mut rest = all().by("size");
    rest.0.after = first.next;
    assert_eq!(lab.list(rest).await, "04 07 10 02 05 08 11 03");
}

pub(crate) async fn cursor_may_lie_anywhere(lab: &mut Lab) {
    dozen(lab).await;
    let from = |mut list: List, value: Value, name: &str| {
        list.0.after = Some(Cursor { value, id: id(name) });
        list
    };
    assert_eq!(lab.list(from(all(), Value::Null, "0899")).await, "09 10 11");
    assert_eq!(lab.list(from(all(), Value::Null, "zz")).await, "");
    assert_eq!(
        lab.list(from(all().by("size"), Value::Int(-5), "00")).await,
        "01 04 07 10 02 05 08 11"
    );
    assert_eq!(
        lab.list(from(all().by("size").down(), Value::Int(1), "05")).await,
        "04 01 09 06 03 00"
    );
    assert_eq!(lab.list(from(all().by("size").down(), Value::Null, "03")).await, "00");
    assert_eq!(
        lab.list(from(list(eq("name", "x")).by("size"), Value::Int(2), "02"))
            .await,
        "08"
    );
}

pub(crate) async fn cursor_of_another_order_is_invalid(lab: &mut Lab) {
    let with = |mut list: List, value: Value| {
        list.0.after = Some(Cursor { value, id: id("a") });
        list
    };
    assert_eq!(fails(lab.page(with(all(), Value::Int(1))).await), "Invalid");
    assert_eq!(
        fails(lab.page(with(all().by("size"), Value::from("x"))).await),
        "Invalid"
    );
    assert_eq!(fails(lab.page(with(all().by("name"), Value::Int(1))).await), "Invalid");
}

pub(crate) async fn limits_of_a_page_are_kept(lab: &mut Lab) {
    assert_eq!(fails(lab.page(all().limit(0)).await), "Invalid");
    assert_eq!(fails(lab.page(all().limit(limits::PAGE + 1)).await), "Invalid");
    lab.ok([put("a")]).await;
    assert_eq!(lab.list(all().limit(limits::PAGE)).await, "a");
    assert_eq!(fails(lab.page(all().kind("nothing")).await), "Invalid");
}

pub(crate) async fn kind_without_columns_is_listed(lab: &mut Lab) {
    lab.ok([put("b").kind("bare"), put("a").kind("bare"), put("c")]).await;
    assert_eq!(lab.list(all().kind("bare")).await, "a b");
    assert_eq!(lab.list(all().kind("bare").limit(1)).await, "a b");
    assert_eq!(lab.list(all().kind("other")).await, "");
}

pub(crate) async fn long_list_is_walked_completely(lab: &mut Lab) {
    // More than an engine's first choice of plan, of batch or of buffer.
    let names: Vec<String> = (0..6_000).map(|n| format!("{n:05}")).collect();
    lab.ok(names
        .iter()
        .enumerate()
        .map(|(n, name)| put(name).size(n as i64 / 7).tags(["t"])))
        .await;
    let expected = names.join(" ");
    let reversed = names.iter().rev().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(lab.list(list(eq("tag", "t")).by("size").limit(997)).await, expected);
    assert_eq!(
        lab.list(list(range("size", 0, None)).by("size").down().limit(1_000))
            .await,
        reversed
    );
    assert_eq!(lab.count(eq("tag", "t")).await, 6_000);
    assert_eq!(
        lab.list(list(one_of("size", [3, 800])).by("size")).await,
        names[21..28]
            .iter()
            .chain(&names[5_600..5_607])
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    );
}
