//! Ten thousand offers that no device may accept, among genuine ones that it must: mutated, spliced, signed by others or for
//! another purpose, addressed to others, of other sessions, expired, replayed. Seeded; prints how many of each class there were.
//!
//! What is tested is what stands between a text from the network and a run. Verifiers that lack one thing each show that the
//! campaign would find that.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use fleet_agent_lib::link::{Admission, Admitted};
use fleet_core::{
    devices::DeviceId,
    kernel::{PublicKey, Randomness, SeededRandom, Signature, SigningKey, Timestamp, canonical, random_bytes},
    protocol::{Offer, OfferBody},
    work::RunId,
};
use serde_json::{Value, json};

/// Hostile offers of a campaign.
const HOSTILE: usize = 10_000;
const TAG: &str = "fleet offer v1";
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const EPOCH: u64 = 7;

/// What is wrong with an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// A byte of its text was changed.
    Byte,
    /// A member was changed, removed or added.
    Member,
    /// The body of one, the signature of another.
    Spliced,
    /// Signed by another key: a stranger's, another device's, the server's identity key, the former dispatch key.
    OtherKey,
    /// Signed by the dispatch key for another purpose.
    OtherPurpose,
    /// Genuine, for another device.
    OtherDevice,
    /// Genuine, of another session.
    OtherSession,
    /// Genuine, and too late, be it by a microsecond.
    Expired,
    /// Genuine, and accepted before.
    Replayed,
}

const CLASSES: [Class; 9] = [
    Class::Byte,
    Class::Member,
    Class::Spliced,
    Class::OtherKey,
    Class::OtherPurpose,
    Class::OtherDevice,
    Class::OtherSession,
    Class::Expired,
    Class::Replayed,
];

/// Seeded choices.
struct Dice(SeededRandom);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let number = u64::from_le_bytes(random_bytes(&self.0));
        usize::try_from(number % bound as u64).unwrap()
    }

    fn choose<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn key(&self) -> SigningKey {
        SigningKey::generate(&self.0)
    }

    fn random(&self) -> &dyn Randomness {
        &self.0
    }
}

/// The device, the keys, and the offers that it accepted.
struct World {
    dice: Dice,
    device: DeviceId,
    dispatch: SigningKey,
    others: Vec<SigningKey>,
    genuine: Vec<Offer>,
    cover: Cover,
}

/// What a signature is made over.
type Cover = fn(&OfferBody) -> Vec<u8>;

fn all(body: &OfferBody) -> Vec<u8> {
    canonical::to_vec(body).unwrap()
}

fn no_parameters(body: &OfferBody) -> Vec<u8> {
    all(&OfferBody {
        params: json!({}).into(),
        ..body.clone()
    })
}

fn no_limits(body: &OfferBody) -> Vec<u8> {
    all(&OfferBody {
        timeout_seconds: 0,
        output_limit_bytes: 0,
        ..body.clone()
    })
}

impl World {
    fn new(seed: u64, cover: Cover) -> Self {
        let dice = Dice(SeededRandom::new(seed));
        let dispatch = dice.key();
        let others = (0..4).map(|_| dice.key()).collect();
        Self {
            device: DeviceId::new(NOW, dice.random()),
            genuine: Vec::new(),
            cover,
            dice,
            dispatch,
            others,
        }
    }

    fn body(&self) -> OfferBody {
        let script = format!("echo {}", self.dice.below(1_000_000));
        let params = match self.dice.below(3) {
            0 => json!({"script": script, "run_as": "web", "environment": {"B": "2", "A": "1"}}),
            1 => json!({"packages": ["bash", "curl"], "reboot": false, "retries": 3}),
            _ => json!({}),
        };
        OfferBody {
            run: RunId::new(NOW, self.dice.random()),
            device: self.device,
            epoch: EPOCH,
            kind: (*self.dice.choose(&["shell", "packages.upgrade", "inventory.refresh"])).into(),
            params: params.into(),
            secrets: Vec::new(),
            expires_at: NOW.plus(Duration::from_secs(1 + self.dice.below(3_600) as u64)),
            timeout_seconds: 30,
            output_limit_bytes: 1_000,
            idempotent: self.dice.below(2) == 0,
            exclusive: self.dice.below(2) == 0,
        }
    }

    fn sign(&self, body: OfferBody) -> Offer {
        self.sign_as(body, &self.dispatch, TAG)
    }

    fn sign_as(&self, body: OfferBody, key: &SigningKey, tag: &str) -> Offer {
        let signature = key.sign(tag, &(self.cover)(&body));
        Offer { body, signature }
    }

