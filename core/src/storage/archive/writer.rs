//! Writes a backup.

use bytes::Bytes;
use futures::StreamExt as _;
use zstd::stream::raw::{Encoder, InBuffer, Operation as _, OutBuffer};

use super::{CHECK, DATA, Damage, END, FORMAT, HEADER, Header, MAGIC, check, record};
use crate::{
    kernel::{Error, Result},
    storage::ports::BackupSink,
    store::{Digest, Record, Seq, View},
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

    /// Adds a record; returns bytes to be written, often none.
    pub fn add(&mut self, record: &Record) -> Result<Option<Bytes>, Damage> {
        record::encode(record, &mut self.plain);
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

/// Writes everything that a view shows. `told` hears how many records there are so far, now and then.
///
/// # Errors
/// [`super::super::BACKUP_FAILED`] when the file cannot be written, and what reading the store fails with.
pub async fn write_archive(
    view: Box<dyn View>,
    header: &Header,
    sink: &mut dyn BackupSink,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Archived> {
    let failed = |damage: Damage| failure(&damage);
    let (mut writer, first) = ArchiveWriter::begin(header).map_err(failed)?;
    let mut bytes = Some(first);
    let mut records = view.export();
    let mut so_far = 0;
    loop {
        if let Some(bytes) = bytes.take() {
            sink.write(bytes).await.map_err(|error| failure(&error.into()))?;
            told(so_far);
        }
        let Some(record) = records.next().await.transpose()? else {
            return Err(Error::internal("an export without an end"));
        };
        bytes = writer.add(&record).map_err(failed)?;
        so_far += 1;
        if let Record::End { seq, count, digest } = record {
            if let Some(bytes) = bytes {
                sink.write(bytes).await.map_err(|error| failure(&error.into()))?;
            }
            let (last, bytes) = writer.finish().map_err(failed)?;
            sink.write(last).await.map_err(|error| failure(&error.into()))?;
            return Ok(Archived {
                bytes,
                records: count,
                seq,
                digest,
            });
        }
    }
}

/// What went wrong is for whoever may make backups: a full disk, a folder that is not there.
fn failure(damage: &Damage) -> Error {
    super::super::BACKUP_FAILED.error(format!("the backup could not be written: {damage}"))
}
