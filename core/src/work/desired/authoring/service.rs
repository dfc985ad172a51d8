//! Use cases over whatever is authored.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use super::Authored;
use crate::{
    access::Context,
    devices::device::fold,
    kernel::{EntityId, Error, MAX_LIMIT, PRECONDITION_FAILED, Page, PageRequest, Result},
    store::{Direction, Entity, Evidence, Query, Reader, Rev, Store, TAKEN, Tx, Versioned},
    work::{
        Operations,
        desired::{
            ACTIONS_READ, ACTIONS_WRITE, ActionSet, Assignment, Catalogues, Definition, DesiredAction, MEMBER_UNKNOWN,
            Source, Target,
            edition::{Concerned, next_edition},
        },
        secrets::{OperationSecret, Vault},
    },
};

/// Which of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthoredFilter {
    /// Only those whose name begins with this.
    pub name: Option<String>,
    /// Only those of this kind of operation, such as `shell`; only actions have one.
    pub operation: Option<String>,
    /// Only those to which no assignment leads, neither to themselves nor to what holds them.
    pub unassigned: bool,
}

/// Reads and changes actions, or sets, or definitions.
pub struct AuthoredService<'a, T> {
    store: &'a Store,
    vault: Vault<'a>,
    operations: &'a Operations,
    catalogues: &'a Catalogues,
    sort: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for AuthoredService<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthoredService").finish_non_exhaustive()
    }
}

impl<'a, T: Authored> AuthoredService<'a, T> {
    pub(in crate::work::desired) fn new(
        vault: Vault<'a>,
        operations: &'a Operations,
        catalogues: &'a Catalogues,
    ) -> Self {
        Self {
            store: vault.store,
            vault,
            operations,
            catalogues,
            sort: PhantomData,
        }
    }

    /// A page of them, by name. Of those to which nothing leads, a page may hold fewer than were asked for and not be the last.
    pub async fn list(&self, context: &Context, filter: &AuthoredFilter, page: &PageRequest) -> Result<Page<T::View>> {
        context.require(ACTIONS_READ)?;
        let mut query = Query::all().order(T::BY_NAME, Direction::Ascending);
        if let Some(name) = &filter.name {
            query = query.filter(T::BY_NAME.starts_with(fold(name)));
        }
        if let Some(operation) = &filter.operation {
            query = query.filter(T::of_kind(operation));
        }
        let mut reader = self.store.reader().await?;
        let mut found = reader.list(&query, page).await?;
        if filter.unassigned {
            let reached = self.catalogues.read(&mut reader, self.operations).await?.assigned();
            let is_free = |item: &Versioned<T>| !reached.contains(&T::source(item.id()));
            found.items.retain(is_free);
            // There are at most so many that all of them are read for an edition anyway.
            while let Some(next) = found.next.take_if(|_| found.items.is_empty()) {
                found = reader
                    .list(&query, &PageRequest::new(Some(page.limit()), Some(next))?)
                    .await?;
                found.items.retain(is_free);
            }
        }
        Ok(found.map(T::view))
    }

    /// One of them.
    pub async fn show(&self, context: &Context, id: T::Id) -> Result<T::View> {
        context.require(ACTIONS_READ)?;
        let found = self.store.get(id).await?.ok_or_else(|| not_found::<T>(id))?;
        Ok(T::view(found))
    }

    /// Makes one.
    pub async fn create(&self, context: &Context, new: &T::New) -> Result<T::View> {
        context.require(ACTIONS_WRITE)?.require_all(ACTIONS_WRITE)?;
        let now = self.store.clock().now();
        let id = T::Id::from_uuid(self.store.new_uuid());
        let mut made = T::empty(id, new, now);
        let mut intake = self.vault.intake();
        made.take(&T::Change::from(new), self.operations, &mut intake)?;
        let secrets = &intake.into_made();
        self.require_also(context, &made)?;
        let made = &made;
        self.store
            .change(context, Evidence::Audit(T::CODES.create), |mut tx| async move {
                check_members(tx.reader(), &made.members(), &[]).await?;
                next_edition(&mut tx, self.store, Concerned::default(), |counts| {
                    let count = T::counted(counts);
                    if *count >= T::MOST {
                        let (noun, most) = (T::noun(), T::MOST);
                        let why =
                            format!("there are {most} {noun}s, as many as there may be; delete one that is not used");
                        return Err(T::CODES.too_many.error(why));
                    }
                    *count += 1;
                    Ok(())
                })
                .await?;
                self.hold(&mut tx, made, secrets).await?;
                tx.create(made)?;
                tx.subject::<T>(id, made.name());
                tx.commit().await
            })
            .await
            .map_err(name_taken::<T>)?;
        self.read_back(id).await
    }

