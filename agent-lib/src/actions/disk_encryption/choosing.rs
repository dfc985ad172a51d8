//! An owner chooses a passphrase at the device, with a token of the server.
//!
//! ```text
//! may one be chosen here? → can the token be used? → (whoever is there is asked) → is it as it has to be, and a new one?
//!   → can the token be used, still? → the server's passphrase → empty slot 7 → note that it is being set → set it → note its salt → use the token
//! ```
//!
//! Wherever it stops the server's passphrase opens the volume, and the same command goes on with the same token. The passphrase stays here.

use fleet_core::{
    kernel::{Class, Code, EntityId as _, Error, Timestamp},
    work::{
        RunId,
        operations::actions::{disk_encryption::NAME, passphrase::PassphraseRules},
        secrets::SecretText,
    },
};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use super::{
    Kept, NOT_LUKS, VOLUME_UNCLEAR,
    device_key::kept_by_server,
    luks::Volume,
    passphrase::{
        ChosenPassphrase, DISK_BUSY, PASSPHRASE_UNAVAILABLE, SLOT, Slot, header, lock, recall, remember, taken,
    },
};
use crate::{
    actions::{
        Actions, ESCROW_UNREACHABLE,
        action::Problem,
        device::{Bounds, Device},
    },
    escrow::EscrowError,
    runs::{Cancellation, OutputSink},
};

/// The server has not asked this device for a passphrase of an owner's.
pub const PASSPHRASE_NOT_WANTED: Code = Code::new("disk.passphrase_not_wanted", Class::Conflict);
/// The passphrase is not as it has to be, or was one of the last ones.
pub const PASSPHRASE_REFUSED: Code = Code::new("disk.passphrase_refused", Class::Invalid);
/// The passphrase is set, and the server could not be told.
pub const PASSPHRASE_UNTOLD: Code = Code::new("disk.passphrase_untold", Class::Unavailable);
/// The server does not take the token, or its answer cannot be trusted.
pub const TOKEN_REFUSED: Code = Code::new("disk.token_refused", Class::Denied);

/// How long the volume may be worked at, in seconds: cryptsetup takes some for deriving a key.
const PATIENCE: u32 = 300;

/// What choosing a passphrase begins with.
#[derive(Debug)]
pub enum Beginning {
    /// One is to be chosen.
    Choose(Box<Choice>),
    /// It was set by this token before, and the server has heard so now.
    Told(Choosable),
}

/// A volume whose passphrase is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choosable {
    /// Where it is.
    pub path: String,
    /// The UUID of its header.
    pub uuid: String,
}

/// A passphrase that is about to be chosen.
#[derive(Debug)]
pub struct Choice {
    actions: Actions,
    token: SecretText,
    volume: Volume,
    rules: PassphraseRules,
}

impl Actions {
    /// Begins to choose a passphrase of a volume: the named one, or the only one for which the server lets one be chosen. Nothing is
    /// changed, and the token stays as it is.
    ///
    /// # Errors
    /// `disk.passphrase_not_wanted`, `disk.passphrase_unavailable`, `disk.busy`, and what the server says of the token.
    pub async fn choose_passphrase(&self, token: SecretText, volume: Option<&str>) -> Result<Beginning, Error> {
        let device = by_hand(self);
        let (volume, rules) = choosable(&device, volume).await.map_err(error)?;
        let header = header(&device, &volume).await.map_err(error)?;
        let before = recall(&device).map_err(error)?.remove(&volume.uuid).unwrap_or_default();
        let is_by_this = matches!(&before.slot, Slot::Set { token: by, told: false, .. } if *by == digest(&token));
        if is_by_this && before.slot.number(&header).is_some() {
            let _lock = lock(&device).map_err(error)?;
            tell(&device, &volume, &token).await?;
            return Ok(Beginning::Told(volume.into()));
        }
        if header.has(SLOT) && before.slot.number(&header).is_none() {
            return Err(error(taken(&volume)));
        }
        check_token(&device, &token).await?;
        Ok(Beginning::Choose(Box::new(Choice {
            actions: self.clone(),
            token,
            volume,
            rules,
        })))
    }
}

