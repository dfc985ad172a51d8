//! Answers that must agree with each other: a few hundred drawn documents and rows, every filter against its meaning, and one
//! way of asking against another.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::store::{Filter, Key, Name, Value, doc_matches, row_matches};
use serde_json::json;

use crate::{Lab, dsl::*, random::Random};

const WORDS: [&str; 9] = ["", "a", "A", "ab", "a%", "b", "é", "e\u{301}", "😀"];
const SIZES: [i64; 6] = [i64::MIN, -1, 0, 1, 2, i64::MAX];
const COLUMNS: [Name; 7] = ["name", "size", "owner", "tag", "mark", "code", "serial"];

fn drawn(random: &mut Random, n: usize) -> Step {
    let mut step = put(&format!("d{n:03}"));
    if random.below(4) > 0 {
        step = step.name(random.of(&WORDS));
    }
    if random.below(4) > 0 {
        step = step.size(random.of(&SIZES));
    }
    if random.below(3) > 0 {
        step = step.owner(random.of(&["o1", "o2", "o3"]));
    }
    let tags: BTreeSet<&str> = (0..random.below(4)).map(|_| random.of(&WORDS)).collect();
    let marks: BTreeSet<i64> = (0..random.below(3)).map(|_| random.of(&SIZES)).collect();
    step = step.field("tag", json!(tags)).field("mark", json!(marks));
    if random.below(2) > 0 {
        step = step.code(&format!("c{}", n * 7 % 200));
    }
    if random.below(2) > 0 {
        step = step.field("serial", (n * 13 % 200) as i64 - 100);
    }
    step
}

/// Two hundred documents, after as many changes again.
async fn fill(lab: &Lab) -> BTreeMap<String, Step> {
    let mut random = Random::new(11);
    let mut all = BTreeMap::new();
    let mut steps = Vec::new();
    for n in 0..200 {
        steps.push((format!("d{n:03}"), drawn(&mut random, n)));
    }
    for chunk in steps.chunks(50) {
        lab.ok(chunk.iter().map(|(_, step)| step.clone())).await;
        all.extend(chunk.iter().cloned());
    }
    for _ in 0..8 {
        let mut batch = BTreeMap::new();
        for _ in 0..25 {
            let n = random.below(200);
            let name = format!("d{n:03}");
            let step = if random.below(5) == 0 {
                delete(&name)
            } else {
                drawn(&mut random, n)
            };
            batch.insert(name, step);
        }
        lab.ok(batch.values().cloned()).await;
        for (name, step) in batch {
            if step.is_delete() {
                all.remove(&name);
            } else {
                all.insert(name, step);
            }
        }
    }
    all
}

fn filters() -> Vec<Filter> {
    let mut filters = vec![
        Filter::All,
        eq("name", "a"),
        eq("name", ""),
        null("name"),
        null("tag"),
        null("serial"),
        eq("tag", "é"),
        eq("owner", id("o2")),
        one_of("name", ["a", "b", "😀"]),
        one_of("tag", ["A", "a%"]),
        one_of("size", [0, i64::MAX]),
        range::<i64>("size", 0, None),
        range("size", -1, 2),
        range::<i64>("mark", None, 1),
        range::<&str>("name", "a", "b"),
        range::<&str>("tag", "b", None),
        range::<i64>("serial", -50, 50),
        prefix("name", "a"),
        prefix("tag", "e"),
        prefix("code", "c1"),
    ];
    let simple = filters.clone();
    filters.extend(simple.iter().map(|filter| not(filter.clone())));
    for pair in simple.windows(2) {
        filters.push(Filter::And(pair.to_vec()));
        filters.push(Filter::Or(pair.to_vec()));
    }
    filters.push(not(Filter::Or(vec![
        Filter::And(vec![eq("name", "a"), not(null("size"))]),
        eq("tag", "b"),
    ])));
    filters
}

