//! Use cases over manifests.

use std::collections::BTreeSet;

use super::{
    Manifest, ManifestContent, ManifestContentId, ManifestEvent, ManifestGroup, ManifestState, ManifestView,
    Occurrence, OverruledBy, WhyView,
};
use crate::{
    access::Context,
    devices::{Device, DeviceId, DeviceSummary, not_found, require_in_scope},
    kernel::{EntityId as _, Page, PageRequest, PageToken, Result, query_fingerprint},
    store::{LaneQuery, Reader, Store},
    work::{
        Operations,
        desired::{
            ASSIGNMENTS_READ, ActionId, Catalogues, DeviceOwners, DeviceSelections, MANIFEST_NOT_FOUND, Source,
            catalogue::Catalogue,
            resolve::{Decision, DeviceFacts, Layer, Outcome, Reason, Resolution, Standing, resolve},
        },
        secrets::Vault,
        windows::HeldWindow,
    },
};

/// What is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhyFilter {
    /// Only this action, whether or not it applies.
    pub action: Option<ActionId>,
}

/// Compiles manifests, shows them, and says why.
#[derive(Debug)]
pub struct ManifestService<'a> {
    pub(super) store: &'a Store,
    pub(super) vault: Vault<'a>,
    pub(super) operations: &'a Operations,
    pub(super) catalogues: &'a Catalogues,
}

impl<'a> ManifestService<'a> {
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
        }
    }

    /// The manifest of a device.
    pub async fn show(&self, context: &Context, device: DeviceId) -> Result<ManifestView> {
        require_in_scope(&context.require(ASSIGNMENTS_READ)?, device)?;
        let mut reader = self.store.reader().await?;
        reader.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
        let found = manifest(&mut reader, device).await?;
        found.ok_or_else(|| {
            let why = "nothing was ever assigned to this device, so it has no manifest";
            MANIFEST_NOT_FOUND.error(why)
        })
    }

    /// A page of what happened to the manifest of a device, newest first.
    pub async fn history(
        &self,
        context: &Context,
        device: DeviceId,
        page: &PageRequest,
    ) -> Result<Page<ManifestEvent>> {
        require_in_scope(&context.require(ASSIGNMENTS_READ)?, device)?;
        let mut reader = self.store.reader().await?;
        reader.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
        let query = LaneQuery::<ManifestEvent>::newest_first().stream(device.uuid());
        reader.rows(&query, page).await
    }

    /// The groups of an earlier version, as its history names them, while they are kept.
    pub async fn content(&self, context: &Context, id: ManifestContentId) -> Result<Vec<ManifestGroup>> {
        context.require(ASSIGNMENTS_READ)?.require_all(ASSIGNMENTS_READ)?;
        let found = self.store.get::<ManifestContent>(id).await?;
        let found = found.ok_or_else(|| MANIFEST_NOT_FOUND.error("this content is not kept any more"))?;
        Ok(found.value.groups.into_iter().map(ManifestGroup::masked).collect())
    }

    /// A page of what comes of each action on a device, and why, by the actions' ids: of those that an assignment leads to, or of one
    /// whatever comes of it. Decided anew, by what is assigned now.
    pub async fn why(
        &self,
        context: &Context,
        device: DeviceId,
        filter: &WhyFilter,
        page: &PageRequest,
    ) -> Result<Page<WhyView>> {
        require_in_scope(&context.require(ASSIGNMENTS_READ)?, device)?;
        let mut reader = self.store.reader().await?;
        let catalogue = self.catalogues.read(&mut reader, self.operations).await?;
        let resolution = resolution(&mut reader, &catalogue, device).await?;
        if let Some(action) = filter.action {
            return Ok(Page {
                items: vec![why(&catalogue, &resolution, action)],
                next: None,
            });
        }
        let fingerprint = query_fingerprint(&("why", device))?;
        let after: Option<ActionId> = page.cursor(fingerprint)?;
        let mut rest = resolution.decisions.keys().filter(|action| Some(**action) > after);
        let shown: Vec<ActionId> = rest.by_ref().take(page.limit()).copied().collect();
        let last = shown.last().filter(|_| rest.next().is_some());
        Ok(Page {
            next: last.map(|last| PageToken::seal(fingerprint, last)).transpose()?,
            items: shown
                .iter()
                .map(|action| why(&catalogue, &resolution, *action))
                .collect(),
        })
    }
}

async fn manifest(reader: &mut Reader, device: DeviceId) -> Result<Option<ManifestView>> {
    let Some(found) = reader.get::<Manifest>(device).await? else {
        return Ok(None);
    };
    let state = reader.latest::<ManifestState>(&[device]).await?.pop().flatten();
    let (groups, windows) = body(reader, &found.value).await?;
    let found = found.value;
    Ok(Some(ManifestView {
        device,
        version: found.version,
        digest: found.digest,
        groups: groups.into_iter().map(ManifestGroup::masked).collect(),
        windows,
        reverts: found.reverts.into_iter().map(Occurrence::masked).collect(),
        problem: found.problem,
        compiled_at: found.compiled_at,
        state,
    }))
}

