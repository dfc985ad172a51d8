//! Writing manifests: some devices in one commit, with the contents that they share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Compiled, CompiledContent, Manifest, ManifestContent, ManifestContentId, ManifestEvent, ManifestEventKind,
    ManifestGroup, rules,
};
use crate::{
    devices::{DeviceId, DeviceSummary},
    kernel::Result,
    store::{Entity, Reader, Tx, Versioned},
    work::desired::{DeviceOwners, DeviceSelections, catalogue::Catalogue, resolve::DeviceFacts},
};

/// How old the time of a content's last use may be before somebody who uses it renews it. Far less than it is kept for: what is
/// removed was not in use for long, and whoever comes to use it then alters it first.
const RENEW_CONTENT: Duration = Duration::from_secs(86_400);

/// Contents of one commit, those that devices had and those that they get: each may be large.
const MAX_CONTENTS: usize = 64;

/// A device, what it has, and what applies to it.
pub(super) struct Looked {
    summary: Versioned<DeviceSummary>,
    owners: Option<Versioned<DeviceOwners>>,
    selections: Option<Versioned<DeviceSelections>>,
    before: Option<Versioned<Manifest>>,
    compiled: Arc<Compiled>,
}

/// What applies to devices as the change sees them, and how many of them were looked at: fewer than all where they have too many
/// contents for one commit. Those that are gone are left out.
pub(super) async fn look(tx: &mut Tx, catalogue: &Catalogue, devices: &[DeviceId]) -> Result<(Vec<Looked>, usize)> {
    let before = tx.reader().get_many::<Manifest>(devices).await?;
    if catalogue.is_empty() && before.iter().all(Option::is_none) {
        return Ok((Vec::new(), devices.len()));
    }
    let summaries = tx.reader().get_many::<DeviceSummary>(devices).await?;
    let owners = tx.reader().get_many::<DeviceOwners>(devices).await?;
    let selections = tx.reader().get_many::<DeviceSelections>(devices).await?;
    let (nobody, nothing) = (BTreeSet::new(), BTreeSet::new());
    let found = summaries.into_iter().zip(owners).zip(selections).zip(before);
    let (mut looked, mut contents) = (Vec::with_capacity(devices.len()), BTreeSet::new());
    for (at, (((summary, owners), selections), before)) in found.enumerate() {
        if contents.len() >= MAX_CONTENTS {
            return Ok((looked, at));
        }
        let Some(summary) = summary else {
            continue;
        };
        let facts = DeviceFacts {
            id: summary.id,
            groups: &summary.groups,
            owners: owners.as_ref().map_or(&nobody, |owners| &owners.users),
            selected: selections.as_ref().map_or(&nothing, |selections| &selections.selected),
        };
        let compiled = catalogue.compiled(&facts);
        contents.extend(compiled.content.as_ref().ok().map(|content| content.id));
        contents.extend(before.as_ref().and_then(|before| before.content));
        looked.push(Looked {
            summary,
            owners,
            selections,
            before,
            compiled,
        });
    }
    Ok((looked, devices.len()))
}

/// Writes the manifests that are other than before; how many.
pub(super) async fn write(tx: &mut Tx, catalogue: &Catalogue, looked: &[Looked], salt: uuid::Uuid) -> Result<u64> {
    let now = tx.now();
    let old = old_groups(tx.reader(), catalogue, looked).await?;
    let is_reverted = |operation: &str| catalogue.reverted.contains(operation);
    let (mut changed, mut contents) = (0, BTreeMap::new());
    for device in looked {
        let before = device.before.as_ref().map(|before| &before.value);
        let had = before.and_then(|before| before.content).and_then(|id| old.get(&id));
        let had = had.map_or(&[][..], |groups| groups);
        let id = device.summary.id;
        let Some(after) = rules::next(id, before, had, &device.compiled, &is_reverted, now)? else {
            continue;
        };
        match &device.before {
            Some(before) => drop(tx.update(before, &after)?),
            None => tx.create(&after)?,
        }
        // What was read has to be so still, or it is decided anew.
        tx.require(&device.summary);
        require(tx, id, device.owners.as_ref());
        require(tx, id, device.selections.as_ref());
        let event = match (&after.problem, before) {
            (Some(_), _) => ManifestEventKind::Failed,
            (None, Some(before)) if before.version == after.version => ManifestEventKind::Recovered,
            (None, _) => ManifestEventKind::Compiled,
        };
        let count = match &device.compiled.content {
            Ok(content) => {
                contents.entry(content.id).or_insert(content);
                content.occurrences
            }
            Err(_) => 0,
        };
        ManifestEvent::of(event, &after, count, now).append_to(tx, salt)?;
        changed += 1;
    }
    keep_contents(tx, &contents).await?;
    Ok(changed)
}

fn require<T: Entity<Id = DeviceId>>(tx: &mut Tx, id: DeviceId, found: Option<&Versioned<T>>) {
    match found {
        Some(found) => tx.require(found),
        None => tx.require_absent::<T>(id),
    }
}

/// The groups that devices have whose content becomes another, where any kind is taken back at all.
async fn old_groups(
    reader: &mut Reader,
    catalogue: &Catalogue,
    looked: &[Looked],
) -> Result<BTreeMap<ManifestContentId, Vec<ManifestGroup>>> {
    if catalogue.reverted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let becoming = |device: &Looked| device.compiled.content.as_ref().ok().map(|content| content.id);
    let had = |device: &Looked| {
        let had = device.before.as_ref()?.content?;
        (becoming(device) != Some(had)).then_some(had)
    };
    let ids: BTreeSet<_> = looked.iter().filter_map(had).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let found = reader.get_many::<ManifestContent>(&ids).await?;
    Ok(found
        .into_iter()
        .flatten()
        .map(|content| (content.id, content.value.groups))
        .collect())
}

/// Sees to it that these contents are there when the commit is made, and stay.
async fn keep_contents(tx: &mut Tx, contents: &BTreeMap<ManifestContentId, &CompiledContent>) -> Result<()> {
    let now = tx.now();
    let ids: Vec<_> = contents.keys().copied().collect();
    let found = tx.reader().get_many::<ManifestContent>(&ids).await?;
    for ((id, content), found) in contents.iter().zip(found) {
        match found {
            None => tx.create(&ManifestContent {
                id: *id,
                groups: content.groups.clone(),
                windows: content.windows.clone(),
                used_at: now,
            })?,
            Some(found) if found.used_at > now || now.since(found.used_at) >= RENEW_CONTENT => {
                let mut renewed = found.value.clone();
                renewed.used_at = now;
                tx.update(&found, &renewed)?;
            }
            Some(found) => tx.require(&found),
        }
    }
    Ok(())
}
