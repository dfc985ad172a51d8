//! What is stored of selections, and what is shown of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    devices::DeviceId,
    work::desired::{ActionId, Source},
};

/// What was chosen on a device; absent while nothing ever was. What is not available any more stays, and counts again when it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_selections", version = 1)]
pub struct DeviceSelections {
    /// The device.
    #[entity(id)]
    pub id: DeviceId,
    /// What was chosen.
    pub selected: BTreeSet<Source>,
}

/// What shall be chosen, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"source": {"type": "action", "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"}, "selected": true})))]
#[serde(deny_unknown_fields)]
pub struct SelectionChange {
    /// What is available on the device.
    pub source: Source,
    /// Whether it is wanted.
    pub selected: bool,
}

/// What is available on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AvailableView {
    /// What it is.
    pub source: Source,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The actions that come with it, in order.
    pub actions: Vec<ActionId>,
    /// Whether it was chosen.
    pub selected: bool,
}
