//! Which way a list is read.
//!
//! A list walks the index of its order and checks the filter on the way, unless a part of the filter is met by so few
//! documents that sorting those is cheaper: then it starts from them. How many they are is asked first, up to a bound. The
//! engine knows no statistics of our tables, so the choice is made here and forced on it; answers never depend on it.

use fleet_core::store::{Column, Cursor, Direction, Filter, Find, Name, Value};

use super::filter::{Form, Operand, Subject, Test, as_test, condition, value_test};
use crate::{
    sql::{Ident, Statement},
    tables::KindTable,
};

/// Up to this many documents are sorted rather than met on a walk.
pub(crate) const FEW: i64 = 2_000;

/// Parts of a filter that are asked for their number.
const PROBES: usize = 8;

/// A way to read a list of documents.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'f> {
    /// Along an index whose order is the list's.
    Walk,
    /// Along a composite index that holds some of the filter and then the order.
    Composite(&'f [Name]),
    /// Along one value of a many-valued column; only for lists by id.
    Value(&'f Filter),
    /// From the documents that meet a part of the filter, sorted afterwards.
    From(&'f Filter),
}

/// The parts of a filter that must all hold.
pub(crate) fn conjuncts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::All => Vec::new(),
        Filter::And(parts) => parts.iter().flat_map(conjuncts).collect(),
        part => vec![part],
    }
}

/// A list of one kind, before its way is chosen.
pub(crate) struct List<'f> {
    pub(crate) table: &'f KindTable,
    pub(crate) find: &'f Find,
    pub(crate) order: Option<&'f Column>,
    parts: Vec<&'f Filter>,
}

impl<'f> List<'f> {
    pub(crate) fn new(table: &'f KindTable, find: &'f Find, order: Option<&'f Column>) -> Self {
        Self {
            table,
            find,
            order,
            parts: conjuncts(&find.filter),
        }
    }

    fn direction(&self) -> Direction {
        self.find.order.map_or(Direction::Ascending, |term| term.direction)
    }

    fn is_order(&self, column: Name) -> bool {
        self.order.is_some_and(|order| order.name == column)
    }

