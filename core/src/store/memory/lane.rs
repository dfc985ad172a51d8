//! The rows of one lane.

use std::{
    ops::Bound::{self, Excluded, Included, Unbounded},
    sync::Arc,
};

use imbl::OrdMap;
use uuid::Uuid;

use super::orders::{Orders, Place, StreamPlace, place};
use crate::store::{
    Direction, Filter, LaneSchema, Link, ReadRows, Result, Row, RowCursor, RowPage, StoredRow, Value, link_over_losses,
    row_matches,
};

/// The rows of one lane, by time, and their places in other orders.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) schema: Arc<LaneSchema>,
    pub(super) rows: OrdMap<Place, Arc<StoredRow>>,
    orders: Orders,
    /// The last link, in a chained lane.
    pub(super) head: Option<Link>,
}

impl Lane {
    pub(super) fn new(schema: Arc<LaneSchema>) -> Self {
        Self {
            orders: Orders::new(schema.columns.len()),
            schema,
            rows: OrdMap::new(),
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
        self.rows.get(&(row.at, row.stream, row.n)).map(|stored| &stored.row)
    }

    /// Adds a new row, linked to the one before it where the lane is chained.
    pub(super) fn append(&mut self, row: Row) {
        let link = self.schema.chained.then(|| Link::after(self.head, &row));
        if link.is_some() {
            self.head = link;
        }
        self.insert(StoredRow { row, link });
    }

    /// The number of the last link; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.head.map_or(0, |link| link.number)
    }

    /// Leaves the numbers up to this one to rows that are lost.
    pub(super) fn move_on(&mut self, number: u64) {
        if self.number() < number {
            self.head = Some(Link::moved_on(self.head, number));
        }
    }

    /// Links the rows anew over those that are lost.
    pub(super) fn link_over_losses(&mut self) {
        let numbered = |(place, stored): (&Place, &Arc<StoredRow>)| Some((stored.link?, *place, stored.clone()));
        let mut rows: Vec<_> = self.rows.iter().filter_map(numbered).collect();
        rows.sort_unstable_by_key(|(link, ..)| link.number);
        let links = link_over_losses(rows.iter().map(|(link, _, stored)| (&stored.row, *link)));
        let number = self.number();
        self.head = links.last().copied();
        self.move_on(number);
        for ((was, place, stored), link) in rows.into_iter().zip(links) {
            if was != link {
                let row = stored.row.clone();
                self.rows.insert(place, Arc::new(StoredRow { row, link: Some(link) }));
            }
        }
    }

    /// Adds a row as it is.
    pub(super) fn insert(&mut self, stored: StoredRow) {
        let stored = Arc::new(stored);
        if let Some(old) = self.rows.insert(place(&stored), Arc::clone(&stored)) {
            self.orders.remove(&old);
        }
        self.orders.add(stored);
    }

    /// Removes the rows before a time.
    pub(super) fn trim(&mut self, before: i64) -> u64 {
        let old: Vec<Arc<StoredRow>> = self
            .rows
            .range((Unbounded, Excluded((before, Uuid::nil(), 0))))
            .map(|(_, stored)| stored.clone())
            .collect();
        old.iter().for_each(|stored| self.remove(place(stored)));
        old.len() as u64
    }

    /// Removes a row, if it is there.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(stored) = self.rows.remove(&place) {
            self.orders.remove(&stored);
        }
    }

    /// The places from a bound on, in the order of an export.
    pub(super) fn places(&self, from: Bound<StreamPlace>) -> impl Iterator<Item = StreamPlace> + '_ {
        self.orders.from(from)
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
            let places = self.orders.of_stream(stream, (from, to), read.direction);
            let places = places.filter(move |(at, _, n)| inside(*at, *n));
            self.take(places.filter_map(|place| self.rows.get(&place)), read)
        } else if let Some((column, value)) = self.equal(&read.filter) {
            let places = self.orders.with_value(column, value, (low, high), read.direction);
            self.take(places.filter_map(|place| self.rows.get(&place)), read)
        } else {
            let rows = self.rows.range((low, high)).map(|(_, stored)| stored);
            match read.direction {
                Direction::Ascending => self.take(rows, read),
                Direction::Descending => self.take(rows.rev(), read),
            }
        };
        page(hits, read.limit)
    }

    /// The first rows that match, and one more than the page holds; they come in the direction asked for.
    fn take<'s>(&'s self, rows: impl Iterator<Item = &'s Arc<StoredRow>>, read: &ReadRows) -> Vec<&'s Arc<StoredRow>> {
        rows.filter(|stored| row_matches(&self.schema, &read.filter, &stored.row.index))
            .take(read.limit + 1)
            .collect()
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
        expected.orders.settle();
        let mut orders = self.orders.clone();
        orders.settle();
        expected.orders == orders && expected.rows == self.rows
    }
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
