//! What a request for work becomes, decided without I/O.

use std::collections::BTreeSet;

use super::{BatchRequest, service::MAX_TARGETS};
use crate::{
    devices::DeviceId,
    kernel::{Error, Result, canonical},
    work::OperationKind,
};

/// The longest that a run may wait for its device, in seconds: 30 days.
const MAX_EXPIRY: u32 = 30 * 86_400;

/// A request that was checked.
#[derive(Clone, Debug)]
pub(super) struct CheckedRequest {
    pub(super) params: serde_json::Value,
    pub(super) devices: Vec<DeviceId>,
    pub(super) timeout_seconds: u32,
    pub(super) expiry_seconds: u32,
    pub(super) digest: String,
}

/// Checks a request against the kind that it asks for.
pub(super) fn check_request(kind: &OperationKind, request: &BatchRequest) -> Result<CheckedRequest> {
    let params = kind.check_params(request.params.clone())?;
    let devices: Vec<_> = request
        .targets
        .devices
        .iter()
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if devices.is_empty() || devices.len() > MAX_TARGETS {
        return Err(Error::invalid_field(
            "/targets/devices",
            format!("name 1 to {MAX_TARGETS} devices"),
        ));
    }
    let timeout_seconds = request.timeout_seconds.unwrap_or(kind.timeout_seconds);
    if timeout_seconds == 0 || timeout_seconds > kind.max_timeout_seconds {
        return Err(Error::invalid_field(
            "/timeout_seconds",
            format!("1 to {} seconds", kind.max_timeout_seconds),
        ));
    }
    let expiry_seconds = request.expires_in_seconds.unwrap_or(kind.expiry_seconds);
    if expiry_seconds == 0 || expiry_seconds > MAX_EXPIRY {
        return Err(Error::invalid_field(
            "/expires_in_seconds",
            format!("1 to {MAX_EXPIRY} seconds"),
        ));
    }
    let identity =
        canonical::to_vec(&(kind.name, &params, &devices, timeout_seconds, expiry_seconds)).map_err(Error::internal)?;
    Ok(CheckedRequest {
        params,
        devices,
        timeout_seconds,
        expiry_seconds,
        digest: blake3::hash(&identity).to_hex().to_string(),
    })
}
