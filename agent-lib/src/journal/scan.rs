//! Reading a journal that may have been cut or damaged.

use std::io;

use serde::de::IgnoredAny;

use super::frame::{FRAME_HEADER, Head, decode, plausible_length};
use crate::disk::DiskFile;

/// Bytes of the journal that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where they begin in the file.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
}

/// Where a whole record lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub offset: u64,
    /// Bytes of frame header and JSON together.
    pub length: u32,
}

/// Something that can be read at any place.
pub(super) trait Source {
    fn size(&self) -> io::Result<u64>;
    /// Fills as much of `buffer` as there is.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for dyn DiskFile {
    fn size(&self) -> io::Result<u64> {
        self.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(offset + filled as u64, rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Source for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// What a scan comes across, in the order of the file.
#[derive(Debug)]
pub(super) enum Found {
    Record(Head, Location),
    Damage(Damage),
}

/// Where a scan ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The end of the last proved record.
    pub good: u64,
    /// Bytes after it that a write left unfinished when the machine stopped.
    pub torn: u64,
}

/// Reads all records that can be proved. What cannot be is passed over and reported; a write that a crash cut short is told
/// apart from damage to bytes that had been synced.
pub(super) fn scan<S: Source + ?Sized>(source: &S, mut found: impl FnMut(Found)) -> io::Result<End> {
    let size = source.size()?;
    let mut frame = Vec::new();
    let mut offset = 0;
    let mut good = 0;
    while offset < size {
        if let Some(head) = read_record(source, offset, &mut frame)? {
            // A frame is at most 1 MiB and 8 bytes.
            let location = Location {
                offset,
                length: frame.len() as u32,
            };
            found(Found::Record(head, location));
            offset += frame.len() as u64;
            good = offset;
            continue;
        }
        match next_record(source, offset + 1, size, &mut frame)? {
            Some(next) => {
                found(Found::Damage(Damage {
                    offset,
                    bytes: next - offset,
                }));
                offset = next;
            }
            None if is_torn(source, offset, size)? => {
                return Ok(End {
                    good,
                    torn: size - offset,
                });
            }
            None => {
                found(Found::Damage(Damage {
                    offset,
                    bytes: size - offset,
                }));
                break;
            }
        }
    }
    Ok(End { good, torn: 0 })
}

/// The record that begins at `offset`, when it is whole; `frame` then holds its bytes.
pub(super) fn read_record<S: Source + ?Sized>(
    source: &S,
    offset: u64,
    frame: &mut Vec<u8>,
) -> io::Result<Option<Head>> {
    frame.resize(FRAME_HEADER, 0);
    if source.read_at(offset, frame)? < FRAME_HEADER {
        return Ok(None);
    }
    let Some(length) = plausible_length(frame) else {
        return Ok(None);
    };
    frame.resize(FRAME_HEADER + length, 0);
    let read = source.read_at(offset + FRAME_HEADER as u64, &mut frame[FRAME_HEADER..])?;
    Ok(if read == length { decode(frame) } else { None })
}

/// The offset of the first whole record at or after `from`.
fn next_record<S: Source + ?Sized>(source: &S, from: u64, size: u64, frame: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut window = vec![0; 64 << 10];
    let mut start = from;
    while start < size {
        let filled = source.read_at(start, &mut window)?;
        if filled <= FRAME_HEADER {
            return Ok(None);
        }
        for (at, bytes) in window[..filled].windows(FRAME_HEADER + 1).enumerate() {
            // Cheap signs first: the zero at the end of every length, and the brace that opens every record.
            if bytes[3] == 0
                && bytes[FRAME_HEADER] == b'{'
                && plausible_length(bytes).is_some()
                && read_record(source, start + at as u64, frame)?.is_some()
            {
                return Ok(Some(start + at as u64));
            }
        }
        // The last bytes were too few to look at; they open the next window.
        start += (filled - FRAME_HEADER) as u64;
    }
    Ok(None)
}

/// Whether the bytes from `offset` to the end look like a write that was cut short, rather than like damage.
fn is_torn<S: Source + ?Sized>(source: &S, offset: u64, size: u64) -> io::Result<bool> {
    if size - offset < FRAME_HEADER as u64 {
        return Ok(true);
    }
    let mut last = [0xff];
    source.read_at(size - 1, &mut last)?;
    if last == [0] {
        return Ok(true);
    }
    let mut header = [0; FRAME_HEADER];
    source.read_at(offset, &mut header)?;
    let Some(length) = plausible_length(&header) else {
        return Ok(false);
    };
    let there = size - offset - FRAME_HEADER as u64;
    if there >= length as u64 {
        return Ok(false);
    }
    // A whole JSON value where the length asks for more means that the length is what is wrong.
    let mut json = vec![0; there as usize];
    source.read_at(offset + FRAME_HEADER as u64, &mut json)?;
    Ok(serde_json::from_slice::<IgnoredAny>(&json).is_err())
}
