//! Requests of several writes, killed after each of them: what they began is finished by the jobs, and whoever asks again gets the same.

use std::sync::Arc;

use fleet_core::{
    Fleet,
    access::Actor,
    devices::groups::{DeviceGroupChange, DeviceGroupId},
    kernel::Result,
    work::{
        BatchId,
        batch::{BatchRetry, Targets, batch_id_for_key},
        plans::PlanId,
        rollouts::{ROLLOUT_OVER, RolloutAbort},
    },
};
use serde_json::json;

use crate::{
    jobs::{check, settled},
    killed::Killed,
    stages::{Happening, Stage, WEB, context, work},
    world::World,
};

/// What is asked.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Work for all devices.
    Work,
    /// That it goes no further.
    Cancel(BatchId),
    /// What failed, once more.
    Retry(BatchId),
    /// The work of a plan, now.
    Start(PlanId),
    /// That work in waves goes no further, wherever it is.
    Abort(BatchId),
    /// That devices are in this group by a query, and no more by hand.
    Describe(DeviceGroupId),
    /// Who is in it, now.
    Evaluate(DeviceGroupId),
}

impl Ask {
    async fn ask(self, fleet: &Fleet, happening: &Happening) -> Result<()> {
        let (context, batches) = (context(), fleet.batches());
        let key = || Some(batch_id_for_key(&Actor::Anonymous, "/batches", "all"));
        match self {
            Self::Work => {
                let work = work(&happening.devices, 3_600);
                batches.create(&context, &work, key()).await.map(drop)
            }
            Self::Cancel(batch) => batches.cancel(&context, batch).await.map(drop),
            Self::Retry(batch) => batches
                .retry(&context, batch, &BatchRetry::default(), key())
                .await
                .map(drop),
            Self::Start(plan) => fleet.plans().start(&context, plan, key()).await.map(drop),
            Self::Abort(batch) => {
                let abort = RolloutAbort { stop_running: true };
                match fleet.rollouts().abort(&context, batch, &abort).await {
                    // Who asks again may hear that there is nothing left to abort.
                    Err(error) if error.code() == ROLLOUT_OVER => Ok(()),
                    answer => answer.map(drop),
                }
            }
            Self::Describe(group) => {
                let change = DeviceGroupChange {
                    query: Some(Some(WEB.into())),
                    ..DeviceGroupChange::default()
                };
                fleet
                    .device_groups()
                    .set(&context, group, None, &change)
                    .await
                    .map(drop)
            }
            Self::Evaluate(group) => fleet.device_groups().evaluate_group(&context, group).await.map(drop),
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

#[tokio::test]
async fn a_request_about_work_of_before_that_is_killed_at_any_of_its_writes_is_finished_all_the_same() {
    let mut happening = Happening::new().await;
    let fleet = happening.world.server().await;
    let all = Targets::devices(happening.devices.clone());
    happening.ask(&fleet, all, json!({"expires_in_seconds": 600})).await;
    happening.happen(Stage::Due, &fleet).await;
    settled(&happening.world).await;
    check_request(&happening, Ask::Retry(happening.batches[0]), 2).await;
    happening.happen(Stage::Wave, &fleet).await;
    settled(&happening.world).await;
    check_request(&happening, Ask::Abort(happening.batches[1]), 2).await;
    let plan = happening.plan(&fleet).await;
    check_request(&happening, Ask::Start(plan), 2).await;
}

#[tokio::test]
async fn a_request_about_a_group_that_is_killed_at_any_of_its_writes_is_finished_by_the_jobs_or_by_who_repeats_it() {
    let happening = Happening::new().await;
    let fleet = happening.world.server().await;
    let group = happening.group(&fleet, json!({"name": "By hand"})).await;
    check_request(&happening, Ask::Describe(group), 1).await;
    let group = happening.group(&fleet, json!({"name": "Web", "query": WEB})).await;
    check_request(&happening, Ask::Evaluate(group), 1).await;
}
