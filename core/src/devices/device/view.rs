//! Devices as they are shown outside.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Device, DeviceSummary, Pending, Presence};
use crate::{
    certificates::DeviceCertificate,
    devices::{DeviceGroupId, DeviceId, DeviceStateView, EnrolmentTokenId},
    kernel::{PublicKey, Timestamp},
    store::Versioned,
};

/// A device as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceSummaryView {
    /// Its id.
    pub id: DeviceId,
    /// Its name; two devices may have the same.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The groups that it is in: those that it was put into, and the dynamic ones that describe it.
    pub groups: BTreeSet<DeviceGroupId>,
    /// Whether it is kept from connecting.
    pub disabled: bool,
    /// Whether it is heard of.
    pub presence: Presence,
    /// When it was heard of last, to about five minutes while it is online; null when it never was.
    pub seen_at: Option<Timestamp>,
    /// The distribution's id, such as `debian`; null until the inventory is there.
    pub os: Option<String>,
    /// The distribution's release, such as `12`.
    pub os_version: Option<String>,
    /// The operating system as people read it.
    pub os_name: Option<String>,
    /// The running kernel.
    pub kernel: Option<String>,
    /// The processor architecture as the kernel names it, such as `x86_64`.
    pub architecture: Option<String>,
    /// The host name as the kernel knows it.
    pub hostname: Option<String>,
    /// Addresses by which other machines may reach it.
    pub addresses: Vec<String>,
    /// How many updates would be installed; null while that is not known.
    pub updates: Option<u32>,
    /// How many of those are security updates.
    pub security_updates: Option<u32>,
    /// Whether it should be restarted; null while that is not known.
    pub reboot_required: Option<bool>,
    /// The version of its agent.
    pub agent_version: String,
    /// When it was enrolled first.
    pub enrolled_at: Timestamp,
}

impl From<DeviceSummary> for DeviceSummaryView {
    fn from(summary: DeviceSummary) -> Self {
        Self {
            id: summary.id,
            name: summary.name,
            labels: summary.labels,
            groups: summary.groups,
            disabled: summary.disabled,
            presence: summary.presence,
            seen_at: summary.seen_at,
            os: summary.os,
            os_version: summary.os_version,
            os_name: summary.os_name,
            kernel: summary.kernel,
            architecture: summary.architecture,
            hostname: summary.hostname,
            addresses: summary.addresses,
            updates: summary.updates,
            security_updates: summary.security_updates,
            reboot_required: summary.reboot_required,
            agent_version: summary.agent_version,
            enrolled_at: summary.enrolled_at,
        }
    }
}

/// A device with all that is known of it but its inventory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceView {
    /// What lists show of it.
    #[serde(flatten)]
    pub summary: DeviceSummaryView,
    /// How often it was changed since it was enrolled, 1 at first; the ETag of the resource.
    pub revision: u64,
    /// What the machine calls itself for good, such as the text of `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// The Ed25519 key that it proves itself with, in base64url.
    pub public_key: PublicKey,
    /// The token that it was enrolled with last.
    pub enrolled_by: EnrolmentTokenId,
    /// The certificate of it that counts; null where it has none.
    pub certificate: Option<DeviceCertificate>,
    /// When its key was revoked; null when it was not.
    pub revoked_at: Option<Timestamp>,
    /// Why it waits for an operator to let it in; null when it does not.
    pub pending: Option<Pending>,
    /// The device that has the machine id which this one names too; null where there is none.
    pub duplicate_of: Option<DeviceId>,
    /// That machine id.
    pub claimed_machine_id: Option<String>,
    /// The address that it was enrolled from last, as far as it is known.
    pub enrolled_from: Option<String>,
    /// Whether its agent may be given other versions of itself, as far as the server's own switch allows it.
    pub agent_updates_enabled: bool,
    /// Its state at the last heartbeat; null when there was none.
    pub state: Option<DeviceStateView>,
}

impl DeviceView {
    pub(super) fn new(device: Versioned<Device>, summary: DeviceSummary, state: Option<DeviceStateView>) -> Self {
        let mut summary = DeviceSummaryView::from(summary);
        // The state knows to the second what the summary knows to five minutes.
        if let Some(state) = &state {
            summary.seen_at = Some(state.seen_at);
        }
        Self {
            summary,
            revision: device.rev,
            machine_id: device.value.machine_id,
            public_key: device.value.public_key,
            enrolled_by: device.value.enrolled_by,
            certificate: device.value.certificate,
            revoked_at: device.value.revoked_at,
            pending: device.value.pending,
            duplicate_of: device.value.duplicate_of,
            claimed_machine_id: device.value.claimed_machine_id,
            enrolled_from: device.value.enrolled_from,
            agent_updates_enabled: device.value.agent_updates_enabled,
            state,
        }
    }
}
