//! The batch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AskedTargets, RetryPolicy};
use crate::{
    Entity,
    access::Actor,
    blobs::BlobDigest,
    devices::{DeviceId, presence::PresenceBoard},
    kernel::{EntityId as _, Timestamp},
    work::{
        approvals::ApprovalId,
        desired::ActionId,
        plans::PlanId,
        promotions::{Promotion, PromotionStanding},
        rollouts::TURN_WITHIN,
        run::{Priority, RunId, State},
        schedule::jitter,
        secrets::{OperationSecretId, StoredParams},
    },
};

/// How long work waits that is skipped on devices that are offline, where its device is online and has other work.
const BUSY: Duration = Duration::from_secs(3_600);
/// Moments over which the beginnings of a batch's runs are spread.
const SHARES: u64 = 60;

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
    /// Somebody asked to try again what did not succeed, or the policy of the batch before did.
    Retry,
    /// The schedule of its plan said so.
    Schedule,
    /// Somebody agreed to it after its dry run.
    Promotion,
}

/// Work that was asked for, once: its targets are frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "batch", version = 1)]
#[entity(computed(release_turn, int, with = Batch::release_turn))]
#[entity(computed(looking_since, int, with = Batch::looking_since))]
#[entity(computed(promotion_until, int, with = Batch::promotion_until))]
#[entity(computed(secrets, reference, many, with = Batch::needed_secrets))]
#[entity(computed(held_blob, text, with = Batch::held_blob))]
pub struct Batch {
    /// Its id.
    #[entity(id)]
    pub id: BatchId,
    /// Why it exists.
    pub cause: Cause,
    /// The plan that it was made for, if for one.
    #[entity(reference)]
    pub plan: Option<PlanId>,
    /// Which devices were asked for; they were looked for once.
    pub targets: AskedTargets,
    /// The action that is carried out, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionId>,
    /// The kind of operation.
    #[entity(text)]
    pub operation: String,
    /// Its parameters, frozen.
    pub params: StoredParams,
    /// How long a run may take, in seconds.
    pub timeout_seconds: u32,
    /// How long a run waits for its device once it may begin, in seconds; with 0 it is skipped where that is offline.
    pub expiry_seconds: u32,
    /// Its runs are offered until this time; while it waits for approval, until when somebody may agree.
    pub expires_at: Timestamp,
    /// How many runs it has.
    pub runs: u64,
    /// When its runs may begin, if that was asked for.
    pub start_at: Option<Timestamp>,
    /// Over how many seconds the beginnings of its runs are spread.
    pub spread_seconds: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether its runs begin whatever the windows say.
    pub ignores_windows: bool,
    /// Whether its runs begin wave by wave; its rollout has the same id.
    pub rolls_out: bool,
    /// Who has to agree before its runs may begin, if anybody has to.
    pub approval: Option<ApprovalId>,
    /// How many had to agree to it, or to what it comes from: to try it again takes no fewer.
    pub approvals: u32,
    /// The batch whose unsuccessful runs it tries again.
    pub retry_of: Option<BatchId>,
    /// Which attempt at its work it is; the first is 1.
    pub attempt: u32,
    /// How it is tried again by itself, if it is.
    pub retry: Option<RetryPolicy>,
    /// When it was made, as long as it may be tried again and some of its runs may not have ended.
    #[entity(int)]
    pub retrying_since: Option<Timestamp>,
    /// When the next attempt is to be made, as long as it is not.
    #[entity(int)]
    pub retry_at: Option<Timestamp>,
    /// The batch of the next attempt.
    pub retried_by: Option<BatchId>,
    /// What is to follow it, where it is a dry run that came first.
    pub promotion: Option<Promotion>,
    /// The batch whose dry run came first.
    pub promoted_from: Option<BatchId>,
    /// When it was begun to make its runs, as long as some may be missing.
    #[entity(int)]
    pub expanding_since: Option<Timestamp>,
    /// When its runs have to be let go, as long as some may wait for that.
    #[entity(int)]
    pub release_at: Option<Timestamp>,
    /// When somebody stopped all of it.
    pub cancelled_at: Option<Timestamp>,
    /// The same, as long as some of its runs may not know.
    #[entity(int)]
    pub cancelling_since: Option<Timestamp>,
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

/// The devices of a batch, until all of its runs are made: whoever goes on with that finds here what was frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "batch_targets", version = 1)]
pub struct BatchTargets {
    /// The batch.
    #[entity(id)]
    pub id: BatchId,
    /// All of its devices, in the order of their ids.
    pub devices: Vec<DeviceId>,
}

impl Batch {
    /// What is too large for its parameters.
    fn held_blob(&self) -> Option<BlobDigest> {
        self.params.content_blob()
    }

