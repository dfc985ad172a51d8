//! Writes a backup.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use zstd::stream::raw::{Encoder, InBuffer, Operation as _, OutBuffer};

use super::{CHECK, DATA, Damage, END, FORMAT, HEADER, Header, Item, MAGIC, check, record};
use crate::{
    blobs::{BLOB_DAMAGED, Blob, BlobStream, HeldBlob},
    kernel::{Error, Result},
    storage::ports::BackupSink,
    store::{self, Digest, Entity as _, Record, Seq, Versioned, View},
};

/// Bytes of records that are compressed at once.
const PLAIN: usize = 128 * 1024;
/// Compressed bytes of a frame, about.
const PACKED: usize = 256 * 1024;
/// Where time and size meet for JSON.
const LEVEL: i32 = 3;

/// Turns records into the bytes of a backup. Its memory is bounded: what it returns is to be written.
pub struct ArchiveWriter {
    encoder: Encoder<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl std::fmt::Debug for ArchiveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchiveWriter({} bytes)", self.bytes)
    }
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Its size in bytes.
    pub bytes: u64,
    /// How many records there are.
    pub records: u64,
    /// The newest commit.
    pub seq: Seq,
    /// The digest over the records; equal to that of any store that holds the same.
    pub digest: Digest,
    /// How many blobs there are.
    pub blobs: u64,
    /// Their size, in bytes.
    pub blob_bytes: u64,
    /// How many blobs are not in it, because they are damaged or missing.
    pub blobs_damaged: u64,
}

impl ArchiveWriter {
    /// Begins a backup; returns its first bytes.
    pub fn begin(header: &Header) -> Result<(Self, Bytes), Damage> {
        let header = serde_json::to_vec(header).map_err(std::io::Error::other)?;
        if header.len() > HEADER {
            return Err(std::io::Error::other("the header is too large").into());
        }
        let mut writer = Self {
            encoder: Encoder::new(LEVEL)?,
            plain: Vec::with_capacity(PLAIN * 2),
            packed: Vec::with_capacity(PACKED * 2),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&length(&header));
        out.extend_from_slice(&header);
        writer.seal(&mut out);
        Ok((writer, out.into()))
    }

    /// Adds an item; returns bytes to be written, often none.
    pub fn add(&mut self, item: &Item) -> Result<Option<Bytes>, Damage> {
        record::encode(item, &mut self.plain);
        if self.plain.len() >= PLAIN {
            self.pack()?;
        }
        Ok((self.packed.len() >= PACKED).then(|| self.frame()))
    }

    /// Ends the backup; returns its last bytes and how many there are in all.
    pub fn finish(mut self) -> Result<(Bytes, u64), Damage> {
        self.pack()?;
        loop {
            let mut room = [0; 16 * 1024];
            let mut output = OutBuffer::around(&mut room[..]);
            let left = self.encoder.finish(&mut output, true)?;
            let written = output.pos();
            self.packed.extend_from_slice(&room[..written]);
            if left == 0 {
                break;
            }
        }
        let mut out = self.frame().to_vec();
        let mut end = vec![END];
        end.extend_from_slice(&32_u32.to_le_bytes());
        self.hasher.update(&end);
        out.extend_from_slice(&end);
        out.extend_from_slice(self.hasher.finalize().as_bytes());
        Ok((out.into(), self.bytes + 5 + 32))
    }

    fn pack(&mut self) -> Result<(), Damage> {
        let mut room = vec![0; PLAIN];
        let mut input = InBuffer::around(&self.plain);
        while input.pos() < self.plain.len() {
            let mut output = OutBuffer::around(&mut room[..]);
            self.encoder.run(&mut input, &mut output)?;
            let written = output.pos();
            self.packed.extend_from_slice(&room[..written]);
        }
        self.plain.clear();
        Ok(())
    }

    fn frame(&mut self) -> Bytes {
        let mut out = Vec::with_capacity(self.packed.len() + 5 + CHECK);
        out.push(DATA);
        out.extend_from_slice(&length(&self.packed));
        out.append(&mut self.packed);
        self.seal(&mut out);
        out.into()
    }

    /// Adds the check.
    fn seal(&mut self, out: &mut Vec<u8>) {
        self.hasher.update(out);
        let check = check(&self.hasher);
        self.hasher.update(&check);
        out.extend_from_slice(&check);
        self.bytes += out.len() as u64;
    }
}

