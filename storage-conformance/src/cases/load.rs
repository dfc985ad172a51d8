//! Under load: thousands in the queues, closing in the middle of it, upkeep that races with those who read and write.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fleet_core::store::{Error, Expect, Filter};
use futures::{StreamExt as _, TryFutureExt as _, future::join_all};

use crate::{Lab, dsl::*, random::Random};

pub(crate) async fn two_thousand_commits_at_once(lab: &mut Lab) {
    // More than any queue holds: they wait, and every one is answered.
    let commits = (0..2_000_i64).map(|n| lab.commit([put(&format!("d{}", n % 50)).size(n)]));
    let answers = join_all(commits).await;
    let places: BTreeSet<u64> = answers
        .iter()
        .map(|answer| answer.as_ref().expect("it is taken").seq)
        .collect();
    assert_eq!(places, (1..=2_000).collect());
    for n in 0..50 {
        assert_eq!(lab.rev(&format!("d{n}")).await, Some(40));
    }
}

pub(crate) async fn two_thousand_ingests_at_once(lab: &mut Lab) {
    let ingests =
        (0..2_000_i64).map(|n| lab.ingest([latest("gauge", &format!("g{}", n % 50), n), row("tape", "s", n)]));
    let answers = join_all(ingests).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(lab.stored_rows(read("tape").limit(5_000)).await.len(), 2_000);
    assert_eq!(
        lab.view().await.latest_page("gauge", None, 100).await.unwrap().len(),
        50
    );
}

pub(crate) async fn two_thousand_claims_have_one_winner(lab: &mut Lab) {
    let claims = (0..2_000_i64).map(|n| lab.commit([put("a").size(n).expect(Expect::Absent)]));
    let answers = join_all(claims).await;
    let won: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.is_ok())
        .map(|(n, _)| n)
        .collect();
    assert_eq!(won.len(), 1, "{won:?}");
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(matches!(error, Error::Conflict { found: Some(1), .. }), "{error:?}");
    }
    assert_eq!(lab.get("a").await.unwrap().body, put("a").size(won[0] as i64).body());
    assert_eq!(lab.seq().await, 1);
}

pub(crate) async fn views_are_given_while_writers_queue(lab: &mut Lab) {
    let writers = join_all((0..600_i64).map(|n| lab.commit([put("a").size(n), put("b").size(n)])));
    let readers = async {
        let mut last = 0;
        for _ in 0..25 {
            let mut view = lab.view().await;
            let docs = view.get(&[key("a"), key("b")]).await.expect("it can be read");
            let bodies: Vec<_> = docs
                .iter()
                .map(|doc| doc.as_ref().map(|doc| doc.body.clone()))
                .collect();
            assert_eq!(bodies[0], bodies[1], "one commit wrote both");
            assert!(view.seq() >= last, "places only rise");
            last = view.seq();
        }
    };
    let (answers, ()) = futures::join!(writers, readers);
    assert!(answers.iter().all(Result::is_ok));
}

pub(crate) async fn hundred_readers_at_once(lab: &mut Lab) {
    lab.ok((0..100).map(|n| put(&format!("d{n:02}")).size(n))).await;
    let reader = async |n: i64| {
        let mut view = lab.view().await;
        assert_eq!(
            view.count("thing", &range("size", n, 100)).await.unwrap(),
            100 - n as u64
        );
        assert_eq!(listed(&mut *view, list(eq("size", n))).await, format!("d{n:02}"));
    };
    join_all((0..100).map(reader)).await;
}

pub(crate) async fn large_batches_side_by_side(lab: &mut Lab) {
    let batches = (0..6).map(|of| {
        lab.commit(
            (0..500)
                .map(move |n| put(&format!("{of}d{n:03}")).size(of).tags(["x"]))
                .chain((0..200).map(move |at| row("log", &format!("{of}"), at).level(of))),
        )
    });
    let small = join_all((0..30).map(|n| lab.commit([put("small").size(n)])));
    let (large, small) = futures::join!(join_all(batches), small);
    assert!(large.iter().chain(&small).all(Result::is_ok));
    assert_eq!(lab.tally(Filter::All, "tag").await, "x:3000");
    for of in 0..6_i64 {
        assert_eq!(
            lab.count(eq("size", of)).await - u64::from(lab_small(lab, of).await),
            500
        );
        assert_eq!(
            lab.stored_rows(read("log").filter(eq("level", of)).limit(1_000))
                .await
                .len(),
            200
        );
    }
    assert_eq!(lab.seq().await, 36);
}

