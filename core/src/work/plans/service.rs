//! Use cases over plans.

use super::{
    NewPlan, PLAN_CREATE, PLAN_DELETE, PLAN_NAME_TAKEN, PLAN_NOT_FOUND, PLAN_TOO_MANY, PLAN_UPDATE, PLANS_READ,
    PLANS_START, PLANS_WRITE, Plan, PlanChange, PlanId, PlanProgress, PlanView,
    rules::{apply, change_of, changed, means_other_work, order, wind},
};
use crate::{
    access::Context,
    devices::device::fold,
    kernel::{Error, Page, PageRequest, Result},
    store::{Direction, Evidence, Filter, Query, Rev, Store, TAKEN, Tx, Versioned},
    work::{
        BatchService, BatchView, Operations, Priority, StoredParams,
        batch::{BatchId, Confirmation, Order, PlannedTargets},
        promotions,
        schedule::{MissedRuns, describe},
        secrets::Vault,
    },
};

/// The most plans of a fleet.
pub const MAX_PLANS: u64 = 10_000;

/// Reads, changes and starts plans.
#[derive(Debug)]
pub struct PlanService<'a> {
    store: &'a Store,
    vault: Vault<'a>,
    operations: &'a Operations,
    batches: BatchService<'a>,
}

impl<'a> PlanService<'a> {
    pub(crate) fn new(vault: Vault<'a>, operations: &'a Operations, batches: BatchService<'a>) -> Self {
        Self {
            store: vault.store,
            vault,
            operations,
            batches,
        }
    }

    /// A page of plans, by name; only those whose name begins with `name`, where it is given.
    pub async fn list(&self, context: &Context, name: Option<&str>, page: &PageRequest) -> Result<Page<PlanView>> {
        context.require(PLANS_READ)?;
        let mut query = Query::all().order(Plan::NAME, Direction::Ascending);
        if let Some(name) = name {
            query = query.filter(Plan::NAME.starts_with(fold(name)));
        }
        let mut reader = self.store.reader().await?;
        let found = reader.list(&query, page).await?;
        let ids: Vec<_> = found.items.iter().map(|plan: &Versioned<Plan>| plan.id).collect();
        let progress = reader.get_many::<PlanProgress>(&ids).await?;
        let items = found.items.into_iter().zip(progress);
        Ok(Page {
            items: items.map(|(plan, progress)| view(plan, progress)).collect(),
            next: found.next,
        })
    }

    /// One plan.
    pub async fn show(&self, context: &Context, id: PlanId) -> Result<PlanView> {
        context.require(PLANS_READ)?;
        let mut reader = self.store.reader().await?;
        let plan = reader.get::<Plan>(id).await?.ok_or_else(|| plan_not_found(id))?;
        let progress = reader.get::<PlanProgress>(id).await?;
        Ok(view(plan, progress))
    }

