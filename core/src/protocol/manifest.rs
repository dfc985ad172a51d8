//! What a device shall be, between server and agent. The server names it in a frame ([`ManifestMark`]); an agent that has another asks
//! for it, saying what it has, and is answered with the difference. What comes together is proved by one signature over its digest and
//! the nonce of the question, so that nobody in between can give a device an older manifest.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical},
    work::{
        RunId,
        desired::{ManifestGroup, Occurrence, OnFailure, Rhythm, manifest_digest},
        secrets::{OperationSecretId, SecretText},
        windows::HeldWindow,
    },
};

const TAG: &str = "fleet device manifest v1";

/// The largest answer, in bytes.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;
/// The most failing occurrences that an agent names.
pub const MAX_FAILING: usize = 20;

/// The name of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestMark {
    /// Its version; 0 where the device has none.
    pub version: u64,
    /// Its digest; empty where the device has none.
    pub digest: String,
}

/// An agent asks for its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"nonce": "AAECAwQFBgcICQoLDA0ODw"})))]
pub struct ManifestRequest {
    /// 16 random bytes in base64url, to be signed by the server.
    pub nonce: String,
    /// The digest of the groups that it has, with nothing to take back; none where it has none, or what came last did not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<String>,
}

/// What is signed of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestAnswerBody {
    /// The nonce of the request.
    pub nonce: String,
    /// The device that it is for.
    pub device: DeviceId,
    /// Its version; 0 where the device has none.
    pub version: u64,
    /// BLAKE3 of the canonical bytes of `{"groups", "reverts", "windows"}`, in hexadecimal digits; empty where the device has none.
    pub digest: String,
    /// BLAKE3 of the canonical bytes of the secrets that come along, in hexadecimal digits; left out where none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub secrets_digest: Option<String>,
}

/// The manifest of a device, as the difference to what its agent has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestAnswer {
    /// What is signed.
    pub body: ManifestAnswerBody,
    /// The dispatch key's signature over the canonical form of the body.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub signature: Signature,
    /// What it consists of; its digest is signed.
    #[serde(flatten)]
    pub parts: ManifestParts,
}

/// What a manifest consists of, on its way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestParts {
    /// The groups, in order.
    pub groups: Vec<GroupPart>,
    /// The windows that hold what the device does by itself.
    pub windows: Vec<HeldWindow>,
    /// What is to be taken back.
    pub reverts: Vec<Occurrence>,
    /// The secrets that what is new refers to, by their ids. The agent keeps them beside its manifest, which holds references only: so the
    /// name of a manifest tells nothing about them.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub secrets: Secrets,
}

/// Secrets by their ids.
pub type Secrets = BTreeMap<OperationSecretId, SecretText>;

/// A group, whose occurrences the agent may have already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupPart {
    /// What it was made from.
    pub label: String,
    /// The name of that, for people.
    pub name: String,
    /// How often it is looked at.
    pub rhythm: Rhythm,
    /// What happens to the rest when one fails.
    pub on_failure: OnFailure,
    /// Its actions, in order.
    pub occurrences: Vec<OccurrencePart>,
}

/// An occurrence, or the name of one that the agent has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum OccurrencePart {
    /// The agent has it.
    Same {
        /// Its id.
        same: Uuid,
    },
    /// It is new, or was changed.
    Whole(Box<Occurrence>),
}

/// A run that an agent has begun by itself: it applies an occurrence of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Originated {
    /// The run; its id is [`RunId::originated`].
    pub run: RunId,
    /// The occurrence.
    pub occurrence: Uuid,
    /// The version of the manifest in which it stands.
    pub version: u64,
    /// When it began, by the device's clock as corrected.
    pub at: Timestamp,
}

/// What became of a manifest on its device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Applied {
    /// The version that the agent has.
    pub version: u64,
    /// Its digest.
    pub digest: String,
    /// How many occurrences were as they shall be when they were looked at last.
    pub kept: u32,
    /// How many were not, and could not be brought there.
    pub failed: u32,
    /// How many do not concern this device.
    pub not_applicable: u32,
    /// How many were not looked at yet.
    pub waiting: u32,
    /// How many are to be taken back, and were not yet.
    pub reverting: u32,
    /// How many are due, or to be taken back, and wait for a window.
    pub held: u32,
    /// Those that failed, the first [`MAX_FAILING`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<Failing>,
    /// How many runs there is no report of, since the agent could not keep any more.
    pub unreported: u64,
}

