//! Counts dry runs that have ended, asks whether they go on, and ends what nobody decided in time: each a commit of its own.

use super::{
    BATCH_PROMOTION_SETTLE, DryRunOutcome, PromotionStanding,
    rules::{Said, with_dry_run},
};
use crate::{
    Fleet,
    access::Context,
    devices::DeviceId,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Direction, Evidence, Field, Filter, Query, Reader, Tx, Value},
    work::{
        Approval, Batch, BatchId, BatchService,
        batch::{BatchTargets, existing, has_open_runs},
        run::Run,
        settings::APPROVAL_SECONDS,
    },
};

/// Looks after all dry runs that have ended, and all questions whose time has passed.
pub(crate) async fn settle_due(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.promotions");
    let service = fleet.batches();
    let now = fleet.clock().now();
    for (column, until) in [(Batch::LOOKING_SINCE, None), (Batch::PROMOTION_UNTIL, Some(now))] {
        let mut token = None;
        loop {
            let page = PageRequest::new(Some(MAX_LIMIT), token)?;
            let query = listed(column, until);
            let found = fleet.store().reader().await?.list(&query, &page).await?;
            for batch in found.items {
                if let Err(error) = service.settle_promotion(&context, batch.id).await {
                    // The next tick tries again; the others need not wait for it.
                    tracing::warn!(batch = %batch.id, error = error.log(), "what follows its dry run is not decided yet");
                }
            }
            token = found.next;
            if token.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Batches whose dry run is under way.
pub(in crate::work) fn looking() -> Query<Batch> {
    listed(Batch::LOOKING_SINCE, None)
}

/// The batches with a time in this column, up to the one given.
fn listed(column: Field<Batch>, until: Option<Timestamp>) -> Query<Batch> {
    // The upper end is not part of a range.
    let end = until.map(|until| Value::Int(until.as_micros().saturating_add(1)));
    Query::all()
        .filter(Filter::Range(column.name(), Some(Value::Int(i64::MIN)), end))
        .order(column, Direction::Ascending)
}

impl BatchService<'_> {
    /// Asks whether a dry run goes on as soon as all of its runs have ended, or ends what nobody decided in time.
    pub(in crate::work) async fn settle_promotion(&self, context: &Context, id: BatchId) -> Result<()> {
        self.store
            .change(context, Evidence::Audit(BATCH_PROMOTION_SETTLE), |mut tx| async move {
                let before = existing(tx.reader(), id).await?;
                let mut batch = before.value.clone();
                let Some(promotion) = &before.promotion else {
                    return Ok(());
                };
                let is_settled = match promotion.standing {
                    PromotionStanding::Looking => self.ask(&mut tx, &mut batch).await?,
                    PromotionStanding::AwaitingApproval if promotion.expires_at <= Some(tx.now()) => {
                        close(&mut tx, &mut batch, PromotionStanding::Expired)
                    }
                    _ => false,
                };
                if !is_settled {
                    return Ok(());
                }
                let standing = batch.promotion.as_ref().map(|promotion| promotion.standing.name());
                tx.detail("standing", standing);
                tx.subject::<Batch>(id, batch.operation.clone());
                tx.update(&before, &batch)?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Counts what a dry run came to that has ended, and asks whether it goes on; whether it has ended.
    async fn ask(&self, tx: &mut Tx, batch: &mut Batch) -> Result<bool> {
        let is_under_way = batch.expanding_since.is_some() || has_open_runs(tx.reader(), batch.id).await?;
        let Some(mut promotion) = batch.promotion.clone().filter(|_| !is_under_way) else {
            return Ok(false);
        };
        let (outcome, devices) = count(tx.reader(), batch.id).await?;
        promotion.outcome = Some(outcome);
        tx.detail("would_change", outcome.would_change);
        tx.detail("failed", outcome.failed);
        if devices.is_empty() {
            promotion.move_to(PromotionStanding::NothingToPromote);
            batch.promotion = Some(promotion);
            return Ok(true);
        }
        let kind = self.operations.kind(&batch.operation)?;
        // Settings may ask for more than they did.
        promotion.terms.approvals = promotion.terms.approvals.max(self.approvals_for(kind));
        let expires_at = tx.now().plus(self.settings.get(&APPROVAL_SECONDS).duration());
        promotion.expires_at = Some(expires_at);
        let params = with_dry_run(kind, &batch.params, false)?;
        let asked = (tx.now(), expires_at);
        let approval = Approval::ask_to_promote(batch, &promotion, params, outcome, asked, self.store.random());
        tx.detail("approval", approval.id.to_string());
        tx.create(&approval)?;
        promotion.approval = Some(approval.id);
        // What is agreed to is done on these, whatever is heard of the dry run later.
        tx.create(&BatchTargets {
            id: batch.id.of_promotion(),
            devices,
        })?;
        promotion.move_to(PromotionStanding::AwaitingApproval);
        batch.promotion = Some(promotion);
        Ok(true)
    }
}

/// Ends a promotion, in the change in which its batch is stored; whether it was open.
pub(in crate::work) fn close(tx: &mut Tx, batch: &mut Batch, standing: PromotionStanding) -> bool {
    let Some(promotion) = &mut batch.promotion else {
        return false;
    };
    let was_asked = promotion.standing == PromotionStanding::AwaitingApproval;
    let is_closed = promotion.move_to(standing);
    if is_closed && was_asked {
        tx.remove::<BatchTargets>(batch.id.of_promotion());
    }
    is_closed
}

/// What a dry run came to, and the devices that would be changed.
async fn count(reader: &mut Reader, id: BatchId) -> Result<(DryRunOutcome, Vec<DeviceId>)> {
    let query = Query::<Run>::all().filter(Run::BATCH.eq(id.uuid()));
    let (mut outcome, mut devices, mut token) = (DryRunOutcome::default(), Vec::new(), None);
    loop {
        let page = PageRequest::new(Some(MAX_LIMIT), token)?;
        let found = reader.list(&query, &page).await?;
        for run in &found.items {
            let changed = run.ending.as_ref().and_then(|ending| ending.changed);
            let said = Said::of(run.state, changed);
            outcome.count(said);
            if said == Said::WouldChange {
                devices.push(run.device);
            }
        }
        token = found.next;
        if token.is_none() {
            devices.sort_unstable();
            return Ok((outcome, devices));
        }
    }
}
