//! Work offered to a device, signed by the server's dispatch key.

use serde::{Deserialize, Serialize};

use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical},
    work::{GivenParams, RunId},
};

const TAG: &str = "fleet offer v1";

/// What is offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferBody {
    /// The run.
    pub run: RunId,
    /// The device that may execute it.
    pub device: DeviceId,
    /// The session in which it is offered; an offer of an older session is void.
    pub epoch: u64,
    /// The kind of operation.
    pub kind: String,
    /// Its parameters, secrets among them in clear.
    pub params: GivenParams,
    /// Where in them secrets stand, as JSON pointers (RFC 6901): whatever the run prints, these values are taken out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Not to be accepted at this time or later, by the server's clock.
    pub expires_at: Timestamp,
    /// How long it may run, in seconds.
    pub timeout_seconds: u32,
    /// How much output is kept, in bytes.
    pub output_limit_bytes: u64,
    /// Whether it may run again when it was interrupted.
    pub idempotent: bool,
    /// Whether it waits for other exclusive work on the device.
    pub exclusive: bool,
}

/// Signed work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What is offered.
    pub body: OfferBody,
    /// The dispatch key's signature over the canonical form of the body.
    pub signature: Signature,
}

/// Why an offer is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The signature is not the dispatch key's.
    #[error("the offer is not signed by the server's dispatch key")]
    Forged,
    /// It is addressed to another device.
    #[error("the offer is for another device")]
    OtherDevice,
    /// It belongs to another session.
    #[error("the offer belongs to another session")]
    OtherEpoch,
    /// It came too late.
    #[error("the offer has expired")]
    Expired,
}

impl OfferError {
    /// The code that the agent answers with.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Forged => "offer.forged",
            Self::OtherDevice => "offer.other_device",
            Self::OtherEpoch => "offer.other_epoch",
            Self::Expired => "offer.expired",
        }
    }
}

impl Offer {
    /// Signs work for a device. Fails when the parameters have no canonical form.
    pub fn sign(body: OfferBody, dispatch: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = dispatch.sign(TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature })
    }

    /// Whether this device may accept the offer in this session now.
    pub fn verify(&self, dispatch: &PublicKey, device: DeviceId, epoch: u64, now: Timestamp) -> Result<(), OfferError> {
        let message = canonical::to_vec(&self.body).map_err(|_| OfferError::Forged)?;
        if !dispatch.verifies(TAG, &message, &self.signature) {
            return Err(OfferError::Forged);
        }
        if self.body.device != device {
            return Err(OfferError::OtherDevice);
        }
        if self.body.epoch != epoch {
            return Err(OfferError::OtherEpoch);
        }
        if now >= self.body.expires_at {
            return Err(OfferError::Expired);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    fn offer() -> (Offer, SigningKey) {
        let random = SeededRandom::new(5);
        let dispatch = SigningKey::generate(&random);
        let now = Timestamp::from_seconds(1_800_000_000);
        let body = OfferBody {
            run: RunId::new(now, &random),
            device: DeviceId::new(now, &random),
            epoch: 7,
            kind: "shell".into(),
            secrets: Vec::new(),
            params: serde_json::json!({"script": "uname -a", "environment": {"B": "2", "A": "1"}}).into(),
            expires_at: now.plus(std::time::Duration::from_secs(60)),
            timeout_seconds: 30,
            output_limit_bytes: 1_000,
            idempotent: false,
            exclusive: true,
        };
        (Offer::sign(body, &dispatch).unwrap(), dispatch)
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Offer), expected: Result<(), OfferError>) {
        let (mut offer, dispatch) = offer();
        let (device, now) = (offer.body.device, Timestamp::from_seconds(1_800_000_000));
        change(&mut offer);
        assert_eq!(offer.verify(&dispatch.public(), device, 7, now), expected);
    }

    #[test]
    fn only_the_very_offer_is_accepted() {
        check(|_| {}, Ok(()));
        check(
            |offer| offer.body.params["script"] = "rm -rf /".into(),
            Err(OfferError::Forged),
        );
        check(
            |offer| offer.body.kind = "packages.upgrade".into(),
            Err(OfferError::Forged),
        );
        check(|offer| offer.body.expires_at = Timestamp::MAX, Err(OfferError::Forged));
        check(|offer| offer.body.epoch = 8, Err(OfferError::Forged));
        check(|offer| offer.body.timeout_seconds = 1, Err(OfferError::Forged));
        check(|offer| offer.body.idempotent = true, Err(OfferError::Forged));
    }

    #[test]
    fn another_device_session_or_time_is_refused() {
        let (offer, dispatch) = offer();
        let now = Timestamp::from_seconds(1_800_000_000);
        let other = DeviceId::new(now, &SeededRandom::new(6));
        assert_eq!(
            offer.verify(&dispatch.public(), other, 7, now),
            Err(OfferError::OtherDevice)
        );
        assert_eq!(
            offer.verify(&dispatch.public(), offer.body.device, 8, now),
            Err(OfferError::OtherEpoch)
        );
        assert_eq!(
            offer.verify(&dispatch.public(), offer.body.device, 7, offer.body.expires_at),
            Err(OfferError::Expired)
        );
    }

    #[test]
    fn the_signature_survives_the_wire() {
        let (offer, dispatch) = offer();
        let text = serde_json::to_string(&offer).unwrap();
        let read: Offer = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read.verify(&dispatch.public(), offer.body.device, 7, Timestamp::EPOCH),
            Ok(())
        );
    }
}
