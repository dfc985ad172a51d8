//! The link: sessions of agents, the same for the socket and for polling.
//!
//! A transport authenticates each request ([`LinkService::authenticate`]), opens a session with the agent's `hello`, then
//! shuttles frames: what came in goes to [`LinkService::receive`], what is due comes from [`LinkService::pending`] whenever
//! the device's signal fires and now and then without it. A session is named by its epoch: a newer one wins, and frames
//! of an older one move nothing.
//!
//! ```text
//! service.rs       the use cases
//! admission.rs     how many sessions are opened at once, and when the others may come again
//! certificates.rs  devices that prove themselves by a certificate
//! escrow.rs        secrets that devices make;  disk_keys.rs keys of their own
//! session.rs       which session of a device counts here
//! standing.rs      what is said to agents that are let in no more, or not yet
//! replay.rs        assertions that were used
//! reports.rs       which frames tell of a run, and what is said to that
//! session_keys.rs  keys that agents which poll prove exchanges by, for some minutes
//! known/           what is remembered of devices, so that an idle beat reads nothing; follow.rs drops it
//! direct.rs        runs that are offered as they are made
//! ```

mod admission;
mod certificates;
mod direct;
mod disk_keys;
mod escrow;
mod follow;
mod known;
mod replay;
mod reports;
mod service;
mod session;
mod session_keys;
mod standing;
#[cfg(test)]
mod tests;

pub(crate) use admission::Admission;
pub use admission::CROWDED;
pub use certificates::{CERTIFICATE_EXPIRED, CERTIFICATE_OF_OTHER_CLASS, CERTIFICATE_REQUIRED, CERTIFICATE_SUPERSEDED};
pub use direct::Listening;
pub(crate) use direct::{Claims, DirectOffers, Inboxes};
pub(crate) use follow::follow;
pub(crate) use known::KnownDevices;
pub use replay::ReplayGuard;
pub use service::{
    ASSERTION_INVALID, ASSERTION_STALE, LinkService, LinkedDevice, PROOF_INVALID, PROTOCOL_UNSUPPORTED, SESSION_UNKNOWN,
};
pub use session::{Session, Sessions};
pub(crate) use session_keys::SessionKeys;
