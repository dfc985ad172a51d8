//! Patches: records stored and removed as they are.

use fleet_core::store::{Expect, Filter, Link, Patch, Record, RecordKey, Result, StoredRow, verify_chain};
use futures::StreamExt as _;

use crate::{Lab, Opened, dsl::*, random::Random};

fn patch(seq: u64, records: impl IntoIterator<Item = Record>) -> Patch {
    Patch {
        seq,
        removed: Vec::new(),
        records: records.into_iter().collect(),
    }
}

async fn filling(lab: &Lab) {
    lab.store().fill(origin(1)).await.expect("an empty store is filled");
}

async fn stored(lab: &Lab, patch: Patch) {
    lab.store().patch(patch).await.expect("the patch is stored");
}

/// A store with a little of everything, by commits, ingests and removals.
async fn fill(opened: &Opened) {
    let store = &opened.backend;
    let mut random = Random::new(6);
    for n in 0..60_u128 {
        let name = format!("d{}", random.below(25));
        let step = if random.below(4) == 0 {
            delete(&name)
        } else {
            put(&name).size(n as i64).tags(["x"]).code(&name)
        };
        let steps = [
            step,
            row("ledger", "s", n as i64),
            row("log", &name, n as i64).level(n as i64 % 3),
        ];
        store.commit(batch(n, steps)).await.unwrap();
    }
    let values = (0..40).map(|n| latest(random.of(&["gauge", "state"]), &format!("g{n}"), n));
    store.ingest(ingest(values)).await.unwrap();
    store
        .ingest(ingest((0..30).map(|at| row("tape", "t", at - 9))))
        .await
        .unwrap();
    store
        .commit(batch(
            100,
            [
                put("z").kind("other"),
                put("y").kind("bare"),
                drop_latest("gauge", "g1"),
            ],
        ))
        .await
        .unwrap();
    store.trim("log", 5).await.unwrap();
}

async fn another(lab: &Lab) -> Opened {
    let opened = lab.another().await;
    opened
        .backend
        .prepare(&schema())
        .await
        .expect("a new store is prepared");
    opened
}

pub(crate) async fn records_are_stored_as_they_are(lab: &mut Lab) {
    filling(lab).await;
    let chain = chained(None, [row("ledger", "b", 5), row("ledger", "a", 9)]);
    let mut records = vec![
        record(put("a").name("x").size(1), 7, 30),
        record(put("b").kind("other"), 1, 2),
        record(latest("gauge", "g", 4), 0, 0),
        record(row("log", "s", -3).n(2).level(1), 0, 0),
    ];
    records.extend(chain);
    stored(lab, patch(41, records.clone())).await;
    let mut expected = records;
    expected.sort_by_key(Record::key);
    let mut exported = lab.export().await;
    let end = exported.pop();
    assert_eq!(exported, expected);
    assert!(matches!(end, Some(Record::End { seq: 41, count: 6, .. })), "{end:?}");
    assert_eq!(lab.seq().await, 41);
}

pub(crate) async fn patch_again_changes_nothing(lab: &mut Lab) {
    filling(lab).await;
    let chain = chained(None, [row("ledger", "b", 5)]);
    let twice = || Patch {
        seq: 5,
        removed: vec![record_key(&put("gone"))],
        records: [
            record(put("a").code("c").tags(["t"]), 3, 5),
            record(latest("gauge", "g", 4), 0, 0),
            record(row("log", "s", 1).level(1), 0, 0),
        ]
        .into_iter()
        .chain(chain.clone())
        .collect(),
    };
    stored(lab, twice()).await;
    let before = lab.export().await;
    stored(lab, twice()).await;
    assert_eq!(lab.export().await, before);
    assert_eq!(lab.tally(Filter::All, "tag").await, "t:1", "also in the indexes");
    assert_eq!(lab.rows(read("log").filter(eq("level", 1))).await, "s@1.0");
}

