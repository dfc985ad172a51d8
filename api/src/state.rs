//! What handlers share, and who calls.

use std::{path::PathBuf, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header, request::Parts},
};
use fleet_core::{
    Fleet,
    access::{Context, keys::KeyPurpose},
    work::windows::CALENDAR_PERMISSIONS,
};

use crate::{
    codes,
    extract::{Network, RequestContext},
    limits::RateLimiter,
    live::LiveFeed,
    problem::{ApiError, ApiResult},
};

/// What the server tells its API.
#[derive(Clone, Debug, Default)]
pub struct ApiConfig {
    /// Where agents and people reach the server; it goes into enrolment tokens.
    pub public_url: String,
    /// Where agents reach their own TLS port, where there is one: then it is what goes into enrolment tokens.
    pub agents_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The file with the one-time token of the first administrator; removed when the token is claimed.
    pub bootstrap_token_file: Option<PathBuf>,
}

/// What handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// The fleet.
    pub fleet: Fleet,
    /// What the server told.
    pub config: Arc<ApiConfig>,
    /// What happens, as it happens.
    pub live: Arc<LiveFeed>,
    /// How often each address tried what anybody may try.
    pub tries: Arc<RateLimiter>,
}

impl FromRef<ApiState> for Fleet {
    fn from_ref(state: &ApiState) -> Self {
        state.fleet.clone()
    }
}

/// Who calls: a session or an API key, by `Authorization: Bearer …`. A route that takes it is closed to everybody else.
#[derive(Clone, Debug)]
pub struct Caller(pub Context);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Self::Rejection> {
        let request = RequestContext::from_request_parts(parts, state).await?;
        let token = bearer(parts)?;
        Ok(Self(state.fleet.access().authenticate(token, request.origin()).await?))
    }
}

/// Who reads the calendar: whoever calls, or a program that subscribed to it and has nothing but an address, with the token of a key for that
/// as its parameter `token`. No other route takes such a token, and this one no other by its address.
#[derive(Clone, Debug)]
pub struct Subscriber(pub Context);

impl FromRequestParts<ApiState> for Subscriber {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        let token = parameters.find_map(|(name, value)| (name == "token").then(|| value.into_owned()));
        let Some(token) = token else {
            return Caller::from_request_parts(parts, state)
                .await
                .map(|Caller(caller)| Self(caller));
        };
        let origin = RequestContext::from_request_parts(parts, state).await?.origin();
        let access = state.fleet.access();
        let caller = access.authenticate_for(KeyPurpose::Calendar, &CALENDAR_PERMISSIONS, &token, origin);
        Ok(Self(caller.await?))
    }
}

fn bearer(parts: &Parts) -> ApiResult<&str> {
    let missing = || {
        ApiError::new(
            codes::AUTHORIZATION_MISSING,
            "sign in first, and send the token as Authorization: Bearer …",
        )
    };
    let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(missing())
    }
}
