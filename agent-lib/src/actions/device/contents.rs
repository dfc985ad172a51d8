//! Contents that parameters name: from the server once, and from then on from the device itself, also where the server is away.
//!
//! Each is a file under the name of its digest among what actions remember. The oldest go where all have become too large.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use fleet_core::{
    blobs::{BlobDigest, MAX_CONTENT},
    kernel::{Class, Code},
};

use super::Device;
use crate::{actions::action::Problem, contents::ContentError, identity::write_private};

/// The server could not be reached for a content, and the device does not have it: nothing was changed.
pub(in crate::actions) const UNREACHABLE: Code = Code::new("content.unreachable", Class::Unavailable);
/// The server does not have a content: nothing was changed.
pub(in crate::actions) const MISSING: Code = Code::new("content.missing", Class::NotFound);
/// The server does not give a content to this device: nothing was changed.
pub(in crate::actions) const REFUSED: Code = Code::new("content.refused", Class::Denied);
/// What came is not what its digest says: nothing was changed.
pub(in crate::actions) const ALTERED: Code = Code::new("content.altered", Class::Conflict);

/// The folder among what actions remember.
const FOLDER: &str = "actions/contents";
/// How much is kept of all, in bytes.
const MAX_KEPT: u64 = 64 << 20;

impl Device {
    /// A content by its digest, which it has.
    ///
    /// # Errors
    /// [`UNREACHABLE`], [`MISSING`], [`REFUSED`], [`ALTERED`].
    pub(in crate::actions) async fn content(&self, digest: BlobDigest) -> Result<Vec<u8>, Problem> {
        self.check_time()?;
        let folder = self.state.join(FOLDER);
        if let Some(bytes) = kept(&folder, digest) {
            return Ok(bytes);
        }
        let mut cancellation = self.cancellation.clone();
        let fetched = tokio::time::timeout(self.time_left(), self.contents.fetch(digest));
        let bytes = tokio::select! {
            fetched = fetched => fetched.map_err(|_| Problem::TimedOut)?.map_err(|error| held(digest, &error))?,
            () = cancellation.requested() => return Err(Problem::Cancelled),
        };
        if !is_it(&bytes, digest) {
            let why = format!("held: what came is not the content {digest}, so that nothing was changed");
            return Err(Problem::new(ALTERED, why));
        }
        if let Err(error) = keep(&folder, digest, &bytes) {
            self.warn(format!(
                "the content {digest} is not kept on the device for when its server is away: {error}"
            ))
            .await;
        }
        Ok(bytes)
    }

    /// Keeps a content that is where it belongs already, so that it can be put right while the server is away; as long as there is room, as
    /// others would have to go for it at each look.
    pub(in crate::actions) fn keep_found(&self, digest: BlobDigest, bytes: &[u8]) {
        let folder = self.state.join(FOLDER);
        if kept(&folder, digest).is_none() && all_kept(&folder) + bytes.len() as u64 <= MAX_KEPT {
            // Without it the server is asked, as if it had never been there.
            keep(&folder, digest, bytes).ok();
        }
    }
}

fn held(digest: BlobDigest, error: &ContentError) -> Problem {
    let code = match error {
        ContentError::Unreachable(_) => UNREACHABLE,
        ContentError::Missing => MISSING,
        ContentError::Refused { .. } => REFUSED,
    };
    Problem::new(
        code,
        format!("held: the content {digest} is not on this device, and {error}; nothing was changed"),
    )
}

fn is_it(bytes: &[u8], digest: BlobDigest) -> bool {
    blake3::hash(bytes).as_bytes() == digest.as_bytes()
}

/// What is kept, unless it was damaged.
fn kept(folder: &Path, digest: BlobDigest) -> Option<Vec<u8>> {
    let path = folder.join(digest.to_string());
    let found = fs::symlink_metadata(&path).ok()?;
    if !found.is_file() || found.len() > MAX_CONTENT {
        return None;
    }
    fs::read(path).ok().filter(|bytes| is_it(bytes, digest))
}

fn keep(folder: &Path, digest: BlobDigest, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    make_room(folder, bytes.len() as u64)?;
    write_private(folder, "incoming", &digest.to_string(), bytes)
}

/// How much is kept, in bytes.
fn all_kept(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|about| about.len())
        .sum()
}

/// Removes the oldest until so much more fits.
fn make_room(folder: &Path, needed: u64) -> io::Result<()> {
    let mut found: Vec<(_, PathBuf, u64)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        found.push((about.modified()?, entry.path(), about.len()));
    }
    found.sort();
    let mut all: u64 = found.iter().map(|(_, _, length)| length).sum();
    for (_, path, length) in found {
        if all + needed <= MAX_KEPT {
            break;
        }
        fs::remove_file(path)?;
        all -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_where_all_have_become_too_large() {
        let folder = tempfile::tempdir().unwrap();
        for (name, megabytes, seconds) in [("a", 30, 2), ("b", 20, 1), ("c", 10, 3)] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_len(megabytes << 20).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .unwrap();
        }
        let left = |needed: u64| {
            make_room(folder.path(), needed << 20).unwrap();
            ["a", "b", "c"]
                .into_iter()
                .filter(|name| folder.path().join(name).exists())
                .collect::<String>()
        };
        assert_eq!(left(4), "abc");
        assert_eq!(left(5), "ac");
        assert_eq!(left(40), "c");
    }

    #[test]
    fn what_was_damaged_on_the_device_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let digest = BlobDigest::from_bytes(*blake3::hash(b"content").as_bytes());
        assert_eq!(kept(folder.path(), digest), None);
        keep(folder.path(), digest, b"content").unwrap();
        assert_eq!(kept(folder.path(), digest).as_deref(), Some(&b"content"[..]));
        fs::write(folder.path().join(digest.to_string()), b"kontent").unwrap();
        assert_eq!(kept(folder.path(), digest), None);
    }
}
