//! Volumes of LUKS, as cryptsetup(8) handles them. Passphrases are lines of its standard input, never arguments.

use fleet_core::work::secrets::SecretText;

use super::NOT_LUKS;
use crate::actions::{
    action::Problem,
    device::{Call, Device},
};

/// What cryptsetup exits with when no key slot opens by a passphrase.
const NO_SLOT_OPENS: i32 = 2;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actions) struct Volume {
    /// Where it is.
    pub(super) path: String,
    /// What its header calls it.
    pub(super) uuid: String,
}

impl Device {
    /// The volume that is at a path.
    pub(super) async fn luks_volume(&self, path: &str) -> Result<Volume, Problem> {
        self.require_program("cryptsetup")?;
        let answer = self.ask(&cryptsetup(self, "luksUUID", path)).await?;
        let uuid = answer.stdout.trim();
        match answer.succeeded() && uuid::Uuid::try_parse(uuid).is_ok() {
            true => Ok(Volume {
                path: path.to_owned(),
                uuid: uuid.to_owned(),
            }),
            false => Err(Problem::new(NOT_LUKS, format!("{path} is no LUKS volume"))),
        }
    }

    /// Whether a passphrase opens a volume. Nothing is opened.
    pub(super) async fn opens(&self, volume: &Volume, key: &SecretText) -> Result<bool, Problem> {
        let call = cryptsetup(self, "open", &volume.path).with(["--test-passphrase"]);
        let answer = self.ask(&reading(&call, &[key])).await?;
        match answer.code {
            0 => Ok(true),
            NO_SLOT_OPENS => Ok(false),
            _ => Err(call.failed(&answer)),
        }
    }

    /// Has another passphrase open a volume as well. It is of 256 random bits, so that deriving a key from it needs no effort, which a
    /// small device does not have: systemd-cryptenroll(1) does the same with its recovery keys.
    pub(super) async fn add_key(&self, volume: &Volume, by: &SecretText, key: &SecretText) -> Result<(), Problem> {
        let call = cryptsetup(self, "luksAddKey", &volume.path);
        let call = call.with(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]);
        self.succeed(call, &[by, key]).await
    }

    /// Has a passphrase that somebody has chosen open a volume, from an empty key slot. It is worth what deriving a key from it costs:
    /// as much as cryptsetup finds right for this device.
    pub(super) async fn add_chosen_key(
        &self,
        volume: &Volume,
        by: &SecretText,
        key: &SecretText,
        slot: &str,
    ) -> Result<(), Problem> {
        let call = cryptsetup(self, "luksAddKey", &volume.path).with(["--key-slot", slot]);
        self.succeed(call, &[by, key]).await
    }

    /// A passphrase opens a volume no more.
    pub(super) async fn remove_key(&self, volume: &Volume, key: &SecretText) -> Result<(), Problem> {
        self.succeed(cryptsetup(self, "luksRemoveKey", &volume.path), &[key])
            .await
    }

    /// What the header of a LUKS 2 volume says; nothing where it is of another sort, or this cryptsetup does not tell.
    pub(super) async fn luks_header(&self, volume: &Volume) -> Result<Option<String>, Problem> {
        let call = cryptsetup(self, "luksDump", &volume.path).with(["--dump-json-metadata"]);
        let answer = self.ask(&call).await?;
        Ok(answer.succeeded().then_some(answer.stdout))
    }

    /// Removes a token, which leaves its key slot as it is.
    pub(super) async fn remove_token(&self, volume: &Volume, number: &str) -> Result<(), Problem> {
        let path = self.luks_path(volume);
        let call = Call::new(
            "cryptsetup",
            ["token", "remove", "--batch-mode", "--token-id", number, &path],
        );
        self.succeed(call, &[]).await
    }

    /// Empties a key slot. The passphrase has to open another one: with `--batch-mode` nothing would be asked, and the last one would go.
    pub(super) async fn kill_slot(&self, volume: &Volume, number: &str, by: &SecretText) -> Result<(), Problem> {
        let path = self.luks_path(volume);
        self.succeed(Call::new("cryptsetup", ["luksKillSlot", &path, number]), &[by])
            .await
    }

    /// Where programs find a volume.
    pub(super) fn luks_path(&self, volume: &Volume) -> String {
        path_of(self, &volume.path)
    }

    async fn succeed(&self, call: Call, lines: &[&SecretText]) -> Result<(), Problem> {
        let answer = self.ask(&reading(&call, lines)).await?;
        match answer.succeeded() {
            true => Ok(()),
            false => Err(call.failed(&answer)),
        }
    }
}

fn cryptsetup(device: &Device, verb: &str, path: &str) -> Call {
    Call::new("cryptsetup", [verb, "--batch-mode", &path_of(device, path)])
}

fn path_of(device: &Device, path: &str) -> String {
    format!("{}{path}", device.scratch_root().unwrap_or_default())
}

fn reading(call: &Call, lines: &[&SecretText]) -> Call {
    let lines = lines.iter().map(|line| format!("{}\n", line.reveal()));
    call.clone().reading(lines.collect())
}
