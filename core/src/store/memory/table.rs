//! The documents of one kind.

use std::{
    collections::{BTreeSet, HashMap},
    iter,
    num::NonZero,
    ops::Bound::{self, Excluded, Included, Unbounded},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use super::held::Held;
use crate::store::{
    Cursor, Direction, Doc, DocPage, Error, Filter, Find, IndexedValues, Key, KindSchema, Result, Rev, Seq, Value,
    doc_matches,
};

/// Filters that more index entries than this meet are served by walking the order of the list instead.
const NARROW: usize = 4096;

/// The documents of one kind, with one ordered index for each declared column.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) schema: Arc<KindSchema>,
    /// Behind pointers: a node that a view shares is copied before it changes, and most of what it holds stays as it was.
    pub(super) docs: OrdMap<Uuid, Arc<Stored>>,
    /// By column; an entry for each value of each document, null included where the column is single-valued.
    columns: Vec<Entries>,
    /// Whether the indexes are left empty for now.
    put_off: bool,
}

/// The entries of one index.
type Entries = OrdSet<(Held, Uuid)>;

/// A document without its name.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) rev: Rev,
    pub(super) seq: Seq,
    pub(super) body: Bytes,
    pub(super) index: IndexedValues,
}

impl Table {
    pub(super) fn new(schema: Arc<KindSchema>) -> Self {
        let columns = vec![OrdSet::new(); schema.columns.len()];
        Self {
            schema,
            docs: OrdMap::new(),
            columns,
            put_off: false,
        }
    }

    /// Takes over a new declaration; index values are computed anew where the columns differ.
    pub(super) fn redeclare(&mut self, schema: &Arc<KindSchema>) -> Result<()> {
        if self.schema.columns == schema.columns {
            self.schema = schema.clone();
            return Ok(());
        }
        let mut filled = Self::new(schema.clone());
        for (id, stored) in &self.docs {
            let index = schema.index(&stored.body)?;
            if let Some((column, holder)) = filled.clash(*id, &index) {
                return Err(Error::Taken {
                    column: schema.columns[column].name,
                    holder: Key::new(schema.name, holder),
                });
            }
            filled.put(
                *id,
                Stored {
                    rev: stored.rev,
                    seq: stored.seq,
                    body: stored.body.clone(),
                    index,
                },
            );
        }
        *self = filled;
        Ok(())
    }

    pub(super) fn rev(&self, id: Uuid) -> Option<Rev> {
        self.docs.get(&id).map(|stored| stored.rev)
    }

    pub(super) fn doc(&self, id: Uuid) -> Option<Doc> {
        self.docs.get(&id).map(|stored| self.named(id, stored))
    }

    pub(super) fn named(&self, id: Uuid, stored: &Stored) -> Doc {
        Doc {
            key: Key::new(self.schema.name, id),
            rev: stored.rev,
            seq: stored.seq,
            body: stored.body.clone(),
        }
    }

    pub(super) fn put(&mut self, id: Uuid, stored: Stored) {
        let stored = Arc::new(stored);
        let old = self.docs.insert(id, Arc::clone(&stored));
        if self.put_off {
            return;
        }
        for (column, entries) in self.columns.iter_mut().enumerate() {
            let (was, is) = (values(old.as_deref(), column), values(Some(&stored), column));
            // Values are sorted, so a document with thousands of them is compared quickly and only changes are written.
            for value in was.iter().filter(|value| is.binary_search(value).is_err()) {
                entries.remove(&(value.into(), id));
            }
            for value in is.iter().filter(|value| was.binary_search(value).is_err()) {
                entries.insert((value.into(), id));
            }
        }
    }

    /// Leaves the indexes empty until they are [made](make_indexes): only documents can be looked at meanwhile.
    pub(super) fn put_indexes_off(&mut self) {
        self.put_off = true;
        self.columns.iter_mut().for_each(OrdSet::clear);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Arc<Stored>> {
        let old = self.docs.remove(&id)?;
        if self.put_off {
            return Some(old);
        }
        for (column, entries) in self.columns.iter_mut().enumerate() {
            for value in values(Some(&old), column) {
                entries.remove(&(value.into(), id));
            }
        }
        Some(old)
    }

    /// The unique column and the other document that stand in the way of these values.
    pub(super) fn clash(&self, id: Uuid, index: &IndexedValues) -> Option<(usize, Uuid)> {
        self.unique_values(index).find_map(|(column, value)| {
            self.holders(column, value)
                .find(|other| *other != id)
                .map(|other| (column, other))
        })
    }

    /// The values that no two documents may share, with the place of their column.
    pub(super) fn unique_values<'v>(&'v self, index: &'v IndexedValues) -> impl Iterator<Item = (usize, &'v Value)> {
        let columns = index.iter().zip(&self.schema.columns).enumerate();
        let unique = columns.filter(|(_, (_, column))| column.unique);
        unique.flat_map(|(column, (values, _))| {
            values
                .iter()
                .filter(|value| **value != Value::Null)
                .map(move |value| (column, value))
        })
    }

