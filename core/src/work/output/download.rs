//! All of a run's output as one text, piece by piece.

use serde::{Deserialize, Serialize};

use super::{Chunk, ChunkView, model::chunk_view};
use crate::{
    kernel::{EntityId, Error, PageRequest, PageToken, Result},
    protocol::OutputStream,
    store::{LaneQuery, Store},
    work::{
        Run, RunId,
        run::{RUN_NOT_FOUND, State},
    },
};

/// How many chunks make a piece: what a download holds in memory is half a megabyte at most.
const CHUNKS: usize = 64;

/// In which form output is downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Plain text, as it came. Where chunks are missing a line in brackets says so.
    Text,
    /// One [`ChunkView`] a line, as JSON.
    Ndjson,
}

impl OutputFormat {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Ndjson => "ndjson",
        }
    }
}

/// How much of what a run printed there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputExtent {
    /// All of it.
    Complete,
    /// Not all: it was longer than what is kept, its device lost some, it is too old, or nobody knows how it ended.
    Cut,
    /// What there is so far: the run has not ended.
    SoFar,
}

impl OutputExtent {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::SoFar => "so_far",
        }
    }

    /// What there is of a run's output when its chunks that are kept begin and end with these.
    fn of(run: &Run, kept: Option<(u32, u32)>) -> Self {
        if !run.state.is_terminal() {
            return Self::SoFar;
        }
        let ending = run.ending.as_ref();
        let sent = ending.map_or(0, |ending| ending.chunks);
        let has_all = match kept {
            None => sent == 0,
            Some((first, last)) => first == 0 && last.checked_add(1) == Some(sent),
        };
        let was_cut = ending.is_some_and(|ending| ending.truncated_bytes > 0);
        match has_all && !was_cut && run.state != State::Lost {
            true => Self::Complete,
            false => Self::Cut,
        }
    }
}

/// Output on its way to somebody. It reads storage piece by piece, so that a slow reader costs no memory and holds no view.
#[derive(Debug)]
pub struct OutputDownload {
    store: Store,
    run: RunId,
    format: OutputFormat,
    streams: Vec<OutputStream>,
    extent: OutputExtent,
    /// How many chunks there are, where the run has ended and said so.
    sent: Option<u32>,
    /// Where to go on; the beginning has none, nor has the end.
    token: Option<PageToken>,
    next: u32,
    has_ended: bool,
}

impl OutputDownload {
    /// Begins at the first chunk. Without streams all are meant.
    pub(super) async fn begin(
        store: &Store,
        run: RunId,
        format: OutputFormat,
        streams: &[OutputStream],
    ) -> Result<Self> {
        let mut reader = store.reader().await?;
        let stored = reader.get::<Run>(run).await?;
        let stored = stored.ok_or_else(|| RUN_NOT_FOUND.error(format!("there is no run {run}")))?;
        let one = PageRequest::new(Some(1), None)?;
        let (first, _) = reader.stored_rows(&all_of(run), &one).await?;
        let newest = LaneQuery::<Chunk>::newest_first().stream(run.uuid());
        let (last, _) = reader.stored_rows(&newest, &one).await?;
        let kept = first.first().zip(last.first());
        let kept = kept.map(|(first, last)| (first.row.n, last.row.n));
        Ok(Self {
            store: store.clone(),
            run,
            format,
            streams: streams.to_vec(),
            extent: OutputExtent::of(&stored, kept),
            sent: stored.ending.as_ref().map(|ending| ending.chunks),
            token: None,
            next: 0,
            has_ended: false,
        })
    }

    /// How much of the output it is, as of its beginning.
    pub fn extent(&self) -> OutputExtent {
        self.extent
    }

    /// The media type of the pieces together.
    pub fn media_type(&self) -> &'static str {
        self.format.media_type()
    }

    /// The name of a file for it. Made of the run's id and of what was asked for: nothing in it is foreign.
    pub fn file_name(&self) -> String {
        let streams: String = self
            .streams
            .iter()
            .map(|stream| format!("-{}", stream.name()))
            .collect();
        format!("{}{streams}.{}", self.run, self.format.extension())
    }

    /// The next piece; none at the end. An error when what was complete at the beginning is not any more.
    pub async fn next(&mut self) -> Result<Option<String>> {
        while !self.has_ended {
            let piece = self.read().await?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<String> {
        let mut reader = self.store.reader().await?;
        let page = PageRequest::new(Some(CHUNKS), self.token.take())?;
        let (rows, next) = reader.stored_rows(&all_of(self.run), &page).await?;
        let mut piece = String::new();
        for stored in &rows {
            let chunk = chunk_view(&stored.row)?;
            self.say_missing(&mut piece, chunk.sequence);
            self.next = chunk.sequence.saturating_add(1);
            if self.streams.is_empty() || self.streams.contains(&chunk.stream) {
                write_chunk(&mut piece, self.format, &chunk)?;
            }
        }
        self.has_ended = next.is_none();
        self.token = next;
        if self.has_ended {
            let sent = self.sent.unwrap_or(self.next);
            if self.extent == OutputExtent::Complete && self.next != sent {
                // Whoever was promised all of it has to see that it is not.
                return Err(Error::internal(format!(
                    "the output of run {} went while it was read",
                    self.run
                )));
            }
            self.say_missing(&mut piece, sent);
        }
        Ok(piece)
    }

    /// Says in a text that chunks before this one are not there; lines of JSON say it by their numbers.
    fn say_missing(&self, piece: &mut String, sequence: u32) {
        let missing = sequence.saturating_sub(self.next);
        if missing > 0 && self.format == OutputFormat::Text {
            piece.push_str(&format!("[{missing} chunks of output are not kept]\n"));
        }
    }
}

fn all_of(run: RunId) -> LaneQuery<Chunk> {
    LaneQuery::oldest_first().stream(run.uuid())
}

fn write_chunk(piece: &mut String, format: OutputFormat, chunk: &ChunkView) -> Result<()> {
    match format {
        OutputFormat::Text => piece.push_str(&chunk.text),
        OutputFormat::Ndjson => {
            piece.push_str(&serde_json::to_string(chunk).map_err(Error::internal)?);
            piece.push('\n');
        }
    }
    Ok(())
}
