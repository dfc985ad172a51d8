//! Notes of what is written while a move is under way, and the move that they are for.

use std::collections::BTreeSet;

use fleet_core::store::{Backend, Key, Patch, Record, RecordKey, Seq, Tracking};
use futures::future::join_all;

use crate::{Lab, dsl::*, random::Random};

async fn track(lab: &Lab) {
    lab.store().track(true).await.expect("tracking begins");
}

/// All notes after one, page by page; and the last one.
async fn notes(store: &dyn Backend, mut after: u64) -> (u64, BTreeSet<RecordKey>) {
    let mut keys = BTreeSet::new();
    loop {
        let page = store.tracked(after).await.expect("notes are given");
        assert!(page.upto >= after, "numbers only rise");
        assert!(page.keys.is_sorted_by(|a, b| a < b), "each once, in order");
        if page.keys.is_empty() {
            return (page.upto, keys);
        }
        assert!(page.upto > after, "a page with notes goes on");
        after = page.upto;
        keys.extend(page.keys);
    }
}

fn names(steps: &[Step]) -> BTreeSet<RecordKey> {
    steps.iter().map(record_key).collect()
}

pub(crate) async fn nothing_is_noted_unless_asked(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    assert_eq!(fails(lab.store().tracked(0).await), "Refused");
    track(lab).await;
    assert_eq!(
        lab.store().tracked(0).await.unwrap().keys,
        [],
        "what was before is not noted"
    );
    lab.store().track(false).await.unwrap();
    assert_eq!(fails(lab.store().tracked(0).await), "Refused");
    lab.store().track(false).await.expect("ceasing again is no error");
}

pub(crate) async fn commits_are_noted(lab: &mut Lab) {
    lab.ok([put("a"), put("b"), put("c")]).await;
    lab.ingest([latest("gauge", "g", 1)]).await.unwrap();
    track(lab).await;
    let steps = [
        put("a").size(2),
        put("n").kind("other"),
        delete("b"),
        drop_latest("gauge", "g"),
        row("log", "s", 1),
        row("ledger", "t", -7).n(3),
    ];
    lab.ok(steps.iter().cloned().chain([check("c")])).await;
    assert_eq!(notes(&**lab.store(), 0).await.1, names(&steps));
}

pub(crate) async fn ingests_are_noted(lab: &mut Lab) {
    track(lab).await;
    let steps = [
        latest("gauge", "g", 1),
        latest("state", "g", 1),
        row("log", "s", 1),
        row("tape", "t", -7).n(3),
    ];
    lab.ingest(steps.clone()).await.unwrap();
    assert_eq!(notes(&**lab.store(), 0).await.1, names(&steps));
}

pub(crate) async fn notes_are_numbered_and_go_on(lab: &mut Lab) {
    track(lab).await;
    lab.ok([put("b"), put("a")]).await;
    let first = lab.store().tracked(0).await.unwrap();
    assert_eq!(first.keys, [record_key(&put("a")), record_key(&put("b"))]);
    assert_eq!(lab.store().tracked(0).await.unwrap(), first, "asked again, told again");
    lab.ok([put("b")]).await;
    lab.ingest([latest("gauge", "g", 1)]).await.unwrap();
    let second = lab.store().tracked(first.upto).await.unwrap();
    assert_eq!(
        second.keys,
        [record_key(&put("b")), record_key(&latest("gauge", "g", 1))]
    );
    let end = lab.store().tracked(second.upto).await.unwrap();
    assert_eq!((end.upto, end.keys), (second.upto, Vec::new()));
}

pub(crate) async fn key_comes_once_however_often_it_is_written(lab: &mut Lab) {
    track(lab).await;
    for n in 0..20 {
        lab.ok([put("a").size(n)]).await;
        lab.ingest([latest("gauge", "g", n)]).await.unwrap();
    }
    let page = lab.store().tracked(0).await.unwrap();
    assert_eq!(page.keys, [record_key(&put("a")), record_key(&latest("gauge", "g", 1))]);
}

pub(crate) async fn tracking_anew_forgets_the_notes(lab: &mut Lab) {
    track(lab).await;
    lab.ok([put("a")]).await;
    track(lab).await;
    assert_eq!(lab.store().tracked(0).await.unwrap().keys, []);
    lab.ok([put("b")]).await;
    assert_eq!(notes(&**lab.store(), 0).await.1, names(&[put("b")]));
}

