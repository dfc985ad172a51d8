//! Tries work again as its policy says: when all runs of an attempt have ended, what did not succeed is done once more after a while, by
//! a batch of its own. Thus what a batch counts is what it was made with, and each attempt is stopped, agreed to and looked at by itself.

use super::{
    Batch, BatchId, BatchService, BatchView,
    cancel::has_open_runs,
    request::Order,
    retry::{NOTHING_TO_RETRY, ended_in},
    service::existing,
};
use crate::{
    Fleet,
    access::{Action, Context},
    kernel::{Class, Code, EntityId as _, Error, MAX_LIMIT, PageRequest, Result, Timestamp, canonical, named_uuid},
    store::{Direction, Evidence, Field, Filter, Query, Tx, Value, Versioned},
    work::{
        approvals::Approval,
        run::{Run, State},
        secrets::SECRET_GONE,
    },
};

/// It was decided whether, and when, there is another attempt at what a batch did not bring about.
pub const BATCH_RETRY_SETTLE: Action = Action::new("batch.retry_settle");
/// No further attempt is to be made at what this batch did: somebody stopped it, or made the attempt already.
pub const NO_RETRY_PENDING: Code = Code::new("batch.no_retry_pending", Class::Conflict);

/// The attempt that follows a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextAttempt {
    pub(crate) after: BatchId,
    /// The first is 1.
    pub(crate) attempt: u32,
}

impl BatchId {
    /// The batch of the next attempt: the same on every server, so that there is one.
    pub(super) fn of_next_attempt(self) -> Self {
        Self::from_uuid(named_uuid("batch_attempt", &self.to_string()))
    }
}

impl NextAttempt {
    /// Notes in the batch before that its next attempt is made; refused where none is to be made any more.
    pub(super) async fn note(&self, tx: &mut Tx, made: BatchId) -> Result<()> {
        let before = existing(tx.reader(), self.after).await?;
        if before.retry_at.is_none() {
            return Err(NO_RETRY_PENDING.error(format!("no further attempt follows batch {}", self.after)));
        }
        let mut batch = before.value.clone();
        batch.retry_at = None;
        batch.retried_by = Some(made);
        tx.update(&before, &batch)?;
        Ok(())
    }
}

/// Decides about the batches whose runs have ended, and makes the attempts whose time has come.
pub(crate) async fn retry_ended(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.retry");
    let service = fleet.batches();
    for batch in listed(&fleet, Batch::RETRYING_SINCE, None).await? {
        if let Err(error) = service.settle_ended(&context, batch.id).await {
            // The next tick tries again; the others need not wait for it.
            tracing::warn!(batch = %batch.id, error = error.log(), "whether it is tried again is not decided yet");
        }
    }
    let now = fleet.clock().now();
    for batch in listed(&fleet, Batch::RETRY_AT, Some(now)).await? {
        if let Err(error) = service.try_again(&context, &batch).await {
            tracing::warn!(batch = %batch.id, error = error.log(), "it is not tried again yet");
        }
    }
    Ok(())
}

/// The batches with a time in this column, up to the one given.
async fn listed(fleet: &Fleet, column: Field<Batch>, until: Option<Timestamp>) -> Result<Vec<Versioned<Batch>>> {
    // The upper end is not part of a range.
    let end = until.map(|until| Value::Int(until.as_micros().saturating_add(1)));
    let query = Query::<Batch>::all()
        .filter(Filter::Range(column.name(), Some(Value::Int(i64::MIN)), end))
        .order(column, Direction::Ascending);
    let (mut batches, mut token) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(Some(MAX_LIMIT), token)?;
        let found = fleet.store().reader().await?.list(&query, &page).await?;
        batches.extend(found.items);
        token = found.next;
        if token.is_none() {
            return Ok(batches);
        }
    }
}

