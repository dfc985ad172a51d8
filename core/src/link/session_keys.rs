//! The session keys of agents that poll: in memory only, and not for long.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Session;
use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Timestamp},
    protocol::{Proof, SESSION_KEY_LIFETIME, SessionKey},
};

/// Keys that are held: of the largest fleet that one server is for, since devices poll in turn, and with less room each key would be
/// forgotten just before its use. Each takes about 200 bytes. Twice as many just before the older half is forgotten.
const CAPACITY: usize = 100_000;

/// What a device proves its exchanges by.
#[derive(Debug)]
pub(super) struct Agreed {
    secret: SessionKey,
    /// The session that it belongs to.
    pub(super) epoch: u64,
    /// The key of the device that the agreement was proved by.
    pub(super) device_key: PublicKey,
    agreed_at: Timestamp,
    /// The counter of the last proof.
    last: AtomicU64,
}

/// The newest session key of each device that polls here.
#[derive(Debug)]
pub(crate) struct SessionKeys {
    capacity: usize,
    keys: Mutex<Keys>,
}

/// The keys that were used lately, and those that were before: the least used are forgotten without a search.
#[derive(Debug, Default)]
struct Keys {
    young: HashMap<DeviceId, Arc<Agreed>>,
    old: HashMap<DeviceId, Arc<Agreed>>,
}

impl Default for SessionKeys {
    fn default() -> Self {
        Self {
            capacity: CAPACITY,
            keys: Mutex::default(),
        }
    }
}

impl SessionKeys {
    /// Takes a key in place of the one before it.
    pub(super) fn agree(&self, session: &Session, device_key: PublicKey, secret: SessionKey, now: Timestamp) {
        let agreed = Agreed {
            secret,
            epoch: session.epoch,
            device_key,
            agreed_at: now,
            last: AtomicU64::new(0),
        };
        let mut keys = self.keys();
        keys.old.remove(&session.device);
        keys.insert(self.capacity, session.device, Arc::new(agreed));
    }

    /// The key that a proof was made with for this request: the device's newest, whose time is not over, and which has not
    /// seen this counter or a higher one.
    pub(super) fn admit(
        &self,
        proof: &Proof,
        now: Timestamp,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Option<Arc<Agreed>> {
        let agreed = self.keys().find(self.capacity, proof.device)?;
        if now < agreed.agreed_at || now.since(agreed.agreed_at) >= SESSION_KEY_LIFETIME {
            self.forget(proof.device);
            return None;
        }
        // The counter comes last: nobody else can use a device's counters up. Of two requests with one counter at the same
        // moment one raises it.
        (agreed.secret.verifies(proof, method, path, body)
            && agreed.last.fetch_max(proof.counter, Ordering::SeqCst) < proof.counter)
            .then_some(agreed)
    }

    /// Drops a device's key.
    pub(super) fn forget(&self, device: DeviceId) {
        let mut keys = self.keys();
        keys.young.remove(&device);
        keys.old.remove(&device);
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn find(&mut self, capacity: usize, device: DeviceId) -> Option<Arc<Agreed>> {
        if let Some(agreed) = self.young.get(&device) {
            return Some(agreed.clone());
        }
        let agreed = self.old.remove(&device)?;
        self.insert(capacity, device, agreed.clone());
        Some(agreed)
    }

    fn insert(&mut self, capacity: usize, device: DeviceId, agreed: Arc<Agreed>) {
        if self.young.len() >= capacity && !self.young.contains_key(&device) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(device, agreed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        kernel::{SeededRandom, SigningKey},
        protocol::{KeyAgreement, agree},
    };

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const METHOD: &str = "POST";
    const PATH: &str = "/agent/v1/exchange";

    fn session(seed: u64) -> Session {
        Session {
            device: DeviceId::new(NOW, &SeededRandom::new(seed)),
            name: "web".into(),
            epoch: 7,
            agent_version: "1".into(),
            dispatch: SigningKey::from_bytes(&[1; 32]).public(),
        }
    }

    /// The agent's half of a key that was agreed on.
    fn agreed(keys: &SessionKeys, seed: u64, now: Timestamp) -> SessionKey {
        let (random, session) = (SeededRandom::new(seed), session(seed));
        let identity = SigningKey::generate(&random);
        let agent = KeyAgreement::begin(&random);
        let (key, answer) = agree(&agent.request(), session.device, 7, &identity, &random).unwrap();
        keys.agree(&session, SigningKey::generate(&random).public(), key, now);
        agent.finish(&answer, &identity.public(), session.device, 7).unwrap()
    }

    fn admits(keys: &SessionKeys, key: &SessionKey, seed: u64, counter: u64, now: Timestamp) -> bool {
        let text = key.prove(session(seed).device, counter, METHOD, PATH, b"{}");
        let proof = Proof::parse(&text).unwrap();
        keys.admit(&proof, now, METHOD, PATH, b"{}").is_some()
    }

    #[test]
    fn a_counter_only_rises() {
        let keys = SessionKeys::default();
        let key = agreed(&keys, 1, NOW);
        let got = [1, 1, 2, 7, 6, 2, 8].map(|counter| admits(&keys, &key, 1, counter, NOW));
        assert_eq!(got, [true, false, true, true, false, false, true]);
        assert!(!admits(&keys, &key, 1, 0, NOW));
    }

    #[test]
    fn a_proof_that_does_not_hold_uses_no_counter_up() {
        let keys = SessionKeys::default();
        let (key, other) = (agreed(&keys, 1, NOW), agreed(&keys, 2, NOW));
        assert!(!admits(&keys, &other, 1, 9, NOW));
        assert!(admits(&keys, &key, 1, 1, NOW));
    }

    #[test]
    fn a_key_lives_for_ten_minutes_and_until_the_next() {
        let keys = SessionKeys::default();
        let key = agreed(&keys, 1, NOW);
        assert!(admits(&keys, &key, 1, 1, NOW.plus(Duration::from_secs(599))));
        assert!(!admits(&keys, &key, 1, 2, NOW.plus(Duration::from_secs(600))));
        assert!(!admits(&keys, &key, 1, 3, NOW), "it is gone");
        let key = agreed(&keys, 1, NOW);
        assert!(!admits(&keys, &key, 1, 1, NOW.minus(Duration::from_secs(1))));
        // Another agreement of the same device: the same seed would make the same key.
        let (one, random) = (agreed(&keys, 1, NOW), SeededRandom::new(50));
        let agent = KeyAgreement::begin(&random);
        let (next, _) = agree(
            &agent.request(),
            session(1).device,
            7,
            &SigningKey::generate(&random),
            &random,
        )
        .unwrap();
        keys.agree(&session(1), SigningKey::generate(&random).public(), next, NOW);
        assert!(!admits(&keys, &one, 1, 1, NOW));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let keys = SessionKeys {
            capacity: 10,
            ..SessionKeys::default()
        };
        let key = agreed(&keys, 1, NOW);
        for seed in 2..=60 {
            agreed(&keys, seed, NOW);
            assert!(admits(&keys, &key, 1, seed, NOW), "{seed}");
        }
        let held = keys.keys();
        assert!(held.young.len() <= 10 && held.old.len() <= 10);
    }
}
