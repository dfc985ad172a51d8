//! `agent.update`: the agent becomes another version of itself, and comes back by itself when that one does not connect.

use serde::{Deserialize, Serialize};

use super::{Lane, OperationKind, Risk, Upkeep, model::at_once, schema_of};
use crate::{access::Permission, protocol::AgentVersion};

/// Update the agents of devices.
pub const UPDATE_RUN: Permission = Permission::new("operations.agent.update:run");

/// The name of the kind.
pub const NAME: &str = "agent.update";

/// The parameters of `agent.update`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AgentUpdateParams {
    /// The version to become; the newest that the server hands out when there is none.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "1.4.0"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub version: Option<AgentVersion>,
    /// Whether it may be an older version than the device has; never one below the rollback floor.
    pub allow_downgrade: bool,
    /// Whether to try a version again that did not prove itself on the device before.
    pub retry_failed: bool,
}

fn check(params: serde_json::Value) -> Result<serde_json::Value, String> {
    let params: AgentUpdateParams = if params.is_null() {
        AgentUpdateParams::default()
    } else {
        serde_json::from_value(params).map_err(|error| error.to_string())?
    };
    serde_json::to_value(params).map_err(|error| error.to_string())
}

/// The kind. It is idempotent: the version that the agent became runs it again, and says how it went.
pub const KIND: OperationKind = OperationKind {
    name: NAME,
    title: "update the agent",
    permission: UPDATE_RUN,
    risk: Risk::Medium,
    lane: Lane::Exclusive,
    idempotent: true,
    upkeep: Upkeep::None,
    subject: None,
    knows_absence: false,
    dry_run_runs_code: false,
    timeout_seconds: 900,
    waits_seconds: at_once,
    max_timeout_seconds: 7_200,
    expiry_seconds: 7 * 86_400,
    streams: true,
    params_schema: schema_of::<AgentUpdateParams>,
    summary_schema: None,
    secrets: &[],
    check,
};
