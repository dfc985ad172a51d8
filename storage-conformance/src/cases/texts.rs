//! Texts that engines like to fold, pad, collate, cut or take for something else: each is kept, compared and ordered by its
//! bytes, and U+0000 in an index is refused before anything is touched.

use fleet_core::store::{Cursor, Expect::Absent, Filter, Key, limits};
use serde_json::json;

use crate::{Lab, dsl::*};

/// Refused as invalid, whatever else is wrong with the batch, and nothing has changed.
async fn check_refused_at_the_door(lab: &Lab, steps: Vec<Step>) {
    let before = lab.export().await.pop();
    assert_eq!(lab.refused(steps.clone()).await, "Invalid", "{steps:?}");
    assert_eq!(lab.export().await.pop(), before, "something was touched: {steps:?}");
}

/// Stores each text under its number, as a unique value and as a name; then each is found by itself and by nothing else.
async fn check_apart(lab: &Lab, texts: &[&str]) {
    lab.ok(texts
        .iter()
        .enumerate()
        .map(|(n, text)| put(&format!("{n:02}")).name(text).code(text).tags([text])))
        .await;
    for (n, text) in texts.iter().enumerate() {
        let own = format!("{n:02}");
        for column in ["name", "code", "tag"] {
            assert_eq!(lab.list(list(eq(column, *text))).await, own, "{column} is {text:?}");
        }
        assert_eq!(lab.count(one_of("name", [*text])).await, 1, "one of {text:?}");
        let clash = lab.refused([put("zz").code(text)]).await;
        assert_eq!(clash, "Taken", "{text:?} is taken by itself");
        let doc = lab.get(&own).await.expect("it is there");
        let body: serde_json::Value = serde_json::from_slice(&doc.body).expect("a body is JSON");
        assert_eq!(body["name"], json!(text), "it comes back as it was");
    }
    assert_eq!(
        lab.tally(Filter::All, "name").await.matches(":1").count(),
        texts.len(),
        "each counts for itself"
    );
}

/// Lists by name in both directions and by any page follow the order of bytes.
async fn check_order(lab: &Lab, texts: &[&str]) {
    lab.ok(texts
        .iter()
        .enumerate()
        .map(|(n, text)| put(&format!("{n:02}")).name(text)))
        .await;
    let mut sorted: Vec<(&str, String)> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| (*text, format!("{n:02}")))
        .collect();
    sorted.sort();
    let up: Vec<String> = sorted.iter().map(|(_, name)| name.clone()).collect();
    let down: Vec<String> = up.iter().rev().cloned().collect();
    for limit in [1, 3, 100] {
        assert_eq!(lab.list(all().by("name").limit(limit)).await, up.join(" "));
        assert_eq!(lab.list(all().by("name").down().limit(limit)).await, down.join(" "));
    }
    for (n, (text, _)) in sorted.iter().enumerate() {
        let from = range::<&str>("name", *text, None);
        assert_eq!(
            lab.list(list(from).by("name")).await,
            up[n..].join(" "),
            "from {text:?}"
        );
        let below = range::<&str>("name", None, *text);
        assert_eq!(
            lab.list(list(below).by("name")).await,
            up[..n].join(" "),
            "below {text:?}"
        );
    }
}

pub(crate) async fn nul_in_a_text_is_refused_at_the_door(lab: &mut Lab) {
    lab.ok([put("held").code("x")]).await;
    for text in ["\0", "\0x", "x\0y", "x\0"] {
        for step in [put("b").name(text), put("b").code(text)] {
            let steps = vec![put("a"), row("log", "s", 1), put("held").expect(Absent), step];
            check_refused_at_the_door(lab, steps).await;
        }
    }
}

pub(crate) async fn nul_in_one_of_many_values_is_refused_at_the_door(lab: &mut Lab) {
    check_refused_at_the_door(
        lab,
        vec![put("a"), put("b").tags(["x", "y\0", "z"]), row("ledger", "s", 1)],
    )
    .await;
}

pub(crate) async fn nul_in_a_row_is_refused_at_the_door(lab: &mut Lab) {
    lab.ok([row("log", "s", 1).level(1)]).await;
    let bad = || row("log", "s", 2).field("word", "x\0");
    check_refused_at_the_door(lab, vec![put("a"), row("log", "s", 1).level(2), bad()]).await;
    let before = lab.export().await.pop();
    let steps = [latest("gauge", "g", 1), row("log", "s", 3), bad()];
    assert_eq!(fails(lab.ingest(steps).await), "Invalid");
    assert_eq!(lab.export().await.pop(), before, "an ingest is refused as a whole");
}

