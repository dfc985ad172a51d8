//! Takes blobs in and gives them out.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use object_store::ObjectStore;

use super::{
    BLOB_DAMAGED, BLOB_LEAVING, BLOB_TOO_LARGE, BLOB_UNAVAILABLE, Blob, BlobDigest, BlobId, BlobRef, BlobStream,
    incoming::Incoming,
};
use crate::{
    kernel::{Error, Result},
    store::{Store, Tx},
};

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

    pub(super) fn store(&self) -> &'a Store {
        self.store
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
        let mut incoming = Incoming::begin(objects, &self.store.new_uuid().to_string()).await?;
        if let Err(error) = write(&mut incoming, limit, body).await {
            incoming.abort().await;
            return Err(error);
        }
        let received = incoming.complete().await?;
        let (digest, size_bytes) = (received.digest, received.size_bytes);
        let known = self.store.get::<Blob>(BlobId::of(digest)).await;
        if let Err(error) = known.and_then(|known| known.map_or(Ok(()), |known| check_stays(&known))) {
            received.discard().await;
            return Err(error);
        }
        received.place().await?;
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
                    unnamed_since: None,
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
                unnamed_since: None,
                leaving_since: None,
            }),
        }
    }

    /// Gives a blob out, part by part. What is missing or of another size is refused at once; other damage ends the stream with an
    /// error before its last part.
    pub async fn open(&self, blob: &BlobRef) -> Result<BlobStream> {
        BlobStream::open(self.objects()?, blob.digest, blob.size_bytes).await
    }
}

/// Nobody may refer to what is going.
pub(super) fn check_stays(blob: &Blob) -> Result<()> {
    match blob.leaving_since {
        None => Ok(()),
        Some(_) => Err(BLOB_LEAVING
            .error("the same content is being removed just now; try again in an hour")
            .with_retry_after(3_600)),
    }
}

async fn write(incoming: &mut Incoming, limit: u64, body: impl Stream<Item = Result<Bytes>> + Send) -> Result<()> {
    let mut body = std::pin::pin!(body);
    while let Some(bytes) = body.next().await {
        let bytes = bytes?;
        if incoming.size_bytes() + bytes.len() as u64 > limit {
            return Err(BLOB_TOO_LARGE.error(format!("it is larger than {limit} bytes")));
        }
        incoming.write(bytes).await?;
    }
    Ok(())
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
