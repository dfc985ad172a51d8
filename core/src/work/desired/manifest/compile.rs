//! From what was decided to what is written: groups with all that it takes to apply them, and the windows that hold them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ManifestContentId, ManifestGroup, Occurrence,
    rules::{MAX_CONTENT_BYTES, MAX_OCCURRENCES, digest},
};
use crate::{
    kernel::named_uuid,
    work::{
        desired::{
            ActionId, MANIFEST_ACTION_INVALID, MANIFEST_TOO_LARGE, OnFailure, Source,
            catalogue::Catalogue,
            resolve::{DeviceFacts, GroupKey, Placed, ResolvedGroup, resolve},
        },
        windows::{HeldWindow, Window},
    },
};

/// What applies to devices that the same reaches, or code and message of why that cannot be said.
#[derive(Clone, Debug)]
pub(in crate::work::desired) struct Compiled {
    pub content: Result<CompiledContent, (&'static str, String)>,
}

/// What applies, under its name.
#[derive(Clone, Debug)]
pub(in crate::work::desired) struct CompiledContent {
    pub id: ManifestContentId,
    /// Of a manifest in which nothing is to be taken back.
    pub digest: String,
    pub groups: Vec<ManifestGroup>,
    pub windows: Vec<HeldWindow>,
    /// What of the device it is about.
    pub subjects: BTreeSet<String>,
    pub occurrences: usize,
}

impl Compiled {
    /// What applies to a device that these windows concern.
    pub fn new(catalogue: &Catalogue, device: &DeviceFacts<'_>, windows: &[&Window]) -> Self {
        let resolution = resolve(&catalogue.world, device);
        Self {
            content: content(catalogue, &resolution.groups, windows),
        }
    }
}

fn content(
    catalogue: &Catalogue,
    resolved: &[ResolvedGroup],
    windows: &[&Window],
) -> Result<CompiledContent, (&'static str, String)> {
    let occurrences: usize = resolved.iter().map(|group| group.actions.len()).sum();
    if occurrences > MAX_OCCURRENCES {
        let why = format!(
            "{occurrences} actions apply to the device; at most {MAX_OCCURRENCES} may. Assign fewer sets to it"
        );
        return Err((MANIFEST_TOO_LARGE.name(), why));
    }
    let groups: Vec<_> = resolved
        .iter()
        .map(|found| group(catalogue, found))
        .collect::<Result<_, _>>()?;
    let unwritable = |error: crate::kernel::Error| (MANIFEST_ACTION_INVALID.name(), error.message().to_owned());
    let windows: Vec<_> = windows.iter().map(|window| window.held()).collect();
    let (digest, bytes) = digest(&groups, &windows, &[]).map_err(unwritable)?;
    if bytes > MAX_CONTENT_BYTES {
        let why = format!(
            "what applies to the device has {bytes} bytes; at most {MAX_CONTENT_BYTES} fit. Assign fewer sets to it"
        );
        return Err((MANIFEST_TOO_LARGE.name(), why));
    }
    let all = groups.iter().flat_map(|group| &group.occurrences);
    let subjects = all.flat_map(|one| one.subjects.iter().cloned()).collect();
    Ok(CompiledContent {
        id: ManifestContentId::of(&digest),
        digest,
        groups,
        windows,
        subjects,
        occurrences,
    })
}

fn group(catalogue: &Catalogue, found: &ResolvedGroup) -> Result<ManifestGroup, (&'static str, String)> {
    let (rhythm, on_failure) = match &found.key {
        GroupKey::Definition(id) => catalogue
            .definitions
            .get(id)
            .map(|found| (found.rhythm.clone(), found.on_failure)),
        GroupKey::ActionSet(id) => catalogue
            .sets
            .get(id)
            .map(|found| (found.rhythm.clone(), found.on_failure)),
        GroupKey::Action(id) => {
            let ready = catalogue.actions.get(id);
            ready.map(|ready| (ready.action.rhythm.clone().unwrap_or_default(), OnFailure::Continue))
        }
    }
    .unwrap_or_default();
    let label = found.key.to_string();
    let source = match found.key {
        GroupKey::Definition(id) => Source::Definition(id),
        GroupKey::ActionSet(id) => Source::ActionSet(id),
        GroupKey::Action(id) => Source::Action(id),
    };
    // The same action may stand in a group more than once: each time is one of its own.
    let mut times = BTreeMap::<ActionId, u32>::new();
    let mut occurrences = Vec::with_capacity(found.actions.len());
    for placed in &found.actions {
        let time = times.entry(placed.action).or_default();
        *time += 1;
        occurrences.push(occurrence(catalogue, &label, placed, *time)?);
    }
    Ok(ManifestGroup {
        label,
        name: catalogue.described(source).0,
        rhythm,
        on_failure,
        occurrences,
    })
}

fn occurrence(
    catalogue: &Catalogue,
    label: &str,
    placed: &Placed,
    time: u32,
) -> Result<Occurrence, (&'static str, String)> {
    let name = catalogue.described(placed.action.into()).0;
    let invalid = |why: String| {
        let why = format!("the action {name} cannot be applied: {why}. Change it, or take it out of what is assigned");
        (MANIFEST_ACTION_INVALID.name(), why)
    };
    let params = catalogue.params(placed.action, placed.state).map_err(&invalid)?.clone();
    let ready = catalogue.actions.get(&placed.action);
    let ready = ready.ok_or_else(|| invalid("it was deleted".to_owned()))?;
    let action = &ready.action;
    Ok(Occurrence {
        id: named_uuid("manifest_occurrence", &format!("{label}/{}/{time}", placed.action)),
        action: placed.action,
        name,
        generation: action.generation,
        operation: action.operation.clone(),
        params,
        subjects: ready.subjects.clone(),
        state: placed.state,
        timeout_seconds: action.timeout_seconds,
        action_set: placed.action_set,
    })
}
