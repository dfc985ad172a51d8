//! Creating batches and reading them.

use uuid::Uuid;

use super::{Batch, BatchId, BatchRequest, BatchView, Cause, Plan, PlanId, PlannedTargets, rules::check_request};
use crate::{
    access::{Action, Actor, Context},
    devices::{Device, device::DEVICE_PENDING},
    kernel::{Class, Code, EntityId, Result},
    link::DirectOffers,
    settings::Settings,
    store::{Evidence, Reader, Store, Value},
    work::{
        Operations, RUNS_READ,
        delivery::offer_first,
        run::{Delivery, Run, RunId, State, StateCount},
    },
};

/// The most devices of one batch.
pub const MAX_TARGETS: usize = 10_000;
/// There is no such batch.
pub const BATCH_NOT_FOUND: Code = Code::new("batch.not_found", Class::NotFound);
/// A target is no device, or not one that the actor may know of.
pub const TARGET_NOT_FOUND: Code = Code::new("batch.target_not_found", Class::Invalid);
/// The same key came with another request.
pub const KEY_REUSED: Code = Code::new("idempotency.key_reused", Class::Conflict);
/// Somebody asked for work.
pub const BATCH_CREATE: Action = Action::new("batch.create");

/// The output that is kept of a run, in bytes.
const OUTPUT_LIMIT: u64 = 4 * 1024 * 1024;

/// Creates and reads batches.
#[derive(Debug)]
pub struct BatchService<'a> {
    store: &'a Store,
    operations: &'a Operations,
    settings: &'a Settings,
    direct: DirectOffers<'a>,
}

