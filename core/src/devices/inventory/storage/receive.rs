//! Taking a report in.

use std::time::Duration;

use serde_json::Value as Json;

use super::{
    BODY_WANTED, InventorySection, InventorySectionId, InventoryService, PackageSetId, REPORT_INVALID,
    REPORT_TOO_LARGE, StoredSet,
    model::{PackageNote, StoredPackages},
    rules, sets,
};
use crate::{
    access::Context,
    devices::{
        Device, DeviceEvent, DeviceId, DeviceSummary, INVENTORY_CHANGED,
        device::of_agent,
        groups::DynamicGroups,
        inventory::{BodyError, PackageSet, Packages, SectionBody, SectionReport},
        permissions::not_found,
    },
    kernel::{Error, Result, Timestamp, canonical},
    store::{Evidence, Tx},
};

/// The most bytes of the stored section of packages; below the store's own limit with the names of updates beside it.
const MAX_STORED: usize = 3 << 20;
/// How long members that were seen may be relied on: far less than the cleaning waits.
const RELY_ON_MEMBERS: Duration = Duration::from_secs(600);
/// How often the whole is begun anew.
const ATTEMPTS: usize = 4;

/// What came of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The section was as reported already; nothing was written.
    Unchanged,
    /// The section is now as reported.
    Changed,
}

/// A section that is ready to be written.
struct Prepared<'a> {
    report: &'a SectionReport,
    body: &'a SectionBody,
    stored: Json,
    updates: Vec<String>,
    security_updates: Vec<String>,
    set: Option<(PackageSet, Timestamp)>,
}

impl InventoryService<'_> {
    /// Takes a section of a device that proved itself. The body is checked against its hash and the section's bounds; a section
    /// that is as reported already costs no write.
    pub async fn receive(&self, device: DeviceId, report: &SectionReport) -> Result<Received> {
        let body = report.verify().map_err(refuse)?;
        if self.hash(device, report).await? == Some(report.hash) {
            return Ok(Received::Unchanged);
        }
        // Says whether it was deleted, before anything is stored for it.
        of_agent(self.store, device).await?;
        let Some(body) = body else {
            return Err(BODY_WANTED.error("the server does not have this body; send the section whole"));
        };
        let context = Context::system("inventory");
        for _ in 0..ATTEMPTS {
            let prepared = &self.prepare(device, report, &body).await?;
            let written = self
                .store
                .change(&context, Evidence::Observed, |tx| {
                    write(tx, self.groups, device, prepared)
                })
                .await?;
            if let Some(received) = written {
                return Ok(received);
            }
        }
        Err(Error::internal("packages took too long to be stored"))
    }

    async fn hash(
        &self,
        device: DeviceId,
        report: &SectionReport,
    ) -> Result<Option<crate::devices::inventory::ContentHash>> {
        let id = InventorySectionId::of(device, report.section);
        Ok(self
            .store
            .get::<InventorySection>(id)
            .await?
            .map(|section| section.hash))
    }

    async fn prepare<'r>(
        &self,
        device: DeviceId,
        report: &'r SectionReport,
        body: &'r SectionBody,
    ) -> Result<Prepared<'r>> {
        let SectionBody::Packages(packages) = body else {
            return Ok(Prepared {
                report,
                body,
                stored: report.body.clone().unwrap_or(Json::Null),
                updates: Vec::new(),
                security_updates: Vec::new(),
                set: None,
            });
        };
        sets::check(packages)?;
        let set = packages.set();
        let began = self.store.clock().now();
        let notes = sets::learn(self.store, device, packages, &set).await?;
        let waiting = |security: bool| {
            let items = packages.items.iter();
            items
                .filter(|package| package.available_version.is_some() && !package.held)
                .filter(|package| !security || package.security)
                .map(|package| update_name(&packages.manager, &package.name))
                .collect()
        };
        Ok(Prepared {
            report,
            body,
            updates: waiting(false),
            security_updates: waiting(true),
            stored: stored_packages(packages, &set, notes)?,
            set: Some((set, began)),
        })
    }
}

