//! The model test: drawn sequences, run on the backend and on the reference backend, must give equal answers.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::{
        Backend, Batch, Direction, Expect, Filter, Key, Name, Patch, Relocate as _, RowCursor, Value,
        memory::MemoryStore,
    },
};
use futures::StreamExt as _;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::runtime::Runtime;

use crate::{
    Harness, Lab,
    dsl::{self, List, PATIENCE, Reading, Step, id},
    run::runtime,
};

/// Where the clocks begin.
const START: Timestamp = Timestamp::from_seconds(1_000_000_000);

/// One thing that is done on both sides.
#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<Step>),
    /// An earlier batch again, counted from the last.
    Again(usize),
    /// Other contents under the id of an earlier batch.
    Reuse(usize, Vec<Step>),
    Ingest(Vec<Step>),
    Get(Vec<(Name, &'static str)>),
    List(List),
    Count(Filter),
    Tally(Filter, Name),
    Rows(Reading),
    Latest(Name, Option<&'static str>, usize),
    Head,
    Trim(Name, i64),
    Compact(u64),
    Changes(u64),
    Lease(&'static str, &'static str, u64),
    Advance(u64),
    Export,
    Reopen,
    Standing,
    Freeze(u128),
    Fill(u128),
    Patch(u64, Vec<Step>, Vec<(Step, u64, u64)>),
    Serve,
    Clear,
    Track(bool),
    Records(Option<Step>, usize),
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TEXTS: [&str; 8] = ["", "a", "A", "ab", "a%", "b", "é", "😀"];
const NUMBERS: [i64; 7] = [i64::MIN, -1, 0, 1, 2, 3, i64::MAX];

fn name() -> impl Strategy<Value = &'static str> {
    select(NAMES.as_slice())
}

fn text() -> impl Strategy<Value = &'static str> {
    select(TEXTS.as_slice())
}

fn number() -> impl Strategy<Value = i64> {
    select(NUMBERS.as_slice())
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        4 => Just(Expect::Any),
        1 => Just(Expect::Absent),
        1 => Just(Expect::Present),
        2 => (0..4_u64).prop_map(Expect::Rev),
    ]
}

fn write() -> impl Strategy<Value = Step> {
    let fields = (
        option::of(text()),
        option::of(number()),
        option::of(name()),
        vec(text(), 0..3),
        option::weighted(0.3, text()),
    );
    let put = (name(), expect(), fields).prop_map(|(name, expect, (text, size, owner, tags, code))| {
        let mut step = dsl::put(name).expect(expect).field("tag", tags);
        if let Some(text) = text {
            step = step.name(text);
        }
        if let Some(size) = size {
            step = step.size(size);
        }
        if let Some(owner) = owner {
            step = step.owner(owner);
        }
        if let Some(code) = code {
            step = step.code(code);
        }
        step
    });
    prop_oneof![
        8 => put,
        1 => (name(), expect()).prop_map(|(name, expect)| dsl::put(name).kind("bare").expect(expect)),
        3 => (name(), expect()).prop_map(|(name, expect)| dsl::delete(name).expect(expect)),
        2 => (name(), expect()).prop_map(|(name, expect)| dsl::check(name).expect(expect)),
        1 => name().prop_map(|name| dsl::drop_latest("gauge", name)),
    ]
}

