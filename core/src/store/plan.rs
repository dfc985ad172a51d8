//! Which way a list or a lane is read: the part of planning that backends on an SQL engine share. Pure; answers never depend
//! on the way.
//!
//! A list walks the index of its order and checks the filter on the way, unless a part of the filter is met by so few
//! documents that sorting those is cheaper: then it starts from them. How many they are is asked first, up to [`FEW`].

use std::cmp::Ordering;

use uuid::Uuid;

use super::{Column, Cursor, Direction, Filter, Find, KindSchema, Name, ReadRows, RowCursor, Value};

/// Up to this many documents or rows are sorted rather than met on a walk.
pub const FEW: i64 = 2_000;

/// Parts of a filter that are asked for their number.
const PROBES: usize = 8;

/// What is tested of one value.
#[derive(Clone, Copy, Debug)]
pub enum Test<'f> {
    /// It is this.
    Eq(&'f Value),
    /// It is one of these.
    In(&'f [Value]),
    /// It is at least the first and below the second.
    Range(Option<&'f Value>, Option<&'f Value>),
    /// It begins with this.
    Prefix(&'f str),
}

/// The column and the test of a filter that is a single test.
pub fn as_test(filter: &Filter) -> Option<(Name, Test<'_>)> {
    match filter {
        Filter::Eq(_, Value::Null) => None,
        Filter::Eq(name, value) => Some((name, Test::Eq(value))),
        Filter::In(name, values) => Some((name, Test::In(values))),
        Filter::Range(name, from, to) => Some((name, Test::Range(from.as_ref(), to.as_ref()))),
        Filter::Prefix(name, prefix) => Some((name, Test::Prefix(prefix))),
        Filter::All | Filter::And(_) | Filter::Or(_) | Filter::Not(_) => None,
    }
}

/// The parts of a filter that must all hold.
pub fn conjuncts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::All => Vec::new(),
        Filter::And(parts) => parts.iter().flat_map(conjuncts).collect(),
        part => vec![part],
    }
}

