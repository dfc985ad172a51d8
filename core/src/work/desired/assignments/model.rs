//! What is stored of an assignment, how it is asked for, and how it is shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    kernel::Timestamp,
    work::desired::{Mode, Source, Target},
};

/// The most assignments of a fleet: all of them are read together.
pub const MAX_ASSIGNMENTS: u32 = 10_000;
/// The most assignments that are made together.
pub const MAX_TOGETHER: usize = 256;

crate::define_id!(
    /// Names an assignment.
    AssignmentId,
    "assignment"
);

/// What reaches whom, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "assignment", version = 1)]
#[entity(computed(pair, text, unique, with = Assignment::pair))]
pub struct Assignment {
    /// Its id.
    #[entity(id)]
    pub id: AssignmentId,
    /// What is assigned.
    #[entity(reference)]
    pub source: Source,
    /// To whom.
    #[entity(reference)]
    pub target: Target,
    /// How.
    #[entity(text)]
    pub mode: Mode,
    /// What comes first has the least.
    pub order: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl Assignment {
    /// One thing is assigned to one target once.
    fn pair(&self) -> String {
        format!("{}/{}", self.source.uuid(), self.target.uuid())
    }
}

/// An assignment to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"source": {"type": "action", "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"}, "target": {"type": "device_group", "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42"}, "mode": "required"})))]
#[serde(deny_unknown_fields)]
pub struct NewAssignment {
    /// What is assigned.
    pub source: Source,
    /// To whom.
    pub target: Target,
    /// How.
    pub mode: Mode,
    /// What comes first has the least; 0 when left out.
    #[serde(default)]
    pub order: i32,
}

/// What may be set of an assignment; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"mode": "excluded"})))]
#[serde(default, deny_unknown_fields)]
pub struct AssignmentChange {
    /// How.
    pub mode: Option<Mode>,
    /// What comes first has the least.
    pub order: Option<i32>,
}

/// Which assignments; all that is given has to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssignmentFilter {
    /// Those of this action, set or definition.
    pub source: Option<uuid::Uuid>,
    /// Those to this device, group or user.
    pub target: Option<uuid::Uuid>,
    /// Those of this mode.
    pub mode: Option<Mode>,
}

/// An assignment as people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AssignmentView {
    /// Its id.
    pub id: AssignmentId,
    /// How often it was changed since it was made, 1 at first; the ETag of the resource.
    pub revision: u64,
    /// What is assigned.
    pub source: Source,
    /// The name of that; null when it was deleted.
    pub source_name: Option<String>,
    /// To whom.
    pub target: Target,
    /// The name of that; null when it was deleted.
    pub target_name: Option<String>,
    /// How.
    pub mode: Mode,
    /// What comes first has the least.
    pub order: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}