/// How an update is named in the section that waits for it.
pub(super) fn update_name(manager: &str, name: &str) -> String {
    format!("{manager}/{name}")
}

/// Writes section, set, summary and event. None when the members of the set can no longer be relied on.
async fn write(
    mut tx: Tx,
    groups: &DynamicGroups,
    device: DeviceId,
    prepared: &Prepared<'_>,
) -> Result<Option<Received>> {
    let report = prepared.report;
    let known = tx.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
    // A section must not outlive its device.
    tx.require(&known);
    let id = InventorySectionId::of(device, report.section);
    let before = tx.get::<InventorySection>(id).await?;
    if before.as_ref().is_some_and(|section| section.hash == report.hash) {
        return Ok(Some(Received::Unchanged));
    }
    let set = match &prepared.set {
        Some((set, began)) => match hold(&mut tx, set, *began).await? {
            Some(id) => Some(id),
            None => return Ok(None),
        },
        None => None,
    };
    let after = InventorySection {
        id,
        device,
        section: report.section,
        hash: report.hash,
        collected_at: report.collected_at,
        received_at: tx.now(),
        body: prepared.stored.clone(),
        updates: prepared.updates.clone(),
        security_updates: prepared.security_updates.clone(),
    };
    match &before {
        Some(before) => drop(tx.update(before, &after)?),
        None => tx.create(&after)?,
    }
    let shown = tx.get::<DeviceSummary>(device).await?;
    let mut summary = shown
        .as_ref()
        .map_or_else(|| DeviceSummary::new(&known), |shown| shown.value.clone());
    rules::show(&mut summary, prepared.body, set);
    // What most reports change is asked for by no query.
    if shown.as_ref().is_none_or(|shown| shown.value != summary) {
        let groups = groups.begin(&mut tx).await?;
        groups.place(tx.reader(), &mut summary).await?;
    }
    match &shown {
        Some(shown) => drop(tx.update(shown, &summary)?),
        None => tx.create(&summary)?,
    }
    DeviceEvent::new(Some(device), INVENTORY_CHANGED, tx.now())
        .with("section", report.section.name())
        .with("hash", report.hash.to_string())
        .append_to(&mut tx)?;
    tx.commit().await?;
    Ok(Some(Received::Changed))
}

/// Stores the set if it is not there, and keeps it from being cleaned away.
async fn hold(tx: &mut Tx, set: &PackageSet, began: Timestamp) -> Result<Option<PackageSetId>> {
    let id = PackageSetId::of(set.hash());
    match tx.get::<StoredSet>(id).await? {
        Some(found) => {
            let mut held = found.value.clone();
            held.doubted_since = None;
            tx.update(&found, &held)?;
        }
        None if tx.now().since(began) > RELY_ON_MEMBERS => return Ok(None),
        None => tx.create(&StoredSet {
            id,
            hash: set.hash(),
            members: set.members().iter().map(|member| member.member_id()).collect(),
            doubted_since: None,
        })?,
    }
    Ok(Some(id))
}

fn stored_packages(packages: &Packages, set: &PackageSet, notes: Vec<PackageNote>) -> Result<Json> {
    let stored = StoredPackages {
        available: packages.available,
        reason: packages.reason.clone(),
        manager: packages.manager.clone(),
        updates_problem: packages.updates_problem.clone(),
        lists_updated_at: packages.lists_updated_at,
        truncated: packages.truncated,
        left_out: packages.left_out,
        installed: set.members().len() as u64,
        set: PackageSetId::of(set.hash()),
        notes,
    };
    let size = canonical::to_vec(&stored).map_err(Error::internal)?.len();
    if size > MAX_STORED {
        return Err(REPORT_TOO_LARGE.error("what the packages say of themselves is more than can be stored"));
    }
    serde_json::to_value(stored).map_err(Error::internal)
}

fn refuse(error: BodyError) -> Error {
    let code = match error {
        BodyError::TooLarge { .. } | BodyError::TooMany { .. } => REPORT_TOO_LARGE,
        _ => REPORT_INVALID,
    };
    code.error(error.to_string())
}
