//! A key of the device's own, by which its TPM opens the volume: beside the passphrase that the server keeps, never in its place.
//!
//! systemd-cryptenroll(1) makes it, in a key slot of its choice: it never has to make room. It does so where no TPM opens the volume, so that the
//! one of a TPM that is there afterwards is ours; that it is about to be made is remembered first, so that whoever goes on after an
//! interruption knows. It is taken away by number, with the server's passphrase, which cryptsetup has to find in *another* slot.

use std::collections::BTreeSet;

use fleet_core::{escrow::EscrowKind, work::secrets::SecretText};
use serde::{Deserialize, Serialize};

use super::{
    KEY_UNKNOWN, TPM_UNAVAILABLE,
    header::{Header, Salt},
    luks::Volume,
};
use crate::actions::{
    action::Problem,
    device::{Call, Device},
};

/// What systemd takes for a TPM that the kernel shares out. With more than one it would not know which is meant.
const TPM: &str = "/sys/class/tpmrm/tpmrm0";
const CRYPTENROLL: &str = "systemd-cryptenroll";
/// The state of Secure Boot, which systemd-cryptenroll binds to when nobody says: said, so that all of its versions do the same.
const PCRS: &str = "--tpm2-pcrs=7";

/// What is remembered of a key that the TPM opens a volume by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Remembered {
    /// One was about to be made, where there was none.
    Making,
    /// It is in this one.
    Made(Salt),
}

impl Remembered {
    /// The key slots of ours that are still there. One that was made and lost its token opens by no TPM, and is ours all the same.
    fn slots(&self, header: &Header) -> BTreeSet<Salt> {
        match self {
            Self::Making => header.tpm_slots(),
            Self::Made(salt) => header.number(salt).map(|_| salt.clone()).into_iter().collect(),
        }
    }
}

/// What is left to do about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Make,
    TakeAway,
}

/// What is left to do so that the volume has the key that is wanted; nothing when it has.
pub(super) async fn look(
    is_wanted: bool,
    device: &Device,
    volume: &Volume,
    remembered: Option<&Remembered>,
) -> Result<Option<Change>, Problem> {
    match (is_wanted, remembered) {
        (false, None) => Ok(None),
        // Also where it never came to be: a key that somebody else makes later would be taken for it.
        (false, Some(Remembered::Making)) => Ok(Some(Change::TakeAway)),
        (false, Some(remembered)) => {
            let is_there = !remembered.slots(&header(device, volume).await?).is_empty();
            Ok(is_there.then_some(Change::TakeAway))
        }
        (true, remembered) => {
            let is_opened_by_tpm = !header(device, volume).await?.tpm_slots().is_empty();
            match remembered {
                // What an interrupted run has made is to be known for ours.
                Some(Remembered::Making) => Ok(Some(Change::Make)),
                // Whoever has enrolled it: the TPM takes no second one for the same state, and nobody needs one.
                _ if is_opened_by_tpm => Ok(None),
                _ => check_tpm(device).map(|()| Some(Change::Make)),
            }
        }
    }
}

/// Has the TPM open the volume. `remember` keeps what is told before anything else happens.
pub(super) async fn make(
    device: &Device,
    volume: &Volume,
    remembered: Option<&Remembered>,
    mut remember: impl FnMut(Option<Remembered>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let before = header(device, volume).await?;
    let ours = remembered
        .map(|remembered| remembered.slots(&before))
        .unwrap_or_default();
    let by_tpm = before.tpm_slots();
    if !by_tpm.is_empty() {
        // An interrupted run has made it, or somebody else.
        return remember((&ours & &by_tpm).first().cloned().map(Remembered::Made));
    }
    check_tpm(device)?;
    let key = kept_by_server(device, volume).await?;
    // One that lost its token can be opened by nobody.
    for salt in &ours {
        remove(device, volume, &before, salt, &key).await?;
    }
    remember(Some(Remembered::Making))?;
    let path = device.luks_path(volume);
    let call = Call::new(CRYPTENROLL, ["--tpm2-device=auto", PCRS, &path]).secret_env("PASSWORD", &key);
    device.must(&call).await?;
    let after = header(device, volume).await?;
    match after.tpm_slots().first() {
        Some(salt) => remember(Some(Remembered::Made(salt.clone()))),
        // The second look says that it is not there.
        None => Ok(()),
    }
}

/// Takes away the key that the TPM opens the volume by.
pub(super) async fn take_away(
    device: &Device,
    volume: &Volume,
    remembered: &Remembered,
    mut remember: impl FnMut(Option<Remembered>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let key = kept_by_server(device, volume).await?;
    let header = header(device, volume).await?;
    for salt in remembered.slots(&header) {
        // From here on its slot is ours whether it has a token or not.
        remember(Some(Remembered::Made(salt.clone())))?;
        remove(device, volume, &header, &salt, &key).await?;
    }
    remember(None)
}

/// Removes the tokens of a slot, and then what is in it: without the key a token is of no use, and nobody would know whose it is.
async fn remove(
    device: &Device,
    volume: &Volume,
    header: &Header,
    salt: &Salt,
    key: &SecretText,
) -> Result<(), Problem> {
    let Some(number) = header.number(salt) else {
        return Ok(());
    };
    for token in header.tpm_tokens_of(number) {
        device.remove_token(volume, token).await?;
    }
    device.kill_slot(volume, number, key).await
}

async fn header(device: &Device, volume: &Volume) -> Result<Header, Problem> {
    let text = device.luks_header(volume).await?.ok_or_else(|| {
        let why = "only LUKS 2 volumes, with cryptsetup 2.4 or later, have keys of a TPM";
        Problem::new(TPM_UNAVAILABLE, format!("{}: {why}", volume.path))
    })?;
    Header::parse(&text).map_err(|error| {
        let why = format!("{}: its header cannot be read: {error}", volume.path);
        Problem::new(TPM_UNAVAILABLE, why)
    })
}

fn check_tpm(device: &Device) -> Result<(), Problem> {
    let missing = match (device.has_program(CRYPTENROLL), device.exists(TPM)) {
        (false, _) => "no systemd-cryptenroll",
        (true, false) => "no TPM 2.0",
        (true, true) => return Ok(()),
    };
    let why = format!("this device has {missing}, so that it can have no key of its own");
    Err(Problem::new(TPM_UNAVAILABLE, why))
}

/// A passphrase that the server keeps and that opens the volume: without one nothing is changed.
pub(super) async fn kept_by_server(device: &Device, volume: &Volume) -> Result<SecretText, Problem> {
    let kept = device.current_secrets(EscrowKind::DiskPassphrase, &volume.uuid).await?;
    for held in kept {
        if device.opens(volume, &held.secret).await? {
            return Ok(held.secret);
        }
    }
    let why = "nothing that the server keeps opens it, so that the device's own key stays as it is";
    Err(Problem::new(KEY_UNKNOWN, format!("{}: {why}", volume.path)))
}