    /// The secrets of runs that are still to be made; those of the others are held by the runs.
    fn needed_secrets(&self) -> Vec<OperationSecretId> {
        let makes_runs = self.expanding_since.is_some() || self.retrying_since.is_some() || self.retry_at.is_some();
        match makes_runs || self.may_be_promoted() {
            true => self.params.secret_ids(),
            false => Vec::new(),
        }
    }

    /// Whether it is a dry run that may still be done for real.
    pub(in crate::work) fn may_be_promoted(&self) -> bool {
        let promotion = self.promotion.as_ref();
        promotion.is_some_and(|promotion| promotion.standing.is_open())
    }

    /// When it was made, as long as it is a dry run that comes first and has not ended.
    fn looking_since(&self) -> Option<Timestamp> {
        let promotion = self.promotion.as_ref()?;
        (promotion.standing == PromotionStanding::Looking).then_some(self.created_at)
    }

    /// Until when somebody may decide whether its dry run goes on.
    fn promotion_until(&self) -> Option<Timestamp> {
        let promotion = self.promotion.as_ref()?;
        let is_asked = promotion.standing == PromotionStanding::AwaitingApproval;
        promotion.expires_at.filter(|_| is_asked)
    }

    /// Whether some of its runs may wait that are to be looked at: its time has come, or somebody agreed to it.
    pub(super) fn has_begun(&self, now: Timestamp) -> bool {
        // What was agreed to is told so at once, however much later it begins: what waits for approval expires with that.
        let was_agreed = self.approval.is_some();
        let starts = self.start_at.is_none_or(|start| start <= now);
        self.release_at.is_some() && (self.rolls_out || was_agreed || starts)
    }

    /// Its place among the batches whose runs have to be let go: the earliest goes first.
    pub(super) fn release_turn(&self) -> Option<Timestamp> {
        self.release_at.map(|at| self.priority.turn(at))
    }

    /// When its runs begin: at least then, each its own share later.
    pub(super) fn base(&self) -> Timestamp {
        self.expires_at.minus(self.expiry())
    }

    /// When its run on a device may begin, unless windows say otherwise: its own share later than the batch itself, or its wave.
    pub(super) fn begins_at(&self, base: Timestamp, device: DeviceId) -> Timestamp {
        match self.spread_seconds {
            0 => base,
            seconds => {
                // The same device has the same share each time a plan is carried out, whoever else is meant.
                let whose = self.plan.map_or(self.id.uuid(), |plan| plan.uuid());
                let share = jitter(&[whose, device.uuid()], seconds).as_secs();
                // Whoever lets runs go looks at all that wait: so many times, and not once for each device.
                let step = u64::from(seconds).div_ceil(SHARES);
                base.plus(Duration::from_secs(share / step * step))
            }
        }
    }

    /// How long a run that may begin waits for its turn on its device.
    pub(in crate::work) fn expiry(&self) -> Duration {
        expiry(self.expiry_seconds)
    }

    /// Whether its run on a device is skipped, as that is offline.
    pub(super) fn skips(&self, presence: &PresenceBoard, device: DeviceId) -> bool {
        self.expiry_seconds == 0 && !presence.is_online(device)
    }

    /// The state in which its runs are made.
    pub(super) fn first_state(&self) -> State {
        match (self.approval, self.release_at) {
            (Some(_), None) => State::AwaitingApproval,
            (_, Some(_)) => State::Scheduled,
            (None, None) if self.rolls_out => State::Scheduled,
            (None, None) => State::Queued,
        }
    }

    /// Until when a run that waits for its wave does so.
    pub(in crate::work) fn turn_until(&self) -> Timestamp {
        self.start_at.unwrap_or(self.created_at).plus(TURN_WITHIN)
    }

    /// Until when its runs are offered, or wait, as they are made.
    pub(super) fn first_expiry(&self) -> Timestamp {
        match self.rolls_out && self.first_state() == State::Scheduled {
            true => self.turn_until(),
            false => self.expires_at,
        }
    }

    /// The id of its run on a device: whoever makes it, and however often it is tried, it is the same run.
    pub fn run_on(&self, device: DeviceId) -> RunId {
        run_on(self.id, self.created_at, device)
    }
}

/// How long a run waits that was asked to do so for so many seconds: what is skipped on devices that are offline waits for other work of those
/// that are online.
pub(super) fn expiry(seconds: u32) -> Duration {
    match seconds {
        0 => BUSY,
        seconds => Duration::from_secs(u64::from(seconds)),
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
