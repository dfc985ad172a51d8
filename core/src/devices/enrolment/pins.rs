//! PINs: six digits that somebody reads off a screen and types into a machine, in place of a token's long text.
//!
//! A PIN is worth one enrolment within ten minutes. It is exchanged for the text of an ordinary token of one use, so that all limits of
//! tokens hold for it too. Its hash is keyed, so that a copy of the store without the master key tells no PIN; and it dies after
//! [`MAX_WRONG_TRIES`] wrong ones, whoever made them and at whichever server.

use std::{collections::BTreeMap, collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    ENROLMENT_REFUSED, EnrolmentSecret, EnrolmentService, EnrolmentToken, EnrolmentTokenId, EnrolmentTokenView,
    NewEnrolmentToken, PIN_REDEEM, PIN_WRONG, PINS_ALL_TAKEN, TOKEN_CREATE,
};
use crate::{
    Entity,
    access::{Context, Origin, TokenHash},
    devices::DeviceGroupId,
    kernel::{EntityId as _, Network, Randomness, Result, Timestamp, named_uuid, random_bytes},
    store::{Evidence, Tx, Versioned},
};

/// How long a PIN can be used.
pub const PIN_LIFE: Duration = Duration::from_secs(10 * 60);
/// PINs that can be used at the same time. With them and the next, all PINs together are guessed with at most 5 · 10 in a million.
const SLOTS: u32 = 5;
/// A PIN is dead after so many wrong tries while it was alive. Each counts for all PINs, for nobody knows which was meant.
pub const MAX_WRONG_TRIES: u32 = 10;
/// PINs there are.
const SPACE: u32 = 1_000_000;

crate::define_id!(
    /// Names a place that a PIN takes while it is alive.
    EnrolmentPinId,
    "enrolment PIN"
);

/// A PIN that can be used, or could be until something newer took its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "enrolment_pin", version = 1)]
pub struct EnrolmentPin {
    /// Its place; there are five.
    #[entity(id)]
    pub id: EnrolmentPinId,
    /// The token that it is exchanged for.
    pub token: EnrolmentTokenId,
    /// Its keyed hash.
    pub pin_hash: TokenHash,
    /// Wrong tries while it was alive.
    pub wrong_tries: u32,
    /// When its time is over.
    pub expires_at: Timestamp,
}

impl EnrolmentPin {
    fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires_at && self.wrong_tries < MAX_WRONG_TRIES
    }
}

impl EnrolmentPinId {
    /// The place of this number.
    pub fn of_slot(slot: u32) -> Self {
        Self::from_uuid(named_uuid("enrolment_pin", &slot.to_string()))
    }
}

fn slots() -> Vec<EnrolmentPinId> {
    (0..SLOTS).map(EnrolmentPinId::of_slot).collect()
}

