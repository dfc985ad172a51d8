//! A rollout as people and programs see it.

use serde::{Deserialize, Serialize};

use super::{Phase, RolloutPolicy, RolloutWave};
use crate::{
    access::Actor,
    devices::DeviceId,
    kernel::Timestamp,
    work::{BatchId, RunId, State},
};

/// A rollout as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutView {
    /// The batch.
    pub batch: BatchId,
    /// The kind of operation.
    pub operation: String,
    /// What was asked for.
    pub policy: RolloutPolicy,
    /// Where it stands.
    pub phase: Phase,
    /// The same in words, with what it waits for.
    pub in_words: String,
    /// Who holds it, if somebody does: no further run begins until somebody lets it go on.
    pub paused_by: Option<Actor>,
    /// The wave that is under way or was last, from 1.
    pub wave: u32,
    /// Its waves; those without devices are left out.
    pub waves: Vec<RolloutWave>,
    /// How many devices have had their turn, in the order of the waves.
    pub admitted: u32,
    /// How many of them wait for a window or for their share of the time.
    pub held: u32,
    /// How many runs it has.
    pub runs: u64,
    /// How many of them have ended.
    pub ended: u64,
    /// How many of them failed, over all waves.
    pub failed: u64,
    /// How many devices were not well after their wave, over all waves.
    pub unwell: u32,
    /// The runs that failed, the last one first; at most 20.
    pub failures: Vec<RolloutFailure>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutFailure {
    /// The run.
    pub run: RunId,
    /// Its device.
    pub device: DeviceId,
    /// The device's name when the run was made.
    pub device_name: String,
    /// How it ended.
    pub state: State,
    /// What is said about it, where something is.
    pub message: Option<String>,
}
