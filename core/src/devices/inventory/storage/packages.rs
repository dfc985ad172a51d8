//! The packages of one device.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    InventoryService, PackageMemberId, PackageView, StoredMember, StoredSet,
    model::{PackageNote, StoredPackages},
};
use crate::{
    access::Context,
    devices::{DeviceId, inventory::Section},
    kernel::{Error, Page, PageRequest, PageToken, Result, query_fingerprint},
    store::Reader,
};

/// Members that are read at once.
const BATCH: usize = 1_000;
/// The longest text that is searched for, in bytes.
const MAX_SEARCH: usize = 256;

/// Which packages of a device are wanted; all conditions hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PackageFilter {
    /// A part of the name.
    pub search: Option<String>,
    /// Only those that have, or have not, an available version that would be installed.
    pub updates: Option<bool>,
    /// Only those whose available version comes, or does not come, from a security archive.
    pub security: Option<bool>,
    /// Only those that are, or are not, kept at their version.
    pub held: Option<bool>,
}

impl PackageFilter {
    fn check(&self) -> Result<()> {
        match &self.search {
            Some(search) if search.len() > MAX_SEARCH => {
                Err(Error::invalid_field("search", format!("at most {MAX_SEARCH} bytes")))
            }
            _ => Ok(()),
        }
    }

    fn holds(&self, package: &PackageView) -> bool {
        let waits = package.available_version.is_some() && !package.held;
        self.search
            .as_ref()
            .is_none_or(|part| package.name.contains(part.as_str()))
            && self.updates.is_none_or(|wanted| wanted == waits)
            && self.security.is_none_or(|wanted| wanted == package.security)
            && self.held.is_none_or(|wanted| wanted == package.held)
    }
}

impl InventoryService<'_> {
    /// A page of the packages of a device, by name. A report that comes between two pages does not disturb them.
    pub async fn packages(
        &self,
        context: &Context,
        device: DeviceId,
        filter: &PackageFilter,
        page: &PageRequest,
    ) -> Result<Page<PackageView>> {
        self.check(context, device).await?;
        filter.check()?;
        let question = query_fingerprint(&("packages", device, filter))?;
        let after: Option<(String, String, String)> = page.cursor(question)?;
        let section = self.stored(device, Section::Packages).await?;
        let packages = StoredPackages::of(&section)?;
        let mut reader = self.store.reader().await?;
        let notes: HashMap<_, _> = packages.notes.iter().map(|note| (key(note), note)).collect();
        let mut items = Vec::new();
        for member in members(&mut reader, &packages).await? {
            let place = (member.name.clone(), member.version.clone(), member.architecture.clone());
            if after.as_ref().is_some_and(|after| place <= *after) {
                continue;
            }
            let note = notes.get(&(place.0.as_str(), place.1.as_str(), place.2.as_str()));
            let package = PackageView::new(member, note.copied());
            if !filter.holds(&package) {
                continue;
            }
            items.push(package);
            if items.len() > page.limit() {
                break;
            }
        }
        let more = items.len() > page.limit();
        items.truncate(page.limit());
        let next = match items.last() {
            Some(last) if more => Some(PageToken::seal(
                question,
                &(&last.name, &last.version, &last.architecture),
            )?),
            _ => None,
        };
        Ok(Page { items, next })
    }
}

fn key(note: &PackageNote) -> (&str, &str, &str) {
    (&note.name, &note.version, &note.architecture)
}

/// The members of a device's set, in the order of their names. All of a set come from one package manager.
async fn members(reader: &mut Reader, packages: &StoredPackages) -> Result<Vec<StoredMember>> {
    let set = reader.get::<StoredSet>(packages.set).await?;
    let set = set.ok_or_else(|| Error::internal(format!("package set {} is missing", packages.set)))?;
    let ids: Vec<_> = set.members.iter().map(|number| PackageMemberId::of(*number)).collect();
    let mut members = Vec::with_capacity(ids.len());
    for ids in ids.chunks(BATCH) {
        for (id, member) in ids.iter().zip(reader.get_many::<StoredMember>(ids).await?) {
            members.push(
                member
                    .ok_or_else(|| Error::internal(format!("package {id} is missing")))?
                    .value,
            );
        }
    }
    Ok(members)
}