pub(crate) async fn record_replaces_what_is_there(lab: &mut Lab) {
    filling(lab).await;
    let old = [
        record(put("a").size(1).tags(["old"]).code("c1"), 3, 5),
        record(latest("gauge", "g", 1), 0, 0),
        record(row("log", "s", 1).level(1), 0, 0),
    ];
    stored(lab, patch(5, old)).await;
    let new = [
        record(put("a").size(2).tags(["new"]).code("c2"), 4, 8),
        record(latest("gauge", "g", 2), 0, 0),
        record(row("log", "s", 1).level(2), 0, 0),
    ];
    stored(lab, patch(8, new.clone())).await;
    assert_eq!(lab.list(list(eq("tag", "new"))).await, "a");
    assert_eq!(lab.list(list(eq("tag", "old"))).await, "");
    assert_eq!(lab.list(list(eq("size", 1))).await, "");
    assert_eq!(lab.count(eq("code", "c1")).await, 0);
    assert_eq!(lab.rows(read("log").filter(eq("level", 1))).await, "");
    assert_eq!(lab.rows(read("log").filter(eq("level", 2))).await, "s@1.0");
    let mut exported = lab.export().await;
    exported.pop();
    assert_eq!(exported, new);
}

pub(crate) async fn removals_come_before_records(lab: &mut Lab) {
    filling(lab).await;
    let all = [
        record(put("a").code("c"), 3, 5),
        record(latest("gauge", "g", 1), 0, 0),
        record(row("log", "s", 1).level(1), 0, 0),
    ];
    stored(lab, patch(5, all.clone())).await;
    let keys: Vec<RecordKey> = all.iter().filter_map(Record::key).collect();
    stored(
        lab,
        Patch {
            seq: 5,
            removed: keys.clone(),
            records: all.to_vec(),
        },
    )
    .await;
    let mut exported = lab.export().await;
    exported.pop();
    assert_eq!(exported, all, "what is removed and stored is stored");
    let freed = Patch {
        seq: 6,
        removed: vec![keys[0]],
        records: vec![record(put("b").code("c"), 1, 6)],
    };
    stored(lab, freed).await;
    assert_eq!(
        lab.list(list(eq("code", "c"))).await,
        "b",
        "a value is freed before it is claimed"
    );
}

pub(crate) async fn what_is_removed_is_gone_everywhere(lab: &mut Lab) {
    filling(lab).await;
    let all = [
        record(put("a").size(1).tags(["t"]).code("c"), 3, 5),
        record(put("b").size(1).tags(["t"]), 3, 5),
        record(latest("gauge", "g", 1), 0, 0),
        record(row("log", "s", 1).level(1), 0, 0),
        record(row("log", "s", 2).level(1), 0, 0),
    ];
    stored(lab, patch(5, all)).await;
    let removed = [
        put("a"),
        latest("gauge", "g", 0),
        row("log", "s", 1),
        put("nothing"),
        row("tape", "s", 9),
        latest("state", "n", 0),
    ];
    stored(
        lab,
        Patch {
            seq: 5,
            removed: removed.iter().map(record_key).collect(),
            records: Vec::new(),
        },
    )
    .await;
    assert_eq!(lab.list(list(eq("tag", "t"))).await, "b");
    assert_eq!(lab.tally(Filter::All, "size").await, "1:1");
    assert_eq!(lab.get("a").await, None);
    assert_eq!(lab.latest("gauge", "g").await, None);
    assert_eq!(lab.rows(read("log").filter(eq("level", 1))).await, "s@2.0");
    assert_eq!(lab.rows(read("log").stream("s")).await, "s@2.0");
    lab.store().serve().await.unwrap();
    assert_eq!(
        lab.ok([put("new").code("c")]).await.revs,
        [Some(1)],
        "its value is free"
    );
}

pub(crate) async fn unique_values_are_swapped_in_one_patch(lab: &mut Lab) {
    filling(lab).await;
    stored(
        lab,
        patch(5, [record(put("a").code("x"), 1, 4), record(put("b").code("y"), 1, 5)]),
    )
    .await;
    stored(
        lab,
        patch(6, [record(put("a").code("y"), 2, 6), record(put("b").code("x"), 2, 6)]),
    )
    .await;
    assert_eq!(lab.list(list(eq("code", "x"))).await, "b");
    assert_eq!(lab.list(list(eq("code", "y"))).await, "a");
}

pub(crate) async fn unique_value_is_held_once(lab: &mut Lab) {
    filling(lab).await;
    stored(lab, patch(5, [record(put("a").code("x"), 1, 5)])).await;
    let before = lab.export().await;
    let clash = patch(
        6,
        [
            record(put("new"), 1, 6),
            record(put("b").code("x"), 1, 6),
            record(latest("gauge", "g", 1), 0, 0),
        ],
    );
    assert_eq!(fails(lab.store().patch(clash).await), "Taken");
    let inside = patch(6, [record(put("b").code("z"), 1, 6), record(put("c").code("z"), 1, 6)]);
    assert_eq!(fails(lab.store().patch(inside).await), "Taken");
    assert_eq!(lab.export().await, before, "nothing of it is stored");
}

