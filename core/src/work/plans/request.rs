//! What is asked of a plan.

use serde::{Deserialize, Serialize};

use crate::{
    kernel::merge_patch::nullable,
    work::{
        GivenParams,
        batch::{NewRetry, Targets},
        rollouts::NewRollout,
        run::Priority,
        schedule::{NewMissedRuns, NewSchedule},
    },
};

/// A plan to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Nightly inventory", "operation": "inventory.refresh", "targets": {"all": true}, "schedule": {"type": "cron", "cron": "0 2 * * *", "zone": "Europe/Berlin"}, "spread_seconds": 1800})))]
#[serde(deny_unknown_fields)]
pub struct NewPlan {
    /// Its name; no two plans have the same, without regard to case.
    pub name: String,
    /// What it is for; at most 2,000 bytes.
    #[serde(default)]
    pub description: String,
    /// Whether its schedule counts. By hand it can be started all the same.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The kind of operation, such as `shell`.
    pub operation: String,
    /// Its parameters.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: GivenParams,
    /// Which devices; they are looked for anew each time.
    pub targets: Targets,
    /// How long a run may take, in seconds; the kind's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub timeout_seconds: Option<u32>,
    /// How long a run waits for a device that is offline, in seconds, once it may begin; with 0 it is skipped there. When left out: until
    /// the next time of the schedule, and the kind's default where there is none or it skips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub expires_in_seconds: Option<u32>,
    /// Whether its runs begin whatever the windows say.
    #[serde(default)]
    pub ignore_windows: bool,
    /// How many others have to agree each time, 0 to 10; the fleet's settings may ask for more.
    #[serde(default)]
    pub approvals: u32,
    /// Over how many seconds the beginnings of its runs are spread, at most 86,400, so that not all devices work at once.
    #[serde(default)]
    pub spread_seconds: u32,
    /// How urgent its work is.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// Whether a dry run comes first each time, and the work is done for real once somebody agreed to what that would change. Only for kinds
    /// with the parameter `dry_run`.
    #[serde(default)]
    pub dry_run_first: bool,
    /// How its work goes from wave to wave; all at once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub rollout: Option<NewRollout>,
    /// How it is tried again by itself where it does not succeed; not at all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub retry: Option<NewRetry>,
    /// When its work is done; when left out, only by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub schedule: Option<NewSchedule>,
    /// What is done about times that passed while nobody looked; nothing when left out.
    #[serde(default)]
    pub missed: NewMissedRuns,
    /// How many devices it means now: risky work on many devices, or on all, is refused without it. Its times are not asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub confirm_devices: Option<u64>,
}

fn yes() -> bool {
    true
}

/// What may be set of a plan; what is absent stays as it is, what is given replaces the whole member, and null takes away what may be
/// left out of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"enabled": false})))]
#[serde(default, deny_unknown_fields)]
pub struct PlanChange {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether its schedule counts.
    pub enabled: Option<bool>,
    /// The kind of operation; then its parameters are given, too.
    pub operation: Option<String>,
    /// Its parameters.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub params: Option<GivenParams>,
    /// Which devices.
    pub targets: Option<Targets>,
    /// How long a run may take, in seconds; the kind's default when null.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub timeout_seconds: Option<Option<u32>>,
    /// How long a run waits for its device, in seconds; until the next time when null.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub expires_in_seconds: Option<Option<u32>>,
    /// Whether its runs begin whatever the windows say.
    pub ignore_windows: Option<bool>,
    /// How many others have to agree each time.
    pub approvals: Option<u32>,
    /// Over how many seconds the beginnings of its runs are spread.
    pub spread_seconds: Option<u32>,
    /// How urgent its work is.
    pub priority: Option<Priority>,
    /// Whether a dry run comes first each time, and the work is done for real once somebody agreed.
    pub dry_run_first: Option<bool>,
    /// How its work goes from wave to wave; all at once when null.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<NewRollout>))]
    pub rollout: Option<Option<NewRollout>>,
    /// How it is tried again by itself where it does not succeed; not at all when null.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<NewRetry>))]
    pub retry: Option<Option<NewRetry>>,
    /// When its work is done; only by hand when null. Times up to now are not made up for.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<NewSchedule>))]
    pub schedule: Option<Option<NewSchedule>>,
    /// What is done about times that passed while nobody looked.
    pub missed: Option<NewMissedRuns>,
    /// How many devices it means now, where it becomes other work or work on others: as when it is made.
    pub confirm_devices: Option<u64>,
}
