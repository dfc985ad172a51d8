//! An export, read into an empty store.

use futures::{StreamExt as _, stream::BoxStream};

use super::{Move, Patch, RecordKey};
use crate::store::{Backend, Error, ExportDigest, Finding, Record, Result, Seq};

/// Records of one patch.
const PATCH: usize = 2_000;

impl dyn Backend {
    /// Fills an empty store from an export, reads it back, checks it, and lets it serve; returns the `End` of what is stored.
    ///
    /// Fails with [`Error::Refused`] when the store is not empty and with [`Error::Corrupt`] when records are damaged, out of
    /// order, missing or follow the `End`, or when what was stored is not what was sent. After a failure the store is empty
    /// again; after a crash it says that it is being filled, and refuses to serve.
    pub async fn import(&self, from: Move, records: BoxStream<'static, Result<Record>>) -> Result<Record> {
        self.fill(from).await?;
        match self.read_in(records).await {
            Ok(end) => {
                self.serve().await?;
                Ok(end)
            }
            Err(error) => {
                // The first error says more than one of the clearing; a store that is not cleared stays refused.
                if let Err(uncleared) = self.clear().await {
                    tracing::warn!(error = %uncleared, "a store could not be cleared after an import that failed");
                }
                Err(error)
            }
        }
    }

    async fn read_in(&self, mut records: BoxStream<'static, Result<Record>>) -> Result<Record> {
        let mut reader = Reader::default();
        let mut patch = Patch::default();
        let mut bytes = 0;
        while reader.end.is_none() {
            let record = records.next().await.ok_or_else(|| corrupt("the export has no end"))??;
            if let Some(record) = reader.read(record)? {
                bytes += record.size();
                patch.records.push(record);
            }
            if patch.records.len() >= PATCH || bytes >= Patch::BYTES {
                // Where commit order stands is known at the end only; until then no place may be newer than this.
                patch.seq = reader.newest;
                self.patch(std::mem::take(&mut patch)).await?;
                bytes = 0;
            }
        }
        match records.next().await {
            None => {}
            Some(Err(error)) => return Err(error),
            Some(Ok(_)) => return Err(corrupt("the export goes on after its end")),
        }
        let Some(Record::End { seq, count, digest }) = reader.end else {
            return Err(corrupt("the export has no end"));
        };
        patch.seq = seq;
        self.patch(patch).await?;
        self.compare(Record::End { seq, count, digest }).await
    }

    /// Reads back what was stored.
    async fn compare(&self, expected: Record) -> Result<Record> {
        let mut stored = self.view().await?.export();
        let mut last = None;
        while let Some(record) = stored.next().await {
            last = Some(record?);
        }
        if last.as_ref() != Some(&expected) {
            return Err(Error::Corrupt(format!(
                "what was stored is not what was sent: {last:?}, not {expected:?}"
            )));
        }
        match Finding::no_damage(self.check().await?) {
            Ok(()) => Ok(expected),
            Err(finding) => Err(Error::Corrupt(finding.to_string())),
        }
    }
}

/// Reads records in their order, and refuses what is not an export.
#[derive(Default)]
struct Reader {
    digest: ExportDigest,
    last: Option<RecordKey>,
    /// The newest commit that a document names.
    newest: Seq,
    end: Option<Record>,
}

impl Reader {
    /// The record, unless it is the end.
    fn read(&mut self, record: Record) -> Result<Option<Record>> {
        if let Some(key) = record.key() {
            if self.last.is_some_and(|last| last >= key) {
                return Err(Error::Corrupt(format!("the export is out of order at {key}")));
            }
            self.last = Some(key);
            self.digest.add(&record);
            if let Record::Doc(doc) = &record {
                self.newest = self.newest.max(doc.seq);
            }
            return Ok(Some(record));
        }
        if let Record::End { seq, .. } = record {
            if self.newest > seq {
                return Err(corrupt("the export holds documents of commits after its end"));
            }
            let own = std::mem::take(&mut self.digest).end(seq);
            if own != record {
                return Err(Error::Corrupt(format!(
                    "the export is not what its end says: {own:?}, not {record:?}"
                )));
            }
            self.end = Some(record);
        }
        Ok(None)
    }
}

fn corrupt(problem: &str) -> Error {
    Error::Corrupt(problem.to_owned())
}
