//! The power fails at every step and at every byte, and the disk fails in every operation: everything acknowledged is there, and
//! nothing is half there.
//!
//! `CRASH_POINTS=10000` (or more) makes the run longer; without it a run takes seconds.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{collections::BTreeMap, io::Write as _, path::Path, sync::Arc, time::Duration};

use common::{
    batch,
    disk::{Disk, Event, Fault, Image, Luck, Model},
    id, ingest, schema,
};
use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::{Backend, Committed, Error, Expect, Move, Patch, Relocate as _, Result, Write},
};
use fleet_storage_json::{JsonOptions, JsonStore};
use futures::{FutureExt as _, StreamExt as _};

const ROOT: &str = "/data/json";

fn root() -> &'static Path {
    Path::new(ROOT)
}

/// One call, or a moment in the life of the store.
#[derive(Clone, Copy, Debug)]
enum Call {
    Commit(u128),
    Ingest(u128, i64),
    Trim(i64),
    Compact(u64),
    Lease(u128),
    Checkpoint,
    Reopen,
    /// So many commits from this number on, at the same time.
    Together(u128, usize),
}

use Call::{Checkpoint, Commit, Compact, Ingest, Lease, Reopen, Together, Trim};

impl Call {
    /// The calls that it stands for.
    fn each(self) -> Vec<Self> {
        match self {
            Together(first, count) => (first..).take(count).map(Commit).collect(),
            one => vec![one],
        }
    }
}

/// Short, and with everything in it that the journal and snapshots know.
const SHORT: &[Call] = &[
    Commit(1),
    Ingest(1, 5),
    Lease(7),
    Checkpoint,
    Commit(2),
    Ingest(2, 9),
    Trim(6),
    Checkpoint,
    Commit(3),
    Compact(1),
    Reopen,
    Together(4, 4),
];

/// As many rounds as are asked for.
fn script(rounds: usize) -> Vec<Call> {
    let mut calls = SHORT.to_vec();
    for round in 0..rounds as u128 {
        let n = 10 * (round + 1);
        calls.extend([Commit(n), Ingest(n, 9), Ingest(n + 1, 86_400_000_000), Commit(n + 1)]);
        calls.extend([Checkpoint, Lease(n), Together(n + 2, 5), Trim(7), Commit(n + 7)]);
        if round % 3 == 2 {
            calls.extend([Compact(n as u64 / 2), Reopen]);
        }
    }
    calls
}

fn asked() -> usize {
    let asked = std::env::vars().find(|(name, _)| name == "CRASH_POINTS");
    asked.and_then(|(_, points)| points.parse().ok()).unwrap_or(0)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("somebody listens");
}

async fn open(disk: &Disk) -> Result<JsonStore> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let options = JsonOptions {
        linger: Duration::ZERO,
        segment_bytes: 2_000,
        ..JsonOptions::default()
    };
    let store = JsonStore::open_on(Arc::new(disk.clone()), root(), options, clock).await?;
    match store.prepare(&schema()).await {
        Ok(_) => Ok(store),
        Err(error) => {
            let _ = store.close().await;
            Err(error)
        }
    }
}

/// The batch of a number; it can be committed once.
fn once(n: u128) -> fleet_core::store::Batch {
    let mut batch = batch(n);
    for write in &mut batch.writes {
        if let Write::Put { expect, .. } = write {
            *expect = Expect::Absent;
        }
    }
    batch
}

/// Makes a call; the answer to a commit is kept.
async fn call(store: &mut Option<JsonStore>, disk: &Disk, call: Call) -> Result<Option<Committed>> {
    if store.is_none() {
        *store = Some(open(disk).await?);
    }
    let open_store = store.as_ref().unwrap();
    match call {
        Commit(n) => return open_store.commit(once(n)).await.map(Some),
        Ingest(n, at) => open_store.ingest(ingest(n, at)).await?,
        Trim(before) => drop(open_store.trim("sample", before).await?),
        Compact(upto) => drop(open_store.compact(upto).await?),
        Lease(holder) => drop(open_store.lease("job", id(holder), Duration::from_secs(60)).await?),
        Checkpoint => open_store.checkpoint().await?,
        Reopen => {
            open_store.close().await?;
            *store = None;
            *store = Some(open(disk).await?);
        }
        Together(first, count) => {
            let answers = together(open_store, disk, first, count).await;
            return answers.into_iter().collect::<Result<Vec<_>>>().map(|mut all| all.pop());
        }
    }
    Ok(None)
}

