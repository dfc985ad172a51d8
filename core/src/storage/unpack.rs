//! Takes a backup apart: its records in order, its blobs each into its place.

use std::{collections::HashMap, sync::Arc};

use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::ObjectStore;

use super::archive::{ArchiveReader, Damage, Header, Item};
use crate::{
    blobs::{Blob, BlobDigest, HeldBlob, Incoming, remove_blob},
    kernel::Error,
    store::{self, Entity as _, Record, Schema},
};

/// Damaged blobs that are named; more are counted.
const NAMED: usize = 100;

/// The blobs of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackedBlobs {
    /// How many.
    pub blobs: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// How many were damaged or missing already when the backup was made.
    pub damaged: u64,
    /// The first of those.
    pub named: Vec<BlobDigest>,
}

/// Why a backup does not come apart.
#[derive(Debug)]
pub(super) enum Failure {
    /// The backup is damaged.
    Damaged(Damage),
    /// A document in it is damaged.
    Store(store::Error),
    /// Where blobs go cannot be reached or has no room.
    Place(Error),
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Failure> for store::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Damaged(damage) => damage.into(),
            Failure::Store(error) => error,
            Failure::Place(error) => Self::Unavailable(error.log().into()),
        }
    }
}

/// A backup that is taken apart. The records come out one by one, and the `End` only when every blob is in its place and all that
/// was read is what its digest says: whoever fills a store with them has all of it then.
pub(super) struct Unpacking {
    reader: ArchiveReader,
    schema: Schema,
    /// Where blobs go; without it they are only compared with their digests.
    place: Option<Place>,
    /// What documents say that there are, and how large each is. Those that were seen go.
    held: HashMap<BlobDigest, HeldBlob>,
    open: Option<Open>,
    /// The last record, while blobs follow it.
    end: Option<Record>,
    ended: bool,
    done: UnpackedBlobs,
}

/// Where the blobs of a backup go.
pub(super) struct Place {
    objects: Arc<dyn ObjectStore>,
    /// What they are called while they come in.
    name: String,
    /// What was not there before.
    new: Vec<BlobDigest>,
}

/// The blob that is being read.
struct Open {
    digest: BlobDigest,
    size_bytes: u64,
    left: u64,
    hasher: blake3::Hasher,
    incoming: Option<Incoming>,
}

impl Unpacking {
    pub(super) fn new(reader: ArchiveReader, schema: Schema) -> Self {
        Self {
            reader,
            schema,
            place: None,
            held: HashMap::new(),
            open: None,
            end: None,
            ended: false,
            done: UnpackedBlobs::default(),
        }
    }

    /// Puts blobs there; `name` is used by nobody else.
    pub(super) fn into_place(mut self, objects: &Arc<dyn ObjectStore>, name: String) -> Self {
        self.place = Some(Place {
            objects: objects.clone(),
            name,
            new: Vec::new(),
        });
        self
    }

    pub(super) fn header(&self) -> &Header {
        self.reader.header()
    }

    /// The blobs so far.
    pub(super) fn blobs(&self) -> &UnpackedBlobs {
        &self.done
    }

