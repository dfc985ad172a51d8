//! What devices do: show a token, use it, and tell which keys of their own they have.

use super::{
    DISK_KEY_TOLD, DeviceDiskKeys, DiskKeyService, PASSPHRASE_TOKEN_USE,
    rules::{check_disk, check_token, unknown},
};
use crate::{
    devices::Device, escrow::Depositor, kernel::Result, store::Evidence,
    work::operations::actions::disk_encryption::DeviceKey,
};

impl DiskKeyService<'_> {
    /// Whether a device may use a token now. It stays as it is.
    ///
    /// # Errors
    /// `disk_passphrase_token.unknown`, also for those of other devices; `.expired`, `.used`; `escrowed_secret.too_often`.
    pub(crate) async fn check_token(&self, device: &Depositor<'_>, token: &str) -> Result<()> {
        self.fleet.escrow().take_allowance(device.id)?;
        check_token(token)?;
        let store = self.fleet.store();
        let found = store.get::<DeviceDiskKeys>(device.id).await?.ok_or_else(unknown)?;
        found.value.check(&self.hash(token), store.clock().now())
    }

    /// Hears that a passphrase was chosen by a token, which is used with that. The same again changes nothing.
    ///
    /// # Errors
    /// As [`Self::check_token`]; `disk_key.too_many_disks`.
    pub(crate) async fn use_token(&self, device: &Depositor<'_>, token: &str, disk: &str) -> Result<()> {
        self.fleet.escrow().take_allowance(device.id)?;
        check_token(token)?;
        check_disk(disk)?;
        let hash = &self.hash(token);
        let action = Evidence::Audit(PASSPHRASE_TOKEN_USE);
        self.fleet
            .store()
            .change(&device.context(), action, |mut tx| async move {
                let before = tx.get::<DeviceDiskKeys>(device.id).await?.ok_or_else(unknown)?;
                let mut after = before.value.clone();
                if !after.take(hash, disk, tx.now())? {
                    return Ok(());
                }
                tx.update(&before, &after)?;
                tx.subject::<Device>(device.id, device.name);
                tx.detail("disk", disk);
                let made_by = after.tokens.iter().find(|token| token.hash.equals(hash));
                if let Some(token) = made_by {
                    tx.detail("token_made_by", token.created_by.name());
                }
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Hears which key of the device's own a disk has.
    ///
    /// # Errors
    /// `disk_key.too_many_disks`, `escrowed_secret.too_often`.
    pub(crate) async fn tell(&self, device: &Depositor<'_>, disk: &str, key: DeviceKey) -> Result<()> {
        self.fleet.escrow().take_allowance(device.id)?;
        check_disk(disk)?;
        let action = Evidence::Audit(DISK_KEY_TOLD);
        self.fleet
            .store()
            .change(&device.context(), action, |mut tx| async move {
                let before = tx.get::<DeviceDiskKeys>(device.id).await?;
                let mut after = before
                    .as_ref()
                    .map_or_else(|| DeviceDiskKeys::new(device.id), |before| before.value.clone());
                if !after.tell(disk, key, tx.now())? {
                    return Ok(());
                }
                match &before {
                    Some(before) => drop(tx.update(before, &after)?),
                    None => {
                        // A device that is deleted at this moment leaves nothing behind.
                        let found = tx.get::<Device>(device.id).await?;
                        tx.require(&found.ok_or_else(|| crate::devices::not_found(device.id))?);
                        tx.create(&after)?;
                    }
                }
                tx.subject::<Device>(device.id, device.name);
                tx.detail("disk", disk);
                tx.detail("key", key.name());
                tx.commit().await.map(drop)
            })
            .await
    }
}
