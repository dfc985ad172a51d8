//! `sync`: fetches the device's manifest and applies all of it now, whatever its rhythm.

use serde::{Deserialize, Serialize};

use super::{Lane, OperationKind, Risk, Upkeep, actions::is_false, model::at_once, schema_of};
use crate::access::Permission;

/// Have devices apply their manifests now.
pub const SYNC_RUN: Permission = Permission::new("operations.sync:run");

/// The name of the kind.
pub const NAME: &str = "sync";

/// The parameters of `sync`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SyncParams {
    /// Whether the fleet's windows do not hold it; the device's own policy still does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_windows: bool,
}

fn check(params: serde_json::Value) -> Result<serde_json::Value, String> {
    let params = match params {
        serde_json::Value::Null => SyncParams::default(),
        params => serde_json::from_value(params).map_err(|error| error.to_string())?,
    };
    serde_json::to_value(params).map_err(|error| error.to_string())
}

/// The kind.
pub const KIND: OperationKind = OperationKind {
    name: NAME,
    title: "apply the desired state now",
    permission: SYNC_RUN,
    // Nothing that the device would not do by itself, only sooner.
    risk: Risk::Low,
    // It only waits: what it asks for takes its turn.
    lane: Lane::Shared,
    idempotent: true,
    upkeep: Upkeep::None,
    subject: None,
    knows_absence: false,
    dry_run_runs_code: false,
    timeout_seconds: 3_600,
    waits_seconds: at_once,
    max_timeout_seconds: 86_400,
    expiry_seconds: 3_600,
    streams: true,
    params_schema: schema_of::<SyncParams>,
    summary_schema: None,
    secrets: &[],
    check,
};
