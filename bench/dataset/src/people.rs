//! People and proof: users, their sessions and keys, enrolment tokens, settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fleet_core::{
    access::{
        Actor, AuditEntry, Origin, Outcome, Role, Subject,
        keys::{ApiKey, ApiKeyId, ApiKeySeen, KeyPurpose},
        sessions::{LoginThrottle, Session, SessionId, SessionSeen},
        users::{User, UserId},
    },
    devices::{
        EnrolmentToken, EnrolmentTokenId,
        enrolment::{EnrolmentPin, EnrolmentPinId, PIN_LIFE},
    },
    kernel::{EntityId as _, Timestamp},
    settings::{SettingId, StoredSetting},
    store::{Entity, Error, Result},
};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::{Dataset, dice::Dice, writer::Writer};

/// Devices that share an enrolment token.
const DEVICES_PER_TOKEN: usize = 500;
const NAMES: [&str; 16] = [
    "ann", "ben", "chloé", "deniz", "eva", "fatima", "grace", "haruto", "ines", "jonas", "kofi", "lena", "mei", "noor",
    "olga", "пётр",
];

/// The id of the token that a device was enrolled with.
pub fn token_id(dataset: &Dataset, device: usize) -> EnrolmentTokenId {
    Dice::new(dataset.seed, "token", (device / DEVICES_PER_TOKEN) as u64).id(dataset.long_ago())
}

pub fn user_id(dataset: &Dataset, n: usize) -> UserId {
    Dice::new(dataset.seed, "user", n as u64).id(dataset.long_ago())
}

/// Types that only the product makes, from the text that they are stored as.
pub fn read<T: DeserializeOwned>(text: Json) -> Result<T> {
    serde_json::from_value(text).map_err(|error| Error::Invalid(error.to_string()))
}

/// Somebody of the users, as an actor.
pub fn somebody(dataset: &Dataset, dice: &mut Dice) -> Actor {
    let n = dice.below(dataset.size.users);
    Actor::User {
        id: user_id(dataset, n).uuid(),
        name: name(n),
    }
}

fn name(n: usize) -> String {
    format!("{}.{n:03}", NAMES[n % NAMES.len()])
}

/// An entry of the audit about an entity.
pub fn audit<T: Entity>(
    actor: Actor,
    at: Timestamp,
    action: &str,
    about: (T::Id, &str),
    dice: &mut Dice,
) -> AuditEntry {
    AuditEntry {
        id: dice.uuid(at),
        at,
        actor,
        origin: Origin {
            address: Some(format!("192.0.2.{}", dice.below(256))),
            request_id: Some(dice.hex::<8>()),
        },
        action: action.to_owned(),
        outcome: Outcome::Done,
        subject: Some(Subject {
            kind: T::KIND.to_owned(),
            id: about.0.uuid(),
            name: about.1.to_owned(),
        }),
        changed: Vec::new(),
        details: BTreeMap::new(),
    }
}

impl Dataset {
    pub(crate) fn long_ago(&self) -> Timestamp {
        self.now().minus(Duration::from_secs(400 * 86_400))
    }

    pub(crate) async fn write_people(&self, writer: &mut Writer<'_>) -> Result<()> {
        for n in 0..self.size.users {
            self.write_user(writer, n).await?;
        }
        for first in (0..self.size.devices).step_by(DEVICES_PER_TOKEN) {
            self.write_token(writer, first).await?;
        }
        for (name, seconds) in [
            ("access.session_lifetime_seconds", 1_209_600),
            ("access.session_idle_seconds", 43_200),
        ] {
            let setting = StoredSetting {
                id: SettingId::of(name),
                name: name.into(),
                value: json!(seconds),
                changed_at: self.long_ago(),
            };
            writer.put(&setting).await?;
        }
        writer.flush().await
    }

