//! Cuts a file into pieces of whole lines while it is read.

use std::io::{self, Read};

/// A file that is cut.
pub(super) struct Cutter<R> {
    reader: R,
    /// Bytes that are read at a time.
    piece: usize,
    /// The beginning of a line whose end is not read yet.
    begun: Vec<u8>,
    /// Of what was handed over.
    hasher: blake3::Hasher,
}

impl<R: Read> Cutter<R> {
    /// Reads so many bytes at a time: a piece has no more of them than these, and what was left of the one before.
    pub(super) fn new(reader: R, piece: usize) -> Self {
        Self {
            reader,
            piece,
            begun: Vec::new(),
            hasher: blake3::Hasher::new(),
        }
    }

    /// The next lines; empty behind the last.
    pub(super) fn lines(&mut self) -> io::Result<Vec<u8>> {
        let mut lines = std::mem::take(&mut self.begun);
        loop {
            let known = lines.len();
            lines.reserve(self.piece);
            let read = self.reader.by_ref().take(self.piece as u64).read_to_end(&mut lines)?;
            let new = lines.get(known..).unwrap_or_default();
            if let Some(last) = new.iter().rposition(|byte| *byte == b'\n') {
                self.begun = lines.split_off(known + last + 1);
            } else if read > 0 {
                continue;
            }
            self.hasher.update(&lines);
            return Ok(lines);
        }
    }

    /// The digest of all that was handed over.
    pub(super) fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a text of which four bytes are read at a time.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut cutter = Cutter::new(text.as_bytes(), 4);
        let mut pieces = Vec::new();
        loop {
            let piece = cutter.lines().unwrap();
            if piece.is_empty() {
                break;
            }
            pieces.push(String::from_utf8(piece).unwrap());
        }
        assert_eq!(pieces, expected);
        assert_eq!(cutter.digest(), *blake3::hash(text.as_bytes()).as_bytes());
        assert!(cutter.lines().unwrap().is_empty());
    }

    #[test]
    fn a_piece_ends_with_the_last_line_that_was_read_whole() {
        check("", &[]);
        check("a\n", &["a\n"]);
        check("abc\n", &["abc\n"]);
        check("a\nb\n", &["a\nb\n"]);
        check("a\nbc\n", &["a\n", "bc\n"]);
        check("\n\n\n\n\n", &["\n\n\n\n", "\n"]);
    }

    #[test]
    fn a_line_that_is_longer_than_a_piece_stays_whole() {
        check("abcdefghij\nk\n", &["abcdefghij\n", "k\n"]);
        check("abcdefgh\n", &["abcdefgh\n"]);
        check("a\nbcdefghijk\nl", &["a\n", "bcdefghijk\n", "l"]);
    }

    #[test]
    fn a_line_without_an_end_is_the_last() {
        check("a", &["a"]);
        check("a\nb", &["a\n", "b"]);
        check("abcdefghi", &["abcdefghi"]);
    }
}
