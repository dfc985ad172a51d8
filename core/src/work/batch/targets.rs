//! Which devices a request for work means.

use serde::{Deserialize, Serialize};

use crate::devices::{DeviceGroupId, DeviceId};

/// Which devices: those that are named, those of the groups, those with the labels, and those that the query describes; or all. Devices that are kept out or wait for
/// approval are meant only when they are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// These devices; at most 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceId>,
    /// The devices that are in any of these groups; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<DeviceGroupId>,
    /// The devices that have all of these labels, each `name` or `name=value`; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The devices that this query describes, in the language of dynamic groups; at most 4,096 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub query: Option<String>,
    /// All devices; nothing else may be named then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Targets {
    /// These devices and no others.
    pub fn devices(devices: Vec<DeviceId>) -> Self {
        Self {
            devices,
            ..Self::default()
        }
    }

    /// Whether some of them have to be looked for.
    pub(super) fn has_conditions(&self) -> bool {
        self.all || !self.groups.is_empty() || !self.labels.is_empty() || self.query.is_some()
    }
}

/// Which devices, as it was asked for and is stored: what a later version adds must not keep this one from reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedTargets {
    /// These devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceId>,
    /// The devices that are in any of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<DeviceGroupId>,
    /// The devices that have all of these labels, each `name` or `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The devices that this query describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub query: Option<String>,
    /// All devices.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
}

impl From<Targets> for PlannedTargets {
    fn from(targets: Targets) -> Self {
        let Targets {
            devices,
            groups,
            labels,
            query,
            all,
        } = targets;
        Self {
            devices,
            groups,
            labels,
            query,
            all,
        }
    }
}

impl From<PlannedTargets> for Targets {
    fn from(targets: PlannedTargets) -> Self {
        let PlannedTargets {
            devices,
            groups,
            labels,
            query,
            all,
        } = targets;
        Self {
            devices,
            groups,
            labels,
            query,
            all,
        }
    }
}

/// Which devices were asked for, where the list of those that were named would be too long: each has its run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskedTargets {
    /// How many devices were named.
    pub named: u64,
    /// The devices that were in any of these groups.
    pub groups: Vec<DeviceGroupId>,
    /// The devices that had all of these labels.
    pub labels: Vec<String>,
    /// The devices that this query described.
    pub query: Option<String>,
    /// All devices.
    pub all: bool,
}

impl From<&Targets> for AskedTargets {
    fn from(targets: &Targets) -> Self {
        Self {
            named: targets.devices.len() as u64,
            groups: targets.groups.clone(),
            labels: targets.labels.clone(),
            query: targets.query.clone(),
            all: targets.all,
        }
    }
}
