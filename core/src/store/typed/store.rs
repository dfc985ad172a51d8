//! The typed store: what services and embedders hold.

use std::{fmt, future::Future, sync::Arc};

use futures::stream::BoxStream;
use uuid::Uuid;

use super::{
    CommitObserver, Entity, Evidence, LaneRow, LatestValue, Reader, STALE, Tx, Versioned,
    observer::{Announcement, Observers},
};
use crate::{
    access::Context,
    kernel::{Clock, Error, Randomness, Result, random_uuid},
    store::{Backend, Change, Info, Ingest, Latest, Phase, Schema, SchemaReport, Seq, Write},
};

/// How often a change is decided anew after a lost race. With n writers on one document somebody always gets through, so
/// this bounds waiting, not progress.
const ATTEMPTS: usize = 64;

/// Reads and changes entities over any backend. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    observers: Observers,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("backend", &self.inner.backend.info())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Prepares the schema and opens the store.
    pub async fn open(
        backend: Arc<dyn Backend>,
        schema: &Schema,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Randomness>,
    ) -> Result<(Self, SchemaReport)> {
        let report = backend.prepare(schema).await?;
        let standing = backend.standing().await?;
        if standing.phase != Phase::Serving {
            // Whoever opens a store is its operator, and may read where its data went.
            return Err(super::NOT_SERVING.error(standing.phase.to_string()));
        }
        Ok((
            Self {
                inner: Arc::new(Inner {
                    backend,
                    clock,
                    random,
                    observers: Observers::default(),
                }),
            },
            report,
        ))
    }

    /// What the backend says of itself.
    pub fn info(&self) -> Info {
        self.inner.backend.info()
    }

    /// The backend itself, for migration and checks.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.inner.backend
    }

    /// The clock that stamps changes.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Where ids and secrets come from.
    pub fn random(&self) -> &dyn Randomness {
        &*self.inner.random
    }

    /// A new UUIDv7.
    pub fn new_uuid(&self) -> Uuid {
        random_uuid(self.inner.clock.now(), &*self.inner.random)
    }

    /// A typed view of the newest commit.
    pub async fn reader(&self) -> Result<Reader> {
        Ok(Reader::new(self.inner.backend.view().await?))
    }

    /// The newest state of one entity.
    pub async fn get<T: Entity>(&self, id: T::Id) -> Result<Option<Versioned<T>>> {
        self.reader().await?.get(id).await
    }

    /// Decides and commits a change, anew after each lost race. `decide` reads through the transaction, writes into it and
    /// ends with [`Tx::commit`]; it may run several times and must have no other effect.
    pub async fn change<R, F, Fut>(&self, context: &Context, evidence: Evidence, decide: F) -> Result<R>
    where
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<R>>,
    {
        let reader = self.reader().await?;
        self.change_on(reader, context, evidence, decide).await
    }

    /// The same; the first decision is made on a view that is open already.
    pub(crate) async fn change_on<R, F, Fut>(
        &self,
        reader: Reader,
        context: &Context,
        evidence: Evidence,
        mut decide: F,
    ) -> Result<R>
    where
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<R>>,
    {
        let mut reader = reader;
        let mut attempt = 1;
        loop {
            let tx = Tx::begin(self.clone(), reader, context.clone(), evidence);
            match decide(tx).await {
                Err(error) if error.code() == STALE && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
            reader = self.reader().await?;
        }
    }

    /// Tells this observer of every commit that this process makes from now on.
    pub fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.inner.observers.add(observer);
    }

    pub(super) fn announce(&self, writes: &[Write]) -> Announcement {
        self.inner.observers.announce(writes)
    }

    /// Writes latest values and rows of the hot path: durable on return, without audit and feed.
    pub async fn ingest(&self, ingest: Ingest) -> Result<()> {
        Ok(self.inner.backend.ingest(ingest).await?)
    }

    /// The changes after a place in commit order, and those to come.
    pub async fn changes(&self, after: Seq) -> Result<BoxStream<'static, crate::store::Result<Change>>> {
        Ok(self.inner.backend.changes(after).await?)
    }
}

/// Collects an [`Ingest`] from typed values.
impl Ingest {
    /// Adds a latest value.
    pub fn set<T: LatestValue>(&mut self, id: T::Id, value: &T) -> Result<&mut Self> {
        self.latest.push(Latest {
            key: T::key(id),
            body: value.encode()?,
        });
        Ok(self)
    }

    /// Adds a row.
    pub fn append<T: LaneRow>(
        &mut self,
        stream: Uuid,
        at: crate::kernel::Timestamp,
        n: u32,
        value: &T,
    ) -> Result<&mut Self> {
        self.rows.push((T::LANE, value.row(stream, at, n)?));
        Ok(self)
    }
}

impl From<crate::store::Error> for Error {
    fn from(error: crate::store::Error) -> Self {
        use crate::store::Error as Storage;
        match &error {
            Storage::Conflict { .. } => STALE.error("somebody else changed this at the same moment; read it again"),
            Storage::Taken { holder, column } => super::TAKEN
                .error(format!(
                    "another {} already has this {}",
                    holder.kind.replace('_', " "),
                    column.replace('_', " ")
                ))
                .with_field(format!("/{column}"), "already taken"),
            Storage::RowConflict { .. } => super::ROW_CONFLICT
                .error("other data stands at the same place")
                .caused_by(error),
            Storage::Unavailable(_) | Storage::Unknown(_) => super::tx::UNAVAILABLE
                .error("storage cannot be reached; try again")
                .caused_by(error),
            Storage::NotServing(_) => super::NOT_SERVING
                .error("storage takes no changes at the moment: its data is being moved, or was; try again")
                .caused_by(error),
            _ => Self::internal(error),
        }
    }
}