    /// The text of an offer that must not be accepted.
    fn hostile(&self, class: Class) -> String {
        let former = self.dice.choose(&self.genuine);
        let fresh = self.sign(self.body());
        let offer = match class {
            Class::Byte => return self.changed(&fresh, |text| self.change_a_byte(text)),
            Class::Member => return self.changed(&fresh, |text| self.change_a_member(text)),
            Class::Spliced => Offer {
                signature: former.signature,
                ..fresh
            },
            Class::OtherKey => self.sign_as(fresh.body, self.dice.choose(&self.others), TAG),
            Class::OtherPurpose => {
                let tag = self
                    .dice
                    .choose(&["fleet welcome v1", "fleet request v1", "fleet offer v2", ""]);
                self.sign_as(fresh.body, &self.dispatch, tag)
            }
            Class::OtherDevice => self.sign(OfferBody {
                device: DeviceId::new(NOW, self.dice.random()),
                ..fresh.body
            }),
            Class::OtherSession => self.sign(OfferBody {
                epoch: *self.dice.choose(&[0, EPOCH - 1, EPOCH + 1, u64::from(u32::MAX)]),
                ..fresh.body
            }),
            Class::Expired => self.sign(OfferBody {
                expires_at: NOW.minus(Duration::from_micros(*self.dice.choose(&[
                    0,
                    1,
                    1_000_000,
                    86_400_000_000,
                ]))),
                ..fresh.body
            }),
            Class::Replayed => former.clone(),
        };
        serde_json::to_string(&offer).unwrap()
    }

    /// A text that means something else than the offer, or nothing.
    fn changed(&self, offer: &Offer, change: impl Fn(&str) -> Option<String>) -> String {
        let text = serde_json::to_string(offer).unwrap();
        loop {
            let Some(changed) = change(&text) else { continue };
            match serde_json::from_str::<Offer>(&changed) {
                Ok(same) if same == *offer => {}
                _ => return changed,
            }
        }
    }

    fn change_a_byte(&self, text: &str) -> Option<String> {
        let mut bytes = text.as_bytes().to_vec();
        let place = self.dice.below(bytes.len());
        match self.dice.below(3) {
            0 => bytes[place] ^= 1 << self.dice.below(8),
            1 => bytes.truncate(place),
            _ => bytes[place] = *self.dice.choose(b"0123456789abcdef-\",:{}[]tfn"),
        }
        String::from_utf8(bytes).ok()
    }

    fn change_a_member(&self, text: &str) -> Option<String> {
        let mut value: Value = serde_json::from_str(text).unwrap();
        if self.dice.below(10) == 0 {
            let signature = Signature::from_bytes(random_bytes(self.dice.random()));
            value["signature"] = serde_json::to_value(signature).unwrap();
            return Some(value.to_string());
        }
        let body = value["body"].as_object_mut().unwrap();
        let target = match body["params"].as_object_mut() {
            Some(params) if self.dice.below(3) == 0 => params,
            _ => value["body"].as_object_mut().unwrap(),
        };
        let names: Vec<String> = target.keys().cloned().collect();
        let name = match names.is_empty() || self.dice.below(8) == 0 {
            true => "run_as".to_owned(),
            false => self.dice.choose(&names).clone(),
        };
        let changed = match target.get(&name) {
            None => json!("root"),
            Some(Value::Bool(yes)) => json!(!yes),
            Some(Value::Number(number)) => json!(number.as_u64()? ^ (1 << self.dice.below(20))),
            Some(Value::String(text)) if name == "run" || name == "device" => {
                json!(text.replacen(char::from(*self.dice.choose(b"0123456789abcdef")), "7", 1))
            }
            Some(Value::String(text)) if name == "expires_at" => json!(text.replacen("2027", "2037", 1)),
            Some(Value::String(text)) => json!(format!("{text} ")),
            Some(_) => json!({"script": "rm -rf /"}),
        };
        match self.dice.below(6) {
            0 => drop(target.remove(&name)),
            _ => drop(target.insert(name, changed)),
        }
        Some(value.to_string())
    }
}

/// What stands between a text from the network and a run: the work, if it is to be done.
trait Gate {
    fn accept(&mut self, text: &str, now: Timestamp) -> Option<OfferBody>;
}

/// The agent's.
impl Gate for Admission {
    fn accept(&mut self, text: &str, now: Timestamp) -> Option<OfferBody> {
        let offer: Offer = serde_json::from_str(text).ok()?;
        (self.admit(&offer, now) == Ok(Admitted::First)).then_some(offer.body)
    }
}

/// What a verifier may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LooksAtNoSignature,
    TakesAnyKey,
    TakesAnyPurpose,
    SignsNoParameters,
    SignsNoLimits,
    TakesAnyDevice,
    TakesAnySession,
    TakesOlderSessions,
    TakesExpired,
    TakesTheMomentOfExpiry,
    TakesRepeats,
}

