//! Many at once.

use std::{collections::BTreeSet, sync::Arc};

use fleet_core::store::{Backend, Expect, Filter};
use futures::{FutureExt as _, future::join_all};

use crate::{Lab, dsl::*};

async fn size(store: &dyn Backend, name: &str) -> (i64, Expect) {
    let mut view = store.view().await.unwrap();
    match &view.get(&[key(name)]).await.unwrap()[0] {
        None => (0, Expect::Absent),
        Some(doc) => {
            let body: serde_json::Value = serde_json::from_slice(&doc.body).unwrap();
            (body["size"].as_i64().unwrap(), Expect::Rev(doc.rev))
        }
    }
}

/// Reads, adds one, writes; again on conflict.
async fn increment(store: Arc<dyn Backend>, name: String, writer: u128) {
    for attempt in 0.. {
        let (size, expect) = size(&*store, &name).await;
        // Lets others in between reading and writing, also on a backend that never waits.
        tokio::task::yield_now().await;
        match store
            .commit(batch(
                (writer << 64) | attempt,
                [put(&name).size(size + 1).expect(expect)],
            ))
            .await
        {
            Ok(_) => return,
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
}

pub(crate) async fn no_update_is_lost(lab: &mut Lab) {
    const WRITERS: u128 = 40;
    let writers: Vec<_> = (1..=WRITERS)
        .map(|writer| tokio::spawn(increment(lab.store().clone(), format!("k{}", writer % 3), writer)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut sum = 0;
    for name in ["k0", "k1", "k2"] {
        let (count, _) = size(&**lab.store(), name).await;
        assert_eq!(
            lab.rev(name).await,
            Some(count as u64),
            "{name}: one revision for each update"
        );
        sum += count;
    }
    assert_eq!(sum, WRITERS as i64);
    assert_eq!(lab.seq().await, WRITERS as u64);
}

pub(crate) async fn history_is_explainable(lab: &mut Lab) {
    // Blind writes: each acknowledged revision is given once, in commit order, and the last one is what is stored.
    let commits = (0..80_i64).map(|n| {
        let name = format!("k{}", n % 4);
        let commit = lab.commit([put(&name).size(n)]);
        async move { (name, n, commit.await.unwrap()) }
    });
    let mut answers = join_all(commits).await;
    answers.sort_by_key(|(_, _, committed)| committed.seq);
    let places: Vec<u64> = answers.iter().map(|(_, _, committed)| committed.seq).collect();
    assert_eq!(places, (1..=80).collect::<Vec<_>>(), "each commit has its place");
    for name in ["k0", "k1", "k2", "k3"] {
        let of: Vec<_> = answers.iter().filter(|(of, _, _)| of == name).collect();
        let revs: Vec<_> = of.iter().map(|(_, _, committed)| committed.revs[0]).collect();
        assert_eq!(
            revs,
            (1..=20).map(Some).collect::<Vec<_>>(),
            "{name}: revisions follow places"
        );
        let (_, last, committed) = of.last().unwrap();
        let doc = lab.get(name).await.unwrap();
        assert_eq!(
            (doc.body, doc.seq),
            (put(name).size(*last).body(), committed.seq),
            "{name}: the last write stays"
        );
    }
}

pub(crate) async fn creation_is_won_once(lab: &mut Lab) {
    let answers = join_all((0..20).map(|n| lab.commit([put("a").size(n).expect(Expect::Absent)]))).await;
    let won: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.is_ok())
        .map(|(n, _)| n)
        .collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(
        answers
            .iter()
            .flat_map(|answer| answer.as_ref().err())
            .all(|error| error.is_conflict())
    );
    assert_eq!(lab.get("a").await.unwrap().body, put("a").size(won[0] as i64).body());
}

pub(crate) async fn write_skew_is_prevented(lab: &mut Lab) {
    for round in 0..20 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        lab.ok([put(&a).size(1), put(&b).size(1)]).await;
        let one = Expect::Rev(1);
        let leave_a = lab.commit([put(&a).size(0).expect(one), check(&b).expect(one)]);
        let leave_b = lab.commit([put(&b).size(0).expect(one), check(&a).expect(one)]);
        let (left_a, left_b) = futures::join!(leave_a, leave_b);
        assert!(
            left_a.is_ok() != left_b.is_ok(),
            "exactly one leaves: {left_a:?} {left_b:?}"
        );
    }
    assert_eq!(lab.count(eq("size", 1)).await, 20);
}

pub(crate) async fn refused_batch_does_not_harm_its_neighbours(lab: &mut Lab) {
    // Commits at one time share a synchronisation with the disk, and nothing else.
    lab.ok([put("held").code("x")]).await;
    let commits = (0..60).map(|n| {
        let name = format!("d{n:02}");
        let steps = match n % 4 {
            1 => vec![put(&name), put("held").expect(Expect::Absent)],
            2 => vec![put(&name), put(&format!("e{n}")).code("x")],
            _ => vec![put(&name)],
        };
        lab.commit(steps)
    });
    let answers = join_all(commits).await;
    for (n, answer) in answers.into_iter().enumerate() {
        let expected = ["no error", "Conflict", "Taken", "no error"][n % 4];
        assert_eq!(fails(answer), expected, "commit {n}");
        assert_eq!(
            lab.get(&format!("d{n:02}")).await.is_some(),
            n % 4 != 1 && n % 4 != 2,
            "document {n}"
        );
    }
    assert_eq!(lab.seq().await, 31);
}

pub(crate) async fn hundreds_of_batches_in_flight(lab: &mut Lab) {
    let answers = join_all((0..600).map(|n| lab.commit([put(&format!("d{n:03}")).size(n), row("log", "s", n)]))).await;
    let places: BTreeSet<u64> = answers.iter().map(|answer| answer.as_ref().unwrap().seq).collect();
    assert_eq!(places, (1..=600).collect());
    assert_eq!(lab.count(Filter::All).await, 600);
    assert_eq!(lab.stored_rows(read("log").limit(1_000)).await.len(), 600);
}

pub(crate) async fn dropped_commit_is_whole_or_not_at_all(lab: &mut Lab) {
    let names = |n: u128| [format!("a{n}"), format!("b{n}")];
    for n in 0..40_u128 {
        let [a, b] = names(n);
        let store = lab.store().clone();
        let steps = [put(&a), put(&b), row("log", &a, 1)];
        let task = tokio::spawn(async move { store.commit(batch(n, steps)).await });
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        task.abort();
        drop(task.await);
        // One that is polled once and dropped.
        let [a, b] = names(1_000 + n);
        drop(
            lab.commit_as(1_000 + n, [put(&a), put(&b), row("log", &a, 1)])
                .now_or_never(),
        );
    }
    // Once this is through, everything before it is, too.
    lab.ok([put("last")]).await;
    for n in (0..40).chain(1_000..1_040) {
        let [a, b] = names(n);
        let there = [
            lab.get(&a).await.is_some(),
            lab.get(&b).await.is_some(),
            !lab.rows(read("log").stream(&a)).await.is_empty(),
        ];
        assert!(there == [true; 3] || there == [false; 3], "batch {n}: {there:?}");
    }
}

pub(crate) async fn dropped_commit_is_settled_by_its_id(lab: &mut Lab) {
    for n in 0..30_u128 {
        let name = format!("a{n}");
        drop(lab.commit_as(n, [put(&name)]).now_or_never());
        assert_eq!(
            lab.commit_as(n, [put(&name)]).await.unwrap().revs,
            [Some(1)],
            "batch {n}"
        );
    }
    assert_eq!(lab.seq().await, 30);
}

pub(crate) async fn dropped_ingest_is_whole_or_not_at_all(lab: &mut Lab) {
    for n in 0..40_i64 {
        let store = lab.store().clone();
        let steps = [latest("gauge", &format!("a{n}"), n), row("log", &format!("a{n}"), n)];
        let task = tokio::spawn(async move { store.ingest(ingest(steps)).await });
        for _ in 0..n % 4 {
            tokio::task::yield_now().await;
        }
        task.abort();
        drop(task.await);
    }
    lab.ingest([latest("gauge", "last", 1)]).await.unwrap();
    for n in 0..40 {
        let name = format!("a{n}");
        let there = [
            lab.latest("gauge", &name).await.is_some(),
            !lab.rows(read("log").stream(&name)).await.is_empty(),
        ];
        assert!(there == [true; 2] || there == [false; 2], "ingest {n}: {there:?}");
    }
}

pub(crate) async fn commits_and_ingests_run_side_by_side(lab: &mut Lab) {
    let commits = join_all((0..50).map(|n| lab.commit([put("a").size(n), row("log", "c", n)])));
    let ingests = join_all((0..50).map(|n| lab.ingest([latest("gauge", &format!("g{n}"), n), row("log", "i", n)])));
    let trims = join_all((0..5).map(|_| lab.store().trim("tape", 0)));
    let (commits, ingests, trims) = futures::join!(commits, ingests, trims);
    assert!(commits.iter().all(Result::is_ok) && ingests.iter().all(Result::is_ok) && trims.iter().all(Result::is_ok));
    assert_eq!(lab.rev("a").await, Some(50));
    assert_eq!(lab.stored_rows(read("log").limit(1_000)).await.len(), 100);
    assert_eq!(
        lab.view().await.latest_page("gauge", None, 100).await.unwrap().len(),
        50
    );
}