pub(crate) async fn nothing_is_trimmed_meanwhile(lab: &mut Lab) {
    lab.ingest([row("log", "s", 1)]).await.unwrap();
    track(lab).await;
    assert_eq!(fails(lab.store().trim("log", 9).await), "Refused");
    assert_eq!(lab.rows(read("log")).await, "s@1.0");
    lab.store().track(false).await.unwrap();
    assert_eq!(lab.store().trim("log", 9).await.unwrap(), 1);
}

pub(crate) async fn tracking_ends_with_the_store(lab: &mut Lab) {
    track(lab).await;
    lab.ok([put("a")]).await;
    if lab.reopen().await {
        assert_eq!(
            fails(lab.store().tracked(0).await),
            "Refused",
            "so that a move that was interrupted is told"
        );
        lab.ingest([row("log", "s", 1)]).await.unwrap();
        assert_eq!(lab.store().trim("log", 9).await.unwrap(), 1);
    }
}

pub(crate) async fn pages_of_notes_are_bounded(lab: &mut Lab) {
    track(lab).await;
    let rows: Vec<Step> = (0..Tracking::PAGE as i64 + 500)
        .map(|at| row("tape", "s", at))
        .collect();
    lab.ingest(rows.clone()).await.unwrap();
    let first = lab.store().tracked(0).await.unwrap();
    assert!(first.keys.len() <= Tracking::PAGE, "{}", first.keys.len());
    assert_eq!(notes(&**lab.store(), 0).await.1, names(&rows));
}

pub(crate) async fn notes_go_on_while_frozen(lab: &mut Lab) {
    track(lab).await;
    lab.ok([put("a")]).await;
    lab.store().freeze(origin(1)).await.unwrap();
    assert_eq!(
        notes(&**lab.store(), 0).await.1,
        names(&[put("a")]),
        "what is left to be copied"
    );
    lab.store().serve().await.unwrap();
    lab.ok([put("b")]).await;
    assert!(notes(&**lab.store(), 0).await.1.contains(&record_key(&put("b"))));
}

pub(crate) async fn what_was_acknowledged_is_noted_at_once(lab: &mut Lab) {
    track(lab).await;
    let writers = (0..6).map(|of| {
        let store = lab.store().clone();
        tokio::spawn(async move {
            for n in 0..15 {
                let step = if n % 3 == 0 {
                    latest("gauge", &format!("g{of}x{n}"), 1)
                } else {
                    put(&format!("d{of}x{n}"))
                };
                if n % 3 == 0 {
                    store.ingest(ingest([step.clone()])).await.unwrap();
                } else {
                    store.commit(batch((of << 32) | n, [step.clone()])).await.unwrap();
                }
                // Nobody says that he has read anything, so that nothing is forgotten.
                let page = store.tracked(0).await.expect("notes are given");
                assert!(page.keys.contains(&record_key(&step)), "{step:?}");
            }
        })
    });
    for writer in join_all(writers.collect::<Vec<_>>()).await {
        writer.expect("a writer ends well");
    }
}

/// Reads what these records are now: those that are there, and the keys of those that are not.
async fn records_of(store: &dyn Backend, keys: &BTreeSet<RecordKey>) -> (Seq, Vec<RecordKey>, Vec<Record>) {
    let mut view = store.view().await.unwrap();
    let (mut removed, mut records) = (Vec::new(), Vec::new());
    for key in keys {
        let record = match *key {
            RecordKey::Doc(key) => view.get(&[key]).await.unwrap().remove(0).map(Record::Doc),
            RecordKey::Latest(key) => {
                let body = view.latest(&[key]).await.unwrap().remove(0);
                body.map(|body| Record::Latest(fleet_core::store::Latest { key, body }))
            }
            RecordKey::Row(place) => view
                .rows_at(&[place])
                .await
                .unwrap()
                .remove(0)
                .map(|row| Record::Row(place.lane, row)),
        };
        match record {
            Some(record) => records.push(record),
            None => removed.push(*key),
        }
    }
    (view.seq(), removed, records)
}

