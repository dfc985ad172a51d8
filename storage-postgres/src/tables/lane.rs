//! The tables of a lane. One that is not chained has a partition for each of the coming days, and one for the rest.

use std::{collections::BTreeMap, sync::Arc};

use fleet_core::store::{Column, LaneSchema, Name, group::Place};
use uuid::Uuid;

use super::add_column;
use crate::sql::{Ident, Sql, Table, sql_type};

/// Places of one lane as a statement takes them: streams, times, numbers.
pub(crate) type Places = (Vec<Uuid>, Vec<i64>, Vec<i64>);

/// Places by lane.
pub(crate) fn by_lane(places: &[Place]) -> BTreeMap<Name, Places> {
    let mut lanes: BTreeMap<Name, Places> = BTreeMap::new();
    for place in places {
        let (streams, ats, ns) = lanes.entry(place.lane).or_default();
        streams.push(place.stream);
        ats.push(place.at);
        ns.push(i64::from(place.n));
    }
    lanes
}

/// A lane and its statements.
#[derive(Debug)]
pub(crate) struct LaneTable {
    pub(crate) lane: Arc<LaneSchema>,
    pub(crate) table: Table,
    /// The partition for whatever has no day of its own; none where the lane is chained.
    pub(crate) rest: Option<Table>,
    /// `stream, at, n, body` of the rows (streams, ats, ns, least at, greatest at).
    pub(crate) places: Sql,
    /// Copies rows (stream, at, n, body, values …; number and hash where chained).
    pub(crate) insert: Sql,
    /// Inserts rows whose places are free (the same, as arrays).
    pub(crate) append: Sql,
    /// Inserts or replaces rows (the same, as arrays).
    pub(crate) replace: Sql,
    /// Removes rows (streams, ats, ns).
    pub(crate) remove: Sql,
    /// `stream, at, n, body, [number, hash]` of the rows (streams, ats, ns).
    pub(crate) at: Sql,
    /// Removes so many rows before a time.
    pub(crate) trim: Sql,
    /// Sets values (streams, ats, ns, values …).
    pub(crate) fill: Sql,
    /// `stream, at, n, body, [number, hash]` after a place, at most so many.
    pub(crate) page: Sql,
    /// `stream, at, n, body, [number, hash,] values …` after a place, at most so many.
    pub(crate) walk: Sql,
    /// `stream, at, n, body, number, hash` after a number, at most so many.
    pub(crate) chain: Sql,
}