/// The first text after all those that begin with `prefix`; none where there is no such text. Texts are ordered by their
/// UTF-8 bytes, which is the order of their characters.
pub fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = match last {
            // The characters from U+D800 to U+DFFF do not exist.
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// A way to read a list of documents.
#[derive(Clone, Copy, Debug)]
pub enum Way<'f> {
    /// Along an index whose order is the list's.
    Walk,
    /// Along a composite index that holds some of the filter and then the order.
    Composite(&'f [Name]),
    /// Along one value of a many-valued column; only for lists by id.
    Value(&'f Filter),
    /// From the documents that meet a part of the filter, sorted afterwards.
    From(&'f Filter),
}

/// A stretch of a list: where null is met on the way it is a stretch of its own, so that each is one range of an index.
#[derive(Clone, Debug)]
pub enum Stretch {
    /// From its beginning.
    Whole,
    /// After an id, in a list by id.
    AfterId(Cursor),
    /// After a value, as far as values go.
    After(Cursor),
    /// After an id among those without a value.
    AfterNull(Cursor),
    /// All without a value.
    Null,
    /// All with a value.
    NotNull,
}

/// A list of one kind, before its way is chosen.
#[derive(Clone, Debug)]
pub struct ListPlan<'f> {
    /// The kind.
    pub kind: &'f KindSchema,
    /// What is asked for.
    pub find: &'f Find,
    /// The column of its order; none: by id.
    pub order: Option<&'f Column>,
    /// The parts of the filter, all of which must hold.
    pub parts: Vec<&'f Filter>,
}

impl<'f> ListPlan<'f> {
    /// A checked list.
    pub fn new(kind: &'f KindSchema, find: &'f Find, order: Option<&'f Column>) -> Self {
        Self {
            kind,
            find,
            order,
            parts: conjuncts(&find.filter),
        }
    }

    /// Whether it goes downwards.
    pub fn descending(&self) -> bool {
        self.find
            .order
            .is_some_and(|term| term.direction == Direction::Descending)
    }

    /// Whether a part is a range of the order column.
    pub fn ranges_order(&self, part: &Filter) -> bool {
        as_test(part)
            .is_some_and(|(column, test)| self.is_order(column) && matches!(test, Test::Range(..) | Test::Prefix(_)))
    }

    fn is_order(&self, column: Name) -> bool {
        self.order.is_some_and(|order| order.name == column)
    }

    fn column(&self, name: Name) -> Option<&'f Column> {
        self.kind.columns.iter().find(|column| column.name == name)
    }

    /// The parts that a list may start from: single tests, and choices between single tests.
    fn candidates(&self) -> Vec<&'f Filter> {
        let testable = |part: &&Filter| match part {
            Filter::Or(parts) => {
                (1..=PROBES).contains(&parts.len()) && parts.iter().all(|part| as_test(part).is_some())
            }
            // A range of the order itself is a part of the walk.
            part => as_test(part).is_some() && !self.ranges_order(part),
        };
        self.parts.iter().copied().filter(testable).take(PROBES).collect()
    }

    /// A part that at most one document meets.
    fn unique(&self) -> Option<&'f Filter> {
        self.parts.iter().copied().find(|part| {
            matches!(part, Filter::Eq(column, value) if *value != Value::Null
                && self.column(column).is_some_and(|declared| declared.unique))
        })
    }

    /// Whether a walk meets exactly the documents that meet this part.
    fn walks(way: Way<'_>, part: &Filter) -> bool {
        match way {
            Way::Composite(columns) => {
                matches!(part, Filter::Eq(name, value) if columns.contains(name) && *value != Value::Null)
            }
            Way::Value(value) => std::ptr::eq(value, part),
            Way::Walk | Way::From(_) => false,
        }
    }

    /// The way, where no numbers are needed to choose it; else the walk and the parts to ask for their numbers.
    pub fn choose(&self) -> Result<Way<'f>, (Way<'f>, Vec<&'f Filter>)> {
        if let Some(part) = self.unique() {
            return Ok(Way::From(part));
        }
        let walk = self.walk();
        let mut candidates = self.candidates();
        candidates.retain(|part| !Self::walks(walk, part));
        if candidates.is_empty() {
            Ok(walk)
        } else {
            Err((walk, candidates))
        }
    }

    /// The way, once it is known how many documents meet each of the parts (at most one more than [`FEW`]).
    pub fn narrowest(walk: Way<'f>, candidates: Vec<&'f Filter>, counts: &[i64]) -> Way<'f> {
        let few = candidates.into_iter().zip(counts).filter(|(_, count)| **count <= FEW);
        few.min_by_key(|(_, count)| **count)
            .map_or(walk, |(part, _)| Way::From(part))
    }

    /// The best walk.
    fn walk(&self) -> Way<'f> {
        let equal = |column: &Name| {
            self.parts
                .iter()
                .any(|part| matches!(part, Filter::Eq(name, value) if name == column && *value != Value::Null))
        };
        let singles = self
            .kind
            .columns
            .iter()
            .filter(|column| self.order.is_none() && !column.many)
            .map(|column| std::slice::from_ref(&column.name));
        let serves = |columns: &&[Name]| match self.order {
            None => columns.iter().all(equal),
            Some(order) => columns
                .split_last()
                .is_some_and(|(last, first)| *last == order.name && !first.is_empty() && first.iter().all(equal)),
        };
        let composites = self.kind.indexes.iter().map(Vec::as_slice);
        // The more of the filter it holds, the better.
        if let Some(columns) = composites
            .chain(singles)
            .filter(serves)
            .max_by_key(|columns| columns.len())
        {
            return Way::Composite(columns);
        }
        let value = self.parts.iter().copied().find(|part| match part {
            Filter::Eq(column, value) => *value != Value::Null && self.column(column).is_some_and(|column| column.many),
            _ => false,
        });
        match value {
            Some(part) if self.order.is_none() => Way::Value(part),
            _ => Way::Walk,
        }
    }

    /// What makes the page, to be read in turn until it is full.
    pub fn stretches(&self) -> Vec<Stretch> {
        match (self.order, &self.find.after) {
            (None, None) | (Some(_), None) => vec![Stretch::Whole],
            (None, Some(cursor)) => vec![Stretch::AfterId(cursor.clone())],
            (Some(_), Some(cursor)) => {
                let within = match cursor.value {
                    Value::Null => Stretch::AfterNull(cursor.clone()),
                    _ => Stretch::After(cursor.clone()),
                };
                match (self.descending(), &cursor.value) {
                    (false, Value::Null) => vec![within, Stretch::NotNull],
                    (true, Value::Null) | (false, _) => vec![within],
                    (true, _) => vec![within, Stretch::Null],
                }
            }
        }
    }
}

