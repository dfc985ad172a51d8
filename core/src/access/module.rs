//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{
    AuditEntry, Permission, PermissionEntry, Role,
    audit::AUDIT_READ,
    bootstrap::{self, BootstrapToken},
    keys::{self, ApiKey, ApiKeySeen, KEYS_READ, KEYS_WRITE},
    server_keys::{self, DISPATCH_KEY_READ, DISPATCH_KEY_ROTATE, ServerKey},
    sessions::{self, LoginThrottle, Session, SessionSeen},
    settings::{SESSION_IDLE, SESSION_LIFETIME},
    users::{self, USERS_READ, USERS_WRITE, User},
};
use crate::{
    modules::{Job, Module},
    store::{kind_schema, lane_schema, latest_schema},
};

/// What `access` brings along.
pub fn module() -> Module {
    let admin = |permission: Permission, allows| PermissionEntry {
        permission,
        allows,
        least: Role::Admin,
    };
    Module {
        name: "access",
        kinds: vec![
            kind_schema::<User>(),
            kind_schema::<Session>(),
            kind_schema::<LoginThrottle>(),
            kind_schema::<ApiKey>(),
            kind_schema::<BootstrapToken>(),
            kind_schema::<ServerKey>(),
        ],
        lanes: vec![lane_schema::<AuditEntry>()],
        latest: vec![latest_schema::<SessionSeen>(), latest_schema::<ApiKeySeen>()],
        permissions: vec![
            admin(AUDIT_READ, "read the audit"),
            admin(USERS_READ, "see users and their sessions"),
            admin(
                USERS_WRITE,
                "create, change and delete users, set their passwords, end their sessions",
            ),
            admin(KEYS_READ, "see the API keys of others"),
            admin(KEYS_WRITE, "create API keys for others and revoke theirs"),
            admin(DISPATCH_KEY_READ, "see the key that signs work"),
            admin(DISPATCH_KEY_ROTATE, "let the key that signs work hand over to another"),
        ],
        actions: vec![
            users::CREATE,
            users::SET,
            users::SET_PASSWORD,
            users::SET_PASSWORD_REFUSED,
            users::DELETE,
            users::RECOVER,
            sessions::LOGIN,
            sessions::LOGIN_REFUSED,
            sessions::LOCK,
            sessions::LOGOUT,
            sessions::REVOKE,
            sessions::REVOKE_ALL,
            keys::CREATE,
            keys::REVOKE,
            bootstrap::OFFER,
            bootstrap::CLAIM,
            bootstrap::REFUSE,
            server_keys::CREATE,
            server_keys::ROTATE,
        ],
        jobs: vec![Job {
            name: "access.turn_over_keys",
            every: Duration::from_secs(3_600),
            tick: Arc::new(|fleet| Box::pin(async move { fleet.keys().turn_over().await })),
        }],
        settings: vec![SESSION_LIFETIME.definition(), SESSION_IDLE.definition()],
        ..Module::default()
    }
}