pub(crate) async fn move_under_load_loses_nothing_that_was_acknowledged(lab: &mut Lab) {
    let target = lab.another().await;
    target.backend.prepare(&schema()).await.unwrap();
    let (source, target) = (lab.store().clone(), target.backend);
    lab.ok((0..60).map(|n| put(&format!("d{n}")).size(n).tags(["x"]))).await;
    let writers: Vec<_> = (0..4_u64)
        .map(|of| {
            let store = source.clone();
            tokio::spawn(async move {
                let (mut random, mut acknowledged) = (Random::new(of), Vec::new());
                for n in 0..400_u64 {
                    let name = format!("d{}", random.below(80));
                    let own = format!("w{of}x{n}");
                    let answer = match random.below(4) {
                        0 => {
                            store
                                .ingest(ingest([latest("gauge", &name, n as i64), row("tape", &own, 1)]))
                                .await
                        }
                        1 => {
                            let steps = [delete(&name), row("ledger", &own, 1)];
                            store.commit(batch(u128::from((of << 32) | n), steps)).await.map(drop)
                        }
                        _ => {
                            let steps = [put(&name).size(n as i64).tags(["y"]), row("log", &own, 1)];
                            store.commit(batch(u128::from((of << 32) | n), steps)).await.map(drop)
                        }
                    };
                    match answer {
                        Ok(()) => acknowledged.push(own),
                        Err(error) => {
                            assert_eq!(variant(&error), "NotServing");
                            return acknowledged;
                        }
                    }
                    tokio::task::yield_now().await;
                }
                acknowledged
            })
        })
        .collect();
    // Begin to note, copy, copy again what was noted, freeze, copy the rest.
    source.track(true).await.unwrap();
    target.fill(origin(1)).await.unwrap();
    let mut view = source.view().await.unwrap();
    let (seq, mut after) = (view.seq(), None);
    loop {
        let page = view.records(after, 17).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.key();
        target
            .patch(Patch {
                seq,
                removed: Vec::new(),
                records: page,
            })
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    drop(view);
    let mut noted = 0;
    for round in 0..4 {
        if round == 3 {
            source.freeze(origin(1)).await.unwrap();
        }
        let (upto, keys) = notes(&*source, noted).await;
        noted = upto;
        let (seq, removed, records) = records_of(&*source, &keys).await;
        for (removed, records) in [(removed, Vec::new()), (Vec::new(), records)] {
            target.patch(Patch { seq, removed, records }).await.unwrap();
        }
    }
    target.serve().await.unwrap();
    assert_eq!(
        exported(&*target).await,
        exported(&*source).await,
        "both stores hold the same"
    );
    let mut view = target.view().await.unwrap();
    for writer in writers {
        for own in writer.await.expect("a writer ends well") {
            let mut rows = 0;
            for lane in ["tape", "ledger", "log"] {
                rows += view.rows(&read(lane).stream(&own).0).await.unwrap().rows.len();
            }
            assert_eq!(rows, 1, "{own} was acknowledged");
        }
    }
    assert_eq!(target.check().await.unwrap(), []);
    assert_eq!(
        target.commit(batch(u128::MAX, [put("new")])).await.unwrap().revs,
        [Some(1)]
    );
}

pub(crate) async fn refused_writes_need_no_copy(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    track(lab).await;
    lab.refused([put("b").code("x"), row("ledger", "s", 1)]).await;
    let (_, keys) = notes(&**lab.store(), 0).await;
    // They may be noted; copying them again changes nothing, since they are not there.
    let (_, removed, records) = records_of(&**lab.store(), &keys).await;
    assert_eq!(records, []);
    assert!(
        removed
            .iter()
            .all(|key| names(&[put("b"), row("ledger", "s", 1)]).contains(key)),
        "{removed:?}"
    );
}

pub(crate) async fn repeated_writes_are_noted_or_unchanged(lab: &mut Lab) {
    let steps = || [put("a").size(1), row("log", "s", 1)];
    lab.commit_as(7, steps()).await.unwrap();
    track(lab).await;
    let before = lab.export().await;
    lab.commit_as(7, steps()).await.unwrap();
    lab.ingest([row("log", "s", 1)]).await.ok();
    let (_, keys) = notes(&**lab.store(), 0).await;
    assert!(keys.is_subset(&names(&steps())), "{keys:?}");
    assert_eq!(lab.export().await, before);
    assert!(lab.get_key(Key::new("thing", id("a"))).await.is_some());
}
