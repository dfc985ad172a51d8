//! What is stored of a plan, and how it is shown.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Entity,
    access::Actor,
    blobs::BlobDigest,
    devices::device::fold,
    kernel::{Code, EntityId as _, Timestamp},
    work::{
        batch::{BatchId, PlannedTargets, RetryPolicy},
        rollouts::RolloutPolicy,
        run::Priority,
        schedule::{MissedRuns, Schedule},
        secrets::{OperationSecretId, StoredParams},
    },
};

crate::define_id!(
    /// Names a plan.
    PlanId,
    "plan"
);

/// Work that is kept under a name, to be done again: by hand, or whenever its schedule says so. Each time makes a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "plan", version = 1)]
#[entity(computed(name, text, unique, with = Plan::folded))]
#[entity(computed(secrets, reference, many, with = Plan::secret_ids))]
#[entity(computed(held_blob, text, with = Plan::held_blob))]
pub struct Plan {
    /// Its id.
    #[entity(id)]
    pub id: PlanId,
    /// Its name; no two plans have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether its schedule counts. By hand it can be started all the same.
    pub enabled: bool,
    /// The kind of operation.
    #[entity(text)]
    pub operation: String,
    /// Its parameters.
    pub params: StoredParams,
    /// Which devices, looked for anew each time.
    pub targets: PlannedTargets,
    /// How long a run may take, in seconds, where it is not the kind's default.
    pub timeout_seconds: Option<u32>,
    /// How long a run waits for its device, in seconds; until the next time when nothing was said.
    pub expires_in_seconds: Option<u32>,
    /// Whether its runs begin whatever the windows say.
    pub ignore_windows: bool,
    /// How many others have to agree each time, as far as settings do not ask for more.
    pub approvals: u32,
    /// Over how many seconds the beginnings of its runs are spread.
    pub spread_seconds: u32,
    /// How urgent its work is.
    pub priority: Priority,
    /// Whether a dry run comes first each time, and the work is done for real once somebody agreed.
    pub dry_run_first: bool,
    /// How its work goes from wave to wave; all at once where it does not.
    pub rollout: Option<RolloutPolicy>,
    /// How it is tried again by itself, if it is.
    pub retry: Option<RetryPolicy>,
    /// When its work is done; never by itself where there is none.
    pub schedule: Option<Schedule>,
    /// What is done about times that passed while nobody looked.
    pub missed: MissedRuns,
    /// Who changed it last, and so answers for what it does.
    pub changed_by: Actor,
    /// The user who answers for that.
    pub owner: Option<Uuid>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// How far the schedule of a plan is. It has the id of its plan, and changes with each of its times; the plan does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "plan_progress", version = 1)]
pub struct PlanProgress {
    /// The plan.
    #[entity(id)]
    pub id: PlanId,
    /// Everything up to this time is done, or was missed.
    pub settled_at: Timestamp,
    /// The next time, as long as its schedule counts and has one.
    #[entity(int)]
    pub next_at: Option<Timestamp>,
    /// What became of the last time that its schedule named.
    pub last: Option<PlanOccasion>,
}

/// A time that a schedule named, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanOccasion {
    /// The time that the schedule names.
    pub due_at: Timestamp,
    /// When it was looked after.
    pub at: Timestamp,
    /// How many times before it were missed and not made up for; at most 1,000 are counted.
    pub missed: u32,
    /// What became of it.
    pub outcome: PlanOutcome,
}

/// What became of a time that a schedule named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PlanOutcome {
    /// Its work was made.
    Started {
        /// The work.
        batch: BatchId,
    },
    /// Nobody looked at that time, and the plan does not make up for it.
    Missed,
    /// Its work could not be made, because no device was meant, for example.
    Refused {
        /// The stable code of the refusal.
        code: String,
        /// The same in words.
        message: String,
    },
}

impl Plan {
    /// What is too large for its parameters.
    fn held_blob(&self) -> Option<BlobDigest> {
        self.params.content_blob()
    }

    fn secret_ids(&self) -> Vec<OperationSecretId> {
        self.params.secret_ids()
    }

    fn folded(&self) -> String {
        fold(&self.name)
    }

    /// The id of the batch that a time of its schedule makes: whichever server makes it, and however often it is tried, it is the same.
    pub fn batch_at(&self, due_at: Timestamp) -> BatchId {
        let mut hasher = blake3::Hasher::new_derive_key("fleet batch of a plan v1");
        hasher.update(self.id.uuid().as_bytes());
        hasher.update(&due_at.as_micros().to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        // UUIDv8 (RFC 9562 §5.8): the bits are ours.
        BatchId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl PlanOutcome {
    /// A refusal, in words for those who read plans.
    pub(super) fn refused(code: Code, message: &str) -> Self {
        Self::Refused {
            code: code.name().to_owned(),
            message: message.chars().take(500).collect(),
        }
    }
}

/// A plan as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanView {
    /// Its id.
    pub id: PlanId,
    /// How often it was changed since it was made, 1 at first; the ETag of the resource. What its schedule did does not count.
    pub revision: u64,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether its schedule counts.
    pub enabled: bool,
    /// The kind of operation.
    pub operation: String,
    /// Its parameters.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: serde_json::Value,
    /// Which devices, looked for anew each time.
    pub targets: PlannedTargets,
    /// How long a run may take, in seconds; the kind's default where it is null.
    pub timeout_seconds: Option<u32>,
    /// How long a run waits for its device, in seconds; until the next time, or the kind's default, where it is null.
    pub expires_in_seconds: Option<u32>,
    /// Whether its runs begin whatever the windows say.
    pub ignore_windows: bool,
    /// How many others have to agree each time.
    pub approvals: u32,
    /// Over how many seconds the beginnings of its runs are spread.
    pub spread_seconds: u32,
    /// How urgent its work is.
    pub priority: Priority,
    /// Whether a dry run comes first each time, and the work is done for real once somebody agreed.
    pub dry_run_first: bool,
    /// How its work goes from wave to wave; all at once where it is null.
    pub rollout: Option<RolloutPolicy>,
    /// How it is tried again by itself where it does not succeed; null where it is not.
    pub retry: Option<RetryPolicy>,
    /// When its work is done; null for a plan that is only started by hand.
    pub schedule: Option<Schedule>,
    /// The schedule in words; null where there is none.
    pub in_words: Option<String>,
    /// What is done about times that passed while nobody looked.
    pub missed: MissedRuns,
    /// The next time, as long as its schedule counts and has one.
    pub next_at: Option<Timestamp>,
    /// What became of the last time that its schedule named.
    pub last: Option<PlanOccasion>,
    /// Who changed it last, and so answers for what it does.
    pub changed_by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}
