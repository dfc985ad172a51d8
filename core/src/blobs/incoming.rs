//! A blob on its way in: under another name, until all of it is there.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};

use super::{BlobDigest, service::unavailable};
use crate::kernel::Result;

/// What is sent to the store at once, in bytes: the least that object stores by HTTP take.
const PART: usize = 5 << 20;
/// Where what is not complete yet is.
pub(super) const INCOMING: &str = "incoming";

/// A blob that comes in. Its memory is bounded by one part.
pub(crate) struct Incoming {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    upload: Box<dyn MultipartUpload>,
    hasher: blake3::Hasher,
    size_bytes: u64,
    part: BytesMut,
}

impl Incoming {
    /// Begins one under a name that nobody else uses.
    pub(crate) async fn begin(objects: &Arc<dyn ObjectStore>, name: &str) -> Result<Self> {
        let path = Path::from_iter([INCOMING, name]);
        Ok(Self {
            objects: objects.clone(),
            upload: objects.put_multipart(&path).await.map_err(unavailable)?,
            path,
            hasher: blake3::Hasher::new(),
            size_bytes: 0,
            part: BytesMut::new(),
        })
    }

    /// Bytes so far.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Appends.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size_bytes += bytes.len() as u64;
        self.hasher.update(&bytes);
        while !bytes.is_empty() {
            let fits = bytes.len().min(PART - self.part.len());
            self.part.extend_from_slice(&bytes.split_to(fits));
            if self.part.len() == PART {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Gives it up; nothing of it stays.
    pub(crate) async fn abort(mut self) {
        let _ = self.upload.abort().await;
    }

    /// All of it is there, and not in its place yet.
    pub(crate) async fn complete(mut self) -> Result<Received> {
        match self.end().await {
            Ok(()) => Ok(Received {
                objects: self.objects,
                path: self.path,
                digest: BlobDigest::from_bytes(*self.hasher.finalize().as_bytes()),
                size_bytes: self.size_bytes,
            }),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn end(&mut self) -> Result<()> {
        if !self.part.is_empty() || self.size_bytes == 0 {
            self.send().await?;
        }
        self.upload.complete().await.map(drop).map_err(unavailable)
    }

    async fn send(&mut self) -> Result<()> {
        let part = PutPayload::from_bytes(self.part.split().freeze());
        self.upload.put_part(part).await.map_err(unavailable)
    }
}

/// A blob that came in whole.
pub(crate) struct Received {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    pub(crate) digest: BlobDigest,
    pub(crate) size_bytes: u64,
}

impl Received {
    /// Puts it in its place; also where it is already: what was damaged there is mended by it.
    pub(crate) async fn place(self) -> Result<()> {
        match self.objects.rename(&self.path, &self.digest.path()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.discard().await;
                Err(unavailable(error))
            }
        }
    }

    /// Whether something is in its place already.
    pub(crate) async fn is_there(&self) -> Result<bool> {
        match self.objects.head(&self.digest.path()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Nothing of it stays.
    pub(crate) async fn discard(self) {
        let _ = self.objects.delete(&self.path).await;
    }
}