impl Choice {
    /// Which volume it is for.
    pub fn volume(&self) -> Choosable {
        self.volume.clone().into()
    }

    /// What the passphrase has to be.
    pub fn rules(&self) -> PassphraseRules {
        self.rules
    }

    /// Whether a passphrase can be chosen: as it has to be, and none of the last ones.
    ///
    /// # Errors
    /// `disk.passphrase_refused`, which says why without it.
    pub fn check(&self, passphrase: &SecretText) -> Result<(), Error> {
        self.rules
            .check(passphrase.reveal())
            .map_err(|why| PASSPHRASE_REFUSED.error(format!("the passphrase is not as it has to be: {why}")))?;
        let device = by_hand(&self.actions);
        let before = recall(&device)
            .map_err(error)?
            .remove(&self.volume.uuid)
            .unwrap_or_default();
        match before.history.has(passphrase) {
            Ok(false) => Ok(()),
            Ok(true) => Err(PASSPHRASE_REFUSED.error("the passphrase was one of the last ones; choose another")),
            Err(why) => Err(PASSPHRASE_REFUSED.error(format!("it cannot be compared with the last ones: {why}"))),
        }
    }

    /// Sets the passphrase, and uses the token. Where that fails the same may be tried again, with the same token.
    ///
    /// # Errors
    /// As [`Choice::check`]; `disk.busy`, `disk.key_unknown`, `escrow.unreachable`; `disk.passphrase_untold` when it is set, and only the
    /// server could not be told.
    pub async fn set(&self, passphrase: &SecretText) -> Result<Timestamp, Error> {
        self.check(passphrase)?;
        let device = by_hand(&self.actions);
        let _lock = lock(&device).map_err(error)?;
        let named = Some(self.volume.path.as_str());
        // Whoever was asked may have taken their time: what was taken back meanwhile is not done.
        let (volume, rules) = choosable(&device, named).await.map_err(error)?;
        if volume != self.volume || rules != self.rules {
            return Err(PASSPHRASE_NOT_WANTED
                .error("the volume, or what a passphrase of it has to be, has changed; begin anew"));
        }
        check_token(&device, &self.token).await?;
        let at = put(&device, &volume, passphrase, &digest(&self.token))
            .await
            .map_err(error)?;
        tell(&device, &volume, &self.token).await?;
        Ok(at)
    }
}

/// Puts a passphrase into slot 7, and remembers it for ours.
async fn put(device: &Device, volume: &Volume, passphrase: &SecretText, token: &str) -> Result<Timestamp, Problem> {
    let key = kept_by_server(device, volume).await?;
    let mut chosen = recall(device)?;
    let before = chosen.get(&volume.uuid).cloned().unwrap_or_default();
    let history = before.history.with(passphrase, device.random()).map_err(|why| {
        Problem::new(
            PASSPHRASE_UNAVAILABLE,
            format!("the passphrase cannot be remembered: {why}"),
        )
    })?;
    let found = header(device, volume).await?;
    if let Some(number) = before.slot.number(&found) {
        device.kill_slot(volume, number, &key).await?;
    }
    if header(device, volume).await?.has(SLOT) {
        return Err(taken(volume));
    }
    let mut note = |slot, history| {
        chosen.insert(volume.uuid.clone(), ChosenPassphrase { slot, history });
        remember(device, &chosen)
    };
    note(Slot::Making, before.history)?;
    device.add_chosen_key(volume, &key, passphrase, SLOT).await?;
    let salt = header(device, volume).await?.salt(SLOT).ok_or_else(|| {
        let why = format!("{}: key slot 7 is empty although cryptsetup has filled it", volume.path);
        Problem::new(PASSPHRASE_UNAVAILABLE, why)
    })?;
    let at = device.now();
    let (token, told) = (token.to_owned(), false);
    note(Slot::Set { salt, at, token, told }, history)?;
    Ok(at)
}

