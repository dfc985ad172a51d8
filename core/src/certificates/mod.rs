//! Certificates: the fleet's own authority, and what it issues to devices and servers.
//!
//! ```text
//!   model    CertificateAuthority: a sealed key and its certificate    Peer: whom a certificate names, as a SPIFFE id
//!   rules    what is issued, how long it lasts, when it is renewed, when an authority follows another (pure)
//!   service  CertificateService: load or make, issue, trust bundle, rotate, import
//! ```
//!
//! A device's certificate is issued over the Ed25519 key that it enrolled with, so that whoever has the key can always ask for
//! the next one, however long it was away. Certificates are short-lived instead of revoked: a deleted device's connections are
//! closed by the server that holds them, and its key is refused from then on.
//!
//! While one authority follows another, both are trusted: the next one is announced in the bundle first, issues when every
//! device has had time to learn of it, and the former stays trusted until all that it issued has lapsed.

mod actions;
mod model;
mod module;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use actions::{CERTIFICATES_MANAGE, CERTIFICATES_READ};
pub use model::{Authority, AuthorityId, AuthorityState, CertificateAuthority, Peer};
pub use module::module;
pub use rules::{DEVICE_LIFE, INVALID, Issued, SERVER_LIFE, renew_at};
pub use service::{AUTHORITY_IN_USE, AUTHORITY_NOT_FOUND, CertificateService};
