//! Writers who remember what was acknowledged, and find it again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fleet_core::store::{Backend, Error, verify_chain};
use tokio::task::JoinHandle;

use crate::dsl::*;

/// Writers that work until they are told to stop, or are refused.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Acknowledged>>,
}

/// What one writer was told is written.
pub(crate) struct Acknowledged {
    /// Its number.
    writer: u64,
    /// Rounds that were taken.
    pub(crate) commits: i64,
    pub(crate) ingests: i64,
    /// How it ended, if it was refused.
    pub(crate) refusal: Option<Error>,
}

impl Writers {
    /// Several of them, with a moment between two rounds.
    pub(crate) fn begin(store: &Arc<dyn Backend>, count: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..count).map(|writer| tokio::spawn(work(Arc::clone(store), writer, Arc::clone(&stop))));
        Self {
            tasks: tasks.collect(),
            stop,
        }
    }

    /// What was acknowledged to each.
    pub(crate) async fn end(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::SeqCst);
        self.join().await
    }

    /// The same, when they were refused.
    pub(crate) async fn join(self) -> Vec<Acknowledged> {
        let mut done = Vec::new();
        for task in self.tasks {
            done.push(task.await.expect("a writer does not panic"));
        }
        done
    }
}

/// One writer: each round replaces, creates, deletes and creates anew, appends to lanes, and sets a latest value.
async fn work(store: Arc<dyn Backend>, writer: u64, stop: Arc<AtomicBool>) -> Acknowledged {
    let mut acknowledged = Acknowledged {
        writer,
        commits: 0,
        ingests: 0,
        refusal: None,
    };
    while !stop.load(Ordering::SeqCst) {
        let n = acknowledged.commits + 1;
        let gone = format!("g{writer}-{}", n % 5);
        let steps = [
            put(&format!("c{writer}")).size(n),
            put(&format!("n{writer}-{n:05}")).kind("bare").raw(format!("{n}")),
            if n % 2 == 0 { put(&gone).size(n) } else { delete(&gone) },
            // A unique value goes round: whoever has it loses it in the same batch.
            put(&format!("u{writer}-{}", n % 3)).code(&format!("z{writer}")),
            put(&format!("u{writer}-{}", (n + 1) % 3)),
            put(&format!("u{writer}-{}", (n + 2) % 3)),
            row("ledger", &format!("l{writer}"), n),
            row("log", &format!("l{writer}"), n),
        ];
        let id = (u128::from(writer) + 1) << 96 | u128::try_from(n).unwrap_or(0);
        match store.commit(batch(id, steps)).await {
            Ok(_) => acknowledged.commits = n,
            Err(error) => {
                acknowledged.refusal = Some(error);
                return acknowledged;
            }
        }
        let n = acknowledged.ingests + 1;
        let ingested = store
            .ingest(ingest([
                latest("gauge", &format!("w{writer}"), n),
                row("tape", &format!("l{writer}"), n),
            ]))
            .await;
        match ingested {
            Ok(()) => acknowledged.ingests = n,
            Err(error) => {
                acknowledged.refusal = Some(error);
                return acknowledged;
            }
        }
        // Far less than the slowest pair can carry on a busy machine.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    acknowledged
}

impl Acknowledged {
    /// Everything that was acknowledged is there, once; and nothing that was refused.
    pub(crate) async fn check(&self, store: &Arc<dyn Backend>) {
        let Self {
            writer,
            commits,
            ingests,
            ..
        } = self;
        let mut view = store.view().await.expect("a view is given");
        let counter = view
            .get(&[key(&format!("c{writer}"))])
            .await
            .expect("documents are read");
        let revision = counter[0].as_ref().map_or(0, |doc| doc.rev);
        assert_eq!(
            revision,
            u64::try_from(*commits).unwrap_or(0),
            "writer {writer}: each commit once"
        );
        let created = (1..=*commits).map(|n| fleet_core::store::Key::new("bare", id(&format!("n{writer}-{n:05}"))));
        for keys in created.collect::<Vec<_>>().chunks(1_000) {
            for doc in view.get(keys).await.expect("documents are read") {
                assert_eq!(doc.expect("an acknowledged document is there").rev, 1);
            }
        }
        let expected = |rows: i64| {
            (1..=rows)
                .map(|at| format!("l{writer}@{at}.0"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (lane, rows) in [("ledger", *commits), ("log", *commits), ("tape", *ingests)] {
            let found = read_all(&mut *view, read(lane).stream(&format!("l{writer}")).limit(1_000)).await;
            assert!(
                found == expected(rows),
                "writer {writer}, {lane}: {} rows, not {rows}",
                found.split(' ').count()
            );
        }
        let gauge = view
            .latest(&[fleet_core::store::Key::new("gauge", id(&format!("w{writer}")))])
            .await;
        let gauge = gauge.expect("latest values are read").remove(0);
        assert_eq!(gauge.as_deref(), Some(format!("{{\"v\":{ingests}}}").as_bytes()));
    }
}

/// What all of them were told is there, and the chain holds.
pub(crate) async fn check_all(acknowledged: &[Acknowledged], store: &Arc<dyn Backend>) {
    for one in acknowledged {
        one.check(store).await;
    }
    let mut view = store.view().await.expect("a view is given");
    let mut reading = read("ledger").limit(1_000);
    let mut rows = Vec::new();
    loop {
        let page = view.rows(&reading.0).await.expect("rows are read");
        rows.extend(page.rows);
        match page.next {
            Some(next) => reading.0.after = Some(next),
            None => break,
        }
    }
    rows.sort_by_key(|stored| stored.link.map(|link| link.number));
    verify_chain(None, rows.iter().map(|stored| (&stored.row, stored.link))).expect("the chain holds");
    assert_eq!(store.check().await.expect("a store is checked"), []);
}
