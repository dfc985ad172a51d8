//! What is stored of a promotion, and how it is shown.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    access::Actor,
    kernel::Timestamp,
    work::{
        approvals::ApprovalId,
        batch::{BatchId, RetryPolicy},
        rollouts::RolloutPolicy,
    },
};

/// What is to follow the dry run of a batch. It stands in that batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    /// Where it stands.
    pub standing: PromotionStanding,
    /// How the work is done for real.
    pub terms: PromotionTerms,
    /// Who asked for it.
    pub requested_by: Actor,
    /// The user who answers for that.
    pub requester: Option<Uuid>,
    /// What the dry run came to, once all of its runs have ended.
    pub outcome: Option<DryRunOutcome>,
    /// Where somebody decides whether it goes on.
    pub approval: Option<ApprovalId>,
    /// Nobody can agree any more from this time on.
    pub expires_at: Option<Timestamp>,
    /// The batch that does it for real.
    pub promoted_to: Option<BatchId>,
}

/// How work is done for real after its dry run, where that is another way than that of the dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromotionTerms {
    /// When its runs may begin, if that was asked for; once that has passed, as soon as somebody agreed.
    pub start_at: Option<Timestamp>,
    /// Whether its runs begin whatever the windows say.
    pub ignores_windows: bool,
    /// How many others have to agree; with none, somebody has to, who may be whoever asked.
    pub approvals: u32,
    /// How it goes from wave to wave, if it does.
    pub rollout: Option<RolloutPolicy>,
    /// How it is tried again by itself, if it is.
    pub retry: Option<RetryPolicy>,
}

/// Where a promotion stands. An open set: be ready for values that come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PromotionStanding {
    /// The dry run is under way.
    Looking,
    /// It has ended, and somebody has to decide.
    AwaitingApproval,
    /// Somebody agreed: a batch does it for real.
    Promoted,
    /// It has ended, and no device said that it would change something.
    NothingToPromote,
    /// Somebody refused, or whoever asked took it back.
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// The batch was stopped before anybody decided.
    Stopped,
}

use PromotionStanding::{AwaitingApproval, Expired, Looking, NothingToPromote, Promoted, Rejected, Stopped};

/// Every move there is: from, to.
const MOVES: [(PromotionStanding, PromotionStanding); 7] = [
    (Looking, AwaitingApproval),
    (Looking, NothingToPromote),
    (Looking, Stopped),
    (AwaitingApproval, Promoted),
    (AwaitingApproval, Rejected),
    (AwaitingApproval, Expired),
    (AwaitingApproval, Stopped),
];

impl PromotionStanding {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Looking,
        AwaitingApproval,
        Promoted,
        NothingToPromote,
        Rejected,
        Expired,
        Stopped,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Promoted => "promoted",
            Self::NothingToPromote => "nothing_to_promote",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the work may still be done for real.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Looking | Self::AwaitingApproval)
    }
}

/// What a dry run came to, in devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DryRunOutcome {
    /// Which would be changed: what is agreed to is done on these.
    pub would_change: u64,
    /// On which there is nothing to do.
    pub unchanged: u64,
    /// Which cannot tell, such as of a script without a check.
    pub unknown: u64,
    /// Which it does not concern.
    pub not_concerned: u64,
    /// On which the dry run did not succeed: it failed, was stopped, or was never heard of again.
    pub failed: u64,
}

impl Promotion {
    /// The dry run begins.
    pub(in crate::work) fn begin(terms: PromotionTerms, (requested_by, requester): (Actor, Option<Uuid>)) -> Self {
        Self {
            standing: Looking,
            terms,
            requested_by,
            requester,
            outcome: None,
            approval: None,
            expires_at: None,
            promoted_to: None,
        }
    }

    /// Moves it on, if there is such a move; whether there is.
    pub(in crate::work) fn move_to(&mut self, to: PromotionStanding) -> bool {
        let is_move = MOVES.contains(&(self.standing, to));
        if is_move {
            self.standing = to;
        }
        is_move
    }
}

/// What follows the dry run of a batch, as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromotionView {
    /// Where it stands.
    pub standing: PromotionStanding,
    /// What the dry run came to; known once all of its runs have ended.
    pub outcome: Option<DryRunOutcome>,
    /// Where somebody decides whether it goes on.
    pub approval: Option<ApprovalId>,
    /// The batch that does it for real, once somebody agreed.
    pub promoted_to: Option<BatchId>,
    /// How the work is done for real.
    pub terms: PromotionTerms,
}

impl From<Promotion> for PromotionView {
    fn from(promotion: Promotion) -> Self {
        Self {
            standing: promotion.standing,
            outcome: promotion.outcome,
            approval: promotion.approval,
            promoted_to: promotion.promoted_to,
            terms: promotion.terms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_stays_as_it_is() {
        for from in PromotionStanding::ALL {
            let leaves = MOVES.iter().any(|(left, _)| *left == from);
            assert_eq!(leaves, from.is_open(), "{from:?}");
        }
    }

    #[test]
    fn every_standing_is_reached_and_has_its_name_on_disk() {
        for standing in PromotionStanding::ALL {
            let is_reached = MOVES.iter().any(|(_, to)| *to == standing);
            assert_eq!(is_reached, standing != Looking, "{standing:?}");
            assert_eq!(serde_json::to_value(standing).unwrap(), standing.name());
        }
    }
}
