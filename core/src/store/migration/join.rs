//! Two stores, walked side by side in canonical order.

use std::{collections::VecDeque, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{MigrationError, Side};
use crate::store::{Backend, Error, Record, RecordKey, Result, Seq};

/// What a walk finds at one key.
#[derive(Debug)]
pub(super) enum Found {
    /// Both have it, alike or not.
    Both(Record, Record),
    /// Only the source has it.
    Missing(Record),
    /// Only the target has it.
    Surplus(Record),
}

/// What can be said without waiting.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, on the stack")]
pub(super) enum Step {
    Found(RecordKey, Found),
    /// A page has to come first.
    Wait,
    /// Both sides have ended.
    End,
}

/// A merge of both sides. Each side holds a page and reads ahead by one, both at once; each page is a view of its own, so that
/// no view is held for long.
pub(super) struct Join {
    source: Half,
    target: Half,
    reads: FuturesUnordered<BoxFuture<'static, Read>>,
    /// Records of one page. Backends end a page earlier when its bodies grow past [`crate::store::Patch::BYTES`].
    page: usize,
}

struct Read {
    side: Side,
    page: Result<(Seq, Vec<Record>)>,
}

struct Half {
    store: Option<Arc<dyn Backend>>,
    page: VecDeque<Record>,
    /// The page that was read ahead.
    ahead: Option<Vec<Record>>,
    /// The last key that was read.
    read_to: Option<RecordKey>,
    reading: bool,
    ended: bool,
    /// Where commit order stood when the last page was read.
    seq: Seq,
}

impl Half {
    fn new(store: Option<Arc<dyn Backend>>, after: Option<RecordKey>) -> Self {
        Self {
            ended: store.is_none(),
            store,
            page: VecDeque::new(),
            ahead: None,
            read_to: after,
            reading: false,
            seq: 0,
        }
    }

    /// The next record's key, once it is known; `Err` when a page has to come first.
    fn front(&mut self) -> Result<Option<RecordKey>, ()> {
        if self.page.is_empty()
            && let Some(ahead) = self.ahead.take()
        {
            self.page = ahead.into();
        }
        match self.page.front() {
            Some(record) => Ok(record.key()),
            None if self.ended => Ok(None),
            None => Err(()),
        }
    }

    fn read(&mut self, side: Side, limit: usize) -> Option<BoxFuture<'static, Read>> {
        if self.reading || self.ended || self.ahead.is_some() {
            return None;
        }
        let (store, after) = (Arc::clone(self.store.as_ref()?), self.read_to);
        self.reading = true;
        let page = async move {
            // A store in memory answers at once; others on this thread want their turn, too.
            tokio::task::yield_now().await;
            let mut view = store.view().await?;
            let records = view.records(after, limit).await?;
            Ok((view.seq(), records))
        };
        Some(page.map(move |page| Read { side, page }).boxed())
    }

    fn take(&mut self, (seq, records): (Seq, Vec<Record>)) -> Result<()> {
        self.reading = false;
        self.seq = seq;
        self.ended = records.is_empty();
        self.read_to = in_order(self.read_to, &records)?;
        if !records.is_empty() {
            self.ahead = Some(records);
        }
        Ok(())
    }
}

impl Join {
    /// Both sides behind a key; a side that is left out is empty.
    pub(super) fn new(
        source: &Arc<dyn Backend>,
        target: Option<&Arc<dyn Backend>>,
        after: Option<RecordKey>,
        page: usize,
    ) -> Self {
        Self {
            source: Half::new(Some(Arc::clone(source)), after),
            target: Half::new(target.cloned(), after),
            reads: FuturesUnordered::new(),
            page,
        }
    }

    /// Where commit order stood in the source when its last page was read: no record given out is of a later commit.
    pub(super) fn source_seq(&self) -> Seq {
        self.source.seq
    }

    /// Where commit order stood in the target when its last page was read.
    pub(super) fn target_seq(&self) -> Seq {
        self.target.seq
    }

