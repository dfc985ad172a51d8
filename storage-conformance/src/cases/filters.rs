//! What each filter means.

use fleet_core::store::{Filter, Filter::*, Value, limits};

use crate::{Lab, dsl::*};

/// The names of the things that meet a filter, by every way of asking.
async fn check(lab: &Lab, filter: Filter, expected: &str) {
    let mut names: Vec<String> = lab
        .list(list(filter.clone()))
        .await
        .split(' ')
        .map(str::to_owned)
        .collect();
    assert_eq!(names.join(" "), expected, "{filter:?}");
    names.retain(|name| !name.is_empty());
    assert_eq!(
        lab.count(filter.clone()).await,
        names.len() as u64,
        "count of {filter:?}"
    );
    assert_eq!(
        lab.list(list(filter.clone()).limit(1)).await,
        expected,
        "one by one: {filter:?}"
    );
    let mut sorted: Vec<String> = lab
        .list(list(filter.clone()).by("size").down())
        .await
        .split(' ')
        .map(str::to_owned)
        .collect();
    sorted.retain(|name| !name.is_empty());
    sorted.sort();
    assert_eq!(sorted, names, "by size: {filter:?}");
}

async fn some(lab: &Lab) {
    lab.ok([
        put("a").name("ant").size(1).owner("o1").tags(["red", "small"]),
        put("b").name("bee").size(2).owner("o2").tags(["red"]),
        put("c").name("cat").size(3).owner("o1").tags(["big"]),
        put("d").size(2),
        put("e").name("").tags(["Red", ""]),
    ])
    .await;
}

pub(crate) async fn all_is_everything(lab: &mut Lab) {
    check(lab, All, "").await;
    some(lab).await;
    check(lab, All, "a b c d e").await;
}

pub(crate) async fn equal_texts_integers_and_ids(lab: &mut Lab) {
    some(lab).await;
    check(lab, eq("name", "bee"), "b").await;
    check(lab, eq("name", ""), "e").await;
    check(lab, eq("size", 2), "b d").await;
    check(lab, eq("owner", id("o1")), "a c").await;
    check(lab, eq("owner", id("o3")), "").await;
}

pub(crate) async fn comparisons_tell_case_apart(lab: &mut Lab) {
    lab.ok([
        put("a").name("Bee"),
        put("b").name("bee"),
        put("c").name("BEE"),
        put("d").name("bee "),
    ])
    .await;
    check(lab, eq("name", "bee"), "b").await;
    check(lab, one_of("name", ["BEE"]), "c").await;
    check(lab, prefix("name", "B"), "a c").await;
    check(lab, range("name", "a", "c"), "b d").await;
}

pub(crate) async fn equal_null_finds_what_has_no_value(lab: &mut Lab) {
    some(lab).await;
    check(lab, null("name"), "d").await;
    check(lab, null("size"), "e").await;
    check(lab, null("owner"), "d e").await;
    check(lab, null("tag"), "d").await;
    check(lab, null("mark"), "a b c d e").await;
}

pub(crate) async fn in_finds_any_of_the_values(lab: &mut Lab) {
    some(lab).await;
    check(lab, one_of("name", ["cat", "ant", "dog", "cat"]), "a c").await;
    check(lab, one_of("size", [3, 1]), "a c").await;
    check(lab, one_of("owner", [id("o2"), id("o1")]), "a b c").await;
    check(lab, one_of::<i64>("size", []), "").await;
}

pub(crate) async fn in_takes_many_values(lab: &mut Lab) {
    some(lab).await;
    check(lab, one_of("size", (0..limits::IN as i64).rev()), "a b c d").await;
    let too_many = list(one_of("size", 0..=limits::IN as i64));
    assert_eq!(fails(lab.page(too_many).await), "Invalid");
}