pub(crate) async fn patched_store_is_indexed(lab: &mut Lab) {
    filling(lab).await;
    let things = (0..30).map(|n| {
        record(
            put(&format!("d{n:02}"))
                .name(["x", "y"][n % 2])
                .size(n as i64 % 5)
                .field("serial", n)
                .tags(["t"]),
            1,
            1,
        )
    });
    stored(lab, patch(30, things)).await;
    let rows = (0..20).map(|at| record(row("log", "s", at).level(at % 2), 0, 0));
    stored(lab, patch(30, rows)).await;
    assert_eq!(lab.count(eq("tag", "t")).await, 30);
    assert_eq!(lab.tally(Filter::All, "name").await, "x:15 y:15");
    assert_eq!(
        lab.list(list(eq("name", "x")).by("serial").down().limit(4))
            .await
            .split(' ')
            .next(),
        Some("d28")
    );
    assert_eq!(
        lab.rows(read("log").filter(eq("level", 1)).down().limit(3))
            .await
            .split(' ')
            .count(),
        10
    );
    lab.store().serve().await.unwrap();
    assert_eq!(lab.store().check().await.unwrap(), []);
    assert_eq!(lab.refused([put("new").field("serial", 7)]).await, "Taken");
}

pub(crate) async fn commit_order_never_goes_back(lab: &mut Lab) {
    filling(lab).await;
    stored(lab, patch(40, [record(put("a"), 2, 40)])).await;
    stored(lab, patch(12, [record(put("b"), 1, 3)])).await;
    assert_eq!(lab.seq().await, 40);
    stored(lab, patch(55, [])).await;
    assert_eq!(lab.seq().await, 55, "an empty patch moves it on");
    lab.store().serve().await.unwrap();
    let committed = lab
        .ok([put("a").expect(Expect::Rev(2)), put("b").expect(Expect::Rev(1))])
        .await;
    assert_eq!((committed.seq, committed.revs), (56, vec![Some(3), Some(2)]));
}

pub(crate) async fn feed_begins_after_the_patches(lab: &mut Lab) {
    filling(lab).await;
    stored(lab, patch(40, [record(put("a"), 2, 40)])).await;
    stored(lab, patch(50, [record(row("log", "s", 1), 0, 0)])).await;
    lab.store().serve().await.unwrap();
    for after in [0, 39, 49] {
        let first = lab.store().changes(after).await.unwrap().next().await;
        assert!(
            matches!(first, Some(Err(fleet_core::store::Error::Compacted(50)))),
            "after {after}: {first:?}"
        );
    }
    lab.ok([put("a")]).await;
    assert_eq!(lab.feed(50).await, ["51 thing/a@3"]);
}

pub(crate) async fn chain_goes_on_after_patches_in_any_order(lab: &mut Lab) {
    filling(lab).await;
    let chain = chained(
        None,
        (0..6).map(|at| row("ledger", ["s", "t"][at as usize % 2], 10 - at)),
    );
    let head = |at: usize| match &chain[at] {
        Record::Row(_, stored) => stored.link,
        _ => None,
    };
    stored(lab, patch(9, chain[3..5].iter().cloned())).await;
    assert_eq!(lab.view().await.chain_head("ledger").await.unwrap(), head(4));
    stored(lab, patch(9, chain[..2].iter().cloned())).await;
    assert_eq!(
        lab.view().await.chain_head("ledger").await.unwrap(),
        head(4),
        "a head never goes back"
    );
    stored(lab, patch(9, [chain[5].clone(), chain[2].clone()])).await;
    assert_eq!(lab.view().await.chain_head("ledger").await.unwrap(), head(5));
    lab.store().serve().await.unwrap();
    lab.ok([row("ledger", "s", 99)]).await;
    let mut rows = lab.stored_rows(read("ledger")).await;
    rows.sort_by_key(|stored| stored.link.map(|link| link.number));
    let last = verify_chain(None, rows.iter().map(|stored| (&stored.row, stored.link))).expect("the chain goes on");
    assert_eq!(last.map(|link| link.number), Some(7));
}

