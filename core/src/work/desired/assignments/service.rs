//! Use cases over assignments.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    Assignment, AssignmentChange, AssignmentFilter, AssignmentId, AssignmentView, MAX_ASSIGNMENTS, MAX_TOGETHER,
    NewAssignment,
};
use crate::{
    access::{Context, users::User},
    devices::{DeviceGroup, DeviceSummary},
    kernel::{EntityId, Error, PRECONDITION_FAILED, Page, PageRequest, Result},
    store::{Entity, Evidence, Query, Reader, Rev, Store, Tx, Versioned},
    work::desired::{
        ASSIGNMENT_CREATE, ASSIGNMENT_DELETE, ASSIGNMENT_EXISTS, ASSIGNMENT_NOT_FOUND, ASSIGNMENT_SOURCE_UNKNOWN,
        ASSIGNMENT_TARGET_UNKNOWN, ASSIGNMENT_TOO_MANY, ASSIGNMENT_UPDATE, ASSIGNMENTS_READ, ASSIGNMENTS_WRITE,
        ActionSet, Catalogues, Definition, DesiredAction, Mode, Source, Target,
        authoring::{Authored as _, drop_assignments},
        edition::{Concerned, next_edition},
    },
};

/// Reads and changes assignments.
#[derive(Debug)]
pub struct AssignmentService<'a> {
    store: &'a Store,
    catalogues: &'a Catalogues,
}

/// The names of what assignments are about, by id.
type Names = BTreeMap<Uuid, String>;

impl<'a> AssignmentService<'a> {
    pub(in crate::work::desired) fn new(store: &'a Store, catalogues: &'a Catalogues) -> Self {
        Self { store, catalogues }
    }

    /// A page of assignments, oldest first.
    pub async fn list(
        &self,
        context: &Context,
        filter: &AssignmentFilter,
        page: &PageRequest,
    ) -> Result<Page<AssignmentView>> {
        context.require(ASSIGNMENTS_READ)?;
        let mut query = Query::<Assignment>::all();
        if let Some(source) = filter.source {
            query = query.filter(Assignment::SOURCE.eq(source));
        }
        if let Some(target) = filter.target {
            query = query.filter(Assignment::TARGET.eq(target));
        }
        if let Some(mode) = filter.mode {
            query = query.filter(Assignment::MODE.eq(mode.name()));
        }
        let mut reader = self.store.reader().await?;
        let found = reader.list(&query, page).await?;
        let pairs: Vec<_> = found.items.iter().map(|item| (item.source, item.target)).collect();
        let names = names(&mut reader, &pairs).await?;
        Ok(found.map(|assignment| view(assignment, &names)))
    }

    /// One assignment.
    pub async fn show(&self, context: &Context, id: AssignmentId) -> Result<AssignmentView> {
        context.require(ASSIGNMENTS_READ)?;
        let mut reader = self.store.reader().await?;
        let found: Versioned<Assignment> = reader.get(id).await?.ok_or_else(|| not_found(id))?;
        let names = names(&mut reader, &[(found.source, found.target)]).await?;
        Ok(view(found, &names))
    }

    /// Assigns, at most 256 at once, all or nothing. What is assigned in this way already stays as it is and is given back; what is
    /// assigned to the same target in another way is an error.
    pub async fn create(&self, context: &Context, new: &[NewAssignment]) -> Result<Vec<AssignmentView>> {
        context.require(ASSIGNMENTS_WRITE)?.require_all(ASSIGNMENTS_WRITE)?;
        if new.is_empty() || new.len() > MAX_TOGETHER {
            return Err(Error::invalid_field(
                "/assignments",
                format!("1 to {MAX_TOGETHER} assignments"),
            ));
        }
        let ids: Vec<AssignmentId> = self
            .store
            .change(context, Evidence::Audit(ASSIGNMENT_CREATE), |mut tx| async move {
                let names = check_known(tx.reader(), new).await?;
                let (mut ids, mut made, mut concerned) = (Vec::new(), 0_u32, BTreeSet::new());
                let mut seen = BTreeMap::new();
                for (at, new) in new.iter().enumerate() {
                    if let Some(same) = existing(&mut tx, new, &mut seen, at).await? {
                        ids.push(same);
                        continue;
                    }
                    let now = tx.now();
                    let assignment = Assignment {
                        id: AssignmentId::new(now, self.store.random()),
                        source: new.source,
                        target: new.target,
                        mode: new.mode,
                        order: new.order,
                        created_at: now,
                        updated_at: now,
                    };
                    tx.create(&assignment)?;
                    tx.subject::<Assignment>(assignment.id, describe(&assignment, &names));
                    seen.insert((new.source, new.target), (assignment.id, new.mode, new.order));
                    ids.push(assignment.id);
                    concerned.insert(new.target);
                    made += 1;
                }
                if made == 0 {
                    return Ok(ids);
                }
                let concerned = Concerned {
                    targets: concerned,
                    ..Concerned::default()
                };
                next_edition(&mut tx, self.store, concerned, |counts| {
                    counts.assignments = counts.assignments.saturating_add(made);
                    if counts.assignments > MAX_ASSIGNMENTS {
                        let why =
                            format!("there are at most {MAX_ASSIGNMENTS} assignments; assign sets to groups instead");
                        return Err(ASSIGNMENT_TOO_MANY.error(why));
                    }
                    Ok(())
                })
                .await?;
                tx.detail("assignments", made);
                tx.commit().await?;
                Ok(ids)
            })
            .await?;
        self.catalogues.ring();
        self.read_back(&ids).await
    }

