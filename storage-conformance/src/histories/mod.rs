//! Concurrent histories: several clients do drawn things at once, and one order of commits must explain every answer.
//!
//! Each client commits (blindly, under revisions that it has read, or again), drops commits and settles them by their id,
//! ingests, and looks at views. All that was asked and answered is noted with the moments of its beginning and end
//! (`client.rs`). Then the commits are replayed on the reference backend in the order of their places (`explain.rs`):
//!
//! - each place has exactly one batch, and the model gives it the same answer there: revisions, conflicts, repeats;
//! - each refusal is what the model answers at some place between the call's beginning and its end;
//! - each view is exactly the model at one place, which was there when the view was asked for or came before it was given:
//!   what was acknowledged before is in it, what began afterwards is not;
//! - the feed, whoever followed it and whenever, is that of the model; and at the end both export the same digest.

mod client;
mod explain;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fleet_core::store::{Batch, Committed, Error, Latest, Seq};
use uuid::Uuid;

use crate::{Harness, Lab, dsl::*, random::Random, run::runtime};

/// Clients at once.
const CLIENTS: u64 = 5;

/// What was asked, and what was answered.
#[derive(Clone, Debug)]
struct Call {
    begun: u64,
    ended: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Commit(Batch, Result<Committed, String>),
    /// A row and a value, which were taken.
    Ingest(Step, Latest),
    Look(Look),
}

/// What a view showed.
#[derive(Clone, Debug)]
struct Look {
    seq: Seq,
    /// Answers to the questions of this number.
    questions: u64,
    answers: Vec<String>,
    /// What was ingested by then.
    tape: String,
    values: Vec<(Uuid, bytes::Bytes)>,
}

/// Counts moments over all clients.
#[derive(Clone, Debug, Default)]
struct Moments(Arc<AtomicU64>);

impl Moments {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A refusal as it can be compared: in full where the contract says what it names, else its variant.
fn refusal(error: &Error) -> String {
    match error {
        Error::Conflict { .. } | Error::BatchReused(_) => error.to_string(),
        other => variant(other).to_owned(),
    }
}

/// Runs `rounds` concurrent histories on new stores, and panics when one cannot be explained; the first has the seed `seed`,
/// the next one `seed + 1`. What clients do follows from the seed, how they meet does not. The macro
/// [`histories_test`](crate::histories_test) calls it.
pub fn check_histories(harness: impl Harness, seed: u64, rounds: u64) {
    let harness: Arc<dyn Harness> = Arc::new(harness);
    for seed in (seed..).take(usize::try_from(rounds).unwrap_or(usize::MAX)) {
        let runtime = runtime();
        let problem = runtime.block_on(runtime.spawn(round(harness.clone(), seed)));
        runtime.shutdown_background();
        match problem {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => panic!("{problem}\ntry it again with CONFORMANCE_SEED={seed} CONFORMANCE_ROUNDS=20"),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

async fn round(harness: Arc<dyn Harness>, seed: u64) -> Result<(), String> {
    let mut lab = Lab::open(harness, "answers_are_explained_by_one_order").await;
    let moments = Moments::default();
    let mut calls = Vec::new();
    let mut followers = Vec::new();
    // Some stores are closed and opened again in between: the history goes on.
    let parts = if lab.reopens() && seed.is_multiple_of(3) { 2 } else { 1 };
    for part in 0..parts {
        if part > 0 && !lab.reopen().await {
            break;
        }
        // What was asked before is asked again: opening forgets no answers.
        let earlier: Vec<Batch> = calls.iter().filter_map(client::committed).step_by(4).cloned().collect();
        for batch in earlier {
            calls.push(client::commit(&**lab.store(), &moments, batch).await);
        }
        followers.clear();
        followers.push(tokio::spawn(client::follow(lab.store().clone())));
        let clients = (0..CLIENTS).map(|client| {
            let random = Random::new(seed * 1_000 + part * 100 + client);
            tokio::spawn(client::client(
                lab.store().clone(),
                moments.clone(),
                random,
                (part << 8) | client,
            ))
        });
        for client in clients.collect::<Vec<_>>() {
            calls.extend(client.await.expect("a client ends well"));
        }
    }
    followers.push(tokio::spawn(client::follow(lab.store().clone())));
    let end = batch(u128::MAX, [put("end").kind("bare")]);
    let begun = moments.now();
    let answer = lab.store().commit(end.clone()).await.map_err(|error| refusal(&error));
    calls.push(Call {
        begun,
        ended: moments.now(),
        what: What::Commit(end, answer),
    });
    calls.push(client::look(&**lab.store(), &moments, 0).await);
    let mut feeds = Vec::new();
    for follower in followers {
        feeds.push(follower.await.expect("a follower ends well"));
    }
    let exported = lab.export().await;
    let findings = lab.store().check().await.expect("a store is checked");
    if !findings.is_empty() {
        return Err(format!("check() finds {findings:?}"));
    }
    explain::explain(&calls, &feeds, exported.last()).await
}