/// The groups of a manifest, and the windows that hold them.
pub(super) async fn body(reader: &mut Reader, manifest: &Manifest) -> Result<(Vec<ManifestGroup>, Vec<HeldWindow>)> {
    let Some(id) = manifest.content else {
        return Ok(Default::default());
    };
    // Never an empty list in its place: the device would take back what it has.
    let found = reader.get::<ManifestContent>(id).await?;
    let missing = || crate::kernel::Error::internal(format!("the content {id} of a manifest is not there"));
    let ManifestContent { groups, windows, .. } = found.ok_or_else(missing)?.value;
    Ok((groups, windows))
}

async fn resolution(reader: &mut Reader, catalogue: &Catalogue, device: DeviceId) -> Result<Resolution> {
    let summary = reader.get::<DeviceSummary>(device).await?;
    let summary = summary.ok_or_else(|| not_found(device))?;
    let owners = reader.get::<DeviceOwners>(device).await?;
    let selections = reader.get::<DeviceSelections>(device).await?;
    let (nobody, nothing) = (BTreeSet::new(), BTreeSet::new());
    let facts = DeviceFacts {
        id: device,
        groups: &summary.groups,
        owners: owners.as_ref().map_or(&nobody, |owners| &owners.users),
        selected: selections.as_ref().map_or(&nothing, |selections| &selections.selected),
    };
    Ok(resolve(&catalogue.world, &facts))
}

fn why(catalogue: &Catalogue, resolution: &Resolution, action: ActionId) -> WhyView {
    let unreached = Decision {
        outcome: Outcome::NotApplied,
        reason: Reason::NotAssigned,
        layer: Layer::Device,
        steps: Vec::new(),
        overruled_by: None,
    };
    let decision = resolution.decisions.get(&action).unwrap_or(&unreached).clone();
    let groups = resolution.groups.iter();
    let groups = groups.filter(|group| group.actions.iter().any(|placed| placed.action == action));
    WhyView {
        action,
        name: catalogue.described(action.into()).0,
        outcome: decision.outcome,
        reason: decision.reason,
        layer: decision.layer,
        in_words: in_words(catalogue, &decision),
        overruled_by: overruled_by(catalogue, &decision),
        groups: groups.map(|group| group.key.to_string()).collect(),
        steps: decision.steps,
    }
}

fn overruled_by(catalogue: &Catalogue, decision: &Decision) -> Option<OverruledBy> {
    let overruling = decision.overruled_by.as_ref()?;
    Some(OverruledBy {
        action: overruling.action,
        name: catalogue.described(overruling.action.into()).0,
        subject: overruling.subject.clone(),
    })
}

/// A decision in a sentence.
fn in_words(catalogue: &Catalogue, decision: &Decision) -> String {
    let what = match (decision.outcome, decision.reason) {
        (Outcome::Present, _) => "It is applied",
        (Outcome::Absent, _) => "It is applied as absent",
        (Outcome::NotApplied, Reason::NotAssigned) => "It is not applied: no assignment leads to it",
        (Outcome::NotApplied, Reason::NotSelected) => "It is not applied: it is available, and nobody chose it",
        (Outcome::NotApplied, Reason::NothingToTakeAway) => {
            "It is not applied: it is to be taken away, and its kind knows no absence"
        }
        (Outcome::NotApplied, _) => "It is not applied",
    };
    let what = match overruled_by(catalogue, decision) {
        Some(by) => format!(
            "{what} but overruled by the action {} ({}), which is about the same ({}) with other parameters",
            by.name, by.action, by.subject
        ),
        None => what.to_owned(),
    };
    let Some(step) = decision.steps.iter().find(|step| step.standing == Standing::Decides) else {
        return format!("{what}.");
    };
    let set = step.action_set.map(|set| catalogue.described(Source::ActionSet(set)).0);
    let definition = step.definition;
    let definition = definition.map(|id| catalogue.described(Source::Definition(id)).0);
    let by = match (definition, set) {
        (Some(definition), Some(set)) => format!("the action set {set} of the definition {definition}"),
        (Some(definition), None) => format!("the definition {definition}"),
        (None, Some(set)) => format!("the action set {set}"),
        (None, None) => "it".to_owned(),
    };
    let to = match step.layer {
        Layer::Device => format!("the {}", step.target.noun()),
        Layer::User => "a user whom the device belongs to".to_owned(),
    };
    format!("{what}: {by} is assigned to {to} as {}.", step.mode.name())
}
