//! Secrets among the parameters of work: pre-shared keys, first passwords, secret variables of scripts.
//!
//! ```text
//!   given      {"ssid": "Office", "psk": "correct horse"}                        a request, in memory only
//!   stored     {"ssid": "Office", "psk": {"$secret": "019aa5b2-…"}}              plan → batch → run, action → manifest
//!   shown      {"ssid": "Office", "psk": "********"}                             to everybody who may see the work
//!   delivered  {"ssid": "Office", "psk": "correct horse"}                        to the device, within what is signed
//! ```
//!
//! A kind says by patterns which members are secret ([`OperationKind::secrets`](super::OperationKind::secrets)). Whatever takes parameters
//! from outside does so through an `Intake`, which puts each secret into a document of its own, sealed under the master key, and leaves a
//! reference to it: [`StoredParams`] hold references, [`GivenParams`] hold values, and neither can be taken for the other. A changed secret
//! is another document with another id, so that whatever follows from the parameters (an action's generation, a manifest's digest) changes
//! with it and tells nothing about it.

mod clean;
mod events;
mod model;
mod params;
mod pointers;
mod registration;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use clean::UNREFERENCED_LIFE;
use clean::clean;
pub use events::{SECRET_GONE, SECRET_MISSING, SECRET_REFERENCE, SECRETS_CLEAN};
pub use model::{OperationSecret, OperationSecretId, SecretHolder};
pub use params::{GivenParams, MASK, ResolvedParams, SecretText, StoredParams};
pub(super) use registration::add_to;
pub use rules::Intake;
pub(crate) use rules::check_again;
pub(crate) use service::Vault;
