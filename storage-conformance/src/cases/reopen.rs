//! What was acknowledged is there after closing and opening again.

use std::time::Duration;

use fleet_core::store::{Error, Expect, Filter, Schema};
use futures::{StreamExt as _, future::join_all};

use crate::{Lab, dsl::*};

pub(crate) async fn everything_acknowledged_is_there(lab: &mut Lab) {
    lab.ok([
        put("a").name("x").size(1).tags(["t"]).code("c"),
        put("b"),
        row("log", "s", 1).level(1),
        row("ledger", "s", 2),
    ])
    .await;
    lab.ok([
        put("a").name("y").size(2).tags(["u"]),
        delete("b"),
        put("c").kind("other"),
    ])
    .await;
    lab.ingest([latest("gauge", "a", 1), row("log", "s", 2), row("tape", "s", 1)])
        .await
        .unwrap();
    let before = lab.export().await;
    if lab.reopen().await {
        assert_eq!(lab.export().await, before);
        assert_eq!(lab.list(list(eq("tag", "u"))).await, "a");
        assert_eq!(lab.list(list(eq("tag", "t"))).await, "");
        assert_eq!(lab.rows(read("log").filter(eq("level", 1))).await, "s@1.0");
    }
}

pub(crate) async fn last_commit_is_there(lab: &mut Lab) {
    for round in 1..=5 {
        lab.ok([put("a").size(round)]).await;
        if !lab.reopen().await {
            return;
        }
        assert_eq!(
            (lab.rev("a").await, lab.seq().await),
            (Some(round as u64), round as u64)
        );
    }
}

pub(crate) async fn last_ingest_is_there(lab: &mut Lab) {
    for round in 1..=3 {
        lab.ingest([latest("gauge", "a", round), row("log", "s", round)])
            .await
            .unwrap();
        if !lab.reopen().await {
            return;
        }
        assert_eq!(lab.latest("gauge", "a").await.unwrap(), format!("{{\"v\":{round}}}"));
        assert_eq!(lab.stored_rows(read("log")).await.len(), round as usize);
    }
}

pub(crate) async fn many_at_once_are_there(lab: &mut Lab) {
    let commits = join_all((0..100).map(|n| lab.ok([put(&format!("d{n:02}")).size(n)])));
    let ingests = join_all((0..100).map(|n| lab.ingest([row("log", "s", n)])));
    futures::join!(commits, ingests);
    if lab.reopen().await {
        assert_eq!(lab.count(Filter::All).await, 100);
        assert_eq!(lab.stored_rows(read("log")).await.len(), 100);
    }
}

pub(crate) async fn places_and_revisions_go_on(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.ok([put("a")]).await;
    if lab.reopen().await {
        let committed = lab.ok([put("a").expect(Expect::Rev(2))]).await;
        assert_eq!((committed.seq, committed.revs), (3, vec![Some(3)]));
    }
}

pub(crate) async fn batch_ids_are_remembered(lab: &mut Lab) {
    let first = lab.commit_as(7, [put("a"), check("b")]).await.unwrap();
    let nothing = lab.commit_as(8, [delete("x")]).await.unwrap();
    if lab.reopen().await {
        assert_eq!(lab.commit_as(7, [put("a"), check("b")]).await.unwrap(), first);
        assert_eq!(lab.commit_as(8, [delete("x")]).await.unwrap(), nothing);
        assert_eq!(fails(lab.commit_as(7, [put("b")]).await), "BatchReused");
    }
}

pub(crate) async fn feed_is_kept_with_its_compaction(lab: &mut Lab) {
    for name in ["a", "b", "c"] {
        lab.ok([put(name), row("log", name, 1)]).await;
    }
    lab.ok([delete("a")]).await;
    lab.store().compact(2).await.unwrap();
    if lab.reopen().await {
        let old = lab.store().changes(1).await.unwrap().next().await;
        assert!(matches!(old, Some(Err(Error::Compacted(2)))), "{old:?}");
        assert_eq!(lab.feed(2).await, ["3 thing/c@1", "3 log/c", "4 thing/a@1 gone"]);
    }
}

pub(crate) async fn chain_goes_on(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 2)]).await;
    let head = lab.view().await.chain_head("ledger").await.unwrap();
    if lab.reopen().await {
        assert_eq!(lab.view().await.chain_head("ledger").await.unwrap(), head);
        lab.ok([row("ledger", "s", 1)]).await;
        assert_eq!(lab.view().await.chain_head("ledger").await.unwrap().unwrap().number, 2);
    }
}

pub(crate) async fn unique_values_stay_taken(lab: &mut Lab) {
    lab.ok([put("a").code("x")]).await;
    if lab.reopen().await {
        assert_eq!(lab.refused([put("b").code("x")]).await, "Taken");
    }
}

pub(crate) async fn trimmed_rows_stay_away(lab: &mut Lab) {
    lab.ingest([row("log", "s", 1), row("log", "s", 2)]).await.unwrap();
    lab.store().trim("log", 2).await.unwrap();
    if lab.reopen().await {
        assert_eq!(lab.rows(read("log")).await, "s@2.0");
    }
}

pub(crate) async fn fences_outlive_the_store(lab: &mut Lab) {
    let ttl = Duration::from_secs(3_600);
    let first = lab.store().lease("job", id("a"), ttl).await.unwrap();
    if lab.reopen().await {
        lab.store().lease("job", id("a"), Duration::ZERO).await.unwrap();
        let second = lab.store().lease("job", id("b"), ttl).await.unwrap();
        assert!(second > first, "{second:?} > {first:?}");
    }
}

pub(crate) async fn preparation_of_a_known_schema_changes_nothing(lab: &mut Lab) {
    lab.ok([put("a").name("x")]).await;
    if lab.reopen_unprepared().await {
        let report = lab.store().prepare(&schema()).await.unwrap();
        assert_eq!((report.created.len(), report.filled.len()), (0, 0), "{report:?}");
        assert_eq!(lab.list(list(eq("name", "x"))).await, "a");
    }
}

pub(crate) async fn older_schema_is_refused(lab: &mut Lab) {
    lab.ok([put("a"), put("o").kind("other")]).await;
    if lab.reopen_unprepared().await {
        let older = Schema::default().with_kind(kind("thing", thing_columns())).unwrap();
        assert_eq!(fails(lab.store().prepare(&older).await), "Refused");
        lab.store().prepare(&schema()).await.unwrap();
    }
}

pub(crate) async fn imported_store_is_kept(lab: &mut Lab) {
    let source = lab.another().await;
    source.backend.prepare(&schema()).await.unwrap();
    source
        .backend
        .commit(batch(1, [put("a").size(1), row("ledger", "s", 1)]))
        .await
        .unwrap();
    source.backend.ingest(ingest([latest("gauge", "a", 1)])).await.unwrap();
    let records = exported(&*source.backend).await;
    let stream = futures::stream::iter(records.clone().into_iter().map(Ok)).boxed();
    lab.store().import(origin(1), stream).await.unwrap();
    if lab.reopen().await {
        assert_eq!(lab.export().await, records);
        assert_eq!(lab.ok([put("a")]).await.seq, 2);
    }
}