async fn lab_small(lab: &Lab, size: i64) -> bool {
    lab.get("small").await.unwrap().body == put("small").size(size).body()
}

pub(crate) async fn dropped_large_commit_is_whole_or_not_at_all(lab: &mut Lab) {
    let mut random = Random::new(8);
    for of in 0..8_u128 {
        let store = lab.store().clone();
        let steps: Vec<Step> = (0..400).map(|n| put(&format!("d{n:03}")).size(of as i64)).collect();
        let task = tokio::spawn(async move { store.commit(batch(of, steps)).await });
        for _ in 0..random.below(12) {
            tokio::task::yield_now().await;
        }
        task.abort();
        drop(task.await);
        let tally = lab.tally(Filter::All, "size").await;
        assert!(
            tally.is_empty() || tally.ends_with(":400") && !tally.contains(' '),
            "a commit is there by half: {tally}"
        );
    }
    lab.ok([put("last")]).await;
}

pub(crate) async fn dropped_calls_of_every_kind_leave_a_store_that_works(lab: &mut Lab) {
    lab.ok((0..200).map(|n| put(&format!("d{n:03}")).size(n % 7).tags(["x", "y"])))
        .await;
    lab.ingest((0..500).map(|at| row("log", "s", at).level(at % 5)))
        .await
        .unwrap();
    let mut random = Random::new(2);
    for round in 0..60_i64 {
        let store = lab.store().clone();
        let task = tokio::spawn(async move {
            let mut view = match round % 9 {
                0 => return drop(store.trim("log", round).await),
                1 => return drop(store.compact(1).await),
                2 => return drop(store.lease("job", id("a"), PATIENCE).await),
                3 => return drop(store.check().await),
                4 => return drop(store.changes(0).await.expect("a feed").next().await),
                5 => return drop(store.prepare(&schema()).await),
                _ => store.view().await.expect("a view"),
            };
            match round % 9 {
                6 => drop(view.find(&all().by("size").0).await),
                7 => drop(view.tally("thing", &not(eq("tag", "z")), "tag").await),
                _ => drop(view.rows(&read("log").filter(eq("level", 3)).0).await),
            }
        });
        for _ in 0..random.below(5) {
            tokio::task::yield_now().await;
        }
        task.abort();
        drop(task.await);
    }
    lab.ok([put("last").size(99)]).await;
    assert_eq!(lab.list(list(eq("size", 99))).await, "last");
    assert_eq!(lab.tally(Filter::All, "tag").await, "x:200 y:200");
    assert!(lab.ingest([row("log", "s", 1_000)]).await.is_ok());
    assert!(lab.store().trim("log", 1_000).await.is_ok());
    assert_eq!(lab.rows(read("log")).await, "s@1000.0");
}

pub(crate) async fn closing_under_load_tells_the_truth(lab: &mut Lab) {
    let writers: Vec<_> = (1..=300_u128)
        .map(|n| {
            let store = lab.store().clone();
            tokio::spawn(async move {
                if n % 3 == 0 {
                    let steps = [latest("gauge", &format!("g{n}"), 1), row("log", &format!("g{n}"), 1)];
                    store.ingest(ingest(steps)).await
                } else {
                    store
                        .commit(batch(n, [put(&format!("g{n}")), row("log", &format!("g{n}"), 1)]))
                        .await
                        .map(drop)
                }
            })
        })
        .collect();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    lab.store().close().await.expect("a store closes under load");
    lab.closed = true;
    let answers = join_all(writers).await;
    if !lab.reopen().await {
        return;
    }
    lab.closed = false;
    for (n, answer) in (1_u128..).zip(answers) {
        let name = format!("g{n}");
        let row = !lab.rows(read("log").stream(&name)).await.is_empty();
        let value = if n % 3 == 0 {
            lab.latest("gauge", &name).await.is_some()
        } else {
            lab.get(&name).await.is_some()
        };
        assert_eq!(row, value, "write {n} is there by half");
        match answer.expect("a writer ends") {
            Ok(()) => assert!(row, "write {n} was acknowledged"),
            Err(Error::Unavailable(_)) => assert!(!row, "write {n} was certainly not written"),
            Err(Error::Unknown(_)) => {}
            Err(error) => panic!("write {n}: {error}"),
        }
    }
}

