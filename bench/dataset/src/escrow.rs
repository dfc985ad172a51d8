//! Passwords of local users, as devices have deposited them, and keys of devices' own.

use std::time::Duration;

use fleet_core::{
    devices::Device,
    escrow::{DeviceDiskKeys, DiskKey, EscrowKind, EscrowReason, EscrowState, EscrowedSecret, EscrowedSecretId},
    kernel::{Sealer, SeededRandom},
    store::Result,
    work::operations::actions::disk_encryption::DeviceKey,
};

use crate::{Dataset, dice::Dice, writer::Writer};

/// The share of devices whose passwords are rotated: one in so many.
const ROTATED: usize = 10;
const MONTH: Duration = Duration::from_secs(30 * 86_400);

impl Dataset {
    /// The password in use on a device, the one before it, and the key that its disk has.
    pub(crate) async fn write_escrow(&self, writer: &mut Writer<'_>, n: usize, device: &Device) -> Result<()> {
        if !n.is_multiple_of(ROTATED) {
            return Ok(());
        }
        let mut dice = Dice::new(self.seed, "escrow", n as u64);
        let random = SeededRandom::new(self.seed.wrapping_add(n as u64));
        let sealer = Sealer::new(self.master_key());
        let source = dice.id(device.enrolled_at);
        for (number, state) in [(1, EscrowState::Superseded), (2, EscrowState::Current)] {
            let at = self.now().minus(MONTH * (3 - number));
            let id: EscrowedSecretId = dice.id(at);
            let owner = format!("escrowed_secret/{id} {} local_password localadmin", device.id);
            let sealed = sealer.seal(&owner, dice.hex::<10>().as_bytes(), &random);
            let secret = EscrowedSecret {
                id,
                device: device.id,
                device_name: device.name.clone(),
                kind: EscrowKind::LocalPassword,
                subject: "localadmin".into(),
                number: u64::from(number),
                source,
                reason: EscrowReason::Scheduled,
                state,
                sealed: sealed.map_err(|error| fleet_core::store::Error::Unavailable(error.into()))?,
                offered_at: at,
                confirmed_at: Some(at),
                superseded_at: (state == EscrowState::Superseded).then(|| at.plus(MONTH)),
                abandoned_at: None,
                device_gone_since: None,
            };
            writer.put(&secret).await?;
        }
        let disk = dice.uuid(device.enrolled_at).to_string();
        let key = DiskKey {
            disk,
            key: DeviceKey::Tpm2,
            since: self.now().minus(MONTH),
        };
        writer
            .put(&DeviceDiskKeys {
                id: device.id,
                disks: vec![key],
                tokens: Vec::new(),
            })
            .await?;
        Ok(())
    }
}
