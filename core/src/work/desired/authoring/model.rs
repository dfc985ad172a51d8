//! What an authored thing is.

use crate::{
    access::Action,
    kernel::{Code, EntityId, Error, Result, Timestamp},
    store::{Entity, Field, Filter, Versioned},
    work::{
        Operations, StoredParams,
        desired::{ChangeCounts, Source},
        secrets::Intake,
    },
};

/// The most bytes of a description.
const MAX_DESCRIPTION: usize = 2_000;

/// The codes and audit actions of a sort of thing.
#[derive(Clone, Copy, Debug)]
pub struct Codes {
    /// One was made.
    pub create: Action,
    /// One was changed.
    pub update: Action,
    /// One was deleted.
    pub delete: Action,
    /// There is no such thing.
    pub not_found: Code,
    /// Another has this name.
    pub name_taken: Code,
    /// There are as many as there may be.
    pub too_many: Code,
    /// Others name it.
    pub in_use: Code,
}

/// A thing that people write: an action, a set, a definition.
pub trait Authored: Entity {
    /// What is asked for when one is made.
    type New: Sync;
    /// What may be set of one.
    type Change: for<'n> From<&'n Self::New> + Sync + Send;
    /// As people and programs see it.
    type View: Send;
    /// Its codes and audit actions.
    const CODES: Codes;
    /// The column of its folded name.
    const BY_NAME: Field<Self>;
    /// The most of them in a fleet: all are read together.
    const MOST: u32;

    /// One that says nothing yet.
    fn empty(id: Self::Id, new: &Self::New, now: Timestamp) -> Self;

    /// Checks a change and takes it over; names the members that are other than before.
    fn take(
        &mut self,
        change: &Self::Change,
        operations: &Operations,
        intake: &mut Intake<'_>,
    ) -> Result<Vec<&'static str>>;

    /// Its parameters, if it has any: they may refer to secrets.
    fn params(&self) -> Option<&StoredParams> {
        None
    }

    /// Its name.
    fn name(&self) -> &str;

    /// Those of a kind of operation; none of a sort that has no kind.
    fn of_kind(operation: &str) -> Filter {
        let _ = operation;
        Filter::Or(Vec::new())
    }

    /// When it was changed last.
    fn touch(&mut self, now: Timestamp);

    /// How it is named by those that name it.
    fn source(id: Self::Id) -> Source;

    /// What it names.
    fn members(&self) -> Vec<Source>;

    /// Those that name `member`; none when nothing of this sort does.
    fn naming(member: Source) -> Option<Filter>;

    /// Names it no more.
    fn forget(&mut self, member: Source);

    /// How many there are.
    fn counted(counts: &mut ChangeCounts) -> &mut u32;

    /// As it is shown.
    fn view(found: Versioned<Self>) -> Self::View;

    /// The permission that writing it takes beside that of all authors.
    fn also_takes(&self, operations: &Operations) -> Result<Option<crate::access::Permission>> {
        let _ = operations;
        Ok(None)
    }

    /// What it is, as people read it.
    fn noun() -> &'static str {
        <Self::Id as EntityId>::ENTITY
    }
}

/// Checks a description.
pub fn check_description(text: &str) -> Result<()> {
    if text.len() <= MAX_DESCRIPTION && !text.contains('\0') {
        Ok(())
    } else {
        let why = format!("a description is at most {MAX_DESCRIPTION} bytes without U+0000");
        Err(Error::invalid_field("/description", why))
    }
}

/// Puts a value into a member, whose name is noted if it was another.
pub(in crate::work::desired) fn put<T: PartialEq>(
    changed: &mut Vec<&'static str>,
    name: &'static str,
    member: &mut T,
    value: Option<T>,
) {
    if let Some(value) = value.filter(|value| value != member) {
        *member = value;
        changed.push(name);
    }
}
