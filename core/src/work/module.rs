//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{
    APPROVAL_SECONDS, APPROVALS_FOR, APPROVALS_NEEDED, Approval, Batch, CONFIRM_ABOVE, RUNS_APPROVE, RUNS_CANCEL,
    RUNS_READ, RUNS_RETRY, Run,
    approvals::{APPROVAL_APPROVE, APPROVAL_REJECT},
    batch::{
        BATCH_CANCEL, BATCH_CREATE, BATCH_EXPAND, BATCH_RELEASE, BATCH_RETRY, BATCH_RETRY_SETTLE, BatchTargets,
        cancel_open, expand_stalled, release_due, retry_ended,
    },
    delivery, desired,
    forgetting::{BATCH_FORGET, FORGET_EVERY, RUN_DAYS, RUN_FORGET, forget_ended},
    operations::{actions, agent_update, refresh, shell, sync},
    output::Chunk,
    plans::{
        PLAN_CREATE, PLAN_DELETE, PLAN_MISS, PLAN_UPDATE, PLANS_READ, PLANS_START, PLANS_WRITE, Plan, PlanProgress,
        start_due,
    },
    promotions::{BATCH_PROMOTION_SETTLE, settle_due},
    rollouts::{ROLLOUT_ABORT, ROLLOUT_ADVANCE, ROLLOUT_PAUSE, ROLLOUT_RESUME, Rollout, RolloutOrder, advance_due},
    run::{DEVICE_RUNS_CANCEL, RUN_CANCEL, RunEvent},
    secrets,
    windows::{WINDOW_CREATE, WINDOW_DELETE, WINDOW_UPDATE, WINDOWS_READ, WINDOWS_WRITE, Window},
};
use crate::{
    access::{PermissionEntry, Role},
    blobs::BlobHolder,
    modules::{Job, Module},
    retention::{LaneRetention, days_setting},
    store::{LaneRow as _, kind_schema, lane_schema},
};

/// What `work` brings along.
pub fn module() -> Module {
    let mut module = Module {
        name: "work",
        kinds: vec![
            kind_schema::<Plan>(),
            kind_schema::<PlanProgress>(),
            kind_schema::<Batch>(),
            kind_schema::<BatchTargets>(),
            kind_schema::<Approval>(),
            kind_schema::<Rollout>(),
            kind_schema::<RolloutOrder>(),
            kind_schema::<Run>(),
            kind_schema::<Window>(),
        ],
        lanes: vec![lane_schema::<RunEvent>(), lane_schema::<Chunk>()],
        permissions: [
            PermissionEntry {
                permission: RUNS_READ,
                allows: "see runs and their output",
                least: Role::Viewer,
            },
            PermissionEntry {
                permission: RUNS_CANCEL,
                allows: "stop runs",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: RUNS_RETRY,
                allows: "try again what did not succeed, with the right to its operation",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: RUNS_APPROVE,
                allows: "agree to work that others asked for, or refuse it",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: PLANS_READ,
                allows: "see plans",
                least: Role::Viewer,
            },
            PermissionEntry {
                permission: PLANS_START,
                allows: "start plans by hand, with the right to their operations",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: PLANS_WRITE,
                allows: "make, alter and delete plans, with the right to their operations",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: WINDOWS_READ,
                allows: "see windows, and what follows from them",
                least: Role::Viewer,
            },
            PermissionEntry {
                permission: WINDOWS_WRITE,
                allows: "make, alter and delete windows",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: shell::SHELL_RUN,
                allows: "run scripts on devices, as root",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: agent_update::UPDATE_RUN,
                allows: "update the agents of devices",
                least: Role::Admin,
            },
            PermissionEntry {
                permission: refresh::REFRESH_RUN,
                allows: "have devices collect their inventory anew",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: sync::SYNC_RUN,
                allows: "have devices apply their desired state now",
                least: Role::Operator,
            },
        ]
        .into_iter()
        .chain(actions::permissions())
        .collect(),
        actions: vec![
            BATCH_CREATE,
            BATCH_EXPAND,
            BATCH_CANCEL,
            BATCH_RELEASE,
            BATCH_RETRY,
            BATCH_FORGET,
            RUN_FORGET,
            BATCH_RETRY_SETTLE,
            BATCH_PROMOTION_SETTLE,
            APPROVAL_APPROVE,
            APPROVAL_REJECT,
            ROLLOUT_ADVANCE,
            ROLLOUT_PAUSE,
            ROLLOUT_RESUME,
            ROLLOUT_ABORT,
            RUN_CANCEL,
            DEVICE_RUNS_CANCEL,
            PLAN_CREATE,
            PLAN_UPDATE,
            PLAN_DELETE,
            PLAN_MISS,
            WINDOW_CREATE,
            WINDOW_UPDATE,
            WINDOW_DELETE,
        ],
        settings: vec![
            APPROVALS_FOR.definition(),
            APPROVALS_NEEDED.definition(),
            APPROVAL_SECONDS.definition(),
            RUN_DAYS.definition(),
            CONFIRM_ABOVE.definition(),
        ],
        operations: [shell::KIND, refresh::KIND, agent_update::KIND, sync::KIND]
            .into_iter()
            .chain(actions::ALL.iter().map(|(kind, _)| *kind))
            .collect(),
        retention: vec![
            LaneRetention {
                lane: RunEvent::LANE,
                days: days_setting(
                    "retention.run_event_days",
                    "How many days the history of runs is kept; 0 keeps it for ever.",
                    || 180,
                ),
            },
            LaneRetention {
                lane: Chunk::LANE,
                days: days_setting(
                    "retention.run_output_days",
                    "How many days the output of runs is kept; 0 keeps it for ever.",
                    || 90,
                ),
            },
        ],
        jobs: vec![
            Job {
                name: "work.expand",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(expand_stalled(fleet))),
            },
            Job {
                name: "work.plans",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(start_due(fleet))),
            },
            Job {
                name: "work.release",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(release_due(fleet))),
            },
            Job {
                name: "work.rollouts",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(advance_due(fleet))),
            },
            Job {
                name: "work.cancel",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(cancel_open(fleet))),
            },
            Job {
                name: "work.retry",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(retry_ended(fleet))),
            },
            Job {
                name: "work.promotions",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(settle_due(fleet))),
            },
            Job {
                name: "work.forget",
                every: FORGET_EVERY,
                tick: Arc::new(|fleet| Box::pin(forget_ended(fleet))),
            },
            Job {
                name: "work.sweep",
                every: Duration::from_secs(5),
                tick: Arc::new(|fleet| Box::pin(delivery::sweep(fleet))),
            },
        ],
        blob_holders: vec![BlobHolder::of(Batch::HELD_BLOB), BlobHolder::of(Plan::HELD_BLOB)],
        ..Module::default()
    };
    desired::add_to(&mut module);
    secrets::add_to(&mut module);
    module
}
