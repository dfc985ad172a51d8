//! The key of a polling session: one signature agrees on it, and a keyed hash proves each exchange of the next minutes.
//!
//! A signature costs the server more than everything else about a heartbeat together. So an agent that polls sends with an
//! ordinary, signed exchange one half of an X25519 agreement (RFC 7748), made for this alone; the server answers with its
//! half, signed with its identity key. Both sides are proved by the keys that they proved themselves by before, and whoever
//! terminates TLS in between reads nothing of the secret.
//!
//! ```text
//! agent → server   exchange + KeyRequest    proved by an assertion
//! server → agent   answer   + KeyAnswer     signed with the identity key
//! agent → server   exchange                 x-fleet-proof: device.counter.hash, for ten minutes at most
//! ```
//!
//! The secret lives in memory on both sides and nowhere else. A proof holds for one request: device, counter, method, path
//! and body are under the hash, and the counter only rises. Whatever is wrong with a proof, the answer is the same and the
//! agent signs again: the server has restarted, another one answers, the time is over.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use x25519_dalek::{PublicKey as Half, StaticSecret};
use zeroize::Zeroizing;

use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Randomness, Signature, SigningKey, canonical, random_bytes},
};

/// How long a session key holds; agents agree on the next one in time.
pub const SESSION_KEY_LIFETIME: Duration = Duration::from_secs(600);

const TAG: &str = "fleet session key v1";
const DERIVE: &str = "fleet 2026 session key of a device that polls, v1";
/// Longer than any proof that an agent makes.
const MAX_TEXT: usize = 128;

/// One side's public half of an agreement: 32 bytes in base64url.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicHalf([u8; 32]);

impl fmt::Debug for PublicHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for PublicHalf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for PublicHalf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        decode(&text)
            .map(Self)
            .ok_or_else(|| de::Error::custom("not 32 bytes in base64url"))
    }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    (URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) == Ok(32)).then_some(bytes)
}

/// Asks for a session key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequest {
    /// The agent's half.
    pub agent: PublicHalf,
}

/// What the server says of a session key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAnswerBody {
    /// The agent's half, as it was asked with.
    pub agent: PublicHalf,
    /// The server's half.
    pub server: PublicHalf,
    /// The device that asked.
    pub device: DeviceId,
    /// The session. The key ends with it.
    pub epoch: u64,
    /// How long the key holds, in seconds.
    pub lifetime_seconds: u32,
}

/// The server's half of a session key, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAnswer {
    /// What is said.
    pub body: KeyAnswerBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
}

/// An agent's side of an agreement that is under way.
pub struct KeyAgreement {
    secret: StaticSecret,
}

impl fmt::Debug for KeyAgreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyAgreement")
    }
}

impl KeyAgreement {
    /// Makes the agent's half.
    pub fn begin(random: &dyn Randomness) -> Self {
        Self { secret: half(random) }
    }

    /// What is sent.
    pub fn request(&self) -> KeyRequest {
        KeyRequest {
            agent: PublicHalf(Half::from(&self.secret).to_bytes()),
        }
    }

    /// The key, if the answer is the pinned server's, to this request of this device in this session.
    pub fn finish(self, answer: &KeyAnswer, identity: &PublicKey, device: DeviceId, epoch: u64) -> Option<SessionKey> {
        let body = &answer.body;
        let message = canonical::to_vec(body).ok()?;
        let ours = body.agent == self.request().agent && body.device == device && body.epoch == epoch;
        if !ours || !identity.verifies(TAG, &message, &answer.signature) {
            return None;
        }
        SessionKey::derive(&self.secret, body.server, body)
    }
}

/// The server's side: the key, and what the agent is told. None when the agent's half is of low order, so that anybody would
/// know the secret.
pub fn agree(
    request: &KeyRequest,
    device: DeviceId,
    epoch: u64,
    identity: &SigningKey,
    random: &dyn Randomness,
) -> Option<(SessionKey, KeyAnswer)> {
    let secret = half(random);
    let body = KeyAnswerBody {
        agent: request.agent,
        server: PublicHalf(Half::from(&secret).to_bytes()),
        device,
        epoch,
        lifetime_seconds: u32::try_from(SESSION_KEY_LIFETIME.as_secs()).unwrap_or(u32::MAX),
    };
    let key = SessionKey::derive(&secret, request.agent, &body)?;
    let signature = identity.sign(TAG, &canonical::to_vec(&body).ok()?);
    Some((key, KeyAnswer { body, signature }))
}

fn half(random: &dyn Randomness) -> StaticSecret {
    StaticSecret::from(*Zeroizing::new(random_bytes::<32>(random)))
}

/// The secret that both sides share for some minutes. Never stored, never sent.
pub struct SessionKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}

impl SessionKey {
    fn derive(secret: &StaticSecret, theirs: PublicHalf, body: &KeyAnswerBody) -> Option<Self> {
        let shared = secret.diffie_hellman(&Half::from(theirs.0));
        // Everything that was agreed on goes in, so that no two agreements share a key.
        shared.was_contributory().then(|| {
            let mut hasher = blake3::Hasher::new_derive_key(DERIVE);
            hasher.update(shared.as_bytes());
            hasher.update(&body.agent.0).update(&body.server.0);
            hasher.update(body.device.to_string().as_bytes());
            hasher.update(&body.epoch.to_le_bytes());
            Self(Zeroizing::new(*hasher.finalize().as_bytes()))
        })
    }

