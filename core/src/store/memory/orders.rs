//! The orders of a lane's rows besides time: by stream, and by each declared column.

use std::{
    iter::from_fn,
    ops::{Bound, RangeBounds as _},
    sync::Arc,
};

use imbl::{OrdSet, Vector};
use uuid::Uuid;

use super::held::Held;
use crate::store::{Direction, StoredRow, Value};

/// Rows that wait to be put in order; with more of them they are. Readers look at each of them, which takes microseconds.
const RECENT: usize = 4_096;

/// A place in the order of reading: time, stream, number.
pub(super) type Place = (i64, Uuid, u32);

/// A place in the order of streams: stream, time, number. That is the order of an export.
pub(super) type StreamPlace = (Uuid, i64, u32);

/// A value of a column, and the place of a row that has it.
type Entry = (Held, i64, Uuid, u32);

/// The orders. They hold places and not rows: rows of one group belong all over an order, and a node that a view shares is copied
/// before it changes. For the same reason new rows are put in order by the thousand: their nodes are copied once for all of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Orders {
    streams: OrdSet<StreamPlace>,
    columns: Vec<OrdSet<Entry>>,
    /// What the two do not have yet, as it came.
    recent: Vector<Arc<StoredRow>>,
}

impl Orders {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            streams: OrdSet::new(),
            columns: vec![OrdSet::new(); columns],
            recent: Vector::new(),
        }
    }

    /// Adds a row whose place is not there.
    pub(super) fn add(&mut self, stored: Arc<StoredRow>) {
        self.recent.push_back(stored);
        if self.recent.len() >= RECENT {
            self.settle();
        }
    }

    /// Removes a row that is there.
    pub(super) fn remove(&mut self, stored: &StoredRow) {
        self.settle();
        let (at, stream, n) = place(stored);
        self.streams.remove(&(stream, at, n));
        for (entries, value) in self.columns.iter_mut().zip(&stored.row.index) {
            entries.remove(&(value.into(), at, stream, n));
        }
    }

    /// Puts everything in order.
    pub(super) fn settle(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let recent = std::mem::take(&mut self.recent);
        // In order, so that what is next to each other is put there at one time.
        let mut places: Vec<StreamPlace> = recent.iter().map(|stored| stream_place(stored)).collect();
        places.sort_unstable();
        self.streams.extend(places);
        for (column, entries) in self.columns.iter_mut().enumerate() {
            let entry = |stored: &Arc<StoredRow>| {
                let (at, stream, n) = place(stored);
                Some((stored.row.index.get(column)?.into(), at, stream, n))
            };
            let mut new: Vec<Entry> = recent.iter().filter_map(entry).collect();
            new.sort_unstable();
            entries.extend(new);
        }
    }

    /// All places from a bound on, in the order of streams.
    pub(super) fn from(&self, from: Bound<StreamPlace>) -> impl Iterator<Item = StreamPlace> + '_ {
        let range = (from, Bound::Unbounded);
        let recent = self.recent.iter().map(|stored| stream_place(stored));
        let recent = sorted(recent.filter(|place| range.contains(place)), FORWARDS);
        merged(self.streams.range(range).copied(), recent, FORWARDS)
    }

    /// The places of one stream within some time, both ends included.
    pub(super) fn of_stream(
        &self,
        stream: Uuid,
        (from, to): (i64, i64),
        direction: Direction,
    ) -> impl Iterator<Item = Place> + '_ {
        let range = (stream, from, 0)..=(stream, to, u32::MAX);
        let recent = self.recent.iter().map(|stored| stream_place(stored));
        let recent = sorted(recent.filter(|place| range.contains(place)), direction);
        let settled = directed(self.streams.range(range.clone()).copied(), direction);
        merged(settled, recent, direction).map(|(stream, at, n)| (at, stream, n))
    }

    /// The places of the rows that have a value in a column.
    pub(super) fn with_value(
        &self,
        column: usize,
        value: &Value,
        (low, high): (Bound<Place>, Bound<Place>),
        direction: Direction,
    ) -> impl Iterator<Item = Place> + '_ {
        let has = |stored: &&Arc<StoredRow>| stored.row.index.get(column) == Some(value);
        let recent = self.recent.iter().filter(has).map(|stored| place(stored));
        let recent = recent.filter(|place| (low, high).contains(place));
        let recent = sorted(recent, direction);
        let value = Held::from(value);
        let entry = |(at, stream, n): Place| (value.clone(), at, stream, n);
        let low = match low {
            Bound::Unbounded => Bound::Included(entry((i64::MIN, Uuid::nil(), 0))),
            low => low.map(entry),
        };
        let high = match high {
            Bound::Unbounded => Bound::Included(entry((i64::MAX, Uuid::max(), u32::MAX))),
            high => high.map(entry),
        };
        let settled = self.columns.get(column).into_iter();
        let settled = settled.flat_map(move |entries| {
            let places = entries.range((low.clone(), high.clone()));
            directed(places.map(|(_, at, stream, n)| (*at, *stream, *n)), direction)
        });
        merged(settled, recent, direction)
    }
}

const FORWARDS: Direction = Direction::Ascending;

