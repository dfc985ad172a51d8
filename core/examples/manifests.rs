//! How long it takes until ten thousand devices have their new manifests: `cargo run --release -p fleet-core --example manifests`.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example that measures asks for the time and talks to its terminal"
)]

use std::{sync::Arc, time::Instant};

use fleet_core::{
    Fleet,
    access::Context,
    devices::{
        Device, DeviceGroupId, DeviceId, DeviceSummary, EnrolmentTokenId, enrolment::DEVICE_ENROLLED,
        groups::NewDeviceGroup,
    },
    kernel::{MasterKey, PublicKey, SystemClock, SystemRandom, random_bytes},
    store::{Evidence, memory::MemoryStore},
    work::desired::{Mode, Source, Target, assignments::NewAssignment},
};

/// Devices of the fleet.
const DEVICES: usize = 10_000;
/// Devices of one commit while the fleet is made.
const TOGETHER: usize = 500;

type Failure = Box<dyn std::error::Error>;

async fn devices(fleet: &Fleet, group: DeviceGroupId) -> Result<(), Failure> {
    let (context, now) = (Context::system("example"), fleet.clock().now());
    for page in 0..DEVICES / TOGETHER {
        let device = |n: usize| Device {
            id: DeviceId::new(now, fleet.random()),
            name: format!("device-{:05}", page * TOGETHER + n),
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
        let devices: &Vec<_> = &(0..TOGETHER).map(device).collect();
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
    Ok(())
}

async fn keep(fleet: &Fleet, what: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let kept = fleet.desired().manifests().keep_current().await?;
    println!(
        "{what}: {} of {} devices have another manifest, in {} commits and {:?}",
        kept.changed,
        kept.devices,
        kept.commits,
        began.elapsed()
    );
    Ok(())
}

async fn measure(fleet: &Fleet) -> Result<(), Failure> {
    let (admin, desired) = (Context::system("example"), fleet.desired());
    let new = NewDeviceGroup {
        name: "all".into(),
        ..NewDeviceGroup::default()
    };
    let group = fleet.device_groups().create(&admin, &new).await?.id;
    devices(fleet, group).await?;
    let mut members = Vec::new();
    for n in 0..40 {
        let new = serde_json::json!({"name": format!("action {n}"), "operation": "shell", "params": {"script": "x".repeat(1_000)}});
        members.push(
            desired
                .actions()
                .create(&admin, &serde_json::from_value(new)?)
                .await?
                .id,
        );
    }
    let new = serde_json::json!({"name": "Base", "members": members});
    let set = desired
        .action_sets()
        .create(&admin, &serde_json::from_value(new)?)
        .await?;
    keep(fleet, "before anything is assigned").await?;
    let assignment = |mode| NewAssignment {
        source: Source::ActionSet(set.id),
        target: Target::DeviceGroup(group),
        mode,
        order: 0,
    };
    let made = desired
        .assignments()
        .create(&admin, &[assignment(Mode::Required)])
        .await?;
    keep(fleet, "40 actions assigned to all").await?;
    let change = serde_json::json!({"params": {"script": "true"}});
    let first = members.first().copied().ok_or("no action")?;
    desired
        .actions()
        .set(&admin, first, None, &serde_json::from_value(change)?)
        .await?;
    keep(fleet, "one of them changed").await?;
    let change = serde_json::json!({"name": "another name"});
    desired
        .actions()
        .set(&admin, first, None, &serde_json::from_value(change)?)
        .await?;
    keep(fleet, "and renamed").await?;
    for made in made {
        desired.assignments().delete(&admin, made.id, None).await?;
    }
    keep(fleet, "taken back").await
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let backend = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let fleet = Fleet::builder(backend, MasterKey::generate(&SystemRandom))
            .open()
            .await?;
        measure(&fleet).await
    })
}
