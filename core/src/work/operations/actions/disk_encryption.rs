//! `disk.encryption`: the passphrase of an encrypted volume is kept by the server, and is another one from time to time.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, read},
    passphrase::PassphraseRules,
    paths,
};
use crate::{
    access::Permission,
    work::{
        operations::{OperationKind, Risk, Subject, Upkeep, named},
        secrets::{MASK, SecretText},
    },
};

/// Keep the passphrases of devices' encrypted volumes.
pub const DISK_ENCRYPTION_RUN: Permission = Permission::new("operations.disk.encryption:run");
/// The name of the kind.
pub const NAME: &str = "disk.encryption";

/// How long a passphrase lasts when nobody says, in days.
const INTERVAL_DAYS: u16 = 90;
/// How long a passphrase may last, in days.
const MAX_INTERVAL_DAYS: u16 = 365;
/// The longest passphrase that cryptsetup(8) reads from its standard input, in bytes.
const MAX_KEY: usize = 512;

/// A key by which a device opens a volume itself, beside the passphrase that the server keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeviceKey {
    /// None; one that this action has made before is taken away.
    #[default]
    None,
    /// One that the device's TPM 2.0 gives out, as long as Secure Boot is as it was (PCR 7).
    Tpm2,
    /// A passphrase that an owner of the device chooses at it, with a token of the server, for key slot 7.
    Passphrase,
}

impl DeviceKey {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tpm2 => "tpm2",
            Self::Passphrase => "passphrase",
        }
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The parameters of `disk.encryption`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiskEncryptionParams {
    /// Whether its passphrase is to be kept by the server; `absent` only ends that, and alters no volume.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// The LUKS volume, such as `/dev/sda3`; when nobody says, the one that the device's root file system lies on, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// A passphrase that opens it now, 1 to 512 bytes. It is needed once, until the server keeps another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, write_only))]
    pub initial_key: Option<SecretText>,
    /// Whether that one goes on opening it; else it is removed once the server's is known to open it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_initial_key: bool,
    /// After how many days the passphrase is replaced, 1 to 365.
    #[serde(default = "interval", skip_serializing_if = "is_interval")]
    pub interval_days: u16,
    /// Whether it opens by a key of the device's own as well: `none` when nobody says, `tpm2` or `passphrase`.
    #[serde(default, skip_serializing_if = "DeviceKey::is_none")]
    pub device_key: DeviceKey,
    /// What a passphrase has to be that an owner of the device chooses; with `device_key: passphrase`.
    #[serde(default, skip_serializing_if = "PassphraseRules::is_default")]
    pub passphrase: PassphraseRules,
}

fn interval() -> u16 {
    INTERVAL_DAYS
}

fn is_interval(days: &u16) -> bool {
    *days == INTERVAL_DAYS
}

impl DiskEncryptionParams {
    /// Of several for one volume the strictest applies: that which replaces the passphrase soonest.
    fn rank(&self) -> u64 {
        match self.state {
            Presence::Present => u64::from(MAX_INTERVAL_DAYS.saturating_sub(self.interval_days)) + 1,
            Presence::Absent => 0,
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(volume) = &self.volume {
            paths::check_shape(volume).map_err(|problem| format!("volume, as a {problem}"))?;
        }
        if !(1..=MAX_INTERVAL_DAYS).contains(&self.interval_days) {
            return Err(format!("interval_days: 1 to {MAX_INTERVAL_DAYS}"));
        }
        self.passphrase.check_bounds()?;
        if self.device_key != DeviceKey::Passphrase && !self.passphrase.is_default() {
            return Err("passphrase: it is for device_key: passphrase".into());
        }
        match &self.initial_key {
            Some(key) => check_key(key.reveal()),
            None if self.keep_initial_key => Err("keep_initial_key: give the initial_key that is to be kept".into()),
            None => Ok(()),
        }
    }
}

/// A passphrase as cryptsetup(8) reads it: one line. What is wrong with it is said without it.
fn check_key(key: &str) -> Result<(), String> {
    if key == MASK {
        Ok(())
    } else if !(1..=MAX_KEY).contains(&key.len()) {
        Err(format!("initial_key: 1 to {MAX_KEY} bytes"))
    } else if key.contains(['\n', '\0']) {
        Err("initial_key: one line, as it is typed when the device starts; key files are not taken".into())
    } else {
        Ok(())
    }
}

action_params!(DiskEncryptionParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject {
        rank: |params| read(params).map_or(0, |params: DiskEncryptionParams| params.rank()),
        ..Subject::new(NAME, |params| named(params, "volume"))
    }),
    secrets: &["/initial_key"],
    ..action::<DiskEncryptionParams>(
        NAME,
        "keep the passphrase of an encrypted volume, and replace it from time to time",
        DISK_ENCRYPTION_RUN,
        Risk::High,
        Upkeep::Reverted,
    )
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(params: Value, fits: bool) {
        assert_eq!(KIND.check_params(params.clone()).is_ok(), fits, "{params}");
    }

    #[test]
    fn a_volume_is_found_or_named() {
        check(json!({}), true);
        check(json!({"volume": "/dev/sda3", "interval_days": 365}), true);
        check(json!({"volume": "sda3"}), false);
        check(json!({"volume": "/dev/../etc/shadow"}), false);
        check(json!({"interval_days": 0}), false);
        check(json!({"interval_days": 366}), false);
    }

    #[test]
    fn of_several_for_one_volume_the_strictest_applies() {
        let rank = |params| KIND.subjects_of(&KIND.check_params(params).unwrap()).rank;
        let weekly = rank(json!({"interval_days": 7, "volume": "/dev/sda3"}));
        assert!(weekly > rank(json!({})));
        assert!(rank(json!({"interval_days": 365})) > rank(json!({"interval_days": 7, "state": "absent"})));
        assert_eq!(weekly, rank(json!({"interval_days": 7, "device_key": "tpm2"})));
    }

    #[test]
    fn a_device_has_a_key_of_its_own_when_it_is_asked_for() {
        check(json!({"device_key": "tpm2"}), true);
        check(json!({"device_key": "tpm"}), false);
        let none = KIND.check_params(json!({"device_key": "none"}));
        assert_eq!(none.unwrap(), json!({}));
    }

    #[test]
    fn what_a_passphrase_has_to_be_is_said_where_one_is_wanted() {
        check(json!({"device_key": "passphrase"}), true);
        let rules = json!({"min_length": 128, "complexity": "complex"});
        check(json!({"device_key": "passphrase", "passphrase": rules}), true);
        check(json!({"device_key": "tpm2", "passphrase": rules}), false);
        check(json!({"passphrase": rules}), false);
        for rules in [
            json!({"min_length": 15}),
            json!({"min_length": 129}),
            json!({"complexity": "hard"}),
            json!({"words": 4}),
        ] {
            check(json!({"device_key": "passphrase", "passphrase": rules}), false);
        }
        let params = KIND.check_params(json!({"device_key": "passphrase", "passphrase": {"min_length": 16}}));
        assert_eq!(params.unwrap(), json!({"device_key": "passphrase"}));
    }

    #[test]
    fn the_initial_key_is_one_that_can_be_typed() {
        let key = |key: &str| json!({"initial_key": key, "keep_initial_key": true});
        check(key("********"), true);
        check(key(" correct horse:battery "), true);
        check(key(&"x".repeat(512)), true);
        check(key(&"x".repeat(513)), false);
        check(key(""), false);
        check(key("two\nlines"), false);
        check(json!({"keep_initial_key": true}), false);
    }
}
