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
    /// Adds a record. The framing is fixed: a tag, the length of each part, the part.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Doc(doc) => {
                self.part(b'd', doc.key.kind.as_bytes());
                self.part(b'i', doc.key.id.as_bytes());
                self.part(b'r', &doc.rev.to_le_bytes());
                self.part(b's', &doc.seq.to_le_bytes());
                self.part(b'b', &doc.body);
            }
            Record::Latest(latest) => {
                self.part(b'l', latest.key.kind.as_bytes());
                self.part(b'i', latest.key.id.as_bytes());
                self.part(b'b', &latest.body);
            }
            Record::Row(lane, stored) => {
                self.part(b'w', lane.as_bytes());
                self.part(b'i', stored.row.stream.as_bytes());
                self.part(b'a', &stored.row.at.to_le_bytes());
                self.part(b'n', &stored.row.n.to_le_bytes());
                self.part(b'b', &stored.row.body);
                if let Some(link) = stored.link {
                    self.part(b'c', &link.number.to_le_bytes());
                    self.part(b'h', &link.hash);
                }
            }
            Record::End { .. } => return,
        }
        self.count += 1;
    }

    /// The last record: how many there were, where commit order stands, and the digest of it all.
    pub fn end(mut self, seq: Seq) -> Record {
        self.part(b'e', &seq.to_le_bytes());
        Record::End {
            seq,
            count: self.count,
            digest: Digest(*self.hasher.finalize().as_bytes()),
        }
    }

    fn part(&mut self, tag: u8, bytes: &[u8]) {
        self.hasher.update(&[tag]);
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}