/// What a filter means, by the one function that says so.
fn meant(all: &BTreeMap<String, Step>, filter: &Filter) -> String {
    let schema = schema();
    let kind = schema.kind("thing").unwrap();
    let matching = all
        .iter()
        .filter(|(_, step)| doc_matches(kind, filter, &kind.index(&step.body()).unwrap()));
    matching.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
}

fn length(listed: &str) -> usize {
    listed.split(' ').filter(|name| !name.is_empty()).count()
}

pub(crate) async fn lists_hold_exactly_what_matches(lab: &mut Lab) {
    let all = fill(lab).await;
    let mut view = lab.view().await;
    for filter in filters() {
        let told = listed(&mut *view, list(filter.clone()).limit(1_000)).await;
        assert_eq!(told, meant(&all, &filter), "{filter:?}");
    }
}

pub(crate) async fn counts_are_the_lengths_of_the_lists(lab: &mut Lab) {
    let all = fill(lab).await;
    let mut view = lab.view().await;
    for filter in filters() {
        let count = view.count("thing", &filter).await.unwrap();
        assert_eq!(count as usize, length(&meant(&all, &filter)), "{filter:?}");
    }
}

pub(crate) async fn tallies_count_what_the_lists_hold(lab: &mut Lab) {
    let all = fill(lab).await;
    let schema = schema();
    let kind = schema.kind("thing").unwrap();
    let mut view = lab.view().await;
    for filter in filters().into_iter().step_by(4) {
        for by in COLUMNS {
            let position = kind.position(by).unwrap();
            let mut expected: BTreeMap<Value, u64> = BTreeMap::new();
            for step in all.values() {
                let index = kind.index(&step.body()).unwrap();
                if doc_matches(kind, &filter, &index) {
                    for value in &index[position] {
                        *expected.entry(value.clone()).or_default() += 1;
                    }
                }
            }
            let told = view.tally("thing", &filter, by).await.unwrap();
            assert_eq!(told, expected.into_iter().collect::<Vec<_>>(), "{filter:?} by {by}");
        }
    }
}

pub(crate) async fn orders_are_those_of_the_values(lab: &mut Lab) {
    let all = fill(lab).await;
    let schema = schema();
    let kind = schema.kind("thing").unwrap();
    let mut view = lab.view().await;
    for by in ["name", "size", "owner", "code", "serial"] {
        let position = kind.position(by).unwrap();
        for filter in filters().into_iter().step_by(5) {
            let mut expected: Vec<(Value, String)> = Vec::new();
            for (name, step) in &all {
                let index = kind.index(&step.body()).unwrap();
                if doc_matches(kind, &filter, &index) {
                    expected.push((index[position][0].clone(), name.clone()));
                }
            }
            expected.sort();
            let up: Vec<&str> = expected.iter().map(|(_, name)| name.as_str()).collect();
            let down: Vec<&str> = up.iter().rev().copied().collect();
            let asked = list(filter.clone()).by(by).limit(61);
            assert_eq!(
                listed(&mut *view, asked.clone()).await,
                up.join(" "),
                "{filter:?} by {by}"
            );
            assert_eq!(
                listed(&mut *view, asked.down()).await,
                down.join(" "),
                "{filter:?} by {by}, down"
            );
        }
    }
}

pub(crate) async fn pages_of_any_size_make_the_same_list(lab: &mut Lab) {
    let all = fill(lab).await;
    let mut view = lab.view().await;
    let mut random = Random::new(5);
    for filter in filters().into_iter().step_by(6) {
        let limit = 1 + random.below(17);
        let told = listed(&mut *view, list(filter.clone()).limit(limit)).await;
        assert_eq!(told, meant(&all, &filter), "{filter:?} in pages of {limit}");
    }
}

