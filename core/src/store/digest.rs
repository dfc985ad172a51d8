//! The digest of an export: equal digests are the proof that two stores hold the same.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Record, Seq};

/// 256 bits of BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Adds up the records of an export, in their order.
#[derive(Clone, Debug, Default)]
pub struct ExportDigest {
    hasher: blake3::Hasher,
    count: u64,
}

impl ExportDigest {
    /// Adds a record.
    pub fn add(&mut self, record: &Record) {
        let mut frame = Vec::with_capacity(128 + record.size());
        Self::frame(record, &mut frame);
        self.add_frame(&frame);
    }

    /// Adds a record that was framed before. The end of an export has no frame and does not count.
    pub fn add_frame(&mut self, frame: &[u8]) {
        if !frame.is_empty() {
            self.add_frames(frame, 1);
        }
    }

    /// Adds records that were framed one behind the other; how many there are.
    pub(crate) fn add_frames(&mut self, frames: &[u8], count: u64) {
        self.hasher.update(frames);
        self.count += count;
    }

    /// Appends the frame of a record. The framing is fixed: a tag, the length of each part, the part.
    pub fn frame(record: &Record, into: &mut Vec<u8>) {
        match record {
            Record::Doc(doc) => {
                part(into, b'd', doc.key.kind.as_bytes());
                part(into, b'i', doc.key.id.as_bytes());
                part(into, b'r', &doc.rev.to_le_bytes());
                part(into, b's', &doc.seq.to_le_bytes());
                part(into, b'b', &doc.body);
            }
            Record::Latest(latest) => {
                part(into, b'l', latest.key.kind.as_bytes());
                part(into, b'i', latest.key.id.as_bytes());
                part(into, b'b', &latest.body);
            }
            Record::Row(lane, stored) => {
                part(into, b'w', lane.as_bytes());
                part(into, b'i', stored.row.stream.as_bytes());
                part(into, b'a', &stored.row.at.to_le_bytes());
                part(into, b'n', &stored.row.n.to_le_bytes());
                part(into, b'b', &stored.row.body);
                if let Some(link) = stored.link {
                    part(into, b'c', &link.number.to_le_bytes());
                    part(into, b'h', &link.hash);
                }
            }
            Record::End { .. } => {}
        }
    }

    /// The last record: how many there were, where commit order stands, and the digest of it all.
    pub fn end(self, seq: Seq) -> Record {
        Record::End {
            seq,
            count: self.count,
            digest: self.finish(seq),
        }
    }

    /// The digest of it all.
    pub fn finish(mut self, seq: Seq) -> Digest {
        let mut frame = Vec::new();
        part(&mut frame, b'e', &seq.to_le_bytes());
        self.hasher.update(&frame);
        Digest(*self.hasher.finalize().as_bytes())
    }
}

fn part(into: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    into.push(tag);
    into.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    into.extend_from_slice(bytes);
}