/// Six digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// Draws one, each as likely as every other.
    fn generate(random: &dyn Randomness) -> Self {
        // Numbers beyond the last whole million are drawn anew.
        let limit = u32::MAX - u32::MAX % SPACE;
        loop {
            let drawn = u32::from_le_bytes(random_bytes(random));
            if drawn < limit {
                return Self(Zeroizing::new(format!("{:06}", drawn % SPACE)));
            }
        }
    }

    /// Reads one as people type it: six digits, with blanks or dashes among them.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 32 {
            return None;
        }
        let digits = Zeroizing::new(text.replace([' ', '-'], ""));
        (digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(Self(digits))
    }

    /// The digits, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn hash(&self, service: &EnrolmentService<'_>) -> TokenHash {
        service.token_key.hash(&format!("enrolment pin\0{}", *self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

/// A PIN to be made: for one machine, for ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "the box in the cellar", "labels": {"site": "berlin"}})))]
#[serde(default, deny_unknown_fields)]
pub struct NewEnrolmentPin {
    /// Its name.
    pub name: String,
    /// Labels of the device.
    pub labels: BTreeMap<String, String>,
    /// Groups of the device; at most 64.
    pub groups: BTreeSet<DeviceGroupId>,
    /// From where it can be used, such as `10.0.0.0/8`, at most 64; from anywhere when there are none.
    pub networks: Vec<Network>,
    /// Whether the device waits for an operator; null when the setting `devices.approval_required` says.
    pub approval: Option<bool>,
}

impl Default for NewEnrolmentPin {
    fn default() -> Self {
        Self {
            name: "PIN".into(),
            labels: BTreeMap::new(),
            groups: BTreeSet::new(),
            networks: Vec::new(),
            approval: None,
        }
    }
}

impl EnrolmentService<'_> {
    /// Makes a PIN and the token behind it. The PIN is in the answer and nowhere else from then on; to end it early, revoke the token.
    pub async fn create_pin(&self, context: &Context, new: &NewEnrolmentPin) -> Result<(EnrolmentTokenView, Pin)> {
        self.check_may_create_token(context)?;
        let new = NewEnrolmentToken {
            name: new.name.clone(),
            description: "made for a PIN".into(),
            expires_in_seconds: PIN_LIFE.as_secs(),
            labels: new.labels.clone(),
            groups: new.groups.clone(),
            networks: new.networks.clone(),
            approval: new.approval,
            ..NewEnrolmentToken::default()
        };
        // A secret that nobody is told: before the PIN is exchanged, the token cannot be used.
        let (token, _) = self.draft(context, &new)?;
        let (token, service) = (&token, self);
        let pin = self
            .store
            .change(context, Evidence::Audit(TOKEN_CREATE), |mut tx| async move {
                let now = tx.now();
                let taken = tx.reader().get_many::<EnrolmentPin>(&slots()).await?;
                let alive: Vec<_> = taken.iter().flatten().filter(|pin| pin.is_alive(now)).collect();
                let free = slots().into_iter().zip(&taken);
                let free = free.filter(|(_, pin)| pin.as_ref().is_none_or(|pin| !pin.is_alive(now)));
                let Some((id, before)) = free.into_iter().next() else {
                    let first = alive.iter().map(|pin| pin.expires_at).min().unwrap_or(now);
                    return Err(PINS_ALL_TAKEN
                        .error(format!(
                            "there are {SLOTS} PINs that can be used; wait, or make a token"
                        ))
                        .with_retry_after(first.since(now).as_secs() + 1));
                };
                let (pin, pin_hash) = loop {
                    let pin = Pin::generate(service.store.random());
                    let hash = pin.hash(service);
                    if alive.iter().all(|other| !other.pin_hash.equals(&hash)) {
                        break (pin, hash);
                    }
                };
                let next = EnrolmentPin {
                    id,
                    token: token.id,
                    pin_hash,
                    wrong_tries: 0,
                    expires_at: token.expires_at,
                };
                match before {
                    Some(before) => drop(tx.update(before, &next)?),
                    None => tx.create(&next)?,
                }
                tx.detail("pin", true);
                super::tokens::create(tx, token).await?;
                Ok(pin)
            })
            .await?;
        Ok((self.read_back(token.id).await?, pin))
    }

    /// Exchanges a PIN for the secret of its token. Of two that come with the same PIN one wins; a wrong one brings every PIN that
    /// is alive nearer to its end.
    pub async fn redeem_pin(&self, pin: &str, origin: Origin) -> Result<EnrolmentSecret> {
        let wrong = || PIN_WRONG.error("this PIN is wrong, was used, or its ten minutes are over; have a new one made");
        let Some(pin) = Pin::parse(pin) else {
            return Err(wrong());
        };
        let context = Context::anonymous(origin);
        let hash = &pin.hash(self);
        let secret = &EnrolmentSecret::generate(self.store.random());
        let found = self
            .store
            .change(&context, Evidence::Audit(PIN_REDEEM), |mut tx| async move {
                let now = tx.now();
                let pins = tx.reader().get_many::<EnrolmentPin>(&slots()).await?;
                let alive: Vec<_> = pins.into_iter().flatten().filter(|pin| pin.is_alive(now)).collect();
                match alive.iter().find(|pin| pin.pin_hash.equals(hash)) {
                    Some(pin) => exchange(tx, pin, secret).await.map(|()| true),
                    None => count_wrong(tx, alive).await.map(|()| false),
                }
            })
            .await?;
        if found { Ok(secret.clone()) } else { Err(wrong()) }
    }
}

async fn exchange(mut tx: Tx, pin: &Versioned<EnrolmentPin>, secret: &EnrolmentSecret) -> Result<()> {
    let gone = || PIN_WRONG.error("the token of this PIN is gone");
    let before = tx.get::<EnrolmentToken>(pin.token).await?.ok_or_else(gone)?;
    before.check_use(tx.now(), tx.context().origin())?;
    let mut after = before.value.clone();
    after.prefix = secret.prefix();
    after.secret_hash = hex::encode(secret.hash());
    tx.delete(pin);
    tx.update(&before, &after)?;
    tx.subject::<EnrolmentToken>(after.id, after.name.clone());
    tx.commit().await.map(drop)
}

/// While no PIN is alive there is nothing to be guessed, and nothing is written.
async fn count_wrong(mut tx: Tx, alive: Vec<Versioned<EnrolmentPin>>) -> Result<()> {
    let mut tries = 0;
    for pin in &alive {
        let mut after = pin.value.clone();
        after.wrong_tries += 1;
        tries = tries.max(after.wrong_tries);
        tx.update(pin, &after)?;
    }
    tx.turned_out(ENROLMENT_REFUSED);
    tx.refused();
    tx.detail("reason", PIN_WRONG.name());
    tx.detail("wrong_tries", tries);
    tx.commit().await.map(drop)
}