pub(super) fn place(stored: &StoredRow) -> Place {
    (stored.row.at, stored.row.stream, stored.row.n)
}

fn stream_place(stored: &StoredRow) -> StreamPlace {
    (stored.row.stream, stored.row.at, stored.row.n)
}

fn sorted<T: Ord>(places: impl Iterator<Item = T>, direction: Direction) -> std::vec::IntoIter<T> {
    let mut places: Vec<T> = places.collect();
    places.sort_unstable();
    if direction == Direction::Descending {
        places.reverse();
    }
    places.into_iter()
}

fn directed<'i, T: 'i>(
    places: impl DoubleEndedIterator<Item = T> + 'i,
    direction: Direction,
) -> Box<dyn Iterator<Item = T> + 'i> {
    match direction {
        Direction::Ascending => Box::new(places),
        Direction::Descending => Box::new(places.rev()),
    }
}

/// Two that are in order, as one that is.
fn merged<T: Ord>(
    one: impl Iterator<Item = T>,
    other: impl Iterator<Item = T>,
    direction: Direction,
) -> impl Iterator<Item = T> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    from_fn(move || {
        let first = match (one.peek(), other.peek()) {
            (Some(left), Some(right)) => match direction {
                Direction::Ascending => left < right,
                Direction::Descending => left > right,
            },
            (left, _) => left.is_some(),
        };
        if first { one.next() } else { other.next() }
    })
}

#[cfg(test)]
mod tests {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::store::Row;

    /// Row number `n` of a few streams, times and values.
    fn row(n: u16) -> Arc<StoredRow> {
        let value = match n % 5 {
            0 => Value::Null,
            1 => Value::from("a"),
            _ => Value::from("b"),
        };
        let row = Row {
            stream: Uuid::from_u128(u128::from(n % 3)),
            at: i64::from(n % 7) - 3,
            n: u32::from(n),
            body: Bytes::from_static(b"{}"),
            index: vec![value],
        };
        Arc::new(StoredRow { row, link: None })
    }

    /// What is done to a set of rows.
    #[derive(Clone, Debug)]
    enum Step {
        Add(u16),
        Remove(u16),
        Settle,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..60_u16).prop_map(Step::Add),
            1 => (0..60_u16).prop_map(Step::Remove),
            1 => Just(Step::Settle),
        ];
        vec(step, 0..120)
    }

    fn in_direction<T: Ord>(mut all: Vec<T>, direction: Direction) -> Vec<T> {
        all.sort_unstable();
        if direction == Direction::Descending {
            all.reverse();
        }
        all
    }

    proptest! {
        #[test]
        fn whatever_is_settled_the_orders_are_those_of_the_rows(steps in steps(), from in 0..60_u16) {
            let (mut orders, mut rows) = (Orders::new(1), Vec::<Arc<StoredRow>>::new());
            for step in steps {
                match step {
                    Step::Add(n) if rows.contains(&row(n)) => {}
                    Step::Add(n) => {
                        orders.add(row(n));
                        rows.push(row(n));
                    }
                    Step::Remove(n) => {
                        if rows.contains(&row(n)) {
                            orders.remove(&row(n));
                        }
                        rows.retain(|there| *there != row(n));
                    }
                    Step::Settle => orders.settle(),
                }
            }
            let from = row(from);
            let behind: Vec<_> = orders.from(Excluded(stream_place(&from))).collect();
            let expected = rows.iter().map(|row| stream_place(row)).filter(|place| *place > stream_place(&from));
            prop_assert_eq!(behind, in_direction(expected.collect(), FORWARDS));
            for direction in [Direction::Ascending, Direction::Descending] {
                let stream: Vec<_> = orders.of_stream(from.row.stream, (-2, 2), direction).collect();
                let within = |row: &&Arc<StoredRow>| row.row.stream == from.row.stream && (-2..=2).contains(&row.row.at);
                let expected = rows.iter().filter(within).map(|row| place(row));
                prop_assert_eq!(stream, in_direction(expected.collect(), direction));
                for range in [(Unbounded, Unbounded), (Included(place(&from)), Unbounded), (Unbounded, Excluded(place(&from)))] {
                    let value = &from.row.index[0];
                    let having: Vec<_> = orders.with_value(0, value, range, direction).collect();
                    let has = |row: &&Arc<StoredRow>| row.row.index[0] == *value && range.contains(&place(row));
                    let expected = rows.iter().filter(has).map(|row| place(row));
                    prop_assert_eq!(having, in_direction(expected.collect(), direction));
                }
            }
        }
    }

    #[test]
    fn new_rows_are_put_in_order_by_the_thousand() {
        let mut orders = Orders::new(1);
        let add = |orders: &mut Orders, numbers: std::ops::Range<usize>| {
            numbers.for_each(|n| orders.add(row(u16::try_from(n).unwrap())));
        };
        add(&mut orders, 0..RECENT - 1);
        assert_eq!((orders.recent.len(), orders.streams.len()), (RECENT - 1, 0));
        add(&mut orders, RECENT - 1..RECENT + 1);
        assert_eq!((orders.recent.len(), orders.streams.len()), (1, RECENT));
    }
}
