//! What is stored of an approval, and how it is shown.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Entity,
    access::{Actor, Context},
    kernel::{Randomness, Timestamp},
    work::{
        StoredParams,
        batch::{Batch, BatchId},
    },
};

crate::define_id!(
    /// Names an approval.
    ApprovalId,
    "approval"
);

/// What somebody thinks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may begin, as far as this one is concerned.
    Approved,
    /// It must not begin.
    Rejected,
}

/// What somebody decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// Who.
    pub by: Actor,
    /// The user who answers for it.
    pub user: Uuid,
    /// What.
    pub verdict: Verdict,
    /// Why, as far as something was said.
    pub comment: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Others have to agree to a batch before its runs may begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "approval", version = 1)]
#[entity(computed(open_until, int, with = Approval::open_until))]
pub struct Approval {
    /// Its id.
    #[entity(id)]
    pub id: ApprovalId,
    /// What it is about.
    #[entity(reference)]
    pub batch: BatchId,
    /// The kind of operation.
    pub operation: String,
    /// Its parameters, frozen.
    pub params: StoredParams,
    /// How many runs the batch has.
    pub runs: u64,
    /// Who asked for the work.
    pub requested_by: Actor,
    /// The user who answers for that.
    pub requester: Option<Uuid>,
    /// How many have to agree.
    pub needed: u32,
    /// What was decided, the first at the front; at most one for each user.
    pub decisions: Vec<Decision>,
    /// When the last of those settled it.
    pub decided_at: Option<Timestamp>,
    /// When the work was asked for.
    #[entity(int)]
    pub created_at: Timestamp,
    /// Nobody can agree any more from this time on.
    pub expires_at: Timestamp,
}

impl Approval {
    /// Asks for agreement to a batch that is about to be made.
    pub(crate) fn ask(
        batch: &Batch,
        context: &Context,
        needed: u32,
        expires_at: Timestamp,
        random: &dyn Randomness,
    ) -> Self {
        Self {
            id: ApprovalId::new(batch.created_at, random),
            batch: batch.id,
            operation: batch.operation.clone(),
            params: batch.params.clone(),
            runs: batch.runs,
            requested_by: batch.created_by.clone(),
            requester: context.user(),
            needed,
            decisions: Vec::new(),
            decided_at: None,
            created_at: batch.created_at,
            expires_at,
        }
    }

    /// Somebody else answers for the work: a schedule asked for it, and this user for the schedule.
    pub(crate) fn asked_by(&mut self, (actor, user): (&Actor, Option<Uuid>)) {
        self.requested_by.clone_from(actor);
        self.requester = user;
    }

    /// Whether as many agreed as had to.
    pub fn was_given(&self) -> bool {
        let is_refused = self.decisions.iter().any(|made| made.verdict == Verdict::Rejected);
        self.decided_at.is_some() && !is_refused
    }

    /// Until when somebody may decide, if it is not settled.
    pub fn open_until(&self) -> Option<Timestamp> {
        self.decided_at.is_none().then_some(self.expires_at)
    }
}

/// How an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStanding {
    /// Somebody may still decide.
    Open,
    /// As many agreed as had to.
    Approved,
    /// Somebody refused.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

/// An approval as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalView {
    /// Its id.
    pub id: ApprovalId,
    /// What it is about.
    pub batch: BatchId,
    /// The kind of operation.
    pub operation: String,
    /// Its parameters, frozen.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: serde_json::Value,
    /// How many runs the batch has.
    pub runs: u64,
    /// Who asked for the work.
    pub requested_by: Actor,
    /// How it stands.
    pub standing: ApprovalStanding,
    /// How many have to agree.
    pub needed: u32,
    /// What was decided, the first at the front.
    pub decisions: Vec<Decision>,
    /// When the work was asked for.
    pub created_at: Timestamp,
    /// Nobody can agree any more from this time on.
    pub expires_at: Timestamp,
}

/// What is said with a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"comment": "after the backup"})))]
#[serde(default, deny_unknown_fields)]
pub struct Comment {
    /// Why; at most 2,000 bytes.
    pub comment: Option<String>,
}
