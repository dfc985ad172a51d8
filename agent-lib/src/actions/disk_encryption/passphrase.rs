//! A passphrase that an owner of the device has chosen, in key slot 7: beside the one that the server keeps, never in its place.
//!
//! The action lets one be chosen, says whether one was, and takes it away; `choosing.rs` sets it. Both are processes of their own: they
//! alter a volume under one lock, and what they remember of slot 7 has a file of its own. As elsewhere a key is known by its slot's salt:
//! what somebody else has put there is left alone.

use std::collections::BTreeMap;

use fleet_core::{
    kernel::{Class, Code, Timestamp},
    work::operations::actions::passphrase::PassphraseRules,
};
use serde::{Deserialize, Serialize};

use super::{
    MAX_VOLUMES,
    device_key::kept_by_server,
    header::{Header, Salt},
    history::History,
    luks::Volume,
};
use crate::actions::{
    action::Problem,
    device::{Device, NoteLock},
};

/// A passphrase of an owner's cannot be had: the volume is not of LUKS 2, or slot 7 has a key of somebody else.
pub(super) const PASSPHRASE_UNAVAILABLE: Code = Code::new("disk.passphrase_unavailable", Class::Conflict);
/// Somebody is at the volume at this moment: the agent, or whoever chooses a passphrase.
pub(super) const DISK_BUSY: Code = Code::new("disk.busy", Class::Unavailable);

/// The file of what is remembered, and of the lock.
const NAME: &str = "disk.passphrases";
/// Where the passphrase is.
pub(super) const SLOT: &str = "7";

/// Volumes by their UUID.
pub(super) type Chosen = BTreeMap<String, ChosenPassphrase>;

/// What is remembered of the passphrase of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChosenPassphrase {
    #[serde(default, skip_serializing_if = "Slot::is_empty")]
    pub(super) slot: Slot,
    #[serde(default, skip_serializing_if = "History::is_empty")]
    pub(super) history: History,
}

/// What is in slot 7 of it that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(super) enum Slot {
    /// Nothing.
    #[default]
    Empty,
    /// The slot was empty, and a passphrase was about to be set.
    Making,
    /// A passphrase.
    Set {
        /// The slot's salt.
        salt: Salt,
        /// Since when.
        at: Timestamp,
        /// SHA-256 of the token by which it was chosen, and whether the server has heard so.
        token: String,
        told: bool,
    },
}

impl Slot {
    fn is_empty(&self) -> bool {
        *self == Self::Empty
    }

    /// The number of the key slot that is ours; nothing when our key is there no more.
    pub(super) fn number<'a>(&self, header: &'a Header) -> Option<&'a str> {
        match self {
            Self::Empty => None,
            Self::Making => header.has(SLOT).then_some(SLOT),
            Self::Set { salt, .. } => header.number(salt),
        }
    }
}

/// What is left to do about the passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// One may be chosen, by these rules.
    Allow,
    /// None may be, and the one that is there goes.
    Revoke,
}

/// How the passphrase stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// What is left to do.
    pub(super) change: Option<Change>,
    /// Whether somebody has begun to set one, and does so no more.
    pub(super) is_unfinished: bool,
    /// Since when one is set that opens the volume.
    pub(super) since: Option<Timestamp>,
    /// Whether the server has heard of one from whoever chose it, be it there or not.
    pub(super) is_told: bool,
}

/// How the passphrase of a volume stands. `wanted` says by which rules one may be chosen, `allowed` by which one may now.
pub(super) async fn look(
    wanted: Option<PassphraseRules>,
    device: &Device,
    volume: &Volume,
    allowed: Option<PassphraseRules>,
) -> Result<Standing, Problem> {
    let slot = recall(device)?.remove(&volume.uuid).unwrap_or_default().slot;
    let nothing = Standing {
        change: None,
        is_unfinished: false,
        since: None,
        is_told: false,
    };
    let is_told = matches!(slot, Slot::Set { told: true, .. });
    if wanted.is_none() && slot.is_empty() {
        let change = allowed.map(|_| Change::Revoke);
        return Ok(Standing { change, ..nothing });
    }
    let header = header(device, volume).await?;
    let since = match (&slot, slot.number(&header)) {
        (Slot::Set { at, .. }, Some(_)) => Some(*at),
        _ => None,
    };
    let change = match wanted {
        // What is remembered of a key that is there no more goes as well: it must not come to life by a slot that is copied back.
        None => Some(Change::Revoke),
        Some(_) if wanted == allowed => None,
        Some(_) => Some(Change::Allow),
    };
    if header.has(SLOT) && slot.number(&header).is_none() && change == Some(Change::Allow) {
        return Err(taken(volume));
    }
    // Whoever is setting one at this moment has the lock.
    let is_unfinished = wanted.is_some() && slot == Slot::Making && device.lock_note(NAME)?.is_some();
    Ok(Standing {
        change,
        is_unfinished,
        since,
        is_told,
    })
}