fn row(lanes: &'static [Name]) -> impl Strategy<Value = Step> {
    let place = (select(lanes), name(), -3..6_i64, 0..2_u32);
    (place, option::of(number()), option::of(text())).prop_map(|((lane, stream, at, n), level, word)| {
        let mut step = dsl::row(lane, stream, at).n(n);
        if let Some(level) = level {
            step = step.level(level);
        }
        if let Some(word) = word {
            step = step.field("word", word);
        }
        step
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    (vec(write(), 0..4), vec(row(&["log", "ledger", "tape"]), 0..3)).prop_map(|(mut writes, rows)| {
        writes.extend(rows);
        writes
    })
}

fn predicate() -> impl Strategy<Value = Filter> {
    prop_oneof![
        Just(Filter::All),
        text().prop_map(|text| dsl::eq("name", text)),
        number().prop_map(|number| dsl::eq("size", number)),
        name().prop_map(|name| dsl::eq("owner", id(name))),
        text().prop_map(|text| dsl::eq("tag", text)),
        text().prop_map(|text| dsl::eq("code", text)),
        select(["name", "size", "owner", "tag", "mark", "code"].as_slice()).prop_map(dsl::null),
        vec(number(), 0..3).prop_map(|numbers| dsl::one_of("size", numbers)),
        vec(text(), 0..3).prop_map(|texts| dsl::one_of("tag", texts)),
        (option::of(number()), option::of(number())).prop_map(|(from, to)| dsl::range::<i64>("size", from, to)),
        (option::of(text()), option::of(text())).prop_map(|(from, to)| dsl::range::<&str>("name", from, to)),
        (option::of(text()), option::of(text())).prop_map(|(from, to)| dsl::range::<&str>("tag", from, to)),
        (select(["name", "tag"].as_slice()), text()).prop_map(|(column, text)| dsl::prefix(column, text)),
        // Not served, or of the wrong type.
        select(["wheels", "body"].as_slice()).prop_map(dsl::null),
        text().prop_map(|text| dsl::eq("size", text)),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    predicate().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Filter::And),
            vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(dsl::not),
        ]
    })
}

fn list() -> impl Strategy<Value = List> {
    let order = option::of((
        select(["name", "size", "owner", "code", "tag", "wheels"].as_slice()),
        any::<bool>(),
    ));
    (filter(), order, 1..8_usize).prop_map(|(filter, order, limit)| {
        let list = dsl::list(filter).limit(limit);
        match order {
            None => list,
            Some((column, false)) => list.by(column),
            Some((column, true)) => list.by(column).down(),
        }
    })
}

fn reading() -> impl Strategy<Value = Reading> {
    let filter = prop_oneof![
        3 => Just(Filter::All),
        2 => number().prop_map(|number| dsl::eq("level", number)),
        1 => Just(dsl::null("level")),
        1 => number().prop_map(|number| dsl::not(dsl::eq("level", number))),
        1 => text().prop_map(|text| dsl::prefix("word", text)),
    ];
    let times = (option::of(-4..7_i64), option::of(-4..7_i64));
    let after = option::weighted(0.2, (-4..7_i64, name(), 0..2_u32));
    let lane = select(["log", "log", "ledger", "tape"].as_slice());
    (
        lane,
        option::of(name()),
        filter,
        times,
        any::<bool>(),
        after,
        1..6_usize,
    )
        .prop_map(|(lane, stream, filter, (from, to), down, after, limit)| {
            let mut reading = dsl::read(lane).filter(filter).limit(limit);
            reading.0.stream = stream.map(id);
            (reading.0.from, reading.0.to) = (from, to);
            reading.0.direction = if down {
                Direction::Descending
            } else {
                Direction::Ascending
            };
            reading.0.after = after.map(|(at, stream, n)| RowCursor {
                at,
                stream: id(stream),
                n,
            });
            reading
        })
}

/// Records that a patch removes and stores: documents, latest values and rows of lanes that are not chained.
fn patch() -> impl Strategy<Value = Op> {
    let value = || (select(["gauge", "state"].as_slice()), name()).prop_map(|(set, name)| dsl::latest(set, name, 7));
    let record =
        || prop_oneof![3 => write().prop_filter("a document", Step::is_put), 1 => value(), 2 => row(&["log", "tape"])];
    let stored = (record(), 0..4_u64, 1..20_u64);
    (0..20_u64, vec(record(), 0..3), vec(stored, 0..5))
        .prop_map(|(seq, removed, stored)| Op::Patch(seq, removed, stored))
}