    /// The documents that have a value.
    pub(super) fn holders(&self, column: usize, value: &Value) -> impl Iterator<Item = Uuid> {
        let bounds = (
            Included((Held::from(value), Uuid::nil())),
            Included((Held::from(value), Uuid::max())),
        );
        self.columns[column].range(bounds).map(|(_, id)| *id)
    }

    /// A page of a list that [`check_find`](crate::store::check_find) has passed.
    pub(super) fn find(&self, find: &Find) -> DocPage {
        let order = find
            .order
            .as_ref()
            .and_then(|term| Some((self.schema.position(term.column)?, term.direction)));
        let cursor = |id: Uuid, stored: &Stored| Cursor {
            value: order.map_or(Value::Null, |(column, _)| stored.index[column][0].clone()),
            id,
        };
        let mut hits: Vec<(Uuid, &Arc<Stored>)> = match self.narrowest(&find.filter, NARROW) {
            Some(ids) => {
                let mut places: Vec<(Cursor, Uuid)> = ids
                    .into_iter()
                    .filter_map(|id| Some((cursor(id, self.docs.get(&id)?), id)))
                    .collect();
                places.sort();
                if let Some((_, Direction::Descending)) = order {
                    places.reverse();
                }
                let beyond = |place: &Cursor| match (&find.after, order) {
                    (None, _) => true,
                    (Some(after), Some((_, Direction::Descending))) => place < after,
                    (Some(after), _) => place > after,
                };
                let ids = places.into_iter().filter(|(place, _)| beyond(place)).map(|(_, id)| id);
                self.take(ids, find)
            }
            None => self.take(self.walk(order, find.after.as_ref()), find),
        };
        let next = (hits.len() > find.limit).then(|| {
            hits.truncate(find.limit);
            hits.last().map(|(id, stored)| cursor(*id, stored))
        });
        DocPage {
            docs: hits.into_iter().map(|(id, stored)| self.named(id, stored)).collect(),
            next: next.flatten(),
        }
    }

    /// The first documents that match, and one more than the page holds.
    fn take(&self, ids: impl Iterator<Item = Uuid>, find: &Find) -> Vec<(Uuid, &Arc<Stored>)> {
        ids.filter_map(|id| Some((id, self.docs.get(&id)?)))
            .filter(|(_, stored)| doc_matches(&self.schema, &find.filter, &stored.index))
            .take(find.limit + 1)
            .collect()
    }

