//! An authority, and whom certificates name.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Entity,
    devices::DeviceId,
    kernel::{EntityId, Sealed, Timestamp},
};

crate::define_id!(
    /// Names a certificate authority.
    AuthorityId,
    "certificate authority"
);

/// Where an authority is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuthorityState {
    /// It is trusted, and issues nothing yet: devices learn of it.
    Announced,
    /// It issues.
    Issuing,
    /// It issues nothing more, and is trusted until all that it issued has lapsed.
    Retiring,
}

impl AuthorityState {
    /// As a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Issuing => "issuing",
            Self::Retiring => "retiring",
        }
    }
}

/// A certificate authority of the fleet, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "certificate_authority", version = 1)]
pub struct CertificateAuthority {
    /// Its id.
    #[entity(id)]
    pub id: AuthorityId,
    /// Where it is in its life.
    pub state: AuthorityState,
    /// Since when it is there.
    pub since: Timestamp,
    /// Its certificate: DER, in base64.
    pub certificate: String,
    /// Its 32 secret bytes (Ed25519).
    pub sealed: Sealed,
    /// When its certificate begins.
    pub not_before: Timestamp,
    /// When its certificate ends.
    pub not_after: Timestamp,
}

impl CertificateAuthority {
    /// The row that its secret belongs to.
    pub(super) fn owner(id: AuthorityId) -> String {
        use crate::store::Entity as _;
        format!("{}/{id}/key", Self::KIND)
    }
}

/// A certificate authority as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Authority {
    /// Its id.
    pub id: AuthorityId,
    /// Where it is in its life.
    pub state: AuthorityState,
    /// Since when.
    pub since: Timestamp,
    /// BLAKE3 of its certificate, in hexadecimal.
    pub fingerprint: String,
    /// Its certificate in PEM.
    pub certificate_pem: String,
    /// When its certificate begins.
    pub not_before: Timestamp,
    /// When its certificate ends.
    pub not_after: Timestamp,
}

/// Whom a certificate names: a class and an id, as a SPIFFE id (<https://spiffe.io>, SPIFFE-ID §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// `spiffe://fleet/device/<id>`.
    Device(DeviceId),
    /// `spiffe://fleet/server/<id>`; servers that share a store are told apart by it.
    Server(Uuid),
}

/// The trust domain. Fleets are told apart by their authorities' keys, not by name.
const DOMAIN: &str = "spiffe://fleet/";

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => write!(f, "{DOMAIN}device/{id}"),
            Self::Server(id) => write!(f, "{DOMAIN}server/{id}"),
        }
    }
}

impl Peer {
    /// Reads a SPIFFE id; none when it names nobody of ours.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let (class, id) = uri.strip_prefix(DOMAIN)?.split_once('/')?;
        // One form only: what is not written as we write it names nobody.
        let id = Uuid::try_parse(id).ok().filter(|parsed| parsed.to_string() == id)?;
        match class {
            "device" => Some(Self::Device(DeviceId::from_uuid(id))),
            "server" => Some(Self::Server(id)),
            _ => None,
        }
    }
}
