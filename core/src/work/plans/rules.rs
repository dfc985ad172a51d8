//! What a plan may be, and what a time of its schedule asks for; pure.

use uuid::Uuid;

use super::{NewPlan, PLAN_CHANGED, Plan, PlanChange, PlanOccasion, PlanOutcome, PlanProgress};
use crate::{
    access::Actor,
    devices::device::{check_description, check_name},
    kernel::{Error, Result, Timestamp, canonical},
    store::{Tx, Versioned},
    work::{
        GivenParams, OperationKind, Operations,
        batch::{BatchId, BatchRequest, Cause, Confirmation, MAX_EXPIRY_SECONDS, NewRetry, Order, Targets, check_rest},
        rollouts::NewRollout,
        schedule::{Timetable, Turn, turn},
        secrets::{Intake, check_again},
    },
};

/// The shortest that a run waits for its device where nothing was said, however soon the next time comes, in seconds.
const MIN_EXPIRY_SECONDS: u64 = 60;

/// A plan's own part of what is asked for.
pub(super) fn change_of(new: NewPlan) -> PlanChange {
    PlanChange {
        name: Some(new.name),
        description: Some(new.description),
        enabled: Some(new.enabled),
        operation: Some(new.operation),
        params: Some(new.params),
        targets: Some(new.targets),
        timeout_seconds: Some(new.timeout_seconds),
        expires_in_seconds: Some(new.expires_in_seconds),
        ignore_windows: Some(new.ignore_windows),
        approvals: Some(new.approvals),
        spread_seconds: Some(new.spread_seconds),
        priority: Some(new.priority),
        dry_run_first: Some(new.dry_run_first),
        rollout: Some(new.rollout),
        retry: Some(new.retry),
        schedule: Some(new.schedule),
        missed: Some(new.missed),
        confirm_devices: new.confirm_devices,
    }
}

/// Takes a change into a plan, and checks what comes of it as if its work were asked for now.
pub(super) fn apply(
    plan: &mut Plan,
    change: &PlanChange,
    operations: &Operations,
    intake: &mut Intake<'_>,
    now: Timestamp,
) -> Result<()> {
    fn put<T: Clone>(value: &Option<T>, member: &mut T) {
        if let Some(value) = value {
            member.clone_from(value);
        }
    }
    change.name.as_deref().map(check_name).transpose()?;
    change.description.as_deref().map(check_description).transpose()?;
    put(&change.name, &mut plan.name);
    put(&change.description, &mut plan.description);
    put(&change.enabled, &mut plan.enabled);
    let had = (plan.operation.clone(), plan.params.clone());
    put(&change.operation, &mut plan.operation);
    let kind = operations.kind(&plan.operation)?;
    // Of another kind nothing is kept.
    let before = (had.0 == plan.operation).then_some(&had.1);
    plan.params = match (&change.params, before) {
        (Some(given), before) => intake.take(kind, given, before, |params| kind.check_params(params))?,
        (None, Some(before)) => check_again(before, |params| kind.check_params(params))?,
        (None, None) => {
            let given = had.1.shown().into();
            intake.take(kind, &given, None, |params| kind.check_params(params))?
        }
    };
    put(&change.timeout_seconds, &mut plan.timeout_seconds);
    put(&change.expires_in_seconds, &mut plan.expires_in_seconds);
    put(&change.ignore_windows, &mut plan.ignore_windows);
    put(&change.approvals, &mut plan.approvals);
    put(&change.spread_seconds, &mut plan.spread_seconds);
    put(&change.priority, &mut plan.priority);
    put(&change.dry_run_first, &mut plan.dry_run_first);
    if let Some(schedule) = &change.schedule {
        let checked = schedule.as_ref().map(|schedule| schedule.check("/schedule", now));
        plan.schedule = checked.transpose()?;
    }
    if let Some(missed) = change.missed {
        plan.missed = missed.check("/missed")?;
    }
    let mut request = request(plan);
    put(&change.targets, &mut request.targets);
    put(&change.rollout, &mut request.rollout);
    put(&change.retry, &mut request.retry);
    let order = check_rest(kind, &request, plan.params.clone(), &plan.params.shown(), 0)?;
    plan.targets = order.targets.into();
    plan.rollout = order.rollout;
    plan.retry = order.retry;
    Ok(())
}

/// The members that differ.
pub(super) fn changed(before: &Plan, after: &Plan) -> Vec<&'static str> {
    [
        ("name", before.name != after.name),
        ("description", before.description != after.description),
        ("enabled", before.enabled != after.enabled),
        ("operation", before.operation != after.operation),
        ("params", before.params != after.params),
        ("targets", before.targets != after.targets),
        ("timeout_seconds", before.timeout_seconds != after.timeout_seconds),
        (
            "expires_in_seconds",
            before.expires_in_seconds != after.expires_in_seconds,
        ),
        ("ignore_windows", before.ignore_windows != after.ignore_windows),
        ("approvals", before.approvals != after.approvals),
        ("spread_seconds", before.spread_seconds != after.spread_seconds),
        ("priority", before.priority != after.priority),
        ("dry_run_first", before.dry_run_first != after.dry_run_first),
        ("rollout", before.rollout != after.rollout),
        ("retry", before.retry != after.retry),
        ("schedule", before.schedule != after.schedule),
        ("missed", before.missed != after.missed),
    ]
    .into_iter()
    .filter_map(|(member, differs)| differs.then_some(member))
    .collect()
}

