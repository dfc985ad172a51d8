//! What is remembered of versions, on disk, and the programs themselves.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use fleet_core::protocol::Sha256Digest;
use sha2::{Digest as _, Sha256};

use super::slots::{Slot, Slots};
use crate::identity::{read_bounded, write_private};

const FILE: &str = "slots.json";
const NEW_FILE: &str = "slots.json.new";
const MAX_BYTES: u64 = 256 * 1024;
const PROGRAM: &str = "fleet-agent";
const NEW_PROGRAM: &str = "fleet-agent.new";
/// What is read at once, in bytes.
const PART: usize = 64 * 1024;

/// The slots of a state directory.
#[derive(Clone, Debug)]
pub struct SlotStore {
    state: PathBuf,
}

impl SlotStore {
    /// Those of a state directory.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self { state: state.into() }
    }

    /// What is remembered. Where nothing is, or nothing that can be read, the installed program works.
    pub fn load(&self) -> Slots {
        let text = match read_bounded(&self.state.join(FILE), MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Slots::default(),
            text => text,
        };
        let read = text.and_then(|text| serde_json::from_str(&text).map_err(io::Error::other));
        read.unwrap_or_else(|error| {
            tracing::error!(%error, "slots.json cannot be read; the installed agent is used");
            Slots::default()
        })
    }

    /// Remembers.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn save(&self, slots: &Slots) -> io::Result<()> {
        let text = serde_json::to_string(slots)?;
        write_private(&self.state, NEW_FILE, FILE, text.as_bytes())
    }

    /// Changes what is remembered.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn change<T>(&self, change: impl FnOnce(&mut Slots) -> T) -> io::Result<T> {
        let before = self.load();
        let mut after = before.clone();
        let done = change(&mut after);
        if after != before {
            self.save(&after)?;
        }
        Ok(done)
    }

    fn folder(&self, slot: Slot) -> PathBuf {
        self.state.join("slots").join(slot.name())
    }

    /// Where the program of a slot is.
    pub fn program(&self, slot: Slot) -> PathBuf {
        self.folder(slot).join(PROGRAM)
    }

    /// Whether a program is one of a slot.
    pub fn is_slot(&self, program: &Path) -> bool {
        let folder = fs::canonicalize(self.state.join("slots"));
        folder.is_ok_and(|folder| program.starts_with(folder))
    }

    /// Whether a slot holds what was put there.
    pub fn is_whole(&self, slot: Slot, sha256: Sha256Digest) -> bool {
        let digest = || {
            let mut file = File::open(self.program(slot))?;
            let (mut hasher, mut part) = (Sha256::new(), vec![0; PART]);
            loop {
                match file.read(&mut part)? {
                    0 => return io::Result::Ok(Sha256Digest::from_bytes(hasher.finalize().into())),
                    read => hasher.update(&part[..read]),
                }
            }
        };
        digest().is_ok_and(|found| found == sha256)
    }

    /// Begins to fill a slot, beside what is in it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn begin(&self, slot: Slot) -> io::Result<Incoming> {
        let folder = self.folder(slot);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = folder.join(NEW_PROGRAM);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Incoming {
            file,
            path,
            hasher: Sha256::new(),
            length: 0,
        })
    }

    /// Puts what has come into its place.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn place(&self, slot: Slot, incoming: &Placed) -> io::Result<()> {
        fs::rename(&incoming.path, self.program(slot))?;
        File::open(self.folder(slot))?.sync_all()
    }
}

/// A program that is coming.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    length: u64,
}

impl Incoming {
    /// Takes a part, and says how much there is.
    pub(super) fn write(&mut self, part: &[u8]) -> io::Result<u64> {
        self.file.write_all(part)?;
        self.hasher.update(part);
        self.length += part.len() as u64;
        Ok(self.length)
    }

    /// It is all there: synced and executable. Gives back its digest.
    pub(super) fn finish(self) -> io::Result<(Placed, Sha256Digest)> {
        self.file.set_permissions(Permissions::from_mode(0o700))?;
        self.file.sync_all()?;
        let digest = Sha256Digest::from_bytes(self.hasher.finalize().into());
        Ok((Placed { path: self.path }, digest))
    }
}

/// A program that is there, and not yet in its place.
#[derive(Debug)]
pub struct Placed {
    path: PathBuf,
}

impl Placed {
    /// Where it is for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it: it is not what it should be.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_what_was_put_there_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let store = SlotStore::new(folder.path());
        let mut incoming = store.begin(Slot::A).unwrap();
        assert_eq!(incoming.write(b"ab").unwrap(), 2);
        assert_eq!(incoming.write(b"c").unwrap(), 3);
        let (placed, digest) = incoming.finish().unwrap();
        // FIPS 180-2, B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), abc);
        assert!(!store.is_whole(Slot::A, digest));
        store.place(Slot::A, &placed).unwrap();
        assert!(store.is_whole(Slot::A, digest) && !store.is_whole(Slot::B, digest));
        assert!(store.is_slot(&fs::canonicalize(store.program(Slot::A)).unwrap()));
        assert!(!store.is_slot(Path::new("/usr/local/bin/fleet-agent")));
        fs::write(store.program(Slot::A), "abd").unwrap();
        assert!(!store.is_whole(Slot::A, digest));
    }

    #[test]
    fn what_cannot_be_read_leaves_the_installed_agent() {
        let folder = tempfile::tempdir().unwrap();
        let store = SlotStore::new(folder.path());
        assert_eq!(store.load(), Slots::default());
        let floor = Some("1.2.3".parse().unwrap());
        store.change(|slots| slots.floor.clone_from(&floor)).unwrap();
        assert_eq!(store.load().floor, floor);
        fs::write(folder.path().join(FILE), r#"{"v":1,"#).unwrap();
        assert_eq!(store.load(), Slots::default());
    }
}
