//! What an audit entry says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    access::{Actor, Origin},
    kernel::Timestamp,
    store::{Column, ColumnType, LaneRow, Name, Value},
};

/// What was done: a constant of the module that owns it, such as `device.label.set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action(&'static str);

impl Action {
    /// Declares an action.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

impl Outcome {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// What it was done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subject {
    /// The kind of thing.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// Its name at that time.
    pub name: String,
}

/// One entry of the audit. It is written in the commit of the change that it tells of, and never altered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its id: that of the commit, unless several decisions share one.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
    /// What was done, such as `device.label.set`.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it was done to.
    pub subject: Option<Subject>,
    /// The members that were altered; never their values.
    pub changed: Vec<String>,
    /// More about it; never a secret.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, serde_json::Value>))]
    pub details: BTreeMap<String, serde_json::Value>,
}

impl AuditEntry {
    /// The column of the actor's id.
    pub const ACTOR: Name = "actor";
    /// The column of the action.
    pub const ACTION: Name = "action";
    /// The column of the subject's id.
    pub const SUBJECT: Name = "subject";
    /// The column of the outcome.
    pub const OUTCOME: Name = "outcome";
}

impl LaneRow for AuditEntry {
    const LANE: Name = "audit";
    const VERSION: u32 = 1;
    const CHAINED: bool = true;

    fn columns() -> Vec<Column> {
        vec![
            Column::one(Self::ACTOR, ColumnType::Id),
            Column::one(Self::ACTION, ColumnType::Text),
            Column::one(Self::SUBJECT, ColumnType::Id),
            Column::one(Self::OUTCOME, ColumnType::Text),
        ]
    }

    fn index(&self) -> Vec<Value> {
        vec![
            self.actor.id().into(),
            self.action.clone().into(),
            self.subject.as_ref().map(|subject| subject.id).into(),
            self.outcome.name().into(),
        ]
    }
}
