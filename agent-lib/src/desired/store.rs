//! Manifest and progress on disk, in two files of the state directory: the one is large and changes seldom.

use std::{io, path::Path, sync::Arc};

use fleet_core::kernel::PublicKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::progress::{Manifest, Progress};
use crate::{
    disk::{self, Disk},
    identity::remove,
};

const MANIFEST: &str = "manifest.json";
const NEW_MANIFEST: &str = "manifest.json.new";
const PROGRESS: &str = "manifest-progress.json";
const NEW_PROGRESS: &str = "manifest-progress.json.new";
/// More than either ever has.
const MAX_BYTES: usize = 16 << 20;

/// A file, and whose it is: a device that is enrolled anew has another key, and begins anew.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    v: u32,
    device_key: PublicKey,
    #[serde(flatten)]
    body: T,
}

/// The files of a device.
#[derive(Debug)]
pub(super) struct Files {
    disk: Arc<dyn Disk>,
    device_key: PublicKey,
}

impl Files {
    pub fn new(disk: Arc<dyn Disk>, device_key: PublicKey) -> Self {
        Self { disk, device_key }
    }

    /// What is there; nothing where it cannot be read: then all of it is asked for anew.
    pub fn read(&self) -> (Option<Manifest>, Progress) {
        let manifest = self.read_one(MANIFEST);
        let progress = self.read_one(PROGRESS);
        (manifest, progress.unwrap_or_default())
    }

    fn read_one<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = match disk::read(&*self.disk, name, MAX_BYTES) {
            Ok(text) => text?,
            Err(error) => {
                tracing::error!(file = name, %error, "cannot be read; it is asked for anew");
                return None;
            }
        };
        match serde_json::from_slice::<Stored<T>>(&text) {
            Ok(stored) if stored.device_key == self.device_key => Some(stored.body),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(file = name, %error, "is damaged; it is asked for anew");
                None
            }
        }
    }

    /// Keeps a manifest.
    pub fn write_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        self.write(NEW_MANIFEST, MANIFEST, manifest)
    }

    /// Keeps what is remembered of it.
    pub fn write_progress(&self, progress: &Progress) -> io::Result<()> {
        self.write(NEW_PROGRESS, PROGRESS, progress)
    }

    fn write<T: Serialize>(&self, new_name: &str, name: &str, body: &T) -> io::Result<()> {
        let stored = Stored {
            v: 1,
            device_key: self.device_key,
            body,
        };
        let text = serde_json::to_vec(&stored).map_err(io::Error::other)?;
        disk::replace(&*self.disk, new_name, name, &text)
    }
}

/// Removes what is kept: this device has left its server, and stays as it is.
pub(crate) fn forget(state: &Path) -> fleet_core::kernel::Result<()> {
    remove(&state.join(MANIFEST))?;
    remove(&state.join(PROGRESS))
}
