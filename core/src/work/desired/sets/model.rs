//! What is stored of an action set, how it is asked for, and how it is shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    devices::device::fold,
    kernel::Timestamp,
    work::desired::{ActionId, NewRhythm, OnFailure, Rhythm},
};

crate::define_id!(
    /// Names an action set.
    ActionSetId,
    "action set"
);

/// Actions that are applied one after another, in one rhythm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "action_set", version = 1)]
#[entity(computed(name, text, unique, with = ActionSet::folded))]
pub struct ActionSet {
    /// Its id.
    #[entity(id)]
    pub id: ActionSetId,
    /// Its name; no two have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its members, in the order in which they are applied; one may stand in it more than once.
    #[entity(reference, many)]
    pub members: Vec<ActionId>,
    /// How often it is looked at.
    pub rhythm: Rhythm,
    /// What happens to the rest when one fails.
    pub on_failure: OnFailure,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl ActionSet {
    fn folded(&self) -> String {
        fold(&self.name)
    }
}

/// One to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Base", "members": []})))]
#[serde(deny_unknown_fields)]
pub struct NewActionSet {
    /// Its name; no two have the same, without regard to case.
    pub name: String,
    /// What it is for; at most 2,000 bytes.
    #[serde(default)]
    pub description: String,
    /// Its members, at most 200, in the order in which they are applied; one may stand in it more than once.
    #[serde(default)]
    pub members: Vec<ActionId>,
    /// How often it is looked at; every eight hours when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub rhythm: Option<NewRhythm>,
    /// What happens to the rest when one fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What may be set of it; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"on_failure": "stop"})))]
#[serde(default, deny_unknown_fields)]
pub struct ActionSetChange {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Its members, as a whole.
    pub members: Option<Vec<ActionId>>,
    /// How often it is looked at.
    pub rhythm: Option<NewRhythm>,
    /// What happens to the rest when one fails.
    pub on_failure: Option<OnFailure>,
}

impl From<&NewActionSet> for ActionSetChange {
    fn from(new: &NewActionSet) -> Self {
        let new = new.clone();
        Self {
            name: Some(new.name),
            description: Some(new.description),
            members: Some(new.members),
            rhythm: new.rhythm,
            on_failure: Some(new.on_failure),
        }
    }
}

/// As people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionSetView {
    /// Its id.
    pub id: ActionSetId,
    /// How often it was changed since it was made, 1 at first; the ETag of the resource.
    pub revision: u64,
    /// Its name; no two have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its members, in the order in which they are applied.
    pub members: Vec<ActionId>,
    /// How often it is looked at.
    pub rhythm: Rhythm,
    /// What happens to the rest when one fails.
    pub on_failure: OnFailure,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}
