//! Records as bytes, and what follows them: blobs.

use bytes::Bytes;
use uuid::Uuid;

use crate::blobs::BlobDigest;
use crate::store::{Digest, Doc, Key, Latest, Link, Name, Record, Row, Schema, StoredRow, limits};

const DOC: u8 = b'd';
const LATEST: u8 = b'l';
const ROW: u8 = b'r';
const END: u8 = b'e';
const BLOB: u8 = b'b';
const PART: u8 = b'p';
const BROKEN: u8 = b'x';

/// What stands in a backup, one after another.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A record of the store; the `End` is the last.
    Record(Record),
    /// A blob begins; its parts follow until there are as many bytes.
    Blob {
        /// Its content.
        digest: BlobDigest,
        /// Its size, in bytes.
        size_bytes: u64,
    },
    /// Bytes of the blob that began last.
    Part(Bytes),
    /// The blob that began last was damaged or missing when the backup was made; there is no more of it.
    Broken,
}

/// Appends an item.
pub(super) fn encode(item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::Record(record) => encode_record(record, out),
        Item::Blob { digest, size_bytes } => {
            out.push(BLOB);
            out.extend_from_slice(digest.as_bytes());
            out.extend_from_slice(&size_bytes.to_le_bytes());
        }
        Item::Part(part) => {
            out.push(PART);
            body(out, part);
        }
        Item::Broken => out.push(BROKEN),
    }
}

fn encode_record(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Doc(doc) => {
            out.push(DOC);
            name(out, doc.key.kind);
            out.extend_from_slice(doc.key.id.as_bytes());
            out.extend_from_slice(&doc.rev.to_le_bytes());
            out.extend_from_slice(&doc.seq.to_le_bytes());
            body(out, &doc.body);
        }
        Record::Latest(latest) => {
            out.push(LATEST);
            name(out, latest.key.kind);
            out.extend_from_slice(latest.key.id.as_bytes());
            body(out, &latest.body);
        }
        Record::Row(lane, StoredRow { row, link }) => {
            out.push(ROW);
            name(out, lane);
            out.extend_from_slice(row.stream.as_bytes());
            out.extend_from_slice(&row.at.to_le_bytes());
            out.extend_from_slice(&row.n.to_le_bytes());
            out.push(u8::from(link.is_some()));
            if let Some(link) = link {
                out.extend_from_slice(&link.number.to_le_bytes());
                out.extend_from_slice(&link.hash);
            }
            body(out, &row.body);
        }
        Record::End { seq, count, digest } => {
            out.push(END);
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&digest.0);
        }
    }
}

/// A declared name has at most [`limits::NAME`] bytes.
fn name(out: &mut Vec<u8>, name: &str) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(&name.as_bytes()[..name.len().min(usize::from(u8::MAX))]);
}

/// A body has at most [`limits::BODY`] bytes.
fn body(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(body);
}

/// The first item of `bytes` and its length; none when it is not there in full yet.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(bytes: &[u8], schema: &Schema) -> Result<Option<(Item, usize)>, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    let item = cursor.item(schema)?;
    Ok(item.map(|item| (item, cursor.at)))
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// Leaves with `Ok(None)` when more bytes are needed.
macro_rules! some {
    ($value:expr) => {
        match $value {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

impl<'b> Cursor<'b> {
    fn item(&mut self, schema: &Schema) -> Result<Option<Item>, String> {
        Ok(Some(match some!(self.array::<1>())[0] {
            BLOB => Item::Blob {
                digest: BlobDigest::from_bytes(some!(self.array())),
                size_bytes: u64::from_le_bytes(some!(self.array())),
            },
            PART => Item::Part(some!(self.body()?)),
            BROKEN => Item::Broken,
            kind => Item::Record(some!(self.record(kind, schema)?)),
        }))
    }

    fn record(&mut self, kind: u8, schema: &Schema) -> Result<Option<Record>, String> {
        match kind {
            DOC => {
                let kind = some!(self.name(|name| schema.kind(name).ok().map(|kind| kind.name))?);
                let id = Uuid::from_bytes(some!(self.array()));
                let rev = u64::from_le_bytes(some!(self.array()));
                let seq = u64::from_le_bytes(some!(self.array()));
                let body = some!(self.body()?);
                let key = Key::new(kind, id);
                Ok(Some(Record::Doc(Doc { key, rev, seq, body })))
            }
            LATEST => {
                let set = some!(self.name(|name| schema.latest(name).ok().map(|set| set.name))?);
                let id = Uuid::from_bytes(some!(self.array()));
                let body = some!(self.body()?);
                let key = Key::new(set, id);
                Ok(Some(Record::Latest(Latest { key, body })))
            }
            ROW => {
                let lane = some!(self.name(|name| schema.lane(name).ok().map(|lane| lane.name))?);
                let stream = Uuid::from_bytes(some!(self.array()));
                let at = i64::from_le_bytes(some!(self.array()));
                let n = u32::from_le_bytes(some!(self.array()));
                let link = match some!(self.array::<1>())[0] {
                    0 => None,
                    1 => Some(Link {
                        number: u64::from_le_bytes(some!(self.array())),
                        hash: some!(self.array()),
                    }),
                    other => return Err(format!("a row with a link of kind {other}")),
                };
                let row = Row {
                    stream,
                    at,
                    n,
                    body: some!(self.body()?),
                    index: Vec::new(),
                };
                Ok(Some(Record::Row(lane, StoredRow { row, link })))
            }
            END => Ok(Some(Record::End {
                seq: u64::from_le_bytes(some!(self.array())),
                count: u64::from_le_bytes(some!(self.array())),
                digest: Digest(some!(self.array())),
            })),
            other => Err(format!("no record begins with the byte {other}")),
        }
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn name(&mut self, known: impl Fn(&str) -> Option<Name>) -> Result<Option<Name>, String> {
        let length = usize::from(some!(self.array::<1>())[0]);
        let text = String::from_utf8_lossy(some!(self.take(length)));
        match known(&text) {
            Some(name) => Ok(Some(name)),
            None => Err(format!(
                "it holds {text:?}, which this version does not know; a newer version made it"
            )),
        }
    }

    fn body(&mut self) -> Result<Option<Bytes>, String> {
        let length = usize::try_from(u32::from_le_bytes(some!(self.array()))).unwrap_or(usize::MAX);
        if length > limits::BODY {
            return Err(format!("a body of {length} bytes"));
        }
        Ok(self.take(length).map(Bytes::copy_from_slice))
    }
}
