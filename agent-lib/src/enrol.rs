//! Enrolment: a token becomes an identity.

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet_core::{
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, Machine, TokenText},
    },
    kernel::{Class, Clock, Code, EntityId as _, Error, Randomness, Result, SigningKey, random_bytes},
    protocol::EnrolAnswer,
};
use zeroize::Zeroizing;

use crate::{
    clock::ServerClock,
    credentials::Credentials,
    farewell::Farewell,
    identity::Identity,
    link::{Http, LinkError, enrolment_client, read_answer, unreachable_error},
};

/// The token is not one.
pub const TOKEN_INVALID: Code = Code::new("agent.token_invalid", Class::Invalid);
/// A PIN would be told to whoever answers.
pub const PIN_UNSAFE: Code = Code::new("agent.pin_unsafe", Class::Invalid);
/// The server cannot be reached or cannot be trusted.
pub const ENROLMENT_FAILED: Code = Code::new("agent.enrolment_failed", Class::Unavailable);

/// What came of an enrolment.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Who this device is now.
    pub identity: Identity,
    /// Whether an operator has to approve it before it can do anything.
    pub pending: bool,
}

/// Enrols this device: makes its key, presents the token, checks that the answer comes from the server that the token names,
/// and writes the identity into the state directory. The key is written first, so that a lost answer costs nothing: the
/// next try with the same token gets the same device.
///
/// A device that is enrolled with this server already shows so by its present key, and stays the device that it is.
///
/// # Errors
/// [`TOKEN_INVALID`], [`ENROLMENT_FAILED`], or what the server refused with.
pub async fn enrol(
    state: &Path,
    token: &str,
    machine: Machine,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
) -> Result<Joined> {
    let token = TokenText::decode(token.trim()).map_err(|error| TOKEN_INVALID.error(error.to_string()))?;
    let key = pending_key(state, &*random)?;
    let nonce: [u8; 32] = random_bytes(&*random);
    let mut request = EnrolRequest::prove(token.secret.clone(), &key, nonce, machine);
    if let Ok(former) = Identity::load(state)
        && former.server == token.identity
        && former.key.public() != key.public()
    {
        request = request.as_before(former.device, &former.key);
    }
    let clock = Arc::new(ServerClock::new(clock));
    let mut identity = Identity {
        // Nobody yet.
        device: DeviceId::from_uuid(uuid::Uuid::nil()),
        name: String::new(),
        address: token.address.trim_end_matches('/').to_owned(),
        own_tls: token.ca.is_some(),
        server: token.identity,
        key: key.clone(),
    };
    let http = |identity: &Identity| Http::new(Arc::new(identity.clone()), state, clock.clone(), random.clone());
    let (client, credentials) = match identity.own_tls {
        // The secret goes to no server but the pinned one.
        true => http(&identity)
            .map_err(failed)?
            .enrolment_client()
            .await
            .map_err(failed)?,
        false => (enrolment_client().map_err(failed)?, Credentials::default()),
    };
    let response = client
        .post(format!("{}/agent/v1/enrol", identity.address))
        .timeout(Duration::from_secs(30))
        .json(&request)
        .send()
        .await
        .map_err(|error| failed(unreachable_error(&error)))?;
    let body = read_answer(response).await.map_err(failed)?;
    let answer: EnrolAnswer = serde_json::from_slice(&body)
        .map_err(|_| failed(LinkError::Untrusted("it is not an answer to an enrolment".into())))?;
    if !answer.verify(&token.identity, &URL_SAFE_NO_PAD.encode(nonce), &key.public()) {
        return Err(failed(LinkError::Untrusted(
            "it is not signed by the server that the token names".into(),
        )));
    }
    identity.device = answer.body.device;
    identity.name = answer.body.name;
    // Before the identity: what another device's identity left behind is of no use to this one.
    credentials.save(state)?;
    identity.save(state)?;
    let _ = std::fs::remove_file(state.join(PENDING));
    Farewell::forget(state);
    if answer.pending {
        return Ok(Joined {
            identity,
            pending: true,
        });
    }
    if let Err(error) = http(&identity).map_err(failed)?.certify().await {
        tracing::warn!(%error, "enrolled; the agent asks for its certificate when it starts");
    }
    Ok(Joined {
        identity,
        pending: false,
    })
}

/// Exchanges a PIN for the text of a token, at the server of this address. Nothing in a PIN says whose it is, so the address must be
/// one whose certificate this machine believes, or be on this machine.
///
/// # Errors
/// [`PIN_UNSAFE`], [`ENROLMENT_FAILED`].
pub async fn redeem_pin(server: &str, pin: &str) -> Result<Zeroizing<String>> {
    let server = server.trim_end_matches('/');
    if !is_safe_for_pins(server) {
        return Err(PIN_UNSAFE.error(
            "a PIN is typed only to an https:// address, or to one of this machine: anybody could answer; use a token instead",
        ));
    }
    let response = enrolment_client()
        .map_err(failed)?
        .post(format!("{server}/agent/v1/pin"))
        .timeout(Duration::from_secs(30))
        .json(&serde_json::json!({ "pin": pin }))
        .send()
        .await
        .map_err(|error| failed(unreachable_error(&error)))?;
    let body = Zeroizing::new(read_answer(response).await.map_err(failed)?.to_vec());
    let redeemed: Redeemed = serde_json::from_slice(&body)
        .map_err(|_| failed(LinkError::Untrusted("it is not an answer to a PIN".into())))?;
    Ok(Zeroizing::new(redeemed.token))
}

#[derive(serde::Deserialize)]
struct Redeemed {
    token: String,
}

fn is_safe_for_pins(server: &str) -> bool {
    if server.contains('@') {
        return false;
    }
    let host = |address: &str| address.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    if let Some(rest) = server.strip_prefix("https://") {
        return !host(rest).is_empty();
    }
    let Some(rest) = server.strip_prefix("http://") else {
        return false;
    };
    let host = host(rest);
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

const PENDING: &str = "key.pending";

/// The key of an enrolment that has not succeeded yet, or a new one.
fn pending_key(state: &Path, random: &dyn Randomness) -> Result<SigningKey> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let path = state.join(PENDING);
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(bytes) = <[u8; 32]>::try_from(bytes.as_slice())
    {
        return Ok(SigningKey::from_bytes(&bytes));
    }
    let key = SigningKey::generate(random);
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(&*key.to_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| ENROLMENT_FAILED.error(format!("{} cannot be written: {error}", path.display())))?;
    Ok(key)
}

fn failed(error: LinkError) -> Error {
    ENROLMENT_FAILED.error(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_told_to_nobody_but_who_can_prove_a_name_or_is_on_this_machine() {
        for (server, safe) in [
            ("https://fleet.example.org", true),
            ("https://", false),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("http://fleet.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://localhost@evil.example", false),
            ("http://[::1].example.org@evil", false),
            ("ftp://127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_safe_for_pins(server), safe, "{server}");
        }
    }
}
