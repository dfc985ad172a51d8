//! What is asked for, and what is answered.

use serde::{Deserialize, Serialize};

use super::{AskedTargets, Batch, BatchId, Cause, Confirmation, NewRetry, RetryPolicy, Targets, attempts::NextAttempt};
use crate::{
    access::Actor,
    kernel::Timestamp,
    work::{
        GivenParams, StoredParams,
        approvals::ApprovalId,
        desired::ActionId,
        plans::{Due, PlanId},
        promotions::{PromotionTerms, PromotionView},
        rollouts::{NewRollout, RolloutPolicy},
        run::{Priority, State, StateCount},
        secrets::OperationSecret,
    },
};

/// A request for work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"operation": "shell", "params": {"script": "uname -a"}, "targets": {"devices": ["019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"]}})))]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The kind of operation, such as `shell`; left out where an `action` says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// Its parameters; left out where an `action` says them.
    #[serde(default, skip_serializing_if = "GivenParams::is_null")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: GivenParams,
    /// The action that is carried out once, as it is now: its kind, parameters and state, and its time limit where none is given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub action: Option<ActionId>,
    /// Which devices.
    pub targets: Targets,
    /// How long a run may take, in seconds; the kind's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub timeout_seconds: Option<u32>,
    /// How long a run waits for a device that is offline, in seconds, once it may begin; with 0 it is skipped there. The kind's default when
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub expires_in_seconds: Option<u32>,
    /// When it begins; at once when left out. At most 366 days ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub start_at: Option<Timestamp>,
    /// Whether it begins whatever the windows say. When left out, work that is to begin at once does, and work for later heeds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub ignore_windows: Option<bool>,
    /// Over how many seconds the beginnings of its runs are spread, at most 86,400, so that not all devices work at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spread_seconds: u32,
    /// How urgent it is: of what waits for a device or a server, urgent work goes first. Nobody is passed by for more than two hours.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// How many others have to agree before it begins, 0 to 10; the fleet's settings may ask for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub approvals: Option<u32>,
    /// Whether it is a dry run first, and done for real once somebody agreed to what that would change: on the devices that said so, and with
    /// these very parameters. Only for kinds with the parameter `dry_run`. Its start, windows, waves and further attempts are those of the
    /// real work, which heeds windows unless `ignore_windows` says otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run_first: bool,
    /// How it goes from wave to wave; all at once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub rollout: Option<NewRollout>,
    /// How it is tried again by itself where it does not succeed; only for kinds that do no harm when they are done twice, and not wave by
    /// wave. Not at all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub retry: Option<NewRetry>,
    /// On how many devices it is to be done: then it is done on so many, or not at all. Risky work on many devices, or on all, is refused
    /// without it; what the refusal says is the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub confirm_devices: Option<u64>,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Which runs of a batch are tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"states": ["failed", "lost"]})))]
#[serde(default, deny_unknown_fields)]
pub struct BatchRetry {
    /// Those that ended in one of these states; when left out, in any that is no success and was nobody's wish: `failed`,
    /// `timed_out`, `expired`, `lost`, `indeterminate`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
}

/// Which batches are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFilter {
    /// Only of this kind of operation.
    pub operation: Option<String>,
    /// Only those that were made for this plan.
    pub plan: Option<PlanId>,
}

