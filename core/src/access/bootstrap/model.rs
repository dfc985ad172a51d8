//! The offered token as it is stored.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    access::TokenHash,
    kernel::{EntityId, Timestamp, named_uuid},
};

crate::define_id!(
    /// Names the bootstrap token.
    BootstrapId,
    "bootstrap token"
);

impl BootstrapId {
    /// There is one.
    pub(super) fn only() -> Self {
        Self::from_uuid(named_uuid("bootstrap_token", "only"))
    }
}

/// The token that creates the first administrator. There is one at most, and none once there is a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "bootstrap_token", version = 1)]
pub struct BootstrapToken {
    /// Its id.
    #[entity(id)]
    pub id: BootstrapId,
    /// Its hash.
    pub token_hash: TokenHash,
    /// When it was made.
    pub created_at: Timestamp,
}
