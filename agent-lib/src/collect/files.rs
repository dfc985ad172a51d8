//! Bounded reading of files.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::CollectError;

/// A line is read up to here; the rest of it is passed over.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;

/// Cuts a stream of bytes into lines without keeping more than one of them.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Takes the next bytes and hands out the lines that they complete, without their ends.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = MAX_LINE_BYTES - self.partial.len();
            let text = &text[..text.len().min(room)];
            if complete && self.partial.is_empty() {
                each(&String::from_utf8_lossy(text));
            } else {
                self.partial.extend_from_slice(text);
                if complete {
                    each(&String::from_utf8_lossy(&self.partial));
                    self.partial.clear();
                }
            }
        }
    }

    /// Hands out what stands behind the last line's end.
    pub(super) fn finish(self, mut each: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            each(&String::from_utf8_lossy(&self.partial));
        }
    }
}

/// Reads a file line by line; an error when it has more than `limit` bytes.
pub(super) fn for_each_line(path: &Path, limit: u64, mut each: impl FnMut(&str)) -> Result<(), CollectError> {
    let mut lines = LineSplitter::default();
    for_each_chunk(path, limit, |chunk| lines.push(chunk, &mut each))?;
    lines.finish(each);
    Ok(())
}

/// The whole file as text; an error when it has more than `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<String, CollectError> {
    let mut bytes = Vec::new();
    for_each_chunk(path, limit, |chunk| bytes.extend_from_slice(chunk))?;
    Ok(match String::from_utf8_lossy(&bytes) {
        std::borrow::Cow::Borrowed(_) => String::from_utf8(bytes).unwrap_or_default(),
        std::borrow::Cow::Owned(text) => text,
    })
}

/// A small file's text without white space at its ends; `None` when it is not there, not readable, empty or above 64 KiB.
pub(super) fn read_small(path: &Path) -> Option<String> {
    let text = read(path, 64 << 10).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn for_each_chunk(path: &Path, limit: u64, mut each: impl FnMut(&[u8])) -> Result<(), CollectError> {
    let mut file = File::open(path).map_err(|cause| CollectError::read(path, cause))?;
    let mut chunk = vec![0; 16 << 10];
    let mut left = limit;
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(CollectError::read(path, cause)),
        };
        left = left.checked_sub(count as u64).ok_or_else(|| CollectError::TooLarge {
            what: path.display().to_string(),
            limit,
        })?;
        each(&chunk[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(chunks: &[&str], expected: &[&str]) {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::default();
        for chunk in chunks {
            splitter.push(chunk.as_bytes(), |line| lines.push(line.to_owned()));
        }
        splitter.finish(|line| lines.push(line.to_owned()));
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        check(&["a\nbc\n\nd"], &["a", "bc", "", "d"]);
        check(&["a", "\nb", "c\n", "\nd"], &["a", "bc", "", "d"]);
        check(&["", ""], &[]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let long = "x".repeat(MAX_LINE_BYTES);
        check(&[&long, &long, "\nnext\n"], &[&long, "next"]);
        check(&[&format!("{long}{long}\nnext")], &[&long, "next"]);
    }

    #[test]
    fn a_file_beyond_its_limit_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), "12345");
        assert!(matches!(read(&path, 4), Err(CollectError::TooLarge { limit: 4, .. })));
        assert!(matches!(
            read(&folder.path().join("none"), 4),
            Err(CollectError::Read { .. })
        ));
    }
}
