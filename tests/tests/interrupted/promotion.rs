//! Work that looks first, where the server is killed at any of its commits: it is done for real once, and only where it would change
//! something.

use std::{collections::BTreeMap, sync::Arc};

use fleet_core::{
    Fleet,
    access::{Actor, Context},
    devices::DeviceId,
    kernel::{PageRequest, Result},
    protocol::{Finished, RunResult},
    store::Query,
    work::{
        Batch, BatchId, BatchRequest, RunFilter, RunView,
        approvals::{APPROVAL_CLOSED, Comment},
        batch::{BatchTargets, Targets, batch_id_for_key},
        promotions::PromotionStanding,
        secrets::OperationSecret,
    },
};
use serde_json::json;

use crate::{killed::Killed, world::World};

/// One store, and devices of which the first two would be changed.
struct Looking {
    world: World,
    devices: Vec<DeviceId>,
}

impl Looking {
    async fn new() -> Self {
        let world = World::new();
        let devices = world.enrol(&world.server().await, 4).await;
        Self { world, devices }
    }

    /// All that is done, from the beginning, as often as it takes.
    async fn work(&self, fleet: &Fleet) -> Result<()> {
        let asks = Context::system("test").on_behalf_of(uuid::Uuid::from_u128(1));
        let key = batch_id_for_key(&Actor::Anonymous, "/batches", "look");
        let params = json!({"name": "office", "ssid": "Office", "psk": "correct horse"});
        let request = BatchRequest {
            operation: "wifi".into(),
            params: params.into(),
            targets: Targets::devices(self.devices.clone()),
            dry_run_first: true,
            ..BatchRequest::default()
        };
        let batch = fleet.batches().create(&asks, &request, Some(key)).await?;
        for run in self.runs(fleet, batch.id).await.iter().filter(|run| !run.terminal) {
            let place = self.devices.iter().position(|device| *device == run.device).unwrap();
            fleet.delivery().pending(run.device, 1, &self.world.key()).await?;
            fleet.delivery().finished(run.device, looked(run, place)).await?;
        }
        self.jobs(fleet).await?;
        let promotion = fleet.batches().show(&asks, batch.id).await?.promotion.unwrap();
        let Some(approval) = promotion.approval else {
            return Err(fleet_core::kernel::Error::internal("nobody is asked"));
        };
        match fleet.approvals().approve(&asks, approval, &Comment::default()).await {
            Err(error) if error.code() != APPROVAL_CLOSED => return Err(error),
            _ => {}
        }
        self.jobs(fleet).await
    }

    async fn jobs(&self, fleet: &Fleet) -> Result<()> {
        for job in fleet.jobs().iter().filter(|job| job.name.starts_with("work.")) {
            (job.tick)(fleet.clone()).await?;
        }
        Ok(())
    }

    async fn runs(&self, fleet: &Fleet, batch: BatchId) -> Vec<RunView> {
        let filter = RunFilter {
            batch: Some(batch),
            ..RunFilter::default()
        };
        let runs = fleet
            .runs()
            .list(&Context::system("test"), &filter, &PageRequest::default())
            .await;
        runs.unwrap().items
    }

    async fn check(&self) {
        let fleet = self.world.server().await;
        let mut reader = fleet.store().reader().await.unwrap();
        let page = PageRequest::default();
        let batches = reader.list(&Query::<Batch>::all(), &page).await.unwrap().items;
        assert_eq!(batches.len(), 2);
        let dry = batches.iter().find(|batch| batch.promotion.is_some()).unwrap();
        let real = batches.iter().find(|batch| batch.promoted_from.is_some()).unwrap();
        let promotion = dry.promotion.as_ref().unwrap();
        assert_eq!(
            (promotion.standing, promotion.promoted_to),
            (PromotionStanding::Promoted, Some(real.id))
        );
        assert_eq!(
            (real.promoted_from, real.params.shown().get("dry_run")),
            (Some(dry.id), None)
        );
        let mut runs = BTreeMap::new();
        for run in self.runs(&fleet, real.id).await {
            *runs.entry(run.device).or_insert(0) += 1;
        }
        let expected: BTreeMap<_, _> = self.devices[..2].iter().map(|device| (*device, 1)).collect();
        assert_eq!(runs, expected);
        assert_eq!(
            reader
                .list(&Query::<BatchTargets>::all(), &page)
                .await
                .unwrap()
                .items
                .len(),
            0
        );
        assert_eq!(
            reader
                .list(&Query::<OperationSecret>::all(), &page)
                .await
                .unwrap()
                .items
                .len(),
            1
        );
    }
}

/// What a dry run comes to: the first two would be changed, one is as it should be, and on one it fails.
fn looked(run: &RunView, place: usize) -> Finished {
    let (result, changed) = match place {
        0 | 1 => (RunResult::Succeeded, Some(true)),
        2 => (RunResult::Succeeded, Some(false)),
        _ => (RunResult::Failed, Some(true)),
    };
    Finished {
        run: run.id,
        result,
        exit_code: None,
        signal: None,
        code: None,
        message: None,
        changed,
        summary: None,
        started_at: None,
        finished_at: run.created_at,
        chunks: 0,
        truncated_bytes: 0,
    }
}

#[tokio::test]
async fn a_server_that_is_killed_at_any_commit_does_it_for_real_once() {
    for done in [false, true] {
        let mut last = 1;
        loop {
            let looking = Looking::new().await;
            let tap = Arc::new(Killed::at(last, done));
            let fleet = looking.world.killed_server(tap.clone()).await;
            tap.begin();
            let outcome = looking.work(&fleet).await;
            assert!(outcome.is_ok() || tap.happened(), "{outcome:?}");
            drop(fleet);
            let again = looking.world.server().await;
            looking.work(&again).await.unwrap();
            // Whatever is done once more changes nothing.
            looking.work(&again).await.unwrap();
            looking.check().await;
            if !tap.happened() {
                break;
            }
            last += 1;
        }
        assert!(last > 5, "{last} commits");
    }
}