    /// The header text that proves the key for one request. Each needs a counter above all before.
    pub fn prove(&self, device: DeviceId, counter: u64, method: &str, path: &str, body: &[u8]) -> String {
        let hash = self.hash(device, counter, method, path, body);
        format!("{device}.{counter}.{}", URL_SAFE_NO_PAD.encode(hash.as_bytes()))
    }

    /// Whether a proof was made with this key for this request. That its counter rises is the caller's to see to.
    #[must_use]
    pub fn verifies(&self, proof: &Proof, method: &str, path: &str, body: &[u8]) -> bool {
        // Compares in constant time.
        self.hash(proof.device, proof.counter, method, path, body) == blake3::Hash::from_bytes(proof.hash)
    }

    fn hash(&self, device: DeviceId, counter: u64, method: &str, path: &str, body: &[u8]) -> blake3::Hash {
        use crate::kernel::EntityId as _;
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(device.uuid().as_bytes());
        hasher.update(&counter.to_le_bytes());
        for part in [method.as_bytes(), path.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.update(body).finalize()
    }
}

/// What a request shows in place of an assertion: device, counter and hash, with dots between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Who asks.
    pub device: DeviceId,
    /// Above those of all requests before it with the same key.
    pub counter: u64,
    hash: [u8; 32],
}

impl Proof {
    /// Reads the header text; nothing is proved yet.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let (device, rest) = text.split_once('.')?;
        let (counter, hash) = rest.split_once('.')?;
        Some(Self {
            device: device.parse().ok()?,
            counter: counter.parse().ok()?,
            hash: decode(hash)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SeededRandom, Timestamp};

    const REQUEST: (&str, &str, &[u8]) = ("POST", "/agent/v1/exchange", b"{}");

    fn device(seed: u64) -> DeviceId {
        DeviceId::new(Timestamp::from_seconds(1_800_000_000), &SeededRandom::new(seed))
    }

    fn identity() -> SigningKey {
        SigningKey::generate(&SeededRandom::new(100))
    }

    /// Both sides' keys, when the answer is changed on its way.
    fn agreed(change: impl FnOnce(&mut KeyAnswer)) -> (SessionKey, Option<SessionKey>) {
        let random = SeededRandom::new(1);
        let agent = KeyAgreement::begin(&random);
        let (server, mut answer) = agree(&agent.request(), device(1), 7, &identity(), &random).unwrap();
        change(&mut answer);
        (server, agent.finish(&answer, &identity().public(), device(1), 7))
    }

    #[track_caller]
    fn check(change: impl FnOnce(String) -> String, request: (&str, &str, &[u8]), expected: bool) {
        let (server, agent) = agreed(|_| {});
        let text = change(agent.unwrap().prove(device(1), 3, REQUEST.0, REQUEST.1, REQUEST.2));
        let holds = Proof::parse(&text).is_some_and(|proof| server.verifies(&proof, request.0, request.1, request.2));
        assert_eq!(holds, expected, "{text}");
    }

    #[test]
    fn a_proof_holds_for_one_request() {
        check(|text| text, REQUEST, true);
        check(|text| text, ("GET", REQUEST.1, REQUEST.2), false);
        check(|text| text, (REQUEST.0, "/agent/v1/link", REQUEST.2), false);
        check(|text| text, (REQUEST.0, REQUEST.1, b"{ }"), false);
    }

    #[test]
    fn altered_and_hostile_texts_prove_nothing() {
        check(|text| text.replacen(".3.", ".4.", 1), REQUEST, false);
        let other = device(2).to_string();
        check(|text| other + &text[36..], REQUEST, false);
        check(|text| text[..text.len() - 1].to_owned(), REQUEST, false);
        check(|text| text + "A", REQUEST, false);
        check(|text| text.replace('.', ""), REQUEST, false);
        check(|_| "..".into(), REQUEST, false);
        check(|_| "A".repeat(1_000_000), REQUEST, false);
    }

    #[test]
    fn only_the_pinned_servers_answer_to_this_very_request_makes_a_key() {
        assert!(agreed(|_| {}).1.is_some());
        let forgeries: [fn(&mut KeyAnswer); 4] = [
            |answer| answer.body.server = answer.body.agent,
            |answer| answer.body.device = device(2),
            |answer| answer.body.epoch = 8,
            |answer| answer.body.lifetime_seconds += 1,
        ];
        for forge in forgeries {
            assert!(agreed(forge).1.is_none(), "not signed");
            let resigned = |answer: &mut KeyAnswer| {
                forge(answer);
                let other = SigningKey::generate(&SeededRandom::new(101));
                answer.signature = other.sign(TAG, &canonical::to_vec(&answer.body).unwrap());
            };
            assert!(agreed(resigned).1.is_none(), "signed by somebody else");
        }
        let of_another = |answer: &mut KeyAnswer| {
            let other = KeyAgreement::begin(&SeededRandom::new(9)).request();
            *answer = agree(&other, device(1), 7, &identity(), &SeededRandom::new(9))
                .unwrap()
                .1;
        };
        assert!(agreed(of_another).1.is_none(), "of another agreement");
    }

    #[test]
    fn each_agreement_has_a_key_of_its_own() {
        let ((one, _), random) = (agreed(|_| {}), SeededRandom::new(5));
        let agent = KeyAgreement::begin(&SeededRandom::new(1));
        let (other, _) = agree(&agent.request(), device(1), 7, &identity(), &random).unwrap();
        assert_ne!(*one.0, *other.0);
    }

    #[test]
    fn a_half_that_leaves_no_secret_is_refused() {
        for low in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let request = KeyRequest { agent: PublicHalf(low) };
            assert!(agree(&request, device(1), 7, &identity(), &SeededRandom::new(1)).is_none());
        }
    }
}
