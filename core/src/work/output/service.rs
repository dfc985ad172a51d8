//! Storing, reading and watching output.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Chunk, ChunkView, OutputDownload, OutputFormat, model::chunk_view};
use crate::{
    access::Context,
    kernel::{EntityId, MAX_LIMIT, Page, PageRequest, Result, Timestamp},
    live::{Signals, Subscription},
    protocol::{MAX_CHUNK, OutputChunk, OutputStream},
    store::{Ingest, LaneQuery, Reader, Store},
    work::{
        RUNS_READ, Run, RunId,
        run::{RUN_NOT_FOUND, RunView},
    },
};

/// The most chunks of one run.
const MAX_CHUNKS: u32 = 65_536;
/// A watcher looks by itself this often, in case that a signal was lost or came to another server.
const POLL: Duration = Duration::from_secs(1);

/// Counts the bytes that runs have sent since this process began, so that no device can fill the disk. Bounded: when it is
/// full, it starts anew, and each run may send its limit once more.
#[derive(Debug, Default)]
pub struct OutputMeter {
    bytes: Mutex<HashMap<RunId, u64>>,
}

impl OutputMeter {
    const RUNS: usize = 20_000;

    /// Whether a run may print so many bytes more.
    pub(crate) fn has_room(&self, run: &Run, bytes: u64) -> bool {
        let sum = self.bytes().get(&run.id).copied().unwrap_or(0);
        // The agent's marker of what it cut comes on top of the limit, and replacement characters make text longer.
        let has_room = sum + bytes <= run.output_limit_bytes.saturating_mul(3) + 65_536;
        if !has_room {
            tracing::warn!(run = %run.id, "output beyond the limit dropped");
        }
        has_room
    }

    /// Counts what a run has printed.
    pub(crate) fn count(&self, run: RunId, bytes: u64) {
        let mut all = self.bytes();
        if all.len() >= Self::RUNS && !all.contains_key(&run) {
            all.clear();
        }
        *all.entry(run).or_default() += bytes;
    }

    fn bytes(&self) -> MutexGuard<'_, HashMap<RunId, u64>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much text chunks hold, in bytes.
pub(crate) fn bytes_of(chunks: &[OutputChunk]) -> u64 {
    chunks.iter().map(|chunk| chunk.text.len() as u64).sum()
}

/// Appends chunks as a device sent them, each at its time and number.
pub(crate) fn append_chunks(
    run: &Run,
    chunks: &[OutputChunk],
    mut append: impl FnMut(Timestamp, u32, &Chunk) -> Result<()>,
) -> Result<()> {
    for chunk in chunks {
        if chunk.sequence < MAX_CHUNKS && chunk.text.len() <= MAX_CHUNK {
            let text = chunk.text.replace('\0', "\u{fffd}");
            let stream = chunk.stream;
            append(run.created_at, chunk.sequence, &Chunk { stream, text })?;
        }
    }
    Ok(())
}

/// Stores chunks as a device sent them, without a commit of their own.
pub(crate) async fn store_chunks(
    store: &Store,
    meter: &OutputMeter,
    runs: &Signals<RunId>,
    run: &Run,
    chunks: &[OutputChunk],
) -> Result<()> {
    let bytes = bytes_of(chunks);
    if meter.has_room(run, bytes) {
        let mut ingest = Ingest::default();
        append_chunks(run, chunks, |at, n, chunk| {
            ingest.append(run.id.uuid(), at, n, chunk).map(drop)
        })?;
        store.ingest(ingest).await?;
        meter.count(run.id, bytes);
        runs.signal(run.id);
    }
    Ok(())
}

/// Reads output.
#[derive(Debug)]
pub struct OutputService<'a> {
    store: &'a Store,
    runs: &'a Signals<RunId>,
}

impl<'a> OutputService<'a> {
    pub(crate) fn new(store: &'a Store, runs: &'a Signals<RunId>) -> Self {
        Self { store, runs }
    }

