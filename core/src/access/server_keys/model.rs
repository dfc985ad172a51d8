//! A key of the server as it is stored.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    kernel::{PublicKey, Sealed, Timestamp},
    protocol::Handover,
};

crate::define_id!(
    /// Names a key of the server.
    ServerKeyId,
    "server key"
);

/// The key that signs work, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DispatchKey {
    /// Its public half, which agents have pinned.
    pub public_key: PublicKey,
    /// Since when it signs.
    pub since: Timestamp,
    /// When it hands over to another by itself.
    pub hands_over_at: Timestamp,
    /// How many keys before it lead to it; a device that pinned an older one has to be enrolled again.
    pub handovers: u32,
}

/// A key of the server: made at first start, sealed under the master key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "server_key", version = 1)]
pub struct ServerKey {
    /// Its id, which follows from its name.
    #[entity(id)]
    pub id: ServerKeyId,
    /// What it is for.
    #[entity(text, unique)]
    pub name: String,
    /// The 32 secret bytes.
    pub sealed: Sealed,
    /// The public half, where there is one.
    pub public_key: Option<PublicKey>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it followed from the keys before it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
}