/// Takes away what somebody has left who was interrupted while setting one: from here on a key in slot 7 is somebody else's.
pub(super) async fn settle(device: &Device, volume: &Volume) -> Result<(), Problem> {
    let chosen = recall(device)?;
    let slot = chosen.get(&volume.uuid).map(|chosen| &chosen.slot);
    match slot {
        Some(Slot::Making) => revoke(device, volume).await,
        _ => Ok(()),
    }
}

/// Takes the passphrase away; harmless where none is set.
pub(super) async fn revoke(device: &Device, volume: &Volume) -> Result<(), Problem> {
    let mut chosen = recall(device)?;
    let Some(before) = chosen.get_mut(&volume.uuid) else {
        return Ok(());
    };
    let header = header(device, volume).await?;
    if let Some(number) = before.slot.number(&header) {
        let key = kept_by_server(device, volume).await?;
        device.kill_slot(volume, number, &key).await?;
    }
    before.slot = Slot::Empty;
    remember(device, &chosen)
}

/// Whether the server has heard of a passphrase from whoever chose it.
pub(super) fn is_told(device: &Device, volume: &Volume) -> Result<bool, Problem> {
    let chosen = recall(device)?;
    let slot = chosen.get(&volume.uuid).map(|chosen| &chosen.slot);
    Ok(matches!(slot, Some(Slot::Set { told: true, .. })))
}

/// The server has heard that there is none.
pub(super) fn untell(device: &Device, volume: &Volume) -> Result<(), Problem> {
    let mut chosen = recall(device)?;
    match chosen.get_mut(&volume.uuid) {
        Some(ChosenPassphrase {
            slot: Slot::Set { told, .. },
            ..
        }) if *told => {
            *told = false;
            remember(device, &chosen)
        }
        _ => Ok(()),
    }
}

pub(super) fn recall(device: &Device) -> Result<Chosen, Problem> {
    Ok(device.recall(NAME)?.unwrap_or_default())
}

pub(super) fn remember(device: &Device, chosen: &Chosen) -> Result<(), Problem> {
    let mut chosen = chosen.clone();
    while chosen.len() > MAX_VOLUMES
        && let Some(useless) = chosen
            .iter()
            .find(|(_, one)| one.slot.is_empty())
            .or(chosen.iter().next())
    {
        let uuid = useless.0.clone();
        chosen.remove(&uuid);
    }
    device.remember(NAME, &chosen)
}

pub(super) async fn header(device: &Device, volume: &Volume) -> Result<Header, Problem> {
    let refused = |why: String| Problem::new(PASSPHRASE_UNAVAILABLE, format!("{}: {why}", volume.path));
    let text = device.luks_header(volume).await?;
    let text = text.ok_or_else(|| {
        refused("only LUKS 2 volumes, with cryptsetup 2.4 or later, have passphrases of owners".into())
    })?;
    Header::parse(&text).map_err(|error| refused(format!("its header cannot be read: {error}")))
}

pub(super) fn taken(volume: &Volume) -> Problem {
    let why = "key slot 7 has a key that somebody else has put there; it is left alone. Take it away first";
    Problem::new(PASSPHRASE_UNAVAILABLE, format!("{}: {why}", volume.path))
}

/// Keeps others off the volumes; nobody waits for whoever does so.
pub(super) fn lock(device: &Device) -> Result<NoteLock, Problem> {
    device.lock_note(NAME)?.ok_or_else(|| {
        let why = "passphrases of disks are being changed at this moment; nothing was done, try again";
        Problem::new(DISK_BUSY, why)
    })
}
