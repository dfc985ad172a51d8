//! Which way a lane is read.
//!
//! A lane has three orders that are the one asked for: a stream's own (its primary key), time over all streams, and time
//! within one value of a column. The narrowest is walked; a list of values that few rows have is sorted instead.

use std::cmp::Ordering;

use fleet_core::store::{Direction, Filter, Name, ReadRows, RowCursor};

use super::{
    filter::{Form, Operand, Subject, Test, as_test, condition, value_test},
    plan::{FEW, conjuncts},
};
use crate::{
    sql::{Ident, Statement},
    tables::LaneTable,
};

/// A way to read a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowWay<'f> {
    /// Along time.
    Time,
    /// Along one stream.
    Stream,
    /// Along one value of a column, or, for a few rows, from some values, sorted afterwards.
    Column(Name, &'f Filter),
}

/// A reading, before its way is chosen.
pub(crate) struct Rows<'f> {
    table: &'f LaneTable,
    read: &'f ReadRows,
    parts: Vec<&'f Filter>,
}

impl<'f> Rows<'f> {
    pub(crate) fn new(table: &'f LaneTable, read: &'f ReadRows) -> Self {
        Self {
            table,
            read,
            parts: conjuncts(&read.filter),
        }
    }

    /// The ways to choose among, and those of them that a walk in order can take whatever their number.
    pub(crate) fn ways(&self) -> Vec<RowWay<'f>> {
        let mut ways = vec![match self.read.stream {
            Some(_) => RowWay::Stream,
            None => RowWay::Time,
        }];
        for part in &self.parts {
            if let Some((column, Test::Eq(_) | Test::In(_))) = as_test(part)
                && ways.len() < 8
            {
                ways.push(RowWay::Column(column, part));
            }
        }
        ways
    }

    /// How many rows each way meets, at most one more than [`FEW`].
    pub(crate) fn probe(&self, ways: &[RowWay<'_>]) -> Statement {
        let mut statement = Statement::default();
        for (n, way) in ways.iter().enumerate() {
            statement.sql(if n == 0 { "SELECT " } else { ", " });
            statement.sql("(SELECT count(*) FROM (SELECT 1");
            self.from(&mut statement, *way);
            self.time(&mut statement);
            statement.sql(" LIMIT ").int(FEW + 1).sql("))");
        }
        statement
    }

    /// The best of `ways`, whose numbers are `counts`.
    pub(crate) fn choose(ways: &[RowWay<'f>], counts: &[i64]) -> RowWay<'f> {
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

    /// `stream, at, n, body[, number, hash], columns …`, at most `limit` of them.
    pub(crate) fn statement(&self, way: RowWay<'_>, limit: i64) -> Statement {
        let mut statement = Statement::default();
        statement.sql("SELECT t.stream, t.at, t.n, t.body");
        if self.table.lane.chained {
            statement.sql(", t._number, t._hash");
        }
        for column in &self.table.lane.columns {
            statement.sql(", ").column(column.name);
        }
        self.from(&mut statement, way);
        self.time(&mut statement);
        if !matches!(way, RowWay::Stream)
            && let Some(stream) = self.read.stream
        {
            statement.sql(" AND t.stream = ").id(stream);
        }
        for part in &self.parts {
            statement.sql(" AND ");
            condition(&mut statement, Subject::Lane(self.table), part, Form::Checking);
        }
        statement.sql(match self.read.direction {
            Direction::Ascending => " ORDER BY t.at, t.stream, t.n LIMIT ",
            Direction::Descending => " ORDER BY t.at DESC, t.stream DESC, t.n DESC LIMIT ",
        });
        statement.int(limit);
        statement
    }

    fn from(&self, statement: &mut Statement, way: RowWay<'_>) {
        statement.sql(" FROM ").name(&self.table.table).sql(" t");
        match way {
            RowWay::Time => drop(
                statement
                    .sql(" INDEXED BY ")
                    .name(&self.table.time_index())
                    .sql(" WHERE 1"),
            ),
            RowWay::Stream => {
                statement.sql(" NOT INDEXED WHERE 1");
                if let Some(stream) = self.read.stream {
                    statement.sql(" AND t.stream = ").id(stream);
                }
            }
            RowWay::Column(column, part) => {
                statement
                    .sql(" INDEXED BY ")
                    .name(&self.table.column_index(column))
                    .sql(" WHERE ");
                let name = Ident::new(&[column]);
                let declared = self.table.lane.columns.iter().find(|declared| declared.name == column);
                match (as_test(part), declared) {
                    (Some((_, test)), Some(declared)) => {
                        value_test(statement, &Operand::Column("t.", name), declared.r#type, test);
                    }
                    _ => {
                        statement.sql("1");
                    }
                }
            }
        }
    }

    /// The time asked for and the cursor, as one lower and one upper bound at most: the engine takes one of each.
    fn time(&self, statement: &mut Statement) {
        let ascending = self.read.direction == Direction::Ascending;
        let (mut from, mut to) = (self.read.from, self.read.to);
        if let Some(cursor) = &self.read.after {
            let behind = if ascending {
                from.is_some_and(|from| from > cursor.at)
            } else {
                to.is_some_and(|to| to <= cursor.at)
            };
            // What lies behind the cursor says nothing more, unless it cuts off the cursor itself.
            if !behind {
                if ascending {
                    from = None;
                } else {
                    to = None;
                }
                self.after(statement, cursor, ascending);
            }
        }
        if let Some(from) = from {
            statement.sql(" AND t.at >= ").int(from);
        }
        if let Some(to) = to {
            statement.sql(" AND t.at < ").int(to);
        }
    }

    fn after(&self, statement: &mut Statement, cursor: &RowCursor, ascending: bool) {
        let n = i64::from(cursor.n);
        // Within one stream the order is time and number; a cursor of another stream stands before or after all its
        // numbers.
        let n = match self.read.stream.map(|stream| stream.cmp(&cursor.stream)) {
            None => {
                statement.sql(if ascending {
                    " AND (t.at, t.stream, t.n) > ("
                } else {
                    " AND (t.at, t.stream, t.n) < ("
                });
                statement
                    .int(cursor.at)
                    .sql(", ")
                    .id(cursor.stream)
                    .sql(", ")
                    .int(n)
                    .sql(")");
                return;
            }
            Some(Ordering::Equal) => n,
            Some(Ordering::Greater) => -1,
            Some(Ordering::Less) => i64::from(u32::MAX) + 1,
        };
        statement.sql(if ascending {
            " AND (t.at, t.n) > ("
        } else {
            " AND (t.at, t.n) < ("
        });
        statement.int(cursor.at).sql(", ").int(n).sql(")");
    }
}
