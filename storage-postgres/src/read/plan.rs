//! A list of documents as a statement, along the way that core's rules choose ([`fleet_core::store::plan`]). The engine has
//! statistics of its own and plans for itself; the way only keeps it from walking far for a narrow filter.

use fleet_core::store::{
    Column, Filter, Find, Value,
    plan::{FEW, ListPlan, Stretch, Way, as_test},
};

use super::filter::{Operand, Subject, condition, value_test};
use crate::{
    sql::{Ident, Statement},
    tables::KindTable,
};

/// A list of one kind.
pub(super) struct List<'f> {
    table: &'f KindTable,
    pub(super) plan: ListPlan<'f>,
}

impl<'f> List<'f> {
    pub(super) fn new(table: &'f KindTable, find: &'f Find, order: Option<&'f Column>) -> Self {
        Self {
            table,
            plan: ListPlan::new(&table.kind, find, order),
        }
    }

    /// How many documents meet each of these parts, at most one more than [`FEW`].
    pub(super) fn probe(&self, parts: &[&Filter]) -> Statement {
        let mut statement = Statement::default();
        for (n, part) in parts.iter().enumerate() {
            statement.sql(if n == 0 { "SELECT " } else { ", " });
            statement.sql("(SELECT count(*) FROM (SELECT 1 FROM (");
            self.ids(&mut statement, part);
            statement.sql(") p LIMIT ").int(FEW + 1).sql(") q)");
        }
        statement
    }

    /// The ids of the documents that meet a part, with repeats.
    fn ids(&self, statement: &mut Statement, part: &Filter) {
        if let Filter::Or(parts) = part {
            for (n, part) in parts.iter().enumerate() {
                if n > 0 {
                    statement.sql(" UNION ALL ");
                }
                self.ids(statement, part);
            }
            return;
        }
        let Some((name, test)) = as_test(part) else { return };
        let r#type = Subject::Kind(self.table).r#type(name);
        match self.table.many(name) {
            Some(many) => {
                statement.sql("SELECT m.id FROM ").table(&many.table).sql(" m WHERE ");
                value_test(statement, &Operand::Value, r#type, test);
            }
            None => {
                let table = &self.table.table;
                statement.sql("SELECT t.id FROM ").table(table).sql(" t WHERE ");
                value_test(statement, &Operand::Column(Ident::new(&[name])), r#type, test);
            }
        }
    }

    /// One stretch: `id, rev, seq, body[, order column]`, at most `limit` of them.
    pub(super) fn statement(&self, way: Way<'_>, stretch: &Stretch, limit: i64) -> Statement {
        let mut statement = Statement::default();
        let descending = self.plan.descending();
        // In a walk by value the side table's id is the one that has the order.
        let id = match way {
            Way::Value(_) => "m.id",
            _ => "t.id",
        };
        if let Way::From(part) = way {
            // The bound tells the engine how few they are; it was counted in the same view.
            statement.sql("WITH d AS MATERIALIZED (SELECT DISTINCT p.id FROM (");
            self.ids(&mut statement, part);
            statement.sql(") p LIMIT ").int(FEW).sql(") ");
        }
        statement.sql("SELECT t.id, t.rev, t.seq, t.body");
        if let Some(order) = self.plan.order {
            statement.sql(", ").column(order.name);
        }
        self.from(&mut statement, way);
        self.bounds(&mut statement, stretch, descending, id);
        for part in &self.plan.parts {
            if !matches!(way, Way::Value(by) | Way::From(by) if std::ptr::eq(by, *part)) {
                statement.sql(" AND ");
                condition(&mut statement, Subject::Kind(self.table), part);
            }
        }
        statement.sql(" ORDER BY ");
        if let Some(order) = self.plan.order {
            let direction = if descending {
                " DESC NULLS LAST, "
            } else {
                " NULLS FIRST, "
            };
            statement.column(order.name).sql(direction);
        }
        statement
            .sql(id)
            .sql(if descending { " DESC LIMIT " } else { " LIMIT " });
        statement.int(limit);
        statement
    }

    fn from(&self, statement: &mut Statement, way: Way<'_>) {
        let table = &self.table.table;
        match way {
            Way::Walk | Way::Composite(_) => {
                statement.sql(" FROM ").table(table).sql(" t WHERE true");
            }
            Way::Value(part) => {
                let found = as_test(part).and_then(|(name, test)| Some((self.table.many(name)?, test)));
                let Some((many, test)) = found else { return };
                statement.sql(" FROM ").table(&many.table).sql(" m JOIN ").table(table);
                statement.sql(" t ON t.id = m.id WHERE ");
                value_test(statement, &Operand::Value, many.column.r#type, test);
            }
            Way::From(_) => {
                statement
                    .sql(" FROM d JOIN ")
                    .table(table)
                    .sql(" t ON t.id = d.id WHERE true");
            }
        }
    }

    fn bounds(&self, statement: &mut Statement, stretch: &Stretch, descending: bool, id: &'static str) {
        let beyond = if descending { " < " } else { " > " };
        let Some(order) = self.plan.order else {
            if let Stretch::AfterId(cursor) = stretch {
                statement.sql(" AND ").sql(id).sql(beyond).id(cursor.id);
            }
            return;
        };
        match stretch {
            Stretch::Whole | Stretch::AfterId(_) => {}
            Stretch::Null => {
                statement.sql(" AND ").column(order.name).sql(" IS NULL");
            }
            Stretch::NotNull => {
                statement.sql(" AND ").column(order.name).sql(" IS NOT NULL");
            }
            Stretch::AfterNull(cursor) => {
                statement.sql(" AND ").column(order.name).sql(" IS NULL AND t.id");
                statement.sql(beyond).id(cursor.id);
            }
            Stretch::After(cursor) if matches!(&cursor.value, Value::Text(text) if text.contains('\0')) => {
                // No document has this value: what lies beyond it begins at the next one, whatever its id.
                statement.sql(" AND ").column(order.name);
                statement
                    .sql(if descending { " < " } else { " >= " })
                    .value(&cursor.value);
            }
            Stretch::After(cursor) => {
                statement.sql(" AND (").column(order.name).sql(", t.id)").sql(beyond);
                statement.sql("(").value(&cursor.value).sql(", ").id(cursor.id).sql(")");
            }
        }
    }
}
