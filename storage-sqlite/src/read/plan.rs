//! A list of documents as a statement, along the way that core's rules choose ([`fleet_core::store::plan`]). The engine knows
//! no statistics of our tables, so the way is forced on it.

use fleet_core::store::{
    Column, ColumnType, Filter, Find, Value,
    plan::{FEW, ListPlan, Stretch, Test, Way, after_prefix, as_test},
};

use super::filter::{Form, Operand, Subject, condition, value_test};
use crate::{
    sql::{Ident, Statement},
    tables::KindTable,
};

/// A list of one kind.
pub(crate) struct List<'f> {
    pub(crate) table: &'f KindTable,
    pub(crate) plan: ListPlan<'f>,
}

impl<'f> List<'f> {
    pub(crate) fn new(table: &'f KindTable, find: &'f Find, order: Option<&'f Column>) -> Self {
        Self {
            table,
            plan: ListPlan::new(&table.kind, find, order),
        }
    }

    /// How many documents meet each of these parts, at most one more than [`FEW`].
    pub(crate) fn probe(&self, parts: &[&Filter]) -> Statement {
        let mut statement = Statement::default();
        for (n, part) in parts.iter().enumerate() {
            statement.sql(if n == 0 { "SELECT " } else { ", " });
            statement.sql("(SELECT count(*) FROM (SELECT 1 FROM (");
            self.ids(&mut statement, part);
            statement.sql(") LIMIT ").int(FEW + 1).sql("))");
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
        match self.table.many(name) {
            Some(many) => {
                statement.sql("SELECT m.id FROM ").name(&many.table).sql(" m WHERE ");
                value_test(statement, &Operand::Value, many.column.r#type, test);
            }
            None => {
                let column = Ident::new(&[name]);
                let r#type = self
                    .table
                    .kind
                    .position(name)
                    .map_or(ColumnType::Int, |n| self.table.kind.columns[n].r#type);
                statement
                    .sql("SELECT o.id FROM ")
                    .name(&self.table.table)
                    .sql(" o INDEXED BY ");
                statement.name(&self.table.column_index(name)).sql(" WHERE ");
                value_test(statement, &Operand::Column("o.", column), r#type, test);
            }
        }
    }

    /// One of the stretches: `id, rev, seq, body[, order column]`, at most `limit` of them.
    pub(crate) fn statement(&self, way: Way<'_>, stretch: &Stretch, limit: i64) -> Statement {
        let mut statement = Statement::default();
        let descending = self.plan.descending();
        // In a walk by value the side table's id is the one that has the order.
        let id = match way {
            Way::Value(_) => "m.id",
            _ => "t.id",
        };
        statement.sql("SELECT t.id, t.rev, t.seq, t.body");
        if let Some(order) = self.plan.order {
            statement.sql(", ").column(order.name);
        }
        self.from(&mut statement, way);
        self.bounds(&mut statement, stretch, descending, id);
        self.filter(&mut statement, way, stretch);
        statement.sql(" ORDER BY ");
        if let Some(order) = self.plan.order {
            statement
                .column(order.name)
                .sql(if descending { " DESC, " } else { ", " });
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
            Way::Walk => {
                statement.sql(" FROM ").name(table).sql(" t");
                match self.plan.order {
                    Some(order) => {
                        let index = self.table.column_index(order.name);
                        statement.sql(" INDEXED BY ").name(&index);
                    }
                    None => {
                        let index = Ident::primary(table);
                        statement.sql(" INDEXED BY ").name(&index);
                    }
                }
                statement.sql(" WHERE 1");
            }
            Way::Composite(columns) => {
                let index = self.table.composite_index(columns);
                statement.sql(" FROM ").name(table).sql(" t INDEXED BY ").name(&index);
                statement.sql(" WHERE 1");
            }
            Way::Value(part) => {
                let found = as_test(part).and_then(|(name, test)| Some((self.table.many(name)?, test)));
                let Some((many, test)) = found else { return };
                statement
                    .sql(" FROM ")
                    .name(&many.table)
                    .sql(" m CROSS JOIN ")
                    .name(table);
                statement.sql(" t INDEXED BY ").name(&Ident::primary(table));
                statement.sql(" ON t.id = m.id WHERE ");
                value_test(statement, &Operand::Value, many.column.r#type, test);
            }
            Way::From(part) => {
                statement.sql(" FROM (SELECT DISTINCT id FROM (");
                self.ids(statement, part);
                statement
                    .sql(")) d CROSS JOIN ")
                    .name(table)
                    // Else the engine may look each id up once for every value of another part.
                    .sql(" t INDEXED BY ")
                    .name(&Ident::primary(table))
                    .sql(" ON t.id = d.id WHERE 1");
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
            Stretch::After(cursor) => {
                statement.sql(" AND (").column(order.name).sql(", t.id)").sql(beyond);
                statement.sql("(").value(&cursor.value).sql(", ").id(cursor.id).sql(")");
            }
        }
    }

    fn filter(&self, statement: &mut Statement, way: Way<'_>, stretch: &Stretch) {
        for part in &self.plan.parts {
            let found_by = matches!(way, Way::Value(by) | Way::From(by) if std::ptr::eq(by, *part));
            if found_by {
                continue;
            }
            statement.sql(" AND ");
            // The engine takes one lower and one upper bound for a walk: they must be the cursor's.
            if self.plan.ranges_order(part) && matches!(stretch, Stretch::After(_)) {
                self.range_beside_cursor(statement, part);
            } else {
                condition(statement, Subject::Kind(self.table), part, Form::Checking);
            }
        }
    }

    /// A range of the order column: the bound that lies behind the cursor is only checked, the one ahead ends the walk.
    fn range_beside_cursor(&self, statement: &mut Statement, part: &Filter) {
        let prefix;
        let after;
        let (name, from, to) = match part {
            Filter::Range(name, from, to) => (name, from.as_ref(), to.as_ref()),
            Filter::Prefix(name, text) => {
                prefix = Value::from(text.as_str());
                after = after_prefix(text).map(Value::from);
                (name, Some(&prefix), after.as_ref())
            }
            _ => return,
        };
        let descending = self.plan.descending();
        let column = Ident::new(&[name]);
        let bound = |statement: &mut Statement, behind: bool, test: Test<'_>| {
            let r#type = self.plan.order.map_or(ColumnType::Int, |order| order.r#type);
            let plus = if behind { "+t." } else { "t." };
            value_test(statement, &Operand::Column(plus, column.clone()), r#type, test);
        };
        statement.sql("(1");
        if let Some(from) = from {
            statement.sql(" AND ");
            bound(statement, !descending, Test::Range(Some(from), None));
        }
        if let Some(to) = to {
            statement.sql(" AND ");
            bound(statement, descending, Test::Range(None, Some(to)));
        }
        statement.sql(")");
    }
}
