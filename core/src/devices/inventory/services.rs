//! Services of the service manager.

use serde::{Deserialize, Serialize};

/// Services (section `services`): the units of systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Services {
    /// Whether systemd runs; if not, `reason` says so and the list is empty.
    pub available: bool,
    /// Why there is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The units, by name.
    pub items: Vec<Service>,
    /// There were more than fit.
    #[serde(default)]
    pub truncated: bool,
    /// How many were left out.
    #[serde(default)]
    pub left_out: u64,
}

/// One unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    /// The unit's name, such as `ssh.service`.
    pub name: String,
    /// Whether its file was read: `loaded`, `not-found`, `masked`, …
    pub load_state: String,
    /// Whether it is active: `active`, `inactive`, `failed`, …
    pub active_state: String,
    /// The state in the words of its type: `running`, `exited`, `dead`, `listening`, …
    pub sub_state: String,
    /// Whether it starts by itself: `enabled`, `disabled`, `static`, `masked`, …; absent for a unit without a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<String>,
    /// What it is, in the words of its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
