//! Which tokens wait, and whether one can be used. Pure.

use std::ops::RangeInclusive;

use super::{
    DISK_KEYS_FULL, DeviceDiskKeys, DiskKey, DiskPassphraseToken, PASSPHRASE_TOKEN_EXPIRED, PASSPHRASE_TOKEN_UNKNOWN,
    PASSPHRASE_TOKEN_USED, PASSPHRASE_TOKENS_WAITING, TokenUse,
};
use crate::{
    access::TokenHash,
    devices::DeviceId,
    kernel::{Error, Result, Timestamp},
    work::operations::actions::disk_encryption::DeviceKey,
};

/// How long a token can be used when nobody says, in seconds.
pub(super) const DEFAULT_LIFE: u64 = 15 * 60;
/// How long a token can be used, in seconds.
const LIFE: RangeInclusive<u64> = 60..=60 * 60;
/// The most tokens of a device that wait.
pub const MAX_WAITING: usize = 5;
/// The most tokens of a device that are kept, with those that were used.
const MAX_KEPT: usize = 16;
/// The most disks of a device.
pub const MAX_DISKS: usize = 64;
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 128;

/// What to type on the device to use a token.
pub(super) fn command(token: &str) -> String {
    format!("sudo fleet-agent disk set-passphrase --token {token}")
}

pub(super) fn check_life(seconds: u64) -> Result<()> {
    match LIFE.contains(&seconds) {
        true => Ok(()),
        false => {
            let why = format!("{} to {} seconds", LIFE.start(), LIFE.end());
            Err(Error::invalid_field("/expires_in_seconds", why))
        }
    }
}

/// What cannot be a token is none, whoever made it.
pub(super) fn check_token(token: &str) -> Result<()> {
    match token.len() <= MAX_TOKEN {
        true => Ok(()),
        false => Err(unknown()),
    }
}

/// A disk is named by the UUID of its header.
pub(super) fn check_disk(disk: &str) -> Result<()> {
    match uuid::Uuid::try_parse(disk).is_ok_and(|uuid| uuid.hyphenated().to_string() == disk) {
        true => Ok(()),
        false => Err(Error::invalid_field(
            "/disk",
            "the UUID of a LUKS header, in lower case",
        )),
    }
}

impl DeviceDiskKeys {
    pub(super) fn new(id: DeviceId) -> Self {
        Self {
            id,
            disks: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Adds a token to those that wait; those whose time is over go.
    pub(super) fn add(&mut self, token: DiskPassphraseToken, now: Timestamp) -> Result<()> {
        self.tokens.retain(|token| token.expires_at > now);
        let waiting = self.tokens.iter().filter(|token| token.used.is_none());
        let expiries: Vec<_> = waiting.map(|token| token.expires_at).collect();
        if expiries.len() >= MAX_WAITING {
            let first = expiries.into_iter().min().unwrap_or(now);
            let why =
                format!("{MAX_WAITING} tokens of this device wait already; use one, or wait until one's time is over");
            return Err(PASSPHRASE_TOKENS_WAITING
                .error(why)
                .with_retry_after(first.since(now).as_secs() + 1));
        }
        while self.tokens.len() >= MAX_KEPT
            && let Some(oldest) = self.tokens.iter().position(|token| token.used.is_some())
        {
            self.tokens.remove(oldest);
        }
        self.tokens.push(token);
        Ok(())
    }

    /// The token of this hash, whether it can still be used or not.
    fn find(&self, hash: &TokenHash) -> Result<usize> {
        let found = self.tokens.iter().position(|token| token.hash.equals(hash));
        found.ok_or_else(unknown)
    }

    /// Whether a token can be used now.
    pub(super) fn check(&self, hash: &TokenHash, now: Timestamp) -> Result<()> {
        let at = self.find(hash)?;
        self.tokens
            .get(at)
            .map_or_else(|| Err(unknown()), |token| token.check(now))
    }

    /// Uses a token for a disk. Whether that is anything new: the same again is the answer that was lost.
    pub(super) fn take(&mut self, hash: &TokenHash, disk: &str, now: Timestamp) -> Result<bool> {
        let at = self.find(hash)?;
        let Some(token) = self.tokens.get_mut(at) else {
            return Err(unknown());
        };
        if token.used.as_ref().is_some_and(|used| used.disk == disk) {
            return Ok(false);
        }
        token.check(now)?;
        token.used = Some(TokenUse {
            at: now,
            disk: disk.to_owned(),
        });
        // Another passphrase than before: since now, also where there was one.
        self.disks.retain(|known| known.disk != disk);
        self.tell(disk, DeviceKey::Passphrase, now)?;
        Ok(true)
    }

    /// Notes which key of the device's own a disk has. Whether that is anything new.
    pub(super) fn tell(&mut self, disk: &str, key: DeviceKey, now: Timestamp) -> Result<bool> {
        let disk_key = DiskKey {
            disk: disk.to_owned(),
            key,
            since: now,
        };
        match self.disks.binary_search_by(|known| known.disk.as_str().cmp(disk)) {
            Ok(at) if self.disks[at].key == key => return Ok(false),
            Ok(at) => self.disks[at] = disk_key,
            Err(_) if self.disks.len() >= MAX_DISKS => {
                return Err(DISK_KEYS_FULL.error(format!(
                    "keys of {MAX_DISKS} disks of this device are known, and no more"
                )));
            }
            Err(at) => self.disks.insert(at, disk_key),
        }
        Ok(true)
    }
}

impl DiskPassphraseToken {
    fn check(&self, now: Timestamp) -> Result<()> {
        if self.used.is_some() {
            Err(PASSPHRASE_TOKEN_USED.error("this token was used; have a new one made"))
        } else if now >= self.expires_at {
            Err(PASSPHRASE_TOKEN_EXPIRED.error("the time of this token is over; have a new one made"))
        } else {
            Ok(())
        }
    }
}

pub(super) fn unknown() -> Error {
    PASSPHRASE_TOKEN_UNKNOWN.error("this device has no such token: it is another device's, or its time is long over")
}