    /// The parts that a list may start from: single tests, and choices between single tests.
    fn candidates(&self) -> Vec<&'f Filter> {
        let testable = |part: &&Filter| match part {
            Filter::Or(parts) => {
                (1..=PROBES).contains(&parts.len()) && parts.iter().all(|part| as_test(part).is_some())
            }
            part => as_test(part).is_some_and(|(column, test)| {
                // A range of the order itself is a part of the walk.
                !(self.is_order(column) && matches!(test, Test::Range(..) | Test::Prefix(_)))
            }),
        };
        self.parts.iter().copied().filter(testable).take(PROBES).collect()
    }

    /// A part that at most one document meets.
    fn unique(&self) -> Option<&'f Filter> {
        self.parts.iter().copied().find(|part| {
            matches!(part, Filter::Eq(column, value) if *value != Value::Null
                && self.table.kind.columns.iter().any(|declared| declared.unique && declared.name == *column))
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
    pub(crate) fn choose(&self) -> Result<Way<'f>, (Way<'f>, Vec<&'f Filter>)> {
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

    /// The best walk.
    fn walk(&self) -> Way<'f> {
        let equal = |column: &Name| {
            self.parts
                .iter()
                .any(|part| matches!(part, Filter::Eq(name, value) if name == column && *value != Value::Null))
        };
        let singles = self
            .table
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
        let composites = self.table.kind.indexes.iter().map(Vec::as_slice);
        // The more of the filter it holds, the better.
        if let Some(columns) = composites
            .chain(singles)
            .filter(serves)
            .max_by_key(|columns| columns.len())
        {
            return Way::Composite(columns);
        }
        let value = self.parts.iter().copied().find(|part| match part {
            Filter::Eq(column, value) => *value != Value::Null && self.table.many(column).is_some(),
            _ => false,
        });
        match value {
            Some(part) if self.order.is_none() => Way::Value(part),
            _ => Way::Walk,
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
                    .map_or(fleet_core::store::ColumnType::Int, |n| {
                        self.table.kind.columns[n].r#type
                    });
                statement
                    .sql("SELECT o.id FROM ")
                    .name(&self.table.table)
                    .sql(" o INDEXED BY ");
                statement.name(&self.table.column_index(name)).sql(" WHERE ");
                value_test(statement, &Operand::Column("o.", column), r#type, test);
            }
        }
    }

    /// The statements that make the page, to be run in turn until it is full: where null is met on the way, it is a
    /// statement of its own, so that each is one range of an index.
    pub(crate) fn pages(&self) -> Vec<Page> {
        let ascending = self.direction() == Direction::Ascending;
        match (self.order, &self.find.after) {
            (None, None) | (Some(_), None) => vec![Page::Whole],
            (None, Some(cursor)) => vec![Page::AfterId(cursor.clone())],
            (Some(_), Some(cursor)) => {
                let within = match cursor.value {
                    Value::Null => Page::AfterNull(cursor.clone()),
                    _ => Page::After(cursor.clone()),
                };
                match (ascending, &cursor.value) {
                    (true, Value::Null) => vec![within, Page::NotNull],
                    (false, Value::Null) | (true, _) => vec![within],
                    (false, _) => vec![within, Page::Null],
                }
            }
        }
    }

    /// One of [`List::pages`]: `id, rev, seq, body[, order column]`, at most `limit` of them.
    pub(crate) fn statement(&self, way: Way<'_>, page: &Page, limit: i64) -> Statement {
        let mut statement = Statement::default();
        let descending = self.direction() == Direction::Descending;
        // In a walk by value the side table's id is the one that has the order.
        let id = match way {
            Way::Value(_) => "m.id",
            _ => "t.id",
        };
        statement.sql("SELECT t.id, t.rev, t.seq, t.body");
        if let Some(order) = self.order {
            statement.sql(", ").column(order.name);
        }
        self.from(&mut statement, way);
        self.bounds(&mut statement, page, descending, id);
        self.filter(&mut statement, way, page);
        statement.sql(" ORDER BY ");
        if let Some(order) = self.order {
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
                match self.order {
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

    fn bounds(&self, statement: &mut Statement, page: &Page, descending: bool, id: &'static str) {
        let beyond = if descending { " < " } else { " > " };
        let Some(order) = self.order else {
            if let Page::AfterId(cursor) = page {
                statement.sql(" AND ").sql(id).sql(beyond).id(cursor.id);
            }
            return;
        };
        match page {
            Page::Whole | Page::AfterId(_) => {}
            Page::Null => {
                statement.sql(" AND ").column(order.name).sql(" IS NULL");
            }
            Page::NotNull => {
                statement.sql(" AND ").column(order.name).sql(" IS NOT NULL");
            }
            Page::AfterNull(cursor) => {
                statement.sql(" AND ").column(order.name).sql(" IS NULL AND t.id");
                statement.sql(beyond).id(cursor.id);
            }
            Page::After(cursor) => {
                statement.sql(" AND (").column(order.name).sql(", t.id)").sql(beyond);
                statement.sql("(").value(&cursor.value).sql(", ").id(cursor.id).sql(")");
            }
        }
    }

    fn filter(&self, statement: &mut Statement, way: Way<'_>, page: &Page) {
        for part in &self.parts {
            let found_by = matches!(way, Way::Value(by) | Way::From(by) if std::ptr::eq(by, *part));
            if found_by {
                continue;
            }
            statement.sql(" AND ");
            let ranges_order = as_test(part).is_some_and(|(column, test)| {
                self.is_order(column) && matches!(test, Test::Range(..) | Test::Prefix(_))
            });
            // The engine takes one lower and one upper bound for a walk: they must be the cursor's.
            if ranges_order && matches!(page, Page::After(_)) {
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
                after = super::filter::after_prefix(text).map(Value::from);
                (name, Some(&prefix), after.as_ref())
            }
            _ => return,
        };
        let descending = self.direction() == Direction::Descending;
        let column = Ident::new(&[name]);
        let bound = |statement: &mut Statement, behind: bool, test: Test<'_>| {
            let r#type = self
                .order
                .map_or(fleet_core::store::ColumnType::Int, |order| order.r#type);
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

/// A stretch of a list.
#[derive(Clone, Debug)]
pub(crate) enum Page {
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