/// Steps of a move. Most of the others are refused meanwhile, so that it soon ends.
fn moving() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Standing),
        1 => (1..3_u128).prop_map(Op::Freeze),
        2 => (1..3_u128).prop_map(Op::Fill),
        5 => patch(),
        4 => Just(Op::Serve),
        1 => Just(Op::Clear),
        2 => any::<bool>().prop_map(Op::Track),
        2 => (option::of(write()), 1..9_usize).prop_map(|(after, limit)| Op::Records(after, limit)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let set = || select(["gauge", "state"].as_slice());
    let latest = (set(), name(), number()).prop_map(|(set, name, number)| dsl::latest(set, name, number));
    let ingested = (vec(latest, 0..3), vec(row(&["log", "tape"]), 0..4)).prop_map(|(mut latest, rows)| {
        latest.extend(rows);
        latest
    });
    let columns = select(["name", "size", "owner", "tag", "mark", "code", "wheels"].as_slice());
    prop_oneof![
        16 => steps().prop_map(Op::Commit),
        2 => (0..6_usize).prop_map(Op::Again),
        1 => (0..6_usize, steps()).prop_map(|(which, steps)| Op::Reuse(which, steps)),
        6 => ingested.prop_map(Op::Ingest),
        2 => vec((select(["thing", "bare"].as_slice()), name()), 0..4).prop_map(Op::Get),
        8 => list().prop_map(Op::List),
        3 => filter().prop_map(Op::Count),
        3 => (filter(), columns).prop_map(|(filter, by)| Op::Tally(filter, by)),
        6 => reading().prop_map(Op::Rows),
        2 => (set(), option::of(name()), 1..5_usize).prop_map(|(set, after, limit)| Op::Latest(set, after, limit)),
        1 => Just(Op::Head),
        1 => (select(["log", "tape", "ledger"].as_slice()), -4..7_i64).prop_map(|(lane, before)| Op::Trim(lane, before)),
        1 => (0..30_u64).prop_map(Op::Compact),
        2 => (0..30_u64).prop_map(Op::Changes),
        2 => (select(["x", "y"].as_slice()), name(), 0..40_u64).prop_map(|(lease, holder, ttl)| Op::Lease(lease, holder, ttl)),
        1 => (0..40_u64).prop_map(Op::Advance),
        1 => Just(Op::Export),
        1 => Just(Op::Reopen),
        6 => moving(),
    ]
}

/// Sequences at one time: each waits for its disk or its database more than it computes.
const AT_ONCE: usize = 4;

/// Compares a backend with the reference backend on `sequences` drawn sequences; the first has the seed `seed`, the next one
/// `seed + 1`. Panics with the shortest sequence found that tells them apart. The macro
/// [`model_test`](crate::model_test) calls it.
pub fn check_model(harness: impl Harness, seed: u64, sequences: u64) {
    let harness: Arc<dyn Harness> = Arc::new(harness);
    let runtime = runtime();
    let (next, end) = (AtomicU64::new(seed), seed.saturating_add(sequences));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return None;
            }
            if let Err(problem) = check_sequence(&runtime, &harness, seed) {
                // The others finish what they have begun.
                next.store(end, Ordering::Relaxed);
                return Some((seed, problem));
            }
        }
    };
    let failure = thread::scope(|scope| {
        let workers = [(); AT_ONCE].map(|()| scope.spawn(work));
        let failures = workers.map(|worker| worker.join().expect("what a sequence does is caught"));
        failures.into_iter().flatten().min()
    });
    if let Some((seed, problem)) = failure {
        panic!("{problem}\nrepeat it with CONFORMANCE_SEED={seed} CONFORMANCE_SEQUENCES=1");
    }
}

/// One sequence; fails with the shortest one found that fails as well.
fn check_sequence(runtime: &Runtime, harness: &Arc<dyn Harness>, seed: u64) -> Result<(), String> {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let result = runner.run(&vec(op(), 1..60), |ops| {
        runtime.block_on(sequence(harness.clone(), ops));
        Ok(())
    });
    result.map_err(|error| error.to_string())
}

