//! Creating batches and reading them.

use std::time::Duration;

use uuid::Uuid;

use super::{
    Batch, BatchId, BatchRequest, BatchView, Cause, Plan, PlanId, PlannedTargets,
    expansion::{Made, STEP, expand},
    model::run_on,
    rules::check_request,
};
use crate::{
    access::{Action, Actor, Context},
    devices::{Device, DeviceId, device::DEVICE_PENDING},
    kernel::{Class, Code, EntityId, Result},
    link::DirectOffers,
    settings::Settings,
    store::{Evidence, Reader, Store, Value},
    work::{
        OperationKind, Operations, RUNS_READ,
        run::{Run, State, StateCount},
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
/// More runs of a batch were made, as it was asked for.
pub const BATCH_EXPAND: Action = Action::new("batch.expand");

/// What a request came to at first.
#[derive(Debug)]
pub(in crate::work) enum Begun<'a> {
    /// The same request made this batch before.
    Before(BatchView),
    /// The batch is there, and has its first runs; the others are on these devices.
    Now {
        batch: Box<Batch>,
        made: Made<'a>,
        rest: Vec<DeviceId>,
    },
}

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

    /// Creates plan, batch and runs and wakes the devices. All or nothing is accepted by the first commit, which makes the first runs;
    /// the others follow step by step. Where a device is connected here and has nothing else to do, its run is offered by the commit
    /// that makes it. With a key, a repeat of the same request returns the batch that the first one made.
    pub async fn create(&self, context: &Context, request: &BatchRequest, key: Option<BatchId>) -> Result<BatchView> {
        let (batch, made, rest) = match self.begin(context, request, key).await? {
            Begun::Before(view) => return Ok(view),
            Begun::Now { batch, made, rest } => (batch, made, rest),
        };
        let states = count_states(&made.runs);
        made.hand_over();
        if rest.is_empty() {
            return Ok(batch_view(*batch, states));
        }
        if let Err(error) = expand(self.store, self.direct, context, &batch, &rest).await {
            // The batch is durable, and the job goes on with it: whoever asked has what they asked for.
            tracing::warn!(batch = %batch.id, error = error.log(), "its runs are not all made yet");
        }
        view(&mut self.store.reader().await?, *batch).await
    }

    /// The first commit: plan, batch and first runs.
    pub(in crate::work) async fn begin(
        &self,
        context: &Context,
        request: &BatchRequest,
        key: Option<BatchId>,
    ) -> Result<Begun<'a>> {
        let kind = self.operations.kind(&request.operation)?;
        context.require(kind.permission)?;
        let checked = &check_request(kind, request)?;
        let id = key.unwrap_or_else(|| BatchId::from_uuid(self.store.new_uuid()));
        self.store
            .change(context, Evidence::Audit(BATCH_CREATE), |mut tx| async move {
                if let Some(existing) = tx.get::<Batch>(id).await? {
                    if existing.request_digest != checked.digest {
                        return Err(KEY_REUSED.error("this idempotency key was used for another request"));
                    }
                    return Ok(Begun::Before(view(tx.reader(), existing.value).await?));
                }
                let (now, created_by) = (tx.now(), tx.context().actor().clone());
                let devices = tx.reader().get_many::<Device>(&checked.devices).await?;
                let mut hasher = blake3::Hasher::new();
                for (device_id, device) in checked.devices.iter().zip(&devices) {
                    self.check_target(kind, *device_id, device.as_deref())?;
                    hasher.update(run_on(id, now, *device_id).uuid().as_bytes());
                }
                let plan = Plan {
                    id: PlanId::new(now, self.store.random()),
                    cause: Cause::Manual,
                    operation: kind.name.to_owned(),
                    params: checked.params.clone(),
                    targets: PlannedTargets {
                        devices: checked.devices.clone(),
                    },
                    created_by: created_by.clone(),
                    created_at: now,
                };
                let total = checked.devices.len();
                let batch = Batch {
                    id,
                    plan: plan.id,
                    operation: kind.name.to_owned(),
                    params: checked.params.clone(),
                    timeout_seconds: checked.timeout_seconds,
                    expires_at: now.plus(Duration::from_secs(u64::from(checked.expiry_seconds))),
                    runs: total as u64,
                    expanding_since: (total > STEP).then_some(now),
                    runs_digest: hasher.finalize().to_hex().to_string(),
                    request_digest: checked.digest.clone(),
                    created_by,
                    created_at: now,
                };
                let first = checked.devices.iter().zip(&devices).take(STEP);
                let first = first.map(|(id, device)| (*id, device.as_deref()));
                let made = Made::make(&mut tx, &batch, first, self.direct)?;
                tx.create(&plan)?;
                tx.create(&batch)?;
                tx.subject::<Batch>(id, kind.name);
                tx.detail("runs", batch.runs);
                tx.detail("runs_digest", batch.runs_digest.as_str());
                tx.detail("request_digest", batch.request_digest.as_str());
                tx.commit().await?;
                Ok(Begun::Now {
                    batch: Box::new(batch),
                    made,
                    rest: checked.devices.iter().skip(STEP).copied().collect(),
                })
            })
            .await
    }

    /// Refuses a target that is no device, or one that takes no such work.
    fn check_target(&self, kind: &OperationKind, id: DeviceId, device: Option<&Device>) -> Result<()> {
        let device = device.ok_or_else(|| {
            TARGET_NOT_FOUND
                .error(format!("there is no device {id}"))
                .with_field("/targets/devices", format!("no device {id}"))
        })?;
        if device.pending.is_some() {
            let why = format!("device {id} waits for an operator to approve it");
            return Err(DEVICE_PENDING.error(why.clone()).with_field("/targets/devices", why));
        }
        self.operations
            .check_gates(kind.name, self.settings, device)
            .map_err(|refusal| {
                let why = refusal.message().to_owned();
                refusal.with_field("/targets/devices", why)
            })
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
    let ended = states.iter().filter(|count| count.state.is_terminal());
    let finished = ended.map(|count| count.runs).sum::<u64>() == batch.runs;
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
