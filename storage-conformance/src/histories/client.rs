//! What a client does.

use std::sync::Arc;

use fleet_core::store::{Backend, Batch, Committed, Expect, Key, Latest, View};
use futures::StreamExt as _;

use super::{Call, Look, Moments, What, refusal};
use crate::{dsl::*, random::Random};

/// Things that a client does.
const TURNS: usize = 14;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const TEXTS: [&str; 4] = ["", "x", "X", "é"];

/// One client's turns.
pub(super) async fn client(store: Arc<dyn Backend>, moments: Moments, mut random: Random, number: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut mine: Vec<Batch> = Vec::new();
    for turn in 0..TURNS {
        let id = (u128::from(number) << 64) | (turn as u128 + 1);
        match random.below(12) {
            0..=2 => {
                let batch = batch(id, drawn(&mut random));
                mine.push(batch.clone());
                calls.push(commit(&*store, &moments, batch).await);
            }
            3..=5 => {
                let (looked, batch) = appended(&*store, &moments, &mut random, id).await;
                calls.push(looked);
                mine.push(batch.clone());
                calls.push(commit(&*store, &moments, batch).await);
            }
            6 | 7 => {
                let batch = batch(id, drawn(&mut random));
                mine.push(batch.clone());
                calls.push(dropped(&store, &moments, batch, random.below(6)).await);
            }
            8 if !mine.is_empty() => {
                let again = mine[random.below(mine.len())].clone();
                calls.push(commit(&*store, &moments, again).await);
            }
            9 => calls.push(ingested(&*store, &moments, &mut random, number, turn).await),
            _ => calls.push(look(&*store, &moments, random.next()).await),
        }
        if random.below(3) == 0 {
            tokio::task::yield_now().await;
        }
    }
    calls
}

/// Writes that know nothing of what is there.
fn drawn(random: &mut Random) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let first = random.below(NAMES.len());
    for n in 0..1 + random.below(3) {
        let name = NAMES[(first + n) % NAMES.len()];
        let expect = match random.below(8) {
            0 => Expect::Absent,
            1 => Expect::Present,
            2 => Expect::Rev(1 + random.below(6) as u64),
            _ => Expect::Any,
        };
        let mut step = match random.below(8) {
            0 => delete(name),
            1 => check(name),
            _ => put(name)
                .size(random.below(4) as i64)
                .name(random.of(&TEXTS))
                .tags([random.of(&TEXTS)]),
        };
        if random.below(4) == 0 && !step.is_delete() {
            step = step.code(random.of(&TEXTS));
        }
        steps.push(step.expect(expect));
    }
    if random.below(2) == 0 {
        // Often the place of another row: identical, or in conflict.
        let at = random.below(12) as i64;
        steps.push(row("log", random.of(&NAMES), at).level(random.below(2) as i64));
    }
    if random.below(3) == 0 {
        steps.push(row("ledger", random.of(&NAMES), random.below(40) as i64));
    }
    steps
}

/// Reads one or two documents, and writes them under the revisions that it read.
async fn appended(store: &dyn Backend, moments: &Moments, random: &mut Random, id: u128) -> (Call, Batch) {
    let seen = look(store, moments, random.next()).await;
    let mut view = store.view().await.expect("a view is given");
    let first = random.below(NAMES.len());
    let mut steps = Vec::new();
    for n in 0..1 + random.below(2) {
        let name = NAMES[(first + n) % NAMES.len()];
        let doc = view.get(&[key(name)]).await.expect("it can be read").remove(0);
        let expect = doc.map_or(Expect::Absent, |doc| Expect::Rev(doc.rev));
        steps.push(
            put(name)
                .size(random.below(9) as i64)
                .field("mark", vec![n as i64])
                .expect(expect),
        );
    }
    drop(view);
    if random.below(2) == 0 {
        tokio::task::yield_now().await;
    }
    (seen, batch(id, steps))
}

/// The batch that a call committed.
pub(super) fn committed(call: &Call) -> Option<&Batch> {
    match &call.what {
        What::Commit(batch, Ok(_)) => Some(batch),
        _ => None,
    }
}

