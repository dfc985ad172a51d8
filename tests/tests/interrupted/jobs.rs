//! Each job, killed after each of its writes at each stage. Killed before a write is killed after the one before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fleet_core::{Fleet, modules::Job};

use crate::{
    killed::Killed,
    picture::{picture, without_meanings},
    stages::{Happening, Stage},
    world::World,
};

/// Jobs that write nothing here, and where their interruption is tested instead.
const ELSEWHERE: [(&str, &str); 6] = [
    ("work.expand", "takes up what a killed request left: requests.rs"),
    ("work.cancel", "takes up what a killed request left: requests.rs"),
    (
        "blobs.adopt",
        "takes up what a killed upload left: fleet-core, blobs/tests.rs",
    ),
    (
        "escrow.devices_gone",
        "one commit for each page, of which each is judged anew: fleet-core, escrow/tests.rs",
    ),
    (
        "devices.presence",
        "judges the connections of its own server, which are gone with it: the simulation kills servers under agents",
    ),
    (
        "storage.backup",
        "writes files beside the store: fleet-core, storage/archive",
    ),
];

/// Jobs that go on over several writes, and have to do so here: between these they are killed.
const SEVERAL: [&str; 10] = [
    "devices.dynamic_groups",
    "devices.inventory_cleaning",
    "retention.forget",
    "retention.trim",
    "work.forget",
    "work.manifests",
    "work.plans",
    "work.release",
    "work.rollouts",
    "work.sweep",
];

/// How often all jobs run until nothing is left to do, and what passes in between: what another server may be at is left to it for a while.
const ROUNDS: usize = 3;
const PAUSE: Duration = Duration::from_secs(120);

fn job(fleet: &Fleet, name: &str) -> Job {
    fleet.jobs().iter().find(|job| job.name == name).unwrap().clone()
}

/// What comes of a fleet when all jobs run until nothing is left to do.
pub async fn settled(world: &World) -> Vec<String> {
    let fleet = world.server().await;
    for _ in 0..ROUNDS {
        for job in fleet.jobs() {
            (job.tick)(fleet.clone()).await.unwrap();
        }
        world.clock.advance(PAUSE);
    }
    picture(world, &fleet).await
}

/// How often a job writes, if nobody kills it.
async fn writes(world: &World, name: &str) -> u64 {
    let tap = Arc::new(Killed::never());
    let fleet = world.branch().killed_server(tap.clone()).await;
    tap.begin();
    (job(&fleet, name).tick)(fleet.clone()).await.unwrap();
    tap.writes()
}

/// What comes of a fleet when a job is killed after one of its writes, and all jobs run after that.
async fn after_kill(world: &World, name: &str, last: u64) -> Vec<String> {
    let branch = world.branch();
    let tap = Arc::new(Killed::at(last, true));
    let fleet = branch.killed_server(tap.clone()).await;
    tap.begin();
    // Whether it tells of it or only notes it.
    (job(&fleet, name).tick)(fleet.clone()).await.ok();
    assert!(tap.happened(), "{name} made fewer than {last} writes");
    drop(fleet);
    settled(&branch).await
}

pub fn check(expected: &[String], found: &[String], what: &str) {
    assert!(
        expected == found,
        "{what}: {} items, not {}\nit lacks {:#?}\nit has {:#?}",
        found.len(),
        expected.len(),
        only_in(expected, found),
        only_in(found, expected),
    );
}

/// Some of what only the first has; what differs by more than by what it stands for comes first.
fn only_in<'l>(one: &'l [String], other: &[String]) -> Vec<&'l String> {
    let known: BTreeSet<_> = other.iter().collect();
    let alike: BTreeSet<_> = other.iter().map(|line| without_meanings(line)).collect();
    let mut only: Vec<_> = one.iter().filter(|line| !known.contains(line)).collect();
    only.sort_by_key(|line| alike.contains(&without_meanings(line)));
    only.truncate(3);
    only
}

#[tokio::test]
async fn a_job_that_is_killed_at_any_of_its_writes_comes_to_the_same() {
    let mut happening = Happening::new().await;
    let mut kills = 0;
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for stage in Stage::ALL {
        let fleet = happening.world.server().await;
        happening.happen(stage, &fleet).await;
        for job in fleet.jobs() {
            let world = &happening.world;
            let writes = writes(world, job.name).await;
            let known = most.entry(job.name).or_default();
            *known = writes.max(*known);
            if writes > 0 {
                let expected = settled(&world.branch()).await;
                for last in 1..=writes {
                    let found = after_kill(world, job.name, last).await;
                    kills += 1;
                    check(
                        &expected,
                        &found,
                        &format!("{stage:?}: {} killed after write {last}", job.name),
                    );
                }
            }
            (job.tick)(fleet.clone()).await.unwrap();
        }
    }
    println!("{kills} times a job was killed; the most writes of each: {most:?}");
    for (job, writes) in &most {
        let elsewhere = ELSEWHERE.iter().any(|(name, _)| name == job);
        assert_eq!(elsewhere, *writes == 0, "{job} makes {writes} writes");
        assert!(*writes > 1 || !SEVERAL.contains(job), "{job} makes {writes} writes");
    }
}
