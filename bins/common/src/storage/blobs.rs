//! Places for blobs, by URI.

use std::{
    fmt, fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use object_store::{ObjectStore, local::LocalFileSystem};

/// What did not come in whole and is older than this was left by a crash.
const LEFT: Duration = Duration::from_secs(86_400);

/// Names a place for blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobUri {
    /// A folder.
    File(PathBuf),
}

/// Why a place for blobs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BlobPlaceError {
    /// No such place can be named.
    #[error("{0:?} names no place for blobs; expected file:PATH")]
    Unknown(String),
    /// It is not there.
    #[error("there is no place for blobs at {0}")]
    Missing(BlobUri),
    /// It is there and cannot be opened.
    #[error("the place for blobs {0} cannot be opened: {1}")]
    Unusable(BlobUri, #[source] io::Error),
}

impl BlobUri {
    /// Whether it is there already.
    pub fn exists(&self) -> bool {
        match self {
            Self::File(path) => path.is_dir(),
        }
    }

    /// Opens the place. With `make` it is made where it is not there, for its owner's eyes only. What is put there is synced before it
    /// counts.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(&self, make: bool) -> Result<Arc<dyn ObjectStore>, BlobPlaceError> {
        let Self::File(path) = self;
        let unusable = |error: io::Error| BlobPlaceError::Unusable(self.clone(), error);
        if make {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(unusable)?;
        } else if !self.exists() {
            return Err(BlobPlaceError::Missing(self.clone()));
        }
        tidy(&path.join("incoming"));
        let opened = LocalFileSystem::new_with_prefix(path).map_err(|error| unusable(io::Error::other(error)))?;
        Ok(Arc::new(opened.with_fsync(true)))
    }
}

impl FromStr for BlobUri {
    type Err = BlobPlaceError;

    fn from_str(text: &str) -> Result<Self, BlobPlaceError> {
        let unknown = || BlobPlaceError::Unknown(text.to_owned());
        let rest = text.strip_prefix("file:").ok_or_else(unknown)?;
        match rest.strip_prefix("//") {
            None if rest.is_empty() => Err(unknown()),
            None => Ok(Self::File(rest.into())),
            Some(absolute) if absolute.starts_with('/') => Ok(Self::File(absolute.into())),
            Some(_) => Err(unknown()),
        }
    }
}

impl fmt::Display for BlobUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// Removes files that were begun and never ended: the store itself does not show them.
fn tidy(incoming: &Path) {
    // No folder: nothing ever came in.
    for entry in fs::read_dir(incoming).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|found| found.modified());
        let age = changed.and_then(|changed| changed.elapsed().map_err(io::Error::other));
        if age.is_ok_and(|age| age > LEFT) {
            // Whoever looks next finds it again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_place_is_a_folder_that_is_named() {
        for (text, shown) in [
            ("file:blobs", Some("file:blobs")),
            ("file:/srv/blobs", Some("file:/srv/blobs")),
            ("file:///srv/blobs", Some("file:/srv/blobs")),
            ("file:", None),
            ("file://host/blobs", None),
            ("/srv/blobs", None),
            ("ftp://host/blobs", None),
        ] {
            let parsed = text.parse::<BlobUri>().ok().map(|uri| uri.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_folder_is_made_for_its_owner_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let uri = BlobUri::File(folder.path().join("a/b"));
        assert!(matches!(uri.open(false), Err(BlobPlaceError::Missing(_))));
        assert!(!uri.exists());
        uri.open(true).unwrap();
        let mode = folder.path().join("a/b").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        uri.open(false).unwrap();
    }

    #[test]
    fn only_what_a_crash_left_long_ago_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        tidy(&folder.path().join("missing"));
        for (name, hours) in [("old#1", 25), ("new#1", 23)] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            let made = file.metadata().and_then(|found| found.modified()).unwrap();
            file.set_modified(made - Duration::from_secs(hours * 3_600)).unwrap();
        }
        tidy(folder.path());
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["new#1"]);
    }
}
