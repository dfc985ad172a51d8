//! The folder: made with narrow permissions, used by one process, refused when it is foreign, damaged or newer.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fleet_core::store::{Error, Result};

use crate::{
    error::{damaged, unavailable},
    files::{Files, Guard},
    journal::{Scanned, scan},
    layout::{DAMAGED, FOLDERS, LANES, LOCK, MANIFEST, MANIFEST_NEXT, above},
    manifest::Manifest,
};

/// A folder that is this process's.
pub(crate) struct Place {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) root: PathBuf,
    lock: Option<Guard>,
}

impl Place {
    /// Takes a folder, and makes it where it is missing.
    pub(crate) fn take(files: Arc<dyn Files>, root: &Path) -> Result<Self> {
        let failed = |what: &str, error: &io::Error| unavailable(what, root, error);
        let found = match files.list(root) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files.make_folder(root).map_err(|error| failed("make", &error))?;
                // Without right to the folder above nobody can make its names last, and nothing depends on it but the folder itself.
                let _ = files.sync_folder(&above(root));
                Vec::new()
            }
            Err(error) => return Err(failed("list", &error)),
        };
        // A look before the lock: nothing is written into a folder that is somebody else's.
        if !found.iter().any(|name| name == MANIFEST) {
            let ours = |name: &&String| {
                [LOCK, MANIFEST_NEXT, DAMAGED].contains(&name.as_str()) || FOLDERS.contains(&name.as_str())
            };
            if let Some(foreign) = found.iter().find(|name| !ours(name)) {
                return Err(Error::Refused(format!(
                    "{} is not a store of fleet: it holds {foreign}; name an empty folder or one that does not exist",
                    root.display()
                )));
            }
        }
        let lock = files.lock(&root.join(LOCK)).map_err(|error| failed("lock", &error))?;
        let Some(lock) = lock else {
            return Err(Error::Refused(format!(
                "{} is in use by another process. A store has one server: stop the other one, or use another folder",
                root.display()
            )));
        };
        Ok(Self {
            files,
            root: root.to_owned(),
            lock: Some(lock),
        })
    }

    /// Lets another process have the folder.
    pub(crate) fn release(&mut self) {
        drop(self.lock.take());
    }

    /// What the folder holds: the manifest, and the journal behind its snapshot. A new folder becomes an empty store.
    pub(crate) fn open(&self) -> Result<(Manifest, Scanned)> {
        let (files, root) = (&*self.files, self.root.as_path());
        let manifest = match Manifest::read(files, root)? {
            Some(manifest) => manifest,
            None => self.create()?,
        };
        let scanned = scan(files, root, manifest.journal)?;
        Ok((manifest, scanned))
    }

    fn create(&self) -> Result<Manifest> {
        let (files, root) = (&*self.files, self.root.as_path());
        // The manifest of a new store is written before anything else is.
        let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
        let lanes = files.list(&root.join(LANES)).unwrap_or_default();
        folders.extend(lanes.into_iter().map(|lane| root.join(LANES).join(lane)));
        for folder in &folders {
            let names = files.list(folder).unwrap_or_default();
            if *folder != root.join(LANES) && !names.is_empty() {
                return Err(damaged(&root.join(MANIFEST), "the file is missing"));
            }
        }
        for folder in FOLDERS {
            let folder = root.join(folder);
            let made = files.make_folder(&folder);
            made.map_err(|error| unavailable("make", &folder, &error))?;
        }
        let synced = files.sync_folder(root);
        synced.map_err(|error| unavailable("synchronise", root, &error))?;
        let mut manifest = Manifest::new();
        manifest.write(files, root).map_err(|switch| match switch {
            crate::manifest::Switch::Before(error) | crate::manifest::Switch::Within(error) => error,
        })?;
        Ok(manifest)
    }
}
