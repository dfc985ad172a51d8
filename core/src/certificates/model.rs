//! Authorities, and the certificate of a device that counts.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    kernel::{Sealed, Timestamp},
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

/// The certificate of a device that counts: the newest that was issued to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceCertificate {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Who issued it.
    pub authority: AuthorityId,
    /// When.
    pub issued_at: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}
