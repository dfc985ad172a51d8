//! The rows of one lane.

use std::{
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use crate::store::{
    Direction, Filter, LaneSchema, Link, ReadRows, Result, Row, RowCursor, RowPage, StoredRow, Value, row_matches,
};

/// A place in the order of reading: time, stream, number.
type Place = (i64, Uuid, u32);

/// A value of a column, and the place of a row that has it. The value is behind a pointer: with one of its own in each entry,
/// copying a node would be as many allocations as it has entries.
type Entry = (Arc<Value>, i64, Uuid, u32);

/// The rows of one lane, by time and by stream, with one ordered index for each declared column.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) schema: Arc<LaneSchema>,
    pub(super) rows: OrdMap<Place, Arc<StoredRow>>,
    /// Their places by stream, time and number: the order of an export. Without the rows, since streams grow all over the order,
    /// and a node that a view shares is copied before it changes.
    pub(super) streams: OrdSet<(Uuid, i64, u32)>,
    /// By column.
    columns: Vec<OrdSet<Entry>>,
    /// The last link, in a chained lane.
    pub(super) head: Option<Link>,
}

impl Lane {
    pub(super) fn new(schema: Arc<LaneSchema>) -> Self {
        let columns = vec![OrdSet::new(); schema.columns.len()];
        Self {
            schema,
            rows: OrdMap::new(),
            streams: OrdSet::new(),
            columns,
            head: None,
        }
    }

    /// Takes over a new declaration; index values are computed anew where the columns differ.
    pub(super) fn redeclare(&mut self, schema: &Arc<LaneSchema>) -> Result<()> {
        if self.schema.columns == schema.columns {
            self.schema = schema.clone();
            return Ok(());
        }
        let mut filled = Self::new(schema.clone());
        filled.head = self.head;
        for stored in self.rows.values() {
            let index = schema.index(&stored.row.body)?;
            filled.insert(StoredRow {
                row: Row {
                    index,
                    ..stored.row.clone()
                },
                link: stored.link,
            });
        }
        *self = filled;
        Ok(())
    }

    pub(super) fn get(&self, row: &Row) -> Option<&Row> {
        self.rows.get(&place(row)).map(|stored| &stored.row)
    }

    /// Adds a new row, linked to the one before it where the lane is chained.
    pub(super) fn append(&mut self, row: Row) {
        let link = self.schema.chained.then(|| Link::after(self.head, &row));
        if link.is_some() {
            self.head = link;
        }
        self.insert(StoredRow { row, link });
    }

    /// Adds a row as it is.
    pub(super) fn insert(&mut self, stored: StoredRow) {
        let (at, stream, n) = place(&stored.row);
        for (entries, value) in self.columns.iter_mut().zip(&stored.row.index) {
            entries.insert((Arc::new(value.clone()), at, stream, n));
        }
        self.rows.insert((at, stream, n), Arc::new(stored));
        self.streams.insert((stream, at, n));
    }

    /// Removes the rows before a time.
    pub(super) fn trim(&mut self, before: i64) -> u64 {
        let old: Vec<Arc<StoredRow>> = self
            .rows
            .range((Unbounded, Excluded((before, Uuid::nil(), 0))))
            .map(|(_, stored)| stored.clone())
            .collect();
        old.iter().for_each(|stored| self.remove(place(&stored.row)));
        old.len() as u64
    }

    /// Removes a row, if it is there.
    pub(super) fn remove(&mut self, (at, stream, n): Place) {
        let Some(stored) = self.rows.remove(&(at, stream, n)) else {
            return;
        };
        for (entries, value) in self.columns.iter_mut().zip(&stored.row.index) {
            entries.remove(&(Arc::new(value.clone()), at, stream, n));
        }
        self.streams.remove(&(stream, at, n));
    }

    /// The row of a place.
    pub(super) fn at(&self, stream: Uuid, at: i64, n: u32) -> Option<&Arc<StoredRow>> {
        self.rows.get(&(at, stream, n))
    }