pub(crate) async fn range_includes_its_beginning_and_not_its_end(lab: &mut Lab) {
    some(lab).await;
    check(lab, range("size", 1, 3), "a b d").await;
    check(lab, range("size", 2, None), "b c d").await;
    check(lab, range("size", None, 2), "a").await;
    check(lab, range("size", 2, 2), "").await;
    check(lab, range("size", 3, 1), "").await;
    check(lab, range("name", "ant", "cat"), "a b").await;
    check(lab, range("name", "", None), "a b c e").await;
    check(lab, range("owner", id("o1"), id("o2")), "a c").await;
}

pub(crate) async fn unbounded_range_finds_every_value_but_null(lab: &mut Lab) {
    some(lab).await;
    check(lab, range::<i64>("size", None, None), "a b c d").await;
    check(lab, range::<&str>("tag", None, None), "a b c e").await;
}

pub(crate) async fn integers_reach_from_end_to_end(lab: &mut Lab) {
    let values = [
        i64::MIN,
        i64::MIN + 1,
        -(1 << 53) - 1,
        -1,
        0,
        1,
        (1 << 53) + 1,
        i64::MAX - 1,
        i64::MAX,
    ];
    lab.ok(values
        .iter()
        .enumerate()
        .map(|(n, value)| put(&format!("{n}")).size(*value)))
        .await;
    assert_eq!(lab.list(all().by("size")).await, "0 1 2 3 4 5 6 7 8");
    check(lab, eq("size", i64::MIN), "0").await;
    check(lab, eq("size", i64::MAX), "8").await;
    check(lab, range("size", i64::MIN, -1), "0 1 2").await;
    check(lab, range("size", i64::MAX - 1, i64::MAX), "7").await;
    check(lab, eq("size", 1 << 53), "").await;
}

pub(crate) async fn prefix_is_by_characters_as_written(lab: &mut Lab) {
    lab.ok([
        put("a").name("ab"),
        put("b").name("a"),
        put("c").name("b"),
        put("d").name("Ab"),
        put("e").name("aé"),
        put("f").name(""),
        put("g"),
    ])
    .await;
    check(lab, prefix("name", "a"), "a b e").await;
    check(lab, prefix("name", "ab"), "a").await;
    check(lab, prefix("name", "abc"), "").await;
    check(lab, prefix("name", "aé"), "e").await;
    check(lab, prefix("name", ""), "a b c d e f").await;
}

pub(crate) async fn prefix_has_no_wildcards(lab: &mut Lab) {
    for (name, text) in [
        ("a", "a%b"),
        ("b", "a_b"),
        ("c", "a\\b"),
        ("d", "axb"),
        ("e", "a*b"),
        ("f", "a?b"),
        ("g", "a[b]"),
    ] {
        lab.ok([put(name).name(text)]).await;
    }
    for (text, expected) in [
        ("a%", "a"),
        ("a_", "b"),
        ("a\\", "c"),
        ("%", ""),
        ("_", ""),
        ("a*", "e"),
        ("a?", "f"),
        ("a[", "g"),
        ("a'", ""),
        ("a\"", ""),
    ] {
        check(lab, prefix("name", text), expected).await;
    }
}

pub(crate) async fn prefix_ends_at_the_last_characters_of_unicode(lab: &mut Lab) {
    let last = "\u{10ffff}";
    lab.ok([
        put("a").name(last),
        put("b").name(&format!("{last}{last}")),
        put("c").name(&format!("{last}a")),
        put("d").name("\u{10fffe}"),
        put("e").name("\u{d7ff}x"),
        put("f").name("\u{e000}x"),
        put("g").name("\u{7f}x"),
        put("h").name("\u{80}x"),
    ])
    .await;
    check(lab, prefix("name", last), "a b c").await;
    check(lab, prefix("name", &format!("{last}{last}")), "b").await;
    check(lab, prefix("name", "\u{10fffe}"), "d").await;
    check(lab, prefix("name", "\u{d7ff}"), "e").await;
    check(lab, prefix("name", "\u{7f}"), "g").await;
}

