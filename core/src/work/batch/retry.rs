//! Tries again what did not succeed: a batch of its own, with the same operation and parameters.

use super::{
    Batch, BatchId, BatchRetry, BatchService, BatchView, Cause, Targets, request::Order, rules::retried,
    service::existing,
};
use crate::{
    access::Context,
    devices::{Device, DeviceId},
    kernel::{Class, Code, EntityId as _, Error, MAX_LIMIT, PageRequest, Result, canonical},
    store::{Query, Reader},
    work::{RUNS_RETRY, State, rollouts::Rollout, run::Run},
};

/// No run of the batch ended like that, or their devices are gone.
pub const NOTHING_TO_RETRY: Code = Code::new("batch.nothing_to_retry", Class::Conflict);

impl BatchService<'_> {
    /// Makes a batch that does the same on the devices whose runs ended in these states. Devices that are gone are left out. With a
    /// key, a repeat of the same request returns the batch that the first one made.
    pub async fn retry(
        &self,
        context: &Context,
        id: BatchId,
        retry: &BatchRetry,
        key: Option<BatchId>,
    ) -> Result<BatchView> {
        context.require(RUNS_RETRY)?;
        let states = retried(&retry.states)?;
        let mut reader = self.store.reader().await?;
        let before = existing(&mut reader, id).await?.value;
        let kind = self.operations.kind(&before.operation)?;
        context.require(kind.permission)?;
        let identity = canonical::to_vec(&("retry", id, &states)).map_err(Error::internal)?;
        let digest = blake3::hash(&identity).to_hex().to_string();
        if let Some(known) = self.known(&mut reader, key, &digest).await? {
            return Ok(known);
        }
        let devices = ended_in(&mut reader, &before, &states).await?;
        if devices.is_empty() {
            let names: Vec<_> = states.iter().map(|state| state.name()).collect();
            let why = format!(
                "no run of this batch ended as {} on a device that is there",
                names.join(", ")
            );
            return Err(NOTHING_TO_RETRY.error(why));
        }
        // What went from wave to wave does so again.
        let rollout = reader.get::<Rollout>(id).await?.map(|rollout| rollout.value.policy);
        let order = Order {
            params: before.params,
            secrets: Vec::new(),
            targets: Targets::devices(devices),
            timeout_seconds: before.timeout_seconds,
            expiry_seconds: before.expiry_seconds,
            start_at: None,
            spread_seconds: before.spread_seconds,
            priority: before.priority,
            ignores_windows: before.ignores_windows,
            approvals: match before.promotion {
                // What comes of it is agreed to.
                Some(_) => 0,
                None => self.approvals_for(kind),
            },
            dry_run_first: false,
            promotion: before.promotion.map(|promotion| promotion.terms),
            promoted_from: None,
            rollout,
            retry: None,
            cause: Cause::Retry,
            plan: before.plan,
            due: None,
            retry_of: Some(id),
            next_attempt: None,
            digest,
        };
        self.carry_out(context, kind, order, key).await
    }
}

/// The devices on which a batch ended like that, as far as they are there.
pub(super) async fn ended_in(reader: &mut Reader, batch: &Batch, states: &[State]) -> Result<Vec<DeviceId>> {
    let query = Query::<Run>::all()
        .filter(Run::BATCH.eq(batch.id.uuid()))
        .filter(Run::STATE.one_of(states.iter().map(|state| state.name())));
    let (mut devices, mut page) = (Vec::new(), PageRequest::new(Some(MAX_LIMIT), None)?);
    loop {
        let found = reader.list(&query, &page).await?;
        let ids: Vec<_> = found.items.iter().map(|run| run.device).collect();
        let there = reader.get_many::<Device>(&ids).await?;
        devices.extend(there.into_iter().flatten().map(|device| device.id));
        match found.next {
            Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
            None => break,
        }
    }
    devices.sort_unstable();
    Ok(devices)
}