/// What a check says, lane by lane.
async fn findings(lab: &Lab) -> Vec<String> {
    let found = lab.store().check().await.expect("the store is checked").into_iter();
    found
        .map(|finding| format!("{}: {}: {}", finding.severity, finding.subject, finding.problem))
        .collect()
}

pub(crate) async fn rows_that_a_repair_went_on_without_are_a_known_loss_in_every_copy(lab: &mut Lab) {
    let last = |chain: &[Record]| match chain.last() {
        Some(Record::Row(_, stored)) => stored.link,
        _ => None,
    };
    filling(lab).await;
    let mut chain = chained(None, [row("ledger", "s", 3), row("ledger", "t", 2)]);
    let over = Some(Link::moved_on(last(&chain), 4));
    chain.extend(chained(over, [row("ledger", "s", 5), row("ledger", "s", 1)]));
    stored(lab, patch(9, chain)).await;
    lab.store().serve().await.unwrap();
    lab.ok([row("ledger", "t", 7)]).await;
    let numbers = |stored: &StoredRow| stored.link.map(|link| link.number);
    let mut rows: Vec<_> = lab
        .stored_rows(read("ledger"))
        .await
        .iter()
        .filter_map(numbers)
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [1, 2, 5, 6, 7]);
    let said = findings(lab).await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("known loss: ledger: rows 3 to 4 "), "{said:?}");
    lab.reopen().await;
    assert_eq!(findings(lab).await, said);
    // A copy is made, is said to be sound, and says the same.
    let copy = lab.another().await;
    copy.backend.prepare(&schema()).await.unwrap();
    let records = lab.export().await.into_iter().map(Ok);
    let records = futures::stream::iter(records).boxed();
    copy.backend
        .import(origin(2), records)
        .await
        .expect("a known loss is no damage");
    let told = copy.backend.check().await.unwrap();
    assert!(said[0].ends_with(&told[0].problem), "{told:?}");
    assert_eq!(told.len(), 1, "{told:?}");
    // What is found was looked at.
    lab.closed = true;
}

pub(crate) async fn rows_that_are_missing_from_a_chain_are_damage(lab: &mut Lab) {
    filling(lab).await;
    let mut chain = chained(None, (0..4).map(|at| row("ledger", "s", at)));
    chain.remove(1);
    stored(lab, patch(9, chain)).await;
    lab.store().serve().await.unwrap();
    assert_eq!(
        findings(lab).await,
        ["damage: ledger: the chain breaks at row 2: a row is missing or out of order"]
    );
    lab.closed = true;
}

pub(crate) async fn records_that_no_store_held_are_refused_whole(lab: &mut Lab) {
    filling(lab).await;
    stored(lab, patch(5, [record(put("a"), 2, 5)])).await;
    let before = lab.export().await;
    let good = || record(put("new"), 1, 1);
    let unlinked = record(row("ledger", "s", 1), 0, 0);
    let mut linked = record(row("log", "s", 1), 0, 0);
    if let Record::Row(_, stored) = &mut linked {
        stored.link = Some(Link {
            number: 1,
            hash: [1; 32],
        });
    }
    let damaged = [
        ("no revision", record(put("b"), 0, 1), "Corrupt"),
        ("no place", record(put("b"), 1, 0), "Corrupt"),
        ("a place after the end", record(put("b"), 1, 7), "Corrupt"),
        ("the same twice", good(), "Corrupt"),
        ("a body that is no JSON", record(put("b").raw("{"), 1, 1), "Corrupt"),
        ("a row without its link", unlinked, "Corrupt"),
        ("a row with a link too many", linked, "Corrupt"),
        ("an undeclared kind", record(put("b").kind("wheel"), 1, 1), "Invalid"),
        ("an undeclared set", record(latest("wheel", "b", 1), 0, 0), "Invalid"),
        ("an end", fleet_core::store::ExportDigest::default().end(1), "Invalid"),
    ];
    for (what, bad, expected) in damaged {
        let answer = lab.store().patch(patch(6, [good(), bad])).await;
        assert_eq!(fails(answer), expected, "{what}");
        assert_eq!(lab.export().await, before, "{what}: nothing of it is stored");
    }
    let undeclared = Patch {
        seq: 6,
        removed: vec![RecordKey::Doc(fleet_core::store::Key::new("wheel", id("a")))],
        records: vec![good()],
    };
    assert_eq!(fails(lab.store().patch(undeclared).await), "Invalid");
    let large = patch(6, (0..=Patch::MOST).map(|n| record(row("tape", "s", n as i64), 0, 0)));
    assert_eq!(fails(lab.store().patch(large).await), "Invalid");
    assert_eq!(lab.export().await, before);
}

