//! Use cases over selections.

use std::collections::BTreeSet;

use super::{AvailableView, DeviceSelections, SelectionChange};
use crate::{
    access::Context,
    devices::{Device, DeviceId, DeviceSummary, not_found, require_in_scope},
    kernel::{EntityId as _, Error, Page, PageRequest, PageToken, Result, query_fingerprint},
    store::{Evidence, Reader, Store},
    work::{
        Operations,
        desired::{
            ASSIGNMENTS_READ, ASSIGNMENTS_WRITE, Catalogues, DeviceOwners, SELECTION_NOT_AVAILABLE, SELECTION_SET,
            SELECTIONS_WRITE, Source, Target,
            catalogue::Catalogue,
            edition::{Concerned, remember},
        },
    },
};

/// Reads and changes what is chosen on devices.
#[derive(Debug)]
pub struct SelectionService<'a> {
    store: &'a Store,
    operations: &'a Operations,
    catalogues: &'a Catalogues,
}

impl<'a> SelectionService<'a> {
    pub(in crate::work::desired) fn new(
        store: &'a Store,
        operations: &'a Operations,
        catalogues: &'a Catalogues,
    ) -> Self {
        Self {
            store,
            operations,
            catalogues,
        }
    }

    /// A page of what is available on a device, and whether it was chosen. Whoever may see assignments sees it, and the device's owners.
    pub async fn list(&self, context: &Context, device: DeviceId, page: &PageRequest) -> Result<Page<AvailableView>> {
        let mut reader = self.store.reader().await?;
        if context.require(ASSIGNMENTS_READ).is_err() {
            require_owner(&mut reader, context, device).await?;
        }
        let catalogue = self.catalogues.read(&mut reader, self.operations).await?;
        let available: Vec<Source> = available(&mut reader, &catalogue, device).await?.into_iter().collect();
        let chosen = reader.get::<DeviceSelections>(device).await?;
        let chosen = chosen.map(|chosen| chosen.value.selected).unwrap_or_default();
        let fingerprint = query_fingerprint(&("available", device))?;
        let after: Option<Source> = page.cursor(fingerprint)?;
        let rest: Vec<_> = available.into_iter().filter(|source| Some(*source) > after).collect();
        let shown = rest.get(..page.limit().min(rest.len())).unwrap_or_default();
        let last = shown.last().filter(|_| shown.len() < rest.len());
        let view = |source: &Source| {
            let (name, description) = catalogue.described(*source);
            AvailableView {
                source: *source,
                name,
                description,
                actions: catalogue.actions_of(*source),
                selected: chosen.contains(source),
            }
        };
        Ok(Page {
            items: shown.iter().map(view).collect(),
            next: last.map(|last| PageToken::seal(fingerprint, last)).transpose()?,
        })
    }

    /// Chooses what is available on a device, or not any more. It takes the right to assign, or to own the device and to choose.
    pub async fn set(&self, context: &Context, device: DeviceId, change: &SelectionChange) -> Result<()> {
        let by_right = context.require(ASSIGNMENTS_WRITE).ok();
        let scope = match &by_right {
            Some(scope) => scope.clone(),
            None => context.require(SELECTIONS_WRITE)?,
        };
        require_in_scope(&scope, device)?;
        let (may_assign, source) = (by_right.is_some(), change.source);
        self.store
            .change(context, Evidence::Audit(SELECTION_SET), |mut tx| async move {
                if !may_assign {
                    require_owner(tx.reader(), context, device).await?;
                }
                let found = tx.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
                let before = tx.get::<DeviceSelections>(device).await?;
                let mut after = before.as_ref().map_or_else(
                    || DeviceSelections {
                        id: device,
                        selected: BTreeSet::new(),
                    },
                    |before| before.value.clone(),
                );
                let catalogue = self.catalogues.read(tx.reader(), self.operations).await?;
                let available = available(tx.reader(), &catalogue, device).await?;
                if !available.contains(&source) {
                    return Err(not_available(source));
                }
                // What is gone for good would otherwise add up.
                after.selected.retain(|source| catalogue.knows(*source));
                match change.selected {
                    true => after.selected.insert(source),
                    false => after.selected.remove(&source),
                };
                let is_other = match &before {
                    Some(before) => tx.update(before, &after)?,
                    None if after.selected.is_empty() => false,
                    None => {
                        tx.create(&after)?;
                        true
                    }
                };
                tx.require(&found);
                tx.subject::<Device>(device, found.value.name.clone());
                if is_other {
                    tx.detail("source", source.uuid().to_string());
                    tx.detail("selected", change.selected);
                    let concerned = Concerned {
                        targets: [Target::Device(device)].into(),
                        ..Concerned::default()
                    };
                    remember(&mut tx, self.store, concerned)?;
                }
                tx.commit().await
            })
            .await?;
        self.catalogues.ring();
        Ok(())
    }
}

/// What an assignment makes available on a device, itself and not by something around it.
async fn available(reader: &mut Reader, catalogue: &Catalogue, device: DeviceId) -> Result<BTreeSet<Source>> {
    let summary = reader.get::<DeviceSummary>(device).await?;
    let summary = summary.ok_or_else(|| not_found(device))?;
    let owners = reader.get::<DeviceOwners>(device).await?;
    let owners = owners.map(|owners| owners.value.users).unwrap_or_default();
    Ok(catalogue.available(device, &summary.groups, &owners))
}

/// Refuses whoever does not own the device, as if there were no such device.
async fn require_owner(reader: &mut Reader, context: &Context, device: DeviceId) -> Result<()> {
    context.require(SELECTIONS_WRITE)?;
    let owners = reader.get::<DeviceOwners>(device).await?;
    let user = context.user().map(crate::access::users::UserId::from_uuid);
    match (owners, user) {
        (Some(owners), Some(user)) if owners.users.contains(&user) => Ok(()),
        _ => Err(not_found(device)),
    }
}

fn not_available(source: Source) -> Error {
    let why = format!("nothing makes this {} available on the device", source.noun());
    SELECTION_NOT_AVAILABLE.error(why.clone()).with_field("/source", why)
}
