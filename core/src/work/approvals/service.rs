//! Use cases over approvals.

use super::{
    APPROVAL_APPROVE, APPROVAL_CLOSED, APPROVAL_NOT_FOUND, APPROVAL_REJECT, Approval, ApprovalId, ApprovalView,
    Comment, Verdict,
    rules::{decide, view},
};
use crate::{
    access::Context,
    kernel::{Page, PageRequest, Result},
    store::{Direction, Evidence, Filter, Query, Store, Tx, Value},
    work::{
        BatchService, RUNS_APPROVE, RUNS_READ,
        batch::{Batch, Release, cancel_batch, stop_runs, wake},
        promotions::{self, PromotionStanding},
        rollouts::{self, Rollouts},
    },
};

/// Which approvals are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// Only those that somebody may still decide.
    pub open: bool,
}

/// Reads and decides approvals.
#[derive(Debug)]
pub struct ApprovalService<'a> {
    store: &'a Store,
    batches: BatchService<'a>,
}

impl<'a> ApprovalService<'a> {
    pub(crate) fn new(batches: BatchService<'a>) -> Self {
        let store = batches.store;
        Self { store, batches }
    }

    /// A page of approvals: the open ones in the order in which their time passes, all of them newest first.
    pub async fn list(
        &self,
        context: &Context,
        filter: &ApprovalFilter,
        page: &PageRequest,
    ) -> Result<Page<ApprovalView>> {
        context.require(RUNS_READ)?;
        let now = self.store.clock().now();
        let query = match filter.open {
            true => Query::<Approval>::all()
                .filter(Filter::Range(
                    Approval::OPEN_UNTIL.name(),
                    Some(Value::Int(now.as_micros().saturating_add(1))),
                    None,
                ))
                .order(Approval::OPEN_UNTIL, Direction::Ascending)
                // The bound moves on with the clock; the list stays the same one.
                .asked(&"open approvals")?,
            false => Query::all().order(Approval::CREATED_AT, Direction::Descending),
        };
        let found = self.store.reader().await?.list(&query, page).await?;
        Ok(found.map(|approval| view(approval.value, now)))
    }

    /// One approval.
    pub async fn show(&self, context: &Context, id: ApprovalId) -> Result<ApprovalView> {
        context.require(RUNS_READ)?;
        let approval = self.store.get::<Approval>(id).await?;
        let approval = approval.ok_or_else(|| APPROVAL_NOT_FOUND.error(format!("there is no approval {id}")))?;
        Ok(view(approval.value, self.store.clock().now()))
    }

    /// Agrees to work. With the last agreement that is needed it begins, or waits for its time. After a dry run it is made then.
    pub async fn approve(&self, context: &Context, id: ApprovalId, comment: &Comment) -> Result<ApprovalView> {
        self.decide(context, id, Verdict::Approved, comment).await
    }

    /// Refuses work: none of it begins. Whoever asked for it may do so, too.
    pub async fn reject(&self, context: &Context, id: ApprovalId, comment: &Comment) -> Result<ApprovalView> {
        self.decide(context, id, Verdict::Rejected, comment).await
    }

