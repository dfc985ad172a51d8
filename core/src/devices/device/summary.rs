//! What lists show, filter and sort by.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Device, Presence};
use crate::{
    Entity,
    devices::{DeviceGroupId, DeviceId, inventory::PackageSetId},
    kernel::Timestamp,
    search,
};

/// What lists of devices show, filter and sort by. It has the id of its device and is rewritten in the commit that changes
/// what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_summary", version = 1)]
#[entity(computed(name_folded, text, with = DeviceSummary::folded))]
#[entity(computed(labels, text, many, with = DeviceSummary::label_texts))]
#[entity(computed(terms, text, many, with = DeviceSummary::search_terms))]
pub struct DeviceSummary {
    /// The device.
    #[entity(id)]
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The groups that it is in: those that it was put into, and the dynamic ones that describe it.
    #[entity(reference, many)]
    pub groups: BTreeSet<DeviceGroupId>,
    /// Those of them that it is in by their query, and not because somebody put it in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dynamic_groups: BTreeSet<DeviceGroupId>,
    /// Whether it is kept from connecting.
    pub disabled: bool,
    /// The distribution's id, such as `debian`.
    #[entity(text)]
    pub os: Option<String>,
    /// The distribution's release.
    #[entity(text)]
    pub os_version: Option<String>,
    /// The operating system as people read it.
    pub os_name: Option<String>,
    /// The running kernel.
    pub kernel: Option<String>,
    /// The processor architecture as the kernel names it.
    #[entity(text)]
    pub architecture: Option<String>,
    /// The host name as the kernel knows it.
    pub hostname: Option<String>,
    /// Addresses by which other machines may reach it; at most [`DeviceSummary::MAX_ADDRESSES`].
    pub addresses: Vec<String>,
    /// Whether it is heard of.
    #[entity(text)]
    pub presence: Presence,
    /// When it was heard of last, to about five minutes while it is online.
    #[entity(int)]
    pub seen_at: Option<Timestamp>,
    /// How many updates would be installed; none while that is not known.
    #[entity(int)]
    pub updates: Option<u32>,
    /// How many of those are security updates.
    #[entity(int)]
    pub security_updates: Option<u32>,
    /// Whether it should be restarted.
    #[entity(int)]
    pub reboot_required: Option<bool>,
    /// The version of its agent.
    #[entity(text)]
    pub agent_version: String,
    /// What the distribution descends from, nearest first, its own id at the front; at most [`DeviceSummary::MAX_FAMILY`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub os_family: Vec<String>,
    /// The kind of virtual machine or container, such as `kvm`; `none` on bare metal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualisation: Option<String>,
    /// The processor's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Cores over all sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<u32>,
    /// Threads that the kernel schedules on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_threads: Option<u32>,
    /// Memory that the kernel can use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    /// Its installed packages.
    #[entity(reference)]
    pub package_set: Option<PackageSetId>,
    /// When it was enrolled first.
    #[entity(int)]
    pub enrolled_at: Timestamp,
}

impl DeviceSummary {
    /// The most addresses that a summary keeps.
    pub const MAX_ADDRESSES: usize = 16;
    /// The most members of the family that a summary keeps.
    pub const MAX_FAMILY: usize = 16;

    /// The summary of a device that nothing else is known of.
    pub fn new(device: &Device) -> Self {
        let mut summary = Self {
            id: device.id,
            name: String::new(),
            labels: BTreeMap::new(),
            groups: BTreeSet::new(),
            dynamic_groups: BTreeSet::new(),
            disabled: false,
            os: None,
            os_version: None,
            os_name: None,
            kernel: None,
            architecture: None,
            hostname: None,
            addresses: Vec::new(),
            presence: Presence::Never,
            seen_at: None,
            updates: None,
            security_updates: None,
            reboot_required: None,
            agent_version: String::new(),
            os_family: Vec::new(),
            virtualisation: None,
            cpu_model: None,
            cpu_cores: None,
            cpu_threads: None,
            memory_total: None,
            package_set: None,
            enrolled_at: device.enrolled_at,
        };
        summary.show(device);
        summary
    }

    /// Takes over what the device itself says. Which dynamic groups it belongs into from then on is for `groups::Membership`.
    pub fn show(&mut self, device: &Device) {
        self.name.clone_from(&device.name);
        self.labels.clone_from(&device.labels);
        self.groups = device.groups.union(&self.dynamic_groups).copied().collect();
        self.disabled = device.disabled;
        self.agent_version.clone_from(&device.agent_version);
        self.enrolled_at = device.enrolled_at;
        self.presence = match (device.pending, self.presence) {
            (Some(_), _) => Presence::Pending,
            (None, Presence::Pending) => Presence::Never,
            (None, presence) => presence,
        };
    }

    /// The groups that it was put into: it is in no group in both ways.
    pub fn hand_made_groups(&self) -> impl Iterator<Item = DeviceGroupId> {
        self.groups.difference(&self.dynamic_groups).copied()
    }

    /// Whether it was put into a group by hand.
    pub(in crate::devices) fn is_put_into(&self, group: DeviceGroupId) -> bool {
        self.groups.contains(&group) && !self.dynamic_groups.contains(&group)
    }

    /// Puts it into these dynamic groups, and takes it out of all others.
    pub(in crate::devices) fn place_in(&mut self, dynamic: BTreeSet<DeviceGroupId>) {
        self.groups = self.hand_made_groups().chain(dynamic.iter().copied()).collect();
        self.dynamic_groups = dynamic;
    }

    /// The last eight digits of the id: what people type for it. (Its first digits are the time, equal for devices that were
    /// enrolled together.)
    pub fn short_id(&self) -> String {
        let text = self.id.to_string();
        text[text.len() - 8..].to_owned()
    }

    fn folded(&self) -> String {
        fold(&self.name)
    }

    /// `name` and `name=value` of each label, so that both can be asked for.
    fn label_texts(&self) -> Vec<String> {
        self.labels
            .iter()
            .flat_map(|(name, value)| [name.clone(), format!("{name}={value}")])
            .collect()
    }

    fn search_terms(&self) -> Vec<String> {
        let short_id = self.short_id();
        let labels = self
            .labels
            .iter()
            .flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let known = [&self.os, &self.os_name, &self.architecture, &self.hostname];
        let texts = [self.name.as_str(), short_id.as_str()]
            .into_iter()
            .chain(known.into_iter().filter_map(Option::as_deref))
            .chain(self.addresses.iter().map(String::as_str))
            .chain(labels);
        search::terms(texts)
    }
}

/// A name as it is compared and sorted: without regard to case. At most 1 kB, whatever lower case does to it.
pub(crate) fn fold(name: &str) -> String {
    let mut folded = name.to_lowercase();
    let mut end = folded.len().min(crate::store::limits::TEXT);
    while !folded.is_char_boundary(end) {
        end -= 1;
    }
    folded.truncate(end);
    folded
}
