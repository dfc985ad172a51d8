//! Which operations can be kept up, and with which parameters.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::{ActionChange, ActionId, ActionView, DesiredAction, NewAction};
use crate::{
    access::Permission,
    devices::device::check_name,
    kernel::{Error, Result, Timestamp},
    store::{Field, Filter, Versioned},
    work::{
        OperationKind, Operations, StoredParams,
        desired::{
            ACTION_CREATE, ACTION_DELETE, ACTION_IN_USE, ACTION_KIND_UNFIT, ACTION_NAME_TAKEN, ACTION_NEVER_ABSENT,
            ACTION_NOT_FOUND, ACTION_TOO_MANY, ACTION_UPDATE, ChangeCounts, DesiredState, Source,
            authoring::{Authored, Codes, check_description, put},
        },
        operations::{INVALID_PARAMS, Upkeep},
        secrets::{Intake, check_again},
    },
};

/// The most actions of a fleet: all of them are read together.
pub const MAX_ACTIONS: u32 = 2_000;
/// The member of the parameters that says what shall be.
const STATE: &str = "state";
/// The kinds that know absence.
pub(in crate::work::desired) fn kinds_with_state(operations: &Operations) -> BTreeSet<&'static str> {
    let with_state = operations.all().filter(|kind| kind.knows_absence);
    with_state.map(|kind| kind.name).collect()
}

/// The parameters, with the state among them where the kind takes one, in their normal form; none for absence where the kind knows none.
fn params_in(kind: &OperationKind, takes_state: bool, mut params: Json, state: DesiredState) -> Result<Option<Json>> {
    if !takes_state {
        return match state {
            DesiredState::Present => kind.check_params(params).map(Some),
            DesiredState::Absent => Ok(None),
        };
    }
    match &mut params {
        Json::Object(members) => drop(members.insert(STATE.into(), state.name().into())),
        Json::Null => params = Json::Object(Map::from_iter([(STATE.to_owned(), state.name().into())])),
        _ => {}
    }
    kind.check_params(params).map(Some)
}

/// The parameters with which an action is applied in a state; none for absence where its kind knows none.
fn applied_in(
    kind: &OperationKind,
    takes_state: bool,
    params: &StoredParams,
    state: DesiredState,
) -> Result<Option<StoredParams>> {
    if !takes_state && state == DesiredState::Absent {
        return Ok(None);
    }
    let never_absent = || never_absent(kind);
    let check = |params| params_in(kind, takes_state, params, state)?.ok_or_else(never_absent);
    check_again(params, check).map(Some)
}

fn never_absent(kind: &OperationKind) -> Error {
    let why = format!("{} knows no absence: it is only carried out", kind.name);
    ACTION_NEVER_ABSENT.error(why.clone()).with_field("/state", why)
}

/// An action with what it is applied with, ready for manifests.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::work::desired) struct Effective {
    /// As it is applied in its own state, or why it cannot be.
    pub own: std::result::Result<StoredParams, String>,
    /// As it is applied as absent, where it can be.
    pub absent: Option<StoredParams>,
}

impl Effective {
    /// What an action as it is stored is applied with by the kinds that there are now.
    pub fn of(action: &DesiredAction, operations: &Operations, with_state: &BTreeSet<&'static str>) -> Self {
        let kind = operations.kind(&action.operation);
        let takes_state = with_state.contains(action.operation.as_str());
        let in_state = |state| {
            kind.as_ref()
                .ok()
                .map(|kind| applied_in(kind, takes_state, &action.params, state))
        };
        let own = match in_state(action.state) {
            Some(Ok(Some(params))) => Ok(params),
            Some(Ok(None)) => Err("its kind knows no absence any more".to_owned()),
            Some(Err(error)) => Err(error.message().to_owned()),
            None => Err(format!("there is no operation {:.60} any more", action.operation)),
        };
        let absent = match in_state(DesiredState::Absent) {
            Some(Ok(params)) => params,
            _ => None,
        };
        Self { own, absent }
    }
}

/// Checks what an action is applied with, and gives back the parameters in their normal form, without the state.
fn check_params(kind: &OperationKind, params: Json, state: DesiredState) -> Result<Json> {
    if params.get(STATE).is_some() {
        let why = "say the state beside the parameters, not among them";
        return Err(INVALID_PARAMS.error(why).with_field("/params/state", why));
    }
    let Some(mut normal) = params_in(kind, kind.knows_absence, params, state)? else {
        return Err(never_absent(kind));
    };
    if let Json::Object(members) = &mut normal {
        members.remove(STATE);
    }
    Ok(normal)
}

