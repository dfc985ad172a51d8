//! A reading of a lane as a statement. The engine chooses the index; conditions on time let it leave partitions aside.

use fleet_core::store::{
    Direction, Filter, ReadRows,
    plan::{Beyond, FEW, RowWay, Span, as_test, conjuncts},
};

use super::filter::{Operand, Subject, condition, value_test};
use crate::{
    sql::{Ident, Statement},
    tables::LaneTable,
};

/// A reading of one lane.
pub(super) struct Rows<'f> {
    table: &'f LaneTable,
    read: &'f ReadRows,
    parts: Vec<&'f Filter>,
}

impl<'f> Rows<'f> {
    pub(super) fn new(table: &'f LaneTable, read: &'f ReadRows) -> Self {
        Self {
            table,
            read,
            parts: conjuncts(&read.filter),
        }
    }

    /// How many rows each way meets, at most one more than [`FEW`].
    pub(super) fn probe(&self, ways: &[RowWay<'_>]) -> Statement {
        let mut statement = Statement::default();
        for (n, way) in ways.iter().enumerate() {
            statement.sql(if n == 0 { "SELECT " } else { ", " });
            statement.sql("(SELECT count(*) FROM (SELECT 1");
            self.from(&mut statement, *way);
            self.time(&mut statement);
            statement.sql(" LIMIT ").int(FEW + 1).sql(") q)");
        }
        statement
    }

    /// `stream, at, n, body[, number, hash], columns …`, at most `limit` of them.
    pub(super) fn statement(&self, way: RowWay<'_>, few: bool, limit: i64) -> Statement {
        let mut statement = Statement::default();
        let lane = &self.table.lane;
        if few {
            // Found first and sorted then: the engine would rather walk along time in the hope of meeting them soon.
            statement.sql("WITH t AS MATERIALIZED (SELECT t.*");
            self.from(&mut statement, way);
            self.time(&mut statement);
            self.filter(&mut statement);
            statement.sql(" LIMIT ").int(FEW).sql(") ");
        }
        statement.sql("SELECT t.stream, t.at, t.n, t.body");
        if lane.chained {
            statement.sql(", t._number, t._hash");
        }
        for column in &lane.columns {
            statement.sql(", ").column(column.name);
        }
        if few {
            statement.sql(" FROM t");
        } else {
            self.from(&mut statement, way);
            self.time(&mut statement);
            self.filter(&mut statement);
        }
        statement.sql(match self.read.direction {
            Direction::Ascending => " ORDER BY t.at, t.stream, t.n LIMIT ",
            Direction::Descending => " ORDER BY t.at DESC, t.stream DESC, t.n DESC LIMIT ",
        });
        statement.int(limit);
        statement
    }

    fn filter(&self, statement: &mut Statement) {
        if let Some(stream) = self.read.stream {
            statement.sql(" AND t.stream = ").id(stream);
        }
        for part in &self.parts {
            statement.sql(" AND ");
            condition(statement, Subject::Lane(self.table), part);
        }
    }

    fn from(&self, statement: &mut Statement, way: RowWay<'_>) {
        statement.sql(" FROM ").table(&self.table.table).sql(" t WHERE ");
        match way {
            RowWay::Stream if self.read.stream.is_some() => {
                if let Some(stream) = self.read.stream {
                    statement.sql("t.stream = ").id(stream);
                }
            }
            RowWay::Time | RowWay::Stream => drop(statement.sql("true")),
            RowWay::Column(column, part) => match as_test(part) {
                Some((_, test)) => {
                    let r#type = Subject::Lane(self.table).r#type(column);
                    value_test(statement, &Operand::Column(Ident::new(&[column])), r#type, test);
                }
                None => drop(statement.sql("true")),
            },
        }
    }

    /// The time asked for and the cursor.
    fn time(&self, statement: &mut Statement) {
        let ascending = self.read.direction == Direction::Ascending;
        let span = Span::of(self.read);
        let at = match span.beyond {
            None => None,
            Some(Beyond::Place(at, stream, n)) => {
                statement.sql(" AND (t.at, t.stream, t.n").sql(beyond(ascending));
                statement.int(at).sql(", ").id(stream).sql(", ").int(n).sql(")");
                Some(at)
            }
            Some(Beyond::Within(at, n)) => {
                statement.sql(" AND (t.at, t.n").sql(beyond(ascending));
                statement.int(at).sql(", ").int(n).sql(")");
                Some(at)
            }
        };
        if let Some(at) = at {
            // Says the same of time alone, as partitions are chosen by it.
            statement
                .sql(if ascending { " AND t.at >= " } else { " AND t.at <= " })
                .int(at);
        }
        if let Some(from) = span.from {
            statement.sql(" AND t.at >= ").int(from);
        }
        if let Some(to) = span.to {
            statement.sql(" AND t.at < ").int(to);
        }
    }
}

fn beyond(ascending: bool) -> &'static str {
    if ascending { ") > (" } else { ") < (" }
}
