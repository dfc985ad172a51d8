//! Certificates: the fleet's own authority, and what it issues to devices and servers.
//!
//! ```text
//!   model    CertificateAuthority: a sealed key and its certificate    DeviceCertificate: the one of a device that counts
//!   peer     Peer: whom a certificate names, as a SPIFFE id    PresentedCertificate: what a peer presents
//!   rules    what is issued, how long it lasts, when it is renewed, when an authority follows another (pure)
//!   service  CertificateService: load or make, issue, trust bundle, rotate, import
//!   renewal  the next certificate of a device, which supersedes those before it
//! ```
//!
//! A device's certificate is issued over the Ed25519 key that it enrolled with, so that whoever has the key can always ask for
//! the next one, however long it was away. Of the certificates of a device the newest counts, and none once its key is revoked:
//! that stands in the device's document, which every request is checked against.
//!
//! While one authority follows another, both are trusted: the next one is announced in the bundle first, issues when every
//! device has had time to learn of it, and the former stays trusted until all that it issued has lapsed.

mod actions;
mod model;
mod module;
mod peer;
mod renewal;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use actions::{CERTIFICATES_MANAGE, CERTIFICATES_READ};
pub use model::{Authority, AuthorityId, AuthorityState, CertificateAuthority, DeviceCertificate};
pub use module::module;
pub use peer::{Peer, PresentedCertificate};
pub use rules::{DEVICE_LIFE, INVALID, Issued, SERVER_LIFE, read_private_key, renew_at};
pub use service::{AUTHORITY_IN_USE, AUTHORITY_NOT_FOUND, CertificateService};