/// The id of the batch that a key makes: the same actor, route and key always name the same batch.
pub fn batch_id_for_key(actor: &Actor, route: &str, key: &str) -> BatchId {
    let mut hasher = blake3::Hasher::new_derive_key("fleet idempotency key v1");
    for part in [
        actor.id().unwrap_or(Uuid::nil()).as_bytes().as_slice(),
        actor.name().as_bytes(),
        route.as_bytes(),
        key.as_bytes(),
    ] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    // UUIDv8 (RFC 9562 §5.8): the bits are ours.
    BatchId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

impl<'a> BatchService<'a> {
    pub(crate) fn new(
        store: &'a Store,
        operations: &'a Operations,
        settings: &'a Settings,
        direct: DirectOffers<'a>,
    ) -> Self {
        Self {
            store,
            operations,
            settings,
            direct,
        }
    }

    /// Creates plan, batch and runs in one commit and wakes the devices. Where a device is connected here and has nothing else to do,
    /// its run is offered by the same commit. With a key, a repeat of the same request returns the
    /// batch that the first one made.
    pub async fn create(&self, context: &Context, request: &BatchRequest, key: Option<BatchId>) -> Result<BatchView> {
        let kind = self.operations.kind(&request.operation)?;
        context.require(kind.permission)?;
        let checked = &check_request(kind, request)?;
        let id = key.unwrap_or_else(|| BatchId::from_uuid(self.store.new_uuid()));
        let (view, made) = self
            .store
            .change(context, Evidence::Audit(BATCH_CREATE), |mut tx| async move {
                if let Some(existing) = tx.get::<Batch>(id).await? {
                    if existing.request_digest != checked.digest {
                        return Err(KEY_REUSED.error("this idempotency key was used for another request"));
                    }
                    return Ok((view(tx.reader(), existing.value).await?, None));
                }
                let (now, created_by) = (tx.now(), tx.context().actor().clone());
                let random = self.store.random();
                let devices = tx.reader().get_many::<Device>(&checked.devices).await?;
                let mut hasher = blake3::Hasher::new();
                let mut claims = self.direct.begin();
                let mut runs = Vec::with_capacity(checked.devices.len());
                for (device_id, device) in checked.devices.iter().zip(devices) {
                    let device = device.ok_or_else(|| {
                        TARGET_NOT_FOUND
                            .error(format!("there is no device {device_id}"))
                            .with_field("/targets/devices", format!("no device {device_id}"))
                    })?;
                    if device.value.pending.is_some() {
                        let why = format!("device {device_id} waits for an operator to approve it");
                        return Err(DEVICE_PENDING.error(why.clone()).with_field("/targets/devices", why));
                    }
                    self.operations
                        .check_gates(kind.name, self.settings, &device)
                        .map_err(|refusal| {
                            let why = refusal.message().to_owned();
                            refusal.with_field("/targets/devices", why)
                        })?;
                    let mut run = Run {
                        id: RunId::new(now, random),
                        batch: id,
                        device: *device_id,
                        device_name: device.value.name,
                        operation: kind.name.to_owned(),
                        params: checked.params.clone(),
                        // Nothing gates this work: it was submitted, scheduled and released by the request itself.
                        state: State::Queued,
                        delivery: Delivery::default(),
                        created_at: now,
                        expires_at: now.plus(std::time::Duration::from_secs(u64::from(checked.expiry_seconds))),
                        timeout_seconds: checked.timeout_seconds,
                        output_limit_bytes: OUTPUT_LIMIT,
                        started_at: None,
                        finished_at: None,
                        cancel_requested_at: None,
                        ending: None,
                    };
                    hasher.update(run.id.uuid().as_bytes());
                    if let Some(epoch) = claims.claim(run.device, run.id) {
                        offer_first(&mut tx, &mut run, epoch)?;
                    }
                    tx.create(&run)?;
                    runs.push(run);
                }
                let plan = Plan {
                    id: PlanId::new(now, random),
                    cause: Cause::Manual,
                    operation: kind.name.to_owned(),
                    params: checked.params.clone(),
                    targets: PlannedTargets {
                        devices: checked.devices.clone(),
                    },
                    created_by: created_by.clone(),
                    created_at: now,
                };
                let batch = Batch {
                    id,
                    plan: plan.id,
                    operation: kind.name.to_owned(),
                    params: checked.params.clone(),
                    runs: checked.devices.len() as u64,
                    runs_digest: hasher.finalize().to_hex().to_string(),
                    request_digest: checked.digest.clone(),
                    created_by,
                    created_at: now,
                };
                tx.create(&plan)?;
                tx.create(&batch)?;
                tx.subject::<Batch>(id, kind.name);
                tx.detail("runs", batch.runs);
                tx.detail("runs_digest", batch.runs_digest.as_str());
                tx.detail("request_digest", batch.request_digest.as_str());
                tx.commit().await?;
                let view = batch_view(batch, count_states(&runs));
                Ok((view, Some((claims, runs))))
            })
            .await?;
        if let Some((claims, runs)) = made {
            claims.hand_over(runs);
        }
        Ok(view)
    }

    /// One batch and how its runs stand.
    pub async fn show(&self, context: &Context, id: BatchId) -> Result<BatchView> {
        context.require(RUNS_READ)?;
        let mut reader = self.store.reader().await?;
        let batch = reader
            .get::<Batch>(id)
            .await?
            .ok_or_else(|| BATCH_NOT_FOUND.error(format!("there is no batch {id}")))?;
        view(&mut reader, batch.value).await
    }
}

async fn view(reader: &mut Reader, batch: Batch) -> Result<BatchView> {
    let tally = reader.tally::<Run>(&Run::BATCH.eq(batch.id.uuid()), Run::STATE).await?;
    let states = tally.into_iter().filter_map(|(value, runs)| match value {
        Value::Text(name) => State::from_name(&name).map(|state| StateCount { state, runs }),
        _ => None,
    });
    let states: Vec<_> = states.collect();
    Ok(batch_view(batch, states))
}

/// How runs that were just made stand.
fn count_states(runs: &[Run]) -> Vec<StateCount> {
    let count = |state| StateCount {
        state,
        runs: runs.iter().filter(|run| run.state == state).count() as u64,
    };
    let counts = [count(State::Queued), count(State::Offered)];
    counts.into_iter().filter(|count| count.runs > 0).collect()
}

fn batch_view(batch: Batch, states: Vec<StateCount>) -> BatchView {
    let finished = states.iter().all(|count| count.state.is_terminal());
    BatchView {
        id: batch.id,
        plan: batch.plan,
        operation: batch.operation,
        params: batch.params,
        created_by: batch.created_by,
        created_at: batch.created_at,
        runs: batch.runs,
        states,
        finished,
    }
}
