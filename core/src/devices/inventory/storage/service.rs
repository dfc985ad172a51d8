//! Asking for inventories.

use std::collections::BTreeMap;

use super::{InventorySection, InventorySectionId, InventorySectionView, SECTION_NOT_FOUND};
use crate::{
    access::Context,
    devices::{
        DEVICES_READ, Device, DeviceId,
        groups::DynamicGroups,
        inventory::{ContentHash, Section},
        permissions::{not_found, require_in_scope},
    },
    kernel::Result,
    store::{Store, Versioned},
};

/// Takes inventories in and answers questions about them.
#[derive(Debug)]
pub struct InventoryService<'a> {
    pub(super) store: &'a Store,
    pub(super) groups: &'a DynamicGroups,
}

impl<'a> InventoryService<'a> {
    pub(crate) fn new(store: &'a Store, groups: &'a DynamicGroups) -> Self {
        Self { store, groups }
    }

    /// The hashes of the sections that the server has of a device.
    pub async fn hashes(&self, device: DeviceId) -> Result<BTreeMap<Section, ContentHash>> {
        let sections = self.read(device).await?;
        Ok(sections
            .into_iter()
            .map(|section| (section.section, section.hash))
            .collect())
    }

    /// The sections that a device should send whole, of those that it has: the hash that it announces is not the one here.
    /// Names that this version does not know are passed over.
    pub async fn wanted(&self, device: DeviceId, announced: &BTreeMap<String, String>) -> Result<Vec<Section>> {
        let known = self.hashes(device).await?;
        let differs = |section: &Section| {
            announced
                .get(section.name())
                .is_some_and(|hash| known.get(section).map(ToString::to_string).as_ref() != Some(hash))
        };
        Ok(Section::ALL.into_iter().filter(differs).collect())
    }

    /// The sections that a device reported, without their bodies.
    pub async fn sections(&self, context: &Context, device: DeviceId) -> Result<Vec<InventorySectionView>> {
        self.check(context, device).await?;
        let sections = self.read(device).await?;
        Ok(sections
            .into_iter()
            .map(|section| InventorySectionView {
                body: None,
                ..InventorySectionView::from(section)
            })
            .collect())
    }

    /// One section of a device.
    pub async fn section(&self, context: &Context, device: DeviceId, section: Section) -> Result<InventorySectionView> {
        self.check(context, device).await?;
        Ok(InventorySectionView::from(self.stored(device, section).await?))
    }

    pub(super) async fn stored(&self, device: DeviceId, section: Section) -> Result<Versioned<InventorySection>> {
        let found = self.store.get(InventorySectionId::of(device, section)).await?;
        found.ok_or_else(|| SECTION_NOT_FOUND.error(format!("the device has not reported its {section} yet")))
    }

    /// Refuses who may not see the device, and a device that does not exist.
    pub(super) async fn check(&self, context: &Context, device: DeviceId) -> Result<()> {
        require_in_scope(&context.require(DEVICES_READ)?, device)?;
        let found = self.store.get::<Device>(device).await?;
        found.map(drop).ok_or_else(|| not_found(device))
    }

    async fn read(&self, device: DeviceId) -> Result<Vec<Versioned<InventorySection>>> {
        let ids = Section::ALL.map(|section| InventorySectionId::of(device, section));
        let found = self.store.reader().await?.get_many::<InventorySection>(&ids).await?;
        Ok(found.into_iter().flatten().collect())
    }
}