const FAULTS: [(Fault, &[Class]); 11] = [
    (Fault::LooksAtNoSignature, &[Class::Byte, Class::Member, Class::Spliced]),
    (Fault::TakesAnyKey, &[Class::OtherKey]),
    (Fault::TakesAnyPurpose, &[Class::OtherPurpose]),
    (Fault::SignsNoParameters, &[Class::Byte, Class::Member]),
    (Fault::SignsNoLimits, &[Class::Byte, Class::Member]),
    (Fault::TakesAnyDevice, &[Class::OtherDevice]),
    (Fault::TakesAnySession, &[Class::OtherSession]),
    (Fault::TakesOlderSessions, &[Class::OtherSession]),
    (Fault::TakesExpired, &[Class::Expired]),
    (Fault::TakesTheMomentOfExpiry, &[Class::Expired]),
    (Fault::TakesRepeats, &[Class::Replayed]),
];

/// A gate that lacks one thing.
struct Broken {
    fault: Fault,
    cover: Cover,
    dispatch: PublicKey,
    keys: Vec<PublicKey>,
    device: DeviceId,
    seen: HashSet<RunId>,
}

impl Gate for Broken {
    fn accept(&mut self, text: &str, now: Timestamp) -> Option<OfferBody> {
        let offer: Offer = serde_json::from_str(text).ok()?;
        let body = &offer.body;
        let message = (self.cover)(body);
        let by = |key: &PublicKey, tag: &str| key.verifies(tag, &message, &offer.signature);
        let signed = match self.fault {
            Fault::LooksAtNoSignature => true,
            Fault::TakesAnyKey => self.keys.iter().any(|key| by(key, TAG)),
            Fault::TakesAnyPurpose => [TAG, "fleet welcome v1"].iter().any(|tag| by(&self.dispatch, tag)),
            _ => by(&self.dispatch, TAG),
        };
        let device = body.device == self.device || self.fault == Fault::TakesAnyDevice;
        let session = match self.fault {
            Fault::TakesAnySession => true,
            Fault::TakesOlderSessions => body.epoch <= EPOCH,
            _ => body.epoch == EPOCH,
        };
        let in_time = match self.fault {
            Fault::TakesExpired => true,
            Fault::TakesTheMomentOfExpiry => now <= body.expires_at,
            _ => now < body.expires_at,
        };
        let good = signed && device && session && in_time;
        (good && (self.seen.insert(body.run) || self.fault == Fault::TakesRepeats)).then(|| offer.body.clone())
    }
}

/// What a campaign has found.
#[derive(Debug, Default)]
struct Findings {
    hostile: BTreeMap<Class, usize>,
    /// The class of the first that was accepted.
    accepted: Option<Class>,
    genuine: usize,
}

/// Sends hostile offers among genuine ones, until there were enough or one is accepted.
fn campaign<G: Gate>(mut world: World, make: impl FnOnce(&World) -> G) -> Findings {
    let mut gate = make(&world);
    let mut findings = Findings::default();
    for _ in 0..HOSTILE {
        while world.genuine.is_empty() || world.dice.below(4) == 0 {
            let offer = world.sign(world.body());
            let taken = gate.accept(&serde_json::to_string(&offer).unwrap(), NOW);
            assert_eq!(
                taken.as_ref(),
                Some(&offer.body),
                "a genuine offer is accepted as it is"
            );
            findings.genuine += 1;
            world.genuine.push(offer);
        }
        let class = *world.dice.choose(&CLASSES);
        *findings.hostile.entry(class).or_default() += 1;
        if gate.accept(&world.hostile(class), NOW).is_some() {
            findings.accepted = Some(class);
            break;
        }
    }
    findings
}

#[test]
#[allow(clippy::print_stdout, reason = "the counts are what is asked for")]
fn of_ten_thousand_mutated_replayed_readdressed_and_expired_offers_none_is_accepted() {
    let findings = campaign(World::new(1, all), |world| {
        Admission::new(world.dispatch.public(), world.device, EPOCH)
    });
    println!("hostile offers by class: {:?}", findings.hostile);
    println!("genuine offers, each accepted once: {}", findings.genuine);
    assert_eq!(findings.accepted, None, "{findings:?}");
    assert_eq!(findings.hostile.values().sum::<usize>(), HOSTILE);
    assert!(findings.hostile.len() == CLASSES.len() && findings.hostile.values().all(|count| *count > 500));
}

#[test]
fn a_verifier_that_lacks_one_thing_is_found_by_the_class_that_is_about_it() {
    for (fault, classes) in FAULTS {
        let cover: Cover = match fault {
            Fault::SignsNoParameters => no_parameters,
            Fault::SignsNoLimits => no_limits,
            _ => all,
        };
        let findings = campaign(World::new(1, cover), |world| Broken {
            fault,
            cover,
            dispatch: world.dispatch.public(),
            keys: world
                .others
                .iter()
                .chain([&world.dispatch])
                .map(SigningKey::public)
                .collect(),
            device: world.device,
            seen: HashSet::new(),
        });
        let found = findings.accepted.unwrap_or_else(|| panic!("{fault:?} was not found"));
        assert!(classes.contains(&found), "{fault:?} was found by {found:?}");
    }
}
