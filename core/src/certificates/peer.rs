//! Whom certificates name, and which certificate a peer presents.

use std::fmt;

use rustls_pki_types::CertificateDer;
use uuid::Uuid;

use crate::{
    devices::DeviceId,
    kernel::{EntityId as _, PublicKey},
};

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

/// The certificate that a peer presented, as far as the fleet reads it. That an authority of the fleet issued it, that its time
/// is not over and that the peer has its key is for the TLS library to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// Whom it names.
    pub peer: Peer,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// The key that it was issued over.
    pub key: PublicKey,
}

/// A public Ed25519 key in a certificate (RFC 8410 §4), up to its 32 bytes.
const SPKI_HEAD: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];

impl PresentedCertificate {
    /// Reads a certificate (DER); none when it names nobody of ours, or more than one, or has a key of another kind.
    pub fn read(der: &[u8]) -> Option<Self> {
        let der = CertificateDer::from(der);
        let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
        let mut uris = certificate.valid_uri_names();
        let peer = Peer::from_uri(uris.next()?)?;
        let serial = hex::encode(certificate.serial());
        let spki = certificate.subject_public_key_info();
        let key = PublicKey::from_bytes(spki.strip_prefix(&SPKI_HEAD)?.try_into().ok()?);
        uris.next().is_none().then_some(Self { peer, serial, key })
    }
}
