//! What people do: make tokens, and see which keys devices have.

use std::time::Duration;

use super::{
    DISK_PASSPHRASES_OWN, DISK_PASSPHRASES_WRITE, DeviceDiskKeys, DeviceDiskKeysView, DiskKeyView, DiskPassphraseToken,
    DiskPassphraseTokenView, NewDiskPassphraseToken, PASSPHRASE_TOKEN_CREATE, rules::check_life,
};
use crate::{
    Fleet,
    access::{Context, TokenHash, users::UserId},
    devices::{Device, DeviceId, not_found, require_in_scope},
    escrow::ESCROW_READ,
    kernel::{EntityId as _, Result, random_bytes},
    store::{Evidence, Reader},
    work::desired::DeviceOwners,
};
use zeroize::Zeroizing;

/// Keeps what is known of the keys of devices' own, and the tokens by which passphrases are chosen.
#[derive(Debug)]
pub struct DiskKeyService<'a> {
    pub(super) fleet: &'a Fleet,
}

impl<'a> DiskKeyService<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet }
    }

    /// The keys of a device's own, as far as it has told.
    ///
    /// # Errors
    /// `device.not_found`.
    pub async fn show(&self, context: &Context, device: DeviceId) -> Result<DeviceDiskKeysView> {
        require_in_scope(&context.require(ESCROW_READ)?, device)?;
        let mut reader = self.fleet.store().reader().await?;
        reader.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
        let found = reader.get::<DeviceDiskKeys>(device).await?;
        let disks = found.map(|found| found.value.disks).unwrap_or_default();
        let disks = disks.into_iter().map(|known| DiskKeyView {
            disk: known.disk,
            key: known.key,
            since: known.since,
        });
        Ok(DeviceDiskKeysView {
            device,
            disks: disks.collect(),
        })
    }

    /// Makes a token by which whoever is at the device chooses a passphrase of its disk. It takes the right to do so on any device, or
    /// to own this one. The token is in the answer and nowhere else from then on.
    ///
    /// # Errors
    /// `device.not_found`, also for whoever does not own it; `disk_passphrase_token.too_many`.
    pub async fn create_token(
        &self,
        context: &Context,
        device: DeviceId,
        new: &NewDiskPassphraseToken,
    ) -> Result<DiskPassphraseTokenView> {
        let by_right = context.require(DISK_PASSPHRASES_WRITE).ok();
        let scope = match &by_right {
            Some(scope) => scope.clone(),
            None => context.require(DISK_PASSPHRASES_OWN)?,
        };
        require_in_scope(&scope, device)?;
        check_life(new.expires_in_seconds)?;
        let secret = Zeroizing::new(random_bytes::<32>(self.fleet.random()));
        let secret = Zeroizing::new(hex::encode(*secret));
        let hash = self.hash(&secret);
        let (hash, is_by_right) = (&hash, by_right.is_some());
        let expires_at = self
            .fleet
            .store()
            .change(context, Evidence::Audit(PASSPHRASE_TOKEN_CREATE), |mut tx| async move {
                if !is_by_right {
                    require_owner(tx.reader(), context, device).await?;
                }
                let found = tx.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
                let before = tx.get::<DeviceDiskKeys>(device).await?;
                let mut after = before
                    .as_ref()
                    .map_or_else(|| DeviceDiskKeys::new(device), |before| before.value.clone());
                let now = tx.now();
                let expires_at = now.plus(Duration::from_secs(new.expires_in_seconds));
                let token = DiskPassphraseToken {
                    hash: hash.clone(),
                    created_at: now,
                    created_by: context.actor().clone(),
                    expires_at,
                    used: None,
                };
                after.add(token, now)?;
                match &before {
                    Some(before) => drop(tx.update(before, &after)?),
                    None => tx.create(&after)?,
                }
                tx.require(&found);
                tx.subject::<Device>(device, found.value.name.clone());
                tx.detail("expires_at", expires_at.to_string());
                tx.commit().await?;
                Ok(expires_at)
            })
            .await?;
        Ok(DiskPassphraseTokenView::new(device, &secret, expires_at))
    }

    /// How a token is stored.
    pub(super) fn hash(&self, token: &str) -> TokenHash {
        self.fleet
            .keys()
            .tokens()
            .hash(&format!("disk passphrase token\0{token}"))
    }
}

/// Refuses whoever does not own the device, as if there were no such device.
async fn require_owner(reader: &mut Reader, context: &Context, device: DeviceId) -> Result<()> {
    let owners = reader.get::<DeviceOwners>(device).await?;
    let user = context.user().map(UserId::from_uuid);
    match (owners, user) {
        (Some(owners), Some(user)) if owners.users.contains(&user) => Ok(()),
        _ => Err(not_found(device)),
    }
}