/// An occurrence that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failing {
    /// The occurrence.
    pub occurrence: Uuid,
    /// Since when.
    pub since: Timestamp,
    /// A stable code, where there is one.
    pub code: Option<String>,
}

/// Occurrences that were taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverted {
    /// Their ids.
    pub occurrences: Vec<Uuid>,
}

impl ManifestAnswer {
    /// Signs a manifest, and the secrets that come along. Fails when a text in it has no canonical form.
    pub fn sign(
        mut body: ManifestAnswerBody,
        parts: ManifestParts,
        dispatch: &SigningKey,
    ) -> Result<Self, canonical::CanonicalError> {
        body.secrets_digest = secrets_digest(&parts.secrets)?;
        let signature = dispatch.sign(TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature, parts })
    }

    /// Whether it is signed by this key, for this device, and answers this nonce.
    #[must_use]
    pub fn verify(&self, dispatch: &PublicKey, device: DeviceId, nonce: &str) -> bool {
        let body = &self.body;
        let is_meant = body.device == device && body.nonce == nonce;
        let is_meant =
            is_meant && secrets_digest(&self.parts.secrets).is_ok_and(|digest| digest == body.secrets_digest);
        is_meant && canonical::to_vec(body).is_ok_and(|message| dispatch.verifies(TAG, &message, &self.signature))
    }
}

fn secrets_digest(secrets: &Secrets) -> Result<Option<String>, canonical::CanonicalError> {
    if secrets.is_empty() {
        return Ok(None);
    }
    let bytes = Zeroizing::new(canonical::to_vec(secrets)?);
    Ok(Some(blake3::hash(&bytes).to_hex().to_string()))
}

/// The secrets that somebody needs who has these already and is given others; nothing where one of them is missing.
pub fn needed_secrets(
    groups: &[ManifestGroup],
    reverts: &[Occurrence],
    have: &Secrets,
    given: &Secrets,
) -> Option<Secrets> {
    let occurrences = groups.iter().flat_map(|group| &group.occurrences).chain(reverts);
    let ids = occurrences.flat_map(|one| one.params.secret_ids());
    let text = |id| given.get(&id).or_else(|| have.get(&id)).map(|text| (id, text.clone()));
    ids.map(text).collect()
}

/// The groups, without the occurrences that somebody has who has these.
pub fn difference(have: &[ManifestGroup], groups: Vec<ManifestGroup>) -> Vec<GroupPart> {
    let had = by_id(have);
    let part = |occurrence: Occurrence| match had.get(&occurrence.id) {
        Some(had) if **had == occurrence => OccurrencePart::Same { same: occurrence.id },
        _ => OccurrencePart::Whole(Box::new(occurrence)),
    };
    let group = |group: ManifestGroup| GroupPart {
        label: group.label,
        name: group.name,
        rhythm: group.rhythm,
        on_failure: group.on_failure,
        occurrences: group.occurrences.into_iter().map(part).collect(),
    };
    groups.into_iter().map(group).collect()
}

/// The groups of an answer, for somebody who has these; nothing when they are not what was signed: then all of it has to be asked for.
pub fn assemble(have: &[ManifestGroup], answer: &ManifestAnswer) -> Option<Vec<ManifestGroup>> {
    let had = by_id(have);
    let whole = |part: &OccurrencePart| match part {
        OccurrencePart::Same { same } => had.get(same).map(|had| (*had).clone()),
        OccurrencePart::Whole(occurrence) => Some((**occurrence).clone()),
    };
    let group = |part: &GroupPart| {
        Some(ManifestGroup {
            label: part.label.clone(),
            name: part.name.clone(),
            rhythm: part.rhythm.clone(),
            on_failure: part.on_failure,
            occurrences: part.occurrences.iter().map(whole).collect::<Option<_>>()?,
        })
    };
    let ManifestParts {
        groups: parts,
        windows,
        reverts,
        ..
    } = &answer.parts;
    let groups: Vec<_> = parts.iter().map(group).collect::<Option<_>>()?;
    if answer.body.version == 0 {
        // Nothing was ever compiled for it: there is nothing to prove but that.
        let is_nothing = groups.is_empty() && windows.is_empty() && reverts.is_empty();
        return (is_nothing && answer.body.digest.is_empty()).then_some(groups);
    }
    let digest = manifest_digest(&groups, windows, reverts).ok()?;
    (digest == answer.body.digest).then_some(groups)
}