    /// Makes a plan.
    pub async fn create(&self, context: &Context, new: &NewPlan) -> Result<PlanView> {
        let change = change_of(new.clone());
        self.require(context, &new.operation)?;
        let now = self.store.clock().now();
        let mut plan = Plan {
            id: PlanId::new(now, self.store.random()),
            name: String::new(),
            description: String::new(),
            enabled: true,
            operation: String::new(),
            params: StoredParams::default(),
            targets: PlannedTargets::default(),
            timeout_seconds: None,
            expires_in_seconds: None,
            ignore_windows: false,
            approvals: 0,
            spread_seconds: 0,
            priority: Priority::Normal,
            dry_run_first: false,
            rollout: None,
            retry: None,
            schedule: None,
            missed: MissedRuns::default(),
            changed_by: context.actor().clone(),
            owner: context.user(),
            created_at: now,
            updated_at: now,
        };
        let mut intake = self.vault.intake();
        apply(&mut plan, &change, self.operations, &mut intake, now)?;
        let secrets = &intake.into_made();
        let mut progress = PlanProgress {
            id: plan.id,
            settled_at: now,
            next_at: None,
            last: None,
        };
        wind(&plan, &mut progress, now);
        let (plan, progress) = (&plan, &progress);
        self.store
            .change(context, Evidence::Audit(PLAN_CREATE), |mut tx| async move {
                if tx.reader().count::<Plan>(&Filter::All).await? >= MAX_PLANS {
                    let why = format!("there are {MAX_PLANS} plans, as many as there may be; delete one");
                    return Err(PLAN_TOO_MANY.error(why));
                }
                self.require_confirmed(&mut tx, context, plan, new.confirm_devices)
                    .await?;
                self.vault.hold(&mut tx, &plan.params, secrets).await?;
                tx.create(plan)?;
                tx.create(progress)?;
                tx.subject::<Plan>(plan.id, plan.name.clone());
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.read_back(plan.id).await
    }

    /// Changes a plan; what it made before goes on as it was asked for. With `expected`, only if nobody changed it since that revision.
    pub async fn set(
        &self,
        context: &Context,
        id: PlanId,
        expected: Option<Rev>,
        change: &PlanChange,
    ) -> Result<PlanView> {
        context.require(PLANS_WRITE)?;
        self.store
            .change(context, Evidence::Audit(PLAN_UPDATE), |mut tx| async move {
                let before = self.existing(&mut tx, context, id, expected).await?;
                let mut after = before.value.clone();
                let now = tx.now();
                let mut intake = self.vault.intake_after(tx.reader(), &before.params).await?;
                apply(&mut after, change, self.operations, &mut intake, now)?;
                self.require(context, &after.operation)?;
                let members = changed(&before, &after);
                if !members.is_empty() {
                    // What stays as it is stays the responsibility of whoever asked for it.
                    after.updated_at = now;
                    after.changed_by = context.actor().clone();
                    after.owner = context.user();
                }
                if means_other_work(&members) || change.confirm_devices.is_some() {
                    self.require_confirmed(&mut tx, context, &after, change.confirm_devices)
                        .await?;
                }
                if (before.enabled, &before.schedule) != (after.enabled, &after.schedule) {
                    let progress = tx.get::<PlanProgress>(id).await?.ok_or_else(|| plan_not_found(id))?;
                    let mut wound = progress.value.clone();
                    wind(&after, &mut wound, now);
                    tx.update(&progress, &wound)?;
                }
                self.vault.hold(&mut tx, &after.params, &intake.into_made()).await?;
                members.into_iter().for_each(|member| tx.changed(member));
                tx.subject::<Plan>(id, after.name.clone());
                tx.update(&before, &after)?;
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.read_back(id).await
    }

    /// Deletes a plan; what it made before goes on. With `expected`, only if nobody changed it since that revision.
    pub async fn delete(&self, context: &Context, id: PlanId, expected: Option<Rev>) -> Result<()> {
        context.require(PLANS_WRITE)?;
        self.store
            .change(context, Evidence::Audit(PLAN_DELETE), |mut tx| async move {
                let plan = self.existing(&mut tx, context, id, expected).await?;
                tx.subject::<Plan>(id, plan.name.clone());
                tx.delete(&plan);
                tx.remove::<PlanProgress>(id);
                tx.commit().await
            })
            .await
            .map(drop)
    }

    /// Makes the plan's work now, as if its actor had asked for it; its schedule goes on as it would. With a key, a repeat returns the
    /// batch that the first one made.
    pub async fn start(&self, context: &Context, id: PlanId, key: Option<BatchId>) -> Result<BatchView> {
        context.require(PLANS_START)?;
        let plan = self.store.get::<Plan>(id).await?.ok_or_else(|| plan_not_found(id))?;
        let kind = self.operations.kind(&plan.operation)?;
        let order = order(&plan, kind, self.batches.approvals_for(kind))?;
        self.batches.carry_out(context, kind, order, key).await
    }

    /// Whoever writes a plan has work done as often as it says: it takes the right to the operation, on all devices.
    fn require(&self, context: &Context, operation: &str) -> Result<()> {
        context.require(PLANS_WRITE)?.require_all(PLANS_WRITE)?;
        let permission = self.operations.kind(operation)?.permission;
        context.require(permission)?.require_all(permission)
    }

    /// Whoever sets a plan confirms what it would do now; its times are not asked.
    async fn require_confirmed(&self, tx: &mut Tx, context: &Context, plan: &Plan, said: Option<u64>) -> Result<()> {
        let kind = self.operations.kind(&plan.operation)?;
        let order = Order {
            confirmation: Confirmation::Said(said),
            ..order(plan, kind, 0)?
        };
        let order = match order.dry_run_first {
            true => promotions::first_look(kind, order)?,
            false => order,
        };
        let scope = context.require(kind.permission)?;
        self.batches.require_confirmed(tx.reader(), &scope, kind, &order).await
    }

    async fn existing(
        &self,
        tx: &mut Tx,
        context: &Context,
        id: PlanId,
        expected: Option<Rev>,
    ) -> Result<Versioned<Plan>> {
        let plan = tx.get::<Plan>(id).await?.ok_or_else(|| plan_not_found(id))?;
        plan.require_revision(expected)?;
        self.require(context, &plan.operation)?;
        Ok(plan)
    }

    async fn read_back(&self, id: PlanId) -> Result<PlanView> {
        // Whoever may write may read what was written.
        self.show(&Context::system("work"), id).await
    }
}

fn view(plan: Versioned<Plan>, progress: Option<Versioned<PlanProgress>>) -> PlanView {
    let revision = plan.rev;
    let plan = plan.value;
    let (next_at, last) = progress.map_or((None, None), |progress| (progress.value.next_at, progress.value.last));
    PlanView {
        id: plan.id,
        revision,
        in_words: plan.schedule.as_ref().map(describe),
        name: plan.name,
        description: plan.description,
        enabled: plan.enabled,
        operation: plan.operation,
        params: plan.params.shown(),
        targets: plan.targets,
        timeout_seconds: plan.timeout_seconds,
        expires_in_seconds: plan.expires_in_seconds,
        ignore_windows: plan.ignore_windows,
        approvals: plan.approvals,
        spread_seconds: plan.spread_seconds,
        priority: plan.priority,
        dry_run_first: plan.dry_run_first,
        rollout: plan.rollout,
        retry: plan.retry,
        schedule: plan.schedule,
        missed: plan.missed,
        next_at,
        last,
        changed_by: plan.changed_by,
        created_at: plan.created_at,
        updated_at: plan.updated_at,
    }
}

fn plan_not_found(id: PlanId) -> Error {
    PLAN_NOT_FOUND.error(format!("there is no plan {id}"))
}

fn name_taken(error: Error) -> Error {
    if error.code() == TAKEN {
        PLAN_NAME_TAKEN
            .error("another plan has this name")
            .with_field("/name", "already taken")
    } else {
        error
    }
}
