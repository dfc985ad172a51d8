//! What is allowed in a definition.

use super::{Definition, DefinitionChange, DefinitionId, DefinitionView, NewDefinition};
use crate::{
    devices::device::check_name,
    kernel::{Error, Result, Timestamp},
    store::{Field, Filter, Versioned},
    work::{
        Operations,
        desired::{
            ChangeCounts, DEFINITION_CREATE, DEFINITION_DELETE, DEFINITION_IN_USE, DEFINITION_NAME_TAKEN,
            DEFINITION_NOT_FOUND, DEFINITION_TOO_MANY, DEFINITION_UPDATE, Rhythm, Source,
            authoring::{Authored, Codes, check_description, put},
            sets::MAX_MEMBERS,
        },
        secrets::Intake,
    },
};

/// The most of them in a fleet: all are read together.
pub const MAX_DEFINITIONS: u32 = 500;

impl Authored for Definition {
    type New = NewDefinition;
    type Change = DefinitionChange;
    type View = DefinitionView;
    const CODES: Codes = Codes {
        create: DEFINITION_CREATE,
        update: DEFINITION_UPDATE,
        delete: DEFINITION_DELETE,
        not_found: DEFINITION_NOT_FOUND,
        name_taken: DEFINITION_NAME_TAKEN,
        too_many: DEFINITION_TOO_MANY,
        in_use: DEFINITION_IN_USE,
    };
    const BY_NAME: Field<Self> = Self::NAME;
    const MOST: u32 = MAX_DEFINITIONS;

    fn empty(id: DefinitionId, new: &NewDefinition, now: Timestamp) -> Self {
        Self {
            id,
            name: String::new(),
            description: String::new(),
            members: Vec::new(),
            rhythm: Rhythm::default(),
            on_failure: new.on_failure,
            created_at: now,
            updated_at: now,
        }
    }

    fn take(&mut self, change: &DefinitionChange, _: &Operations, _: &mut Intake<'_>) -> Result<Vec<&'static str>> {
        change.name.as_deref().map(check_name).transpose()?;
        change.description.as_deref().map(check_description).transpose()?;
        if change
            .members
            .as_ref()
            .is_some_and(|members| members.len() > MAX_MEMBERS)
        {
            return Err(Error::invalid_field(
                "/members",
                format!("at most {MAX_MEMBERS} members"),
            ));
        }
        let rhythm = change.rhythm.as_ref();
        let rhythm = rhythm.map(|rhythm| rhythm.check("/rhythm")).transpose()?;
        let mut changed = Vec::new();
        put(&mut changed, "name", &mut self.name, change.name.clone());
        put(
            &mut changed,
            "description",
            &mut self.description,
            change.description.clone(),
        );
        put(&mut changed, "members", &mut self.members, change.members.clone());
        put(&mut changed, "rhythm", &mut self.rhythm, rhythm);
        put(&mut changed, "on_failure", &mut self.on_failure, change.on_failure);
        Ok(changed)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }

    fn source(id: DefinitionId) -> Source {
        Source::Definition(id)
    }

    fn members(&self) -> Vec<Source> {
        self.members.iter().copied().map(Source::from).collect()
    }

    fn naming(member: Source) -> Option<Filter> {
        (!matches!(member, Source::Definition(_))).then(|| Self::MEMBERS.eq(member.uuid()))
    }

    fn forget(&mut self, member: Source) {
        self.members.retain(|named| Source::from(*named) != member);
    }

    fn counted(counts: &mut ChangeCounts) -> &mut u32 {
        &mut counts.definitions
    }

    fn view(found: Versioned<Self>) -> DefinitionView {
        let (revision, found) = (found.rev, found.value);
        DefinitionView {
            id: found.id,
            revision,
            name: found.name,
            description: found.description,
            members: found.members,
            rhythm: found.rhythm,
            on_failure: found.on_failure,
            created_at: found.created_at,
            updated_at: found.updated_at,
        }
    }
}
