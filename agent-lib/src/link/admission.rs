//! Which offers a session admits: work that the server's dispatch key signed for this device, this session and this time, once.

use std::collections::HashSet;

use fleet_core::{
    devices::DeviceId,
    kernel::{PublicKey, Timestamp},
    protocol::{Offer, OfferError},
    work::RunId,
};

/// The most offers of one session; the next session begins anew. About half a megabyte.
const MOST: usize = 16_384;

/// What became of an offer that is genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is the first of its run in this session.
    First,
    /// It was here before: nothing is to be done. The journal may have forgotten the run by now, so it must not be asked.
    Repeat,
    /// The session has had as many as can be remembered. It must end.
    Full,
}

/// Admits the offers of one session.
#[derive(Debug)]
pub struct Admission {
    dispatch: PublicKey,
    device: DeviceId,
    epoch: u64,
    seen: HashSet<RunId>,
}

impl Admission {
    /// For a session of this number, in which this key signs work for this device.
    pub fn new(dispatch: PublicKey, device: DeviceId, epoch: u64) -> Self {
        Self {
            dispatch,
            device,
            epoch,
            seen: HashSet::new(),
        }
    }

    /// Whether an offer may be taken now. `now` must not be earlier than it is: see
    /// [`ServerClock::at_least`](crate::clock::ServerClock::at_least).
    ///
    /// # Errors
    /// Why it is void. It says nothing of its run then: anybody may have made it.
    pub fn admit(&mut self, offer: &Offer, now: Timestamp) -> Result<Admitted, OfferError> {
        offer.verify(&self.dispatch, self.device, self.epoch, now)?;
        if self.seen.contains(&offer.body.run) {
            return Ok(Admitted::Repeat);
        }
        if self.seen.len() >= MOST {
            return Ok(Admitted::Full);
        }
        self.seen.insert(offer.body.run);
        Ok(Admitted::First)
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::{
        kernel::{EntityId as _, SigningKey},
        protocol::OfferBody,
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_what_does_not_fit_is_not_admitted() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let device = DeviceId::from_uuid(Uuid::nil());
        let mut admission = Admission::new(key.public(), device, 1);
        admission.seen = (0..MOST as u128)
            .map(|n| RunId::from_uuid(Uuid::from_u128(n)))
            .collect();
        let mut admit = |run: u128| {
            let body = OfferBody {
                run: RunId::from_uuid(Uuid::from_u128(run)),
                device,
                epoch: 1,
                kind: "shell".into(),
                secrets: Vec::new(),
                params: serde_json::json!({}).into(),
                expires_at: Timestamp::MAX,
                timeout_seconds: 1,
                output_limit_bytes: 1,
                idempotent: false,
                exclusive: false,
            };
            admission
                .admit(&Offer::sign(body, &key).unwrap(), Timestamp::EPOCH)
                .unwrap()
        };
        assert_eq!(admit(0), Admitted::Repeat);
        assert_eq!(admit(MOST as u128), Admitted::Full);
        assert_eq!(admit(MOST as u128), Admitted::Full);
    }
}
