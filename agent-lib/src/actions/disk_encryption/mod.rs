//! `disk.encryption`: the server keeps a passphrase of an encrypted volume.
//!
//! ```text
//! volume.rs        which volume is meant
//! luks.rs          what cryptsetup(8) does with it
//! recovery_key.rs  passphrases (pure)
//! custody.rs       the order in which one takes the place of another
//! device_key.rs    a key of the device's TPM, beside it;  header.rs which of a volume's keys it is (pure)
//! passphrase.rs    a passphrase of an owner's, beside it;  choosing.rs how it is chosen;  history.rs and none again
//! ```
//!
//! What is remembered from run to run says which secret of the server opens which volume, and since when; with it a device that cannot
//! reach its server knows that there is nothing to do.

mod choosing;
mod custody;
mod device_key;
mod header;
mod history;
mod luks;
mod passphrase;
mod recovery_key;
mod volume;

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use fleet_core::{
    escrow::EscrowedSecretId,
    kernel::{Class, Code, Timestamp},
    work::operations::actions::{
        disk_encryption::{DeviceKey, DiskEncryptionParams, NAME},
        passphrase::PassphraseRules,
    },
};
use serde::{Deserialize, Serialize};

pub use self::choosing::{
    Beginning, Choice, Choosable, PASSPHRASE_NOT_WANTED, PASSPHRASE_REFUSED, PASSPHRASE_UNTOLD, TOKEN_REFUSED,
};
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
    /// The key of its TPM's, where it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_key: Option<Remembered>,
    /// What a passphrase has to be that an owner chooses, where one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<PassphraseRules>,
    /// Which key of the device's own the server was told of last.
    #[serde(default)]
    told: DeviceKey,
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
    /// What somebody has left who was interrupted while choosing a passphrase opens it no more.
    SettlePassphrase(Volume),
    /// An owner may choose a passphrase by these rules.
    AllowPassphrase(Volume, PassphraseRules),
    /// None may, and the one that was chosen opens it no more.
    RevokePassphrase(Volume),
    /// The server hears which key of the device's own it has.
    Tell(Volume, DeviceKey),
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
            Self::SettlePassphrase(volume) => {
                write!(
                    f,
                    "take away the passphrase of {} that was not set to the end",
                    volume.path
                )
            }
            Self::AllowPassphrase(volume, rules) => {
                let length = rules.min_length;
                write!(
                    f,
                    "let an owner choose a passphrase of {} ({length} characters at least)",
                    volume.path
                )
            }
            Self::RevokePassphrase(volume) => {
                write!(f, "take away the passphrase of {} that an owner chose", volume.path)
            }
            Self::Tell(volume, key) => {
                let key = match key {
                    DeviceKey::None => "has no key of its own",
                    DeviceKey::Tpm2 => "opens by the TPM",
                    DeviceKey::Passphrase => "opens by a passphrase that an owner chose",
                };
                write!(f, "tell the server that {} {key}", volume.path)
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
        let (own, problem) = own_keys(params, device, &volume, before).await;
        steps.extend(own);
        match problem {
            None => Ok(steps),
            // What the server keeps does not wait for a TPM.
            Some(Problem::Failed { message, .. }) if !steps.is_empty() => {
                device.warn(message).await;
                Ok(steps)
            }
            Some(problem) => Err(problem),
        }
    }

    async fn act(params: &DiskEncryptionParams, device: &Device, step: &Step) -> Result<(), Problem> {
        // Somebody may be choosing a passphrase meanwhile.
        let _lock = passphrase::lock(device)?;
        let mut kept = device.recall::<Kept>(NAME)?.unwrap_or_default();
        match step {
            Step::TakeOver(volume) | Step::Replace(volume) => {
                let secret = custody::take(params, device, volume, matches!(step, Step::Replace(_))).await?;
                let (path, since) = (volume.path.clone(), device.now());
                let before = kept.remove(&volume.uuid);
                let told = before.as_ref().map(|before| before.told).unwrap_or_default();
                let passphrase = before.as_ref().and_then(|before| before.passphrase);
                let device_key = before.and_then(|before| before.device_key);
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
                    passphrase,
                    told,
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
            Step::SettlePassphrase(volume) => return passphrase::settle(device, volume).await,
            Step::AllowPassphrase(volume, rules) => match kept.get_mut(&volume.uuid) {
                Some(kept) => kept.passphrase = Some(*rules),
                None => return Ok(()),
            },
            Step::RevokePassphrase(volume) => {
                let Some(before) = kept.get_mut(&volume.uuid) else {
                    return Ok(());
                };
                // What the server has heard from whoever chose it is to be taken back as well.
                if passphrase::is_told(device, volume)? {
                    before.told = DeviceKey::Passphrase;
                }
                before.passphrase = None;
                device.remember(NAME, &kept)?;
                return passphrase::revoke(device, volume).await;
            }
            Step::Tell(volume, key) => {
                device.tell_disk_key(&volume.uuid, *key).await?;
                if *key != DeviceKey::Passphrase {
                    passphrase::untell(device, volume)?;
                }
                match kept.get_mut(&volume.uuid) {
                    Some(kept) => kept.told = *key,
                    None => return Ok(()),
                }
            }
            Step::Forget(path) => kept.retain(|_, before| before.path != *path),
        }
        device.remember(NAME, &kept)
    }
}