/// Says to the server that it is set, which uses the token.
async fn tell(device: &Device, volume: &Volume, token: &SecretText) -> Result<(), Error> {
    let told = device.use_passphrase_token(token, &volume.uuid).await;
    told.map_err(|why| {
        PASSPHRASE_UNTOLD.error(format!(
            "the passphrase is set, and opens {}; the server could not be told: {why}. The agent says so at its next pass, or the same \
             command again",
            volume.path
        ))
    })?;
    let mut chosen = recall(device).map_err(error)?;
    if let Some(ChosenPassphrase {
        slot: Slot::Set { told, .. },
        ..
    }) = chosen.get_mut(&volume.uuid)
    {
        *told = true;
        remember(device, &chosen).map_err(error)?;
    }
    Ok(())
}

async fn check_token(device: &Device, token: &SecretText) -> Result<(), Error> {
    let checked = device.check_passphrase_token(token).await;
    checked.map_err(|why| {
        let code = match why {
            EscrowError::Unreachable(_) => ESCROW_UNREACHABLE,
            EscrowError::Refused { .. } | EscrowError::Untrusted(_) => TOKEN_REFUSED,
        };
        code.error(why.to_string())
    })
}

/// The volume that is meant, and what a passphrase of it has to be.
async fn choosable(device: &Device, named: Option<&str>) -> Result<(Volume, PassphraseRules), Problem> {
    let kept = device.recall::<Kept>(NAME)?.unwrap_or_default();
    let mut found = kept
        .iter()
        .filter(|(_, kept)| named.is_none_or(|named| named == kept.path))
        .filter_map(|(uuid, kept)| Some((uuid, &kept.path, kept.passphrase?)));
    let Some((uuid, path, rules)) = found.next() else {
        let why = "no passphrase may be chosen here: the server has not applied disk.encryption with device_key: passphrase to this device";
        let of = named.map(|path| format!(" ({path})")).unwrap_or_default();
        return Err(Problem::new(PASSPHRASE_NOT_WANTED, format!("{why}{of}")));
    };
    if let Some((_, other, _)) = found.next() {
        let why =
            format!("passphrases of several volumes may be chosen, such as {path} and {other}; name one by --volume");
        return Err(Problem::new(VOLUME_UNCLEAR, why));
    }
    let volume = device.luks_volume(path).await?;
    match volume.uuid == *uuid {
        true => Ok((volume, rules)),
        false => {
            let why = format!("{path} is another volume than the one whose passphrase the server keeps");
            Err(Problem::new(NOT_LUKS, why))
        }
    }
}

/// The device, as somebody works on it who is there.
fn by_hand(actions: &Actions) -> Device {
    let (sender, _nobody_listens) = mpsc::channel(1);
    let (_nobody_asks, never) = watch::channel(false);
    let bounds = Bounds {
        run: RunId::new(actions.clock.now(), &*actions.random).uuid(),
        timeout_seconds: PATIENCE,
        output_limit_bytes: 0,
    };
    Device::within(actions, bounds, OutputSink::new(sender), Cancellation::new(never))
}

/// Which token a passphrase was chosen by. It has 256 random bits: nobody finds it by its hash.
fn digest(token: &SecretText) -> String {
    let digest = Sha256::digest(token.reveal().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn error(problem: Problem) -> Error {
    match problem {
        Problem::Failed { code, message, .. } => code.error(message),
        Problem::NotApplicable(why) => PASSPHRASE_NOT_WANTED.error(why),
        Problem::TimedOut | Problem::Cancelled => DISK_BUSY.error("it took too long; try again"),
    }
}

impl From<Volume> for Choosable {
    fn from(volume: Volume) -> Self {
        Self {
            path: volume.path,
            uuid: volume.uuid,
        }
    }
}
