//! A blob on its way out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{
    Stream,
    stream::{self, BoxStream, StreamExt as _},
};
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{
    BlobDigest,
    service::{damaged, unavailable},
};
use crate::kernel::Result;

/// What is read at once, in bytes.
const READ: u64 = 512 << 10;

/// The parts of a blob. The last one comes when the digest of all of them is right; otherwise an error comes in its place.
pub struct BlobStream {
    size_bytes: u64,
    parts: BoxStream<'static, Result<Bytes>>,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStream({} bytes)", self.size_bytes)
    }
}

impl BlobStream {
    /// What is missing or of another size is refused at once.
    pub(crate) async fn open(objects: &Arc<dyn ObjectStore>, digest: BlobDigest, size_bytes: u64) -> Result<Self> {
        match objects.head(&digest.path()).await {
            Ok(found) if found.size == size_bytes => Ok(Self::new(objects.clone(), digest, size_bytes)),
            Ok(found) => Err(damaged(digest, format!("{} bytes instead of {size_bytes}", found.size))),
            Err(error @ object_store::Error::NotFound { .. }) => Err(damaged(digest, error.to_string())),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn new(objects: Arc<dyn ObjectStore>, digest: BlobDigest, size_bytes: u64) -> Self {
        let path = digest.path();
        let start = (0, blake3::Hasher::new());
        let parts = stream::try_unfold(start, move |(at, mut hasher)| {
            let (objects, path) = (objects.clone(), path.clone());
            async move {
                if at >= size_bytes {
                    return Ok(None);
                }
                let end = size_bytes.min(at + READ);
                let part = objects.get_range(&path, at..end).await.map_err(unavailable)?;
                if part.len() as u64 != end - at {
                    return Err(damaged(digest, format!("it ends before byte {end}")));
                }
                hasher.update(&part);
                if end == size_bytes && BlobDigest::from_bytes(*hasher.finalize().as_bytes()) != digest {
                    return Err(damaged(digest, "its content is another".into()));
                }
                Ok(Some((part, (end, hasher))))
            }
        });
        Self {
            size_bytes,
            parts: parts.boxed(),
        }
    }

    /// Its size, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.parts.poll_next_unpin(context)
    }
}
