//! The fleet's certificate authorities.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    certificates::{Authority, AuthorityId, read_private_key},
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::NoParams;
use crate::{
    extract::{Json, List, Path},
    page_schema,
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller},
};

page_schema!(
    /// All certificate authorities, on one page.
    CertificateAuthorityPage,
    Authority
);

/// The routes of certificate authorities.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(list_certificate_authorities, create_certificate_authority))
            .routes(routes!(delete_certificate_authority))
            .routes(routes!(promote_certificate_authority)),
        waiting: OpenApiRouter::new(),
    }
}

/// A new certificate authority.
#[derive(Default, Deserialize, ToSchema)]
#[schema(example = json!({}))]
#[serde(default, deny_unknown_fields)]
struct NewCertificateAuthority {
    /// An Ed25519 key that is brought along, as PKCS#8 in PEM; without it one is made. It is never shown again.
    private_key_pem: Option<String>,
}

/// List the certificate authorities, the one that issues first. They are few: all are on one page.
#[utoipa::path(get, path = "/api/v1/certificate-authorities", operation_id = "list_certificate_authorities", tag = "certificate-authorities",
    responses((status = 200, description = "All authorities, without their keys", body = CertificateAuthorityPage)),
    extensions(("x-fleet-permission" = json!("certificates:read"))))]
async fn list_certificate_authorities(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    _list: List<NoParams>,
) -> ApiResult<Json<CertificateAuthorityPage>> {
    Ok(Json(CertificateAuthorityPage {
        items: fleet.certificates().list(&caller).await?,
        next: None,
        total: None,
    }))
}

/// Announce a new certificate authority, of a new key or one that is brought along.
///
/// It is trusted from now on, and issues in two days by itself, or at once when it is promoted.
#[utoipa::path(post, path = "/api/v1/certificate-authorities", operation_id = "create_certificate_authority", tag = "certificate-authorities", request_body = NewCertificateAuthority,
    responses((status = 201, description = "The authority", body = Authority)),
    extensions(("x-fleet-permission" = json!("certificates:manage")), ("x-fleet-audit" = json!("certificate_authority.create"))))]
async fn create_certificate_authority(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewCertificateAuthority>,
) -> ApiResult<(StatusCode, Json<Authority>)> {
    let key = new.private_key_pem.as_deref().map(read_private_key).transpose()?;
    let made = fleet.certificates().announce(&caller, key.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Let an announced certificate authority issue from now on. The former retires, and is trusted until all that it issued has ended.
#[utoipa::path(post, path = "/api/v1/certificate-authorities/{id}/promote", operation_id = "promote_certificate_authority", tag = "certificate-authorities",
    params(("id" = AuthorityId, Path, description = "The authority")),
    responses((status = 200, description = "The authority as it stands now", body = Authority)),
    extensions(("x-fleet-permission" = json!("certificates:manage")), ("x-fleet-audit" = json!("certificate_authority.promote"))))]
async fn promote_certificate_authority(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<AuthorityId>,
) -> ApiResult<Json<Authority>> {
    Ok(Json(fleet.certificates().promote(&caller, id).await?))
}

/// Trust a certificate authority no more. The one that issues cannot be removed.
#[utoipa::path(delete, path = "/api/v1/certificate-authorities/{id}", operation_id = "delete_certificate_authority", tag = "certificate-authorities",
    params(("id" = AuthorityId, Path, description = "The authority")),
    responses((status = 204, description = "What it issued is worth nothing from now on")),
    extensions(("x-fleet-permission" = json!("certificates:manage")), ("x-fleet-audit" = json!("certificate_authority.delete"))))]
async fn delete_certificate_authority(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<AuthorityId>,
) -> ApiResult<StatusCode> {
    fleet.certificates().delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
