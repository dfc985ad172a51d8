//! What is stored of an approval, and how it is shown.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Entity,
    access::Actor,
    kernel::{Randomness, Timestamp},
    work::{
        StoredParams,
        batch::{Batch, BatchId},
        promotions::{DryRunOutcome, Promotion},
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
    /// How many runs the batch has, or is to have after its dry run.
    pub runs: u64,
    /// What the dry run came to, where one came first: then it is about doing the same for real.
    pub dry_run: Option<DryRunOutcome>,
    /// Who asked for the work.
    pub requested_by: Actor,
    /// The user who answers for that.
    pub requester: Option<Uuid>,
    /// Whether whoever asked may agree, too.
    pub requester_may_agree: bool,
    /// How many have to agree.
    pub needed: u32,
    /// What was decided, the first at the front; at most one for each user.
    pub decisions: Vec<Decision>,
    /// When the last of those settled it.
    pub decided_at: Option<Timestamp>,
    /// When the work was stopped before that.
    pub stopped_at: Option<Timestamp>,
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
        (requested_by, requester): (Actor, Option<Uuid>),
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
            dry_run: None,
            requested_by,
            requester,
            requester_may_agree: false,
            needed,
            decisions: Vec::new(),
            decided_at: None,
            stopped_at: None,
            created_at: batch.created_at,
            expires_at,
        }
    }

    /// Asks whether the dry run of a batch, which came to this, is done for real with these parameters. Where nobody else has to agree,
    /// whoever asked for the work decides as well as anybody.
    pub(crate) fn ask_to_promote(
        batch: &Batch,
        promotion: &Promotion,
        params: StoredParams,
        outcome: DryRunOutcome,
        (now, expires_at): (Timestamp, Timestamp),
        random: &dyn Randomness,
    ) -> Self {
        let asked_by = (promotion.requested_by.clone(), promotion.requester);
        let needed = promotion.terms.approvals;
        Self {
            id: ApprovalId::new(now, random),
            params,
            runs: outcome.would_change,
            dry_run: Some(outcome),
            requester_may_agree: needed == 0,
            created_at: now,
            ..Self::ask(batch, asked_by, needed.max(1), expires_at, random)
        }
    }

    /// Whether as many agreed as had to.
    pub fn was_given(&self) -> bool {
        let is_refused = self.decisions.iter().any(|made| made.verdict == Verdict::Rejected);
        self.decided_at.is_some() && !is_refused
    }

    /// Until when somebody may decide, if it is not settled.
    pub fn open_until(&self) -> Option<Timestamp> {
        let is_open = self.decided_at.is_none() && self.stopped_at.is_none();
        is_open.then_some(self.expires_at)
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
    /// The work was stopped before anybody decided.
    Stopped,
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
    /// How many runs the batch has, or is to have after its dry run.
    pub runs: u64,
    /// What the dry run came to, where one came first: then it is about doing the same for real.
    pub dry_run: Option<DryRunOutcome>,
    /// Who asked for the work.
    pub requested_by: Actor,
    /// Whether whoever asked may agree, too.
    pub requester_may_agree: bool,
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