/// Commits at the same time: while the disk is busy with the first, the others come together.
async fn together(store: &JsonStore, disk: &Disk, first: u128, count: usize) -> Vec<Result<Committed>> {
    let mut calls = futures::future::join_all((first..).take(count).map(|n| store.commit(once(n))));
    let stalled = disk.stall();
    let answers = (&mut calls).now_or_never();
    drop(stalled);
    match answers {
        Some(answers) => answers,
        None => calls.await,
    }
}

/// Everything that can be seen without a change: records, commit order, the feed and where it begins.
async fn seen(store: &JsonStore) -> String {
    let backend: &dyn Backend = store;
    let mut records = backend.view().await.unwrap().export();
    let mut last = None;
    while let Some(record) = records.next().await {
        last = Some(record.unwrap());
    }
    let mut told = format!("{last:?}");
    let mut after = 0;
    loop {
        let mut changes = backend.changes(after).await.unwrap();
        match changes.next().now_or_never().flatten() {
            Some(Err(Error::Compacted(floor))) => {
                told.push_str(&format!(" compacted {floor}"));
                after = floor;
            }
            Some(first) => {
                told.push_str(&format!(" {first:?}"));
                while let Some(Some(change)) = changes.next().now_or_never() {
                    told.push_str(&format!(" {change:?}"));
                }
                return told;
            }
            None => return told,
        }
    }
}

/// A run without any fault: what the disk was told, and what could be seen after each call.
struct Run {
    log: Vec<Event>,
    /// How many calls are made at once after so many.
    together: BTreeMap<usize, usize>,
    /// What can be seen after so many calls.
    seen: Vec<String>,
    answers: Vec<(Call, Option<Committed>)>,
}

async fn run(calls: &[Call]) -> Run {
    let (disk, reference) = (Disk::default(), Disk::default());
    let mut store = Some(open(&disk).await.unwrap());
    // What can be seen after each call does not depend on which calls share a write.
    let mut alone = Some(open(&reference).await.unwrap());
    let mut run = Run {
        log: Vec::new(),
        together: BTreeMap::new(),
        seen: vec![seen(alone.as_ref().unwrap()).await],
        answers: Vec::new(),
    };
    disk.answered(0);
    for each in calls {
        run.together.insert(run.answers.len(), each.each().len());
        call(&mut store, &disk, *each).await.unwrap();
        for one in each.each() {
            let answer = call(&mut alone, &reference, one).await.unwrap();
            run.seen.push(seen(alone.as_ref().unwrap()).await);
            run.answers.push((one, answer));
        }
        disk.answered(run.answers.len());
        let unsynced = disk.unsynced(&root().join("journal"));
        assert_eq!(unsynced, 0, "{each:?} was answered before it was synchronised");
        assert_eq!(Some(&seen(store.as_ref().unwrap()).await), run.seen.last());
    }
    run.log = disk.log();
    store.unwrap().close().await.unwrap();
    alone.unwrap().close().await.unwrap();
    run
}

/// Opens what the loss of power left.
async fn check(run: &Run, image: &Image, answered: Option<usize>, what: &(dyn Fn() -> String + Sync), deep: bool) {
    let disk = Disk::of(image);
    let store = open(&disk).await.unwrap_or_else(|error| panic!("{}: {error}", what()));
    let is = seen(&store).await;
    let (first, last) = match answered {
        None => (0, 0),
        Some(answered) => (answered, answered + run.together.get(&answered).copied().unwrap_or(0)),
    };
    assert!(
        run.seen[first..=last].contains(&is),
        "{}: after {first} answers there is\n{is}\nand not\n{}",
        what(),
        run.seen[first..=last].join("\nor\n")
    );
    if deep {
        assert_eq!(store.check().await.unwrap(), [], "{}", what());
        // What was answered is answered the same, as long as it is remembered.
        for (each, answer) in &run.answers[..first] {
            if let (Commit(n), Some(before)) = (each, answer) {
                match store.commit(once(*n)).await {
                    Ok(committed) => assert_eq!(committed, *before, "{}", what()),
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{}: {error}", what()),
                }
            }
        }
        store.commit(once(999_999)).await.unwrap();
        let with = seen(&store).await;
        store.close().await.unwrap();
        let lost = Disk::of(&disk.image(Luck::LOST, root()));
        let again = open(&lost).await.unwrap_or_else(|error| panic!("{}: {error}", what()));
        assert_eq!(seen(&again).await, with, "{}", what());
        again.close().await.unwrap();
    }
}

