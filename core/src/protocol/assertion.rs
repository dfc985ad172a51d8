//! Proof of a device's key, bound to one request.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    devices::DeviceId,
    kernel::{Randomness, Signature, SigningKey, Timestamp, Verifier, random_bytes},
};

/// How far a device's clock may be off, either way. An agent learns the server's time from the refusal and corrects itself.
pub const MAX_SKEW: Duration = Duration::from_secs(60);

const TAG: &str = "fleet request v1";
/// Longer than any assertion that an agent makes.
const MAX_TEXT: usize = 2_048;

/// What an assertion claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who asks.
    pub device: DeviceId,
    /// When, by the device's clock as corrected.
    pub at: Timestamp,
    /// 16 random bytes in base64url: no assertion is accepted twice.
    pub nonce: String,
    /// The method of the request.
    pub method: String,
    /// The path of the request, without query.
    pub path: String,
    /// BLAKE3 of the body as sent, in hexadecimal.
    pub body: String,
}

/// Claims and their signature, as they travel in a header: two base64url parts with a dot between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// What is claimed.
    pub claims: Claims,
    signed: Vec<u8>,
    signature: Signature,
}

/// Why an assertion proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// It cannot be read.
    #[error("the assertion is malformed")]
    Malformed,
    /// The signature is not the device's.
    #[error("the assertion is not signed by this device's key")]
    Forged,
    /// It was made for another request.
    #[error("the assertion belongs to another request")]
    OtherRequest,
    /// It is too old or from the future.
    #[error("the assertion's time is off by more than a minute")]
    Stale,
    /// It was used before.
    #[error("the assertion was used before")]
    Replayed,
}

/// The digest of a body that an assertion claims.
pub fn body_digest(body: &[u8]) -> String {
    blake3::hash(body).to_hex().to_string()
}

impl Assertion {
    /// The header text that proves `key` for one request.
    pub fn sign(
        key: &SigningKey,
        device: DeviceId,
        at: Timestamp,
        random: &dyn Randomness,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> String {
        let nonce = URL_SAFE_NO_PAD.encode(random_bytes::<16>(random));
        let claims = Claims {
            device,
            at,
            nonce,
            method: method.to_owned(),
            path: path.to_owned(),
            body: body_digest(body),
        };
        // Claims are ids, numbers and short texts: they always have a JSON form.
        let signed = serde_json::to_vec(&claims).unwrap_or_default();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&signed), key.sign(TAG, &signed))
    }

    /// Reads the header text; nothing is proved yet.
    pub fn parse(text: &str) -> Result<Self, AssertionError> {
        if text.len() > MAX_TEXT {
            return Err(AssertionError::Malformed);
        }
        let (claims, signature) = text.split_once('.').ok_or(AssertionError::Malformed)?;
        let signed = URL_SAFE_NO_PAD.decode(claims).map_err(|_| AssertionError::Malformed)?;
        let claims: Claims = serde_json::from_slice(&signed).map_err(|_| AssertionError::Malformed)?;
        let signature = signature.parse().map_err(|_| AssertionError::Malformed)?;
        if claims.nonce.len() != 22 {
            return Err(AssertionError::Malformed);
        }
        Ok(Self {
            claims,
            signed,
            signature,
        })
    }

    /// Whether it proves `key` for this request at this time. Replays are the caller's to notice, by the nonce.
    pub fn verify(
        &self,
        key: &Verifier,
        now: Timestamp,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<(), AssertionError> {
        if !key.verifies(TAG, &self.signed, &self.signature) {
            return Err(AssertionError::Forged);
        }
        if self.claims.method != method || self.claims.path != path || self.claims.body != body_digest(body) {
            return Err(AssertionError::OtherRequest);
        }
        if now.since(self.claims.at) > MAX_SKEW || self.claims.at.since(now) > MAX_SKEW {
            return Err(AssertionError::Stale);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    #[track_caller]
    fn check(
        change: impl FnOnce(&mut String),
        request: (&str, &str, &[u8]),
        at: Timestamp,
        expected: Result<(), AssertionError>,
    ) {
        let random = SeededRandom::new(1);
        let key = SigningKey::generate(&random);
        let device = DeviceId::new(now(), &random);
        let mut text = Assertion::sign(&key, device, now(), &random, "POST", "/agent/v1/exchange", b"{}");
        change(&mut text);
        let got = Assertion::parse(&text)
            .and_then(|assertion| assertion.verify(&key.public().verifier(), at, request.0, request.1, request.2));
        assert_eq!(got, expected);
    }

    const REQUEST: (&str, &str, &[u8]) = ("POST", "/agent/v1/exchange", b"{}");

    #[test]
    fn an_assertion_proves_one_request_at_one_time() {
        check(|_| {}, REQUEST, now(), Ok(()));
        check(
            |_| {},
            ("GET", REQUEST.1, REQUEST.2),
            now(),
            Err(AssertionError::OtherRequest),
        );
        check(
            |_| {},
            (REQUEST.0, "/agent/v1/link", REQUEST.2),
            now(),
            Err(AssertionError::OtherRequest),
        );
        check(
            |_| {},
            (REQUEST.0, REQUEST.1, b"{ }"),
            now(),
            Err(AssertionError::OtherRequest),
        );
        check(
            |_| {},
            REQUEST,
            now().plus(Duration::from_secs(61)),
            Err(AssertionError::Stale),
        );
        check(
            |_| {},
            REQUEST,
            now().minus(Duration::from_secs(61)),
            Err(AssertionError::Stale),
        );
    }

    #[test]
    fn altered_and_hostile_texts_prove_nothing() {
        let flip = |text: &mut String| {
            let place = text.len() - 40;
            let other = if &text[place..=place] == "A" { "B" } else { "A" };
            text.replace_range(place..=place, other);
        };
        check(flip, REQUEST, now(), Err(AssertionError::Forged));
        check(
            |text| text.truncate(text.len() - 1),
            REQUEST,
            now(),
            Err(AssertionError::Malformed),
        );
        check(
            |text| *text = ".".into(),
            REQUEST,
            now(),
            Err(AssertionError::Malformed),
        );
        check(
            |text| *text = "A".repeat(1_000_000),
            REQUEST,
            now(),
            Err(AssertionError::Malformed),
        );
        let other = SigningKey::generate(&SeededRandom::new(9));
        check(
            |text| {
                let (claims, _) = text.split_once('.').unwrap();
                let signature = other.sign(TAG, &URL_SAFE_NO_PAD.decode(claims).unwrap());
                *text = format!("{claims}.{signature}");
            },
            REQUEST,
            now(),
            Err(AssertionError::Forged),
        );
    }
}