impl LaneTable {
    pub(super) fn new(namespace: &Ident, lane: &Arc<LaneSchema>) -> Self {
        let table = Table::new(namespace, &["lane", lane.name]);
        let named = |of: &dyn Fn(usize, &Ident) -> String| -> String {
            let columns = lane.columns.iter().enumerate();
            columns.map(|(n, column)| of(n, &Ident::new(&[column.name]))).collect()
        };
        let arrays = |first: usize| -> String {
            let columns = lane.columns.iter().enumerate();
            columns
                .map(|(n, column)| format!(", ${}::{}[]", first + n, sql_type(column.r#type)))
                .collect()
        };
        let link = if lane.chained { ", t._number, t._hash" } else { "" };
        let after = 5 + lane.columns.len();
        let (link_names, link_arrays, link_places, link_values) = if lane.chained {
            (
                ", _number, _hash",
                format!(", ${after}::bigint[], ${}::bytea[]", after + 1),
                ", number, hash",
                ", j.number, j.hash",
            )
        } else {
            ("", String::new(), "", "")
        };
        let places = named(&|n, _| format!(", c{n}"));
        let insert = format!(
            "INSERT INTO {table} (stream, at, n, body{names}{link_names}) \
             SELECT j.stream, j.at, j.n, j.body::json{values}{link_values} \
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[]{arrays}{link_arrays}) \
             AS j(stream, at, n, body{places}{link_places})",
            names = named(&|_, name| format!(", {name}")),
            values = named(&|n, _| format!(", j.c{n}")),
            arrays = arrays(5),
        );
        let link_sets = if lane.chained {
            ", _number = excluded._number, _hash = excluded._hash"
        } else {
            ""
        };
        let which = "FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS j(stream, at, n)";
        let same = "t.stream = j.stream AND t.at = j.at AND t.n = j.n";
        Self {
            append: Sql::new(insert.as_str()),
            replace: Sql::new(format!(
                "{insert} ON CONFLICT (stream, at, n) DO UPDATE SET body = excluded.body{}{link_sets}",
                named(&|_, name| format!(", {name} = excluded.{name}"))
            )),
            remove: Sql::new(format!(
                "DELETE FROM {table} t USING unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS j(stream, at, n) WHERE {same}"
            )),
            at: Sql::new(format!(
                "SELECT t.stream, t.at, t.n, t.body{link} {which} JOIN {table} t ON {same}"
            )),
            insert: Sql::new(format!(
                "COPY {table} (stream, at, n, body{}{link_names}) FROM STDIN (FORMAT binary)",
                named(&|_, name| format!(", {name}"))
            )),
            rest: (!lane.chained).then(|| Table::new(namespace, &["part", lane.name, "rest"])),
            places: Sql::new(format!(
                "SELECT t.stream, t.at, t.n, t.body {which} JOIN {table} t ON {same} WHERE t.at >= $4 AND t.at <= $5"
            )),
            trim: Sql::new(format!(
                "DELETE FROM {table} t USING (SELECT o.stream, o.at, o.n FROM {table} o WHERE o.at < $1 \
                 ORDER BY o.at, o.stream, o.n LIMIT $2) d \
                 WHERE t.stream = d.stream AND t.at = d.at AND t.n = d.n AND t.at < $1"
            )),
            fill: Sql::new(if lane.columns.is_empty() {
                String::from("SELECT 1")
            } else {
                let sets = named(&|n, name| format!(", {name} = j.c{n}"));
                format!(
                    "UPDATE {table} t SET {} FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]{}) \
                     AS j(stream, at, n{places}) WHERE t.stream = j.stream AND t.at = j.at AND t.n = j.n",
                    sets.trim_start_matches(", "),
                    arrays(4)
                )
            }),
            page: Sql::new(format!(
                "SELECT t.stream, t.at, t.n, t.body{link} FROM {table} t WHERE (t.stream, t.at, t.n) > ($1, $2, $3) \
                 ORDER BY t.stream, t.at, t.n LIMIT $4"
            )),
            walk: Sql::new(format!(
                "SELECT t.stream, t.at, t.n, t.body{link}{} FROM {table} t WHERE (t.stream, t.at, t.n) > ($1, $2, $3) \
                 ORDER BY t.stream, t.at, t.n LIMIT $4",
                named(&|_, name| format!(", t.{name}"))
            )),
            chain: Sql::new(if lane.chained {
                format!(
                    "SELECT t.stream, t.at, t.n, t.body{link} FROM {table} t WHERE t._number > $1 \
                     ORDER BY t._number LIMIT $2"
                )
            } else {
                String::from("SELECT 1 WHERE false")
            }),
            table,
            lane: Arc::clone(lane),
        }
    }

    pub(crate) fn create(&self) -> Vec<Sql> {
        let (table, name) = (&self.table, self.lane.name);
        let columns = "stream uuid NOT NULL, at bigint NOT NULL, n bigint NOT NULL, body json NOT NULL";
        let mut all = match &self.rest {
            Some(rest) => vec![
                Sql::new(format!(
                    "CREATE TABLE {table} ({columns}, PRIMARY KEY (stream, at, n)) PARTITION BY RANGE (at)"
                )),
                Sql::new(format!("CREATE TABLE {rest} PARTITION OF {table} DEFAULT")),
            ],
            None => {
                let link = Ident::new(&["lane", name, "link"]);
                vec![
                    Sql::new(format!(
                        "CREATE TABLE {table} ({columns}, _number bigint NOT NULL, _hash bytea NOT NULL, \
                         PRIMARY KEY (stream, at, n))"
                    )),
                    Sql::new(format!("CREATE UNIQUE INDEX {link} ON {table} (_number)")),
                ]
            }
        };
        all.push(self.by_time().1);
        all
    }

    pub(crate) fn create_column(&self, column: &Column) -> Sql {
        add_column(&self.table, column)
    }

    pub(crate) fn create_index(&self, column: &Column) -> Sql {
        self.by_column(column).1
    }

    /// All indexes but the primary key and the chain's: name and statement.
    pub(crate) fn indexes(&self) -> Vec<(Ident, Sql)> {
        let columns = self.lane.columns.iter().map(|column| self.by_column(column));
        std::iter::once(self.by_time()).chain(columns).collect()
    }

    fn by_time(&self) -> (Ident, Sql) {
        let (table, index) = (&self.table, Ident::new(&["lane", self.lane.name, "at"]));
        let text = format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (at, stream, n)");
        (index, Sql::new(text))
    }

    fn by_column(&self, column: &Column) -> (Ident, Sql) {
        let (table, name) = (&self.table, Ident::new(&[column.name]));
        let index = Ident::new(&["lane", self.lane.name, column.name]);
        let text = format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({name} NULLS FIRST, at, stream, n)");
        (index, Sql::new(text))
    }
}