/// A batch as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchView {
    /// Its id.
    pub id: BatchId,
    /// Why it exists.
    pub cause: Cause,
    /// The plan that it was made for, if for one.
    pub plan: Option<PlanId>,
    /// Which devices were asked for.
    pub targets: AskedTargets,
    /// The action that is carried out, where one is.
    pub action: Option<ActionId>,
    /// The kind of operation.
    pub operation: String,
    /// Its parameters.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: serde_json::Value,
    /// Who asked for it.
    pub created_by: Actor,
    /// When.
    pub created_at: Timestamp,
    /// When its runs may begin, if that was asked for.
    pub start_at: Option<Timestamp>,
    /// Over how many seconds the beginnings of its runs are spread.
    pub spread_seconds: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether its runs begin whatever the windows say.
    pub ignores_windows: bool,
    /// Whether its runs begin wave by wave.
    pub rolls_out: bool,
    /// What has to be approved before its runs may begin.
    pub approval: Option<ApprovalId>,
    /// The batch whose unsuccessful runs it tries again.
    pub retry_of: Option<BatchId>,
    /// Which attempt at its work it is; the first is 1.
    pub attempt: u32,
    /// How it is tried again by itself where it does not succeed, if it is.
    pub retry: Option<RetryPolicy>,
    /// When the next attempt is made; known once all runs have ended, and null when it was made.
    pub retry_at: Option<Timestamp>,
    /// The batch of the next attempt, once it is made.
    pub retried_by: Option<BatchId>,
    /// What follows it, where it is a dry run that came first.
    pub promotion: Option<PromotionView>,
    /// The batch whose dry run came first, where one did.
    pub promoted_from: Option<BatchId>,
    /// When somebody stopped all of it.
    pub cancelled_at: Option<Timestamp>,
    /// How many runs it has.
    pub runs: u64,
    /// How many runs stand in each state.
    pub states: Vec<StateCount>,
    /// Whether every run has ended.
    pub finished: bool,
}

impl BatchView {
    pub(super) fn new(batch: Batch, states: Vec<StateCount>) -> Self {
        let ended = states.iter().filter(|count| count.state.is_terminal());
        let finished = ended.map(|count| count.runs).sum::<u64>() == batch.runs;
        Self {
            id: batch.id,
            cause: batch.cause,
            plan: batch.plan,
            targets: batch.targets,
            action: batch.action,
            operation: batch.operation,
            params: batch.params.shown(),
            created_by: batch.created_by,
            created_at: batch.created_at,
            start_at: batch.start_at,
            spread_seconds: batch.spread_seconds,
            priority: batch.priority,
            ignores_windows: batch.ignores_windows,
            rolls_out: batch.rolls_out,
            approval: batch.approval,
            retry_of: batch.retry_of,
            attempt: batch.attempt,
            retry: batch.retry,
            retry_at: batch.retry_at,
            retried_by: batch.retried_by,
            promotion: batch.promotion.map(PromotionView::from),
            promoted_from: batch.promoted_from,
            cancelled_at: batch.cancelled_at,
            runs: batch.runs,
            states,
            finished,
        }
    }
}

/// A request that was checked, of whatever cause.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The action that is carried out, where one is.
    pub(crate) action: Option<ActionId>,
    pub(crate) params: StoredParams,
    /// The secrets that came with the request; those of earlier work are there already.
    pub(crate) secrets: Vec<OperationSecret>,
    pub(crate) targets: Targets,
    pub(crate) timeout_seconds: u32,
    pub(crate) expiry_seconds: u32,
    pub(crate) start_at: Option<Timestamp>,
    pub(crate) spread_seconds: u32,
    pub(crate) priority: Priority,
    pub(crate) ignores_windows: bool,
    /// How many others have to agree.
    pub(crate) approvals: u32,
    /// How many agreed already, to what it comes from.
    pub(crate) agreed: u32,
    /// Whether its dry run comes first.
    pub(crate) dry_run_first: bool,
    /// What it is to become, where it is a dry run that comes first.
    pub(crate) promotion: Option<PromotionTerms>,
    /// The batch whose dry run came first.
    pub(crate) promoted_from: Option<BatchId>,
    /// How it goes from wave to wave, if it does.
    pub(crate) rollout: Option<RolloutPolicy>,
    /// How it is tried again by itself, if it is.
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) cause: Cause,
    /// The plan that it is for.
    pub(crate) plan: Option<PlanId>,
    /// The time of that plan's schedule that it is for.
    pub(crate) due: Option<Due>,
    pub(crate) retry_of: Option<BatchId>,
    /// The attempt that it is, where a policy asked for it.
    pub(crate) next_attempt: Option<NextAttempt>,
    /// Whether somebody says on how many devices it is done.
    pub(crate) confirmation: Confirmation,
    /// What identifies the request.
    pub(crate) digest: String,
}