    async fn write_user(&self, writer: &mut Writer<'_>, n: usize) -> Result<()> {
        let mut dice = Dice::new(self.seed, "user facts", n as u64);
        let at = self.long_ago().plus(Duration::from_secs(dice.next() % (300 * 86_400)));
        let role = if n == 0 { Role::Admin } else { *dice.pick(&Role::ALL) };
        // Nobody can sign in with it: its password is not known.
        let hash = format!(
            "$argon2id$v=19$m=19456,t=2,p=1${}$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            &dice.hex::<11>()
        );
        let user = User {
            id: user_id(self, n),
            name: name(n),
            display_name: format!("{} Example {n}", NAMES[n % NAMES.len()]),
            role,
            disabled: n > 0 && dice.percent(10),
            password_hash: Some(read(json!(hash))?),
            created_at: at,
            password_changed_at: dice.percent(50).then_some(at),
            session_version: u32::try_from(dice.below(4)).unwrap_or(0),
        };
        writer.put(&user).await?;
        let actor = somebody(self, &mut dice);
        let entry = audit::<User>(actor, at, "user.create", (user.id, &user.name), &mut dice);
        writer.append(entry.id, at, 0, &entry).await?;
        if dice.percent(20) {
            let throttle = LoginThrottle {
                id: read(json!(user.id))?,
                failures: 1 + u32::try_from(dice.below(4)).unwrap_or(0),
                last_failure_at: self.now().minus(Duration::from_secs(3_600)),
                locked_until: None,
            };
            writer.put(&throttle).await?;
        }
        for _ in 0..1 + dice.below(4) {
            let begun = self.now().minus(Duration::from_secs(dice.next() % (6 * 86_400)));
            let session = Session {
                id: dice.id::<SessionId>(begun),
                user: user.id,
                token_hash: read(json!(dice.hex::<32>()))?,
                user_version: user.session_version,
                created_at: begun,
                address: Some(format!("192.0.2.{}", dice.below(256))),
                user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into()),
            };
            writer.put(&session).await?;
            writer.set(session.id, &SessionSeen { at: self.now() }).await?;
            let actor = Actor::User {
                id: user.id.uuid(),
                name: user.name.clone(),
            };
            let entry = audit::<Session>(actor, begun, "auth.login", (session.id, &user.name), &mut dice);
            writer.append(entry.id, begun, 0, &entry).await?;
        }
        if dice.percent(40) {
            let key = ApiKey {
                id: dice.id::<ApiKeyId>(at),
                name: format!("script {n}"),
                owner: user.id,
                token_hash: read(json!(dice.hex::<32>()))?,
                prefix: format!("flk1_{}", &dice.hex::<3>()),
                role: user.role,
                purpose: KeyPurpose::Api,
                created_at: at,
                expires_at: dice.percent(50).then(|| at.plus(Duration::from_secs(720 * 86_400))),
            };
            writer.put(&key).await?;
            let seen = ApiKeySeen {
                at: self.now(),
                address: Some("192.0.2.9".into()),
            };
            writer.set(key.id, &seen).await?;
        }
        Ok(())
    }

    async fn write_token(&self, writer: &mut Writer<'_>, first: usize) -> Result<()> {
        let mut dice = Dice::new(self.seed, "token facts", first as u64);
        let at = self.long_ago();
        let actor = somebody(self, &mut dice);
        let uses = u32::try_from(DEVICES_PER_TOKEN.min(self.size.devices - first)).unwrap_or(0);
        let token = EnrolmentToken {
            id: token_id(self, first),
            name: format!("delivery {}", first / DEVICES_PER_TOKEN),
            description: String::new(),
            prefix: dice.hex::<4>(),
            secret_hash: dice.hex::<32>(),
            max_uses: uses + u32::try_from(dice.below(2)).unwrap_or(0),
            uses,
            daily_uses: Some(100),
            used_on_day: u32::try_from(self.now().as_seconds() / 86_400 - 1).unwrap_or(0),
            uses_on_day: 1,
            networks: Vec::new(),
            approval: None,
            expires_at: at.plus(Duration::from_secs(410 * 86_400)),
            labels: BTreeMap::from([("env".into(), "prod".into())]),
            groups: BTreeSet::new(),
            created_at: at,
            created_by: actor.clone(),
            used_at: Some(self.now().minus(Duration::from_secs(86_400))),
            revoked_at: None,
        };
        writer.put(&token).await?;
        // One of them was made for a PIN, long ago.
        if first == 0 {
            let pin = EnrolmentPin {
                id: EnrolmentPinId::of_slot(0),
                token: token.id,
                pin_hash: read(json!(dice.hex::<32>()))?,
                wrong_tries: 3,
                expires_at: at.plus(PIN_LIFE),
            };
            writer.put(&pin).await?;
        }
        let entry = audit::<EnrolmentToken>(actor, at, "enrolment_token.create", (token.id, &token.name), &mut dice);
        writer.append(entry.id, at, 0, &entry).await
    }
}
