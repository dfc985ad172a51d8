//! The plan and the batch.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    access::Actor,
    devices::DeviceId,
    kernel::{EntityId as _, Timestamp},
    work::run::{RunId, StateCount},
};

crate::define_id!(
    /// Names a plan.
    PlanId,
    "plan"
);
crate::define_id!(
    /// Names a batch.
    BatchId,
    "batch"
);

/// Why work exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked for it.
    Manual,
}

/// Which devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// These devices.
    pub devices: Vec<DeviceId>,
}

/// Which devices, as it is stored: what a later version adds must not keep this one from reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTargets {
    /// These devices.
    pub devices: Vec<DeviceId>,
}

/// Why work exists and what it is: an operation, its parameters and its targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "plan", version = 1)]
pub struct Plan {
    /// Its id.
    #[entity(id)]
    pub id: PlanId,
    /// Why it exists.
    pub cause: Cause,
    /// The kind of operation.
    #[entity(text)]
    pub operation: String,
    /// Its parameters.
    pub params: serde_json::Value,
    /// Which devices.
    pub targets: PlannedTargets,
    /// Who made it.
    pub created_by: Actor,
    /// When.
    #[entity(int)]
    pub created_at: Timestamp,
}

/// One expansion of a plan: its targets are frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "batch", version = 1)]
pub struct Batch {
    /// Its id.
    #[entity(id)]
    pub id: BatchId,
    /// Its plan.
    #[entity(reference)]
    pub plan: PlanId,
    /// The kind of operation.
    #[entity(text)]
    pub operation: String,
    /// Its parameters, frozen.
    pub params: serde_json::Value,
    /// How long a run may take, in seconds.
    pub timeout_seconds: u32,
    /// Its runs are offered until this time.
    pub expires_at: Timestamp,
    /// How many runs it has.
    pub runs: u64,
    /// When it was begun to make them, as long as some may be missing.
    #[entity(int)]
    pub expanding_since: Option<Timestamp>,
    /// BLAKE3 over the ids of its runs, in order: what the audit entry stands for.
    pub runs_digest: String,
    /// What identifies the request, to tell a repeat from another request with the same key.
    pub request_digest: String,
    /// Who asked for it.
    pub created_by: Actor,
    /// When.
    #[entity(int)]
    pub created_at: Timestamp,
}

impl Batch {
    /// The id of its run on a device: whoever makes it, and however often it is tried, it is the same run.
    pub fn run_on(&self, device: DeviceId) -> RunId {
        run_on(self.id, self.created_at, device)
    }
}

/// [`Batch::run_on`], before there is a batch. A UUIDv7 (RFC 9562 §5.7) whose random bits follow from batch and device.
pub(super) fn run_on(batch: BatchId, created_at: Timestamp, device: DeviceId) -> RunId {
    let mut hasher = blake3::Hasher::new_derive_key("fleet run of a batch v1");
    hasher.update(batch.uuid().as_bytes());
    hasher.update(device.uuid().as_bytes());
    let mut bits = [0; 10];
    bits.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    let millis = u64::try_from(created_at.as_millis()).unwrap_or(0);
    RunId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
}

/// A request for work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"operation": "shell", "params": {"script": "uname -a"}, "targets": {"devices": ["019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"]}})))]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The kind of operation, such as `shell`.
    pub operation: String,
    /// Its parameters.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: serde_json::Value,
    /// Which devices.
    pub targets: Targets,
    /// How long a run may take, in seconds; the kind's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub timeout_seconds: Option<u32>,
    /// How long a run waits for a device that is offline, in seconds; the kind's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub expires_in_seconds: Option<u32>,
}

/// A batch as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchView {
    /// Its id.
    pub id: BatchId,
    /// Its plan.
    pub plan: PlanId,
    /// The kind of operation.
    pub operation: String,
    /// Its parameters.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: serde_json::Value,
    /// Who asked for it.
    pub created_by: Actor,
    /// When.
    pub created_at: Timestamp,
    /// How many runs it has.
    pub runs: u64,
    /// How many runs stand in each state.
    pub states: Vec<StateCount>,
    /// Whether every run has ended.
    pub finished: bool,
}