pub(crate) async fn one_question_in_two_forms_has_one_answer(lab: &mut Lab) {
    fill(lab).await;
    let mut view = lab.view().await;
    let (a, b) = (|| prefix("tag", "a"), || range::<i64>("size", 0, None));
    let same = [
        (not(Filter::And(vec![a(), b()])), Filter::Or(vec![not(a()), not(b())])),
        (not(Filter::Or(vec![a(), b()])), Filter::And(vec![not(a()), not(b())])),
        (not(not(a())), a()),
        (Filter::And(vec![a(), Filter::All]), a()),
        (Filter::Or(vec![a(), not(Filter::All)]), a()),
        (
            one_of("name", ["a", "b", ""]),
            Filter::Or(vec![eq("name", "a"), eq("name", "b"), eq("name", "")]),
        ),
        (one_of("mark", [0, 1]), Filter::Or(vec![eq("mark", 0), eq("mark", 1)])),
        (prefix("name", "a"), range::<&str>("name", "a", "b")),
        (prefix("name", ""), not(null("name"))),
        (range::<i64>("size", None, None), not(null("size"))),
        (one_of::<i64>("size", []), not(Filter::All)),
        (eq("size", 0), range("size", 0, 1)),
        (null("tag"), not(prefix("tag", ""))),
    ];
    for (one, other) in same {
        let first = listed(&mut *view, list(one.clone()).by("size").limit(1_000)).await;
        let second = listed(&mut *view, list(other.clone()).by("size").limit(1_000)).await;
        assert_eq!(first, second, "{one:?} is {other:?}");
        assert_eq!(
            view.count("thing", &one).await.unwrap(),
            view.count("thing", &other).await.unwrap()
        );
    }
}

pub(crate) async fn parts_of_a_range_make_the_whole(lab: &mut Lab) {
    fill(lab).await;
    let mut view = lab.view().await;
    for (column, bounds) in [("size", vec![-1, 0, 2]), ("serial", vec![-60, -1, 40])] {
        let mut parts = 0;
        let ends: Vec<Option<i64>> = [None]
            .into_iter()
            .chain(bounds.into_iter().map(Some))
            .chain([None])
            .collect();
        for pair in ends.windows(2) {
            parts += view
                .count("thing", &range::<i64>(column, pair[0], pair[1]))
                .await
                .unwrap();
        }
        parts += view.count("thing", &null(column)).await.unwrap();
        assert_eq!(parts, view.count("thing", &Filter::All).await.unwrap(), "{column}");
    }
}

pub(crate) async fn each_document_is_found_by_each_of_its_values(lab: &mut Lab) {
    let all = fill(lab).await;
    let schema = schema();
    let kind = schema.kind("thing").unwrap();
    let mut view = lab.view().await;
    for (n, (name, step)) in all.iter().enumerate().filter(|(n, _)| n % 5 == 0) {
        let index = kind.index(&step.body()).unwrap();
        for (column, values) in kind.columns.iter().zip(index) {
            for value in values {
                let found = listed(&mut *view, list(Filter::Eq(column.name, value.clone())).limit(1_000)).await;
                assert!(
                    found.split(' ').any(|found| found == name),
                    "{n}: {} is {value:?}",
                    column.name
                );
            }
        }
        let doc = view.get(&[key(name)]).await.unwrap().remove(0).unwrap();
        assert_eq!(doc.body, step.body());
    }
}

/// Three hundred rows of a lane in four streams, by commits and ingests.
async fn fill_lane(lab: &Lab) -> BTreeMap<(i64, String, u32), Step> {
    let mut random = Random::new(3);
    let mut all = BTreeMap::new();
    while all.len() < 300 {
        let (stream, at, n) = (
            random.of(&["s", "t", "u", "v"]),
            random.below(120) as i64 - 60,
            random.below(2) as u32,
        );
        let mut step = row("log", stream, at).n(n);
        if random.below(4) > 0 {
            step = step.level(random.of(&SIZES));
        }
        if random.below(4) > 0 {
            step = step.field("word", random.of(&WORDS));
        }
        all.entry((at, stream.to_owned(), n)).or_insert(step);
    }
    let steps: Vec<Step> = all.values().cloned().collect();
    for (n, chunk) in steps.chunks(60).enumerate() {
        if n % 2 == 0 {
            lab.ok(chunk.to_vec()).await;
        } else {
            lab.ingest(chunk.to_vec()).await.unwrap();
        }
    }
    all
}