    /// Changes one. With `expected`, only if nobody changed it since that revision. Devices that it applies to are compiled right after.
    pub async fn set(
        &self,
        context: &Context,
        id: T::Id,
        expected: Option<Rev>,
        change: &T::Change,
    ) -> Result<T::View> {
        context.require(ACTIONS_WRITE)?.require_all(ACTIONS_WRITE)?;
        self.store
            .change(context, Evidence::Audit(T::CODES.update), |mut tx| async move {
                let before: Versioned<T> = tx.get(id).await?.ok_or_else(|| not_found::<T>(id))?;
                check_revision(&before, expected)?;
                let mut after = before.value.clone();
                let had = before.value.params().cloned().unwrap_or_default();
                let mut intake = self.vault.intake_after(tx.reader(), &had).await?;
                let changed = after.take(change, self.operations, &mut intake)?;
                self.require_also(context, &after)?;
                // What was there before may have been deleted since, and stays.
                check_members(tx.reader(), &after.members(), &before.value.members()).await?;
                tx.subject::<T>(id, after.name());
                if changed.is_empty() {
                    tx.require(&before);
                    return tx.commit().await;
                }
                self.hold(&mut tx, &after, &intake.into_made()).await?;
                after.touch(tx.now());
                for member in changed {
                    tx.changed(member);
                }
                tx.update(&before, &after)?;
                next_edition(&mut tx, self.store, of_source(T::source(id)), |_| Ok(())).await?;
                tx.commit().await
            })
            .await
            .map_err(name_taken::<T>)?;
        self.catalogues.ring();
        self.read_back(id).await
    }

    /// Deletes one. What is named by a set, a definition or an assignment is refused, unless `force` takes it out of those and takes
    /// back its assignments, in the same commit.
    pub async fn delete(&self, context: &Context, id: T::Id, expected: Option<Rev>, force: bool) -> Result<()> {
        context.require(ACTIONS_WRITE)?.require_all(ACTIONS_WRITE)?;
        let source = T::source(id);
        self.store
            .change(context, Evidence::Audit(T::CODES.delete), |mut tx| async move {
                let before: Versioned<T> = tx.get(id).await?.ok_or_else(|| not_found::<T>(id))?;
                check_revision(&before, expected)?;
                let sets = naming::<ActionSet>(tx.reader(), source).await?;
                let definitions = naming::<Definition>(tx.reader(), source).await?;
                let by_source = Query::all().filter(Assignment::SOURCE.eq(source.uuid()));
                let assignments = all_pages(tx.reader(), &by_source).await?;
                let uses = sets.len() + definitions.len() + assignments.len();
                if uses > 0 && !force {
                    return Err(T::CODES.in_use.error(format!(
                        "{} is named by {} sets, {} definitions and {} assignments; take it out of them, or delete it with force",
                        before.value.name(),
                        sets.len(),
                        definitions.len(),
                        assignments.len()
                    )));
                }
                let mut concerned = of_source(source);
                forget(&mut tx, sets, source, &mut concerned.sources)?;
                forget(&mut tx, definitions, source, &mut concerned.sources)?;
                let taken_back = drop_assignments(&mut tx, assignments, &mut concerned.targets);
                next_edition(&mut tx, self.store, concerned, |counts| {
                    counts.assignments = counts.assignments.saturating_sub(taken_back);
                    let count = T::counted(counts);
                    *count = count.saturating_sub(1);
                    Ok(())
                })
                .await?;
                tx.subject::<T>(id, before.value.name());
                if uses > 0 {
                    tx.detail("taken_out_of", uses - taken_back as usize);
                    tx.detail("assignments_taken_back", taken_back);
                }
                tx.delete(&before);
                tx.commit().await
            })
            .await?;
        self.catalogues.ring();
        Ok(())
    }

    fn require_also(&self, context: &Context, thing: &T) -> Result<()> {
        match thing.also_takes(self.operations)? {
            Some(permission) => context.require(permission)?.require_all(permission),
            None => Ok(()),
        }
    }

