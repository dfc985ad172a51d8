//! Changes of desired state, each with the manifests that follow from it.

use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use fleet_core::{
    Fleet,
    access::Context,
    devices::{
        Device, DeviceGroupId, DeviceId, DeviceSummary, EnrolmentTokenId, enrolment::DEVICE_ENROLLED,
        groups::NewDeviceGroup,
    },
    kernel::{Error, PublicKey, random_bytes},
    store::Evidence,
    work::{
        desired::{Mode, Source, Target, assignments::NewAssignment},
        windows::NewWindow,
    },
};
use serde::Serialize;
use serde_json::json;

use crate::machine::Jitter;

/// Devices of one commit while the fleet is made.
const TOGETHER: usize = 500;
/// Devices that a window names.
const NAMED: usize = 10;

/// What followed from a change.
#[derive(Debug, Serialize)]
pub struct Followed {
    pub what: &'static str,
    pub seconds: f64,
    /// How many devices have another manifest.
    pub changed: u64,
    pub commits: u64,
}

/// Makes a fleet and changes what it is to be.
pub async fn measure(fleet: &Fleet, devices: usize, windows: usize, jitter: &mut Jitter) -> Result<Vec<Followed>> {
    let (admin, desired) = (Context::system("bench"), fleet.desired());
    let new = NewDeviceGroup {
        name: "all".into(),
        ..NewDeviceGroup::default()
    };
    let group = fleet.device_groups().create(&admin, &new).await.map_err(log)?.id;
    let devices = enrol(fleet, devices, group).await.map_err(log)?;
    let mut members = Vec::new();
    for n in 0..40 {
        let params = match n % 2 {
            0 => json!({"path": format!("/etc/bench/{n}"), "content": "x".repeat(1_000)}),
            _ => json!({"script": "x".repeat(1_000)}),
        };
        let operation = if n % 2 == 0 { "file" } else { "shell" };
        let new = json!({"name": format!("action {n}"), "operation": operation, "params": params});
        let made = desired.actions().create(&admin, &serde_json::from_value(new)?).await;
        members.push(made.map_err(log)?.id);
    }
    let set = json!({"name": "Base", "members": members});
    let set = desired
        .action_sets()
        .create(&admin, &serde_json::from_value(set)?)
        .await;
    let mut followed = vec![follow(fleet, "before anything is assigned", jitter).await?];

    let assignment = NewAssignment {
        source: Source::ActionSet(set.map_err(log)?.id),
        target: Target::DeviceGroup(group),
        mode: Mode::Required,
        order: 0,
    };
    let assigned = desired.assignments().create(&admin, &[assignment]).await.map_err(log)?;
    followed.push(follow(fleet, "40 actions assigned to all", jitter).await?);

    let last = members.last().copied().context("no action")?;
    for (what, change) in [
        ("one of them changed", json!({"params": {"script": "true"}})),
        ("and renamed", json!({"name": "another name"})),
    ] {
        let change = serde_json::from_value(change)?;
        desired.actions().set(&admin, last, None, &change).await.map_err(log)?;
        followed.push(follow(fleet, what, jitter).await?);
    }

    window(fleet, &admin, "for all", &json!({"all": true})).await?;
    followed.push(follow(fleet, "a window for all", jitter).await?);
    for n in 0..windows {
        let named: Vec<_> = devices.iter().cycle().skip(n * NAMED).take(NAMED).collect();
        window(fleet, &admin, &format!("window {n}"), &json!({"devices": named})).await?;
    }
    followed.push(follow(fleet, "many windows for some", jitter).await?);

    for assigned in assigned {
        desired
            .assignments()
            .delete(&admin, assigned.id, None)
            .await
            .map_err(log)?;
    }
    followed.push(follow(fleet, "taken back", jitter).await?);
    Ok(followed)
}

async fn enrol(fleet: &Fleet, count: usize, group: DeviceGroupId) -> Result<Vec<DeviceId>, Error> {
    let (context, now) = (Context::system("bench"), fleet.clock().now());
    let device = |n: usize| Device {
        id: DeviceId::new(now, fleet.random()),
        name: format!("device-{n:05}"),
        machine_id: None,
        public_key: PublicKey::from_bytes(random_bytes(fleet.random())),
        enrolled_at: now,
        enrolled_by: EnrolmentTokenId::new(now, fleet.random()),
        labels: [("env".to_owned(), "prod".to_owned())].into(),
        groups: [group].into(),
        disabled: false,
        agent_version: "1.0.0".into(),
        agent_updates_enabled: true,
        certificate: None,
        revoked_at: None,
        pending: None,
        duplicate_of: None,
        claimed_machine_id: None,
        enrolled_from: None,
    };
    let devices: Vec<_> = (0..count).map(device).collect();
    for devices in devices.chunks(TOGETHER) {
        let store = fleet.store();
        store
            .change(&context, Evidence::Audit(DEVICE_ENROLLED), |mut tx| async move {
                for device in devices {
                    tx.create(device)?;
                    tx.create(&DeviceSummary::new(device))?;
                }
                tx.commit().await
            })
            .await?;
    }
    Ok(devices.iter().map(|device| device.id).collect())
}

async fn window(fleet: &Fleet, admin: &Context, name: &str, scope: &serde_json::Value) -> Result<()> {
    let new: NewWindow = serde_json::from_value(json!({
        "name": name, "kind": "maintenance", "scope": scope,
        "when": {"type": "recurring", "cron": "0 3 * * 0", "zone": "Europe/Berlin", "duration_seconds": 7_200},
    }))?;
    fleet.windows().create(admin, &new).await.map_err(log).map(drop)
}

async fn follow(fleet: &Fleet, what: &'static str, jitter: &mut Jitter) -> Result<Followed> {
    jitter.look();
    let began = Instant::now();
    let kept = fleet.desired().manifests().keep_current().await.map_err(log)?;
    Ok(Followed {
        what,
        seconds: began.elapsed().as_secs_f64(),
        changed: kept.changed,
        commits: kept.commits,
    })
}

fn log(error: Error) -> anyhow::Error {
    anyhow!(error.log())
}
