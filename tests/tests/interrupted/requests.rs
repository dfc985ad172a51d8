//! Requests of several writes, killed after each of them: what they began is finished by the jobs, and whoever asks again gets the same.

use std::sync::Arc;

use fleet_core::{
    Fleet,
    access::Actor,
    kernel::Result,
    work::{BatchId, batch::batch_id_for_key},
};

use crate::{
    jobs::{check, settled},
    killed::Killed,
    stages::{Happening, Stage, context, work},
    world::World,
};

/// What is asked.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Work for all devices.
    Work,
    /// That it goes no further.
    Cancel(BatchId),
}

impl Ask {
    async fn ask(self, fleet: &Fleet, happening: &Happening) -> Result<()> {
        match self {
            Self::Work => {
                let key = batch_id_for_key(&Actor::Anonymous, "/batches", "all");
                let batches = fleet.batches();
                let batch = batches
                    .create(&context(), &work(&happening.devices, 3_600), Some(key))
                    .await;
                batch.map(drop)
            }
            Self::Cancel(batch) => fleet.batches().cancel(&context(), batch).await.map(drop),
        }
    }
}

/// What comes of a request that is killed after so many writes, if any are left to kill it at, and is asked again or not.
async fn after_kill(world: &World, happening: &Happening, ask: Ask, last: u64, again: bool) -> Option<Vec<String>> {
    let branch = world.branch();
    let tap = Arc::new(Killed::at(last, true));
    let fleet = branch.killed_server(tap.clone()).await;
    tap.begin();
    let answer = ask.ask(&fleet, happening).await;
    if !tap.happened() {
        answer.unwrap();
        return None;
    }
    drop(fleet);
    if again {
        ask.ask(&branch.server().await, happening).await.unwrap();
    }
    Some(settled(&branch).await)
}

async fn check_request(happening: &Happening, ask: Ask, at_least: u64) {
    let world = &happening.world;
    let undisturbed = world.branch();
    ask.ask(&undisturbed.server().await, happening).await.unwrap();
    let expected = settled(&undisturbed).await;
    for again in [false, true] {
        let mut last = 1;
        while let Some(found) = after_kill(world, happening, ask, last, again).await {
            check(
                &expected,
                &found,
                &format!("{ask:?} killed after write {last}, asked again: {again}"),
            );
            last += 1;
        }
        assert!(last > at_least, "{ask:?}: {last} writes");
    }
}

#[tokio::test]
async fn a_request_that_is_killed_at_any_of_its_writes_is_finished_by_the_jobs_or_by_who_repeats_it() {
    let mut happening = Happening::new().await;
    check_request(&happening, Ask::Work, 2).await;
    let fleet = happening.world.server().await;
    happening.happen(Stage::Asked, &fleet).await;
    check_request(&happening, Ask::Cancel(happening.batches[1]), 2).await;
}