fn by_id(groups: &[ManifestGroup]) -> HashMap<Uuid, &Occurrence> {
    let occurrences = groups.iter().flat_map(|group| &group.occurrences);
    occurrences.map(|occurrence| (occurrence.id, occurrence)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        kernel::{EntityId as _, SeededRandom},
        work::{
            StoredParams,
            desired::{ActionId, DesiredState},
            windows::{Outside, WindowId, WindowKind, WindowTimes},
        },
    };

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// Groups by their occurrences: `ab` is a group with `a` and `b`; a digit after a letter is its generation.
    fn groups(text: &str) -> Vec<ManifestGroup> {
        let group = |word: &str| ManifestGroup {
            label: "definition:x".into(),
            name: "X".into(),
            rhythm: Rhythm::default(),
            on_failure: OnFailure::Continue,
            occurrences: occurrences(word),
        };
        text.split_whitespace().map(group).collect()
    }

    fn secret(number: u128) -> OperationSecretId {
        OperationSecretId::from_uuid(Uuid::from_u128(number))
    }

    fn occurrences(word: &str) -> Vec<Occurrence> {
        let letters: Vec<_> = word.chars().collect();
        let mut found = Vec::new();
        for (at, letter) in letters.iter().enumerate().filter(|(_, letter)| letter.is_alphabetic()) {
            let next = letters.get(at + 1).and_then(|next| next.to_digit(10));
            let id = Uuid::from_u128(u128::from(u32::from(*letter)));
            found.push(Occurrence {
                id,
                action: ActionId::from_uuid(id),
                name: letter.to_string(),
                generation: u64::from(next.unwrap_or(1)),
                operation: "file".into(),
                params: StoredParams::without_secrets(json!({"path": format!("/{letter}")})),
                subjects: ["user:ann".to_owned()].into(),
                state: DesiredState::Present,
                timeout_seconds: 60,
                action_set: None,
            });
        }
        found
    }

    fn window() -> HeldWindow {
        HeldWindow {
            id: WindowId::new(NOW, &SeededRandom::new(3)),
            name: "nights".into(),
            kind: WindowKind::Maintenance,
            when: WindowTimes::Recurring {
                cron: "0 3 * * *".into(),
                zone: "UTC".into(),
                duration_seconds: 7_200,
            },
            outside: Outside::Gate,
            operations: ["package".to_owned()].into(),
        }
    }

    fn answer(have: &str, groups_now: &str, reverts: &str) -> (ManifestAnswer, SigningKey) {
        let secrets = Secrets::from([(secret(1), SecretText::from("hunter2".to_owned()))]);
        let dispatch = SigningKey::generate(&SeededRandom::new(1));
        let (now, reverts, windows) = (groups(groups_now), occurrences(reverts), vec![window()]);
        let body = ManifestAnswerBody {
            nonce: "n".into(),
            device: DeviceId::new(NOW, &SeededRandom::new(2)),
            version: 7,
            digest: manifest_digest(&now, &windows, &reverts).unwrap(),
            secrets_digest: None,
        };
        let parts = ManifestParts {
            groups: difference(&groups(have), now),
            windows,
            reverts,
            secrets,
        };
        (ManifestAnswer::sign(body, parts, &dispatch).unwrap(), dispatch)
    }

    /// What is sent whole to somebody who has `have`, and that it comes together to `now`.
    #[track_caller]
    fn check(have: &str, now: &str, sent: &str) {
        let (answer, _) = answer(have, now, "");
        let parts = answer.parts.groups.iter().flat_map(|group| &group.occurrences);
        let whole: String = parts
            .filter_map(|part| match part {
                OccurrencePart::Whole(occurrence) => occurrence.params.shown()["path"]
                    .as_str()
                    .map(|path| path[1..].to_owned()),
                OccurrencePart::Same { .. } => None,
            })
            .collect();
        assert_eq!(whole, sent);
        assert_eq!(assemble(&groups(have), &answer), Some(groups(now)));
    }

    #[test]
    fn only_what_is_new_or_changed_is_sent_whole() {
        check("", "ab", "ab");
        check("ab", "ab", "");
        check("ab", "abc", "c");
        check("ab", "a2b", "a");
        check("ab", "ba", "");
        check("ab", "b a", "");
        check("ab", "", "");
    }

    #[test]
    fn secrets_that_are_referred_to_are_kept_and_a_missing_one_is_asked_for() {
        let refers_to = |number: u128| {
            let reference = json!({"psk": {"$secret": secret(number).to_string()}});
            let mut found = groups("a");
            found[0].occurrences[0].params = serde_json::from_value(reference).unwrap();
            found
        };
        let holding = |numbers: &[u128]| -> Secrets {
            let one = |number: &u128| (secret(*number), SecretText::from(format!("secret {number}")));
            numbers.iter().map(one).collect()
        };
        let needed = |number, have: &[u128], given: &[u128]| {
            needed_secrets(&refers_to(number), &[], &holding(have), &holding(given))
        };
        assert_eq!(
            needed(1, &[1, 2], &[]),
            Some(holding(&[1])),
            "what nothing refers to goes"
        );
        assert_eq!(needed(1, &[], &[1]), Some(holding(&[1])));
        assert_eq!(needed(1, &[2], &[3]), None);
        let reverts = refers_to(1).remove(0).occurrences;
        assert_eq!(needed_secrets(&[], &reverts, &Secrets::new(), &Secrets::new()), None);
    }

    #[test]
    fn who_has_something_else_than_was_thought_has_to_ask_for_all() {
        let (answer, _) = answer("ab", "abc", "d");
        assert!(assemble(&groups("ab"), &answer).is_some());
        assert_eq!(assemble(&groups("a"), &answer), None, "b is not here");
        assert_eq!(
            assemble(&groups("a2b"), &answer),
            None,
            "another generation of a is here"
        );
    }

    #[test]
    fn what_was_altered_on_the_way_is_not_what_was_signed() {
        let tampered = |change: fn(&mut ManifestAnswer)| {
            let (mut answer, dispatch) = answer("", "ab", "d");
            let device = answer.body.device;
            change(&mut answer);
            answer.verify(&dispatch.public(), device, "n") && assemble(&[], &answer).is_some()
        };
        assert!(tampered(|_| {}));
        assert!(!tampered(|answer| answer.body.version = 8));
        assert!(!tampered(|answer| answer.body.nonce = "m".into()));
        assert!(!tampered(
            |answer| answer.body.device = DeviceId::new(NOW, &SeededRandom::new(9))
        ));
        assert!(!tampered(|answer| answer.parts.secrets.clear()));
        assert!(!tampered(|answer| drop(
            answer.parts.secrets.insert(secret(1), "another".to_owned().into())
        )));
        assert!(!tampered(|answer| answer.body.secrets_digest = None));
        assert!(!tampered(|answer| answer.parts.reverts.clear()));
        assert!(!tampered(|answer| drop(answer.parts.groups.pop())));
        assert!(!tampered(|answer| answer.parts.windows.clear()));
        assert!(!tampered(|answer| answer.parts.windows[0].outside = Outside::Allow));
        assert!(!tampered(|answer| answer.parts.groups[0].on_failure = OnFailure::Stop));
        assert!(!tampered(|answer| answer.parts.groups[0].rhythm.on_change = false));
        assert!(!tampered(|answer| {
            let part = &mut answer.parts.groups[0].occurrences[0];
            if let OccurrencePart::Whole(occurrence) = part {
                occurrence.params = StoredParams::without_secrets(json!({"path": "/etc/shadow"}));
            }
        }));
        assert!(!tampered(|answer| {
            // A manifest of nothing, which would have all of it taken for gone.
            answer.body.version = 0;
            answer.body.digest.clear();
            answer.parts = ManifestParts::default();
        }));
    }
}
