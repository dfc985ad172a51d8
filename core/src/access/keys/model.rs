//! An API key as it is stored, and as it is shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    access::{BearerToken, Role, TokenHash, users::UserId},
    kernel::Timestamp,
    store::{LatestValue, Name},
};

crate::define_id!(
    /// Names an API key.
    ApiKeyId,
    "API key"
);

/// What an API key opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// The whole API, as far as its role goes: it is sent in a header.
    #[default]
    Api,
    /// The calendar, and nothing else: it stands in the address, which programs that subscribe to calendars keep and show.
    Calendar,
}

impl KeyPurpose {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Calendar => "calendar",
        }
    }
}

/// An API key as it is stored. It never changes: it is created and revoked; when it was used last is a latest value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "api_key", version = 1)]
pub struct ApiKey {
    /// Its id.
    #[entity(id)]
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// For whom it acts.
    #[entity(reference)]
    pub owner: UserId,
    /// The hash of its token.
    #[entity(text, unique)]
    pub token_hash: TokenHash,
    /// The first characters of its token.
    pub prefix: String,
    /// The most that it may do; never more than its owner may at that moment.
    pub role: Role,
    /// What it opens.
    pub purpose: KeyPurpose,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is not valid any more.
    pub expires_at: Option<Timestamp>,
}

/// When an API key was used last; coarse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKeySeen {
    /// When; written at most every five minutes.
    pub at: Timestamp,
    /// From where.
    pub address: Option<String>,
}

impl LatestValue for ApiKeySeen {
    type Id = ApiKeyId;
    const SET: Name = "api_key_seen";
    const VERSION: u32 = 1;
}

/// An API key as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyView {
    /// Its id.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// For whom it acts.
    pub owner: UserId,
    /// The first characters of its token.
    pub prefix: String,
    /// The most that it may do; never more than its owner may at that moment.
    pub role: Role,
    /// What it opens. An open set: be ready for values that come later.
    pub purpose: KeyPurpose,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is not valid any more.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to within five minutes.
    pub last_used_at: Option<Timestamp>,
    /// From where it was used last.
    pub last_used_from: Option<String>,
}

impl ApiKeyView {
    pub(super) fn new(key: &ApiKey, seen: Option<ApiKeySeen>) -> Self {
        let (last_used_at, last_used_from) = seen.map_or((None, None), |seen| (Some(seen.at), seen.address));
        Self {
            id: key.id,
            name: key.name.clone(),
            owner: key.owner,
            prefix: key.prefix.clone(),
            role: key.role,
            purpose: key.purpose,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at,
            last_used_from,
        }
    }
}

/// An API key to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "nightly report", "role": "viewer", "expires_at": "2031-01-01T00:00:00Z"})))]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What people call it, 1 to 128 characters.
    pub name: String,
    /// The most that it may do; no more than its owner may.
    pub role: Role,
    /// What it opens; the whole API when left out.
    #[serde(default)]
    pub purpose: KeyPurpose,
    /// For whom it acts: oneself when absent; for others it needs `keys:write`.
    #[serde(default)]
    pub owner: Option<UserId>,
    /// From when on it is not valid any more; never when absent.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A key that was just created.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The token, shown this once.
    pub token: BearerToken,
    /// The key.
    pub key: ApiKeyView,
}
