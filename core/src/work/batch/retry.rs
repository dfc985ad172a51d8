//! Tries again what did not succeed: a batch of its own, with the same operation and parameters.

use super::{
    Batch, BatchId, BatchRetry, BatchService, BatchView, Cause, Confirmation, Targets, request::Order, rules::retried,
    service::existing,
};
use crate::{
    access::Context,
    devices::{Device, DeviceId},
    kernel::{Class, Code, EntityId as _, Error, MAX_LIMIT, PageRequest, Result, canonical},
    store::{Query, Reader},
    work::{
        OperationKind, RUNS_RETRY, RunId, State,
        rollouts::{Rollout, RolloutPolicy},
        run::{Run, run_not_found},
    },
};

/// No run of the batch ended like that, or their devices are gone.
pub const NOTHING_TO_RETRY: Code = Code::new("batch.nothing_to_retry", Class::Conflict);
/// The run has not ended: it is not tried again beside itself.
pub const RUN_NOT_ENDED: Code = Code::new("run.not_ended", Class::Conflict);
/// Its device began the run by itself, and does so again whenever that is due; nobody asked for work that could be tried again.
pub const RUN_OF_ITS_DEVICE: Code = Code::new("run.of_its_device", Class::Conflict);

impl BatchService<'_> {
    /// Makes a batch that does the same on the devices whose runs ended in these states. Devices that are gone are left out. As many
    /// have to agree as had to before, or more if settings ask for more. With a key, a repeat of the same request returns the batch
    /// that the first one made.
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
        let order = self.again(kind, before, devices, rollout, digest);
        self.carry_out(context, kind, order, key).await
    }

    /// Does once more what a run did, however it ended: a batch of one device, under the rules of [`BatchService::retry`]. With a key,
    /// a repeat of the same request returns the batch that the first one made.
    pub async fn retry_run(&self, context: &Context, id: RunId, key: Option<BatchId>) -> Result<BatchView> {
        context.require(RUNS_RETRY)?;
        let mut reader = self.store.reader().await?;
        let run = reader.get::<Run>(id).await?.ok_or_else(|| run_not_found(id))?.value;
        let kind = self.operations.kind(&run.operation)?;
        context.require(kind.permission)?;
        let identity = canonical::to_vec(&("retry_run", id)).map_err(Error::internal)?;
        let digest = blake3::hash(&identity).to_hex().to_string();
        if let Some(known) = self.known(&mut reader, key, &digest).await? {
            return Ok(known);
        }
        let Some(batch) = run.batch else {
            let why = "its device began it by itself; have the device apply all of its desired state with `sync`";
            return Err(RUN_OF_ITS_DEVICE.error(why));
        };
        if !run.state.is_terminal() {
            let why = format!("the run is {}: only what has ended is tried again", run.state.name());
            return Err(RUN_NOT_ENDED.error(why));
        }
        if reader.get::<Device>(run.device).await?.is_none() {
            return Err(NOTHING_TO_RETRY.error("its device is not there any more"));
        }
        let before = existing(&mut reader, batch).await?.value;
        // One device has no waves to go through.
        let order = self.again(kind, before, vec![run.device], None, digest);
        self.carry_out(context, kind, order, key).await
    }

    /// The order for the same work once more, on these devices, as somebody asks for it.
    pub(super) fn again(
        &self,
        kind: &OperationKind,
        before: Batch,
        devices: Vec<DeviceId>,
        rollout: Option<RolloutPolicy>,
        digest: String,
    ) -> Order {
        // What nobody agreed to, or not in time, must not begin by being tried again.
        let approvals = before.approvals.max(self.approvals_for(kind));
        Order {
            action: before.action,
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
                // What comes of a dry run is agreed to, and the dry run itself only where it runs what somebody gave.
                Some(_) if !kind.dry_run_runs_code => 0,
                _ => approvals,
            },
            agreed: 0,
            dry_run_first: false,
            promotion: before.promotion.map(|promotion| promotion.terms),
            promoted_from: None,
            rollout,
            retry: None,
            cause: Cause::Retry,
            plan: before.plan,
            due: None,
            retry_of: Some(before.id),
            next_attempt: None,
            confirmation: Confirmation::Inherited,
            digest,
        }
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
