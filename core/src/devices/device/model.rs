//! What is stored of a device.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    certificates::DeviceCertificate,
    devices::{DeviceGroupId, DeviceId, EnrolmentTokenId},
    kernel::{PublicKey, Timestamp},
    store::{ToColumn, Value},
};

/// A device: what is decided about it, and how it proves itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device", version = 1)]
#[entity(computed(public_key, text, unique, with = Device::key_text))]
pub struct Device {
    /// Its id.
    #[entity(id)]
    pub id: DeviceId,
    /// The name that lists show; two devices may have the same.
    pub name: String,
    /// What the machine calls itself for good, such as the text of `/etc/machine-id`; by it a machine whose agent lost its
    /// key is recognised. None where the machine has no such name.
    #[entity(text, unique)]
    pub machine_id: Option<String>,
    /// The key that the device proves itself with.
    pub public_key: PublicKey,
    /// When it was enrolled first.
    pub enrolled_at: Timestamp,
    /// The token that it was enrolled with last.
    pub enrolled_by: EnrolmentTokenId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The groups that it was put into.
    pub groups: BTreeSet<DeviceGroupId>,
    /// Whether it is kept from connecting.
    pub disabled: bool,
    /// The version of its agent, as far as it is known.
    pub agent_version: String,
    /// Whether its agent may be given other versions of itself.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub agent_updates_enabled: bool,
    /// The certificate of it that counts; none before the first, and for agents that prove themselves otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DeviceCertificate>,
    /// When its key was revoked, which keeps it from connecting until it is enrolled with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Why it waits for an operator to let it in; none once that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// The device that has the machine id which this one names too: a copy, or the same machine set up anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<DeviceId>,
    /// That machine id, which belongs to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_machine_id: Option<String>,
    /// The address that it was enrolled from last, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_from: Option<String>,
}

/// Why a device waits for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Pending {
    /// New devices are approved by somebody.
    New,
    /// Its machine id is that of a device that is known by another key.
    Duplicate,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Device {
    fn key_text(&self) -> String {
        self.public_key.to_string()
    }

    /// Takes over how another proves itself, and how it was enrolled. What the former key had is worth nothing from then on.
    pub(super) fn take_key(&mut self, other: &Self) {
        self.public_key = other.public_key;
        (self.certificate, self.revoked_at) = (None, None);
        self.enrolled_by = other.enrolled_by;
        self.enrolled_from.clone_from(&other.enrolled_from);
        self.agent_version.clone_from(&other.agent_version);
    }
}

/// Whether a device is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is heard of regularly.
    Online,
    /// It was not heard of for too long.
    Offline,
    /// It was never heard of since it was enrolled.
    Never,
    /// It waits for an operator to let it in.
    Pending,
}

impl Presence {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Never => "never",
            Self::Pending => "pending",
        }
    }
}

impl ToColumn for Presence {
    fn to_values(&self) -> Vec<Value> {
        vec![self.name().into()]
    }
}
