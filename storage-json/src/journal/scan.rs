//! Reads the journal from its segments: tells a torn end, which nobody was answered for, from damage.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use fleet_core::store::Result;

use crate::{
    error::{damaged, damaged_line, unavailable},
    files::Files,
    layout::{JOURNAL, segment_first},
    line,
    pieces::in_order,
};

/// Where a line is.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its number in the file, which counts from 1.
    pub(crate) number: usize,
    range: Range<usize>,
}

/// The lines of one segment.
#[derive(Debug)]
pub(crate) struct SegmentLines {
    pub(crate) path: PathBuf,
    bytes: Vec<u8>,
    /// Where its good lines are.
    lines: Vec<Place>,
}

impl SegmentLines {
    /// Its good lines, each with its place in the file.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.lines.iter().map(|place| (place.number, self.line(place)))
    }

    pub(crate) fn line(&self, place: &Place) -> &[u8] {
        self.bytes.get(place.range.clone()).unwrap_or_default()
    }

    /// Its good lines in pieces of about so many bytes.
    pub(crate) fn pieces(&self, bytes: usize) -> impl Iterator<Item = &[Place]> {
        self.lines
            .chunk_by(move |one, other| one.range.start / bytes == other.range.start / bytes)
    }

    /// How many lines it has, good and bad.
    pub(crate) fn count(&self) -> usize {
        line::split(&self.bytes).count()
    }

    /// Its bad lines, each with its place in the file.
    pub(crate) fn bad_lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut good = self.lines.iter().map(|place| place.number).peekable();
        line::split(&self.bytes)
            .zip(1..)
            .filter_map(move |((bytes, _), number)| match good.next_if_eq(&number) {
                Some(_) => None,
                None => Some((number, bytes)),
            })
    }
}

/// The journal behind a snapshot.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) segments: Vec<SegmentLines>,
    /// The number of the line that is to be written next.
    pub(crate) next: u64,
    /// How long the last segment is without its torn end.
    length: usize,
    /// How many bytes the torn end has.
    pub(crate) torn: usize,
}

impl Scanned {
    /// The segment to go on with, and what it holds without its torn end.
    pub(crate) fn last(&self) -> Option<(&Path, &[u8])> {
        let last = self.segments.last()?;
        Some((&last.path, last.bytes.get(..self.length)?))
    }
}

/// The number of a line and the newest line that was synchronised when it was written; none for a bad line.
fn numbers(line: &[u8]) -> Option<(u64, u64)> {
    let rest = line::rest(line)?;
    let (n, rest) = number(rest.strip_prefix(b",\"n\":")?)?;
    let (synced, _) = number(rest.strip_prefix(b",\"synced\":")?)?;
    Some((n, synced))
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// The segments from line `from` on, by their first lines; those before hold what is in the snapshot.
fn segments(files: &dyn Files, root: &Path, from: u64) -> Result<Vec<(u64, PathBuf)>> {
    let folder = root.join(JOURNAL);
    let names = match files.list(&folder) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unavailable("list", &folder, &error)),
    };
    let first = |name: String| Some((segment_first(&name)?, folder.join(name)));
    let mut found: Vec<_> = names.into_iter().filter_map(first).collect();
    found.retain(|(first, _)| *first >= from);
    found.sort();
    Ok(found)
}

/// Reads the journal from line `from` on.
///
/// The end of the last segment may be torn: what was not synchronised may be there in part, and in any part. Such an end is left
/// out. Everything else that is not as it was written is [`Corrupt`](fleet_core::store::Error::Corrupt).
pub(crate) fn scan(files: &dyn Files, root: &Path, from: u64) -> Result<Scanned> {
    let current = segments(files, root, from)?;
    let mut scanned = Scanned {
        segments: Vec::new(),
        next: from,
        length: 0,
        torn: 0,
    };
    let last = current.last().map(|(first, _)| *first);
    let read = |(first, path): (u64, PathBuf)| {
        let bytes = files.read(&path).map_err(|error| unavailable("read", &path, &error));
        let found = bytes.and_then(|bytes| {
            let good = good_lines(&path, &bytes, first, Some(first) == last)?;
            Ok((bytes, good))
        });
        (first, path, found)
    };
    in_order(current.into_iter(), read, |(first, path, found)| {
        if first != scanned.next {
            return Err(damaged(
                &path,
                &format!(
                    "it begins with line {first} of the journal; {} is missing",
                    scanned.next
                ),
            ));
        }
        let (bytes, (lines, length, next)) = found?;
        (scanned.next, scanned.length) = (next, length);
        scanned.torn = bytes.len() - length;
        scanned.segments.push(SegmentLines { path, bytes, lines });
        Ok(())
    })?;
    Ok(scanned)
}

/// Good lines with their places, the length up to the end of the last of them, and the number of the line that follows.
type GoodLines = (Vec<Place>, usize, u64);

fn good_lines(path: &Path, bytes: &[u8], mut next: u64, is_last: bool) -> Result<GoodLines> {
    let (mut lines, mut start) = (Vec::new(), 0);
    let mut rest = line::split(bytes).zip(1..);
    while let Some(((text, ended), place)) = rest.next() {
        let found = numbers(text).filter(|_| ended);
        if found.is_some_and(|(n, _)| n == next) {
            lines.push(Place {
                number: place,
                range: start..start + text.len(),
            });
            start += text.len() + 1;
            next += 1;
            continue;
        }
        let acknowledged = |((later, ended), _): ((&[u8], bool), usize)| {
            ended && numbers(later).is_some_and(|(_, synced)| synced >= next)
        };
        if let Some((n, synced)) = found
            && (n < next || synced >= next)
        {
            return Err(damaged_line(
                path,
                place,
                &format!("it is line {n} of the journal; {next} is to follow"),
            ));
        }
        if !is_last || rest.any(acknowledged) {
            return Err(damaged_line(path, place, "it is not what was written"));
        }
        break;
    }
    Ok((lines, start, next))
}

/// All good lines from line `from` on, wherever they stand, for a repair.
pub(crate) fn scan_leniently(files: &dyn Files, root: &Path, from: u64) -> Result<Vec<SegmentLines>> {
    let current = segments(files, root, from)?;
    let mut next = from;
    let mut found = Vec::new();
    for (_, path) in current {
        let bytes = files.read(&path).map_err(|error| unavailable("read", &path, &error))?;
        let (mut lines, mut start) = (Vec::new(), 0);
        for ((text, ended), place) in line::split(&bytes).zip(1..) {
            if let Some((n, _)) = numbers(text).filter(|(n, _)| ended && *n >= next) {
                lines.push(Place {
                    number: place,
                    range: start..start + text.len(),
                });
                next = n + 1;
            }
            start += text.len() + usize::from(ended);
        }
        found.push(SegmentLines { path, bytes, lines });
    }
    Ok(found)
}
