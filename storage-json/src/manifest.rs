//! The manifest: what the snapshot consists of, and from where on the journal counts. Replacing it is the switch from one
//! snapshot to the next.

use std::{collections::BTreeMap, io, path::Path};

use fleet_core::store::{Digest, Error, Result, Seq, Standing};
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::Catalogue,
    error::{damaged, unavailable},
    files::{Files, write_all},
    layout::{MANIFEST, MANIFEST_NEXT, Part},
    records::digits,
};

/// The version of the format that this crate reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// What says whose the folder is.
const STORE: &str = "fleet";

/// A file of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) part: Part,
    /// Its name, from the root.
    pub(crate) file: String,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    #[serde(with = "digits")]
    pub(crate) blake3: [u8; 32],
}

/// What the snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    store: String,
    pub(crate) format: u32,
    /// Rises by one with each snapshot.
    pub(crate) checkpoint: u64,
    /// The newest commit in the snapshot.
    pub(crate) seq: Seq,
    /// The newest commit that the feed has forgotten.
    pub(crate) floor: Seq,
    /// The first line of the journal that is not in the snapshot.
    pub(crate) journal: u64,
    /// What the store is for.
    pub(crate) standing: Standing,
    pub(crate) catalogue: Catalogue,
    /// Where the chains stand that have begun, by lane: its last rows may be what a repair goes on without.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) chains: BTreeMap<String, u64>,
    pub(crate) files: Vec<Listed>,
    /// Over all of the above.
    digest: String,
}

/// Only what is needed to tell whether the rest can be read.
#[derive(Deserialize)]
struct Begin {
    store: String,
    format: u32,
}

impl Manifest {
    /// That of a new store.
    pub(crate) fn new() -> Self {
        Self {
            store: STORE.to_owned(),
            format: FORMAT,
            checkpoint: 0,
            seq: 0,
            floor: 0,
            journal: 1,
            standing: Standing::default(),
            catalogue: Catalogue::default(),
            chains: BTreeMap::new(),
            files: Vec::new(),
            digest: String::new(),
        }
    }

    fn own_digest(&self) -> serde_json::Result<String> {
        let bare = Self {
            digest: String::new(),
            ..self.clone()
        };
        Ok(Digest(*blake3::hash(&serde_json::to_vec(&bare)?).as_bytes()).to_string())
    }

    /// The manifest of a folder, if it has one.
    pub(crate) fn read(files: &dyn Files, root: &Path) -> Result<Option<Self>> {
        let path = root.join(MANIFEST);
        let bytes = match files.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable("read", &path, &error)),
        };
        let unreadable = |error: serde_json::Error| damaged(&path, &format!("line {}: {error}", error.line()));
        let begin: Begin = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if begin.store != STORE {
            return Err(Error::Refused(format!("{} is not a store of fleet", root.display())));
        }
        if begin.format > FORMAT {
            return Err(Error::Refused(format!(
                "{} was written by a newer version of fleet (format {}, this one knows {FORMAT}); start that version, or \
                 restore a backup made before the upgrade",
                root.display(),
                begin.format
            )));
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if manifest.own_digest().map_err(unreadable)? != manifest.digest {
            return Err(damaged(&path, "its digest is wrong"));
        }
        Ok(Some(manifest))
    }

    /// Puts this manifest in the place of the last. After a failure of the last two steps either of them may be found.
    pub(crate) fn write(&mut self, files: &dyn Files, root: &Path) -> Result<(), Switch> {
        let (next, path) = (root.join(MANIFEST_NEXT), root.join(MANIFEST));
        let encoded = self.own_digest().and_then(|digest| {
            self.digest = digest;
            serde_json::to_vec_pretty(self)
        });
        let mut text = encoded.map_err(|error| Switch::Before(Error::Unavailable(Box::new(error))))?;
        text.push(b'\n');
        let written = files.create(&next).and_then(|mut file| {
            write_all(&mut *file, &text)?;
            file.sync()
        });
        written.map_err(|error| Switch::Before(unavailable("write", &next, &error)))?;
        let switched = files.rename(&next, &path).and_then(|()| files.sync_folder(root));
        switched.map_err(|error| Switch::Within(unavailable("replace", &path, &error)))
    }
}

/// When the replacement of a manifest failed.
#[derive(Debug)]
pub(crate) enum Switch {
    /// The last one is still there.
    Before(Error),
    /// Either may be there, and after a loss of power the other.
    Within(Error),
}

impl Switch {
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Before(error) => error,
            Self::Within(error) => Error::Unknown(error.to_string().into()),
        }
    }
}
