//! People: the first administrator, sessions, users, API keys, permissions, and the audit.

mod audit;
mod bootstrap;
mod dispatch_key;
mod keys;
mod me;
mod permissions;
mod sessions;
mod users;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{router::Routes, state::ApiState};

/// The routes of access.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(bootstrap::claim_bootstrap))
            .routes(routes!(sessions::list_sessions, sessions::create_session))
            .routes(routes!(sessions::delete_current_session))
            .routes(routes!(sessions::delete_session))
            .routes(routes!(me::get_me))
            .routes(routes!(me::set_own_password))
            .routes(routes!(users::list_users, users::create_user))
            .routes(routes!(users::get_user, users::update_user, users::delete_user))
            .routes(routes!(users::set_user_password))
            .routes(routes!(keys::list_keys, keys::create_key))
            .routes(routes!(keys::delete_key))
            .routes(routes!(dispatch_key::get_dispatch_key))
            .routes(routes!(dispatch_key::rotate_dispatch_key))
            .routes(routes!(permissions::list_permissions))
            .routes(routes!(audit::list_audit_entries))
            .routes(routes!(audit::get_audit_chain)),
        waiting: OpenApiRouter::new(),
    }
}