    /// A page of a reading that [`check_rows`](crate::store::check_rows) has passed.
    pub(super) fn read(&self, read: &ReadRows) -> RowPage {
        let mut low = Included((read.from.unwrap_or(i64::MIN), Uuid::nil(), 0));
        let mut high = read.to.map_or(Unbounded, |to| Excluded((to, Uuid::nil(), 0)));
        if let Some(RowCursor { at, stream, n }) = read.after {
            let after: Place = (at, stream, n);
            match read.direction {
                Direction::Ascending if matches!(low, Included(low) if low <= after) => low = Excluded(after),
                Direction::Descending if !matches!(high, Excluded(high) if high < after) => high = Excluded(after),
                _ => {}
            }
        }
        if let (Included(low) | Excluded(low), Excluded(high)) = (low, high)
            && low >= high
        {
            return RowPage {
                rows: Vec::new(),
                next: None,
            };
        }
        let hits: Vec<&Arc<StoredRow>> = if let Some(stream) = read.stream {
            // Within one stream a place is time and number; the exact bounds, with the stream, are tested on each row.
            let inside = move |at: i64, n: u32| {
                let here: Place = (at, stream, n);
                let above = match low {
                    Included(low) => here >= low,
                    Excluded(low) => here > low,
                    Unbounded => true,
                };
                above && !matches!(high, Excluded(high) if here >= high)
            };
            let from = match low {
                Included((at, ..)) | Excluded((at, ..)) => at,
                Unbounded => i64::MIN,
            };
            let to = match high {
                Included((at, ..)) | Excluded((at, ..)) => at,
                Unbounded => i64::MAX,
            };
            let rows = self
                .streams
                .range((Included((stream, from, 0)), Included((stream, to, u32::MAX))));
            let rows = rows
                .filter(move |(_, at, n)| inside(*at, *n))
                .filter_map(|(stream, at, n)| self.rows.get(&(*at, *stream, *n)));
            self.take(rows, read)
        } else if let Some((column, value)) = self.equal(&read.filter) {
            let value = Arc::new(value.clone());
            let tag = |(at, stream, n): Place| (value.clone(), at, stream, n);
            let last = Included((value.clone(), i64::MAX, Uuid::max(), u32::MAX));
            let high = match high {
                Excluded(high) => Excluded(tag(high)),
                Included(_) | Unbounded => last,
            };
            let entries = self.columns[column].range((low.map(tag), high));
            self.take(
                entries.filter_map(|(_, at, stream, n)| self.rows.get(&(*at, *stream, *n))),
                read,
            )
        } else {
            self.take(self.rows.range((low, high)).map(|(_, stored)| stored), read)
        };
        page(hits, read.limit)
    }

    /// The first rows that match in the direction asked for, and one more than the page holds.
    fn take<'s>(
        &'s self,
        rows: impl DoubleEndedIterator<Item = &'s Arc<StoredRow>>,
        read: &ReadRows,
    ) -> Vec<&'s Arc<StoredRow>> {
        let matches = |stored: &&Arc<StoredRow>| row_matches(&self.schema, &read.filter, &stored.row.index);
        match read.direction {
            Direction::Ascending => rows.filter(matches).take(read.limit + 1).collect(),
            Direction::Descending => rows.rev().filter(matches).take(read.limit + 1).collect(),
        }
    }

    /// The first equality that must hold: the entries of one value are in the order of reading already.
    fn equal<'f>(&self, filter: &'f Filter) -> Option<(usize, &'f Value)> {
        match filter {
            Filter::Eq(name, value) => Some((self.schema.position(name)?, value)),
            Filter::And(parts) => parts.iter().find_map(|part| self.equal(part)),
            _ => None,
        }
    }

    /// Whether the orders and indexes name exactly the rows that are there.
    pub(super) fn index_is_sound(&self) -> bool {
        let mut expected = Self::new(self.schema.clone());
        self.rows
            .values()
            .for_each(|stored| expected.insert((**stored).clone()));
        expected.columns == self.columns && expected.streams == self.streams && expected.rows == self.rows
    }
}

fn place(row: &Row) -> Place {
    (row.at, row.stream, row.n)
}

fn page(mut hits: Vec<&Arc<StoredRow>>, limit: usize) -> RowPage {
    let more = hits.len() > limit;
    hits.truncate(limit);
    let last = hits.last().filter(|_| more);
    RowPage {
        next: last.map(|stored| RowCursor {
            at: stored.row.at,
            stream: stored.row.stream,
            n: stored.row.n,
        }),
        rows: hits.into_iter().map(|stored| (**stored).clone()).collect(),
    }
}