    /// Changes how something is assigned. With `expected`, only if nobody changed it since that revision.
    pub async fn set(
        &self,
        context: &Context,
        id: AssignmentId,
        expected: Option<Rev>,
        change: &AssignmentChange,
    ) -> Result<AssignmentView> {
        context.require(ASSIGNMENTS_WRITE)?.require_all(ASSIGNMENTS_WRITE)?;
        self.store
            .change(context, Evidence::Audit(ASSIGNMENT_UPDATE), |mut tx| async move {
                let before: Versioned<Assignment> = tx.get(id).await?.ok_or_else(|| not_found(id))?;
                check_revision(&before, expected)?;
                let mut after = before.value.clone();
                after.mode = change.mode.unwrap_or(after.mode);
                after.order = change.order.unwrap_or(after.order);
                let names = names(tx.reader(), &[(after.source, after.target)]).await?;
                tx.subject::<Assignment>(id, describe(&after, &names));
                if before.value.mode != after.mode {
                    tx.changed("mode");
                    tx.detail("mode", after.mode.name());
                }
                if before.value.order != after.order {
                    tx.changed("order");
                }
                if after != before.value {
                    after.updated_at = tx.now();
                    next_edition(&mut tx, self.store, of_target(after.target), |_| Ok(())).await?;
                }
                tx.update(&before, &after)?;
                tx.commit().await
            })
            .await?;
        self.catalogues.ring();
        let found = self.read_back(&[id]).await?.pop();
        found.ok_or_else(|| not_found(id))
    }

    /// Takes an assignment back. With `expected`, only if nobody changed it since that revision.
    pub async fn delete(&self, context: &Context, id: AssignmentId, expected: Option<Rev>) -> Result<()> {
        context.require(ASSIGNMENTS_WRITE)?.require_all(ASSIGNMENTS_WRITE)?;
        self.store
            .change(context, Evidence::Audit(ASSIGNMENT_DELETE), |mut tx| async move {
                let found: Versioned<Assignment> = tx.get(id).await?.ok_or_else(|| not_found(id))?;
                check_revision(&found, expected)?;
                let names = names(tx.reader(), &[(found.source, found.target)]).await?;
                tx.subject::<Assignment>(id, describe(&found, &names));
                tx.detail("mode", found.mode.name());
                take_back(&mut tx, self.store, vec![found]).await?;
                tx.commit().await
            })
            .await?;
        self.catalogues.ring();
        Ok(())
    }

    /// Takes back assignments to whom there is no more; for the pass over all devices.
    pub(in crate::work::desired) async fn drop_to(&self, gone: &[Target]) -> Result<u64> {
        if gone.is_empty() {
            return Ok(0);
        }
        let context = Context::system("work.manifests");
        self.store
            .change(&context, Evidence::Audit(ASSIGNMENT_DELETE), |mut tx| async move {
                let to = Assignment::TARGET.one_of(gone.iter().map(|target| target.uuid()));
                // What is left over waits for the next pass.
                let page = PageRequest::new(Some(crate::kernel::MAX_LIMIT), None)?;
                let found = tx.list(&Query::all().filter(to), &page).await?.items;
                let count = found.len();
                if count == 0 {
                    return Ok(0);
                }
                tx.detail("assignments", count);
                take_back(&mut tx, self.store, found).await?;
                tx.commit().await?;
                Ok(count as u64)
            })
            .await
    }

    async fn read_back(&self, ids: &[AssignmentId]) -> Result<Vec<AssignmentView>> {
        // Whoever may write may read what was written.
        let mut reader = self.store.reader().await?;
        let found: Vec<_> = reader
            .get_many::<Assignment>(ids)
            .await?
            .into_iter()
            .flatten()
            .collect();
        let pairs: Vec<_> = found.iter().map(|item| (item.source, item.target)).collect();
        let names = names(&mut reader, &pairs).await?;
        Ok(found.into_iter().map(|assignment| view(assignment, &names)).collect())
    }
}

async fn take_back(tx: &mut Tx, store: &Store, found: Vec<Versioned<Assignment>>) -> Result<()> {
    let mut concerned = Concerned::default();
    let dropped = drop_assignments(tx, found, &mut concerned.targets);
    next_edition(tx, store, concerned, |counts| {
        counts.assignments = counts.assignments.saturating_sub(dropped);
        Ok(())
    })
    .await
}

fn of_target(target: Target) -> Concerned {
    Concerned {
        targets: [target].into(),
        ..Concerned::default()
    }
}

