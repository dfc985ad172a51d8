//! Reads a backup, and trusts nothing in it.

use bytes::{Buf as _, Bytes, BytesMut};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::{CHECK, DATA, Damage, END, FORMAT, FRAME, HEADER, Header, Item, MAGIC, check, record};
use crate::{storage::ports::BackupSource, store::Schema};

/// Bytes that are unpacked at once.
const ROOM: usize = 128 * 1024;
/// The largest window that a foreign stream may ask for: 8 MiB; what we write asks for 2.
const WINDOW_LOG: u32 = 23;

/// Reads a backup frame by frame. Each frame is checked before anything in it is used.
pub struct ArchiveReader {
    source: Box<dyn BackupSource>,
    header: Header,
    decoder: Decoder<'static>,
    hasher: blake3::Hasher,
    /// Read and not checked yet.
    raw: BytesMut,
    /// Where `raw` begins.
    at: u64,
    /// A frame that is checked and not unpacked yet, and where it began.
    packed: Bytes,
    frame_at: u64,
    /// Unpacked and not parsed yet.
    plain: BytesMut,
    ended: bool,
}

impl std::fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchiveReader(at {})", self.at)
    }
}

impl ArchiveReader {
    /// Reads the header.
    pub async fn open(source: Box<dyn BackupSource>) -> Result<Self, Damage> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        let mut reader = Self {
            source,
            header: Header {
                made_at: crate::kernel::Timestamp::EPOCH,
                version: String::new(),
                backend: String::new(),
                seq: 0,
                key: super::KeyPart::LeftOut { id: String::new() },
                blobs: false,
            },
            decoder,
            hasher: blake3::Hasher::new(),
            raw: BytesMut::new(),
            at: 0,
            packed: Bytes::new(),
            frame_at: 0,
            plain: BytesMut::new(),
            ended: false,
        };
        let fixed = MAGIC.len() + 2 + 4;
        if !reader.want(fixed).await? || &reader.raw[..MAGIC.len()] != MAGIC {
            return Err(Damage::Foreign);
        }
        let found = u16::from_le_bytes([reader.raw[MAGIC.len()], reader.raw[MAGIC.len() + 1]]);
        if found > FORMAT {
            return Err(Damage::Newer { found });
        }
        let length = reader.length(MAGIC.len() + 2);
        if length > HEADER {
            return Err(reader.damaged("the header is too large"));
        }
        let frame = reader.checked(fixed + length).await?;
        reader.header = serde_json::from_slice(&frame[fixed..]).map_err(|error| Damage::At {
            at: 0,
            problem: format!("the header is not understood: {error}"),
        })?;
        Ok(reader)
    }

    /// What the backup says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next item; none after the end, which was then compared with all that was read.
    pub async fn next(&mut self, schema: &Schema) -> Result<Option<Item>, Damage> {
        loop {
            match record::decode(&self.plain, schema) {
                Ok(Some((item, length))) => {
                    self.plain.advance(length);
                    return Ok(Some(item));
                }
                Ok(None) => {}
                Err(problem) => {
                    return Err(Damage::At {
                        at: self.frame_at,
                        problem,
                    });
                }
            }
            if !self.packed.is_empty() {
                self.unpack()?;
            } else if self.ended || !self.frame().await? {
                return if self.plain.is_empty() {
                    Ok(None)
                } else {
                    Err(self.damaged("the last record is not complete"))
                };
            }
        }
    }

    fn unpack(&mut self) -> Result<(), Damage> {
        let mut room = vec![0; ROOM];
        let mut input = InBuffer::around(&self.packed);
        let mut output = OutBuffer::around(&mut room[..]);
        let result = self.decoder.run(&mut input, &mut output);
        let (read, written) = (input.pos(), output.pos());
        result.map_err(|error| Damage::At {
            at: self.frame_at,
            problem: format!("it does not unpack: {error}"),
        })?;
        if read == 0 && written == 0 {
            return Err(Damage::At {
                at: self.frame_at,
                problem: "it goes on after its end".to_owned(),
            });
        }
        self.packed.advance(read);
        self.plain.extend_from_slice(&room[..written]);
        Ok(())
    }

    /// Reads a frame; false when it was the last one.
    async fn frame(&mut self) -> Result<bool, Damage> {
        if !self.want(5).await? {
            return Err(self.truncated());
        }
        let length = self.length(1);
        match self.raw[0] {
            DATA if length <= FRAME => {
                self.frame_at = self.at;
                self.packed = self.checked(5 + length).await?.slice(5..);
                Ok(true)
            }
            END if length == 32 => {
                let begin = self.take(5);
                self.hasher.update(&begin);
                if !self.want(32).await? {
                    return Err(self.truncated());
                }
                if self.raw[..32] != *self.hasher.finalize().as_bytes() {
                    return Err(self.damaged("the digest of the whole is another"));
                }
                self.take(32);
                if self.want(1).await? {
                    return Err(self.damaged("it goes on after its end"));
                }
                self.ended = true;
                Ok(false)
            }
            _ => Err(self.damaged("no frame begins here")),
        }
    }

    /// So many bytes, which the check after them confirms.
    async fn checked(&mut self, length: usize) -> Result<Bytes, Damage> {
        if !self.want(length + CHECK).await? {
            return Err(self.truncated());
        }
        self.hasher.update(&self.raw[..length]);
        let check = check(&self.hasher);
        if self.raw[length..length + CHECK] != check {
            return Err(self.damaged("the bytes are not those that were written"));
        }
        self.hasher.update(&check);
        let bytes = self.take(length);
        self.take(CHECK);
        Ok(bytes)
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.at += length as u64;
        self.raw.split_to(length).freeze()
    }

    /// Reads until so many bytes are there; false when the file ends before.
    async fn want(&mut self, length: usize) -> Result<bool, Damage> {
        while self.raw.len() < length {
            match self.source.read().await? {
                Some(bytes) => self.raw.extend_from_slice(&bytes),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn length(&self, at: usize) -> usize {
        let mut length = [0; 4];
        length.copy_from_slice(&self.raw[at..at + 4]);
        usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX)
    }

    pub(in crate::storage) fn damaged(&self, problem: &str) -> Damage {
        Damage::At {
            at: self.at,
            problem: problem.to_owned(),
        }
    }

    fn truncated(&self) -> Damage {
        Damage::Truncated {
            at: self.at + self.raw.len() as u64,
        }
    }
}
