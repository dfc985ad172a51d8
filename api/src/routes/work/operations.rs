//! Kinds of operation.

use axum::extract::State;
use fleet_core::{
    Fleet,
    work::{OperationKind, operations::Lane},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    extract::{Json, List},
    page_schema,
    routes::NoParams,
    state::Caller,
};

/// A kind of operation.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct OperationView {
    /// Its name.
    pub name: String,
    /// What it does, in a few words.
    pub title: String,
    /// Who may run it.
    pub permission: String,
    /// What can go wrong: `low` when it changes nothing, `medium` when it changes what it says, `high` when it can do anything. An open
    /// set: be ready for values that come later.
    pub risk: String,
    /// Whether it waits for other exclusive work on the device.
    pub exclusive: bool,
    /// What becomes of it when it is assigned for good: `none` when it is done once, `kept` when it describes a state that is checked and
    /// restored, `reverted` when that is taken back from devices that are to have it no longer. An open set: be ready for values that come
    /// later.
    pub upkeep: String,
    /// What of a device its parameters are about, such as `user` or `path`; kinds may be about the same. Of assigned actions that are about
    /// the same one with other parameters, one applies. What is taken back is left alone as long as anything else that is assigned is about the
    /// same. Null where the kind does not say. An open set: be ready for values that come later.
    pub subject: Option<String>,
    /// How long it may run when nobody says, in seconds.
    pub timeout_seconds: u32,
    /// How long it may run at most, in seconds.
    pub max_timeout_seconds: u32,
    /// How long its runs wait for a device that is offline when nobody says, in seconds; with 0 they are skipped.
    pub expiry_seconds: u32,
    /// Whether it does no harm when it is done twice: only then is it tried again by itself where that is asked for.
    pub idempotent: bool,
    /// Whether it can say what it would do, with the parameter `dry_run`.
    pub dry_run: bool,
    /// Whether it prints while it runs.
    pub streams: bool,
    /// Which members of its parameters are secret: JSON pointers (RFC 6901), in which `*` stands for any one member of an object. They are
    /// sealed where they come in, and masked wherever parameters are shown.
    pub secrets: Vec<String>,
    /// What its parameters look like: a JSON Schema (draft 2020-12).
    #[schema(value_type = Object)]
    pub params_schema: serde_json::Value,
    /// What its runs report as their `summary`: a JSON Schema (draft 2020-12). Null where they report none.
    #[schema(value_type = Option<Object>)]
    pub summary_schema: Option<serde_json::Value>,
}

impl From<&OperationKind> for OperationView {
    fn from(kind: &OperationKind) -> Self {
        Self {
            name: kind.name.to_owned(),
            title: kind.title.to_owned(),
            permission: kind.permission.name().to_owned(),
            risk: kind.risk.name().to_owned(),
            exclusive: kind.lane == Lane::Exclusive,
            upkeep: kind.upkeep.name().to_owned(),
            subject: kind.subject.map(|subject| subject.of.to_owned()),
            timeout_seconds: kind.timeout_seconds,
            max_timeout_seconds: kind.max_timeout_seconds,
            expiry_seconds: kind.expiry_seconds,
            idempotent: kind.idempotent,
            dry_run: kind.knows_dry_runs(),
            streams: kind.streams,
            secrets: kind.secrets.iter().map(ToString::to_string).collect(),
            params_schema: (kind.params_schema)(),
            summary_schema: kind.summary_schema.map(|schema| schema()),
        }
    }
}

page_schema!(
    /// All kinds of operation, on one page.
    OperationPage,
    OperationView
);

/// List the kinds of operation.
#[utoipa::path(get, path = "/api/v1/operations", operation_id = "list_operations", tag = "operations",
    responses((status = 200, description = "All kinds of operation", body = OperationPage)),
    extensions(("x-fleet-permission" = json!("signed-in"))))]
pub(super) async fn list_operations(
    State(fleet): State<Fleet>,
    Caller(_caller): Caller,
    // There are few kinds, so the one page holds them all whatever its limit.
    _list: List<NoParams>,
) -> Json<OperationPage> {
    let items = fleet.operations().all().map(Into::into).collect();
    Json(OperationPage {
        items,
        next: None,
        total: None,
    })
}
