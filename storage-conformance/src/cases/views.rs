//! Views: one place in commit order, whatever happens meanwhile.

use std::sync::Arc;

use fleet_core::store::{Backend, Filter, Key, Value, View};

use crate::{Lab, dsl::*};

pub(crate) async fn empty_store_stands_at_zero(lab: &mut Lab) {
    assert_eq!(lab.seq().await, 0);
}

pub(crate) async fn view_shows_what_was_acknowledged(lab: &mut Lab) {
    for n in 1..=20 {
        let seq = lab.ok([put("a").size(n)]).await.seq;
        let mut view = lab.view().await;
        assert_eq!(view.seq(), seq);
        assert_eq!(
            view.get(&[key("a")]).await.unwrap()[0].as_ref().unwrap().body,
            put("a").size(n).body()
        );
        lab.ingest([latest("gauge", "a", n)]).await.unwrap();
        assert_eq!(lab.latest("gauge", "a").await.unwrap(), format!("{{\"v\":{n}}}"));
    }
}

pub(crate) async fn view_does_not_see_later_commits(lab: &mut Lab) {
    lab.ok([put("a").size(1), put("b").size(1), row("log", "s", 1)]).await;
    let mut view = lab.view().await;
    lab.ok([put("a").size(2), delete("b"), put("c").size(1), row("log", "s", 2)])
        .await;
    assert_eq!(view.seq(), 1);
    assert_eq!(view.get(&[key("a")]).await.unwrap()[0].as_ref().unwrap().rev, 1);
    assert!(view.get(&[key("b")]).await.unwrap()[0].is_some());
    assert!(view.get(&[key("c")]).await.unwrap()[0].is_none());
    assert_eq!(listed(&mut *view, list(eq("size", 1))).await, "a b");
    assert_eq!(view.count("thing", &Filter::All).await.unwrap(), 2);
    assert_eq!(tallied(&mut *view, Filter::All, "size").await, "1:2");
    assert_eq!(read_all(&mut *view, read("log")).await, "s@1.0");
    assert_eq!(lab.list(all()).await, "a c");
}