pub(crate) async fn many_valued_column_matches_by_any_value(lab: &mut Lab) {
    some(lab).await;
    check(lab, eq("tag", "red"), "a b").await;
    check(lab, eq("tag", ""), "e").await;
    check(lab, one_of("tag", ["small", "big", "red"]), "a b c").await;
    check(lab, prefix("tag", "r"), "a b").await;
    check(lab, range("tag", "c", "s"), "a b").await;
}

pub(crate) async fn two_predicates_may_be_met_by_two_values(lab: &mut Lab) {
    lab.ok([
        put("a").field("mark", vec![1, 9]),
        put("b").field("mark", vec![5]),
        put("c").field("mark", vec![1]),
    ])
    .await;
    check(lab, And(vec![eq("mark", 1), eq("mark", 9)]), "a").await;
    check(lab, And(vec![range("mark", 4, None), range("mark", None, 6)]), "a b").await;
    check(lab, range("mark", 4, 6), "b").await;
}

pub(crate) async fn not_is_the_complement(lab: &mut Lab) {
    some(lab).await;
    check(lab, not(eq("size", 2)), "a c e").await;
    check(lab, not(eq("name", "bee")), "a c d e").await;
    check(lab, not(range("size", 2, None)), "a e").await;
    check(lab, not(prefix("name", "a")), "b c d e").await;
    check(lab, not(one_of("size", [1, 2])), "c e").await;
    check(lab, not(one_of::<i64>("size", [])), "a b c d e").await;
    check(lab, not(All), "").await;
    check(lab, not(not(eq("size", 2))), "b d").await;
}

pub(crate) async fn not_counts_null_as_not_meeting(lab: &mut Lab) {
    lab.ok([put("a").size(1), put("b"), put("c").name("x")]).await;
    check(lab, not(eq("size", 1)), "b c").await;
    check(lab, not(null("size")), "a").await;
    check(lab, not(Or(vec![eq("size", 1), eq("name", "x")])), "b").await;
    check(lab, not(And(vec![eq("size", 1), eq("name", "x")])), "a b c").await;
}

pub(crate) async fn not_on_a_many_valued_column_means_none_of_its_values(lab: &mut Lab) {
    some(lab).await;
    check(lab, not(eq("tag", "red")), "c d e").await;
    check(lab, not(null("tag")), "a b c e").await;
    check(lab, not(prefix("tag", "r")), "c d e").await;
}

pub(crate) async fn and_needs_all_and_or_needs_one(lab: &mut Lab) {
    some(lab).await;
    check(lab, And(vec![eq("tag", "red"), eq("size", 2)]), "b").await;
    check(lab, And(vec![eq("tag", "red"), eq("size", 3)]), "").await;
    check(lab, Or(vec![eq("tag", "red"), eq("size", 2)]), "a b d").await;
    check(lab, Or(vec![eq("name", "cat"), null("name")]), "c d").await;
}

pub(crate) async fn empty_and_is_true_and_empty_or_is_false(lab: &mut Lab) {
    some(lab).await;
    check(lab, And(vec![]), "a b c d e").await;
    check(lab, Or(vec![]), "").await;
    check(lab, not(And(vec![])), "").await;
    check(lab, not(Or(vec![])), "a b c d e").await;
    check(lab, And(vec![Or(vec![]), All]), "").await;
    check(lab, Or(vec![And(vec![]), eq("size", 1)]), "a b c d e").await;
}

pub(crate) async fn filters_nest(lab: &mut Lab) {
    some(lab).await;
    let nested = And(vec![
        Or(vec![eq("owner", id("o1")), not(range::<i64>("size", None, None))]),
        not(And(vec![eq("tag", "big"), prefix("name", "c")])),
    ]);
    check(lab, nested, "a e").await;
    let deep = (0..16).fold(eq("size", 2), |inner, _| not(inner));
    check(lab, deep, "b d").await;
}

