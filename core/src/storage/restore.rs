//! Reading backups without a server: verifying one, and filling an empty store from one.

use uuid::Uuid;

use super::{
    RESTORE,
    archive::{ArchiveReader, Damage, Header},
};
use crate::{
    access::Context,
    kernel::{Result, Timestamp},
    store::{self, Backend, Digest, Evidence, ExportDigest, Move, Record, Schema, Seq, Store},
};

/// What a backup holds, or what was restored from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: Header,
    /// How many records.
    pub records: u64,
    /// The newest commit.
    pub seq: Seq,
    /// The digest over them.
    pub digest: Digest,
}

/// Reads a backup to its end and compares every check and the digest. Nothing is stored.
///
/// # Errors
/// Where and how it is damaged.
pub async fn read_through(mut reader: ArchiveReader, schema: &Schema) -> Result<Restored, Damage> {
    let mut digest = ExportDigest::default();
    let mut end = None;
    while let Some(record) = reader.next(schema).await? {
        if end.is_some() {
            return Err(reader.damaged("records follow the last one"));
        }
        if let Record::End { seq, .. } = record {
            end = Some((std::mem::take(&mut digest).end(seq), record));
        } else {
            digest.add(&record);
        }
    }
    match end {
        Some((own, said)) if own == said => match said {
            Record::End { seq, count, digest } => Ok(Restored {
                header: reader.header().clone(),
                records: count,
                seq,
                digest,
            }),
            _ => Err(reader.damaged("it has no last record")),
        },
        Some(_) => Err(reader.damaged("the records are not those of the digest")),
        None => Err(reader.damaged("it has no last record")),
    }
}

/// Fills an empty store from a backup, reads it back and lets it serve. `id` and `from` name the restore in the store.
///
/// # Errors
/// [`store::Error::Refused`] when the store is not empty, and [`store::Error::Corrupt`] with the place when the backup is
/// damaged; the store is empty again then.
pub async fn restore(
    reader: ArchiveReader,
    store: &dyn Backend,
    schema: &Schema,
    id: Uuid,
    from: &str,
    now: Timestamp,
) -> store::Result<Restored> {
    let header = reader.header().clone();
    let origin = Move {
        id,
        peer: from.to_owned(),
        at: now,
    };
    match store.import(origin, reader.records(schema.clone())).await? {
        Record::End { seq, count, digest } => Ok(Restored {
            header,
            records: count,
            seq,
            digest,
        }),
        _ => Err(store::Error::Corrupt("the backup has no last record".to_owned())),
    }
}

/// Leaves the audit entry of a restore in the store that was filled.
pub async fn record_restore(store: &Store, file: &str, restored: &Restored) -> Result<()> {
    let context = Context::system("restore");
    let change = store.change(&context, Evidence::Audit(RESTORE), |mut tx| async move {
        tx.detail("file", file);
        tx.detail("made_at", restored.header.made_at.to_string());
        tx.detail("digest", restored.digest.to_string());
        tx.record().await
    });
    change.await.map(drop)
}