pub(crate) async fn view_does_not_see_later_ingests(lab: &mut Lab) {
    lab.ingest([latest("gauge", "a", 1), row("log", "s", 1)]).await.unwrap();
    let mut view = lab.view().await;
    lab.ingest([latest("gauge", "a", 2), latest("gauge", "b", 2), row("log", "s", 2)])
        .await
        .unwrap();
    lab.store().trim("log", 2).await.unwrap();
    lab.ok([drop_latest("gauge", "a")]).await;
    let found = view.latest(&[Key::new("gauge", id("a"))]).await.unwrap();
    assert_eq!(found[0].as_deref(), Some(br#"{"v":1}"#.as_slice()));
    assert_eq!(view.latest_page("gauge", None, 10).await.unwrap().len(), 1);
    assert_eq!(read_all(&mut *view, read("log")).await, "s@1.0");
}

pub(crate) async fn view_is_one_place_from_its_first_reading_on(lab: &mut Lab) {
    // Also where nothing has been read before the next commit.
    lab.ok([put("a").size(1)]).await;
    let mut view = lab.view().await;
    lab.ok([put("a").size(2)]).await;
    assert_eq!(listed(&mut *view, list(eq("size", 1))).await, "a");
}

pub(crate) async fn views_of_several_places_stand_side_by_side(lab: &mut Lab) {
    let mut views = Vec::new();
    for n in 1..=4 {
        lab.ok([put("a").size(n)]).await;
        views.push(lab.view().await);
    }
    for (n, view) in views.iter_mut().enumerate().rev() {
        assert_eq!(view.seq(), n as u64 + 1);
        assert_eq!(
            view.get(&[key("a")]).await.unwrap()[0].as_ref().unwrap().rev,
            n as u64 + 1
        );
    }
}

pub(crate) async fn pages_of_one_view_agree_while_writers_run(lab: &mut Lab) {
    lab.ok((0..50).map(|n| put(&format!("{n:02}")).size(n))).await;
    let mut view = lab.view().await;
    let mut at = all().by("size").limit(7);
    let mut names = Vec::new();
    for round in 0.. {
        let page = view.find(&at.0).await.unwrap();
        names.extend(page.docs.iter().map(|doc| name(doc.key.id)));
        lab.ok([
            put(&format!("{round:02}")).size(1_000),
            delete(&format!("{}", 40 + round)),
            put(&format!("x{round}")).size(20),
        ])
        .await;
        match page.next {
            Some(next) => at.0.after = Some(next),
            None => break,
        }
    }
    assert_eq!(
        names.join(" "),
        (0..50).map(|n| format!("{n:02}")).collect::<Vec<_>>().join(" ")
    );
}

/// Moves one unit at a time between ten accounts.
async fn transfers(store: Arc<dyn Backend>, offset: u128) {
    for round in 0..30_u128 {
        let mut view = store.view().await.unwrap();
        let (from, to) = (format!("d{}", round % 10), format!("d{}", (round * 7 + offset) % 10));
        if from == to {
            continue;
        }
        let docs = view.get(&[key(&from), key(&to)]).await.unwrap();
        let size = |at: usize| {
            let doc = docs[at].as_ref().unwrap();
            let body: serde_json::Value = serde_json::from_slice(&doc.body).unwrap();
            (body["size"].as_i64().unwrap(), fleet_core::store::Expect::Rev(doc.rev))
        };
        let ((had, rev), (gets, other)) = (size(0), size(1));
        let steps = [
            put(&from).size(had - 1).expect(rev),
            put(&to).size(gets + 1).expect(other),
        ];
        tokio::task::yield_now().await;
        match store.commit(batch((offset << 32) | round, steps)).await {
            Ok(_) => {}
            Err(error) => assert_eq!(variant(&error), "Conflict"),
        }
    }
}

async fn check_sum(view: &mut dyn View) {
    let tally = view.tally("thing", &Filter::All, "size").await.unwrap();
    let sum: i64 = tally
        .iter()
        .map(|(value, count)| {
            if let Value::Int(size) = value {
                size * *count as i64
            } else {
                0
            }
        })
        .sum();
    assert_eq!(sum, 1_000, "money is neither made nor lost: {tally:?}");
    let page = view.find(&all().0).await.unwrap();
    let keys: Vec<Key> = page.docs.iter().map(|doc| doc.key).collect();
    let got = view.get(&keys).await.unwrap();
    assert!(got.iter().flatten().eq(&page.docs), "get and find agree");
    assert_eq!(view.count("thing", &Filter::All).await.unwrap(), 10);
    assert!(
        page.docs.iter().all(|doc| doc.seq <= view.seq()),
        "nothing is newer than the view"
    );
}

pub(crate) async fn readings_of_one_view_agree_while_writers_run(lab: &mut Lab) {
    lab.ok((0..10).map(|n| put(&format!("d{n}")).size(100))).await;
    let writers: Vec<_> = (1..4)
        .map(|offset| tokio::spawn(transfers(lab.store().clone(), offset)))
        .collect();
    let mut views = 0;
    while writers.iter().any(|writer| !writer.is_finished()) || views < 5 {
        check_sum(&mut *lab.view().await).await;
        views += 1;
        // A backend that never waits would keep the writers from running.
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    check_sum(&mut *lab.view().await).await;
}

pub(crate) async fn walks_over_many_views_miss_no_steady_document(lab: &mut Lab) {
    // Each page has a view of its own; what exists throughout is seen exactly once and in order.
    lab.ok((0..60).map(|n| put(&format!("s{n:02}")).size(n * 10).tags(["steady"])))
        .await;
    let store = lab.store().clone();
    let writer = tokio::spawn(async move {
        for round in 0..120_i64 {
            let name = format!("x{}", round % 20);
            let step = if round % 3 == 2 {
                delete(&name)
            } else {
                put(&name).size(round * 37 % 600)
            };
            store.commit(batch(round as u128, [step])).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut random = 7_usize;
    let mut walks = 0;
    while !writer.is_finished() || walks < 4 {
        let down = walks % 2 == 1;
        let mut at = if down {
            all().by("size").down()
        } else {
            all().by("size")
        };
        let mut seen = Vec::new();
        loop {
            random = (random * 1_103_515_245 + 12_345) % (1 << 31);
            at.0.limit = 1 + random % 9;
            let page = lab.page(at.clone()).await.unwrap();
            seen.extend(
                page.docs
                    .iter()
                    .map(|doc| name(doc.key.id))
                    .filter(|name| name.starts_with('s')),
            );
            tokio::task::yield_now().await;
            match page.next {
                Some(next) => at.0.after = Some(next),
                None => break,
            }
        }
        if down {
            seen.reverse();
        }
        assert_eq!(
            seen.join(" "),
            (0..60).map(|n| format!("s{n:02}")).collect::<Vec<_>>().join(" ")
        );
        walks += 1;
    }
    writer.await.unwrap();
}

pub(crate) async fn dropped_views_leave_no_trace(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    for _ in 0..200 {
        drop(lab.view().await);
    }
    let held: Vec<_> = futures::future::join_all((0..3).map(|_| lab.view())).await;
    lab.ok([put("a")]).await;
    drop(held);
    assert_eq!(lab.rev("a").await, Some(2));
}
