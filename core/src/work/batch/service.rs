//! Creating batches and reading them.

use uuid::Uuid;

use super::{
    Batch, BatchFilter, BatchId, BatchRequest, BatchTargets, BatchView,
    confirmation::check_confirmation,
    expansion::{Made, STEP, expand},
    model::{expiry, run_on},
    release::Release,
    request::Order,
    resolve::{NO_TARGETS, resolve},
    rules::{check_action, check_request, check_start},
};
use crate::{
    access::{Action, Actor, Context, Scope},
    devices::{Device, DeviceId, device::DEVICE_PENDING, groups::DynamicGroups},
    kernel::{Class, Code, EntityId, Page, PageRequest, Result, Timestamp},
    link::DirectOffers,
    live::Signals,
    settings::Settings,
    store::{Direction, Evidence, Query, Reader, Store, Tx, Value, Versioned},
    work::{
        OperationKind, Operations, RUNS_READ,
        approvals::Approval,
        desired::{ACTION_NOT_FOUND, ACTIONS_READ, ActionId, DesiredAction},
        operations::Risk,
        plans::Due,
        promotions::{self, Promotion},
        rollouts::{self, Rollouts},
        run::{Run, RunId, State, StateCount},
        secrets::Vault,
        settings::{APPROVAL_SECONDS, APPROVALS_FOR, APPROVALS_NEEDED, ApprovalsFor, CONFIRM_ABOVE},
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
/// Somebody stopped all runs of a batch.
pub const BATCH_CANCEL: Action = Action::new("batch.cancel");
/// The runs of a batch were let go: their time had come.
pub const BATCH_RELEASE: Action = Action::new("batch.release");
/// Somebody asked to try again what did not succeed.
pub const BATCH_RETRY: Action = Action::new("batch.retry");

/// What a request came to at first.
#[derive(Debug)]
pub(in crate::work) enum Begun<'a> {
    /// The same request made this batch before.
    Before(Box<BatchView>),
    /// The batch is there, and has its first runs.
    Now(Written<'a>),
}

/// A batch that was written with its first runs.
#[derive(Debug)]
pub(in crate::work) struct Written<'a> {
    pub(in crate::work) batch: Box<Batch>,
    made: Made<'a>,
    /// The devices whose runs are still to be made.
    rest: Vec<DeviceId>,
}

/// Creates and reads batches.
#[derive(Debug)]
pub struct BatchService<'a> {
    pub(in crate::work) store: &'a Store,
    vault: Vault<'a>,
    pub(in crate::work) operations: &'a Operations,
    pub(in crate::work) settings: &'a Settings,
    dynamic: &'a DynamicGroups,
    direct: DirectOffers<'a>,
    pub(super) runs: &'a Signals<RunId>,
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
        vault: Vault<'a>,
        operations: &'a Operations,
        settings: &'a Settings,
        dynamic: &'a DynamicGroups,
        direct: DirectOffers<'a>,
        runs: &'a Signals<RunId>,
    ) -> Self {
        Self {
            store: vault.store,
            vault,
            operations,
            settings,
            dynamic,
            direct,
            runs,
        }
    }

    /// Creates batch and runs and wakes the devices. All or nothing is accepted by the first commit, which makes the first runs;
    /// the others follow step by step. Where a device is connected here and has nothing else to do, its run is offered by the commit
    /// that makes it. With a key, a repeat of the same request returns the batch that the first one made.
    pub async fn create(&self, context: &Context, request: &BatchRequest, key: Option<BatchId>) -> Result<BatchView> {
        let (kind, order) = match request.action {
            Some(action) => self.order_of_action(context, action, request).await?,
            None => self.order(request)?,
        };
        self.carry_out(context, kind, order, key).await
    }

    async fn order_of_action(
        &self,
        context: &Context,
        id: ActionId,
        request: &BatchRequest,
    ) -> Result<(&OperationKind, Order)> {
        context.require(ACTIONS_READ)?;
        let action = self.store.get::<DesiredAction>(id).await?.ok_or_else(|| {
            let why = format!("there is no action {id}");
            ACTION_NOT_FOUND.error(why.clone()).with_field("/action", why)
        })?;
        let kind = self.operations.kind(&action.operation)?;
        let order = check_action(kind, request, &action, self.approvals_for(kind))?;
        Ok((kind, order))
    }

    fn order(&self, request: &BatchRequest) -> Result<(&OperationKind, Order)> {
        let kind = self.operations.kind(&request.operation)?;
        Ok((
            kind,
            check_request(kind, request, self.approvals_for(kind), self.vault.intake())?,
        ))
    }

    /// How many have to agree to work of a kind, whatever is asked for.
    pub(crate) fn approvals_for(&self, kind: &OperationKind) -> u32 {
        let is_needed = match self.settings.get(&APPROVALS_FOR) {
            ApprovalsFor::Nothing => false,
            ApprovalsFor::Risky => kind.risk == Risk::High,
            ApprovalsFor::Everything => true,
        };
        if is_needed {
            self.settings.get(&APPROVALS_NEEDED)
        } else {
            0
        }
    }

    /// Refuses an order that nobody confirmed, by the devices that it means now; it is not carried out yet.
    pub(in crate::work) async fn require_confirmed(
        &self,
        reader: &mut Reader,
        scope: &Scope,
        kind: &OperationKind,
        order: &Order,
    ) -> Result<()> {
        let devices = match resolve(reader, self.dynamic, scope, order).await {
            Ok(devices) => devices.len(),
            Err(error) if error.code() == NO_TARGETS => 0,
            Err(error) => return Err(error),
        };
        check_confirmation(kind, order, (devices, self.settings.get(&CONFIRM_ABOVE)))
    }

    pub(crate) async fn carry_out(
        &self,
        context: &Context,
        kind: &OperationKind,
        order: Order,
        key: Option<BatchId>,
    ) -> Result<BatchView> {
        match self.begin_order(context, kind, order, key).await? {
            Begun::Before(view) => Ok(*view),
            Begun::Now(written) => self.follow_up(context, written).await,
        }
    }

    /// Does what follows the commit that made a batch.
    pub(in crate::work) async fn follow_up(&self, context: &Context, written: Written<'_>) -> Result<BatchView> {
        let Written { batch, made, rest } = written;
        let states = count_states(&made.runs);
        made.hand_over();
        let heeds_windows_now = batch.release_at.is_some_and(|at| at <= batch.created_at);
        let rolls_out_now = batch.rolls_out && batch.approval.is_none();
        if rest.is_empty() && !heeds_windows_now && !rolls_out_now {
            return Ok(BatchView::new(*batch, states));
        }
        // The batch is durable, and the jobs go on with it: whoever asked has what they asked for.
        if !rest.is_empty()
            && let Err(error) = expand(self.store, self.direct, context, &batch, &rest).await
        {
            tracing::warn!(batch = %batch.id, error = error.log(), "its runs are not all made yet");
        }
        if heeds_windows_now && let Err(error) = self.release().let_go(context, batch.id).await {
            tracing::warn!(batch = %batch.id, error = error.log(), "its runs are not all let go yet");
        }
        let rollouts = Rollouts {
            release: self.release(),
        };
        if rolls_out_now && let Err(error) = rollouts.advance(context, batch.id, false).await {
            tracing::warn!(batch = %batch.id, error = error.log(), "its first wave has not begun yet");
        }
        self.view(batch.id).await
    }

    /// The batch that a key made before; an error where that was another request.
    pub(super) async fn known(
        &self,
        reader: &mut Reader,
        key: Option<BatchId>,
        digest: &str,
    ) -> Result<Option<BatchView>> {
        let Some(key) = key else { return Ok(None) };
        let Some(known) = reader.get::<Batch>(key).await? else {
            return Ok(None);
        };
        if known.request_digest != digest {
            return Err(KEY_REUSED.error("this idempotency key was used for another request"));
        }
        view(reader, known.value).await.map(Some)
    }

    /// Makes the work of a time of a plan's schedule.
    pub(crate) async fn carry_out_due(&self, context: &Context, due: &Due, due_at: Timestamp) -> Result<BatchView> {
        let kind = self.operations.kind(due.operation())?;
        let order = due.order(kind, self.approvals_for(kind))?;
        self.carry_out(context, kind, order, Some(due.batch_at(due_at))).await
    }

    /// The first commit: batch and first runs.
    #[cfg(test)]
    pub(in crate::work) async fn begin(
        &self,
        context: &Context,
        request: &BatchRequest,
        key: Option<BatchId>,
    ) -> Result<Begun<'a>> {
        let (kind, order) = self.order(request)?;
        self.begin_order(context, kind, order, key).await
    }

    async fn begin_order(
        &self,
        context: &Context,
        kind: &OperationKind,
        order: Order,
        key: Option<BatchId>,
    ) -> Result<Begun<'a>> {
        let order = &match order.dry_run_first {
            true => promotions::first_look(kind, order)?,
            false => order,
        };
        let scope = &context.require(kind.permission)?;
        let id = key.unwrap_or_else(|| BatchId::from_uuid(self.store.new_uuid()));
        let action = if order.retry_of.is_some() {
            BATCH_RETRY
        } else {
            BATCH_CREATE
        };
        self.store
            .change(context, Evidence::Audit(action), |mut tx| async move {
                if let Some(due) = &order.due {
                    due.require_unsettled(&mut tx).await?;
                }
                if let Some(known) = self.known(tx.reader(), Some(id), &order.digest).await? {
                    if let Some(due) = &order.due {
                        // The clock was set back, and the time came once more.
                        tx.subject::<Batch>(id, kind.name);
                        due.started(&mut tx, id)?;
                        tx.commit().await?;
                    }
                    return Ok(Begun::Before(Box::new(known)));
                }
                let now = tx.now();
                let start_at = check_start(order.start_at, now)?;
                let meant = resolve(tx.reader(), self.dynamic, scope, order).await?;
                check_confirmation(kind, order, (meant.len(), self.settings.get(&CONFIRM_ABOVE)))?;
                let devices = tx.reader().get_many::<Device>(&meant).await?;
                for (device_id, device) in meant.iter().zip(&devices) {
                    // What was only found, or named long ago, may be refused later, each device by its own run.
                    let is_named = !order.targets.has_conditions() || order.targets.devices.contains(device_id);
                    if is_named && order.plan.is_none() && order.next_attempt.is_none() {
                        self.check_target(kind, *device_id, device.as_deref())?;
                    }
                }
                let batch = new_batch(id, kind, order, (tx.context().actor(), now), &meant, start_at);
                let written = self.write(&mut tx, batch, order, &meant, &devices).await?;
                let batch = &written.batch;
                tx.subject::<Batch>(id, kind.name);
                tx.detail("runs", batch.runs);
                tx.detail("runs_digest", batch.runs_digest.as_str());
                tx.detail("request_digest", batch.request_digest.as_str());
                if let Some(plan) = batch.plan {
                    tx.detail("plan", plan.to_string());
                }
                if let Some(due) = &order.due {
                    due.started(&mut tx, id)?;
                }
                if let Some(before) = batch.retry_of {
                    tx.detail("retry_of", before.to_string());
                }
                if let Some(next) = &order.next_attempt {
                    tx.detail("attempt", batch.attempt);
                    next.note(&mut tx, id).await?;
                }
                if batch.expanding_since.is_some() {
                    tx.create(&BatchTargets { id, devices: meant })?;
                }
                tx.commit().await?;
                Ok(Begun::Now(written))
            })
            .await
    }

    /// Writes a batch and its first runs, on these devices as they are stored, in a change that is committed afterwards.
    pub(in crate::work) async fn write(
        &self,
        tx: &mut Tx,
        mut batch: Batch,
        order: &Order,
        meant: &[DeviceId],
        devices: &[Option<Versioned<Device>>],
    ) -> Result<Written<'a>> {
        let now = batch.created_at;
        // Who asked, where a schedule did: whoever answers for it.
        let asked_by = match &order.due {
            Some(due) => {
                let (actor, user) = due.asked_by();
                (actor.clone(), user)
            }
            None => (tx.context().actor().clone(), tx.context().user()),
        };
        if let Some(terms) = &order.promotion {
            if let Some(policy) = &terms.rollout {
                rollouts::groups_of(tx.reader(), policy).await?;
            }
            batch.promotion = Some(Promotion::begin(terms.clone(), asked_by.clone()));
        }
        if order.approvals > 0 {
            let expires_at = now.plus(self.settings.get(&APPROVAL_SECONDS).duration());
            let approval = Approval::ask(&batch, asked_by, order.approvals, expires_at, self.store.random());
            batch.approval = Some(approval.id);
            batch.release_at = None;
            batch.expires_at = approval.expires_at;
            tx.create(&approval)?;
        }
        if let Some(policy) = &order.rollout {
            let until = match batch.approval {
                Some(_) => (batch.expires_at, true),
                None => (batch.start_at.unwrap_or(now), false),
            };
            rollouts::begin(tx, &batch, policy, meant, until).await?;
        }
        let mut all: Vec<_> = meant.iter().zip(devices).collect();
        all.sort_by_cached_key(|(id, _)| batch.run_on(**id));
        let first = all.iter().take(STEP);
        let first = first.map(|(id, device)| (**id, device.as_deref()));
        let made = Made::make(tx, &batch, first, self.direct)?;
        let rest = all.iter().skip(STEP).map(|(id, _)| **id).collect();
        self.vault.hold(tx, &batch.params, &order.secrets).await?;
        tx.create(&batch)?;
        Ok(Written {
            batch: Box::new(batch),
            made,
            rest,
        })
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
        self.view(id).await
    }

    /// A page of batches, newest first, and how their runs stand.
    pub async fn list(&self, context: &Context, filter: &BatchFilter, page: &PageRequest) -> Result<Page<BatchView>> {
        context.require(RUNS_READ)?;
        let mut query = Query::<Batch>::all().order(Batch::CREATED_AT, Direction::Descending);
        if let Some(operation) = &filter.operation {
            query = query.filter(Batch::OPERATION.eq(operation.as_str()));
        }
        if let Some(plan) = filter.plan {
            query = query.filter(Batch::PLAN.eq(plan.uuid()));
        }
        let mut reader = self.store.reader().await?;
        let found = reader.list(&query, page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for batch in found.items {
            items.push(view(&mut reader, batch.value).await?);
        }
        Ok(Page {
            items,
            next: found.next,
        })
    }

    pub(super) async fn view(&self, id: BatchId) -> Result<BatchView> {
        let mut reader = self.store.reader().await?;
        let batch = existing(&mut reader, id).await?;
        view(&mut reader, batch.value).await
    }

    pub(in crate::work) fn release(&self) -> Release<'a> {
        Release {
            store: self.store,
            operations: self.operations,
            presence: self.direct.presence,
            devices: self.devices(),
            runs: self.runs,
        }
    }

    pub(super) fn devices(&self) -> &'a Signals<DeviceId> {
        self.direct.devices
    }
}

