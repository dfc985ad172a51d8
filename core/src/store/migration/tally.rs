//! Adding up what a store holds.

use super::{Class, Contents, Count};
use crate::store::{ExportDigest, Name, Record, RecordKey, Seq};

/// Adds up records in canonical order, as a whole and by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    all: ExportDigest,
    records: u64,
    bytes: u64,
    done: Vec<Count>,
    now: Option<Current>,
    frame: Vec<u8>,
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
    pub(super) fn add(&mut self, key: &RecordKey, record: &Record) {
        let (class, name) = (Class::of(key), key.name());
        if self
            .now
            .as_ref()
            .is_none_or(|now| now.class != class || now.name != name)
        {
            self.done.extend(self.now.take().map(Current::end));
        }
        let now = self.now.get_or_insert_with(|| Current {
            class,
            name,
            records: 0,
            bytes: 0,
            digest: ExportDigest::default(),
        });
        // Framed once for both digests.
        self.frame.clear();
        ExportDigest::frame(record, &mut self.frame);
        now.digest.add_frame(&self.frame);
        self.all.add_frame(&self.frame);
        let size = record.size() as u64;
        now.records += 1;
        now.bytes += size;
        self.records += 1;
        self.bytes += size;
    }

    pub(super) fn end(mut self, seq: Seq) -> Contents {
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
