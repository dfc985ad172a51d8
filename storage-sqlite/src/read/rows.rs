//! A reading of a lane as a statement.
//!
//! A lane has three orders that are the one asked for: a stream's own (its primary key), time over all streams, and time
//! within one value of a column. The narrowest is walked; a list of values that few rows have is sorted instead.

use fleet_core::store::{
    Direction, Filter, ReadRows,
    plan::{Beyond, FEW, RowWay, Span, as_test, conjuncts},
};

use super::filter::{Form, Operand, Subject, condition, value_test};
use crate::{
    sql::{Ident, Statement},
    tables::LaneTable,
};

/// A reading of one lane.
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

    fn time(&self, statement: &mut Statement) {
        let ascending = self.read.direction == Direction::Ascending;
        let span = Span::of(self.read);
        let beyond = if ascending { ") > (" } else { ") < (" };
        match span.beyond {
            None => {}
            Some(Beyond::Place(at, stream, n)) => {
                statement.sql(" AND (t.at, t.stream, t.n").sql(beyond);
                statement.int(at).sql(", ").id(stream).sql(", ").int(n).sql(")");
            }
            Some(Beyond::Within(at, n)) => {
                statement.sql(" AND (t.at, t.n").sql(beyond);
                statement.int(at).sql(", ").int(n).sql(")");
            }
        }
        if let Some(from) = span.from {
            statement.sql(" AND t.at >= ").int(from);
        }
        if let Some(to) = span.to {
            statement.sql(" AND t.at < ").int(to);
        }
    }
}