/// The batch of an id.
pub(crate) async fn existing(reader: &mut Reader, id: BatchId) -> Result<Versioned<Batch>> {
    let batch = reader.get::<Batch>(id).await?;
    batch.ok_or_else(|| BATCH_NOT_FOUND.error(format!("there is no batch {id}")))
}

/// A batch for an order, on these devices.
pub(in crate::work) fn new_batch(
    id: BatchId,
    kind: &OperationKind,
    order: &Order,
    (created_by, now): (&Actor, Timestamp),
    devices: &[DeviceId],
    start_at: Option<Timestamp>,
) -> Batch {
    let mut hasher = blake3::Hasher::new();
    for device in devices {
        hasher.update(run_on(id, now, *device).uuid().as_bytes());
    }
    let expiry = expiry(order.expiry_seconds);
    let rolls_out = order.rollout.is_some();
    let attempt = order.next_attempt.map_or(1, |next| next.attempt);
    let is_tried_again = order.retry.as_ref().is_some_and(|retry| retry.allows_after(attempt));
    let may_wait = !order.ignores_windows || order.spread_seconds > 0;
    // What goes from wave to wave is let go by its rollout.
    let release_at = start_at.or(may_wait.then_some(now)).filter(|_| !rolls_out);
    Batch {
        id,
        cause: order.cause,
        plan: order.plan,
        targets: (&order.targets).into(),
        action: order.action,
        operation: kind.name.to_owned(),
        params: order.params.clone(),
        timeout_seconds: order.timeout_seconds,
        expiry_seconds: order.expiry_seconds,
        expires_at: start_at.unwrap_or(now).plus(expiry),
        runs: devices.len() as u64,
        start_at,
        rolls_out,
        approval: None,
        approvals: order.approvals.max(order.agreed),
        retry_of: order.retry_of,
        attempt,
        retry: order.retry.clone(),
        retrying_since: is_tried_again.then_some(now),
        retry_at: None,
        retried_by: None,
        promotion: None,
        promoted_from: order.promoted_from,
        expanding_since: (devices.len() > STEP).then_some(now),
        spread_seconds: order.spread_seconds,
        priority: order.priority,
        ignores_windows: order.ignores_windows,
        release_at,
        cancelled_at: None,
        cancelling_since: None,
        runs_digest: hasher.finalize().to_hex().to_string(),
        request_digest: order.digest.clone(),
        created_by: created_by.clone(),
        created_at: now,
    }
}

async fn view(reader: &mut Reader, batch: Batch) -> Result<BatchView> {
    let tally = reader.tally::<Run>(&Run::BATCH.eq(batch.id.uuid()), Run::STATE).await?;
    let states = tally.into_iter().filter_map(|(value, runs)| match value {
        Value::Text(name) => State::from_name(&name).map(|state| StateCount { state, runs }),
        _ => None,
    });
    let states: Vec<_> = states.collect();
    Ok(BatchView::new(batch, states))
}

/// How runs that were just made stand.
fn count_states(runs: &[Run]) -> Vec<StateCount> {
    let count = |state| StateCount {
        state,
        runs: runs.iter().filter(|run| run.state == state).count() as u64,
    };
    let first = [
        State::AwaitingApproval,
        State::Scheduled,
        State::Queued,
        State::Offered,
        State::Skipped,
    ];
    first.map(count).into_iter().filter(|count| count.runs > 0).collect()
}
