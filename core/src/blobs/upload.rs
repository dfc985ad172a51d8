//! What is too large for parameters: uploaded first, named by parameters, and given to the devices that are to have it.

use bytes::Bytes;
use futures::Stream;

use super::{
    BLOB_CREATE, BLOB_NOT_FOUND, BLOB_TOO_LARGE, BLOB_TOO_MANY, BLOBS_UPLOAD, Blob, BlobDigest, BlobId, BlobRef,
    BlobService, BlobStream, BlobView, service::check_stays,
};
use crate::{
    access::Context,
    kernel::{Error, Result},
    store::{Evidence, Filter, Tx, Value},
};

/// The largest content that parameters name, in bytes.
pub const MAX_CONTENT: u64 = 10 << 20;
/// How many may wait to be named: 10 GiB of the largest, for at most seven days.
pub(super) const MAX_UNNAMED: u64 = 1_000;
const MEDIA_TYPE: &str = "application/octet-stream";

impl BlobService<'_> {
    /// Whether somebody may upload: to be asked before a body is read.
    pub fn check_may_upload(&self, context: &Context) -> Result<()> {
        context.require(BLOBS_UPLOAD).map(drop)
    }

    /// Takes in at most [`MAX_CONTENT`] bytes, to be named by parameters. What nobody names goes after seven days; the same content again
    /// begins them anew.
    ///
    /// # Errors
    /// [`BLOB_TOO_MANY`], and as [`BlobService::take`].
    pub async fn upload(&self, context: &Context, body: impl Stream<Item = Result<Bytes>> + Send) -> Result<BlobView> {
        self.check_may_upload(context)?;
        self.check_room().await?;
        let taken = &self.take(MEDIA_TYPE, MAX_CONTENT, body).await?;
        self.store()
            .change(context, Evidence::Audit(BLOB_CREATE), |mut tx| async move {
                let id = BlobId::of(taken.digest);
                let now = tx.now();
                match tx.get::<Blob>(id).await? {
                    Some(before) => {
                        check_stays(&before)?;
                        let mut after = before.value.clone();
                        after.unreferenced_since = after.unreferenced_since.map(|_| now);
                        after.unnamed_since = after.unnamed_since.map(|_| now);
                        tx.update(&before, &after)?;
                    }
                    None => tx.create(&Blob {
                        id,
                        digest: taken.digest,
                        size_bytes: taken.size_bytes,
                        stored_at: now,
                        unreferenced_since: Some(now),
                        unnamed_since: Some(now),
                        leaving_since: None,
                    })?,
                }
                tx.subject::<Blob>(id, taken.digest.to_string());
                tx.detail("size_bytes", taken.size_bytes);
                tx.commit().await?;
                Ok(BlobView {
                    digest: taken.digest,
                    size_bytes: taken.size_bytes,
                })
            })
            .await
    }

    /// Whether one more may wait to be named; what was named once does not count. Before the body is read: what is refused takes no room.
    /// Those who ask at the same time may go beyond it by as many as they are.
    async fn check_room(&self) -> Result<()> {
        let unnamed = Filter::Range(Blob::UNNAMED_SINCE.name(), Some(Value::Int(i64::MIN)), None);
        match self.store().reader().await?.count::<Blob>(&unnamed).await? {
            0..MAX_UNNAMED => Ok(()),
            _ => {
                let why = format!(
                    "{MAX_UNNAMED} contents were uploaded that nothing has named, as many as there may be; name them, or wait until the \
                     first go, seven days after they were uploaded"
                );
                Err(BLOB_TOO_MANY.error(why))
            }
        }
    }

    /// Gives out a content to whoever knows its digest: from parameters, from records of who asked for what, or from the content itself.
    ///
    /// # Errors
    /// [`BLOB_NOT_FOUND`], and what opening it fails with.
    pub async fn content(&self, digest: BlobDigest) -> Result<BlobStream> {
        let found = self.store().get::<Blob>(BlobId::of(digest)).await?;
        let found = found.filter(|blob| blob.leaving_since.is_none() && blob.size_bytes <= MAX_CONTENT);
        let found = found.ok_or_else(|| not_found(digest))?;
        self.open(&BlobRef {
            digest,
            size_bytes: found.size_bytes,
            media_type: MEDIA_TYPE.to_owned(),
        })
        .await
    }
}

/// Sees to it that what new work names is there when it is made, and stays: call it in the change that stores the parameters.
///
/// # Errors
/// [`BLOB_NOT_FOUND`], [`BLOB_TOO_LARGE`], and [`super::BLOB_LEAVING`].
pub(crate) async fn hold_content(tx: &mut Tx, digest: BlobDigest) -> Result<()> {
    let before = tx
        .get::<Blob>(BlobId::of(digest))
        .await?
        .ok_or_else(|| not_found(digest))?;
    check_stays(&before)?;
    if before.size_bytes > MAX_CONTENT {
        return Err(BLOB_TOO_LARGE.error(format!("it is larger than {MAX_CONTENT} bytes")));
    }
    let mut held = before.value.clone();
    held.unnamed_since = None;
    match held.unreferenced_since.take() {
        Some(_) => drop(tx.update(&before, &held)?),
        None => tx.require(&before),
    }
    Ok(())
}

fn not_found(digest: BlobDigest) -> Error {
    BLOB_NOT_FOUND.error(format!("there is no blob {digest}; upload it first"))
}
