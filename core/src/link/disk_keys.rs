//! Keys of devices' own.

use super::{
    LinkService, LinkedDevice,
    escrow::{check_nonce, depositor},
};
use crate::{
    access::Origin,
    kernel::{Error, Result},
    protocol::{
        DiskKeyReceipt, DiskKeyReceiptBody, DiskKeyTold, DiskPassphraseTokenCheck, DiskPassphraseTokenUse, body_digest,
    },
};

impl LinkService<'_> {
    /// Says whether a device may use a token, signed. `request` is the request as it came.
    pub async fn check_disk_passphrase_token(
        &self,
        device: &LinkedDevice,
        origin: &Origin,
        check: &DiskPassphraseTokenCheck,
        request: &[u8],
    ) -> Result<DiskKeyReceipt> {
        check_nonce(&check.nonce)?;
        let (keys, depositor) = (self.fleet.disk_keys(), depositor(device, origin));
        keys.check_token(&depositor, check.token.reveal()).await?;
        self.heard(device, &check.nonce, request)
    }

    /// Hears that a passphrase was chosen by a token: durable when this returns.
    pub async fn use_disk_passphrase_token(
        &self,
        device: &LinkedDevice,
        origin: &Origin,
        said: &DiskPassphraseTokenUse,
        request: &[u8],
    ) -> Result<DiskKeyReceipt> {
        check_nonce(&said.nonce)?;
        let (keys, depositor) = (self.fleet.disk_keys(), depositor(device, origin));
        keys.use_token(&depositor, said.token.reveal(), &said.disk).await?;
        self.heard(device, &said.nonce, request)
    }

    /// Hears which key of its own a disk of a device has.
    pub async fn tell_disk_key(
        &self,
        device: &LinkedDevice,
        origin: &Origin,
        told: &DiskKeyTold,
        request: &[u8],
    ) -> Result<DiskKeyReceipt> {
        check_nonce(&told.nonce)?;
        let (keys, depositor) = (self.fleet.disk_keys(), depositor(device, origin));
        keys.tell(&depositor, &told.disk, told.key).await?;
        self.heard(device, &told.nonce, request)
    }

    fn heard(&self, device: &LinkedDevice, nonce: &str, request: &[u8]) -> Result<DiskKeyReceipt> {
        let body = DiskKeyReceiptBody {
            nonce: nonce.to_owned(),
            request: body_digest(request),
            device: device.id,
            time: self.fleet.clock().now(),
        };
        DiskKeyReceipt::sign(body, self.fleet.keys().identity()).map_err(Error::internal)
    }
}