    /// All ids in an order, behind a cursor.
    fn walk<'s>(
        &'s self,
        order: Option<(usize, Direction)>,
        after: Option<&Cursor>,
    ) -> Box<dyn Iterator<Item = Uuid> + 's> {
        let place = after.map(|after| (Held::from(&after.value), after.id));
        let bound: Bound<(Held, Uuid)> = place.map_or(Unbounded, Excluded);
        match order {
            None => {
                let from = after.map_or(Unbounded, |after| Excluded(after.id));
                Box::new(self.docs.range((from, Unbounded)).map(|(id, _)| *id))
            }
            Some((column, Direction::Ascending)) => {
                Box::new(self.columns[column].range((bound, Unbounded)).map(|(_, id)| *id))
            }
            Some((column, Direction::Descending)) => {
                Box::new(self.columns[column].range((Unbounded, bound)).rev().map(|(_, id)| *id))
            }
        }
    }

    /// The documents that match, in no particular order.
    pub(super) fn matching(&self, filter: &Filter) -> impl Iterator<Item = &Stored> {
        let ids: Box<dyn Iterator<Item = Uuid>> = match self.narrowest(filter, usize::MAX) {
            Some(ids) => Box::new(ids.into_iter()),
            None => Box::new(self.docs.keys().copied()),
        };
        ids.filter_map(|id| self.docs.get(&id))
            .map(|stored| &**stored)
            .filter(|stored| doc_matches(&self.schema, filter, &stored.index))
    }

    /// The documents that meet the predicate with the fewest index entries among those that must hold; none when there
    /// is no such predicate, or it has `most` entries or more.
    fn narrowest(&self, filter: &Filter, most: usize) -> Option<BTreeSet<Uuid>> {
        let mut must = Vec::new();
        self.predicates(filter, &mut must);
        // Counting stops early: it only chooses, and must not cost more than it saves.
        let (count, best) = must
            .into_iter()
            .map(|predicate| (self.entries(predicate).take(NARROW).count(), predicate))
            .min_by_key(|(count, _)| *count)?;
        (count < most).then(|| self.entries(best).collect())
    }

    /// The predicates that an index serves and that must hold.
    fn predicates<'f>(&self, filter: &'f Filter, found: &mut Vec<&'f Filter>) {
        match filter {
            Filter::And(parts) => parts.iter().for_each(|part| self.predicates(part, found)),
            // A many-valued column without values has no entries.
            Filter::Eq(name, Value::Null)
                if self
                    .schema
                    .columns
                    .iter()
                    .any(|column| column.name == *name && column.many) => {}
            Filter::Eq(..) | Filter::In(..) | Filter::Range(..) | Filter::Prefix(..) => found.push(filter),
            Filter::All | Filter::Or(_) | Filter::Not(_) => {}
        }
    }

    fn entries<'s>(&'s self, predicate: &'s Filter) -> Box<dyn Iterator<Item = Uuid> + 's> {
        let none = || Box::new(iter::empty());
        let (Filter::Eq(name, _) | Filter::In(name, _) | Filter::Range(name, ..) | Filter::Prefix(name, _)) = predicate
        else {
            return none();
        };
        let Some(column) = self.schema.position(name) else {
            return none();
        };
        match predicate {
            Filter::Eq(_, value) => Box::new(self.holders(column, value)),
            Filter::In(_, values) => {
                let distinct: BTreeSet<&Value> = values.iter().collect();
                Box::new(distinct.into_iter().flat_map(move |value| self.holders(column, value)))
            }
            Filter::Range(_, from, to) => {
                if from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| from >= to) {
                    return none();
                }
                let from = from.as_ref().map_or(Excluded((Held::Null, Uuid::max())), |from| {
                    Included((from.into(), Uuid::nil()))
                });
                let to = to.as_ref().map_or(Unbounded, |to| Excluded((to.into(), Uuid::nil())));
                Box::new(self.columns[column].range((from, to)).map(|(_, id)| *id))
            }
            Filter::Prefix(_, prefix) => {
                let from = Included((Held::Text(prefix.as_str().into()), Uuid::nil()));
                let begins = move |value: &Held| matches!(value, Held::Text(text) if text.starts_with(prefix.as_str()));
                let entries = self.columns[column].range((from, Unbounded));
                Box::new(entries.take_while(move |(value, _)| begins(value)).map(|(_, id)| *id))
            }
            _ => none(),
        }
    }

    /// The first unique value that two documents share, with the place of its column; looks at every one.
    pub(super) fn first_clash(&self) -> Option<(usize, Uuid)> {
        let unique = |(column, _): &(usize, &OrdSet<_>)| self.schema.columns[*column].unique;
        self.columns
            .iter()
            .enumerate()
            .filter(unique)
            .find_map(|(column, entries)| {
                let entries = entries.iter().filter(|(value, _)| *value != Held::Null);
                let mut pairs = entries.clone().zip(entries.skip(1));
                pairs
                    .find(|((one, _), (other, _))| one == other)
                    .map(|((_, holder), _)| (column, *holder))
            })
    }

    /// The entries of all indexes that no document accounts for, or the other way round.
    pub(super) fn index_is_sound(&self) -> bool {
        let columns = 0..self.columns.len();
        let expected: Vec<Entries> = columns.map(|column| index(&self.docs, column)).collect();
        expected == self.columns
    }
}

/// Makes the indexes that were put off, on all cores that there are.
pub(super) fn make_indexes<'t>(tables: impl Iterator<Item = &'t mut Table>) {
    let mut to_make = Vec::new();
    for Table {
        docs, columns, put_off, ..
    } in tables
    {
        if std::mem::take(put_off) {
            let columns = columns.iter_mut().enumerate();
            to_make.extend(columns.map(|(column, entries)| (&*docs, column, entries)));
        }
    }
    // The largest come first, from the end: nobody is to wait for one that was begun last.
    to_make.sort_by_cached_key(|(docs, column, _)| {
        let counts = docs.values().map(|stored| values(Some(stored), *column).len());
        counts.sum::<usize>()
    });
    let workers = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(to_make.len());
    let to_make = Mutex::new(to_make);
    let next = || to_make.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        while let Some((docs, column, entries)) = next() {
            *entries = index(docs, column);
        }
    };
    thread::scope(|scope| {
        // The caller works, too.
        (1..workers).for_each(|_| drop(scope.spawn(work)));
        work();
    });
}

/// The entries of a column. Many documents have the same value: only distinct values are put in order, and each is kept once.
fn index(docs: &OrdMap<Uuid, Arc<Stored>>, column: usize) -> Entries {
    let mut ids_of: HashMap<&Value, Vec<Uuid>> = HashMap::new();
    for (id, stored) in docs {
        let values = values(Some(stored), column);
        values
            .iter()
            .for_each(|value| ids_of.entry(value).or_default().push(*id));
    }
    let mut ids_of: Vec<_> = ids_of.into_iter().collect();
    ids_of.sort_unstable_by_key(|(value, _)| *value);
    let entries = ids_of.into_iter().flat_map(|(value, ids)| {
        let held = Held::from(value);
        ids.into_iter().map(move |id| (held.clone(), id))
    });
    entries.collect()
}

fn values(stored: Option<&Stored>, column: usize) -> &[Value] {
    let values = stored.and_then(|stored| stored.index.get(column));
    values.map_or(&[], Vec::as_slice)
}
