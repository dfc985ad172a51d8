//! The link: sessions of agents, the same for the socket and for polling.
//!
//! A transport authenticates each request ([`LinkService::authenticate`]), opens a session with the agent's `hello`, then
//! shuttles frames: what came in goes to [`LinkService::receive`], what is due comes from [`LinkService::pending`] whenever
//! the device's signal fires and now and then without it. A session is named by its epoch: a newer one wins, and frames
//! of an older one move nothing.

mod replay;
mod service;
mod session;

pub use replay::ReplayGuard;
pub use service::{
    ASSERTION_INVALID, ASSERTION_STALE, LinkService, LinkedDevice, PROTOCOL_UNSUPPORTED, SESSION_UNKNOWN,
};
pub use session::{Session, Sessions};