    async fn hold(&self, tx: &mut Tx, thing: &T, made: &[OperationSecret]) -> Result<()> {
        match thing.params() {
            Some(params) => self.vault.hold(tx, params, made).await,
            None => Ok(()),
        }
    }

    async fn read_back(&self, id: T::Id) -> Result<T::View> {
        // Whoever may write may read what was written.
        self.show(&Context::system("work"), id).await
    }
}

fn of_source(source: Source) -> Concerned {
    Concerned {
        sources: [source].into(),
        ..Concerned::default()
    }
}

/// All that a query finds. What is asked for here is bounded by how much of it there may be.
pub(in crate::work::desired) async fn all_pages<T: Entity>(
    reader: &mut Reader,
    query: &Query<T>,
) -> Result<Vec<Versioned<T>>> {
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let page = reader.list(query, &PageRequest::new(Some(MAX_LIMIT), next)?).await?;
        found.extend(page.items);
        next = page.next;
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn naming<T: Authored>(reader: &mut Reader, member: Source) -> Result<Vec<Versioned<T>>> {
    match T::naming(member) {
        Some(filter) => all_pages(reader, &Query::all().filter(filter)).await,
        None => Ok(Vec::new()),
    }
}

fn forget<T: Authored>(
    tx: &mut Tx,
    found: Vec<Versioned<T>>,
    member: Source,
    concerned: &mut BTreeSet<Source>,
) -> Result<()> {
    for before in found {
        let mut after = before.value.clone();
        after.forget(member);
        after.touch(tx.now());
        concerned.insert(T::source(after.id()));
        tx.update(&before, &after)?;
    }
    Ok(())
}

/// Takes assignments back; how many.
pub(in crate::work::desired) fn drop_assignments(
    tx: &mut Tx,
    found: Vec<Versioned<Assignment>>,
    concerned: &mut BTreeSet<Target>,
) -> u32 {
    for assignment in &found {
        concerned.insert(assignment.target);
        tx.delete(assignment);
    }
    u32::try_from(found.len()).unwrap_or(u32::MAX)
}

/// Refuses members that there are not, but for those that were named before.
async fn check_members(reader: &mut Reader, members: &[Source], before: &[Source]) -> Result<()> {
    let known: BTreeSet<_> = before.iter().copied().collect();
    let (mut actions, mut sets) = (Vec::new(), Vec::new());
    for (at, member) in members.iter().enumerate().filter(|(_, member)| !known.contains(member)) {
        match member {
            Source::Action(id) => actions.push((at, *id)),
            Source::ActionSet(id) => sets.push((at, *id)),
            // Nothing names definitions.
            Source::Definition(_) => {}
        }
    }
    check_exist::<DesiredAction>(reader, &actions).await?;
    check_exist::<ActionSet>(reader, &sets).await
}

async fn check_exist<T: Entity>(reader: &mut Reader, named: &[(usize, T::Id)]) -> Result<()> {
    let ids: Vec<_> = named.iter().map(|(_, id)| *id).collect();
    let found = reader.get_many::<T>(&ids).await?;
    match named.iter().zip(found).find(|(_, found)| found.is_none()) {
        None => Ok(()),
        Some(((at, id), _)) => {
            let why = format!("there is no {} {id}", <T::Id as EntityId>::ENTITY);
            Err(MEMBER_UNKNOWN
                .error(why.clone())
                .with_field(format!("/members/{at}"), why))
        }
    }
}

fn not_found<T: Authored>(id: T::Id) -> Error {
    T::CODES.not_found.error(format!("there is no {} {id}", T::noun()))
}

fn check_revision<T: Authored>(found: &Versioned<T>, expected: Option<Rev>) -> Result<()> {
    match expected {
        Some(rev) if rev != found.rev => {
            let noun = T::noun();
            Err(PRECONDITION_FAILED.error(format!("the {noun} was changed since you read it; read it again")))
        }
        _ => Ok(()),
    }
}

fn name_taken<T: Authored>(error: Error) -> Error {
    if error.code() == TAKEN {
        let why = format!("another {} has this name", T::noun());
        T::CODES.name_taken.error(why).with_field("/name", "already taken")
    } else {
        error
    }
}

impl AuthoredFilter {
    /// Those whose name begins with `name`.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }
}