/// Walks through the log and tries every moment; `stride` bytes between two cuts of a journal write.
async fn try_all(run: &Run, stride: usize) -> usize {
    let mut model = Model::default();
    let (mut answered, mut points) = (None, 0);
    for (position, event) in run.log.iter().enumerate() {
        if let Event::Write { node, bytes } = event {
            let path = model.name(*node).cloned().unwrap_or_default();
            let journal = path.parent() == Some(&root().join("journal"));
            let step = if journal { stride } else { stride * 97 };
            for cut in (0..bytes.len()).step_by(step) {
                let what =
                    |part: &str| format!("event {position}: {part} of {cut} bytes of {} in {path:?}", bytes.len());
                // The end of the write is missing; or its begin, since pages reach the disk in any order.
                let mut torn = model.image(Luck::KEPT, root());
                let file = torn.files.entry(path.clone()).or_default();
                file.extend_from_slice(&bytes[..cut]);
                check(run, &torn, answered, &|| what("the first"), points % 97 == 0).await;
                let mut hole = model.image(Luck::KEPT, root());
                let file = hole.files.entry(path.clone()).or_default();
                file.resize(file.len() + cut, 0);
                file.extend_from_slice(&bytes[cut..]);
                check(run, &hole, answered, &|| what("all but the first"), points % 97 == 50).await;
                points += 2;
            }
        }
        if let Event::Answered(calls) = event {
            answered = Some(*calls);
        }
        model.apply(event);
        for luck in Luck::all() {
            let what = || format!("event {position} ({event:?}) with {luck:?}");
            check(run, &model.image(luck, root()), answered, &what, points % 31 == 0).await;
            points += 1;
        }
    }
    points
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_of_power_at_any_moment_loses_nothing_that_was_acknowledged() {
    let (mut points, mut rounds) = (0, 0);
    loop {
        let run = run(&script(rounds)).await;
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches(r#""synced":"#).count();
        let shared = |event: &Event| matches!(event, Event::Write { bytes, .. } if lines(bytes) > 1);
        assert!(run.log.iter().any(shared), "calls at the same time share a write");
        points += try_all(&run, 1).await;
        rounds += 2;
        if points >= asked() {
            break;
        }
    }
    say(&format!("{points} crash points\n"));
    assert!(points > 3_000);
}

/// What a run on a failing disk was told.
async fn run_with(fault: Fault, at: u64, calls: &[Call]) -> (Disk, Vec<(Call, Result<Option<Committed>>)>) {
    let disk = Disk::default();
    disk.fail(fault, at);
    let mut store = open(&disk).await.ok();
    let mut answers = Vec::new();
    for each in calls {
        if let (Together(first, count), Some(store)) = (each, &store) {
            let all = together(store, &disk, *first, *count).await;
            let all = all.into_iter().map(|answer| answer.map(Some));
            answers.extend(each.each().into_iter().zip(all));
            continue;
        }
        for each in each.each() {
            let answer = call(&mut store, &disk, each).await;
            answers.push((each, answer));
        }
    }
    if let Some(store) = store {
        let _ = store.close().await;
    }
    (disk, answers)
}

/// Nothing but the two outcomes that a failing disk may have.
fn is_fitting(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Unknown(_))
}

async fn fails_in_every_operation(fault: Fault) {
    let (mut at, mut points) = (1, 0);
    loop {
        let (disk, answers) = run_with(fault, at, SHORT).await;
        if !disk.struck() {
            break;
        }
        for luck in Luck::all() {
            let image = disk.image(luck, root());
            let what = format!("{fault:?} at operation {at} with {luck:?}");
            let again = Disk::of(&image);
            let store = open(&again).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut view = store.view().await.unwrap();
            for (each, answer) in &answers {
                let n = match each {
                    Commit(n) => *n,
                    _ => {
                        assert!(
                            answer.is_ok() || answer.as_ref().is_err_and(is_fitting),
                            "{what}: {answer:?}"
                        );
                        continue;
                    }
                };
                let there = view.get(&[common::device(n)]).await.unwrap()[0].is_some();
                match answer {
                    Ok(_) => assert!(there, "{what}: commit {n} was acknowledged and is lost"),
                    Err(Error::Unavailable(_)) => assert!(!there, "{what}: commit {n} was not written and is there"),
                    Err(Error::Unknown(_)) => {}
                    Err(other) => panic!("{what}: {other}"),
                }
            }
            for (each, answer) in &answers {
                if let (Ingest(n, _), Ok(_)) = (each, answer) {
                    let key = fleet_core::store::Key::new("state", id(*n));
                    assert!(
                        view.latest(&[key]).await.unwrap()[0].is_some(),
                        "{what}: ingest {n} is lost"
                    );
                }
            }
            let head = view.chain_head("audit").await.unwrap().map_or(0, |link| link.number);
            let documents = view.count("device", &fleet_core::store::Filter::All).await.unwrap();
            assert_eq!(head, documents, "{what}: a batch is there by half");
            drop(view);
            assert_eq!(store.check().await.unwrap(), [], "{what}");
            store.commit(once(999_999)).await.unwrap();
            store.close().await.unwrap();
            points += 1;
        }
        at += 1;
    }
    say(&format!(
        "{fault:?}: {points} crash points after {} failing operations\n",
        at - 1
    ));
    assert!(at > 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_once_loses_nothing() {
    fails_in_every_operation(Fault::Broken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronisation_that_fails_is_not_believed_later() {
    fails_in_every_operation(Fault::Sync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing() {
    fails_in_every_operation(Fault::Full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_loses_nothing() {
    fails_in_every_operation(Fault::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_survive_in_their_order() {
    let disk = Disk::default();
    let source = open(&disk).await.unwrap();
    for n in 1..=6 {
        source.commit(once(n)).await.unwrap();
    }
    let backend: &dyn Backend = &source;
    let records = backend.view().await.unwrap().records(None, 1_000).await.unwrap();
    let disk = Disk::default();
    let target = open(&disk).await.unwrap();
    let origin = Move {
        id: id(1),
        peer: "json:elsewhere".into(),
        at: Timestamp::from_seconds(1),
    };
    disk.answered(0);
    target.fill(origin.clone()).await.unwrap();
    disk.answered(1);
    let mut counts = vec![0];
    for (n, chunk) in (2..).zip(records.chunks(5)) {
        let patch = Patch {
            seq: 6,
            removed: Vec::new(),
            records: chunk.to_vec(),
        };
        counts.push(counts.last().unwrap() + chunk.len());
        target.patch(patch).await.unwrap();
        disk.answered(n);
        if n == 3 {
            target.checkpoint().await.unwrap();
        }
    }
    let (mut model, mut answered) = (Model::default(), None);
    for event in disk.log() {
        if let Event::Answered(calls) = event {
            answered = Some(calls);
        }
        model.apply(&event);
        for luck in Luck::all() {
            let store = open(&Disk::of(&model.image(luck, root()))).await.unwrap();
            let held = store.view().await.unwrap().records(None, 1_000).await.unwrap();
            let standing = store.standing().await.unwrap();
            if let Some(answered) = answered.filter(|answered| *answered > 0) {
                assert_eq!(standing.origin.as_ref(), Some(&origin));
                let next = counts.get(answered).copied().unwrap_or(usize::MAX);
                assert!(held.len() == counts[answered - 1] || held.len() == next);
            }
            assert_eq!(held, records[..held.len()], "a prefix, in order");
            store.close().await.unwrap();
        }
    }
    target.close().await.unwrap();
    source.close().await.unwrap();
}
