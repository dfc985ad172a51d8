//! What is decided on, and what is decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::Claims;
use crate::{
    access::users::UserId,
    devices::{DeviceGroupId, DeviceId},
    store::{ToColumn, Value},
    work::desired::{ActionId, ActionSetId, AssignmentId, DefinitionId, DesiredState, Mode, Source, Target},
};

/// All that is assigned in a fleet, and what it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The actions there are.
    pub actions: BTreeMap<ActionId, ActionFacts>,
    /// The members of sets, in order.
    pub sets: BTreeMap<ActionSetId, Vec<ActionId>>,
    /// The members of definitions, in order.
    pub definitions: BTreeMap<DefinitionId, Vec<Member>>,
    /// What is assigned to whom.
    pub assignments: BTreeMap<Target, Vec<Assigned>>,
    /// What several actions are about.
    pub claims: Claims,
}

/// What matters of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionFacts {
    /// The state that it is written for.
    pub state: DesiredState,
    /// Whether it can be applied as absent. A script cannot.
    pub can_be_absent: bool,
}

/// What a definition names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DefinitionMember))]
#[serde(tag = "type", content = "id", rename_all = "snake_case")]
pub enum Member {
    /// An action.
    Action(ActionId),
    /// The actions of a set.
    ActionSet(ActionSetId),
}

impl From<Member> for Source {
    fn from(member: Member) -> Self {
        match member {
            Member::Action(id) => Self::Action(id),
            Member::ActionSet(id) => Self::ActionSet(id),
        }
    }
}

impl ToColumn for Member {
    fn to_values(&self) -> Vec<Value> {
        Source::from(*self).to_values()
    }
}

/// An assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The assignment.
    pub id: AssignmentId,
    /// What is assigned.
    pub source: Source,
    /// How.
    pub mode: Mode,
    /// What comes first has the least.
    pub order: i32,
}

/// What matters of a device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFacts<'a> {
    /// The device.
    pub id: DeviceId,
    /// The groups that it is in, static and dynamic.
    pub groups: &'a BTreeSet<DeviceGroupId>,
    /// The users whom it belongs to.
    pub owners: &'a BTreeSet<UserId>,
    /// What was chosen on it of what is available.
    pub selected: &'a BTreeSet<Source>,
}

/// Through whom something reaches a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DecisionLayer))]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The device itself, and its groups.
    Device,
    /// Its owners.
    User,
}

/// What comes of an action on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DecisionOutcome))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is applied, and what it is about shall be there.
    Present,
    /// It is applied, and what it is about shall not be there.
    Absent,
    /// It is left alone.
    NotApplied,
}

impl Outcome {
    /// The state that is applied; none when it is left alone.
    pub const fn state(self) -> Option<DesiredState> {
        match self {
            Self::Present => Some(DesiredState::Present),
            Self::Absent => Some(DesiredState::Absent),
            Self::NotApplied => None,
        }
    }
}

/// Why that comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DecisionReason))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is required, or available and chosen.
    Assigned,
    /// It is taken away.
    Uninstalled,
    /// It is to be taken away, and is of a kind that knows no absence.
    NothingToTakeAway,
    /// It is excluded.
    Excluded,
    /// It is available, and nobody chose it.
    NotSelected,
    /// No assignment reaches the device.
    NotAssigned,
    /// It would apply, and contradicts another action, which does: both are about the same, with other parameters.
    Overruled,
}

/// What one assignment contributes to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DecisionStanding))]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It decides.
    Decides,
    /// A more direct assignment of the same layer takes its place.
    LessDirect,
    /// An assignment that is as direct says otherwise, and wins.
    Outweighed,
    /// It makes the action available, and nobody chose it.
    NotSelected,
    /// The other layer decides.
    OtherLayer,
}

/// One way that leads from an assignment to an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DecisionStep))]
pub struct Step {
    /// The assignment.
    pub assignment: AssignmentId,
    /// To whom.
    pub target: Target,
    /// Through whom it reaches the device.
    pub layer: Layer,
    /// How it is assigned.
    pub mode: Mode,
    /// How direct it is: 1 for the action itself, 2 by a set, 3 by a definition.
    pub level: u8,
    /// The definition on the way.
    pub definition: Option<DefinitionId>,
    /// The set on the way.
    pub action_set: Option<ActionSetId>,
    /// What it contributes.
    pub standing: Standing,
}

/// What comes of one action on one device, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What comes of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The layer that decided.
    pub layer: Layer,
    /// All ways that lead to it.
    pub steps: Vec<Step>,
    /// What applies in its place, when it is overruled.
    pub overruled_by: Option<Overruling>,
}

/// What overrules an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overruling {
    /// The action that applies.
    pub action: ActionId,
    /// What both are about, such as `user:ann`.
    pub subject: String,
}

/// What a group was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKey {
    /// A definition.
    Definition(DefinitionId),
    /// A set.
    ActionSet(ActionSetId),
    /// An action that stands alone.
    Action(ActionId),
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Definition(id) => write!(f, "definition:{id}"),
            Self::ActionSet(id) => write!(f, "action_set:{id}"),
            Self::Action(id) => write!(f, "action:{id}"),
        }
    }
}

/// An action in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The action.
    pub action: ActionId,
    /// The state that it is applied with.
    pub state: DesiredState,
    /// The set that it stands in, within a definition.
    pub action_set: Option<ActionSetId>,
}

/// Actions that are applied one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedGroup {
    /// What it was made from.
    pub key: GroupKey,
    /// Its actions, in order.
    pub actions: Vec<Placed>,
}

/// What applies to a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The groups, in order.
    pub groups: Vec<ResolvedGroup>,
    /// What comes of each action that an assignment leads to.
    pub decisions: BTreeMap<ActionId, Decision>,
}
