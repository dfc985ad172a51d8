//! A move from its beginning to its end.

use std::sync::Arc;

use bytes::Bytes;
use fleet_core::store::{
    Backend, Error, Expect, Phase, Touched, Value,
    migration::{Activity, Class, Kind, Options, Outcome, Stage},
    verify_chain,
};
use futures::StreamExt as _;
use serde_json::json;
use uuid::Uuid;

use super::Pair;
use crate::dsl::*;

pub(crate) async fn everything_is_moved(pair: &mut Pair) {
    pair.fill().await;
    let before = exported(&**pair.source()).await;
    let report = pair.migration().run().await.unwrap();
    assert_eq!(report.outcome, Outcome::Moved);
    assert_eq!(pair.phases().await, ("frozen", "serving"));
    assert_eq!(pair.check_equal().await, before);
}

pub(crate) async fn source_is_unaltered_but_for_its_mark(pair: &mut Pair) {
    pair.fill().await;
    let before = exported(&**pair.source()).await;
    let report = pair.migration().run().await.unwrap();
    assert_eq!(exported(&**pair.source()).await, before);
    let standing = pair.source().standing().await.unwrap();
    let Phase::Frozen(to) = standing.phase else {
        panic!("{standing:?}")
    };
    assert_eq!((to.id, standing.origin), (report.id, None));
    let written = pair.source().commit(batch(1 << 100, [put("n")])).await;
    assert!(matches!(written, Err(Error::NotServing(_))), "{written:?}");
    let origin = pair.target().standing().await.unwrap().origin;
    assert_eq!(origin.map(|from| from.id), Some(report.id));
}

pub(crate) async fn target_goes_on_where_the_source_stood(pair: &mut Pair) {
    pair.fill().await;
    let seq = pair.source().view().await.unwrap().seq();
    pair.migration().run().await.unwrap();
    let committed = pair.commit(pair.target(), [put("t03").expect(Expect::Rev(2))]).await;
    assert_eq!((committed.seq, committed.revs), (seq + 1, vec![Some(3)]));
}

pub(crate) async fn chains_go_on(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    pair.commit(pair.target(), [row("ledger", "s", 10), row("ledger", "a", 1)])
        .await;
    let mut view = pair.target().view().await.unwrap();
    let mut rows = view.rows(&read("ledger").0).await.unwrap().rows;
    rows.sort_by_key(|stored| stored.link.map(|link| link.number));
    let last = verify_chain(None, rows.iter().map(|stored| (&stored.row, stored.link)));
    assert_eq!(last.expect("the chain holds").map(|link| link.number), Some(5));
    assert_eq!(
        view.chain_head("ledger").await.unwrap().map(|link| link.number),
        Some(5)
    );
}

pub(crate) async fn page_tokens_go_on(pair: &mut Pair) {
    pair.fill().await;
    let mut list = all().by("name").limit(4);
    let mut reading = read("log").limit(3);
    let (first, rows) = {
        let mut view = pair.source().view().await.unwrap();
        (view.find(&list.0).await.unwrap(), view.rows(&reading.0).await.unwrap())
    };
    list.0.after = first.next;
    reading.0.after = rows.next;
    let mut old = pair.source().view().await.unwrap();
    let expected = (
        listed(&mut *old, list.clone()).await,
        read_all(&mut *old, reading.clone()).await,
    );
    drop(old);
    pair.migration().run().await.unwrap();
    let mut view = pair.target().view().await.unwrap();
    let got = (listed(&mut *view, list).await, read_all(&mut *view, reading).await);
    assert_eq!(got, expected);
}

pub(crate) async fn feed_goes_on(pair: &mut Pair) {
    pair.fill().await;
    let seq = pair.source().view().await.unwrap().seq();
    pair.migration().run().await.unwrap();
    let mut changes = pair.target().changes(seq).await.unwrap();
    pair.commit(pair.target(), [put("new")]).await;
    assert_eq!(
        tell(&changes.next().await.unwrap().unwrap()),
        format!("{} thing/new@1", seq + 1)
    );
    let gone = pair.target().changes(seq - 1).await.unwrap().next().await;
    assert!(matches!(gone, Some(Err(Error::Compacted(at))) if at == seq), "{gone:?}");
}

pub(crate) async fn unique_values_stay_taken(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    let taken = pair.target().commit(batch(1 << 100, [put("n").code("c1")])).await;
    assert_eq!(fails(taken), "Taken");
    let free = pair.target().commit(batch(2 << 100, [put("n").code("c5")])).await;
    assert_eq!(fails(free), "no error", "its holder was deleted");
}

pub(crate) async fn empty_store_is_moved(pair: &mut Pair) {
    let report = pair.migration().run().await.unwrap();
    assert_eq!(
        report.contents.map(|contents| (contents.records, contents.seq)),
        Some((0, 0))
    );
    assert_eq!(pair.phases().await, ("frozen", "serving"));
    assert_eq!(pair.commit(pair.target(), [put("a")]).await.seq, 1);
}

