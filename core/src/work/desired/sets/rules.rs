//! What is allowed in an action set.

use super::{ActionSet, ActionSetChange, ActionSetId, ActionSetView, NewActionSet};
use crate::{
    devices::device::check_name,
    kernel::{Error, Result, Timestamp},
    store::{Field, Filter, Versioned},
    work::{
        Operations,
        desired::{
            ChangeCounts, Rhythm, SET_CREATE, SET_DELETE, SET_IN_USE, SET_NAME_TAKEN, SET_NOT_FOUND, SET_TOO_MANY,
            SET_UPDATE, Source,
            authoring::{Authored, Codes, check_description, put},
        },
        secrets::Intake,
    },
};

/// The most of them in a fleet: all are read together.
pub const MAX_SETS: u32 = 1_000;
/// The most members of one.
pub const MAX_MEMBERS: usize = 200;

impl Authored for ActionSet {
    type New = NewActionSet;
    type Change = ActionSetChange;
    type View = ActionSetView;
    const CODES: Codes = Codes {
        create: SET_CREATE,
        update: SET_UPDATE,
        delete: SET_DELETE,
        not_found: SET_NOT_FOUND,
        name_taken: SET_NAME_TAKEN,
        too_many: SET_TOO_MANY,
        in_use: SET_IN_USE,
    };
    const BY_NAME: Field<Self> = Self::NAME;
    const MOST: u32 = MAX_SETS;

    fn empty(id: ActionSetId, new: &NewActionSet, now: Timestamp) -> Self {
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

    fn take(&mut self, change: &ActionSetChange, _: &Operations, _: &mut Intake<'_>) -> Result<Vec<&'static str>> {
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

    fn source(id: ActionSetId) -> Source {
        Source::ActionSet(id)
    }

    fn members(&self) -> Vec<Source> {
        self.members.iter().copied().map(Source::Action).collect()
    }

    fn naming(member: Source) -> Option<Filter> {
        matches!(member, Source::Action(_)).then(|| Self::MEMBERS.eq(member.uuid()))
    }

    fn forget(&mut self, member: Source) {
        self.members.retain(|action| Source::Action(*action) != member);
    }

    fn counted(counts: &mut ChangeCounts) -> &mut u32 {
        &mut counts.sets
    }

    fn view(found: Versioned<Self>) -> ActionSetView {
        let (revision, found) = (found.rev, found.value);
        ActionSetView {
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
