//! `inventory.refresh`: collects inventory anew and reports it.

use serde::{Deserialize, Serialize};

use super::{Lane, OperationKind, Risk, Upkeep, model::at_once, schema_of};
use crate::access::Permission;

/// Refresh the inventory of devices.
pub const REFRESH_RUN: Permission = Permission::new("operations.inventory.refresh:run");

/// The name of the kind.
pub const NAME: &str = "inventory.refresh";

/// The parameters of `inventory.refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshParams {
    /// Only these sections; all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<String>,
}

fn check(params: serde_json::Value) -> Result<serde_json::Value, String> {
    let params: RefreshParams = if params.is_null() {
        RefreshParams::default()
    } else {
        serde_json::from_value(params).map_err(|error| error.to_string())?
    };
    if params.sections.len() > 64
        || params
            .sections
            .iter()
            .any(|section| section.is_empty() || section.len() > 40 || section.contains('\0'))
    {
        return Err("at most 64 names of sections".into());
    }
    serde_json::to_value(params).map_err(|error| error.to_string())
}

/// The kind.
pub const KIND: OperationKind = OperationKind {
    name: NAME,
    title: "collect the inventory anew",
    permission: REFRESH_RUN,
    risk: Risk::Low,
    lane: Lane::Shared,
    idempotent: true,
    upkeep: Upkeep::None,
    subject: None,
    knows_absence: false,
    dry_run_runs_code: false,
    timeout_seconds: 300,
    waits_seconds: at_once,
    max_timeout_seconds: 3_600,
    expiry_seconds: 3_600,
    streams: false,
    params_schema: schema_of::<RefreshParams>,
    summary_schema: None,
    secrets: &[],
    check,
};