pub(crate) async fn store_that_only_deleted_is_moved(pair: &mut Pair) {
    pair.commit(pair.source(), [put("a")]).await;
    pair.commit(pair.source(), [delete("a")]).await;
    pair.migration().run().await.unwrap();
    pair.check_equal().await;
    assert_eq!(pair.commit(pair.target(), [put("b")]).await.seq, 3);
}

/// Texts that an engine may order, fold, trim, escape or cut.
const TEXTS: [&str; 18] = [
    "",
    " ",
    "a",
    "A",
    "á",
    "a\u{301}",
    "ä",
    "ß",
    "ẞ",
    "I",
    "ı",
    "😀",
    "\u{10FFFF}",
    "\u{FEFF}x",
    "x ",
    "%_\\'\"`;--",
    "\u{1}\u{7f}\t\r\n",
    "\u{202e}rtl",
];

pub(crate) async fn adversarial_text_survives(pair: &mut Pair) {
    let docs = TEXTS.iter().enumerate().map(|(n, text)| {
        put(&format!("x{n}"))
            .name(text)
            .code(text)
            .field("tag", json!([text, format!("{text}{text}")]))
    });
    pair.commit(pair.source(), docs).await;
    let raws = [
        r#"{"a":1e300,"b":-0.0,"c":18446744073709551616,"d":0.10000000000000000555}"#,
        r#"{"z":"\u0041\/","a" : [ 1 , 2 ],"z":1}"#,
        "\"\\u0000\"",
    ];
    let docs = raws
        .iter()
        .enumerate()
        .map(|(n, raw)| put(&format!("r{n}")).kind("bare").raw(*raw));
    pair.commit(pair.source(), docs).await;
    let rows = TEXTS
        .iter()
        .zip(0..)
        .map(|(text, at)| row("log", "s", at).field("word", *text));
    pair.ingest(pair.source(), rows).await;
    let before = exported(&**pair.source()).await;
    pair.migration().run().await.unwrap();
    assert_eq!(pair.check_equal().await, before);
    let mut view = pair.target().view().await.unwrap();
    for (n, text) in TEXTS.iter().enumerate() {
        assert_eq!(
            listed(&mut *view, list(eq("code", *text))).await,
            format!("x{n}"),
            "{text:?}"
        );
    }
}

pub(crate) async fn extreme_keys_survive(pair: &mut Pair) {
    let ids = [
        Uuid::nil(),
        Uuid::max(),
        id("m"),
        Uuid::from_u128(1),
        Uuid::from_u128(u128::MAX - 1),
    ];
    pair.commit(pair.source(), ids.iter().map(|id| put("").id(*id))).await;
    pair.commit(pair.source(), ids.iter().map(|id| put("").kind("bare").id(*id)))
        .await;
    pair.ingest(pair.source(), ids.iter().map(|id| latest("state", "", 1).id(*id)))
        .await;
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX];
    let mut rows = Vec::new();
    for id in ids {
        for at in times {
            rows.extend([0, u32::MAX].map(|n| row("tape", "", at).id(id).n(n)));
        }
    }
    pair.ingest(pair.source(), rows).await;
    pair.commit(
        pair.source(),
        times.iter().map(|at| row("ledger", "", *at).id(Uuid::max())),
    )
    .await;
    pair.migration().run().await.unwrap();
    assert_eq!(pair.check_equal().await.len(), 5 + 5 + 5 + 60 + 6 + 1);
}

pub(crate) async fn bodies_of_a_megabyte_survive(pair: &mut Pair) {
    let body = |n: usize| Bytes::from(format!("{{\"pad\":\"{}\"}}", "😀".repeat(262_144 - n)));
    for n in 0..24 {
        pair.commit(pair.source(), [put(&format!("l{n:02}")).kind("bare").raw(body(n))])
            .await;
    }
    let rows = (0..6).map(|at| row("tape", "s", at).raw(body(1)));
    pair.ingest(pair.source(), rows).await;
    let migration = pair.between_with(pair.source(), pair.target(), Options::default());
    let report = migration.run().await.unwrap();
    assert!(report.copied.bytes > 30_000_000, "{report:?}");
    pair.check_equal().await;
}

pub(crate) async fn many_records_are_moved(pair: &mut Pair) {
    for chunk in 0..3 {
        let things = (0..2_000).map(|n| {
            put(&format!("{chunk}-{n:04}"))
                .size(n)
                .tags(["a", "b"])
                .code(&format!("{chunk}/{n}"))
        });
        pair.commit(pair.source(), things).await;
    }
    pair.commit(pair.source(), (0..2_500).map(|at| row("ledger", "s", 2_500 - at)))
        .await;
    pair.ingest(pair.source(), (0..5_000).map(|at| row("log", "s", at).level(at)))
        .await;
    pair.ingest(
        pair.source(),
        (0..2_001).map(|n| latest("gauge", &format!("{n:04}"), n)),
    )
    .await;
    let migration = pair.between_with(pair.source(), pair.target(), Options::default());
    let report = migration.run().await.unwrap();
    assert_eq!(report.copied.added, 6_000 + 2_500 + 5_000 + 2_001);
    pair.check_equal().await;
}

