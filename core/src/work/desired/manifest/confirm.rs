//! What devices have taken back leaves their manifests. When a user is taken from all devices at once, all of them tell at once: they are
//! answered together.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Manifest, ManifestContent, ManifestEvent, ManifestEventKind, ManifestService, rules};
use crate::{
    access::Context,
    devices::DeviceId,
    gathering::{Gathering, together},
    kernel::{Error, Result},
    store::{Evidence, Reader, Tx, Versioned},
    work::desired::MANIFEST_NOT_FOUND,
};

/// The most devices that are answered together: each may have a content of its own, which may be large.
const TOGETHER: usize = 64;

/// What a device has taken back.
#[derive(Clone, Debug)]
pub(in crate::work::desired) struct Confirmation {
    device: DeviceId,
    occurrences: BTreeSet<Uuid>,
}

/// Those that wait to be answered.
#[derive(Debug)]
pub(in crate::work::desired) struct Confirmations(Gathering<Confirmation, ()>);

impl Default for Confirmations {
    fn default() -> Self {
        Self(Gathering::new(TOGETHER))
    }
}

impl ManifestService<'_> {
    /// The device has taken these back. What it tells twice changes nothing.
    ///
    /// # Errors
    /// [`MANIFEST_NOT_FOUND`] when it has no manifest, or none any more.
    pub async fn confirm_reverts(&self, device: DeviceId, occurrences: &[Uuid]) -> Result<()> {
        let confirmation = Confirmation {
            device,
            occurrences: occurrences.iter().copied().collect(),
        };
        let confirmations = &self.catalogues.confirmations.0;
        confirmations.ask(confirmation, |asked| self.confirm(asked)).await
    }

    /// Answers those who confirm, until it is dropped.
    pub(super) async fn drive_confirmations(&self) {
        match self.catalogues.confirmations.0.drive(|asked| self.confirm(asked)).await {}
    }

    async fn confirm(&self, asked: Vec<Confirmation>) -> Vec<Result<()>> {
        together(asked, |asked| self.confirm_together(asked)).await
    }

    async fn confirm_together(&self, asked: Vec<Confirmation>) -> Result<Vec<Result<()>>> {
        let context = Context::system("work.manifests");
        // With whoever compiles, as its other changes.
        let _alone = self.catalogues.compiling.lock().await;
        let mut by_device = BTreeMap::<DeviceId, BTreeSet<Uuid>>::new();
        for one in &asked {
            by_device.entry(one.device).or_default().extend(&one.occurrences);
        }
        let known = self
            .store
            .change(&context, Evidence::Observed, |mut tx| {
                let by_device = &by_device;
                async move {
                    let known = self.take_out(&mut tx, by_device).await?;
                    if !tx.is_empty() {
                        tx.commit().await?;
                    }
                    Ok(known)
                }
            })
            .await?;
        let answer = |one: &Confirmation| match known.contains(&one.device) {
            true => Ok(()),
            false => Err(MANIFEST_NOT_FOUND.error("this device has no manifest")),
        };
        Ok(asked.iter().map(answer).collect())
    }

    /// Takes what was taken back out of the manifests; the devices that have one.
    async fn take_out(
        &self,
        tx: &mut Tx,
        taken_back: &BTreeMap<DeviceId, BTreeSet<Uuid>>,
    ) -> Result<BTreeSet<DeviceId>> {
        let devices: Vec<_> = taken_back.keys().copied().collect();
        let found = tx.reader().get_many::<Manifest>(&devices).await?;
        let found: Vec<_> = found.into_iter().flatten().collect();
        let known = found.iter().map(|manifest| manifest.id).collect();
        let is_open = |manifest: &Versioned<Manifest>| {
            let taken_back = &taken_back[&manifest.id];
            manifest.reverts.iter().any(|revert| taken_back.contains(&revert.id))
        };
        let open: Vec<_> = found.into_iter().filter(is_open).collect();
        let contents = contents(tx.reader(), &open).await?;
        let (now, salt) = (tx.now(), self.store.new_uuid());
        for before in &open {
            let mut after = before.value.clone();
            after
                .reverts
                .retain(|revert| !taken_back[&before.id].contains(&revert.id));
            let (groups, windows) = match before.content.map(|id| contents.get(&id)) {
                // Never an empty list in its place: the device would take back what it has.
                Some(None) => return Err(Error::internal("the content of a manifest is not there")),
                Some(Some(content)) => (&content.groups[..], &content.windows[..]),
                None => Default::default(),
            };
            after.digest = rules::manifest_digest(groups, windows, &after.reverts)?;
            after.version += 1;
            after.compiled_at = now;
            tx.update(before, &after)?;
            let count = before.reverts.len() - after.reverts.len();
            ManifestEvent::of(ManifestEventKind::RevertsConfirmed, &after, count, now).append_to(tx, salt)?;
        }
        Ok(known)
    }
}

/// The contents of manifests, each once.
async fn contents(
    reader: &mut Reader,
    manifests: &[Versioned<Manifest>],
) -> Result<BTreeMap<super::ManifestContentId, ManifestContent>> {
    let ids: BTreeSet<_> = manifests.iter().filter_map(|manifest| manifest.content).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let found = reader.get_many::<ManifestContent>(&ids).await?;
    Ok(found
        .into_iter()
        .flatten()
        .map(|content| (content.id, content.value))
        .collect())
}
