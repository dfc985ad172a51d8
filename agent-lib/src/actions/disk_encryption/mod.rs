//! `disk.encryption`: the server keeps a passphrase of an encrypted volume.
//!
//! ```text
//! volume.rs        which volume is meant
//! luks.rs          what cryptsetup(8) does with it
//! recovery_key.rs  passphrases (pure)
//! custody.rs       the order in which one takes the place of another
//! device_key.rs    a key of the device's own, beside it;  header.rs which of a volume's keys it is (pure)
//! ```
//!
//! What is remembered from run to run says which secret of the server opens which volume, and since when; with it a device that cannot
//! reach its server knows that there is nothing to do.

mod custody;
mod device_key;
mod header;
mod luks;
mod recovery_key;
mod volume;

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use fleet_core::{
    escrow::EscrowedSecretId,
    kernel::{Class, Code, Timestamp},
    work::operations::actions::disk_encryption::{DiskEncryptionParams, NAME},
};
use serde::{Deserialize, Serialize};

use self::{
    device_key::{Change, Remembered},
    luks::Volume,
};
use super::{
    action::{Action, Problem},
    device::Device,
};

/// What is at the path is no LUKS volume.
pub(super) const NOT_LUKS: Code = Code::new("disk.not_luks", Class::Conflict);
/// It cannot be told which volume is meant.
pub(super) const VOLUME_UNCLEAR: Code = Code::new("disk.volume_unclear", Class::Conflict);
/// No passphrase that is known opens the volume.
pub(super) const KEY_UNKNOWN: Code = Code::new("disk.key_unknown", Class::Conflict);
/// What was deposited does not come back, or does not open the volume.
pub(super) const KEY_UNPROVEN: Code = Code::new("disk.key_unproven", Class::Unavailable);

/// The device has no TPM 2.0, no systemd-cryptenroll, or no volume of LUKS 2, so that it can have no key of its own.
pub(super) const TPM_UNAVAILABLE: Code = Code::new("disk.tpm_unavailable", Class::Unavailable);

/// The most volumes that are remembered.
const MAX_VOLUMES: usize = 64;

/// Keeps the passphrase of a volume with the server.
pub(super) struct DiskEncryption;

/// Volumes by their UUID.
type Kept = BTreeMap<String, KeptVolume>;

/// A volume whose passphrase the server keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptVolume {
    /// Where it was.
    path: String,
    /// The secret that opens it.
    secret: EscrowedSecretId,
    /// Since when.
    since: Timestamp,
    /// The key of the device's own, where it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_key: Option<Remembered>,
}

/// What is done.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// The server gets a passphrase that opens it.
    TakeOver(Volume),
    /// Another one takes its place.
    Replace(Volume),
    /// The TPM opens it as well.
    MakeDeviceKey(Volume),
    /// The TPM opens it no more.
    TakeAwayDeviceKey(Volume),
    /// It is no longer looked after.
    Forget(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakeOver(volume) => write!(f, "have the server keep a passphrase of {}", volume.path),
            Self::Replace(volume) => write!(f, "replace the passphrase of {} that the server keeps", volume.path),
            Self::MakeDeviceKey(volume) => write!(f, "have the TPM open {}", volume.path),
            Self::TakeAwayDeviceKey(volume) => {
                write!(f, "take away the key by which the TPM opens {}", volume.path)
            }
            Self::Forget(path) => write!(f, "leave the passphrases of {path} as they are from now on"),
        }
    }
}

#[async_trait]
impl Action for DiskEncryption {
    type Params = DiskEncryptionParams;
    type Step = Step;

    async fn look(params: &DiskEncryptionParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let kept = device.recall::<Kept>(NAME)?.unwrap_or_default();
        if params.state.is_absent() {
            return Ok(forgotten(params, &kept));
        }
        let found = volume::find(device, params.volume.as_deref()).await?;
        let volume = match (found, kept.values().next()) {
            (Some(volume), _) => volume,
            // Where it is encrypted no more, somebody would go on believing that it is.
            (None, Some(before)) => device.luks_volume(&before.path).await?,
            (None, None) => return Err(Problem::not_applicable("this device has no LUKS volume")),
        };
        let interval = Duration::from_secs(u64::from(params.interval_days) * 24 * 60 * 60);
        let before = kept.get(&volume.uuid);
        let mut steps = match before {
            None => vec![Step::TakeOver(volume.clone())],
            Some(before) if device.now().since(before.since) >= interval => vec![Step::Replace(volume.clone())],
            Some(_) => Vec::new(),
        };
        let remembered = before.and_then(|before| before.device_key.as_ref());
        match device_key::look(params.device_key, device, &volume, remembered).await {
            Ok(None) => {}
            Ok(Some(Change::Make)) => steps.push(Step::MakeDeviceKey(volume)),
            Ok(Some(Change::TakeAway)) => steps.push(Step::TakeAwayDeviceKey(volume)),
            // What the server keeps does not wait for a TPM.
            Err(Problem::Failed { message, .. }) if !steps.is_empty() => device.warn(message).await,
            Err(problem) => return Err(problem),
        }
        Ok(steps)
    }

    async fn act(params: &DiskEncryptionParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let mut kept = device.recall::<Kept>(NAME)?.unwrap_or_default();
        match step {
            Step::TakeOver(volume) | Step::Replace(volume) => {
                let secret = custody::take(params, device, volume, matches!(step, Step::Replace(_))).await?;
                let (path, since) = (volume.path.clone(), device.now());
                let device_key = kept.get(&volume.uuid).and_then(|before| before.device_key.clone());
                // A volume that was formatted anew has another UUID.
                kept.retain(|_, before| before.path != path);
                while kept.len() >= MAX_VOLUMES {
                    kept.pop_first();
                }
                let now = KeptVolume {
                    path,
                    secret,
                    since,
                    device_key,
                };
                kept.insert(volume.uuid.clone(), now);
            }
            Step::MakeDeviceKey(volume) | Step::TakeAwayDeviceKey(volume) => {
                // Where the passphrase was not taken over, no run comes here.
                let Some(before) = kept.get(&volume.uuid).map(|before| before.device_key.clone()) else {
                    return Ok(());
                };
                let remember = |device_key| {
                    if let Some(volume) = kept.get_mut(&volume.uuid) {
                        volume.device_key = device_key;
                    }
                    device.remember(NAME, &kept)
                };
                return match (step, &before) {
                    (Step::TakeAwayDeviceKey(_), Some(before)) => {
                        device_key::take_away(device, volume, before, remember).await
                    }
                    (Step::TakeAwayDeviceKey(_), None) => Ok(()),
                    _ => device_key::make(device, volume, before.as_ref(), remember).await,
                };
            }
            Step::Forget(path) => kept.retain(|_, before| before.path != *path),
        }
        device.remember(NAME, &kept)
    }
}

/// The volume that is named, or all.
fn forgotten(params: &DiskEncryptionParams, kept: &Kept) -> Vec<Step> {
    let paths = kept.values().map(|before| before.path.clone());
    let named = params.volume.as_ref();
    paths
        .filter(|path| named.is_none_or(|named| named == path))
        .map(Step::Forget)
        .collect()
}