pub(crate) async fn nul_beside_the_index_is_kept(lab: &mut Lab) {
    let body = r#"{"note":"a\u0000b","name":"n"}"#;
    lab.ok([put("a").raw(body), row("log", "s", 1).raw(body)]).await;
    lab.ingest([latest("gauge", "a", 0).raw(body), row("tape", "s", 1).raw(body)])
        .await
        .unwrap();
    assert_eq!(lab.get("a").await.unwrap().body, body);
    assert_eq!(lab.latest("gauge", "a").await.unwrap(), body);
    for lane in ["log", "tape"] {
        assert_eq!(lab.stored_rows(read(lane)).await[0].row.body, body, "{lane}");
    }
    assert_eq!(lab.list(list(eq("name", "n"))).await, "a");
}

pub(crate) async fn nul_bounds_a_range_by_its_byte(lab: &mut Lab) {
    lab.ok([put("a").name("x"), put("b").name("x\u{1}"), put("c").name("xx")])
        .await;
    // U+0000 is in no index, and lies between "x" and "x\u{1}" all the same.
    assert_eq!(lab.list(list(range::<&str>("name", "x\0", None))).await, "b c");
    assert_eq!(lab.list(list(range::<&str>("name", None, "x\0"))).await, "a");
    let mut behind = all().by("name");
    behind.0.after = Some(Cursor {
        value: "x\0".into(),
        id: id("zz"),
    });
    assert_eq!(lab.list(behind.clone()).await, "b c");
    behind = behind.down();
    assert_eq!(lab.list(behind).await, "a");
}

pub(crate) async fn composed_and_decomposed_texts_are_two(lab: &mut Lab) {
    check_apart(
        lab,
        &["é", "e\u{301}", "e", "ñ", "n\u{303}", "각", "\u{1100}\u{1161}\u{11a8}"],
    )
    .await;
}

pub(crate) async fn characters_that_look_alike_are_apart(lab: &mut Lab) {
    check_apart(
        lab,
        &[
            "ﬁ", "fi", "Å", "\u{212b}", "K", "\u{212a}", "µ", "μ", "a", "а", "１", "1", "²", "2",
        ],
    )
    .await;
}

pub(crate) async fn cases_of_any_script_are_apart(lab: &mut Lab) {
    let cases = [
        "ß", "ẞ", "ss", "SS", "i", "I", "ı", "İ", "ǆ", "ǅ", "Ǆ", "σ", "ς", "Σ", "я", "Я", "ա", "Ա",
    ];
    check_apart(lab, &cases).await;
}

pub(crate) async fn texts_from_right_to_left_are_kept(lab: &mut Lab) {
    let texts = [
        "שלום",
        "مرحبا",
        "\u{202e}abc",
        "\u{202b}abc\u{202c}",
        "abc",
        "a\u{200f}bc",
        "\u{2067}א\u{2069}",
    ];
    check_apart(lab, &texts).await;
}

pub(crate) async fn characters_that_nobody_sees_count(lab: &mut Lab) {
    check_apart(
        lab,
        &[
            "a",
            "a\u{200b}",
            "a\u{ad}",
            "a\u{feff}",
            "\u{feff}a",
            "a\u{200d}",
            "\u{2060}a",
            "a\u{180e}",
        ],
    )
    .await;
}

pub(crate) async fn spaces_at_either_end_count(lab: &mut Lab) {
    check_apart(
        lab,
        &["a", "a ", "a  ", " a", "a\u{a0}", "a\t", "a\n", "a\r\n", "\u{3000}a"],
    )
    .await;
    assert_eq!(lab.list(list(prefix("name", "a "))).await, "01 02");
}