pub(crate) async fn report_says_what_was_moved(pair: &mut Pair) {
    pair.fill().await;
    let end = exported(&**pair.source()).await.pop();
    let report = pair.migration().run().await.unwrap();
    let contents = report.contents.clone().expect("both were compared");
    let Some(fleet_core::store::Record::End { seq, count, digest }) = end else {
        panic!("{end:?}")
    };
    assert_eq!((contents.seq, contents.records, contents.digest), (seq, count, digest));
    let names: Vec<(Class, &str, u64)> = contents
        .names
        .iter()
        .map(|count| (count.class, count.name, count.records))
        .collect();
    let expected = [
        (Class::Documents, "bare", 1),
        (Class::Documents, "other", 2),
        (Class::Documents, "thing", 11),
        (Class::Latest, "gauge", 8),
        (Class::Latest, "state", 5),
        (Class::Rows, "ledger", 3),
        (Class::Rows, "log", 10),
        (Class::Rows, "tape", 6),
    ];
    assert_eq!(names, expected);
    assert_eq!((report.copied.added, report.copied.changes()), (count, count));
    assert!(!report.resumed && !report.online && report.checking.is_some());
    let text = serde_json::to_value(&report).unwrap();
    assert_eq!(text["contents"]["digest"], json!(digest.to_string()));
    assert_eq!(text["outcome"], json!("moved"));
}

pub(crate) async fn plan_counts_and_changes_nothing(pair: &mut Pair) {
    pair.fill().await;
    let before = exported(&**pair.source()).await;
    let plan = pair.migration().plan().await.unwrap();
    assert!(plan.is_possible(), "{plan:?}");
    assert_eq!(plan.status.stage, Some(Stage::Apart));
    assert_eq!(
        plan.contents.map(|contents| contents.records),
        Some(before.len() as u64 - 1)
    );
    assert_eq!(pair.phases().await, ("serving", "serving"));
    assert_eq!(exported(&**pair.source()).await, before);
    assert_eq!(exported(&**pair.target()).await.len(), 1);
}

pub(crate) async fn comparison_names_the_first_difference(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    let verification = pair.migration().verify().await.unwrap();
    assert!(verification.is_equal(), "{verification:?}");
    assert_eq!(verification.source, verification.target);

    pair.ingest(pair.target(), [latest("state", "t01", 999), latest("state", "t99", 1)])
        .await;
    let verification = pair.migration().verify().await.unwrap();
    let difference = verification.difference.expect("they differ");
    let named = difference.key.map(|key| key.to_string());
    assert_eq!(named, Some(format!("state/{}", id("t01"))));
    assert_eq!((difference.kind, difference.records), (Kind::Unlike, 2));
    let differing: Vec<&str> = verification
        .source
        .names
        .iter()
        .zip(&verification.target.names)
        .filter_map(|(one, other)| (one != other).then_some(one.name))
        .collect();
    assert_eq!(differing, ["state"]);

    pair.commit(pair.target(), [delete("b1").kind("bare")]).await;
    let difference = pair
        .migration()
        .verify()
        .await
        .unwrap()
        .difference
        .expect("they differ");
    assert_eq!(difference.kind, Kind::Missing);
    assert_eq!(difference.key.map(|key| key.name()), Some("bare"));
}

pub(crate) async fn progress_is_told(pair: &mut Pair) {
    pair.ingest(pair.source(), (0..4_000).map(|at| row("log", "s", at)))
        .await;
    let migration = pair.between_with(pair.source(), pair.target(), Options::default());
    let mut progress = migration.progress();
    migration.plan().await.unwrap();
    let watch = async {
        let mut seen = Vec::new();
        while progress.changed().await.is_ok() {
            let now = progress.borrow_and_update().clone();
            if let Some(total) = now.total {
                assert!(now.done <= total, "{now:?}");
            }
            if seen.last() != Some(&now.activity) {
                seen.push(now.activity);
            }
            if now.activity == Activity::Done {
                break;
            }
        }
        seen
    };
    let (report, seen) = tokio::join!(migration.run(), watch);
    report.unwrap();
    assert!(
        seen.contains(&Activity::Copying) && seen.ends_with(&[Activity::Done]),
        "{seen:?}"
    );
}

pub(crate) async fn moved_store_moves_on(pair: &mut Pair) {
    pair.fill().await;
    pair.migration().run().await.unwrap();
    pair.commit(pair.target(), [put("later").size(1)]).await;
    let third = pair.again().await;
    let onward = pair.between(pair.target(), third.source());
    onward.run().await.unwrap();
    let there: &Arc<dyn Backend> = third.source();
    assert_eq!(exported(&**pair.target()).await, exported(&**there).await);
    let mut changes = there.changes(exported_seq(there).await).await.unwrap();
    let committed = third.commit(there, [put("last")]).await;
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!(change.seq, committed.seq);
    assert!(matches!(change.touched, Touched::Document { rev: 1, .. }));
    let mut view = there.view().await.unwrap();
    assert_eq!(listed(&mut *view, list(eq("size", Value::Int(1)))).await, "later t01");
}

async fn exported_seq(store: &Arc<dyn Backend>) -> u64 {
    store.view().await.unwrap().seq()
}
