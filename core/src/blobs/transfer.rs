//! Blobs of a whole store: which there are, copied to another place, proved to be there.
//!
//! Nothing keeps notes of how far it is. What is in its place is complete, because it was put there when it was; so whoever begins
//! again copies what is missing.

use std::sync::Arc;

use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::Serialize;

use super::{
    BLOB_DAMAGED, Blob, BlobDigest, BlobStream,
    incoming::Incoming,
    service::{damaged, unavailable},
};
use crate::{
    kernel::{MAX_LIMIT, PageRequest, Result},
    store::{Backend, Query, Reader},
};

/// Damaged blobs that are named; more are counted.
const NAMED: usize = 100;

/// A blob that a store knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBlob {
    /// Its content.
    pub digest: BlobDigest,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// Whether somebody refers to it; otherwise it may be gone any day.
    pub needed: bool,
}

impl HeldBlob {
    /// None of what is on its way out.
    pub(crate) fn of(blob: &Blob) -> Option<Self> {
        blob.leaving_since.is_none().then_some(Self {
            digest: blob.digest,
            size_bytes: blob.size_bytes,
            needed: blob.unreferenced_since.is_none(),
        })
    }
}

/// The blobs that a store knows of, without those on their way out: 48 bytes of memory for each.
pub async fn held_blobs(backend: &Arc<dyn Backend>) -> Result<Vec<HeldBlob>> {
    let mut reader = Reader::new(backend.view().await?);
    let (mut held, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(Some(MAX_LIMIT), after.take())?;
        let page = reader.list(&Query::<Blob>::all(), &page).await?;
        held.extend(page.items.iter().filter_map(|blob| HeldBlob::of(blob)));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(held),
        }
    }
}

/// What was done with the blobs of a store, or what would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlobTransfer {
    /// How many it is about.
    pub blobs: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// How many were copied, or would be.
    pub copied: u64,
    /// Their size, in bytes.
    pub copied_bytes: u64,
    /// How many were there already.
    pub present: u64,
    /// How many were read back and are what they should be.
    pub proved: u64,
    /// How many are there no more, and nobody refers to them.
    pub gone: u64,
    /// How many are damaged or missing.
    pub damaged: u64,
    /// The first of those, and what is wrong.
    pub problems: Vec<String>,
}

impl BlobTransfer {
    fn of(held: &[HeldBlob]) -> Self {
        Self {
            blobs: held.len() as u64,
            bytes: held.iter().map(|blob| blob.size_bytes).sum(),
            ..Self::default()
        }
    }

    /// How many of them this is through with.
    pub fn done(&self) -> u64 {
        self.copied + self.present + self.proved + self.gone + self.damaged
    }

    /// Counts what is wrong with a blob; what is wrong with the place is an error.
    fn failed(&mut self, blob: &HeldBlob, error: crate::kernel::Error) -> Result<()> {
        if error.code() != BLOB_DAMAGED {
            return Err(error);
        }
        if !blob.needed {
            self.gone += 1;
            return Ok(());
        }
        self.damaged += 1;
        if self.problems.len() < NAMED {
            self.problems.push(error.log());
        }
        Ok(())
    }
}

/// Hears how far it is.
pub type Told<'a> = &'a (dyn Fn(&BlobTransfer) + Sync);

/// Says what [`copy_blobs`] would do.
///
/// # Errors
/// [`super::BLOB_UNAVAILABLE`] when a place cannot be reached.
pub async fn plan_blobs(
    held: &[HeldBlob],
    from: &Arc<dyn ObjectStore>,
    to: Option<&Arc<dyn ObjectStore>>,
) -> Result<BlobTransfer> {
    let mut plan = BlobTransfer::of(held);
    for blob in held {
        if let Some(to) = to
            && is_there(to, blob).await?
        {
            plan.present += 1;
        } else if let Err(error) = BlobStream::open(from, blob.digest, blob.size_bytes).await {
            plan.failed(blob, error)?;
        } else {
            plan.copied += 1;
            plan.copied_bytes += blob.size_bytes;
        }
    }
    Ok(plan)
}

/// Copies blobs that are not there yet. Damaged ones are counted and left out, and the rest is copied.
///
/// # Errors
/// [`super::BLOB_UNAVAILABLE`] when a place cannot be reached or has no room; what is not complete is not in its place then.
pub async fn copy_blobs(
    held: &[HeldBlob],
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    told: Told<'_>,
) -> Result<BlobTransfer> {
    let mut done = BlobTransfer::of(held);
    for blob in held {
        if is_there(to, blob).await? {
            done.present += 1;
        } else if let Err(error) = copy(blob, from, to).await {
            done.failed(blob, error)?;
        } else {
            done.copied += 1;
            done.copied_bytes += blob.size_bytes;
        }
        told(&done);
    }
    Ok(done)
}

/// Reads blobs and compares their digests.
///
/// # Errors
/// [`super::BLOB_UNAVAILABLE`] when the place cannot be reached.
pub async fn prove_blobs(held: &[HeldBlob], at: &Arc<dyn ObjectStore>, told: Told<'_>) -> Result<BlobTransfer> {
    let mut done = BlobTransfer::of(held);
    for blob in held {
        let read = async {
            let parts = BlobStream::open(at, blob.digest, blob.size_bytes).await?;
            parts.try_for_each(|_| async { Ok(()) }).await
        };
        match read.await {
            Ok(()) => done.proved += 1,
            Err(error) => done.failed(blob, error)?,
        }
        told(&done);
    }
    Ok(done)
}

async fn is_there(at: &Arc<dyn ObjectStore>, blob: &HeldBlob) -> Result<bool> {
    match at.head(&blob.digest.path()).await {
        Ok(found) => Ok(found.size == blob.size_bytes),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(unavailable(error)),
    }
}

async fn copy(blob: &HeldBlob, from: &Arc<dyn ObjectStore>, to: &Arc<dyn ObjectStore>) -> Result<()> {
    let mut parts = BlobStream::open(from, blob.digest, blob.size_bytes).await?;
    let mut incoming = Incoming::begin(to, &blob.digest.to_string()).await?;
    loop {
        let written = match parts.try_next().await {
            Ok(Some(part)) => incoming.write(part).await,
            Ok(None) => break,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            incoming.abort().await;
            return Err(error);
        }
    }
    let received = incoming.complete().await?;
    // An empty one has no last part that its digest would be checked with.
    if received.digest != blob.digest {
        received.discard().await;
        return Err(damaged(blob.digest, "its content is another".into()));
    }
    received.place().await
}