/// The assignment of the same to the same, when it is there; one of another mode or order is refused.
async fn existing(
    tx: &mut Tx,
    new: &NewAssignment,
    seen: &mut BTreeMap<(Source, Target), (AssignmentId, Mode, i32)>,
    at: usize,
) -> Result<Option<AssignmentId>> {
    let same = match seen.get(&(new.source, new.target)) {
        Some(same) => Some(*same),
        None => {
            let query = Query::<Assignment>::all().filter(Assignment::PAIR.eq(format!(
                "{}/{}",
                new.source.uuid(),
                new.target.uuid()
            )));
            let found = tx.reader().first(&query).await?;
            found.map(|found| (found.id, found.mode, found.order))
        }
    };
    match same {
        Some((id, mode, order)) if (mode, order) == (new.mode, new.order) => Ok(Some(id)),
        Some((id, mode, _)) => {
            let (source, target) = (new.source.noun(), new.target.noun());
            let why = format!(
                "the {source} is assigned to this {target} already, as {}; change assignment {id}",
                mode.name()
            );
            Err(ASSIGNMENT_EXISTS
                .error(why.clone())
                .with_field(format!("/assignments/{at}"), why))
        }
        None => Ok(None),
    }
}

/// Refuses sources and targets that there are not.
async fn check_known(reader: &mut Reader, new: &[NewAssignment]) -> Result<Names> {
    let pairs: Vec<_> = new.iter().map(|new| (new.source, new.target)).collect();
    let names = names(reader, &pairs).await?;
    for (at, new) in new.iter().enumerate() {
        if !names.contains_key(&new.source.uuid()) {
            let why = format!("there is no {} {}", new.source.noun(), new.source.uuid());
            let field = format!("/assignments/{at}/source");
            return Err(ASSIGNMENT_SOURCE_UNKNOWN.error(why.clone()).with_field(field, why));
        }
        if !names.contains_key(&new.target.uuid()) {
            let why = format!("there is no {} {}", new.target.noun(), new.target.uuid());
            let field = format!("/assignments/{at}/target");
            return Err(ASSIGNMENT_TARGET_UNKNOWN.error(why.clone()).with_field(field, why));
        }
    }
    Ok(names)
}

/// The names of what there is of these.
async fn names(reader: &mut Reader, pairs: &[(Source, Target)]) -> Result<Names> {
    let (mut actions, mut sets, mut definitions) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut devices, mut groups, mut users) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (source, target) in pairs {
        match source {
            Source::Action(_) => actions.insert(source.uuid()),
            Source::ActionSet(_) => sets.insert(source.uuid()),
            Source::Definition(_) => definitions.insert(source.uuid()),
        };
        match target {
            Target::Device(_) => devices.insert(target.uuid()),
            Target::DeviceGroup(_) => groups.insert(target.uuid()),
            Target::User(_) => users.insert(target.uuid()),
        };
    }
    let mut names = Names::new();
    add_names::<DesiredAction>(reader, &actions, &mut names, |action| action.name().to_owned()).await?;
    add_names::<ActionSet>(reader, &sets, &mut names, |set| set.name().to_owned()).await?;
    add_names::<Definition>(reader, &definitions, &mut names, |found| found.name().to_owned()).await?;
    add_names::<DeviceSummary>(reader, &devices, &mut names, |device| device.name.clone()).await?;
    add_names::<DeviceGroup>(reader, &groups, &mut names, |group| group.name.clone()).await?;
    add_names::<User>(reader, &users, &mut names, |user| user.name.clone()).await?;
    Ok(names)
}

async fn add_names<T: Entity>(
    reader: &mut Reader,
    ids: &BTreeSet<Uuid>,
    names: &mut Names,
    name: fn(&T) -> String,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = ids.iter().map(|id| T::Id::from_uuid(*id)).collect();
    let found = reader.get_many::<T>(&ids).await?.into_iter().flatten();
    names.extend(found.map(|found| (found.value.id().uuid(), name(&found.value))));
    Ok(())
}

/// What the audit calls an assignment.
fn describe(assignment: &Assignment, names: &Names) -> String {
    let name = |id: Uuid, noun| names.get(&id).map_or(noun, String::as_str);
    let source = name(assignment.source.uuid(), assignment.source.noun());
    let target = name(assignment.target.uuid(), assignment.target.noun());
    format!("{source} for {target}")
}

fn view(found: Versioned<Assignment>, names: &Names) -> AssignmentView {
    let (revision, assignment) = (found.rev, found.value);
    AssignmentView {
        id: assignment.id,
        revision,
        source: assignment.source,
        source_name: names.get(&assignment.source.uuid()).cloned(),
        target: assignment.target,
        target_name: names.get(&assignment.target.uuid()).cloned(),
        mode: assignment.mode,
        order: assignment.order,
        created_at: assignment.created_at,
        updated_at: assignment.updated_at,
    }
}

fn not_found(id: AssignmentId) -> Error {
    ASSIGNMENT_NOT_FOUND.error(format!("there is no assignment {id}"))
}

fn check_revision(found: &Versioned<Assignment>, expected: Option<Rev>) -> Result<()> {
    match expected {
        Some(rev) if rev != found.rev => {
            Err(PRECONDITION_FAILED.error("the assignment was changed since you read it; read it again"))
        }
        _ => Ok(()),
    }
}
