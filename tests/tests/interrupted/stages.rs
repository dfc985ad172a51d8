//! What happens in a fleet, one thing after another, until each job has something to do in several steps.

use std::time::Duration;

use bytes::Bytes;
use fleet_core::{
    Fleet,
    access::Context,
    devices::{
        DeviceId,
        groups::DeviceGroupId,
        inventory::{Packages, SectionBody, SectionReport},
        presence::DeviceBeat,
    },
    kernel::PageRequest,
    protocol::{Finished, RunResult},
    work::{BatchId, BatchRequest, PlanId, RunFilter, batch::Targets},
};
use futures::stream;
use serde_json::{Value, json};

use crate::world::World;

/// The query of a group that all of them are in.
pub const WEB: &str = "hostname startsWith \"web\"";
/// More than any job changes in one commit.
const DEVICES: usize = 520;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// A fleet to which things happen.
pub struct Happening {
    pub world: World,
    pub devices: Vec<DeviceId>,
    pub batches: Vec<BatchId>,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Devices are connected, tell what they have installed, and something is uploaded.
    Heard,
    /// Nothing more is heard of them, but that one has something else installed.
    Silent,
    /// Work for all devices, at once, and in an hour, and for one device with further attempts.
    Asked,
    /// An hour passes.
    Due,
    /// What was to begin in an hour is cancelled; what was tried failed.
    Cancelled,
    /// A plan's time comes.
    Planned,
    /// Work that goes in waves begins.
    Wave,
    /// Its first wave succeeds.
    NextWave,
    /// Work that looks first has looked.
    Looked,
    /// An action is assigned to all devices.
    Assigned,
    /// It is another one.
    Altered,
    /// A dynamic group is made.
    Grouped,
    /// All that nobody fetched in time is over.
    Expired,
    /// A device is removed.
    Removed,
    /// Two years pass.
    Old,
    /// A week more.
    Older,
    /// The authority of the fleet's certificates grows old.
    Ancient,
}

impl Stage {
    pub const ALL: [Self; 17] = [
        Self::Heard,
        Self::Silent,
        Self::Asked,
        Self::Due,
        Self::Cancelled,
        Self::Planned,
        Self::Wave,
        Self::NextWave,
        Self::Looked,
        Self::Assigned,
        Self::Altered,
        Self::Grouped,
        Self::Expired,
        Self::Removed,
        Self::Old,
        Self::Older,
        Self::Ancient,
    ];
}

pub fn context() -> Context {
    Context::system("test").on_behalf_of(uuid::Uuid::from_u128(1))
}

fn request<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Work for devices that waits so many seconds for them.
pub fn work(devices: &[DeviceId], seconds: u32) -> BatchRequest {
    request(json!({
        "operation": "shell", "params": {"script": "true"}, "targets": {"devices": devices}, "confirm_devices": devices.len(),
        "expires_in_seconds": seconds,
    }))
}

impl Happening {
    pub async fn new() -> Self {
        let world = World::new();
        let devices = world.enrol(&world.server().await, DEVICES).await;
        Self {
            world,
            devices,
            batches: Vec::new(),
        }
    }

