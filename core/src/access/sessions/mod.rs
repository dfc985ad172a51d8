//! Signing in and out: sessions, and what happens to those who guess.

mod actions;
mod model;
mod rules;
mod service;
mod throttle;

pub use actions::{LOCK, LOGIN, LOGIN_REFUSED, LOGOUT, REVOKE, REVOKE_ALL};
pub use model::{Login, Session, SessionId, SessionSeen, SessionView, SignedIn};
pub use rules::{CREDENTIALS_INVALID, LOCKED, NOT_FOUND, REQUIRED, SESSION_EXPIRED};
pub(crate) use rules::{Limits, Validity, judge};
pub use service::Sessions;
pub(crate) use service::remove_all;
pub(crate) use throttle::{Attempt, pass, verify};
pub use throttle::{LoginThrottle, ThrottleId};
