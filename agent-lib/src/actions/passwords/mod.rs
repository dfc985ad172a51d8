//! `password.rotation`.
//!
//! ```text
//! rules.rs      whose password is due, and why (pure)
//! password.rs   new passwords (pure)
//! sign_ins.rs   who signed in, as wtmp(5) tells
//! notes.rs      what is remembered: times and ids, never a password
//! rotate.rs     one password, step by step;  first.rs the first one of a user that is made
//! sessions.rs   those who are signed in with a password that has gone
//! rotation.rs   the action
//! ```

pub(super) mod first;
mod notes;
mod password;
mod rotate;
mod rotation;
mod rules;
mod sessions;
mod sign_ins;

pub(super) use rotation::Rotation;
#[cfg(test)]
pub(super) use sign_ins::record;
