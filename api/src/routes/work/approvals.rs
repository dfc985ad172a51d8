//! Approvals: work that begins only when others agree.

use axum::extract::State;
use fleet_core::{
    Fleet,
    work::{
        ApprovalId, ApprovalView,
        approvals::{ApprovalFilter, Comment},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    extract::{Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of approvals.
    ApprovalPage,
    ApprovalView
);

/// Which approvals.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct ApprovalParams {
    /// Only those that somebody may still decide, in the order in which their time passes.
    #[param(default = false)]
    open: bool,
}

/// List approvals, newest first.
#[utoipa::path(get, path = "/api/v1/approvals", operation_id = "list_approvals", tag = "approvals", params(ApprovalParams, PageParams),
    responses((status = 200, description = "A page of approvals", body = ApprovalPage)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn list_approvals(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<ApprovalParams>,
) -> ApiResult<Json<ApprovalPage>> {
    let filter = ApprovalFilter { open: list.filter.open };
    Ok(Json(fleet.approvals().list(&caller, &filter, &list.page).await?.into()))
}

/// Show an approval.
#[utoipa::path(get, path = "/api/v1/approvals/{id}", operation_id = "get_approval", tag = "approvals", params(("id" = ApprovalId, Path, description = "The approval")),
    responses((status = 200, description = "The approval", body = ApprovalView)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn get_approval(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ApprovalId>,
) -> ApiResult<Json<ApprovalView>> {
    Ok(Json(fleet.approvals().show(&caller, id).await?))
}

/// Agree to work that somebody else asked for. With the last agreement that is needed it begins, or waits for its time.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/approve", operation_id = "approve_work", tag = "approvals", request_body = Comment,
    params(("id" = ApprovalId, Path, description = "The approval")),
    responses((status = 200, description = "The approval as it stands now", body = ApprovalView)),
    extensions(("x-fleet-permission" = json!("runs:approve")), ("x-fleet-audit" = json!("approval.approve"))))]
pub(super) async fn approve_work(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ApprovalId>,
    Json(comment): Json<Comment>,
) -> ApiResult<Json<ApprovalView>> {
    Ok(Json(fleet.approvals().approve(&caller, id, &comment).await?))
}

/// Refuse work: none of it begins. Whoever asked for it may take it back by this.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/reject", operation_id = "reject_work", tag = "approvals", request_body = Comment,
    params(("id" = ApprovalId, Path, description = "The approval")),
    responses((status = 200, description = "The approval as it stands now", body = ApprovalView)),
    extensions(("x-fleet-permission" = json!("runs:approve")), ("x-fleet-audit" = json!("approval.reject"))))]
pub(super) async fn reject_work(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ApprovalId>,
    Json(comment): Json<Comment>,
) -> ApiResult<Json<ApprovalView>> {
    Ok(Json(fleet.approvals().reject(&caller, id, &comment).await?))
}
