//! Which device asks.

use axum::{
    extract::{ConnectInfo, FromRequest, Request},
    http::{HeaderMap, Method, Uri, request::Parts},
};
use bytes::Bytes;
use fleet_core::{
    link::{ASSERTION_INVALID, CERTIFICATE_REQUIRED, LinkedDevice},
    protocol::{ASSERTION_HEADER, PROOF_HEADER},
};

use crate::{
    problem::{ApiError, ApiResult},
    state::ApiState,
    tls::{ClientProof, TlsPeer},
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
        let (head, body) = read(request, state).await?;
        let device = authenticate(&head, &body, state).await?;
        Ok(Self { device, body })
    }
}

/// The same for an exchange, which a session key may prove in place of the device's key.
#[derive(Debug)]
pub(super) struct FromSession(pub(super) FromDevice);

impl FromRequest<ApiState> for FromSession {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Self::Rejection> {
        let (head, body) = read(request, state).await?;
        let device = match header(&head.headers, PROOF_HEADER) {
            Some(proof) if head.takes_session_keys() => {
                let (method, path) = (head.method.as_str(), head.uri.path());
                let link = state.fleet.link();
                link.authenticate_exchange(proof, method, path, &body).await?
            }
            _ => authenticate(&head, &body, state).await?,
        };
        Ok(Self(FromDevice { device, body }))
    }
}

/// The same for a request that must be signed with the device's key, whatever certificate its connection has.
#[derive(Debug)]
pub(super) struct FromKey(pub(super) FromDevice);

impl FromRequest<ApiState> for FromKey {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Self::Rejection> {
        let (head, body) = read(request, state).await?;
        let device = authenticate_by_key(&head, &body, state).await?;
        Ok(Self(FromDevice { device, body }))
    }
}

/// What is proved of a request beside its body.
pub(super) struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    peer: Option<TlsPeer>,
}

impl Head {
    /// Of a request that goes on to somebody else.
    pub(super) fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            peer: peer(parts),
        }
    }
}

impl Head {
    /// Whether the connection proves the device by a certificate.
    pub(super) fn is_certified(&self) -> bool {
        let proof = self.peer.as_ref().map(|peer| &peer.proof);
        matches!(proof, Some(ClientProof::Certificate(_)))
    }

    /// Session keys are for ports where a device would have to sign each request.
    fn takes_session_keys(&self) -> bool {
        self.peer
            .as_ref()
            .is_none_or(|peer| peer.proof == ClientProof::NotAsked)
    }
}

async fn read(request: Request, state: &ApiState) -> ApiResult<(Head, Bytes)> {
    let (mut parts, body) = request.into_parts();
    let head = Head {
        method: parts.method.clone(),
        uri: std::mem::take(&mut parts.uri),
        headers: std::mem::take(&mut parts.headers),
        peer: peer(&parts),
    };
    // The limit of the route holds here too: it stands in the extensions.
    let body = Bytes::from_request(Request::from_parts(parts, body), state)
        .await
        .map_err(|rejection| ApiError::of_status(rejection.status()))?;
    Ok((head, body))
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn peer(parts: &Parts) -> Option<TlsPeer> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<TlsPeer>>()?;
    Some(peer.clone())
}

/// The device that a request comes from: on the agents' own TLS port by its certificate, elsewhere by its signature.
pub(super) async fn authenticate(head: &Head, body: &[u8], state: &ApiState) -> ApiResult<LinkedDevice> {
    match head.peer.as_ref().map(|peer| &peer.proof) {
        Some(ClientProof::Certificate(presented)) => Ok(state.fleet.link().authenticate_certificate(presented).await?),
        Some(ClientProof::Missing) => Err(ApiError::new(
            CERTIFICATE_REQUIRED,
            "this port is for devices that present their certificate; ask for one first",
        )),
        Some(ClientProof::NotAsked) | None => authenticate_by_key(head, body, state).await,
    }
}

/// The device that signed a request.
async fn authenticate_by_key(head: &Head, body: &[u8], state: &ApiState) -> ApiResult<LinkedDevice> {
    let assertion = header(&head.headers, ASSERTION_HEADER).ok_or_else(|| {
        ApiError::new(
            ASSERTION_INVALID,
            format!("a device proves its key in the header {ASSERTION_HEADER}"),
        )
    })?;
    let link = state.fleet.link();
    Ok(link
        .authenticate(assertion, head.method.as_str(), head.uri.path(), body)
        .await?)
}
