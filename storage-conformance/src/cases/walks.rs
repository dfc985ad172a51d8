//! Walks page by page while others write: what stays is met exactly once and in order, in each declared order, in both
//! directions, with pages of any size; and a view that is held does not move.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fleet_core::store::{Filter, Name};
use tokio::task::JoinHandle;

use crate::{Lab, dsl::*, random::Random};

/// Documents that stay; the others come and go between them.
const STEADY: usize = 40;

/// Writers that run until they are told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Two tasks that commit, for each round, what `steps` says; both have begun.
    async fn begin(lab: &Lab, steps: impl Fn(&mut Random) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let (stop, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(steps));
        let begun = Arc::new(AtomicUsize::new(0));
        let tasks = (1..=2_u64).map(|writer| {
            let (store, stop, steps) = (lab.store().clone(), stop.clone(), steps.clone());
            let begun = begun.clone();
            tokio::spawn(async move {
                let mut random = Random::new(writer);
                let mut round = 0;
                // Bounded, or a walk through what grows faster than it goes would not end.
                while round < 400 && !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let steps = steps(&mut random);
                    if steps.iter().all(Step::is_ingest) {
                        store.ingest(ingest(steps)).await.expect("an ingest is taken");
                    } else {
                        let number = (u128::from(writer) << 100) | round;
                        store.commit(batch(number, steps)).await.expect("a batch is taken");
                    }
                    if round == 1 {
                        begun.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        while begun.load(Ordering::Relaxed) < tasks.len() && !tasks.iter().all(JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
        Self { stop, tasks }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer ends well");
        }
    }
}

/// Walks a list, each page in a view of its own; the names of those that stay, as they were met.
async fn walk(lab: &Lab, mut list: List, random: &mut Random) -> Vec<String> {
    let mut met = Vec::new();
    for _ in 0..10_000 {
        list.0.limit = 1 + random.below(9);
        let page = lab.page(list.clone()).await.expect("the list is served");
        met.extend(
            page.docs
                .iter()
                .map(|doc| name(doc.key.id))
                .filter(|name| name.starts_with('s')),
        );
        tokio::task::yield_now().await;
        match page.next {
            Some(next) => list.0.after = Some(next),
            None => return met,
        }
    }
    panic!("the walk does not end");
}

fn steady(n: usize) -> String {
    format!("s{n:02}")
}

/// A document whose values in every order are `at`; its tags are another matter.
fn placed(name: &str, at: usize, tags: [&str; 1]) -> Step {
    // Unique values of those that come and go differ by their name's number.
    let noise = if name.starts_with('s') {
        0
    } else {
        1 + name.bytes().map(usize::from).sum::<usize>() % 90
    };
    put(name)
        .name(&format!("n{at:03}"))
        .size(at as i64)
        .owner(&format!("o{at:03}"))
        .code(&format!("c{:05}", at * 100 + noise))
        .field("serial", (at * 100 + noise) as i64)
        .tags(tags)
}

/// Walks this list, forth and back, while others come, change, move and go around those that stay.
async fn check_walk(lab: &Lab, of: impl Fn() -> List) {
    let first: Vec<Step> = (0..STEADY).map(|n| placed(&steady(n), n * 10, ["steady"])).collect();
    lab.ok(first).await;
    let writers = Writers::begin(lab, |random| {
        // One name per number, so that unique values never clash.
        let n = random.below(30);
        let moving = format!("x{n:02}");
        match random.below(4) {
            0 => vec![delete(&moving)],
            // Those that stay are written too: their place stays, their revision does not.
            1 => {
                let n = random.below(STEADY);
                vec![placed(&steady(n), n * 10, ["steady"])]
            }
            _ => {
                let at = random.below(STEADY * 10 / 30) * 30 + n;
                vec![placed(&moving, at, [random.of(&["steady", "x"])])]
            }
        }
    })
    .await;
    let mut random = Random::new(77);
    let up: Vec<String> = (0..STEADY).map(steady).collect();
    let down: Vec<String> = up.iter().rev().cloned().collect();
    for _ in 0..3 {
        assert_eq!(walk(lab, of(), &mut random).await, up, "{:?}", of());
        if of().0.order.is_some() {
            assert_eq!(walk(lab, of().down(), &mut random).await, down, "{:?}", of().down());
        }
    }
    writers.end().await;
}

pub(crate) async fn walk_by_id(lab: &mut Lab) {
    check_walk(lab, all).await;
}

pub(crate) async fn walk_by_a_text(lab: &mut Lab) {
    check_walk(lab, || all().by("name")).await;
}

pub(crate) async fn walk_by_an_integer(lab: &mut Lab) {
    check_walk(lab, || all().by("size")).await;
}

pub(crate) async fn walk_by_an_id(lab: &mut Lab) {
    check_walk(lab, || all().by("owner")).await;
}

pub(crate) async fn walk_by_a_unique_text(lab: &mut Lab) {
    check_walk(lab, || all().by("code")).await;
}

pub(crate) async fn walk_by_a_unique_integer(lab: &mut Lab) {
    check_walk(lab, || all().by("serial")).await;
}

pub(crate) async fn walk_through_a_filter_of_many_values(lab: &mut Lab) {
    check_walk(lab, || list(eq("tag", "steady")).by("size")).await;
}

pub(crate) async fn walk_through_a_filter_by_id(lab: &mut Lab) {
    check_walk(lab, || list(one_of("tag", ["steady", "x"]))).await;
}

pub(crate) async fn walk_through_a_range(lab: &mut Lab) {
    check_walk(lab, || list(range::<i64>("serial", 0, None)).by("name")).await;
}

/// Walks while everything has the same value, or none.
async fn check_ties(lab: &Lab, value: Option<i64>) {
    let tied = move |name: &str| match value {
        Some(value) => put(name).size(value),
        None => put(name),
    };
    lab.ok((0..STEADY).map(|n| tied(&steady(n)))).await;
    let writers = Writers::begin(lab, move |random| {
        // Names before, between and behind those that stay.
        let moving = format!(
            "{}{}",
            random.of(&["a", "s0", "s2", "s39", "z"]),
            "~".repeat(1 + random.below(3))
        );
        vec![if random.below(3) == 0 {
            delete(&moving)
        } else {
            tied(&moving)
        }]
    })
    .await;
    let mut random = Random::new(3);
    let up: Vec<String> = (0..STEADY).map(steady).collect();
    for _ in 0..3 {
        let mut met = walk(lab, all().by("size"), &mut random).await;
        met.retain(|name| !name.contains('~'));
        assert_eq!(met, up);
        let mut met = walk(lab, all().by("size").down(), &mut random).await;
        met.retain(|name| !name.contains('~'));
        met.reverse();
        assert_eq!(met, up);
    }
    writers.end().await;
}

pub(crate) async fn walk_through_equal_values(lab: &mut Lab) {
    check_ties(lab, Some(7)).await;
}

pub(crate) async fn walk_through_nothing_but_null(lab: &mut Lab) {
    check_ties(lab, None).await;
}

/// Walks a lane, each page in a view of its own; the times of the rows that stay.
async fn walk_lane(lab: &Lab, mut reading: Reading, random: &mut Random) -> Vec<i64> {
    let mut met = Vec::new();
    for _ in 0..10_000 {
        reading.0.limit = 1 + random.below(9);
        let page = lab.row_page(reading.clone()).await.expect("the reading is served");
        met.extend(
            page.rows
                .iter()
                .filter(|stored| stored.row.n == 0)
                .map(|stored| stored.row.at),
        );
        tokio::task::yield_now().await;
        match page.next {
            Some(next) => reading.0.after = Some(next),
            None => return met,
        }
    }
    panic!("the walk does not end");
}

/// Walks a lane while rows come in between, at the beginning and at the end.
async fn check_lane_walk(lab: &Lab, of: impl Fn() -> Reading) {
    lab.ingest((0..60).map(|at| row("log", "s", at * 10).level(1)))
        .await
        .unwrap();
    let count = Arc::new(std::sync::atomic::AtomicU32::new(1));
    let writers = Writers::begin(lab, move |random| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        let noise = row("log", random.of(&["r", "s", "t"]), random.below(700) as i64 - 50)
            .n(n)
            .level(1);
        if random.below(2) == 0 {
            vec![noise, put("x")]
        } else {
            vec![noise]
        }
    })
    .await;
    let mut random = Random::new(13);
    let up: Vec<i64> = (0..60).map(|at| at * 10).collect();
    for _ in 0..2 {
        assert_eq!(walk_lane(lab, of(), &mut random).await, up);
        let mut met = walk_lane(lab, of().down(), &mut random).await;
        met.reverse();
        assert_eq!(met, up);
    }
    writers.end().await;
}

pub(crate) async fn walk_of_a_lane(lab: &mut Lab) {
    check_lane_walk(lab, || read("log")).await;
}

pub(crate) async fn walk_of_a_stream(lab: &mut Lab) {
    check_lane_walk(lab, || read("log").stream("s")).await;
}

pub(crate) async fn walk_of_a_lane_by_filter(lab: &mut Lab) {
    check_lane_walk(lab, || read("log").filter(eq("level", 1))).await;
}

pub(crate) async fn walk_of_a_lane_goes_on_behind_a_trim(lab: &mut Lab) {
    lab.ingest((0..300).map(|at| row("log", "s", at).level(at % 3)))
        .await
        .unwrap();
    let mut reading = read("log").limit(20);
    let mut met = Vec::new();
    for before in (0..).step_by(7) {
        let page = lab.row_page(reading.clone()).await.unwrap();
        met.extend(page.rows.iter().map(|stored| stored.row.at));
        // Never beyond the rows that are still to come.
        lab.store().trim("log", before).await.unwrap();
        match page.next {
            Some(next) => reading.0.after = Some(next),
            None => break,
        }
    }
    assert_eq!(met, (0..300).collect::<Vec<_>>());
}

pub(crate) async fn walk_of_latest_values(lab: &mut Lab) {
    lab.ingest((0..STEADY).map(|n| latest("gauge", &steady(n), 0)))
        .await
        .unwrap();
    lab.ok([put("x")]).await;
    let writers = Writers::begin(lab, |random| {
        let moving = format!("x{}", random.below(20));
        match random.below(3) {
            0 => vec![drop_latest("gauge", &moving)],
            1 => vec![latest("gauge", &steady(random.below(STEADY)), random.below(9) as i64)],
            _ => vec![latest("gauge", &moving, 1), latest("gauge", "a", 1)],
        }
    })
    .await;
    let mut random = Random::new(21);
    for _ in 0..4 {
        let (mut after, mut met) = (None, Vec::new());
        loop {
            let page = lab
                .view()
                .await
                .latest_page("gauge", after, 1 + random.below(9))
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key.id);
            met.extend(
                page.iter()
                    .map(|latest| name(latest.key.id))
                    .filter(|name| name.starts_with('s')),
            );
            tokio::task::yield_now().await;
        }
        assert_eq!(met, (0..STEADY).map(steady).collect::<Vec<_>>());
    }
    writers.end().await;
}

/// Everything that one view tells.
async fn told(view: &mut dyn fleet_core::store::View) -> Vec<String> {
    let mut told = vec![view.seq().to_string(), listed(view, all().limit(7)).await];
    for by in ["name", "size", "owner", "code", "serial"] {
        told.push(listed(view, all().by(by).limit(11)).await);
        told.push(listed(view, all().by(by).down().limit(13)).await);
        told.push(tallied(view, Filter::All, by as Name).await);
    }
    told.push(read_all(view, read("log").limit(17)).await);
    told.push(read_all(view, read("ledger").down().limit(5)).await);
    told.push(format!("{:?}", view.latest_page("gauge", None, 100).await.unwrap()));
    told.push(format!("{:?}", view.chain_head("ledger").await.unwrap()));
    told.push(view.count("thing", &eq("tag", "steady")).await.unwrap().to_string());
    told
}

pub(crate) async fn held_view_tells_the_same_while_everything_changes(lab: &mut Lab) {
    lab.ok((0..STEADY).map(|n| placed(&steady(n), n * 10, ["steady"])))
        .await;
    lab.ok([row("ledger", "s", 1), row("log", "s", 1)]).await;
    lab.ingest((0..30).map(|at| row("log", "t", at).level(at % 3)))
        .await
        .unwrap();
    lab.ingest([latest("gauge", "a", 1), latest("gauge", "b", 1)])
        .await
        .unwrap();
    let mut view = lab.view().await;
    let before = told(&mut *view).await;
    let count = Arc::new(std::sync::atomic::AtomicI64::new(100));
    let writers = Writers::begin(lab, move |random| {
        let at = count.fetch_add(1, Ordering::Relaxed);
        match random.below(3) {
            0 => vec![
                delete(&steady(random.below(STEADY))),
                drop_latest("gauge", "b"),
                row("ledger", "s", at),
            ],
            1 => vec![latest("gauge", "a", at), row("log", "t", -at)],
            _ => vec![put(&format!("y{at}")).size(at % 400).name("n100"), row("log", "s", at)],
        }
    })
    .await;
    for before_time in 0..4 {
        lab.store().trim("log", before_time * 8).await.unwrap();
        assert_eq!(told(&mut *view).await, before);
        tokio::task::yield_now().await;
    }
    writers.end().await;
    assert_eq!(told(&mut *view).await, before);
    drop(view);
    assert_ne!(told(&mut *lab.view().await).await, before);
}
