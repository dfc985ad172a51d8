//! How this device stands with its server: asked when the server lets it in no more, or not yet.

use bytes::Bytes;
use fleet_core::protocol::{StandingAnswer, StandingBody, StandingRequest};

use super::{
    Http, LinkError,
    http::Client,
    own_tls::{parse, untrusted},
};

const STANDING: &str = "/agent/v1/standing";

/// Codes of refusals after which the agent asks: only a signed answer makes it forget who it is.
const REASONS: [&str; 4] = ["device.gone", "device.not_found", "device.pending", "assertion.invalid"];

/// Whether a refusal with this code is a reason to ask.
pub(crate) fn is_reason_to_ask(code: &str) -> bool {
    REASONS.contains(&code)
}

impl Http {
    /// Asks how this device stands. What is returned was signed by the pinned server, for this very question.
    ///
    /// # Errors
    /// As [`LinkError`] says.
    pub async fn standing(&self) -> Result<StandingBody, LinkError> {
        let identity = self.identity();
        let request = StandingRequest::sign(identity.device, &identity.key, self.nonce());
        let body = serde_json::to_vec(&request).map_err(|error| LinkError::Untrusted(error.to_string()))?;
        // Whoever was deleted has no certificate that counts.
        let client = match self.tls() {
            Some(_) => Client::Web(self.enrolment_client().await?.0),
            None => self.client().0,
        };
        let response = self.send(&client, STANDING, Bytes::from(body), None).await?;
        let answer: StandingAnswer = parse(&response)?;
        if !answer.verify(&identity.server, &request) {
            return Err(untrusted());
        }
        Ok(answer.body)
    }
}
