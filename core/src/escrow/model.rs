//! What is stored of a secret, and how it is shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    devices::DeviceId,
    kernel::{Sealed, Timestamp, named_uuid},
    store::Entity,
    work::{RunId, secrets::SecretText},
};

crate::define_id!(
    /// Names a secret in escrow. The device makes it, so that a repeated deposit is one.
    EscrowedSecretId,
    "escrowed secret"
);

/// What a secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EscrowKind {
    /// A local user's account; the subject is the user's name.
    LocalPassword,
    /// An encrypted disk; the subject is the UUID of its LUKS header.
    DiskPassphrase,
}

impl EscrowKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::LocalPassword, Self::DiskPassphrase];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LocalPassword => "local_password",
            Self::DiskPassphrase => "disk_passphrase",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Why a secret was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EscrowReason {
    /// It is the first one.
    Initial,
    /// The one before had been in use for long enough.
    Scheduled,
    /// Somebody had signed in with the one before.
    AfterUse,
    /// Somebody asked for another one.
    Requested,
    /// Its user was made.
    UserCreated,
}

/// How a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EscrowState {
    /// It is kept, and the device has not said whether it is in use: it may be.
    Offered,
    /// It is the one in use.
    Current,
    /// Another one took its place.
    Superseded,
    /// It did not come into use.
    Abandoned,
}

impl EscrowState {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Current => "current",
            Self::Superseded => "superseded",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether a secret in this state opens what it was made for, or may.
    pub const fn may_be_in_use(self) -> bool {
        matches!(self, Self::Current | Self::Offered)
    }
}

/// A secret that a device made, as it is stored. It outlives its device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "escrowed_secret", version = 1)]
#[entity(computed(place, text, with = EscrowedSecret::place))]
#[entity(computed(secret_kind, text, with = EscrowedSecret::kind_name))]
#[entity(computed(current_of, text, unique, with = EscrowedSecret::current_of))]
pub struct EscrowedSecret {
    /// Its id.
    #[entity(id)]
    pub id: EscrowedSecretId,
    /// Whose it is.
    #[entity(reference)]
    pub device: DeviceId,
    /// The name that the device had then: it stays readable when the device is gone.
    pub device_name: String,
    /// What it opens.
    pub kind: EscrowKind,
    /// Which of these.
    #[entity(text)]
    pub subject: String,
    /// Counts the secrets of its subject, 1 at first. Clocks may be set back; this is not.
    pub number: u64,
    /// The run that it was made in.
    pub source: RunId,
    /// Why it was made.
    pub reason: EscrowReason,
    /// How it stands.
    pub state: EscrowState,
    /// The value, which opens for this device, kind, subject and id only.
    pub sealed: Sealed,
    /// When it was deposited.
    #[entity(int)]
    pub offered_at: Timestamp,
    /// When the device said that it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// When another one took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_at: Option<Timestamp>,
    /// When the device said that it did not come into use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_at: Option<Timestamp>,
    /// Since when its device is known to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_gone_since: Option<Timestamp>,
}

impl EscrowedSecret {
    /// What its value is sealed for. The subject comes last: nothing in it can stand for another member.
    pub(super) fn owner(&self) -> String {
        owner(self.id, self.device, self.kind, &self.subject)
    }

    fn kind_name(&self) -> String {
        self.kind.name().to_owned()
    }

    /// What all secrets of one subject have in common.
    fn place(&self) -> String {
        place(self.device, self.kind, &self.subject)
    }

    /// Of a subject one is current.
    fn current_of(&self) -> Option<String> {
        (self.state == EscrowState::Current).then(|| self.place())
    }
}

/// What the value of a secret is sealed for.
pub(super) fn owner(id: EscrowedSecretId, device: DeviceId, kind: EscrowKind, subject: &str) -> String {
    format!("{}/{id} {device} {} {subject}", EscrowedSecret::KIND, kind.name())
}

/// What all secrets of one subject have in common. A hash, since a subject may be longer than a key of an index.
pub(super) fn place(device: DeviceId, kind: EscrowKind, subject: &str) -> String {
    named_uuid("escrow_place", &format!("{device} {} {subject}", kind.name())).to_string()
}

/// A secret in escrow, as it is shown: without its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EscrowedSecretView {
    /// Its id.
    pub id: EscrowedSecretId,
    /// Whose it is.
    pub device: DeviceId,
    /// The name that the device had when it deposited it.
    pub device_name: String,
    /// What it opens.
    pub kind: EscrowKind,
    /// Which of these: a user's name, or the UUID of a LUKS header.
    pub subject: String,
    /// The run that it was made in.
    pub source: RunId,
    /// Why it was made.
    pub reason: EscrowReason,
    /// How it stands; an `offered` one may be in use.
    pub state: EscrowState,
    /// When it was deposited.
    pub offered_at: Timestamp,
    /// When the device said that it is in use.
    pub confirmed_at: Option<Timestamp>,
    /// When another one took its place.
    pub superseded_at: Option<Timestamp>,
    /// When the device said that it did not come into use.
    pub abandoned_at: Option<Timestamp>,
    /// Since when its device is known to be deleted; it is kept for 90 days more.
    pub device_gone_since: Option<Timestamp>,
}

impl From<EscrowedSecret> for EscrowedSecretView {
    fn from(secret: EscrowedSecret) -> Self {
        Self {
            id: secret.id,
            device: secret.device,
            device_name: secret.device_name,
            kind: secret.kind,
            subject: secret.subject,
            source: secret.source,
            reason: secret.reason,
            state: secret.state,
            offered_at: secret.offered_at,
            confirmed_at: secret.confirmed_at,
            superseded_at: secret.superseded_at,
            abandoned_at: secret.abandoned_at,
            device_gone_since: secret.device_gone_since,
        }
    }
}

/// A secret in escrow, with its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevealedSecret {
    /// What is known of it.
    pub about: EscrowedSecretView,
    /// The secret.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub secret: SecretText,
}

/// Which secrets of a device are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EscrowFilter {
    /// Only those of this kind.
    pub kind: Option<EscrowKind>,
    /// Only those of this subject.
    pub subject: Option<String>,
}
