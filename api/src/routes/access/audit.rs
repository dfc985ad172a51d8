//! The audit.

use axum::extract::State;
use fleet_core::{
    Fleet,
    access::audit::{AuditEntry, AuditFilter, ChainState},
    kernel::Timestamp,
};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    extract::{Json, List, PageParams},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of audit entries.
    AuditEntryPage,
    AuditEntry
);

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct AuditParams {
    /// Only by this user, key or device.
    actor: Option<Uuid>,
    /// Only of this action, such as `user.create`.
    action: Option<String>,
    /// Only about the thing with this id.
    subject: Option<Uuid>,
    /// Only from this time on.
    from: Option<Timestamp>,
    /// Only before this time.
    to: Option<Timestamp>,
}

/// List audit entries, newest first.
#[utoipa::path(get, path = "/api/v1/audit-entries", operation_id = "list_audit_entries", tag = "audit", params(AuditParams, PageParams),
    responses((status = 200, description = "A page of entries", body = AuditEntryPage)),
    extensions(("x-fleet-permission" = json!("audit:read"))))]
pub(super) async fn list_audit_entries(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<AuditParams>,
) -> ApiResult<Json<AuditEntryPage>> {
    let AuditParams {
        actor,
        action,
        subject,
        from,
        to,
    } = list.filter;
    let filter = AuditFilter {
        actor,
        action,
        subject,
        from,
        to,
    };
    Ok(Json(fleet.audit().list(&caller, &filter, &list.page).await?.into()))
}

/// Show where the chain of the audit stands. Its head covers every entry: whoever notes it down can later tell whether one
/// was altered.
#[utoipa::path(get, path = "/api/v1/audit-entries/chain", operation_id = "get_audit_chain", tag = "audit",
    responses((status = 200, description = "How many entries there are, and the hash of the last", body = ChainState)),
    extensions(("x-fleet-permission" = json!("audit:read"))))]
pub(super) async fn get_audit_chain(State(fleet): State<Fleet>, Caller(caller): Caller) -> ApiResult<Json<ChainState>> {
    Ok(Json(fleet.audit().chain(&caller).await?))
}