    pub async fn happen(&mut self, stage: Stage, fleet: &Fleet) {
        let desired = fleet.desired();
        match stage {
            Stage::Heard => {
                for device in &self.devices[..2] {
                    let beat = DeviceBeat {
                        epoch: fleet.presence().next_epoch(*device, fleet.server()).await.unwrap(),
                        agent_version: "1.0.0".into(),
                        gauges: Default::default(),
                    };
                    fleet.presence().beat(*device, beat).await.unwrap();
                }
                self.report(fleet, &["bash", "vim"]).await;
                let content = stream::iter([Ok(Bytes::from_static(b"film"))]);
                fleet.blobs().upload(&context(), content).await.unwrap();
            }
            Stage::Silent => {
                self.report(fleet, &["bash"]).await;
                self.pass(2 * HOUR);
            }
            Stage::Asked => {
                let all = Targets::devices(self.devices.clone());
                self.ask(fleet, all.clone(), json!({})).await;
                let in_an_hour = self.world.later(HOUR);
                self.ask(fleet, all, json!({"start_at": in_an_hour})).await;
                let few = Targets::devices(self.devices[..3].to_vec());
                let retry = json!({"retry": {"attempts": 1, "delay_seconds": 60}, "operation": "inventory.refresh", "params": {}});
                self.ask(fleet, few, retry).await;
            }
            Stage::Due => self.pass(HOUR),
            Stage::Cancelled => {
                fleet.batches().cancel(&context(), self.batches[1]).await.unwrap();
                self.end(fleet, self.batches[2], RunResult::Failed, None).await;
                self.pass(60);
            }
            Stage::Planned => {
                self.plan(fleet).await;
                self.pass(HOUR);
            }
            Stage::Wave => {
                let all = Targets::devices(self.devices.clone());
                let waves = json!({"rollout": {"waves": [{"type": "count", "devices": 2}]}});
                self.ask(fleet, all, waves).await;
            }
            Stage::NextWave => {
                self.end(fleet, self.batches[3], RunResult::Succeeded, None).await;
                self.pass(60);
            }
            Stage::Looked => {
                let few = Targets::devices(self.devices[..3].to_vec());
                let looks = json!({
                    "operation": "wifi", "params": {"name": "office", "ssid": "Office", "psk": "correct horse"},
                    "dry_run_first": true,
                });
                self.ask(fleet, few, looks).await;
                self.end(fleet, self.batches[4], RunResult::Succeeded, Some(true)).await;
            }
            Stage::Assigned => {
                let action =
                    json!({"name": "Motd", "operation": "file", "params": {"path": "/etc/motd", "content": "welcome"}});
                let action = desired.actions().create(&context(), &request(action)).await.unwrap();
                let assign = |device: &DeviceId| {
                    request(json!({
                        "source": {"type": "action", "id": action.id}, "target": {"type": "device", "id": device},
                        "mode": "required",
                    }))
                };
                for some in self.devices.chunks(200) {
                    let new: Vec<_> = some.iter().map(assign).collect();
                    desired.assignments().create(&context(), &new).await.unwrap();
                }
            }
            Stage::Altered => {
                let page = PageRequest::default();
                let actions = desired
                    .actions()
                    .list(&context(), &Default::default(), &page)
                    .await
                    .unwrap();
                let change = json!({"params": {"path": "/etc/motd", "content": "good evening"}});
                let id = actions.items[0].id;
                desired
                    .actions()
                    .set(&context(), id, None, &request(change))
                    .await
                    .unwrap();
            }
            Stage::Grouped => {
                self.group(fleet, json!({"name": "Web", "query": WEB})).await;
            }
            Stage::Expired => self.pass(30 * DAY),
            Stage::Removed => {
                let device = self.devices[0];
                fleet.devices().revoke(&context(), device).await.unwrap();
                fleet.devices().delete(&context(), device, None).await.unwrap();
            }
            Stage::Old => self.pass(730 * DAY),
            Stage::Older => self.pass(8 * DAY),
            Stage::Ancient => self.pass(7 * 365 * DAY),
        }
    }

    /// Work for all devices in an hour.
    pub async fn plan(&self, fleet: &Fleet) -> PlanId {
        let plan = json!({
            "name": "Nightly", "operation": "inventory.refresh", "targets": {"all": true},
            "schedule": {"type": "once", "at": self.world.later(HOUR)},
        });
        fleet.plans().create(&context(), &request(plan)).await.unwrap().id
    }

    pub async fn group(&self, fleet: &Fleet, group: Value) -> DeviceGroupId {
        let groups = fleet.device_groups();
        groups.create(&context(), &request(group)).await.unwrap().id
    }

    async fn report(&self, fleet: &Fleet, names: &[&str]) {
        let packages = Packages {
            available: true,
            manager: "dpkg".into(),
            items: names
                .iter()
                .map(|name| request(json!({"name": name, "version": "1", "architecture": "amd64"})))
                .collect(),
            ..Packages::default()
        };
        let report = SectionReport::new(SectionBody::Packages(packages), self.world.later(0)).unwrap();
        fleet.inventory().receive(self.devices[1], &report).await.unwrap();
    }

    fn pass(&self, seconds: u64) {
        self.world.clock.advance(Duration::from_secs(seconds));
    }

    pub async fn ask(&mut self, fleet: &Fleet, targets: Targets, more: Value) {
        let mut body = json!({"operation": "shell", "params": {"script": "true"}, "targets": targets, "confirm_devices": targets.devices.len()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let batch: BatchRequest = request(body);
        let batch = fleet.batches().create(&context(), &batch, None).await.unwrap();
        self.batches.push(batch.id);
    }

    /// The devices take what they have of a batch, and it ends so.
    async fn end(&self, fleet: &Fleet, batch: BatchId, result: RunResult, changed: Option<bool>) {
        let filter = RunFilter {
            batch: Some(batch),
            ..RunFilter::default()
        };
        let runs = fleet
            .runs()
            .list(&context(), &filter, &PageRequest::default())
            .await
            .unwrap();
        for run in runs.items.iter().filter(|run| run.state.name() == "queued") {
            fleet
                .delivery()
                .pending(run.device, 1, &self.world.key())
                .await
                .unwrap();
            let finished = Finished {
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
            };
            fleet.delivery().finished(run.device, finished).await.unwrap();
        }
    }
}
