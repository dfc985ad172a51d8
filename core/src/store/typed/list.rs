//! Typed queries.

use std::marker::PhantomData;

use serde::Serialize;
use uuid::Uuid;

use super::{Entity, LaneRow};
use crate::{
    kernel::{PageRequest, Timestamp, query_fingerprint},
    store::{Cursor, Direction, Filter, Find, Name, ReadRows, RowCursor, Term, Value},
};

/// A declared column of an entity; made by `#[derive(Entity)]`.
#[derive(Debug)]
pub struct Field<T> {
    name: Name,
    entity: PhantomData<fn() -> T>,
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Field<T> {}

impl<T> Field<T> {
    /// Names a column.
    #[doc(hidden)]
    pub const fn new(name: Name) -> Self {
        Self {
            name,
            entity: PhantomData,
        }
    }

    /// Its name.
    pub const fn name(self) -> Name {
        self.name
    }

    /// It has this value.
    pub fn eq(self, value: impl Into<Value>) -> Filter {
        Filter::Eq(self.name, value.into())
    }

    /// It has one of these values.
    pub fn one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Filter {
        Filter::In(self.name, values.into_iter().map(Into::into).collect())
    }

    /// It has a value below this one.
    pub fn below(self, value: impl Into<Value>) -> Filter {
        Filter::Range(self.name, None, Some(value.into()))
    }

    /// It has this value or a greater one.
    pub fn at_least(self, value: impl Into<Value>) -> Filter {
        Filter::Range(self.name, Some(value.into()), None)
    }

    /// Its text begins with this.
    pub fn starts_with(self, prefix: impl Into<String>) -> Filter {
        Filter::Prefix(self.name, prefix.into())
    }
}

/// A list of entities: filter, order, page.
#[derive(Clone, Debug)]
pub struct Query<T> {
    filter: Filter,
    order: Option<Term>,
    question: Option<[u8; 8]>,
    entity: PhantomData<fn() -> T>,
}

impl<T: Entity> Default for Query<T> {
    fn default() -> Self {
        Self {
            filter: Filter::All,
            order: None,
            question: None,
            entity: PhantomData,
        }
    }
}

impl<T: Entity> Query<T> {
    /// All entities, by id.
    pub fn all() -> Self {
        Self::default()
    }

    /// Narrows the list.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = self.filter.and(filter);
        self
    }

    /// Orders the list by a column.
    #[must_use]
    pub fn order(mut self, field: Field<T>, direction: Direction) -> Self {
        self.order = Some(Term {
            column: field.name,
            direction,
        });
        self
    }

    /// Binds page tokens to the question as it was asked, where the filter that answers it may differ from page to page.
    pub fn asked(mut self, question: &impl Serialize) -> crate::kernel::Result<Self> {
        self.question = Some(query_fingerprint(&(T::KIND, question, &self.order))?);
        Ok(self)
    }

    /// The filter as it stands.
    pub fn filters(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn fingerprint(&self) -> crate::kernel::Result<[u8; 8]> {
        match self.question {
            Some(question) => Ok(question),
            None => query_fingerprint(&(T::KIND, &self.filter, &self.order)),
        }
    }

    pub(super) fn find(&self, page: &PageRequest) -> crate::kernel::Result<Find> {
        let after: Option<Cursor> = page.cursor(self.fingerprint()?)?;
        Ok(Find {
            kind: T::KIND,
            filter: self.filter.clone(),
            order: self.order,
            after,
            limit: page.limit(),
        })
    }
}

/// A reading of a lane: stream, filter, times, direction.
#[derive(Clone, Debug, Serialize)]
pub struct LaneQuery<T> {
    stream: Option<Uuid>,
    filter: Filter,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    direction: Direction,
    #[serde(skip)]
    row: PhantomData<fn() -> T>,
}

impl<T: LaneRow> LaneQuery<T> {
    /// All rows, newest first.
    pub fn newest_first() -> Self {
        Self {
            stream: None,
            filter: Filter::All,
            from: None,
            to: None,
            direction: Direction::Descending,
            row: PhantomData,
        }
    }

    /// All rows, oldest first.
    pub fn oldest_first() -> Self {
        Self {
            direction: Direction::Ascending,
            ..Self::newest_first()
        }
    }

    /// Only one stream.
    #[must_use]
    pub fn stream(mut self, stream: Uuid) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Narrows by a column.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = self.filter.and(filter);
        self
    }

    /// Only rows of this time or later.
    #[must_use]
    pub fn from(mut self, from: Option<Timestamp>) -> Self {
        self.from = from;
        self
    }

    /// Only rows before this time.
    #[must_use]
    pub fn to(mut self, to: Option<Timestamp>) -> Self {
        self.to = to;
        self
    }

    pub(super) fn fingerprint(&self) -> crate::kernel::Result<[u8; 8]> {
        query_fingerprint(&(T::LANE, self))
    }

    pub(super) fn read(&self, page: &PageRequest) -> crate::kernel::Result<ReadRows> {
        let after: Option<RowCursor> = page.cursor(self.fingerprint()?)?;
        Ok(ReadRows {
            lane: T::LANE,
            stream: self.stream,
            filter: self.filter.clone(),
            from: self.from.map(Timestamp::as_micros),
            to: self.to.map(Timestamp::as_micros),
            direction: self.direction,
            after,
            limit: page.limit(),
        })
    }
}
