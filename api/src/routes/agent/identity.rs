//! Which device asks.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderValue, request::Parts},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use fleet_core::{
    kernel::{Clock as _, SystemClock},
    link::{ASSERTION_INVALID, LinkedDevice},
    protocol::{ASSERTION_HEADER, TIME_HEADER},
};

use crate::{
    problem::{ApiError, ApiResult},
    state::ApiState,
};

/// A device that has proved its key for this very request, and the body that it proved it for.
#[derive(Debug)]
pub(super) struct FromDevice {
    /// The device.
    pub(super) device: LinkedDevice,
    /// The body, as it was sent.
    pub(super) body: Bytes,
}

impl FromRequest<ApiState> for FromDevice {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts.clone(), body);
        // The limit of the route holds here too.
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| ApiError::of_status(rejection.status()))?;
        let device = authenticate(&parts, &body, state).await?;
        Ok(Self { device, body })
    }
}

/// The device that signed a request.
pub(super) async fn authenticate(parts: &Parts, body: &[u8], state: &ApiState) -> ApiResult<LinkedDevice> {
    let assertion = parts
        .headers
        .get(ASSERTION_HEADER)
        .and_then(|value| value.to_str().ok());
    let assertion = assertion.ok_or_else(|| {
        ApiError::new(
            ASSERTION_INVALID,
            format!("a device proves its key in the header {ASSERTION_HEADER}"),
        )
    })?;
    Ok(state
        .fleet
        .link()
        .authenticate(assertion, parts.method.as_str(), parts.uri.path(), body)
        .await?)
}

/// Tells every agent the server's time, so that one whose clock is off can correct itself.
pub(super) async fn tell_time(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // An answer's own time stamp is a fact of the transport, not of the domain.
    if let Ok(time) = HeaderValue::from_str(&SystemClock.now().to_string()) {
        response.headers_mut().insert(TIME_HEADER, time);
    }
    response
}