pub(crate) async fn control_characters_are_kept_and_found(lab: &mut Lab) {
    let texts: Vec<String> = (1..0x20_u8)
        .chain([0x7f])
        .map(|byte| char::from(byte).to_string())
        .chain([
            "\u{80}".into(),
            "\u{85}".into(),
            "\u{9f}".into(),
            "\u{fffe}".into(),
            "\u{10ffff}".into(),
        ])
        .collect();
    check_apart(lab, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

pub(crate) async fn texts_that_look_like_something_else_stay_texts(lab: &mut Lab) {
    let texts = [
        "null",
        "NULL",
        "true",
        "1",
        "1.0",
        "01",
        "1e0",
        "0x1",
        "NaN",
        "2026-01-01",
        "{}",
        "{a,b}",
        "[1]",
        "\\N",
        "\\.",
        "\\x41",
        "\"a\"",
        "'a'",
        "a",
        "%",
        "_",
        "*",
        "\\",
        "$1",
        "?",
        ":a",
        "@a",
        "--",
        "/*",
        ";",
        "💣",
    ];
    check_apart(lab, &texts).await;
}

pub(crate) async fn empty_text_is_not_null(lab: &mut Lab) {
    lab.ok([put("a").name("").code("").tags([""]), put("b"), put("c").name("x")])
        .await;
    assert_eq!(lab.list(list(eq("name", ""))).await, "a");
    assert_eq!(lab.list(list(null("name"))).await, "b");
    assert_eq!(lab.list(list(null("tag"))).await, "b c");
    assert_eq!(lab.list(list(eq("tag", ""))).await, "a");
    assert_eq!(lab.list(list(prefix("name", ""))).await, "a c");
    assert_eq!(lab.list(all().by("name")).await, "b a c");
    assert_eq!(lab.tally(Filter::All, "name").await, "null:1 :1 x:1");
    assert_eq!(lab.refused([put("d").code("")]).await, "Taken");
}

pub(crate) async fn order_is_by_bytes_where_collations_differ(lab: &mut Lab) {
    let texts = [
        "-", "a-b", "ab", "a b", "a_b", "aB", "A", "b", "B", "Z", "z", "ä", "a\u{308}", "æ", "zz", "ø", "10", "2",
        "_a", "~", "ł", "co-op", "coop", "CO-OP", "résumé", "resume", "Resume", "",
    ];
    check_order(lab, &texts).await;
}

pub(crate) async fn order_of_all_planes_is_that_of_utf_8(lab: &mut Lab) {
    // In UTF-16 what is beyond the first plane would come before U+E000.
    let texts = [
        "\u{d7ff}",
        "\u{e000}",
        "\u{f8ff}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{10000}",
        "😀",
        "\u{10ffff}",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
    ];
    check_order(lab, &texts).await;
}

pub(crate) async fn prefix_before_the_surrogates_ends_where_it_should(lab: &mut Lab) {
    lab.ok([
        put("a").name("x\u{d7ff}"),
        put("b").name("x\u{d7ff}y"),
        put("c").name("x\u{e000}"),
        put("d").name("x\u{10ffff}\u{10ffff}"),
        put("e").name("y"),
    ])
    .await;
    assert_eq!(lab.list(list(prefix("name", "x\u{d7ff}"))).await, "a b");
    assert_eq!(lab.list(list(prefix("name", "x\u{10ffff}"))).await, "d");
    assert_eq!(lab.list(list(prefix("name", "x"))).await, "a b c d");
}

pub(crate) async fn longest_texts_differ_by_their_last_byte(lab: &mut Lab) {
    let long = |last: char| format!("{}{last}", "x".repeat(limits::TEXT - 1));
    let (a, b) = (long('a'), long('b'));
    lab.ok([
        put("a").name(&a).code(&a).field("tag", json!([a, b])),
        put("b").name(&b).code(&b).field("tag", json!([b])),
        row("log", "s", 1).field("word", a.as_str()),
        row("log", "s", 2).field("word", b.as_str()),
    ])
    .await;
    assert_eq!(lab.list(list(eq("name", a.as_str()))).await, "a");
    assert_eq!(lab.list(all().by("name").down().limit(1)).await, "b a");
    assert_eq!(lab.list(list(eq("tag", a.as_str()))).await, "a");
    assert_eq!(lab.list(list(eq("tag", b.as_str()))).await, "a b");
    assert_eq!(lab.refused([put("c").code(&b)]).await, "Taken");
    assert_eq!(lab.rows(read("log").filter(eq("word", b.as_str()))).await, "s@2.0");
}

pub(crate) async fn limit_of_a_text_is_in_bytes(lab: &mut Lab) {
    let fits = "😀".repeat(limits::TEXT / 4);
    lab.ok([put("a").name(&fits).tags([&fits])]).await;
    assert_eq!(lab.list(list(eq("tag", fits.as_str()))).await, "a");
    for over in [
        format!("{fits}x"),
        format!("{}😀", "x".repeat(limits::TEXT - 3)),
        "é".repeat(limits::TEXT / 2 + 1),
    ] {
        check_refused_at_the_door(lab, vec![put("b"), put("c").name(&over)]).await;
        check_refused_at_the_door(lab, vec![put("b").tags([&over])]).await;
        check_refused_at_the_door(lab, vec![row("log", "s", 1).field("word", over.as_str())]).await;
    }
}

pub(crate) async fn tallies_are_in_the_order_of_bytes(lab: &mut Lab) {
    lab.ok([
        put("a").tags(["b", "B", "ä", "z"]),
        put("b").tags(["a-b", "ab", "a b", "z"]),
        put("c").tags(["\u{ffff}", "😀", "Z", "e\u{301}", "é"]),
    ])
    .await;
    assert_eq!(
        lab.tally(Filter::All, "tag").await,
        "B:1 Z:1 a b:1 a-b:1 ab:1 b:1 e\u{301}:1 z:2 ä:1 é:1 \u{ffff}:1 😀:1"
    );
}

pub(crate) async fn rows_are_compared_by_bytes_too(lab: &mut Lab) {
    let words = ["a", "A", "a ", "é", "e\u{301}", "", "NULL", "\\N", "😀", "\u{ffff}"];
    lab.ingest(
        (0_i64..)
            .zip(words)
            .map(|(at, word)| row("log", "s", at).field("word", word)),
    )
    .await
    .unwrap();
    for (at, word) in words.iter().enumerate() {
        assert_eq!(
            lab.rows(read("log").filter(eq("word", *word))).await,
            format!("s@{at}.0"),
            "{word:?}"
        );
    }
    assert_eq!(lab.rows(read("log").filter(prefix("word", "e"))).await, "s@4.0");
    assert_eq!(
        lab.rows(read("log").filter(range::<&str>("word", "\u{ffff}", None)))
            .await,
        "s@8.0 s@9.0"
    );
    assert_eq!(lab.rows(read("log").filter(null("word"))).await, "");
}

pub(crate) async fn names_of_leases_are_compared_by_bytes(lab: &mut Lab) {
    let longest = "é".repeat(limits::TEXT / 2);
    let names = [
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "SS",
        "a",
        "a\u{200b}",
        "a ",
        "שלום",
        "😀",
        "NULL",
        "'; --",
        &longest,
    ];
    for (n, name) in names.iter().enumerate() {
        let holder = id(&format!("h{n}"));
        let fence = lab.store().lease(name, holder, PATIENCE).await.unwrap();
        assert!(fence.is_some(), "{name:?} is free");
        let other = lab.store().lease(name, id("other"), PATIENCE).await.unwrap();
        assert_eq!(other, None, "{name:?} is held");
    }
}

pub(crate) async fn megabytes_of_text_are_stored_and_listed_together(lab: &mut Lab) {
    let unit = "é😀\u{202e}א\u{301}\u{feff}\\\"\u{1}";
    let text = |n: usize| format!("{n}{}", unit.repeat((1 << 20) / unit.len()));
    let one = |n: usize| put(&format!("{n}")).size(n as i64).field("note", text(n));
    lab.ok((0..6).map(one)).await;
    lab.ingest([
        latest("gauge", "a", 0).field("note", text(7)),
        row("tape", "s", 1).field("note", text(8)),
    ])
    .await
    .unwrap();
    let page = lab.page(all().by("size").down()).await.unwrap();
    for (doc, n) in page.docs.iter().zip((0..6).rev()) {
        assert!(doc.body == one(n).body(), "document {n} comes back byte for byte");
    }
    assert_eq!(page.docs.len(), 6);
    let found = lab.view().await.latest(&[Key::new("gauge", id("a"))]).await.unwrap();
    assert!(found[0].as_ref() == Some(&latest("gauge", "a", 0).field("note", text(7)).body()));
    assert!(lab.stored_rows(read("tape")).await[0].row.body == row("tape", "s", 1).field("note", text(8)).body());
}
