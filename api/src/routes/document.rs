//! The OpenAPI document.

use std::sync::OnceLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{router::Routes, state::ApiState};

/// The document; made once, when somebody asks first.
static DOCUMENT: OnceLock<String> = OnceLock::new();

/// The routes of the document.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new().routes(routes!(get_openapi)),
        waiting: OpenApiRouter::new(),
    }
}

/// Get this document.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "get_openapi", tag = "document",
    responses((status = 200, description = "The OpenAPI document of this server", body = Object)),
    security(()), extensions(("x-fleet-permission" = json!("public"))))]
async fn get_openapi() -> Response {
    let text = DOCUMENT.get_or_init(crate::openapi_document);
    ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}
