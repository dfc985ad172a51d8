//! Copying into an empty target, and reading it back: for a source that stands still.
//!
//! ```text
//!   read a page ─▶ add it up ─▶ store it            copying: what is read once is summed up and stored
//!   read a range, several at once ─▶ add it up      reading back: the same ranges, from the target
//! ```
//!
//! All steps work at the same time, on different pages, with a page or two between them.
//!
//! # Why one reading of each side proves as much as a walk over both
//!
//! The source is frozen: what was read while it was copied is what it holds. The digest of it was taken from the pages before they
//! were sent, and the target's is taken from what it answers after all of it was stored. Equal digests, counts and places in
//! commit order are equal contents; the target has nothing behind the last record. Where they are not equal both are walked side by
//! side, which names the first record that differs.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{StreamExt as _, stream};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Contents, Meter, MigrationError, Patcher, Side, Tally, join::in_order};
use crate::store::{Backend, Error, Record, RecordKey, Result, Seq};

/// Pages that wait between two steps.
const WAITING: usize = 1;

/// Ranges of the target that are read at once.
const RANGES: usize = 3;

/// Records that were read from the source at once, and are read back at once.
#[derive(Clone, Copy, Debug)]
struct Range {
    after: Option<RecordKey>,
    last: RecordKey,
    records: usize,
}

/// What was poured.
pub(super) struct Poured {
    ranges: Vec<Range>,
    /// What the source holds.
    pub(super) contents: Contents,
}

/// A task of the runtime that ends when nobody waits for it any more.
struct Task<T>(JoinSet<Result<T>>);

impl<T: Send + 'static> Task<T> {
    fn spawn(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        let mut set = JoinSet::new();
        set.spawn(future);
        Self(set)
    }

    fn blocking(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let mut set = JoinSet::new();
        set.spawn_blocking(move || Ok(work()));
        Self(set)
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_join_next(context).map(|ended| match ended {
            Some(Ok(result)) => result,
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(Error::Unavailable(Box::new(error))),
            },
            None => Err(Error::Unavailable("a task was asked twice for its end".into())),
        })
    }
}

/// Copies everything into a target that holds nothing. The source stands still, at `seq`.
pub(super) async fn pour(
    source: &Arc<dyn Backend>,
    seq: Seq,
    patcher: &mut Patcher,
    meter: &mut Meter,
) -> Result<Poured, MigrationError> {
    let of_source = MigrationError::of(Side::Source);
    let (read, to_add) = mpsc::channel(WAITING);
    let (added, mut to_store) = mpsc::channel(WAITING);
    let reading = Task::spawn(read_all(Arc::clone(source), patcher.page(), read));
    let adding = Task::blocking(move || add_up(to_add, &added));
    while let Some(page) = patcher.beside(to_store.recv()).await? {
        let page: Vec<Record> = page;
        patcher.copied.added += page.len() as u64;
        meter.page(&page);
        for record in page {
            if patcher.is_full(record.size()) {
                patcher.hand_over(seq).await?;
            }
            patcher.put(record);
        }
    }
    reading.await.map_err(&of_source)?;
    let (ranges, tally) = adding.await.map_err(&of_source)?;
    patcher.finish(seq).await?;
    meter.tell();
    let contents = tally.end(seq);
    Ok(Poured { ranges, contents })
}

async fn read_all(store: Arc<dyn Backend>, limit: usize, to: mpsc::Sender<Vec<Record>>) -> Result<()> {
    let mut after = None;
    loop {
        let page = store.view().await?.records(after, limit).await?;
        after = in_order(after, &page)?;
        // Nobody takes it when the move has failed elsewhere.
        if page.is_empty() || to.send(page).await.is_err() {
            return Ok(());
        }
    }
}

/// Adds up the pages on their way.
fn add_up(mut pages: mpsc::Receiver<Vec<Record>>, to: &mpsc::Sender<Vec<Record>>) -> (Vec<Range>, Tally) {
    let (mut ranges, mut tally): (Vec<Range>, _) = (Vec::new(), Tally::default());
    while let Some(page) = pages.blocking_recv() {
        tally.page(&page);
        ranges.extend(page.last().and_then(Record::key).map(|last| Range {
            after: ranges.last().map(|range| range.last),
            last,
            records: page.len(),
        }));
        if to.blocking_send(page).is_err() {
            break;
        }
    }
    (ranges, tally)
}

/// Reads back what was poured; what the target holds, as far as it was looked at, and whether that is the same.
pub(super) async fn read_back(
    target: &Arc<dyn Backend>,
    poured: &Poured,
    limit: usize,
    meter: &mut Meter,
) -> Result<bool, MigrationError> {
    let of_target = MigrationError::of(Side::Target);
    let seq = poured.contents.seq;
    let (read, mut to_add) = mpsc::channel::<Vec<Record>>(WAITING);
    let adding = Task::blocking(move || {
        let mut tally = Tally::default();
        while let Some(page) = to_add.blocking_recv() {
            tally.page(&page);
        }
        tally
    });
    let mut pages = stream::iter(poured.ranges.clone())
        .map(|range| Task::spawn(read_range(Arc::clone(target), range, limit, seq)))
        .buffered(RANGES);
    let mut same = true;
    while let Some(page) = pages.next().await {
        let Some(page) = page.map_err(&of_target)? else {
            same = false;
            break;
        };
        meter.page(&page);
        // It takes pages until there are no more.
        let _ = read.send(page).await;
    }
    drop(pages);
    drop(read);
    meter.tell();
    let tally = adding.await.map_err(&of_target)?;
    if !same || tally.end(seq) != poured.contents {
        return Ok(false);
    }
    let last = poured.ranges.last().map(|range| range.last);
    let mut view = target.view().await.map_err(&of_target)?;
    let surplus = view.records(last, 1).await.map_err(&of_target)?;
    Ok(surplus.is_empty() && view.seq() == seq)
}

/// The records of a range; none when they are not those that were stored, as far as that shows by keys.
async fn read_range(store: Arc<dyn Backend>, range: Range, limit: usize, seq: Seq) -> Result<Option<Vec<Record>>> {
    let mut records: Vec<Record> = Vec::new();
    let mut after = range.after;
    while records.len() < range.records {
        let mut view = store.view().await?;
        let page = view.records(after, limit.min(range.records - records.len())).await?;
        if page.is_empty() || view.seq() != seq {
            return Ok(None);
        }
        after = in_order(after, &page)?;
        if records.is_empty() {
            records = page;
        } else {
            records.extend(page);
        }
    }
    Ok((after == Some(range.last)).then_some(records))
}
