//! A session as it is stored, and as it is shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    access::{
        BearerToken, Origin, TokenHash,
        users::{Password, UserId, UserView},
    },
    kernel::Timestamp,
    store::{LatestValue, Name},
};

crate::define_id!(
    /// Names a session.
    SessionId,
    "session"
);

/// Characters of a user agent that are kept.
const USER_AGENT_MAX: usize = 256;
/// Characters of an address that are kept.
const ADDRESS_MAX: usize = 64;

/// A session as it is stored. Its document changes only when its user's password does; when it was seen last is a latest
/// value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "session", version = 1)]
pub struct Session {
    /// Its id.
    #[entity(id)]
    pub id: SessionId,
    /// Whose it is.
    #[entity(reference)]
    pub user: UserId,
    /// The hash of its token.
    #[entity(text, unique)]
    pub token_hash: TokenHash,
    /// The version of the user's sessions that it belongs to.
    pub user_version: u32,
    /// When it began.
    pub created_at: Timestamp,
    /// From where it began.
    pub address: Option<String>,
    /// What the client called itself.
    pub user_agent: Option<String>,
}

/// When a session was seen last; coarse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionSeen {
    /// When; written at most every five minutes.
    pub at: Timestamp,
}

impl LatestValue for SessionSeen {
    type Id = SessionId;
    const SET: Name = "session_seen";
    const VERSION: u32 = 1;
}

/// A session as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was seen last, to within five minutes.
    pub last_seen_at: Timestamp,
    /// When it ends at the latest; sooner when it is not used.
    pub expires_at: Timestamp,
    /// From where it began.
    pub address: Option<String>,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// A sign-in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name; upper and lower case are the same.
    pub name: String,
    /// The password.
    pub password: Password,
    /// Where the request came from.
    pub origin: Origin,
    /// What the client calls itself.
    pub user_agent: Option<String>,
}

impl Login {
    pub(super) fn address(&self) -> Option<String> {
        self.origin.address.as_deref().map(|text| cut(text, ADDRESS_MAX))
    }

    pub(super) fn user_agent(&self) -> Option<String> {
        self.user_agent.as_deref().map(|text| cut(text, USER_AGENT_MAX))
    }
}

/// What a client sends of itself is foreign text: bounded and without control characters.
fn cut(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

/// What a sign-in gives.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session's token, shown this once.
    pub token: BearerToken,
    /// The session.
    pub session: SessionView,
    /// The user.
    pub user: UserView,
}