/// A way to read a lane: it has three orders that are the one asked for.
#[derive(Clone, Copy, Debug)]
pub enum RowWay<'f> {
    /// Along time.
    Time,
    /// Along one stream.
    Stream,
    /// Along one value of a column, or, for a few rows, from some values, sorted afterwards.
    Column(Name, &'f Filter),
}

/// The ways to choose among for a reading.
pub fn row_ways(read: &ReadRows) -> Vec<RowWay<'_>> {
    let mut ways = vec![match read.stream {
        Some(_) => RowWay::Stream,
        None => RowWay::Time,
    }];
    for part in conjuncts(&read.filter) {
        if let Some((column, Test::Eq(_) | Test::In(_))) = as_test(part)
            && ways.len() < PROBES
        {
            ways.push(RowWay::Column(column, part));
        }
    }
    ways
}

/// The way, where no numbers are needed to choose it.
pub fn obvious_row_way<'f>(ways: &[RowWay<'f>]) -> Option<RowWay<'f>> {
    match ways {
        [] => Some(RowWay::Time),
        [only] => Some(*only),
        // A single value is narrower than all of time: no need to count.
        [RowWay::Time, only @ RowWay::Column(_, Filter::Eq(..))] => Some(*only),
        _ => None,
    }
}

/// The best of `ways`, whose numbers are `counts` (at most one more than [`FEW`] each).
pub fn choose_row_way<'f>(ways: &[RowWay<'f>], counts: &[i64]) -> RowWay<'f> {
    let narrowest = ways.iter().zip(counts).min_by_key(|(_, count)| **count);
    match narrowest {
        Some((way, count)) if *count <= FEW => *way,
        // All of them are wide: a stream is the narrowest as a rule, then one value of a column.
        _ => {
            let in_order = |way: &&RowWay<'f>| match way {
                RowWay::Time => false,
                RowWay::Stream => true,
                RowWay::Column(_, part) => matches!(part, Filter::Eq(..)),
            };
            ways.iter().find(in_order).copied().unwrap_or(RowWay::Time)
        }
    }
}

/// Where a reading of a lane begins and ends in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// At least this time.
    pub from: Option<i64>,
    /// Before this time.
    pub to: Option<i64>,
    /// Beyond this place.
    pub beyond: Option<Beyond>,
}

/// The place after which a reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// A time, a stream and a number.
    Place(i64, Uuid, i64),
    /// Within one stream: a time and a number.
    Within(i64, i64),
}

impl Span {
    /// The time asked for and the cursor, as one lower and one upper bound at most: engines take one of each.
    pub fn of(read: &ReadRows) -> Self {
        let ascending = read.direction == Direction::Ascending;
        let mut span = Self {
            from: read.from,
            to: read.to,
            beyond: None,
        };
        if let Some(cursor) = &read.after {
            let behind = if ascending {
                span.from.is_some_and(|from| from > cursor.at)
            } else {
                span.to.is_some_and(|to| to <= cursor.at)
            };
            // What lies behind the cursor says nothing more, unless it cuts off the cursor itself.
            if !behind {
                if ascending {
                    span.from = None;
                } else {
                    span.to = None;
                }
                span.beyond = Some(beyond(read.stream, cursor));
            }
        }
        span
    }
}

/// Within one stream the order is time and number; a cursor of another stream stands before or after all its numbers.
fn beyond(stream: Option<Uuid>, cursor: &RowCursor) -> Beyond {
    let n = i64::from(cursor.n);
    match stream.map(|stream| stream.cmp(&cursor.stream)) {
        None => Beyond::Place(cursor.at, cursor.stream, n),
        Some(Ordering::Equal) => Beyond::Within(cursor.at, n),
        Some(Ordering::Greater) => Beyond::Within(cursor.at, -1),
        Some(Ordering::Less) => Beyond::Within(cursor.at, i64::from(u32::MAX) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, expected: Option<&str>) {
        let got = after_prefix(prefix);
        assert_eq!(got.as_deref(), expected);
        if let Some(end) = got {
            assert!(end.as_bytes() > prefix.as_bytes());
            assert!(end.as_bytes() > format!("{prefix}\u{10ffff}\u{10ffff}").as_bytes());
        }
    }

    #[test]
    fn the_end_of_a_prefix_comes_after_everything_that_begins_with_it() {
        check("ab", Some("ac"));
        check("a\u{7f}", Some("a\u{80}"));
        check("a\u{d7ff}", Some("a\u{e000}"));
        check("a\u{10ffff}", Some("b"));
        check("\u{10ffff}", None);
        check("", None);
    }
}
