//! What is stored of a rollout.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    access::Actor,
    devices::{DeviceGroupId, DeviceId},
    kernel::Timestamp,
    work::BatchId,
};

/// How work goes from wave to wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutPolicy {
    /// The first waves; what none of them means is in a last one.
    pub waves: Vec<Wave>,
    /// How many runs are under way at the same time; any number when null.
    pub max_parallel: Option<u32>,
    /// How many failures are borne; any number when null.
    pub max_failures: Option<FailureLimit>,
    /// How long devices are watched after each wave before the next one begins, in seconds.
    pub watch_seconds: u32,
    /// Whether each wave but the first begins only when somebody says so.
    pub by_hand: bool,
    /// Whether devices that are offline are passed over: a wave does not wait for them, and their runs that expire are no failures.
    pub ignore_offline: bool,
}

/// Devices that go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Wave {
    /// So many, chosen at random.
    Count {
        /// How many.
        devices: u32,
    },
    /// So many of a hundred of all devices, at least one, chosen at random.
    Percent {
        /// How many of a hundred.
        percent: u32,
    },
    /// Those that were in any of these groups when the work was made.
    Groups {
        /// The groups.
        groups: Vec<DeviceGroupId>,
    },
}

/// How many failures are borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FailureLimit {
    /// So many over all waves.
    Count {
        /// How many.
        failures: u32,
    },
    /// So many of a hundred of the wave that is under way.
    Percent {
        /// How many of a hundred.
        percent: u32,
    },
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has begun: its time has not come, or somebody has to agree.
    Pending {
        /// When it begins, or until when somebody may agree.
        until: Timestamp,
        /// Whether somebody has to agree.
        approval: bool,
    },
    /// A wave is under way.
    Rolling,
    /// A wave is over, and its devices are watched.
    Watching {
        /// Since then.
        since: Timestamp,
        /// Until then.
        until: Timestamp,
    },
    /// A wave is over; the next one begins when somebody says so.
    Waiting,
    /// Something is wrong: no further run begins until somebody says so.
    Halted {
        /// What is wrong.
        reason: String,
        /// Whether the wave was over, and its devices were not well.
        watched: bool,
    },
    /// All waves are over.
    Done,
    /// It was given up: what had not begun never will.
    Aborted,
}

impl Phase {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Rolling => "rolling",
            Self::Watching { .. } => "watching",
            Self::Waiting => "waiting",
            Self::Halted { .. } => "halted",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }

    /// Whether nothing follows any more.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }
}

/// A wave of a rollout; those without devices are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutWave {
    /// How many devices it has.
    pub devices: u32,
    /// By what they were chosen; null for the last wave, of all that no other means.
    pub chosen: Option<Wave>,
}

/// How the runs of a batch begin wave by wave. It has the id of its batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "rollout", version = 1)]
#[entity(computed(look_at, int, with = Rollout::look_at))]
#[entity(computed(open_since, int, with = Rollout::open_since))]
pub struct Rollout {
    /// The batch.
    #[entity(id)]
    pub id: BatchId,
    /// The kind of operation.
    pub operation: String,
    /// What was asked for.
    pub policy: RolloutPolicy,
    /// Its waves.
    pub waves: Vec<RolloutWave>,
    /// The wave that is under way or was last, from 0.
    pub wave: u32,
    /// When that one began: what is spread begins from there on.
    pub wave_began_at: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// Who holds it, if somebody does: no further run begins until somebody lets it go on.
    pub paused_by: Option<Actor>,
    /// How many devices, in the order of the waves, have had their turn.
    pub admitted: u32,
    /// Those of them, by their places in that order, that wait for a window or for their share of the time.
    pub held: Vec<u32>,
    /// When the first of those may begin.
    pub held_until: Option<Timestamp>,
    /// Failures of earlier waves, or of before somebody let it go on.
    pub failed_before: u32,
    /// Devices that were not well after their wave, over all waves.
    pub unwell: u32,
    /// Failures that were borne when somebody let it go on.
    pub forgiven: u32,
    /// Whether somebody let it go on in this wave, whatever came of it.
    pub excused: bool,
    /// Whether runs that were let go and that no device has yet are held back.
    pub holds_back: bool,
    /// Whether runs may have to be taken back because it was given up.
    pub takes_back: bool,
    /// When it was made.
    #[entity(int)]
    pub created_at: Timestamp,
}

/// The devices of a batch in the order of its waves; as long as it is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "rollout_order", version = 1)]
pub struct RolloutOrder {
    /// The batch.
    #[entity(id)]
    pub id: BatchId,
    /// Its devices.
    pub devices: Vec<DeviceId>,
}

impl Rollout {
    /// When it is looked after next, unless it is over or waits for somebody.
    pub fn look_at(&self) -> Option<Timestamp> {
        if self.takes_back || self.has_to_settle() {
            return Some(self.created_at);
        }
        match &self.phase {
            _ if self.paused_by.is_some() => None,
            Phase::Pending { until, .. } | Phase::Watching { until, .. } => Some(*until),
            Phase::Rolling => Some(self.created_at),
            Phase::Waiting | Phase::Halted { .. } | Phase::Done | Phase::Aborted => None,
        }
    }

    /// When it was made, as long as it is not over.
    pub fn open_since(&self) -> Option<Timestamp> {
        (!self.phase.is_over()).then_some(self.created_at)
    }

    /// Whether no further run is to begin.
    pub fn is_held(&self) -> bool {
        !self.phase.is_over() && (self.paused_by.is_some() || matches!(self.phase, Phase::Halted { .. }))
    }

    /// Whether runs have to be held back, or let go again.
    pub(super) fn has_to_settle(&self) -> bool {
        self.is_held() != self.holds_back && !self.phase.is_over()
    }
}

impl Wave {
    /// The groups that it names.
    pub(super) fn groups(&self) -> &[DeviceGroupId] {
        match self {
            Self::Groups { groups } => groups,
            Self::Count { .. } | Self::Percent { .. } => &[],
        }
    }
}
