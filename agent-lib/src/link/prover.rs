//! How exchanges are proved: by a signature, or by a session key that one of them agreed on.

use std::time::Duration;

use bytes::Bytes;
use fleet_core::protocol::{Exchange, ExchangeAnswer, KeyAgreement, KeyAnswer, ServerFrame, SessionKey};
use tokio::time::Instant;

use super::{Http, LinkError};

const PATH: &str = "/agent/v1/exchange";
/// What the server says when the session key does not count.
const PROOF_INVALID: &str = "proof.invalid";

/// Sends the exchanges of one session.
#[derive(Debug)]
pub(super) struct Prover {
    http: Http,
    key: Option<Held>,
}

/// A session key of this session.
#[derive(Debug)]
struct Held {
    key: SessionKey,
    epoch: u64,
    /// The last counter that was used.
    counter: u64,
    /// From then on an exchange is signed and asks for the next one, well before the server lets this one go.
    renew_at: Instant,
}

impl Prover {
    pub(super) fn new(http: Http) -> Self {
        Self { http, key: None }
    }

    /// Sends an exchange; what the server says to it.
    pub(super) async fn exchange(
        &mut self,
        exchange: Exchange,
        patience: Duration,
    ) -> Result<Vec<ServerFrame>, LinkError> {
        let device = self.http.identity().device;
        if let Some(held) = self.usable(exchange.epoch) {
            let body = json(&exchange)?;
            held.counter += 1;
            let proof = held.key.prove(device, held.counter, "POST", PATH, &body);
            match self.http.post_proved(PATH, proof, body, patience).await {
                // It took nothing: the server has restarted, or it is another one.
                Err(error) if error.code() == Some(PROOF_INVALID) => self.key = None,
                outcome => return Ok(answer(&outcome?)?.frames),
            }
        }
        self.sign(exchange, patience).await
    }

    fn usable(&mut self, epoch: Option<u64>) -> Option<&mut Held> {
        let now = Instant::now();
        self.key
            .as_mut()
            .filter(|held| Some(held.epoch) == epoch && now < held.renew_at)
    }

    async fn sign(&mut self, mut exchange: Exchange, patience: Duration) -> Result<Vec<ServerFrame>, LinkError> {
        // A key belongs to a session.
        let agreement = exchange
            .epoch
            .filter(|_| !self.http.is_certified())
            .map(|epoch| (epoch, KeyAgreement::begin(self.http.random())));
        exchange.key = agreement.as_ref().map(|(_, agreement)| agreement.request());
        let asked_at = Instant::now();
        let body = json(&exchange)?;
        let answer = self.http.post(PATH, "application/json", None, body, patience).await?;
        let ExchangeAnswer { frames, key } = self::answer(&answer)?;
        if let (Some((epoch, agreement)), Some(key)) = (agreement, key) {
            self.key = Some(self.finish(agreement, epoch, &key, asked_at)?);
        }
        Ok(frames)
    }

    fn finish(
        &self,
        agreement: KeyAgreement,
        epoch: u64,
        answer: &KeyAnswer,
        asked_at: Instant,
    ) -> Result<Held, LinkError> {
        let identity = self.http.identity();
        let key = agreement
            .finish(answer, &identity.server, identity.device, epoch)
            .ok_or_else(|| LinkError::Untrusted("the session key is not signed by the pinned server".into()))?;
        Ok(Held {
            key,
            epoch,
            counter: 0,
            renew_at: asked_at + Duration::from_secs(u64::from(answer.body.lifetime_seconds)).mul_f64(0.8),
        })
    }
}

fn json(exchange: &Exchange) -> Result<Bytes, LinkError> {
    serde_json::to_vec(exchange)
        .map(Bytes::from)
        .map_err(|error| LinkError::Untrusted(error.to_string()))
}

fn answer(body: &[u8]) -> Result<ExchangeAnswer, LinkError> {
    serde_json::from_slice(body).map_err(|error| LinkError::Untrusted(error.to_string()))
}

#[cfg(test)]
mod tests;