    /// The next record; none after the `End`.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, Failure> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let Some(item) = self.reader.next(&self.schema).await? else {
                self.ended = true;
                self.check_whole()?;
                return Ok(self.end.take());
            };
            match item {
                Item::Record(_) if self.end.is_some() => {
                    return Err(self.damaged("records follow the last one"));
                }
                Item::Record(end @ Record::End { .. }) => self.end = Some(end),
                Item::Record(record) => {
                    self.note(&record)?;
                    return Ok(Some(record));
                }
                Item::Blob { digest, size_bytes } => self.begin(digest, size_bytes).await?,
                Item::Part(part) => self.go_on(part).await?,
                Item::Broken => self.give_up().await?,
            }
        }
    }

    fn note(&mut self, record: &Record) -> Result<(), Failure> {
        if let Record::Doc(doc) = record
            && doc.key.kind == Blob::KIND
            && self.reader.header().blobs
        {
            let blob = store::decode::<Blob>(doc).map_err(Failure::Store)?;
            let held = HeldBlob::of(&blob);
            self.held.extend(held.map(|held| (held.digest, held)));
        }
        Ok(())
    }

    async fn begin(&mut self, digest: BlobDigest, size_bytes: u64) -> Result<(), Failure> {
        if self.open.is_some() || self.end.is_none() {
            return Err(self.damaged("a blob begins where none can"));
        }
        if self
            .held
            .remove(&digest)
            .is_none_or(|held| held.size_bytes != size_bytes)
        {
            return Err(self.damaged(&format!("nothing refers to the blob {digest} of {size_bytes} bytes")));
        }
        let incoming = match &self.place {
            None => None,
            Some(place) => {
                let begun = Incoming::begin(&place.objects, &place.name).await;
                Some(begun.map_err(Failure::Place)?)
            }
        };
        self.open = Some(Open {
            digest,
            size_bytes,
            left: size_bytes,
            hasher: blake3::Hasher::new(),
            incoming,
        });
        self.end_if_whole().await
    }

    async fn go_on(&mut self, part: bytes::Bytes) -> Result<(), Failure> {
        let length = part.len() as u64;
        let Some(open) = self.open.as_mut().filter(|open| open.left >= length) else {
            return Err(self.damaged("bytes of no blob"));
        };
        open.left -= length;
        open.hasher.update(&part);
        if let Some(incoming) = &mut open.incoming {
            incoming.write(part).await.map_err(Failure::Place)?;
        }
        self.end_if_whole().await
    }

    async fn end_if_whole(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.take_if(|open| open.left == 0) else {
            return Ok(());
        };
        let is_right = BlobDigest::from_bytes(*open.hasher.finalize().as_bytes()) == open.digest;
        if !is_right {
            if let Some(incoming) = open.incoming {
                incoming.abort().await;
            }
            return Err(self.damaged(&format!("the blob {} has another content", open.digest)));
        }
        if let (Some(incoming), Some(place)) = (open.incoming, &mut self.place) {
            let placed = place.put(open.digest, incoming).await;
            placed.map_err(Failure::Place)?;
        }
        self.done.blobs += 1;
        self.done.bytes += open.size_bytes;
        Ok(())
    }

    async fn give_up(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.take() else {
            return Err(self.damaged("no blob is damaged here"));
        };
        if let Some(incoming) = open.incoming {
            incoming.abort().await;
        }
        self.done.damaged += 1;
        if self.done.named.len() < NAMED {
            self.done.named.push(open.digest);
        }
        Ok(())
    }

    fn check_whole(&self) -> Result<(), Failure> {
        if self.end.is_none() {
            return Err(self.damaged("it has no last record"));
        }
        if self.open.is_some() {
            return Err(self.damaged("the last blob is not complete"));
        }
        match self.held.values().find(|held| held.needed) {
            Some(missing) => Err(self.damaged(&format!("the blob {} is not in it", missing.digest))),
            None => Ok(()),
        }
    }

    fn damaged(&self, problem: &str) -> Failure {
        Failure::Damaged(self.reader.damaged(problem))
    }

    /// Takes away what it has put anywhere.
    pub(super) async fn undo(&mut self) {
        if let Some(incoming) = self.open.take().and_then(|open| open.incoming) {
            incoming.abort().await;
        }
        if let Some(place) = &mut self.place {
            for digest in place.new.drain(..) {
                if let Err(error) = remove_blob(&place.objects, digest).await {
                    tracing::warn!(error = error.log(), "a blob could not be removed again");
                }
            }
        }
    }
}

impl Place {
    async fn put(&mut self, digest: BlobDigest, incoming: Incoming) -> Result<(), Error> {
        let received = incoming.complete().await?;
        let was_there = match received.is_there().await {
            Ok(was_there) => was_there,
            Err(error) => {
                received.discard().await;
                return Err(error);
            }
        };
        received.place().await?;
        if !was_there {
            self.new.push(digest);
        }
        Ok(())
    }
}

/// The records, as an import takes them.
pub(super) fn records(unpacking: &Arc<tokio::sync::Mutex<Unpacking>>) -> BoxStream<'static, store::Result<Record>> {
    let shared = unpacking.clone();
    stream::unfold(Some(shared), |shared| async move {
        let shared = shared?;
        let next = shared.lock().await.next().await;
        match next {
            Ok(Some(record)) => Some((Ok(record), Some(shared))),
            Ok(None) => None,
            Err(failure) => Some((Err(failure.into()), None)),
        }
    })
    .boxed()
}