    /// A page of a run's output, from its beginning.
    pub async fn page(&self, context: &Context, run: RunId, page: &PageRequest) -> Result<Page<ChunkView>> {
        context.require(RUNS_READ)?;
        let mut reader = self.store.reader().await?;
        reader
            .get::<Run>(run)
            .await?
            .ok_or_else(|| RUN_NOT_FOUND.error(format!("there is no run {run}")))?;
        let (rows, next) = reader
            .stored_rows(&LaneQuery::<Chunk>::oldest_first().stream(run.uuid()), page)
            .await?;
        let items = rows
            .iter()
            .map(|stored| chunk_view(&stored.row))
            .collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// All of a run's output as one text, or as far as it got; only of these streams, if any are named.
    pub async fn download(
        &self,
        context: &Context,
        run: RunId,
        format: OutputFormat,
        streams: &[OutputStream],
    ) -> Result<OutputDownload> {
        context.require(RUNS_READ)?;
        OutputDownload::begin(self.store, run, format, streams).await
    }

    /// Watches a run's output from the chunk `from` on, until the run has ended.
    pub async fn watch(&self, context: &Context, run: RunId, from: u32) -> Result<OutputWatch> {
        context.require(RUNS_READ)?;
        // Subscribing comes before the first look, so that nothing falls between.
        let subscription = self.runs.subscribe(run);
        self.store
            .get::<Run>(run)
            .await?
            .ok_or_else(|| RUN_NOT_FOUND.error(format!("there is no run {run}")))?;
        Ok(OutputWatch {
            store: self.store.clone(),
            subscription,
            run,
            next: from,
            token: None,
            ended: false,
        })
    }
}

/// A running watch. It reads storage, so a late or slow watcher misses nothing and costs no memory.
#[derive(Debug)]
pub struct OutputWatch {
    store: Store,
    subscription: Subscription<RunId>,
    run: RunId,
    next: u32,
    token: Option<crate::kernel::PageToken>,
    ended: bool,
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// More output, in order.
    Chunks(Vec<ChunkView>),
    /// The run has ended, and there is no more output.
    Ended(Box<RunView>),
}

impl OutputWatch {
    /// Waits for the next thing to see; none after the end.
    pub async fn next(&mut self) -> Result<Option<Seen>> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let mut reader = self.store.reader().await?;
            let run = reader
                .get::<Run>(self.run)
                .await?
                .ok_or_else(|| RUN_NOT_FOUND.error(format!("there is no run {}", self.run)))?;
            let chunks = self.read(&mut reader).await?;
            if !chunks.is_empty() {
                return Ok(Some(Seen::Chunks(chunks)));
            }
            if run.state.is_terminal() {
                self.ended = true;
                return Ok(Some(Seen::Ended(Box::new(run.value.into()))));
            }
            drop(reader);
            self.subscription.wait(POLL).await;
        }
    }

    async fn read(&mut self, reader: &mut Reader) -> Result<Vec<ChunkView>> {
        let query = LaneQuery::<Chunk>::oldest_first().stream(self.run.uuid());
        loop {
            let page = PageRequest::new(Some(MAX_LIMIT), self.token.clone())?;
            let (rows, next) = reader.stored_rows(&query, &page).await?;
            let chunks: Vec<_> = rows
                .iter()
                .map(|stored| chunk_view(&stored.row))
                .collect::<Result<_>>()?;
            let chunks: Vec<_> = chunks.into_iter().filter(|chunk| chunk.sequence >= self.next).collect();
            match next {
                // A full page is behind us for good; the last one is read again when it has grown.
                Some(next) => self.token = Some(next),
                None if chunks.is_empty() => return Ok(chunks),
                None => {}
            }
            if let Some(last) = chunks.last() {
                self.next = last.sequence + 1;
                return Ok(chunks);
            }
        }
    }
}
