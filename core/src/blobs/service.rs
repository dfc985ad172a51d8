//! Takes blobs in and gives them out.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};

use super::{
    BLOB_DAMAGED, BLOB_LEAVING, BLOB_TOO_LARGE, BLOB_UNAVAILABLE, Blob, BlobDigest, BlobId, BlobRef, BlobStream,
};
use crate::{
    kernel::{Error, Result},
    store::{Store, Tx},
};

/// What is sent to the store at once, in bytes: the least that object stores by HTTP take.
const PART: usize = 5 << 20;
/// Where what is not complete yet is.
pub(super) const INCOMING: &str = "incoming";

/// Takes blobs in and gives them out.
#[derive(Debug)]
pub struct BlobService<'a> {
    store: &'a Store,
    objects: Option<&'a Arc<dyn ObjectStore>>,
}

impl<'a> BlobService<'a> {
    pub(crate) fn new(store: &'a Store, objects: Option<&'a Arc<dyn ObjectStore>>) -> Self {
        Self { store, objects }
    }

    pub(super) fn objects(&self) -> Result<&'a Arc<dyn ObjectStore>> {
        self.objects
            .ok_or_else(|| BLOB_UNAVAILABLE.error("this server has no place for blobs"))
    }

    /// Takes in at most `limit` bytes. The blob stays only if a commit refers to it ([`BlobService::refer`]); otherwise it goes again
    /// after a while.
    ///
    /// # Errors
    /// That of the body, [`BLOB_TOO_LARGE`], [`BLOB_UNAVAILABLE`], and [`BLOB_LEAVING`] while the same content is being removed.
    pub async fn take(
        &self,
        media_type: &str,
        limit: u64,
        body: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<BlobRef> {
        let objects = self.objects()?;
        let incoming = Path::from_iter([INCOMING.to_owned(), self.store.new_uuid().to_string()]);
        let mut upload = objects.put_multipart(&incoming).await.map_err(unavailable)?;
        let (digest, size_bytes) = match write(&mut *upload, limit, body).await {
            Ok(written) => written,
            Err(error) => {
                let _ = upload.abort().await;
                return Err(error);
            }
        };
        upload.complete().await.map_err(unavailable)?;
        let known = self.store.get::<Blob>(BlobId::of(digest)).await;
        if let Err(error) = known.and_then(|known| known.map_or(Ok(()), |known| check_stays(&known))) {
            let _ = objects.delete(&incoming).await;
            return Err(error);
        }
        // Also where it is already: what was damaged there is mended by it.
        objects.rename(&incoming, &digest.path()).await.map_err(unavailable)?;
        Ok(BlobRef {
            digest,
            size_bytes,
            media_type: media_type.to_owned(),
        })
    }

    /// Refers to a blob that was taken in: call it in the change that stores the reference.
    pub async fn refer(tx: &mut Tx, blob: &BlobRef) -> Result<()> {
        let id = BlobId::of(blob.digest);
        match tx.get::<Blob>(id).await? {
            Some(before) => {
                check_stays(&before)?;
                let after = Blob {
                    unreferenced_since: None,
                    ..before.value.clone()
                };
                tx.update(&before, &after)?;
                Ok(())
            }
            None => tx.create(&Blob {
                id,
                digest: blob.digest,
                size_bytes: blob.size_bytes,
                stored_at: tx.now(),
                unreferenced_since: None,
                leaving_since: None,
            }),
        }
    }

    /// Gives a blob out, part by part. What is missing or of another size is refused at once; other damage ends the stream with an
    /// error before its last part.
    pub async fn open(&self, blob: &BlobRef) -> Result<BlobStream> {
        let objects = self.objects()?;
        let path = blob.digest.path();
        match objects.head(&path).await {
            Ok(found) if found.size == blob.size_bytes => Ok(BlobStream::new(objects.clone(), blob, path)),
            Ok(found) => Err(damaged(
                blob.digest,
                format!("{} bytes instead of {}", found.size, blob.size_bytes),
            )),
            Err(error @ object_store::Error::NotFound { .. }) => Err(damaged(blob.digest, error.to_string())),
            Err(error) => Err(unavailable(error)),
        }
    }
}

/// Nobody may refer to what is going.
fn check_stays(blob: &Blob) -> Result<()> {
    match blob.leaving_since {
        None => Ok(()),
        Some(_) => Err(BLOB_LEAVING
            .error("the same content is being removed just now; try again in an hour")
            .with_retry_after(3_600)),
    }
}

async fn write(
    upload: &mut dyn MultipartUpload,
    limit: u64,
    body: impl Stream<Item = Result<Bytes>> + Send,
) -> Result<(BlobDigest, u64)> {
    let mut body = std::pin::pin!(body);
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0_u64);
    let mut part = BytesMut::new();
    while let Some(bytes) = body.next().await {
        let mut bytes = bytes?;
        size += bytes.len() as u64;
        if size > limit {
            return Err(BLOB_TOO_LARGE.error(format!("it is larger than {limit} bytes")));
        }
        hasher.update(&bytes);
        while !bytes.is_empty() {
            let fits = bytes.len().min(PART - part.len());
            part.extend_from_slice(&bytes.split_to(fits));
            if part.len() == PART {
                let full = PutPayload::from_bytes(part.split().freeze());
                upload.put_part(full).await.map_err(unavailable)?;
            }
        }
    }
    if !part.is_empty() || size == 0 {
        let last = PutPayload::from_bytes(part.freeze());
        upload.put_part(last).await.map_err(unavailable)?;
    }
    Ok((BlobDigest::from_bytes(*hasher.finalize().as_bytes()), size))
}

pub(super) fn unavailable(error: object_store::Error) -> Error {
    BLOB_UNAVAILABLE
        .error("the place for blobs cannot be reached or has no room; try again")
        .caused_by(error)
}

pub(super) fn damaged(digest: BlobDigest, why: String) -> Error {
    BLOB_DAMAGED
        .error("what is stored is damaged; the server's log says more")
        .caused_by(format!("blob {digest}: {why}"))
}
