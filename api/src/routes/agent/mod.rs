//! Agents: enrolment, the link, and reports. The domain authenticates and decides; these routes shuttle frames.

mod certificate;
mod contents;
mod disk_keys;
mod enrol;
mod escrow;
mod exchange;
mod identity;
mod link;
mod manifest;
mod pin;
mod releases;
mod reports;
mod standing;

pub use link::{Messages, serve_agent};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{router::Routes, state::ApiState};

/// The routes of agents.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(enrol::enrol_device))
            .routes(routes!(certificate::learn_authorities))
            .routes(routes!(certificate::certify_device))
            .routes(routes!(standing::get_standing))
            .routes(routes!(pin::redeem_pin))
            .routes(routes!(manifest::get_own_manifest))
            .routes(routes!(escrow::deposit_secret))
            .routes(routes!(escrow::conclude_secret))
            .routes(routes!(escrow::get_current_secrets))
            .routes(routes!(disk_keys::check_disk_passphrase_token))
            .routes(routes!(disk_keys::use_disk_passphrase_token))
            .routes(routes!(disk_keys::tell_disk_key))
            .routes(routes!(releases::get_agent_manifest))
            .routes(routes!(releases::download_agent))
            .routes(routes!(contents::download_blob))
            .merge(
                OpenApiRouter::new()
                    .routes(routes!(reports::receive_report))
                    .layer(reports::body_limit()),
            ),
        waiting: OpenApiRouter::new()
            .routes(routes!(exchange::exchange_frames))
            .routes(routes!(link::open_link)),
    }
}