pub(crate) async fn closing_ends_readers_and_followers(lab: &mut Lab) {
    lab.ok((0..100).map(|n| put(&format!("d{n:02}")).size(n))).await;
    let readers: Vec<_> = (0..8)
        .map(|n| {
            let store = lab.store().clone();
            tokio::spawn(async move {
                loop {
                    let told = match store.view().await {
                        Ok(mut view) => view.find(&list(range::<i64>("size", n, None)).by("size").0).await,
                        Err(error) => Err(error),
                    };
                    match told {
                        Ok(page) => assert_eq!(page.docs.len(), 100 - n as usize),
                        Err(Error::Unavailable(_)) => return,
                        Err(error) => panic!("{error}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let followers: Vec<_> = (0..8)
        .map(|_| {
            let store = lab.store().clone();
            tokio::spawn(async move {
                store
                    .changes(0)
                    .await
                    .map(|changes| changes.collect::<Vec<_>>())
                    .ok()?
                    .await
                    .into()
            })
        })
        .collect::<Vec<tokio::task::JoinHandle<Option<Vec<_>>>>>();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    lab.store().close().await.unwrap();
    lab.closed = true;
    for reader in readers {
        reader.await.expect("a reader ends well");
    }
    for follower in followers {
        // What it had seen by then, and no error but that the store is closed.
        let seen = follower.await.expect("a follower ends well").unwrap_or_default();
        let wrong = seen
            .iter()
            .find(|change| !matches!(change, Ok(_) | Err(Error::Unavailable(_))));
        assert!(wrong.is_none(), "{wrong:?}");
    }
}

pub(crate) async fn closing_many_times_at_once_is_no_error(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    let closing = (0..10).map(|_| {
        let store = lab.store().clone();
        tokio::spawn(async move { store.close().await })
    });
    for closed in join_all(closing.collect::<Vec<_>>()).await {
        closed.unwrap().expect("closing again is no error");
    }
    if lab.reopen().await {
        assert_eq!(lab.rev("a").await, Some(1));
    } else {
        lab.closed = true;
    }
}

pub(crate) async fn contended_lease_has_one_holder_at_a_time(lab: &mut Lab) {
    let (inside, newest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (store, inside, newest) = (lab.store().clone(), inside.clone(), newest.clone());
            tokio::spawn(async move {
                let (me, mut turns) = (id(&format!("h{n}")), 0);
                while turns < 4 {
                    if let Some(fence) = store.lease("job", me, PATIENCE).await.expect("a lease is asked for") {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");
                        assert!(newest.swap(fence, Ordering::SeqCst) < fence, "fences only rise");
                        tokio::task::yield_now().await;
                        let renewed = store.lease("job", me, PATIENCE).await.unwrap();
                        assert_eq!(renewed, Some(fence), "renewed in between");
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                        assert_eq!(store.lease("job", me, Duration::ZERO).await.unwrap(), None);
                        turns += 1;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a holder ends well");
    }
}

pub(crate) async fn lapsing_leases_raise_every_fence(lab: &mut Lab) {
    let Some(clock) = lab.clock() else { return };
    let mut fences = vec![0];
    for round in 0..10 {
        let ttl = Duration::from_secs(10);
        let asked = (0..12).map(|n| {
            lab.store()
                .lease("job", id(&format!("h{}", (n + round) % 12)), ttl)
                .map_ok_or_else(|error| panic!("{error}"), |fence| fence)
        });
        let given: Vec<u64> = join_all(asked).await.into_iter().flatten().collect();
        assert_eq!(given.len(), 1, "one of a dozen gets it");
        assert!(given[0] > *fences.last().unwrap(), "{given:?} after {fences:?}");
        fences.extend(given);
        clock.advance(ttl);
    }
}