pub(super) async fn commit(store: &dyn Backend, moments: &Moments, batch: Batch) -> Call {
    let begun = moments.now();
    let answer = answer(store, &batch).await;
    Call {
        begun,
        ended: moments.now(),
        what: What::Commit(batch, answer),
    }
}

/// The answer to a batch; asked for again as long as it is not known.
async fn answer(store: &dyn Backend, batch: &Batch) -> Result<Committed, String> {
    loop {
        match store.commit(batch.clone()).await {
            Err(fleet_core::store::Error::Unknown(_)) => tokio::task::yield_now().await,
            answer => return answer.map_err(|error| refusal(&error)),
        }
    }
}

/// Drops a commit at some moment, and asks by its id what became of it.
async fn dropped(store: &Arc<dyn Backend>, moments: &Moments, batch: Batch, yields: usize) -> Call {
    let begun = moments.now();
    let task = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { drop(store.commit(batch).await) }
    });
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    task.abort();
    drop(task.await);
    let answer = answer(&**store, &batch).await;
    Call {
        begun,
        ended: moments.now(),
        what: What::Commit(batch, answer),
    }
}

async fn ingested(store: &dyn Backend, moments: &Moments, random: &mut Random, number: u64, turn: usize) -> Call {
    let step = row("tape", &format!("c{number}"), turn as i64);
    let value = latest("state", random.of(&NAMES), (number * 1_000 + turn as u64) as i64);
    let all = ingest([step.clone(), value]);
    let value = Latest {
        key: all.latest[0].key,
        body: all.latest[0].body.clone(),
    };
    let begun = moments.now();
    store.ingest(all).await.expect("nothing stands against it");
    Call {
        begun,
        ended: moments.now(),
        what: What::Ingest(step, value),
    }
}

/// Takes a view, and asks it a few things.
pub(super) async fn look(store: &dyn Backend, moments: &Moments, questions: u64) -> Call {
    let begun = moments.now();
    let mut view = store.view().await.expect("a view is given");
    let ended = moments.now();
    let tape = read_all(&mut *view, read("tape")).await;
    let values = view.latest_page("state", None, 100).await.expect("values are read");
    let look = Look {
        seq: view.seq(),
        questions,
        answers: answers(&mut *view, questions).await,
        tape,
        values: values.into_iter().map(|latest| (latest.key.id, latest.body)).collect(),
    };
    Call {
        begun,
        ended,
        what: What::Look(look),
    }
}

/// What a view answers to the questions of this number.
pub(super) async fn answers(view: &mut dyn View, questions: u64) -> Vec<String> {
    let mut random = Random::new(questions);
    let mut answers = Vec::new();
    let keys: Vec<Key> = NAMES.iter().map(|name| key(name)).collect();
    answers.push(format!("{:?}", view.get(&keys).await.expect("documents are read")));
    for _ in 0..3 {
        let limit = 1 + random.below(4);
        answers.push(match random.below(7) {
            0 => listed(view, all().by("size").limit(limit)).await,
            1 => listed(view, list(eq("tag", random.of(&TEXTS))).by("name").down().limit(limit)).await,
            2 => tallied(view, not(eq("size", 1)), "tag").await,
            3 => view
                .count("thing", &eq("name", random.of(&TEXTS)))
                .await
                .expect("it is counted")
                .to_string(),
            4 => read_all(view, read("log").filter(eq("level", 1)).down().limit(limit)).await,
            5 => read_all(view, read("ledger").limit(limit)).await,
            _ => format!("{:?}", view.chain_head("ledger").await.expect("a head is read")),
        });
    }
    answers
}

/// The feed from the beginning to the last batch.
pub(super) async fn follow(store: Arc<dyn Backend>) -> Vec<String> {
    let mut changes = store.changes(0).await.expect("the feed is followed");
    let mut told = Vec::new();
    // A feed that loses the last batch would be followed for ever.
    while let Ok(Some(Ok(change))) = tokio::time::timeout(PATIENCE, changes.next()).await {
        let change = tell(&change);
        let last = change.contains(" bare/end@");
        told.push(change);
        if last {
            break;
        }
    }
    told
}