    async fn decide(
        &self,
        context: &Context,
        id: ApprovalId,
        verdict: Verdict,
        comment: &Comment,
    ) -> Result<ApprovalView> {
        context.require(RUNS_APPROVE)?;
        let action = match verdict {
            Verdict::Approved => APPROVAL_APPROVE,
            Verdict::Rejected => APPROVAL_REJECT,
        };
        let release = self.batches.release();
        let (approval, batch, moved, is_over, promoted) = self
            .store
            .change(context, Evidence::Audit(action), |mut tx| async move {
                let missing = || APPROVAL_NOT_FOUND.error(format!("there is no approval {id}"));
                let before = tx.get::<Approval>(id).await?.ok_or_else(missing)?;
                let batch_before = tx.get::<Batch>(before.batch).await?.ok_or_else(missing)?;
                if batch_before.cancelled_at.is_some() && before.decided_at.is_none() {
                    return Err(APPROVAL_CLOSED.error("the work was stopped"));
                }
                if before.dry_run.is_some() && !batch_before.may_be_promoted() && before.decided_at.is_none() {
                    // The clock was set back since its time had passed.
                    return Err(APPROVAL_CLOSED.error("its time has passed; whoever wants the work asks for it anew"));
                }
                let (mut approval, mut batch) = (before.value.clone(), batch_before.value.clone());
                let who = tx.context().actor().clone();
                let user = tx.context().user();
                decide(&mut approval, (&who, user), verdict, comment.comment.clone(), tx.now())?;
                let (mut is_over, mut promoted) = (true, None);
                let moved = match (approval.decided_at, verdict) {
                    (Some(_), Verdict::Approved) if approval.dry_run.is_some() => {
                        promoted = Some(self.batches.promote(&mut tx, &mut batch).await?);
                        Vec::new()
                    }
                    (Some(_), Verdict::Rejected) if approval.dry_run.is_some() => {
                        promotions::close(&mut tx, &mut batch, PromotionStanding::Rejected);
                        Vec::new()
                    }
                    (Some(at), Verdict::Approved) => {
                        let start = batch.start_at.map_or(at, |start| start.max(at));
                        // All runs hear of it at once, whenever their time comes.
                        batch.release_at = Some(at);
                        if batch.rolls_out {
                            rollouts::agreed(&mut tx, batch.id, start).await?;
                        }
                        batch.expires_at = start.plus(batch.expiry());
                        let windows = release.windows(&batch).await?;
                        let released = release.first(&mut tx, &mut batch, &windows).await?;
                        is_over = released.next.is_none();
                        released.moved
                    }
                    (Some(_), Verdict::Rejected) => cancel_batch(&mut tx, &mut batch, "it was refused").await?,
                    (None, _) => Vec::new(),
                };
                tx.subject::<Approval>(id, approval.operation.clone());
                tx.detail("batch", batch.id.to_string());
                tx.detail("settled", approval.decided_at.is_some());
                tx.update(&before, &approval)?;
                tx.update(&batch_before, &batch)?;
                tx.commit().await?;
                Ok((approval, batch, moved, is_over, promoted))
            })
            .await?;
        if let Some(promoted) = promoted {
            if let Err(error) = self.batches.follow_up(context, promoted).await {
                // It is durable, and the jobs go on with it.
                tracing::warn!(batch = %batch.id, error = error.log(), "what follows its dry run has not begun yet");
            }
            return Ok(view(approval, self.store.clock().now()));
        }
        let Release {
            store, devices, runs, ..
        } = release;
        wake(devices, runs, moved);
        let followed = if !is_over {
            release.let_go(context, batch.id).await
        } else if batch.cancelling_since.is_some() {
            stop_runs(store, devices, runs, context, batch.id).await
        } else {
            Ok(())
        };
        let followed = match followed {
            Ok(()) if batch.rolls_out && batch.cancelled_at.is_none() && batch.release_at.is_none() => {
                Rollouts { release }.advance(context, batch.id, false).await
            }
            followed => followed,
        };
        if let Err(error) = followed {
            // The decision is durable, and a job goes on with it.
            tracing::warn!(batch = %batch.id, error = error.log(), "its runs do not all know yet");
        }
        Ok(view(approval, self.store.clock().now()))
    }
}

/// The work of a batch is stopped, in the change in which that is stored: nobody need decide about it any more.
pub(in crate::work) async fn stop(tx: &mut Tx, batch: &Batch) -> Result<()> {
    let promotion = batch.promotion.as_ref();
    let asked = batch.approval.or(promotion.and_then(|promotion| promotion.approval));
    let Some(id) = asked else { return Ok(()) };
    let found = tx.get::<Approval>(id).await?;
    if let Some(before) = found.filter(|approval| approval.open_until().is_some()) {
        let mut approval = before.value.clone();
        approval.stopped_at = Some(tx.now());
        tx.update(&before, &approval)?;
    }
    Ok(())
}
