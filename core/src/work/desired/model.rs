//! What the parts of desired state have in common.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ActionId, ActionSetId, DefinitionId};
use crate::{
    access::users::UserId,
    devices::{DeviceGroupId, DeviceId},
    kernel::EntityId as _,
    store::{ToColumn, Value},
};

/// Whether something shall be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    /// It shall be there.
    #[default]
    Present,
    /// It shall not be there.
    Absent,
}

impl DesiredState {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
        }
    }
}

/// What happens to the rest of a group when one of it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The rest is applied all the same.
    #[default]
    Continue,
    /// The rest waits for the next time.
    Stop,
}

/// What is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = AssignmentSource))]
#[serde(tag = "type", content = "id", rename_all = "snake_case")]
pub enum Source {
    /// One action.
    Action(ActionId),
    /// The actions of a set.
    ActionSet(ActionSetId),
    /// What a definition names.
    Definition(DefinitionId),
}

impl Source {
    /// Its id.
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Action(id) => id.uuid(),
            Self::ActionSet(id) => id.uuid(),
            Self::Definition(id) => id.uuid(),
        }
    }

    /// What it is, as people read it.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Action(_) => "action",
            Self::ActionSet(_) => "action set",
            Self::Definition(_) => "definition",
        }
    }
}

impl ToColumn for Source {
    fn to_values(&self) -> Vec<Value> {
        vec![Value::Id(self.uuid())]
    }
}

/// Which devices something is assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = AssignmentTarget))]
#[serde(tag = "type", content = "id", rename_all = "snake_case")]
pub enum Target {
    /// One device.
    Device(DeviceId),
    /// The devices of a group, static or dynamic.
    DeviceGroup(DeviceGroupId),
    /// The devices of a user.
    User(UserId),
}

impl Target {
    /// Its id.
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Device(id) => id.uuid(),
            Self::DeviceGroup(id) => id.uuid(),
            Self::User(id) => id.uuid(),
        }
    }

    /// What it is, as people read it.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::DeviceGroup(_) => "device group",
            Self::User(_) => "user",
        }
    }
}

impl ToColumn for Target {
    fn to_values(&self) -> Vec<Value> {
        vec![Value::Id(self.uuid())]
    }
}

/// How something is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = AssignmentMode))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It always applies.
    Required,
    /// It applies where it was chosen.
    Available,
    /// It does not apply, whatever else says so at the same distance.
    Excluded,
    /// It is taken away: applied as absent.
    Uninstall,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Required, Self::Available, Self::Excluded, Self::Uninstall];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Available => "available",
            Self::Excluded => "excluded",
            Self::Uninstall => "uninstall",
        }
    }
}

impl ToColumn for Mode {
    fn to_values(&self) -> Vec<Value> {
        vec![self.name().into()]
    }
}

impl From<ActionId> for Source {
    fn from(id: ActionId) -> Self {
        Self::Action(id)
    }
}
