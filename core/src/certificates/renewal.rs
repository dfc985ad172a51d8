//! The certificates of devices: one counts at a time, and which one stands in the device's own document.

use super::{CertificateService, DeviceCertificate, Issued};
use crate::{
    access::Context,
    devices::{DEVICE_CERTIFICATE_ISSUED, Device, DeviceEvent, DeviceId, device::check_not_kept_out, not_found},
    kernel::{PublicKey, Result},
    link::ASSERTION_INVALID,
    store::Evidence,
};

impl CertificateService {
    /// Issues a device its next certificate, over the key that it has just proved to have. Those before it count no more.
    pub(crate) async fn renew(&self, id: DeviceId, key: &PublicKey) -> Result<Issued> {
        let context = Context::system("certificates");
        self.store()
            .change(&context, Evidence::Observed, |mut tx| async move {
                let before = tx.get::<Device>(id).await?.ok_or_else(|| not_found(id))?;
                check_not_kept_out(&before)?;
                if before.value.public_key != *key {
                    return Err(ASSERTION_INVALID.error("the device has another key by now"));
                }
                let (issued, authority) = self.issue_for(id, key)?;
                let mut after = before.value.clone();
                after.certificate = Some(DeviceCertificate {
                    serial: issued.serial.clone(),
                    authority,
                    issued_at: tx.now(),
                    not_after: issued.not_after,
                });
                tx.update(&before, &after)?;
                DeviceEvent::new(Some(id), DEVICE_CERTIFICATE_ISSUED, tx.now())
                    .with("serial", issued.serial.clone())
                    .with("not_after", issued.not_after.to_string())
                    .append_to(&mut tx)?;
                tx.commit().await?;
                Ok(issued)
            })
            .await
    }
}