impl BatchService<'_> {
    /// Decides whether another attempt follows a batch, as soon as all of its runs have ended.
    async fn settle_ended(&self, context: &Context, id: BatchId) -> Result<()> {
        self.store
            .change(context, Evidence::Audit(BATCH_RETRY_SETTLE), |mut tx| async move {
                let before = existing(tx.reader(), id).await?;
                if before.retrying_since.is_none() || before.expanding_since.is_some() {
                    return Ok(());
                }
                if has_open_runs(tx.reader(), id).await? {
                    return Ok(());
                }
                let mut batch = before.value.clone();
                batch.retrying_since = None;
                let may_begin = may_begin(&mut tx, &batch).await?;
                if let Some(policy) = batch.retry.as_ref().filter(|_| may_begin) {
                    let runs = tx.reader().count::<Run>(&in_states(id, &policy.on)).await?;
                    let due = tx.now().plus(policy.delay_after(batch.attempt));
                    batch.retry_at = (runs > 0).then_some(due);
                    tx.detail("runs", runs);
                }
                tx.detail("retry_at", batch.retry_at.map(|at| at.to_string()));
                tx.subject::<Batch>(id, batch.operation.clone());
                tx.update(&before, &batch)?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Makes the next attempt, or says why there is none.
    async fn try_again(&self, context: &Context, batch: &Batch) -> Result<()> {
        match self.make_attempt(context, batch).await {
            Ok(made) => {
                tracing::info!(batch = %batch.id, again = %made.id, runs = made.runs, "what did not succeed is tried again");
                Ok(())
            }
            // Somebody else made it, or stopped it.
            Err(error) if error.code() == NO_RETRY_PENDING => Ok(()),
            // What is refused is refused again: that must not go on for ever.
            Err(error)
                if matches!(error.code(), NOTHING_TO_RETRY | SECRET_GONE)
                    || matches!(
                        error.class(),
                        Class::Invalid | Class::Denied | Class::NotFound | Class::TooLarge
                    ) =>
            {
                self.give_up(context, batch.id, error.code()).await
            }
            Err(error) => Err(error),
        }
    }

    async fn make_attempt(&self, context: &Context, before: &Batch) -> Result<BatchView> {
        let kind = self.operations.kind(&before.operation)?;
        let states = before
            .retry
            .as_ref()
            .map(|policy| policy.on.clone())
            .unwrap_or_default();
        let mut reader = self.store.reader().await?;
        let devices = ended_in(&mut reader, before, &states).await?;
        if devices.is_empty() {
            return Err(NOTHING_TO_RETRY.error("no device is there any more on which it did not succeed"));
        }
        drop(reader);
        let identity = canonical::to_vec(&("attempt", before.id)).map_err(Error::internal)?;
        let digest = blake3::hash(&identity).to_hex().to_string();
        let order = Order {
            // Whoever had to agree agreed to the policy as well.
            approvals: 0,
            agreed: before.approvals,
            promotion: None,
            retry: before.retry.clone(),
            next_attempt: Some(NextAttempt {
                after: before.id,
                attempt: before.attempt.saturating_add(1),
            }),
            ..self.again(kind, before.clone(), devices, None, digest)
        };
        self.carry_out(context, kind, order, Some(before.id.of_next_attempt()))
            .await
    }

    async fn give_up(&self, context: &Context, id: BatchId, code: Code) -> Result<()> {
        self.store
            .change(context, Evidence::Audit(BATCH_RETRY_SETTLE), |mut tx| async move {
                let before = existing(tx.reader(), id).await?;
                if before.retry_at.is_none() {
                    return Ok(());
                }
                let mut batch = before.value.clone();
                batch.retry_at = None;
                tx.detail("code", code.name());
                tx.subject::<Batch>(id, batch.operation.clone());
                tx.update(&before, &batch)?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

fn in_states(id: BatchId, states: &[State]) -> Filter {
    let states = states.iter().map(|state| state.name());
    Run::BATCH.eq(id.uuid()).and(Run::STATE.one_of(states))
}

/// Whether its runs were allowed to begin: what nobody agreed to in time has expired, and must not come back without anybody's consent.
async fn may_begin(tx: &mut Tx, batch: &Batch) -> Result<bool> {
    let Some(approval) = batch.approval else {
        return Ok(true);
    };
    let approval = tx.get::<Approval>(approval).await?;
    Ok(approval.is_some_and(|approval| approval.was_given()))
}