/// What is left to do about the keys of the device's own, and what is in the way of the one that is wanted. The one that is not goes
/// first.
async fn own_keys(
    params: &DiskEncryptionParams,
    device: &Device,
    volume: &Volume,
    before: Option<&KeptVolume>,
) -> (Vec<Step>, Option<Problem>) {
    let wanted = (params.device_key == DeviceKey::Passphrase).then_some(params.passphrase);
    let allowed = before.and_then(|before| before.passphrase);
    let mut steps = Vec::new();
    let standing = passphrase::look(wanted, device, volume, allowed).await;
    if let Ok(standing) = &standing
        && standing.change == Some(passphrase::Change::Revoke)
    {
        steps.push(Step::RevokePassphrase(volume.clone()));
    }
    let remembered = before.and_then(|before| before.device_key.as_ref());
    let is_wanted = params.device_key == DeviceKey::Tpm2;
    match device_key::look(is_wanted, device, volume, remembered).await {
        Ok(None) => {}
        Ok(Some(Change::Make)) => steps.push(Step::MakeDeviceKey(volume.clone())),
        Ok(Some(Change::TakeAway)) => steps.push(Step::TakeAwayDeviceKey(volume.clone())),
        Err(problem) => return (steps, Some(problem)),
    }
    let standing = match standing {
        Ok(standing) => standing,
        Err(problem) => return (steps, Some(problem)),
    };
    if standing.is_unfinished {
        steps.push(Step::SettlePassphrase(volume.clone()));
    }
    if let (Some(rules), Some(passphrase::Change::Allow)) = (wanted, standing.change) {
        steps.push(Step::AllowPassphrase(volume.clone(), rules));
    }
    let has = match (params.device_key, standing.since) {
        (DeviceKey::Passphrase, None) | (DeviceKey::None, _) => DeviceKey::None,
        (key, _) => key,
    };
    let told = before.map(|before| before.told).unwrap_or_default();
    let told = if standing.is_told { DeviceKey::Passphrase } else { told };
    if has != told {
        steps.push(Step::Tell(volume.clone(), has));
    }
    match (wanted, standing.since) {
        (Some(_), Some(since)) if device.is_first("passphrase of an owner") => {
            let said = format!(
                "{} opens by a passphrase that an owner chose, since {since}\n",
                volume.path
            );
            device.say(&said).await;
        }
        (Some(_), None) => device.defer(format!("no owner has chosen a passphrase of {} yet", volume.path)),
        _ => {}
    }
    (steps, None)
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
