//! What an API key may be, and when it is valid. Pure.

use std::time::Duration;

use super::{ApiKey, ApiKeySeen, NewApiKey};
use crate::{
    access::users::User,
    kernel::{Class, Code, Error, Result, Timestamp},
};

/// There is no such key, or the actor may not know of it.
pub const NOT_FOUND: Code = Code::new("api_key.not_found", Class::NotFound);
/// The key is not valid any more.
pub const EXPIRED: Code = Code::new("auth.key_expired", Class::Unauthenticated);
/// The owner has as many keys as one may have.
pub const TOO_MANY: Code = Code::new("api_key.too_many", Class::Conflict);

/// Keys of one user.
pub(super) const MAX_PER_USER: usize = 100;
/// Characters of a name.
const NAME_MAX: usize = 128;
/// When a key was used is written at most this often.
const TOUCH_EVERY: Duration = Duration::from_secs(5 * 60);

/// What a key is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyValidity {
    /// It is valid; `touch` when it is time to write that it was used.
    Valid { touch: bool },
    /// It is not valid any more.
    Expired,
    /// Its owner may not sign in any more.
    Ended,
}

/// Judges a key.
pub(crate) fn judge(key: &ApiKey, owner: Option<&User>, seen: Option<&ApiKeySeen>, now: Timestamp) -> KeyValidity {
    if key.expires_at.is_some_and(|end| end <= now) {
        return KeyValidity::Expired;
    }
    if owner.is_none_or(|owner| owner.disabled) {
        return KeyValidity::Ended;
    }
    KeyValidity::Valid {
        touch: seen.is_none_or(|seen| now.since(seen.at) >= TOUCH_EVERY),
    }
}

/// Checks a new key and trims its name.
pub(super) fn check(new: &NewApiKey, now: Timestamp) -> Result<String> {
    let name = new.name.trim();
    if !(1..=NAME_MAX).contains(&name.chars().count()) || name.contains(char::is_control) {
        return Err(Error::invalid_field(
            "/name",
            format!("1 to {NAME_MAX} characters without control characters"),
        ));
    }
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::invalid_field("/expires_at", "a time in the future"));
    }
    Ok(name.to_owned())
}
