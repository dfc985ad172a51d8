//! Writers that go on whatever happens, and what has to hold afterwards.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fleet_core::store::{Backend as _, Direction, Error, Filter, ReadRows, Record, View};
use fleet_storage_postgres::PostgresStore;
use tokio::{sync::Mutex, task::JoinSet, time::sleep};

use crate::common::{batch, id, ingest};

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(Arc<Mutex<(BTreeSet<u128>, BTreeSet<u128>)>>);

impl Acknowledged {
    pub async fn count(&self) -> usize {
        let told = self.0.lock().await;
        told.0.len() + told.1.len()
    }
}

/// Commits and ingests these numbers, each until it is acknowledged: what is unknown or was not written is sent again.
pub fn write(
    tasks: &mut JoinSet<()>,
    store: &PostgresStore,
    numbers: std::ops::Range<u128>,
    acknowledged: &Acknowledged,
) {
    const WRITERS: usize = 8;
    for writer in 0..WRITERS {
        let (store, acknowledged, numbers) = (store.clone(), acknowledged.clone(), numbers.clone());
        tasks.spawn(async move {
            for n in numbers.skip(writer).step_by(WRITERS) {
                while !attempt(&store, n).await {
                    sleep(Duration::from_millis(20)).await;
                }
                let mut told = acknowledged.0.lock().await;
                if n.is_multiple_of(3) {
                    told.1.insert(n);
                } else {
                    told.0.insert(n);
                }
            }
        });
    }
}

async fn attempt(store: &PostgresStore, n: u128) -> bool {
    let done = if n.is_multiple_of(3) {
        store.ingest(ingest(n, 9)).await
    } else {
        store.commit(batch(n)).await.map(drop)
    };
    match done {
        Ok(()) => true,
        Err(Error::Unavailable(_) | Error::Unknown(_)) => false,
        Err(other) => panic!("{n}: a connection that breaks is no reason for {other:?}"),
    }
}

/// Everything acknowledged is there, once, each batch as a whole, nothing else is, and nothing is damaged. No writer may be at work.
pub async fn check(store: &PostgresStore, acknowledged: &Acknowledged) {
    let told = acknowledged.0.lock().await;
    let mut view = store.view().await.unwrap();
    let (mut documents, mut values, mut audits, mut samples) = (vec![], vec![], vec![], vec![]);
    let mut after = None;
    loop {
        let page = view.records(after, 1_000).await.unwrap();
        let Some(last) = page.last().and_then(Record::key) else {
            break;
        };
        for record in page {
            match record {
                Record::Doc(doc) => {
                    assert_eq!(doc.rev, 1, "commit {} was made twice", doc.key);
                    documents.push(doc.key.id.as_u128());
                }
                Record::Latest(latest) => values.push(latest.key.id.as_u128()),
                Record::Row("audit", stored) => audits.push(stored.row.stream.as_u128()),
                Record::Row(_, stored) => samples.push(stored.row.stream.as_u128()),
                Record::End { .. } => {}
            }
        }
        after = Some(last);
    }
    // Streams are in order, and each has one row: what is there twice, by half or not at all shows as a difference.
    let commits: Vec<u128> = told.0.iter().copied().collect();
    let ingests: Vec<u128> = told.1.iter().copied().collect();
    let both: Vec<u128> = told.0.union(&told.1).copied().collect();
    assert_eq!(documents, commits, "documents are not the commits");
    assert_eq!(audits, commits, "commits are there by half");
    assert_eq!(values, ingests, "values are not the ingests");
    assert_eq!(samples, both, "ingests or commits are there by half");
    let head = view.chain_head("audit").await.unwrap();
    assert_eq!(head.map_or(0, |link| link.number), commits.len() as u64);
    assert_eq!(view.seq(), commits.len() as u64);
    drop(view);
    assert_eq!(store.check().await.unwrap(), []);
}

pub async fn rows(view: &mut dyn View, lane: &'static str, stream: u128) -> usize {
    let read = ReadRows {
        lane,
        stream: Some(id(stream)),
        filter: Filter::All,
        from: None,
        to: None,
        direction: Direction::Ascending,
        after: None,
        limit: 100,
    };
    view.rows(&read).await.unwrap().rows.len()
}

/// Whether the runner asked for the long mode.
pub fn long() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test is told how long it may take")]
    let said = std::env::var("FLEET_TEST_LONG");
    said.is_ok()
}

/// A number from the environment.
pub fn knob(name: &str, default: u128) -> u128 {
    #[expect(clippy::disallowed_methods, reason = "who runs the tests decides how long they take")]
    let said = std::env::var(name);
    said.map_or(default, |text| text.parse().expect("the variable holds a number"))
}