impl DesiredAction {
    /// The parameters with which its kind carries it out, in the state that it asks for.
    pub(in crate::work) fn params_as_kept(&self, kind: &OperationKind) -> Result<StoredParams> {
        applied_in(kind, kind.knows_absence, &self.params, self.state)?.ok_or_else(|| never_absent(kind))
    }
}

impl Authored for DesiredAction {
    type New = NewAction;
    type Change = ActionChange;
    type View = ActionView;
    const CODES: Codes = Codes {
        create: ACTION_CREATE,
        update: ACTION_UPDATE,
        delete: ACTION_DELETE,
        not_found: ACTION_NOT_FOUND,
        name_taken: ACTION_NAME_TAKEN,
        too_many: ACTION_TOO_MANY,
        in_use: ACTION_IN_USE,
    };
    const BY_NAME: Field<Self> = Self::NAME;
    const MOST: u32 = MAX_ACTIONS;

    fn empty(id: ActionId, new: &NewAction, now: Timestamp) -> Self {
        Self {
            id,
            name: String::new(),
            description: String::new(),
            operation: new.operation.clone(),
            params: StoredParams::default(),
            state: new.state,
            timeout_seconds: 0,
            rhythm: None,
            generation: 0,
            created_at: now,
            updated_at: now,
        }
    }

    fn take(
        &mut self,
        change: &ActionChange,
        operations: &Operations,
        intake: &mut Intake<'_>,
    ) -> Result<Vec<&'static str>> {
        let kind = operations.kind(&self.operation)?;
        if kind.upkeep == Upkeep::None {
            let why = format!("{} is run and not kept up; create a batch for it", kind.name);
            return Err(ACTION_KIND_UNFIT.error(why.clone()).with_field("/operation", why));
        }
        change.name.as_deref().map(check_name).transpose()?;
        change.description.as_deref().map(check_description).transpose()?;
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
        let before = changed.len();
        put(&mut changed, "state", &mut self.state, change.state);
        if change.params.is_some() || change.state.is_some() {
            let state = self.state;
            let params = match &change.params {
                Some(given) => intake.take(kind, given, Some(&self.params), |params| {
                    check_params(kind, params, state)
                })?,
                None => check_again(&self.params, |params| check_params(kind, params, state))?,
            };
            put(&mut changed, "params", &mut self.params, Some(params));
        }
        let is_new = self.timeout_seconds == 0;
        let timeout = match change.timeout_seconds {
            None if !is_new => None,
            said => Some(kind.check_timeout(said, &self.params.shown())?),
        };
        put(&mut changed, "timeout_seconds", &mut self.timeout_seconds, timeout);
        put(&mut changed, "rhythm", &mut self.rhythm, rhythm.map(Some));
        if changed.len() > before {
            self.generation += 1;
        }
        Ok(changed)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }

    fn of_kind(operation: &str) -> Filter {
        Self::OPERATION.eq(operation)
    }

    fn source(id: ActionId) -> Source {
        Source::Action(id)
    }

    fn members(&self) -> Vec<Source> {
        Vec::new()
    }

    fn naming(_: Source) -> Option<Filter> {
        None
    }

    fn forget(&mut self, _: Source) {}

    fn counted(counts: &mut ChangeCounts) -> &mut u32 {
        &mut counts.actions
    }

    fn view(found: Versioned<Self>) -> ActionView {
        let (revision, action) = (found.rev, found.value);
        ActionView {
            id: action.id,
            revision,
            name: action.name,
            description: action.description,
            operation: action.operation,
            params: action.params.shown(),
            state: action.state,
            timeout_seconds: action.timeout_seconds,
            rhythm: action.rhythm,
            generation: action.generation,
            created_at: action.created_at,
            updated_at: action.updated_at,
        }
    }

    fn params(&self) -> Option<&StoredParams> {
        Some(&self.params)
    }

    fn also_takes(&self, operations: &Operations) -> Result<Option<Permission>> {
        Ok(Some(operations.kind(&self.operation)?.permission))
    }
}