    /// What comes next, if that is known.
    pub(super) fn step(&mut self) -> Step {
        let (Ok(source), Ok(target)) = (self.source.front(), self.target.front()) else {
            return Step::Wait;
        };
        let from_source = source.is_some() && (target.is_none() || source <= target);
        let from_target = target.is_some() && (source.is_none() || target <= source);
        let ours = from_source.then(|| self.source.page.pop_front()).flatten();
        let theirs = from_target.then(|| self.target.page.pop_front()).flatten();
        match (source.filter(|_| from_source).or(target), ours, theirs) {
            (Some(key), Some(ours), Some(theirs)) => Step::Found(key, Found::Both(ours, theirs)),
            (Some(key), Some(ours), None) => Step::Found(key, Found::Missing(ours)),
            (Some(key), None, Some(theirs)) => Step::Found(key, Found::Surplus(theirs)),
            _ => Step::End,
        }
    }

    /// Reads on; returns after a page came. Never returns when there is nothing to read: wait for something else beside it.
    pub(super) async fn fetch(&mut self) -> Result<(), MigrationError> {
        self.reads.extend(self.source.read(Side::Source, self.page));
        self.reads.extend(self.target.read(Side::Target, self.page));
        match self.reads.next().await {
            None => futures::future::pending().await,
            Some(Read { side, page }) => {
                let half = match side {
                    Side::Source => &mut self.source,
                    Side::Target => &mut self.target,
                };
                page.and_then(|page| half.take(page)).map_err(MigrationError::of(side))
            }
        }
    }

    /// What comes next; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<(RecordKey, Found)>, MigrationError> {
        loop {
            match self.step() {
                Step::Found(key, found) => return Ok(Some((key, found))),
                Step::Wait => self.fetch().await?,
                Step::End => return Ok(None),
            }
        }
    }
}

/// Whether a page begins behind a key and is in order; returns its last key, or the one before it when the page is empty. Without this
/// a store that answers out of order could keep a walk from ending, or make it pass records by.
pub(super) fn in_order(mut after: Option<RecordKey>, page: &[Record]) -> Result<Option<RecordKey>> {
    for record in page {
        let key = record.key();
        if key.is_none() || key <= after {
            let key = key.map_or_else(|| "an end".to_owned(), |key| key.to_string());
            return Err(Error::Corrupt(format!("records are out of order at {key}")));
        }
        after = key;
    }
    Ok(after)
}

/// Whether two records of one key hold the same. Index values follow from bodies and are not looked at.
pub(super) fn alike(one: &Record, other: &Record) -> bool {
    match (one, other) {
        (Record::Doc(one), Record::Doc(other)) => one == other,
        (Record::Latest(one), Record::Latest(other)) => one == other,
        (Record::Row(lane, one), Record::Row(other_lane, other)) => {
            (lane, one.row.stream, one.row.at, one.row.n) == (other_lane, other.row.stream, other.row.at, other.row.n)
                && one.row.body == other.row.body
                && one.link == other.link
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Key, Latest};

    fn latest(id: u128, body: &'static str) -> Record {
        let key = Key::new("gauge", uuid::Uuid::from_u128(id));
        Record::Latest(Latest { key, body: body.into() })
    }

    /// A join of pages that are there already.
    fn join(source: &[Record], target: &[Record]) -> Join {
        let half = |records: &[Record]| Half {
            page: records.to_vec().into(),
            ..Half::new(None, None)
        };
        Join {
            source: half(source),
            target: half(target),
            reads: FuturesUnordered::new(),
            page: 10,
        }
    }

    #[test]
    fn both_sides_are_merged_in_order() {
        let mut join = join(
            &[latest(1, "a"), latest(2, "b"), latest(5, "e")],
            &[latest(2, "b"), latest(3, "c"), latest(5, "x"), latest(9, "z")],
        );
        let mut told = Vec::new();
        while let Step::Found(key, found) = join.step() {
            let how = match found {
                Found::Both(one, other) if alike(&one, &other) => "equal",
                Found::Both(..) => "unlike",
                Found::Missing(_) => "missing",
                Found::Surplus(_) => "surplus",
            };
            let RecordKey::Latest(key) = key else { panic!("{key}") };
            told.push((key.id.as_u128(), how));
        }
        assert_eq!(
            told,
            [
                (1, "missing"),
                (2, "equal"),
                (3, "surplus"),
                (5, "unlike"),
                (9, "surplus")
            ]
        );
    }

    #[test]
    fn a_page_out_of_order_is_refused() {
        let mut half = Half::new(None, latest(3, "").key());
        for page in [vec![latest(3, "")], vec![latest(5, ""), latest(4, "")]] {
            assert!(matches!(half.take((1, page)), Err(Error::Corrupt(_))));
        }
    }
}
