//! Filters as conditions of a statement, with the meaning of [`fleet_core::store::matches`].
//!
//! The engine's logic has three values, ours two: a comparison with null is null there and false here. Under `AND` and `OR`
//! null behaves as false does; `NOT` is written `IS NOT TRUE`, which makes it two-valued again. A text with U+0000 cannot be
//! bound, and no stored text holds one: equality with it is false, and as a bound the next text stands for it.

use fleet_core::store::{
    Column, ColumnType, Filter, Name, Value,
    plan::{Test, after_prefix, as_test},
};

use crate::{
    sql::{Ident, Statement, Table},
    tables::{KindTable, LaneTable},
};

/// What is filtered; its table is called `t`.
#[derive(Clone, Copy)]
pub(super) enum Subject<'t> {
    Kind(&'t KindTable),
    Lane(&'t LaneTable),
}

impl<'t> Subject<'t> {
    fn columns(self) -> &'t [Column] {
        match self {
            Self::Kind(table) => &table.kind.columns,
            Self::Lane(table) => &table.lane.columns,
        }
    }

    pub(super) fn r#type(self, name: Name) -> ColumnType {
        let column = self.columns().iter().find(|column| column.name == name);
        column.map_or(ColumnType::Int, |column| column.r#type)
    }

    fn many(self, name: Name) -> Option<&'t Table> {
        match self {
            Self::Kind(table) => table.many(name).map(|many| &many.table),
            Self::Lane(_) => None,
        }
    }
}

/// What is tested.
pub(super) enum Operand {
    /// The value of a row in a side table that is called `m`.
    Value,
    /// A column of the table that is called `t`.
    Column(Ident),
}

impl Operand {
    fn write(&self, statement: &mut Statement) {
        match self {
            Self::Value => statement.sql("m.value"),
            Self::Column(name) => statement.sql("t.").name(name),
        };
    }
}

/// Writes a filter as a condition.
pub(super) fn condition(statement: &mut Statement, subject: Subject<'_>, filter: &Filter) {
    match filter {
        Filter::All => {
            statement.sql("true");
        }
        Filter::Eq(name, Value::Null) => match subject.many(name) {
            None => {
                statement.column(name).sql(" IS NULL");
            }
            Some(many) => {
                statement.sql("NOT EXISTS (SELECT 1 FROM ").table(many);
                statement.sql(" m WHERE m.id = t.id)");
            }
        },
        Filter::And(parts) => joined(statement, subject, parts, "true", " AND "),
        Filter::Or(parts) => joined(statement, subject, parts, "false", " OR "),
        Filter::Not(part) => {
            // What is never null may be negated as it is, and the engine then knows an anti-join.
            let exists = as_test(part).is_some_and(|(name, _)| subject.many(name).is_some());
            statement.sql(if exists { "NOT " } else { "(" });
            condition(statement, subject, part);
            statement.sql(if exists { "" } else { ") IS NOT TRUE" });
        }
        Filter::Eq(..) | Filter::In(..) | Filter::Range(..) | Filter::Prefix(..) => {
            if let Some((name, test)) = as_test(filter) {
                column_test(statement, subject, name, test);
            }
        }
    }
}

fn joined(
    statement: &mut Statement,
    subject: Subject<'_>,
    parts: &[Filter],
    empty: &'static str,
    between: &'static str,
) {
    if parts.is_empty() {
        statement.sql(empty);
        return;
    }
    statement.sql("(");
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            statement.sql(between);
        }
        condition(statement, subject, part);
    }
    statement.sql(")");
}

fn column_test(statement: &mut Statement, subject: Subject<'_>, name: Name, test: Test<'_>) {
    let r#type = subject.r#type(name);
    match subject.many(name) {
        None => value_test(statement, &Operand::Column(Ident::new(&[name])), r#type, test),
        Some(many) => {
            statement.sql("EXISTS (SELECT 1 FROM ").table(many);
            statement.sql(" m WHERE m.id = t.id AND ");
            value_test(statement, &Operand::Value, r#type, test);
            statement.sql(")");
        }
    }
}

/// Writes a test of the value that `subject` writes.
pub(super) fn value_test(statement: &mut Statement, subject: &Operand, r#type: ColumnType, test: Test<'_>) {
    match test {
        Test::Eq(Value::Text(text)) if text.contains('\0') => {
            statement.sql("false");
        }
        Test::Eq(value) => {
            subject.write(statement);
            statement.sql(" = ").value(value);
        }
        Test::In(values) => {
            subject.write(statement);
            statement.any(r#type, values);
        }
        Test::Range(from, to) => bounds(statement, subject, from, to),
        Test::Prefix(prefix) if prefix.contains('\0') => {
            statement.sql("false");
        }
        Test::Prefix(prefix) => {
            let from = Value::from(prefix);
            let to = after_prefix(prefix).map(Value::from);
            bounds(statement, subject, Some(&from), to.as_ref());
        }
    }
}

fn bounds(statement: &mut Statement, subject: &Operand, from: Option<&Value>, to: Option<&Value>) {
    match (from, to) {
        (None, None) => {
            subject.write(statement);
            statement.sql(" IS NOT NULL");
        }
        (Some(from), None) => {
            subject.write(statement);
            statement.sql(" >= ").value(from);
        }
        (None, Some(to)) => {
            subject.write(statement);
            statement.sql(" < ").value(to);
        }
        (Some(from), Some(to)) => {
            statement.sql("(");
            subject.write(statement);
            statement.sql(" >= ").value(from).sql(" AND ");
            subject.write(statement);
            statement.sql(" < ").value(to).sql(")");
        }
    }
}