/// Whether what was changed makes it other work, or work on other devices.
pub(super) fn means_other_work(members: &[&str]) -> bool {
    let decisive = ["operation", "params", "targets", "dry_run_first"];
    members.iter().any(|member| decisive.contains(member))
}

/// Sets the clock of a plan whose schedule was made, changed or made to count: what passed up to now is not made up for.
pub(super) fn wind(plan: &Plan, progress: &mut PlanProgress, now: Timestamp) {
    let timetable = plan.schedule.as_ref().filter(|_| plan.enabled).map(Timetable::new);
    progress.settled_at = now;
    progress.next_at = timetable.and_then(|timetable| timetable.next_after(now));
}

/// The request that a plan stands for, but for the parameters, which were taken in already.
fn request(plan: &Plan) -> BatchRequest {
    BatchRequest {
        operation: plan.operation.clone(),
        params: GivenParams::default(),
        action: None,
        targets: Targets::from(plan.targets.clone()),
        timeout_seconds: plan.timeout_seconds,
        expires_in_seconds: plan.expires_in_seconds,
        start_at: None,
        ignore_windows: Some(plan.ignore_windows),
        approvals: Some(plan.approvals),
        spread_seconds: plan.spread_seconds,
        priority: plan.priority,
        dry_run_first: plan.dry_run_first,
        rollout: plan.rollout.clone().map(NewRollout::from),
        retry: plan.retry.clone().map(NewRetry::from),
        confirm_devices: None,
    }
}

/// The order that a plan stands for, started by hand.
pub(super) fn order(plan: &Plan, kind: &OperationKind, approvals: u32) -> Result<Order> {
    let identity = canonical::to_vec(&("plan", plan.id)).map_err(Error::internal)?;
    let params = check_again(&plan.params, |params| kind.check_params(params))?;
    let shown = params.shown();
    Ok(Order {
        plan: Some(plan.id),
        // That was confirmed when the plan was made.
        confirmation: Confirmation::Inherited,
        digest: blake3::hash(&identity).to_hex().to_string(),
        ..check_rest(kind, &request(plan), params, &shown, approvals)?
    })
}

/// A time of a plan's schedule, and what is written down about it when its work is made.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(super) plan: Versioned<Plan>,
    pub(super) progress: Versioned<PlanProgress>,
    pub(super) turn: Turn,
    now: Timestamp,
}

impl Due {
    /// What is due of a plan; nothing when its time has not come.
    pub(super) fn of(plan: Versioned<Plan>, progress: Versioned<PlanProgress>, now: Timestamp) -> Option<Self> {
        let timetable = Timetable::new(plan.schedule.as_ref().filter(|_| plan.enabled)?);
        let turn = turn(&timetable, plan.missed, progress.settled_at, now);
        turn.settled?;
        Some(Self {
            plan,
            progress,
            turn,
            now,
        })
    }

    /// The kind of operation.
    pub(crate) fn operation(&self) -> &str {
        &self.plan.operation
    }

    /// Who answers for it.
    pub(crate) fn asked_by(&self) -> (&Actor, Option<Uuid>) {
        (&self.plan.changed_by, self.plan.owner)
    }

    /// The id of the batch that a time makes.
    pub(crate) fn batch_at(&self, due_at: Timestamp) -> BatchId {
        self.plan.batch_at(due_at)
    }

    /// The order for its work.
    pub(crate) fn order(&self, kind: &OperationKind, approvals: u32) -> Result<Order> {
        let mut order = order(&self.plan, kind, approvals)?;
        if let (None, Some(due), Some(next)) = (self.plan.expires_in_seconds, self.turn.run, self.turn.next)
            && order.expiry_seconds > 0
        {
            let until_next = next.since(due).as_secs().max(MIN_EXPIRY_SECONDS);
            order.expiry_seconds = u32::try_from(until_next).map_or(MAX_EXPIRY_SECONDS, |s| s.min(MAX_EXPIRY_SECONDS));
        }
        order.cause = Cause::Schedule;
        order.due = Some(self.clone());
        Ok(order)
    }

    /// Refuses to go on where the plan was changed, or its time settled, since it was found due.
    pub(crate) async fn require_unsettled(&self, tx: &mut Tx) -> Result<()> {
        let plan = tx.get::<Plan>(self.plan.id).await?;
        let progress = tx.get::<PlanProgress>(self.plan.id).await?;
        let is_same = plan.is_some_and(|plan| plan.rev == self.plan.rev)
            && progress.is_some_and(|progress| progress.rev == self.progress.rev);
        if !is_same {
            return Err(PLAN_CHANGED.error("the plan was changed meanwhile, or somebody else made its work"));
        }
        tx.require(&self.plan);
        Ok(())
    }

    /// Writes down that its work is made.
    pub(crate) fn started(&self, tx: &mut Tx, batch: BatchId) -> Result<()> {
        self.settle(tx, PlanOutcome::Started { batch })
    }

    /// Writes down what became of it.
    pub(super) fn settle(&self, tx: &mut Tx, outcome: PlanOutcome) -> Result<()> {
        let mut progress = self.progress.value.clone();
        let due_at = self.turn.settled.unwrap_or(self.now);
        progress.settled_at = due_at;
        progress.next_at = self.turn.next;
        progress.last = Some(PlanOccasion {
            due_at,
            at: self.now,
            missed: self.turn.missed,
            outcome,
        });
        tx.update(&self.progress, &progress)?;
        Ok(())
    }
}
