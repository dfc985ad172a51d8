//! Adding up what a store holds.

use super::{Class, Contents, Count};
use crate::store::{ExportDigest, Name, Record, RecordKey, Seq};

/// Framed records that are added to the digests at once: long inputs go through several lanes of the hash at a time.
const FRAMES: usize = 128 * 1024;

/// Adds up records in canonical order, as a whole and by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    all: ExportDigest,
    records: u64,
    bytes: u64,
    done: Vec<Count>,
    now: Option<Current>,
    /// Records of the name in hand that are not in the digests yet, and how many they are.
    frames: Vec<u8>,
    framed: u64,
}

#[derive(Clone, Debug)]
struct Current {
    class: Class,
    name: Name,
    records: u64,
    bytes: u64,
    digest: ExportDigest,
}

impl Current {
    fn end(self) -> Count {
        Count {
            class: self.class,
            name: self.name,
            records: self.records,
            bytes: self.bytes,
            digest: self.digest.finish(0),
        }
    }
}

impl Tally {
    pub(super) fn page(&mut self, page: &[Record]) {
        for record in page {
            if let Some(key) = record.key() {
                self.add(&key, record);
            }
        }
    }

    pub(super) fn add(&mut self, key: &RecordKey, record: &Record) {
        let (class, name) = (Class::of(key), key.name());
        if self
            .now
            .as_ref()
            .is_none_or(|now| now.class != class || now.name != name)
        {
            self.flush();
            self.done.extend(self.now.take().map(Current::end));
        }
        let size = record.size() as u64;
        let now = self.now.get_or_insert_with(|| Current {
            class,
            name,
            records: 0,
            bytes: 0,
            digest: ExportDigest::default(),
        });
        now.records += 1;
        now.bytes += size;
        self.records += 1;
        self.bytes += size;
        // Framed once for both digests.
        ExportDigest::frame(record, &mut self.frames);
        self.framed += 1;
        if self.frames.len() >= FRAMES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(now) = &mut self.now {
            now.digest.add_frames(&self.frames, self.framed);
        }
        self.all.add_frames(&self.frames, self.framed);
        self.frames.clear();
        self.framed = 0;
    }

    pub(super) fn end(mut self, seq: Seq) -> Contents {
        self.flush();
        self.done.extend(self.now.take().map(Current::end));
        Contents {
            seq,
            records: self.records,
            bytes: self.bytes,
            digest: self.all.finish(seq),
            names: self.done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Key, Latest};

    /// As the end of an export has it, however many frames went in at once.
    #[test]
    fn the_digest_is_that_of_an_export() {
        let body = bytes::Bytes::from(vec![b'x'; FRAMES / 3]);
        let records: Vec<Record> = (0..10_u128)
            .map(|n| {
                let key = Key::new(if n < 6 { "gauge" } else { "state" }, uuid::Uuid::from_u128(n));
                Record::Latest(Latest {
                    key,
                    body: body.clone(),
                })
            })
            .collect();
        let (mut tally, mut digest) = (Tally::default(), ExportDigest::default());
        tally.page(&records);
        records.iter().for_each(|record| digest.add(record));
        let contents = tally.end(7);
        assert_eq!((contents.records, contents.digest), (10, digest.finish(7)));
        let mut part = ExportDigest::default();
        records[6..].iter().for_each(|record| part.add(record));
        let last = contents.names.last().expect("two names");
        assert_eq!((last.name, last.records, last.digest), ("state", 4, part.finish(0)));
    }
}