/// The side that a sequence runs on.
struct Side {
    batches: Vec<Batch>,
}

async fn sequence(harness: Arc<dyn Harness>, ops: Vec<Op>) {
    let mut lab = Lab::open(harness, "answers_like_the_model").await;
    let clock = Arc::new(ManualClock::new(START));
    let model = MemoryStore::new(clock.clone());
    model.prepare(&dsl::schema()).await.expect("the model is prepared");
    let mut side = Side { batches: Vec::new() };
    for (step, op) in ops.into_iter().enumerate() {
        if let Op::Advance(seconds) = op {
            clock.advance(Duration::from_secs(seconds));
        }
        let known = lab
            .own_clock()
            .inspect(|own| own.set(fleet_core::kernel::Clock::now(&*clock)))
            .is_some();
        match &op {
            Op::Reopen if lab.reopens() => {
                assert!(lab.reopen().await);
                model.track(false).await.expect("tracking ends with the store");
            }
            // A lapse shows only where the clock can be moved.
            Op::Lease(..) if !known => {}
            op => {
                side.extend(step, op);
                let expected = side.answer(&model, op).await;
                let given = side.answer(&**lab.store(), op).await;
                assert!(
                    given == expected || refused_for_two_reasons(&given, &expected),
                    "step {step}, {op:?}\n   model: {expected}\n backend: {given}"
                );
            }
        }
    }
    for store in [&model as &dyn Backend, &**lab.store()] {
        store.serve().await.expect("a store serves in the end");
    }
    let last = dsl::batch(u128::MAX, [dsl::put("last").kind("bare")]);
    let end = model.commit(last.clone()).await.expect("the model takes a last commit");
    assert_eq!(
        lab.store().commit(last).await.expect("the backend takes a last commit"),
        end
    );
    let oldest = match model.changes(0).await.expect("the feed is followed").next().await {
        Some(Err(fleet_core::store::Error::Compacted(oldest))) => oldest,
        _ => 0,
    };
    assert_eq!(
        feed(&**lab.store(), oldest, end.seq).await,
        feed(&model, oldest, end.seq).await,
        "feeds differ"
    );
    let (given, expected) = (dsl::exported(&**lab.store()).await, dsl::exported(&model).await);
    assert!(
        given.last() == expected.last(),
        "exports differ\n   model: {expected:?}\n backend: {given:?}"
    );
    assert_eq!(lab.store().check().await.expect("the backend is checked"), []);
}

/// A call may be wrong and come at the wrong time; which of the two is said is left open.
fn refused_for_two_reasons(given: &str, expected: &str) -> bool {
    let both = [given, expected];
    both.iter().all(|said| said.starts_with("error ")) && both.contains(&"error NotServing")
}

/// The feed after a place, up to another.
async fn feed(store: &dyn Backend, after: u64, upto: u64) -> Vec<String> {
    let mut changes = match store.changes(after).await {
        Ok(changes) => changes,
        Err(error) => return vec![dsl::variant(&error).to_owned()],
    };
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, changes.next())
            .await
            .expect("the feed goes on")
        {
            Some(Ok(change)) => {
                told.push(dsl::tell(&change));
                if change.seq >= upto {
                    return told;
                }
            }
            Some(Err(error)) => {
                told.push(dsl::variant(&error).to_owned());
                return told;
            }
            None => return told,
        }
    }
}

fn told<T: Debug>(result: fleet_core::store::Result<T>) -> String {
    match result {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("error {}", dsl::variant(&error)),
    }
}

impl Side {
    /// Makes the batch that a step commits.
    fn extend(&mut self, step: usize, op: &Op) {
        let earlier = |back: usize| {
            self.batches
                .len()
                .checked_sub(back + 1)
                .map(|at| self.batches[at].clone())
        };
        let next = match op {
            Op::Commit(steps) => Some(dsl::batch(step as u128 + 1, steps.iter().cloned())),
            Op::Again(back) => earlier(*back),
            Op::Reuse(back, steps) => earlier(*back).map(|batch| Batch {
                id: batch.id,
                ..dsl::batch(0, steps.iter().cloned())
            }),
            _ => None,
        };
        if let Some(next) = next {
            self.batches.push(next);
        }
    }

