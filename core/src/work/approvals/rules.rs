//! Who may agree to what, and what it comes to.

use uuid::Uuid;

use super::{
    APPROVAL_CLOSED, APPROVAL_NOT_A_PERSON, APPROVAL_OWN, APPROVAL_REPEATED, Approval, ApprovalStanding, ApprovalView,
    Decision, Verdict,
};
use crate::{
    access::Actor,
    kernel::{Error, Result, Timestamp},
};

/// The most bytes of a comment.
const MAX_COMMENT: usize = 2_000;

/// How an approval stands.
pub(super) fn standing(approval: &Approval, now: Timestamp) -> ApprovalStanding {
    let is_refused = approval.decisions.iter().any(|made| made.verdict == Verdict::Rejected);
    match approval.decided_at {
        Some(_) if is_refused => ApprovalStanding::Rejected,
        Some(_) => ApprovalStanding::Approved,
        None if approval.stopped_at.is_some() => ApprovalStanding::Stopped,
        None if now < approval.expires_at => ApprovalStanding::Open,
        None => ApprovalStanding::Expired,
    }
}

/// Takes a decision into an approval. One refusal is enough; agreement needs as many people as were asked for, none of them who asked.
pub(super) fn decide(
    approval: &mut Approval,
    (by, user): (&Actor, Option<Uuid>),
    verdict: Verdict,
    comment: Option<String>,
    now: Timestamp,
) -> Result<()> {
    let user = user.ok_or_else(|| APPROVAL_NOT_A_PERSON.error("only a person can agree to work or refuse it"))?;
    match standing(approval, now) {
        ApprovalStanding::Open => {}
        ApprovalStanding::Approved => return Err(APPROVAL_CLOSED.error("it was agreed to already")),
        ApprovalStanding::Rejected => return Err(APPROVAL_CLOSED.error("it was refused already")),
        ApprovalStanding::Expired => {
            return Err(APPROVAL_CLOSED.error("its time has passed; whoever wants the work asks for it anew"));
        }
        ApprovalStanding::Stopped => return Err(APPROVAL_CLOSED.error("the work was stopped")),
    }
    let is_own = approval.requester == Some(user) || approval.requested_by.id() == Some(user);
    if is_own && !approval.requester_may_agree && verdict == Verdict::Approved {
        return Err(APPROVAL_OWN.error("somebody else has to agree: you asked for it yourself"));
    }
    let is_repeated = approval.decisions.iter().any(|made| made.user == user);
    if is_repeated && verdict == Verdict::Approved {
        return Err(APPROVAL_REPEATED.error("you agreed to it before; somebody else has to agree as well"));
    }
    if let Some(text) = &comment
        && (text.len() > MAX_COMMENT || text.contains('\0'))
    {
        let why = format!("at most {MAX_COMMENT} bytes without U+0000");
        return Err(Error::invalid_field("/comment", why));
    }
    // Who changes their mind has one decision, the last.
    approval.decisions.retain(|made| made.user != user);
    approval.decisions.push(Decision {
        by: by.clone(),
        user,
        verdict,
        comment,
        at: now,
    });
    let agreed = approval
        .decisions
        .iter()
        .filter(|made| made.verdict == Verdict::Approved);
    if verdict == Verdict::Rejected || agreed.count() >= approval.needed as usize {
        approval.decided_at = Some(now);
    }
    Ok(())
}

/// As it is shown.
pub(super) fn view(approval: Approval, now: Timestamp) -> ApprovalView {
    ApprovalView {
        standing: standing(&approval, now),
        id: approval.id,
        batch: approval.batch,
        operation: approval.operation,
        params: approval.params.shown(),
        runs: approval.runs,
        dry_run: approval.dry_run,
        requested_by: approval.requested_by,
        requester_may_agree: approval.requester_may_agree,
        needed: approval.needed,
        decisions: approval.decisions,
        created_at: approval.created_at,
        expires_at: approval.expires_at,
    }
}
