//! Reading backups without a server: verifying one, and filling an empty store from one.

use std::sync::Arc;

use object_store::ObjectStore;
use uuid::Uuid;

use super::{
    RESTORE,
    archive::{ArchiveReader, Header},
    unpack::{UnpackedBlobs, Unpacking, records},
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
    /// The blobs.
    pub blobs: UnpackedBlobs,
}

/// Reads a backup to its end and compares every check, the digest, and those of its blobs. Nothing is stored.
///
/// # Errors
/// [`store::Error::Corrupt`] with where and how it is damaged.
pub async fn read_through(reader: ArchiveReader, schema: &Schema) -> store::Result<Restored> {
    let mut unpacking = Unpacking::new(reader, schema.clone());
    let mut digest = ExportDigest::default();
    while let Some(record) = unpacking.next().await? {
        let Record::End { seq, .. } = record else {
            digest.add(&record);
            continue;
        };
        if std::mem::take(&mut digest).end(seq) != record {
            let problem = "the records of the backup are not those of its digest";
            return Err(store::Error::Corrupt(problem.to_owned()));
        }
        return restored(&unpacking, record);
    }
    Err(no_end())
}

/// What a store is filled with, and where the blobs go.
#[derive(Debug)]
pub struct Filling<'a> {
    /// The empty store.
    pub store: &'a dyn Backend,
    /// What it is prepared for.
    pub schema: &'a Schema,
    /// Where blobs go; without it they are left out.
    pub blobs: Option<&'a Arc<dyn ObjectStore>>,
    /// Names the restore in the store.
    pub id: Uuid,
    /// What it is filled from.
    pub from: String,
    /// When.
    pub at: Timestamp,
}

/// Fills an empty store from a backup, reads it back and lets it serve. The blobs of the backup are in their places before it serves.
///
/// # Errors
/// [`store::Error::Refused`] when the store is not empty, [`store::Error::Corrupt`] with the place when the backup is damaged, and
/// [`store::Error::Unavailable`] when blobs cannot be put into their place; the store is empty again then, and of the blobs
/// nothing stays that was not there before.
pub async fn restore(reader: ArchiveReader, filling: Filling<'_>) -> store::Result<Restored> {
    let Filling {
        store,
        schema,
        blobs,
        id,
        from,
        at,
    } = filling;
    let mut unpacking = Unpacking::new(reader, schema.clone());
    if let Some(objects) = blobs {
        unpacking = unpacking.into_place(objects, id.to_string());
    }
    let unpacking = Arc::new(tokio::sync::Mutex::new(unpacking));
    let imported = store.import(Move { id, peer: from, at }, records(&unpacking)).await;
    let mut unpacking = unpacking.lock().await;
    match imported {
        Ok(end) => restored(&unpacking, end),
        Err(error) => {
            unpacking.undo().await;
            Err(error)
        }
    }
}

fn restored(unpacking: &Unpacking, end: Record) -> store::Result<Restored> {
    match end {
        Record::End { seq, count, digest } => Ok(Restored {
            header: unpacking.header().clone(),
            records: count,
            seq,
            digest,
            blobs: unpacking.blobs().clone(),
        }),
        _ => Err(no_end()),
    }
}

fn no_end() -> store::Error {
    store::Error::Corrupt("the backup has no last record".to_owned())
}

/// Leaves the audit entry of a restore in the store that was filled.
pub async fn record_restore(store: &Store, file: &str, restored: &Restored) -> Result<()> {
    let context = Context::system("restore");
    let change = store.change(&context, Evidence::Audit(RESTORE), |mut tx| async move {
        tx.detail("file", file);
        tx.detail("made_at", restored.header.made_at.to_string());
        tx.detail("digest", restored.digest.to_string());
        tx.detail("blobs", restored.blobs.blobs);
        tx.record().await
    });
    change.await.map(drop)
}
