//! Reads the files of a snapshot.

use std::path::Path;

use fleet_core::store::Result;

use crate::{
    error::{damaged, damaged_line, unavailable},
    files::Files,
    line,
    manifest::Listed,
};

/// A file of the snapshot, if it is what was written.
pub(crate) fn read_lines(files: &dyn Files, root: &Path, listed: &Listed) -> Result<Vec<u8>> {
    let path = root.join(&listed.file);
    let bytes = match files.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged(&path, "the file is missing"));
        }
        Err(error) => return Err(unavailable("read", &path, &error)),
    };
    match damage(&bytes, listed) {
        None => Ok(bytes),
        Some((Some(number), problem)) => Err(damaged_line(&path, number, problem)),
        Some((None, problem)) => Err(damaged(&path, problem)),
    }
}

/// What is wrong with a file of the snapshot, and in which line.
pub(crate) fn damage(bytes: &[u8], listed: &Listed) -> Option<(Option<usize>, &'static str)> {
    if *blake3::hash(bytes).as_bytes() == listed.blake3 {
        return None;
    }
    let bad = line::split(bytes)
        .zip(1..)
        .find(|((text, ended), _)| !ended || line::rest(text).is_none());
    Some(match bad {
        Some((_, number)) => (Some(number), "it is not what was written"),
        None => (None, "lines are missing or stand in another order; the digest is wrong"),
    })
}