pub(crate) async fn wide_filters_are_served(lab: &mut Lab) {
    some(lab).await;
    check(
        lab,
        Or((0..limits::PREDICATES as i64 - 1).map(|n| eq("size", n)).collect()),
        "a b c d",
    )
    .await;
    check(lab, And((10..130).map(|n| not(eq("size", n))).collect()), "a b c d e").await;
}

pub(crate) async fn values_are_never_code(lab: &mut Lab) {
    let hostile = "x'; DROP TABLE thing; --\" $1 ?1 :a";
    lab.ok([put("a").name(hostile).tags([hostile]), put("b").name("x")])
        .await;
    check(lab, eq("name", hostile), "a").await;
    check(lab, eq("tag", hostile), "a").await;
    check(lab, prefix("name", "x'"), "a").await;
    check(lab, one_of("name", [hostile, "x"]), "a b").await;
}

pub(crate) async fn filter_values_may_be_anything_that_is_text(lab: &mut Lab) {
    some(lab).await;
    // Such values are in no index, and are still compared.
    check(lab, eq("name", "ant\0"), "").await;
    check(lab, range("name", "ant\0", "bee\0"), "b").await;
    check(lab, prefix("name", "a\0"), "").await;
    check(lab, eq("name", "x".repeat(limits::TEXT + 1)), "").await;
    check(lab, prefix("name", &"x".repeat(5_000)), "").await;
}

pub(crate) async fn undeclared_column_is_no_index(lab: &mut Lab) {
    let nested = Or(vec![All, not(And(vec![eq("wheels", 1)]))]);
    for filter in [
        eq("wheels", 1),
        null("body"),
        one_of("id", [1]),
        range::<i64>("rev", None, None),
        prefix("seq", ""),
        nested,
    ] {
        assert_eq!(fails(lab.page(list(filter.clone())).await), "NoIndex", "{filter:?}");
        assert_eq!(
            fails(lab.view().await.count("thing", &filter).await),
            "NoIndex",
            "{filter:?}"
        );
        assert_eq!(
            fails(lab.view().await.tally("thing", &filter, "size").await),
            "NoIndex",
            "{filter:?}"
        );
    }
    assert_eq!(fails(lab.page(all().by("wheels")).await), "NoIndex");
    assert_eq!(
        fails(lab.page(all().by("tag")).await),
        "NoIndex",
        "a many-valued column is no order"
    );
    assert_eq!(fails(lab.page(list(eq("size", 1)).kind("other")).await), "NoIndex");
    assert_eq!(fails(lab.view().await.tally("thing", &All, "wheels").await), "NoIndex");
    assert_eq!(fails(lab.row_page(read("log").filter(eq("size", 1))).await), "NoIndex");
}

pub(crate) async fn values_of_another_type_are_invalid(lab: &mut Lab) {
    let nulls = Filter::In("size", vec![Value::Null]);
    for filter in [
        eq("name", 1),
        eq("size", "1"),
        eq("owner", "x"),
        one_of("size", ["x"]),
        nulls,
        range("name", 1, 2),
        Filter::Range("size", Some(Value::Null), None),
        prefix("size", "1"),
        prefix("owner", "1"),
    ] {
        assert_eq!(fails(lab.page(list(filter.clone())).await), "Invalid", "{filter:?}");
        assert_eq!(
            fails(lab.view().await.count("thing", &filter).await),
            "Invalid",
            "{filter:?}"
        );
    }
    assert_eq!(
        fails(lab.row_page(read("log").filter(eq("level", "x"))).await),
        "Invalid"
    );
}

pub(crate) async fn filters_beyond_the_limits_are_invalid(lab: &mut Lab) {
    let wide = Or((0..limits::PREDICATES as i64).map(|n| eq("size", n)).collect());
    let deep = (0..17).fold(All, |inner, _| not(inner));
    assert_eq!(fails(lab.page(list(wide)).await), "Invalid");
    assert_eq!(fails(lab.page(list(deep)).await), "Invalid");
}
