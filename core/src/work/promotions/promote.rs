//! Makes work for real that somebody agreed to after its dry run.

use super::{NOTHING_TO_PROMOTE, PromotionStanding, rules::with_dry_run};
use crate::{
    devices::Device,
    kernel::{EntityId as _, Error, Result, canonical, named_uuid},
    store::Tx,
    work::{
        Batch, BatchId, BatchService,
        approvals::APPROVAL_CLOSED,
        batch::{BatchTargets, Cause, Confirmation, Order, Targets, Written, new_batch},
    },
};

impl BatchId {
    /// The batch that does it for real after this one's dry run: the same on every server, so that there is one.
    pub(in crate::work) fn of_promotion(self) -> Self {
        Self::from_uuid(named_uuid("batch_promotion", &self.to_string()))
    }
}

impl<'a> BatchService<'a> {
    /// Makes the work for real, in the change in which it is stored that somebody agreed to it: the same parameters, on the devices that
    /// said that they would be changed, as far as they are there.
    pub(in crate::work) async fn promote(&self, tx: &mut Tx, batch: &mut Batch) -> Result<Written<'a>> {
        let closed = || APPROVAL_CLOSED.error("nothing waits for this any more");
        let kind = self.operations.kind(&batch.operation)?;
        let id = batch.id.of_promotion();
        let frozen = tx.get::<BatchTargets>(id).await?.ok_or_else(closed)?;
        let mut devices = tx.reader().get_many::<Device>(&frozen.devices).await?;
        devices.retain(Option::is_some);
        let meant: Vec<_> = devices.iter().flatten().map(|device| device.id).collect();
        if meant.is_empty() {
            return Err(NOTHING_TO_PROMOTE.error("no device is there any more that would be changed"));
        }
        let promotion = batch.promotion.as_mut().ok_or_else(closed)?;
        if !promotion.move_to(PromotionStanding::Promoted) {
            return Err(closed());
        }
        promotion.promoted_to = Some(id);
        let terms = promotion.terms.clone();
        let identity = canonical::to_vec(&("promotion", batch.id)).map_err(Error::internal)?;
        let order = Order {
            action: batch.action,
            params: with_dry_run(kind, &batch.params, false)?,
            secrets: Vec::new(),
            targets: Targets::devices(meant.clone()),
            timeout_seconds: batch.timeout_seconds,
            expiry_seconds: batch.expiry_seconds,
            start_at: terms.start_at.filter(|start| *start > tx.now()),
            spread_seconds: batch.spread_seconds,
            priority: batch.priority,
            ignores_windows: terms.ignores_windows,
            // Those who had to agree just did.
            approvals: 0,
            agreed: terms.approvals,
            dry_run_first: false,
            promotion: None,
            promoted_from: Some(batch.id),
            rollout: terms.rollout,
            retry: terms.retry,
            cause: Cause::Promotion,
            plan: batch.plan,
            due: None,
            retry_of: None,
            next_attempt: None,
            confirmation: Confirmation::Inherited,
            digest: blake3::hash(&identity).to_hex().to_string(),
        };
        let made = new_batch(id, kind, &order, (&batch.created_by, tx.now()), &meant, order.start_at);
        // Whoever makes the rest of its runs finds the devices here.
        match made.expanding_since {
            Some(_) => drop(tx.update(
                &frozen,
                &BatchTargets {
                    id,
                    devices: meant.clone(),
                },
            )?),
            None => tx.delete(&frozen),
        }
        let written = self.write(tx, made, &order, &meant, &devices).await?;
        tx.detail("promoted_to", id.to_string());
        tx.detail("runs", written.batch.runs);
        tx.detail("runs_digest", written.batch.runs_digest.as_str());
        Ok(written)
    }
}