/// Frames are far below 4 GiB.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// What a backup is written from.
pub struct Content<'a> {
    /// The records.
    pub view: Box<dyn View>,
    /// Where the blobs are; none when they are left out.
    pub blobs: Option<&'a Arc<dyn ObjectStore>>,
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content(commit {})", self.view.seq())
    }
}

/// Writes everything that a view shows, then the blobs that it refers to. `told` hears how many records there are so far, now and
/// then. A blob that is damaged does not keep the rest from being backed up: it is left out and counted.
///
/// # Errors
/// [`super::super::BACKUP_FAILED`] when the file cannot be written, and what reading the store or the place of the blobs fails with.
pub async fn write_archive(
    content: Content<'_>,
    header: &Header,
    sink: &mut dyn BackupSink,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Archived> {
    let (writer, first) = ArchiveWriter::begin(header).map_err(|damage| failure(&damage))?;
    let mut out = Out {
        writer,
        sink,
        told,
        records: 0,
    };
    out.write(first).await?;
    let mut records = content.view.export();
    let mut held = Vec::new();
    let (seq, count, digest) = loop {
        let Some(record) = records.next().await.transpose()? else {
            return Err(Error::internal("an export without an end"));
        };
        if content.blobs.is_some()
            && let Record::Doc(doc) = &record
            && doc.key.kind == Blob::KIND
        {
            let blob: Versioned<Blob> = store::decode(doc)?;
            held.extend(HeldBlob::of(&blob.value));
        }
        out.records += 1;
        let end = match record {
            Record::End { seq, count, digest } => Some((seq, count, digest)),
            _ => None,
        };
        out.add(&Item::Record(record)).await?;
        if let Some(end) = end {
            break end;
        }
    };
    // The view ends here: what a blob holds never changes, and what is referred to stays for days after it is not any more.
    drop(records);
    let mut archived = Archived {
        bytes: 0,
        records: count,
        seq,
        digest,
        blobs: 0,
        blob_bytes: 0,
        blobs_damaged: 0,
    };
    if let Some(objects) = content.blobs {
        for blob in &held {
            out.blob(blob, objects, &mut archived).await?;
        }
    }
    let Out { writer, sink, .. } = out;
    let (last, bytes) = writer.finish().map_err(|damage| failure(&damage))?;
    sink.write(last).await.map_err(|error| failure(&error.into()))?;
    Ok(Archived { bytes, ..archived })
}

/// A backup that is being written.
struct Out<'a> {
    writer: ArchiveWriter,
    sink: &'a mut dyn BackupSink,
    told: &'a (dyn Fn(u64) + Sync),
    records: u64,
}

impl Out<'_> {
    async fn add(&mut self, item: &Item) -> Result<()> {
        match self.writer.add(item).map_err(|damage| failure(&damage))? {
            Some(bytes) => self.write(bytes).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.sink.write(bytes).await.map_err(|error| failure(&error.into()))?;
        (self.told)(self.records);
        Ok(())
    }

    async fn blob(&mut self, blob: &HeldBlob, objects: &Arc<dyn ObjectStore>, archived: &mut Archived) -> Result<()> {
        let parts = match BlobStream::open(objects, blob.digest, blob.size_bytes).await {
            // Nobody needs it, and its time was over meanwhile.
            Err(error) if error.code() == BLOB_DAMAGED && !blob.needed => return Ok(()),
            opened => opened,
        };
        let (digest, size_bytes) = (blob.digest, blob.size_bytes);
        self.add(&Item::Blob { digest, size_bytes }).await?;
        let copied = match parts {
            Ok(mut parts) => self.parts(&mut parts).await,
            Err(error) => Err(error),
        };
        match copied {
            Ok(()) => {
                archived.blobs += 1;
                archived.blob_bytes += size_bytes;
                Ok(())
            }
            Err(error) if error.code() == BLOB_DAMAGED => {
                tracing::error!(error = error.log(), "a blob is not in the backup");
                archived.blobs_damaged += u64::from(blob.needed);
                self.add(&Item::Broken).await
            }
            Err(error) => Err(error),
        }
    }

    async fn parts(&mut self, parts: &mut BlobStream) -> Result<()> {
        while let Some(mut part) = parts.try_next().await? {
            while !part.is_empty() {
                // Frames stay small.
                let next = part.split_to(part.len().min(PLAIN));
                self.add(&Item::Part(next)).await?;
            }
        }
        Ok(())
    }
}

/// What went wrong is for whoever may make backups: a full disk, a folder that is not there.
fn failure(damage: &Damage) -> Error {
    super::super::BACKUP_FAILED.error(format!("the backup could not be written: {damage}"))
}
