//! Filters as conditions of a statement, with the meaning of [`fleet_core::store::matches`].
//!
//! The engine's logic has three values, ours two: a comparison with null is null there and false here. Under `AND` and `OR`
//! null behaves as false does; `NOT` is written `IS NOT TRUE`, which makes it two-valued again.

use fleet_core::store::{
    Column, ColumnType, Filter, Name, Value,
    plan::{Test, after_prefix, as_test},
};

use crate::{
    sql::{Ident, Statement},
    tables::{KindTable, LaneTable},
};

/// What is filtered; its table is called `t`.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'t> {
    Kind(&'t KindTable),
    Lane(&'t LaneTable),
}

impl<'t> Subject<'t> {
    pub(crate) fn columns(self) -> &'t [Column] {
        match self {
            Self::Kind(table) => &table.kind.columns,
            Self::Lane(table) => &table.lane.columns,
        }
    }

    pub(crate) fn table(self) -> &'t Ident {
        match self {
            Self::Kind(table) => &table.table,
            Self::Lane(table) => &table.table,
        }
    }

    pub(crate) fn column(self, name: Name) -> Option<&'t Column> {
        self.columns().iter().find(|column| column.name == name)
    }

    fn many(self, name: Name) -> Option<&'t Ident> {
        match self {
            Self::Kind(table) => table.many(name).map(|many| &many.table),
            Self::Lane(_) => None,
        }
    }
}

/// How predicates on many-valued columns are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// So that the engine may start from them.
    Driving,
    /// As a look-up for a document that is found already. The plus keeps the engine from starting there.
    Checking,
}

/// What is tested.
pub(crate) enum Operand {
    /// The value of a row in a side table that is called `m`.
    Value,
    /// A column, after the name of its table.
    Column(&'static str, Ident),
}

impl Operand {
    fn write(&self, statement: &mut Statement) {
        match self {
            Self::Value => statement.sql("m.value"),
            Self::Column(table, name) => statement.sql(table).name(name),
        };
    }
}

/// Writes a filter as a condition.
pub(crate) fn condition(statement: &mut Statement, subject: Subject<'_>, filter: &Filter, form: Form) {
    match filter {
        Filter::All => {
            statement.sql("1");
        }
        Filter::Eq(name, Value::Null) => match subject.many(name) {
            None => {
                statement.column(name).sql(" IS NULL");
            }
            Some(many) => {
                statement.sql("NOT EXISTS (SELECT 1 FROM ").name(many);
                statement.sql(" m WHERE m.id = t.id)");
            }
        },
        Filter::And(parts) => joined(statement, subject, parts, form, "1", " AND "),
        Filter::Or(parts) => joined(statement, subject, parts, form, "0", " OR "),
        Filter::Not(part) => {
            statement.sql("(");
            condition(statement, subject, part, form);
            statement.sql(") IS NOT TRUE");
        }
        Filter::Eq(..) | Filter::In(..) | Filter::Range(..) | Filter::Prefix(..) => {
            if let Some((name, test)) = as_test(filter) {
                column_test(statement, subject, name, test, form);
            }
        }
    }
}

fn joined(
    statement: &mut Statement,
    subject: Subject<'_>,
    parts: &[Filter],
    form: Form,
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
        condition(statement, subject, part, form);
    }
    statement.sql(")");
}

fn column_test(statement: &mut Statement, subject: Subject<'_>, name: Name, test: Test<'_>, form: Form) {
    let r#type = subject.column(name).map_or(ColumnType::Int, |column| column.r#type);
    let Some(many) = subject.many(name) else {
        let column = Ident::new(&[name]);
        value_test(statement, &Operand::Column("t.", column), r#type, test);
        return;
    };
    match form {
        Form::Driving => {
            statement.sql("t.id IN (SELECT m.id FROM ").name(many).sql(" m WHERE ");
            value_test(statement, &Operand::Value, r#type, test);
            statement.sql(")");
        }
        Form::Checking => {
            statement.sql("+EXISTS (SELECT 1 FROM ").name(many);
            statement.sql(" m WHERE m.id = t.id AND ");
            value_test(statement, &Operand::Value, r#type, test);
            statement.sql(")");
        }
    }
}

/// Writes a test of the value that `subject` writes.
pub(crate) fn value_test(statement: &mut Statement, subject: &Operand, r#type: ColumnType, test: Test<'_>) {
    match test {
        Test::Eq(value) => {
            subject.write(statement);
            statement.sql(" = ").value(value);
        }
        Test::In(values) => {
            subject.write(statement);
            statement.sql(" IN ").list(r#type, values);
        }
        Test::Range(from, to) => bounds(statement, subject, from, to),
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
