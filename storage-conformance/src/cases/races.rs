//! Upkeep that races with those who read, write and follow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fleet_core::store::{Backend, Error};
use futures::{StreamExt as _, future::join_all};

use crate::{Lab, dsl::*};

pub(crate) async fn compaction_races_with_followers(lab: &mut Lab) {
    let done = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..6)
        .map(|_| {
            let store = lab.store().clone();
            tokio::spawn(async move {
                // Whoever is overtaken reads anew and goes on from there; nobody misses anything without being told.
                let (mut after, mut seen, mut overtaken) = (0, Vec::new(), 0);
                loop {
                    let mut changes = store.changes(after).await.expect("the feed is followed");
                    loop {
                        let next = tokio::time::timeout(PATIENCE, changes.next())
                            .await
                            .expect("the feed goes on");
                        match next {
                            Some(Ok(change)) => {
                                assert_eq!(change.seq, after + 1, "no gap and no repeat");
                                after = change.seq;
                                seen.push(after);
                                if after == 150 {
                                    return (seen, overtaken);
                                }
                            }
                            Some(Err(Error::Compacted(upto))) => {
                                assert!(upto > after, "only who lags behind is overtaken");
                                after = upto;
                                overtaken += 1;
                                if after >= 150 {
                                    return (seen, overtaken);
                                }
                                break;
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                }
            })
        })
        .collect();
    let compaction = {
        let (store, done) = (lab.store().clone(), done.clone());
        tokio::spawn(async move {
            let mut forgotten = 0;
            while !done.load(Ordering::Relaxed) {
                let newest = store.view().await.unwrap().seq();
                forgotten += store.compact(newest.saturating_sub(5)).await.unwrap();
                tokio::task::yield_now().await;
            }
            forgotten
        })
    };
    for n in 0..150 {
        lab.ok([put("a").size(n)]).await;
        tokio::task::yield_now().await;
    }
    for follower in followers {
        let (seen, overtaken) = follower.await.expect("a follower ends well");
        assert!(
            seen.len() == 150 || overtaken > 0,
            "whoever misses something was told: {} of 150",
            seen.len()
        );
    }
    done.store(true, Ordering::Relaxed);
    assert!(compaction.await.unwrap() <= 150);
}

pub(crate) async fn compactions_at_once_count_each_place_once(lab: &mut Lab) {
    for _ in 0..40 {
        lab.ok([put("a")]).await;
    }
    let counts = join_all((1..=40).map(|upto| lab.store().compact(upto))).await;
    assert_eq!(counts.into_iter().map(Result::unwrap).sum::<u64>(), 40);
    lab.ok([put("b")]).await;
    assert_eq!(lab.feed(40).await, ["41 thing/b@1"]);
}

pub(crate) async fn trims_at_once_count_each_row_once(lab: &mut Lab) {
    lab.ingest((0..600).map(|at| row("log", "s", at).level(at % 5)))
        .await
        .unwrap();
    let trims = join_all((0..10).map(|n| lab.store().trim("log", 50 * (n + 1)))).await;
    assert_eq!(trims.into_iter().map(Result::unwrap).sum::<u64>(), 500);
    assert_eq!(lab.stored_rows(read("log").limit(1_000)).await.len(), 100);
    assert_eq!(
        lab.stored_rows(read("log").filter(eq("level", 1)).limit(1_000))
            .await
            .len(),
        20
    );
}

pub(crate) async fn trims_race_with_readers(lab: &mut Lab) {
    // Whatever a view shows of a lane begins at one moment's bound and has no hole behind it.
    lab.ingest((0..400).map(|at| row("log", ["s", "t"][at as usize % 2], at).level(at % 2)))
        .await
        .unwrap();
    let store = lab.store().clone();
    let trims = tokio::spawn(async move {
        for before in (0..=400).step_by(20) {
            store.trim("log", before).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut first = 0;
    while !trims.is_finished() {
        let mut view = lab.view().await;
        let rows: Vec<i64> = view
            .rows(&read("log").limit(500).0)
            .await
            .unwrap()
            .rows
            .iter()
            .map(|stored| stored.row.at)
            .collect();
        let begin = rows.first().copied().unwrap_or(400);
        assert_eq!(rows, (begin..400).collect::<Vec<_>>(), "no hole");
        assert!(begin >= first, "what is trimmed stays away");
        first = begin;
        let of = |reading: Reading| reading.limit(500).0;
        let streams = view.rows(&of(read("log").stream("s"))).await.unwrap().rows.len()
            + view.rows(&of(read("log").stream("t"))).await.unwrap().rows.len();
        assert_eq!(streams, rows.len(), "streams and lane are of one moment");
        let odd = view
            .rows(&of(read("log").filter(eq("level", 1))))
            .await
            .unwrap()
            .rows
            .len();
        assert_eq!(
            odd,
            rows.iter().filter(|at| *at % 2 == 1).count(),
            "the index is of the same moment"
        );
        tokio::task::yield_now().await;
    }
    trims.await.unwrap();
}

pub(crate) async fn trims_take_only_what_is_older(lab: &mut Lab) {
    // Rows before 0 come and go; rows from 0 on come and stay.
    let appended = join_all((0..40_i64).map(|n| lab.ingest([row("log", "s", n), row("log", "s", -1 - n)])));
    let committed = join_all((100..130_i64).map(|n| lab.commit([row("log", "c", n), row("log", "c", -n)])));
    let trims = async {
        let mut trimmed = 0;
        for _ in 0..10 {
            trimmed += lab.store().trim("log", 0).await.unwrap();
            tokio::task::yield_now().await;
        }
        trimmed
    };
    let (appended, committed, trimmed) = futures::join!(appended, committed, trims);
    assert!(appended.iter().all(Result::is_ok) && committed.iter().all(Result::is_ok));
    let trimmed = trimmed + lab.store().trim("log", 0).await.unwrap();
    assert_eq!(trimmed, 70, "each row is counted when it goes");
    assert_eq!(lab.stored_rows(read("log").limit(500)).await.len(), 70);
}

pub(crate) async fn checks_under_load_find_nothing(lab: &mut Lab) {
    let store = lab.store().clone();
    let writer = tokio::spawn(async move {
        for n in 0..120_u128 {
            let name = format!("d{}", n % 13);
            let step = if n % 5 == 4 {
                delete(&name)
            } else {
                put(&name).size(n as i64).tags(["x"]).code(&name)
            };
            store
                .commit(batch(
                    n,
                    [step, row("ledger", "s", n as i64), row("log", "s", n as i64).level(1)],
                ))
                .await
                .unwrap();
            if n % 10 == 0 {
                store.trim("log", n as i64 - 20).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    });
    let mut checks = 0;
    while !writer.is_finished() || checks == 0 {
        assert_eq!(
            lab.store().check().await.expect("a store is checked"),
            [],
            "check {checks}"
        );
        checks += 1;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

pub(crate) async fn preparation_under_load_changes_nothing(lab: &mut Lab) {
    let writers = join_all((0..100_i64).map(|n| lab.commit([put("a").size(n), row("ledger", "s", n)])));
    let preparations = async {
        for _ in 0..5 {
            let report = lab.store().prepare(&schema()).await.expect("the schema is the same");
            assert_eq!(report, fleet_core::store::SchemaReport::default());
            tokio::task::yield_now().await;
        }
    };
    let (answers, ()) = futures::join!(writers, preparations);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((lab.rev("a").await, lab.seq().await), (Some(100), 100));
}

async fn follow(store: Arc<dyn Backend>, upto: u64) -> Vec<String> {
    let mut changes = store.changes(0).await.expect("the feed is followed");
    let mut told = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, changes.next())
            .await
            .expect("the feed goes on");
        let change = next.expect("the feed does not end").expect("the feed holds no error");
        if change.seq == upto {
            return told;
        }
        told.push(tell(&change));
    }
}

pub(crate) async fn sixty_followers_see_the_same(lab: &mut Lab) {
    let followers: Vec<_> = (0..60).map(|_| tokio::spawn(follow(lab.store().clone(), 41))).collect();
    let answers = join_all((0..40).map(|n| lab.commit([put(&format!("d{}", n % 7)), row("log", "s", n)]))).await;
    assert!(answers.iter().all(Result::is_ok));
    lab.ok([put("end")]).await;
    let own = follow(lab.store().clone(), 41).await;
    assert_eq!(own.len(), 80);
    for follower in followers {
        assert_eq!(follower.await.expect("a follower ends well"), own);
    }
}

pub(crate) async fn followers_that_leave_are_not_missed(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    for n in 0..150 {
        let mut changes = lab.store().changes(n % 2).await.expect("the feed is followed");
        if n % 3 == 0 {
            tokio::time::timeout(Duration::from_millis(1), changes.next())
                .await
                .ok();
        }
    }
    let told = tokio::spawn(follow(lab.store().clone(), 2));
    lab.ok([put("b")]).await;
    assert_eq!(told.await.unwrap(), ["1 thing/a@1"]);
}

pub(crate) async fn exports_under_load_are_of_one_moment(lab: &mut Lab) {
    let store = lab.store().clone();
    let writer = tokio::spawn(async move {
        for n in 0..80_i64 {
            let pair = [
                put("a").size(n),
                put("b").size(n),
                row("ledger", "s", n),
                row("log", "s", n),
            ];
            store.commit(batch(n as u128, pair)).await.unwrap();
            store
                .ingest(ingest([latest("gauge", "a", n), latest("state", "a", n)]))
                .await
                .unwrap();
            if n % 16 == 0 {
                store.trim("log", n - 8).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    });
    let mut exports = 0;
    while !writer.is_finished() || exports == 0 {
        let records = lab.export().await;
        let mut bodies = [Vec::new(), Vec::new()];
        for record in &records {
            match record {
                fleet_core::store::Record::Doc(doc) => bodies[0].push(doc.body.clone()),
                fleet_core::store::Record::Latest(latest) => bodies[1].push(latest.body.clone()),
                _ => {}
            }
        }
        for bodies in bodies {
            assert!(
                bodies.windows(2).all(|pair| pair[0] == pair[1]),
                "two moments in one export: {bodies:?}"
            );
        }
        exports += 1;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