pub(crate) async fn readings_hold_exactly_what_matches(lab: &mut Lab) {
    let all = fill_lane(lab).await;
    let schema = schema();
    let lane = schema.lane("log").unwrap();
    let mut view = lab.view().await;
    let filters = [
        Filter::All,
        eq("level", 0),
        null("level"),
        not(eq("level", 0)),
        range::<i64>("level", 0, None),
        prefix("word", "a"),
        one_of("word", ["é", "e\u{301}", ""]),
        Filter::And(vec![not(null("word")), range::<i64>("level", None, 1)]),
        Filter::Or(vec![eq("word", "😀"), null("level")]),
    ];
    for filter in filters {
        for stream in [None, Some("t")] {
            for (from, to) in [(None, None), (Some(-10), Some(20)), (Some(5), None)] {
                let mut reading = read("log").filter(filter.clone()).limit(37);
                (reading.0.from, reading.0.to) = (from, to);
                reading.0.stream = stream.map(id);
                let mut expected: Vec<String> = all
                    .iter()
                    .filter(|((at, of, _), step)| {
                        let (_, row) = (*step).clone().into_row();
                        stream.is_none_or(|stream| stream == of)
                            && from.is_none_or(|from| *at >= from)
                            && to.is_none_or(|to| *at < to)
                            && row_matches(lane, &filter, &row.index)
                    })
                    .map(|((at, of, n), _)| format!("{of}@{at}.{n}"))
                    .collect();
                assert_eq!(
                    read_all(&mut *view, reading.clone()).await,
                    expected.join(" "),
                    "{reading:?}"
                );
                expected.reverse();
                assert_eq!(read_all(&mut *view, reading.down()).await, expected.join(" "));
            }
        }
    }
}

pub(crate) async fn readings_of_streams_make_the_whole_lane(lab: &mut Lab) {
    let all = fill_lane(lab).await;
    let mut view = lab.view().await;
    let mut rows = 0;
    for stream in ["s", "t", "u", "v", "w"] {
        rows += length(&read_all(&mut *view, read("log").stream(stream).limit(11)).await);
    }
    assert_eq!(rows, all.len());
    assert_eq!(length(&read_all(&mut *view, read("log").limit(29)).await), all.len());
    let halves = read_all(&mut *view, read("log").to(0)).await + " " + &read_all(&mut *view, read("log").from(0)).await;
    assert_eq!(halves, read_all(&mut *view, read("log").limit(1_000)).await);
}

pub(crate) async fn pages_of_latest_values_make_the_whole_set(lab: &mut Lab) {
    let mut random = Random::new(9);
    let mut expected = BTreeMap::new();
    for _ in 0..6 {
        let steps: Vec<(String, i64)> = (0..40)
            .map(|_| (format!("g{}", random.below(90)), random.below(9) as i64))
            .collect();
        lab.ingest(steps.iter().map(|(name, v)| latest("gauge", name, *v)))
            .await
            .unwrap();
        expected.extend(steps);
    }
    let mut view = lab.view().await;
    for limit in [1, 7, 100] {
        let (mut after, mut told) = (None, BTreeMap::new());
        loop {
            let page = view.latest_page("gauge", after, limit).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key.id);
            for latest in page {
                let body: serde_json::Value = serde_json::from_slice(&latest.body).unwrap();
                assert!(
                    told.insert(name(latest.key.id), body["v"].as_i64().unwrap()).is_none(),
                    "each comes once"
                );
            }
        }
        assert_eq!(told, expected);
    }
    let keys: Vec<Key> = expected.keys().map(|name| Key::new("gauge", id(name))).collect();
    assert!(view.latest(&keys).await.unwrap().iter().all(Option::is_some));
}
