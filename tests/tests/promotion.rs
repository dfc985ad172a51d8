//! Work that looks first, where the server is killed at any of its commits: it is done for real once, and only where it would change
//! something.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fleet_core::{
    Fleet,
    access::{Actor, Context},
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
    },
    kernel::{ManualClock, MasterKey, PageRequest, Result, SeededRandom, SigningKey, Timestamp},
    protocol::{Finished, RunResult},
    store::{Backend, Error, Query, memory::MemoryStore},
    work::{
        Batch, BatchId, BatchRequest, RunFilter, RunView,
        approvals::{APPROVAL_CLOSED, Comment},
        batch::{BatchTargets, Targets, batch_id_for_key},
        promotions::PromotionStanding,
        secrets::OperationSecret,
    },
};
use fleet_storage_conformance::{Tap, Tapped};
use serde_json::json;

/// From the n-th commit on nothing is committed any more, as for a server that was killed.
#[derive(Debug)]
struct Killed {
    commits: AtomicU64,
    last: u64,
    /// Whether that commit is made, and only its answer lost.
    done: bool,
}

impl Killed {
    fn happened(&self) -> bool {
        self.commits.load(Ordering::SeqCst) >= self.last
    }
}

#[async_trait::async_trait]
impl Tap for Killed {
    async fn before(&self, call: &'static str) -> std::result::Result<(), Error> {
        if call != "commit" {
            return Ok(());
        }
        let commit = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        match commit > self.last || (commit == self.last && !self.done) {
            true => Err(Error::Unavailable("killed".into())),
            false => Ok(()),
        }
    }

    async fn after(&self, call: &'static str) -> std::result::Result<(), Error> {
        match call == "commit" && self.happened() {
            true => Err(Error::Unavailable("killed".into())),
            false => Ok(()),
        }
    }
}

/// One store, and devices of which the first two would be changed.
struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    devices: Vec<DeviceId>,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let mut world = Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            clock,
            random: Arc::new(SeededRandom::new(1)),
            devices: Vec::new(),
        };
        let fleet = world.server(world.store.clone()).await;
        let system = Context::system("test");
        for n in 0..4 {
            let (_, secret) = fleet
                .enrolment()
                .create_token(&system, &NewEnrolmentToken::default())
                .await
                .unwrap();
            let machine = Machine {
                hostname: format!("web-{n}"),
                machine_id: None,
                agent_version: "1.0.0".into(),
            };
            let key = SigningKey::generate(&*world.random);
            let request = EnrolRequest::prove(secret, &key, [9; 32], machine);
            let enrolled = fleet.enrolment().enrol(&request, Default::default()).await.unwrap();
            world.devices.push(enrolled.device_id);
        }
        world
    }

    async fn server(&self, store: Arc<dyn Backend>) -> Fleet {
        let builder = Fleet::builder(store, MasterKey::generate(&SeededRandom::new(7)));
        let builder = builder.clock(self.clock.clone()).random(self.random.clone());
        builder.open().await.unwrap()
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
            fleet
                .delivery()
                .pending(run.device, 1, &SigningKey::generate(&*self.random))
                .await?;
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
        let fleet = self.server(self.store.clone()).await;
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
            let world = World::new().await;
            let tap = Arc::new(Killed {
                commits: AtomicU64::new(0),
                last,
                done,
            });
            let fleet = world.server(Tapped::over(world.store.clone(), tap.clone())).await;
            let outcome = world.work(&fleet).await;
            assert!(outcome.is_ok() || tap.happened(), "{outcome:?}");
            drop(fleet);
            let again = world.server(world.store.clone()).await;
            world.work(&again).await.unwrap();
            // Whatever is done once more changes nothing.
            world.work(&again).await.unwrap();
            world.check().await;
            if !tap.happened() {
                break;
            }
            last += 1;
        }
        assert!(last > 5, "{last} commits");
    }
}