pub(crate) async fn largest_patch_is_stored(lab: &mut Lab) {
    filling(lab).await;
    let half = Patch::MOST / 2;
    let rows = (0..half).map(|n| record(row("tape", "s", n as i64), 0, 0));
    let removed = (0..Patch::MOST - half)
        .map(|n| record_key(&row("tape", "t", n as i64)))
        .collect();
    stored(
        lab,
        Patch {
            seq: 1,
            removed,
            records: rows.collect(),
        },
    )
    .await;
    let count = lab.stored_rows(read("tape").limit(10_000)).await.len();
    assert_eq!(count, half);
}

pub(crate) async fn patches_outlive_the_store(lab: &mut Lab) {
    filling(lab).await;
    let chain = chained(None, [row("ledger", "s", 1), row("ledger", "s", 2)]);
    for (n, link) in (1..).zip(chain) {
        stored(lab, patch(n, [record(put(&format!("d{n}")).tags(["t"]), n, n), link])).await;
    }
    let before = lab.export().await;
    if lab.reopen().await {
        assert_eq!(lab.export().await, before);
        lab.store().serve().await.unwrap();
        assert_eq!(lab.count(eq("tag", "t")).await, 2);
        assert_eq!(lab.ok([row("ledger", "s", 3)]).await.seq, 3);
        assert_eq!(
            lab.view()
                .await
                .chain_head("ledger")
                .await
                .unwrap()
                .map(|link| link.number),
            Some(3)
        );
    }
}

pub(crate) async fn dropped_patch_is_whole_or_not_at_all(lab: &mut Lab) {
    filling(lab).await;
    let mut random = Random::new(12);
    for round in 1..=20_u64 {
        let records = (0..40).map(|n| record(put(&format!("d{n}")).size(round as i64), round, round));
        let (store, all) = (lab.store().clone(), patch(round, records));
        let task = tokio::spawn(async move { store.patch(all).await });
        for _ in 0..random.below(6) {
            tokio::task::yield_now().await;
        }
        task.abort();
        drop(task.await);
        let tally = lab.tally(Filter::All, "size").await;
        assert!(
            tally.is_empty() || tally.ends_with(":40") && !tally.contains(' '),
            "there by half: {tally}"
        );
    }
    stored(lab, patch(99, [record(put("last"), 1, 99)])).await;
    assert_eq!(lab.seq().await, 99);
}

/// Copies what one store holds into another, page by page, in this order.
async fn copy(from: &Opened, to: &Lab, random: &mut Random, shuffled: bool) -> Result<()> {
    let mut view = from.backend.view().await?;
    let seq = view.seq();
    let (mut after, mut patches) = (None, Vec::new());
    loop {
        let page = view.records(after, 1 + random.below(30)).await?;
        let Some(last) = page.last() else { break };
        after = last.key();
        patches.push(patch(seq, page));
    }
    if shuffled {
        for at in (1..patches.len()).rev() {
            patches.swap(at, random.below(at + 1));
        }
    }
    for patch in patches {
        // Each one twice, as after an interruption.
        to.store().patch(patch.clone()).await?;
        to.store().patch(patch).await?;
    }
    to.store().patch(patch(seq, [])).await
}

pub(crate) async fn copied_store_equals_its_source(lab: &mut Lab) {
    let source = another(lab).await;
    fill(&source).await;
    filling(lab).await;
    copy(&source, lab, &mut Random::new(1), false).await.unwrap();
    assert_eq!(lab.export().await, exported(&*source.backend).await);
    lab.store().serve().await.unwrap();
    assert_eq!(lab.store().check().await.unwrap(), []);
}

pub(crate) async fn order_of_patches_does_not_matter(lab: &mut Lab) {
    let source = another(lab).await;
    fill(&source).await;
    filling(lab).await;
    copy(&source, lab, &mut Random::new(9), true).await.unwrap();
    assert_eq!(lab.export().await.last(), exported(&*source.backend).await.last());
    assert_eq!(
        lab.view().await.chain_head("ledger").await.unwrap(),
        source.backend.view().await.unwrap().chain_head("ledger").await.unwrap()
    );
    lab.store().serve().await.unwrap();
}