    async fn answer(&self, store: &dyn Backend, op: &Op) -> String {
        let view = || async { store.view().await.expect("a view is given") };
        match op {
            Op::Commit(_) | Op::Again(_) | Op::Reuse(..) => match self.batches.last() {
                Some(batch) => told(store.commit(batch.clone()).await),
                None => String::new(),
            },
            // Whether a store that does not serve minds an ingest of nothing is left open.
            Op::Ingest(steps) if steps.is_empty() => String::new(),
            Op::Ingest(steps) => told(store.ingest(dsl::ingest(steps.iter().cloned())).await),
            Op::Get(keys) => {
                let keys: Vec<Key> = keys.iter().map(|(kind, name)| Key::new(kind, id(name))).collect();
                told(view().await.get(&keys).await)
            }
            Op::List(list) => {
                // Page by page, so that cursors are compared too.
                let (mut view, mut list, mut pages) = (view().await, list.clone(), Vec::new());
                loop {
                    let page = view.find(&list.0).await;
                    list.0.after = page.as_ref().ok().and_then(|page| page.next.clone());
                    pages.push(told(page));
                    if list.0.after.is_none() || pages.len() > 100 {
                        return pages.join("\n");
                    }
                }
            }
            Op::Count(filter) => told(view().await.count("thing", filter).await),
            Op::Tally(filter, by) => told::<Vec<(Value, u64)>>(view().await.tally("thing", filter, by).await),
            Op::Rows(reading) => {
                let (mut view, mut reading, mut pages) = (view().await, reading.clone(), Vec::new());
                loop {
                    let page = view.rows(&reading.0).await;
                    reading.0.after = page.as_ref().ok().and_then(|page| page.next);
                    pages.push(told(page));
                    if reading.0.after.is_none() || pages.len() > 100 {
                        return pages.join("\n");
                    }
                }
            }
            Op::Latest(set, after, limit) => told(view().await.latest_page(set, after.map(id), *limit).await),
            Op::Head => told(view().await.chain_head("ledger").await),
            Op::Trim(lane, before) => told(store.trim(lane, *before).await),
            Op::Compact(upto) => told(store.compact(*upto).await),
            Op::Changes(after) => {
                let mut view = view().await;
                // Only what is certainly there: the feed of a commit that told something ends with it.
                let docs = view
                    .find(&dsl::all().limit(100).0)
                    .await
                    .map(|page| page.docs)
                    .unwrap_or_default();
                match docs.iter().map(|doc| doc.seq).max() {
                    Some(newest) if newest > *after => feed(store, *after, newest).await.join("\n"),
                    _ => String::new(),
                }
            }
            Op::Lease(name, holder, ttl) => told(store.lease(name, id(holder), Duration::from_secs(*ttl)).await),
            Op::Export => format!("{:?}", dsl::exported(store).await),
            Op::Standing => told(store.standing().await),
            Op::Freeze(to) => told(store.freeze(dsl::origin(*to)).await),
            Op::Fill(from) => told(store.fill(dsl::origin(*from)).await),
            Op::Patch(seq, removed, stored) => {
                let patch = Patch {
                    seq: *seq,
                    removed: removed.iter().map(dsl::record_key).collect(),
                    records: stored
                        .iter()
                        .map(|(step, rev, seq)| dsl::record(step.clone(), *rev, *seq))
                        .collect(),
                };
                told(store.patch(patch).await)
            }
            Op::Serve => told(store.serve().await),
            Op::Clear => told(store.clear().await),
            Op::Track(on) => told(store.track(*on).await),
            Op::Records(after, limit) => told(view().await.records(after.as_ref().map(dsl::record_key), *limit).await),
            Op::Advance(_) | Op::Reopen => String::new(),
        }
    }
}
