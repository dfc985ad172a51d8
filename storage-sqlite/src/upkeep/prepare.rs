//! Makes what a schema needs and fills what is new, in bounded steps that a restart resumes.

use std::collections::BTreeMap;

use fleet_core::store::{Column, Error, Key, Name, Prepared, Result, Schema, SchemaReport};
use sqlx::Row as _;
use uuid::Uuid;

use crate::{
    error::{from_engine, is_constraint},
    pack::Pack,
    read::stored_row,
    sql::{Ident, Sql, literal, read_bytes, read_id},
    tables::{KindTable, LaneTable, Owner, Tables, drop_column, drop_index},
    writer::{Failure, Sums, Writer},
};

/// Documents or rows that are filled in one transaction.
const STEP: i64 = 128;

/// What the catalogue says of one kind, lane or set.
#[derive(Debug, Default)]
struct Stored {
    spec: String,
    /// Column to spec, and whether it is filled.
    columns: BTreeMap<String, (String, bool)>,
}

type Catalogue = BTreeMap<(String, String), Stored>;

/// Prepares the store; it may be used afterwards.
pub(crate) async fn prepare(writer: &mut Writer, schema: &Schema) -> Result<SchemaReport> {
    let tables = Tables::new(schema);
    let mut report = SchemaReport::default();
    writer.begin().await?;
    let result = shape(writer, schema, &tables, &mut report).await;
    writer.end(result).await?;
    for kind in schema.kinds() {
        fill_kind(writer, tables.kind(kind.name)?, &mut report).await?;
    }
    for lane in schema.lanes() {
        fill_lane(writer, tables.lane(lane.name)?, &mut report).await?;
    }
    writer.shared().set_tables(tables.into());
    writer.load().await?;
    Ok(report)
}

/// What preparing would change; changes nothing.
pub(crate) async fn pending(writer: &mut Writer, schema: &Schema) -> Result<SchemaReport> {
    let stored = catalogue(writer).await.map_err(|Failure(error)| error)?;
    schema.pending(stored.into_iter().map(|((r#type, name), stored)| {
        Prepared {
            r#type,
            name,
            form: stored.spec,
            columns: stored
                .columns
                .into_iter()
                .filter_map(|(column, (spec, filled))| filled.then_some((column, spec)))
                .collect(),
        }
    }))
}

/// Makes tables and columns; new columns of tables that are there are marked to be filled.
async fn shape(
    writer: &mut Writer,
    schema: &Schema,
    tables: &Tables,
    report: &mut SchemaReport,
) -> Result<(), Failure> {
    let before = changes(writer).await?;
    let mut stored = catalogue(writer).await?;
    for kind in schema.kinds() {
        let table = tables.kind(kind.name)?;
        let mut shaper = Shaper::new(writer, Owner::Kind, kind.name, &mut stored);
        shaper
            .owner(
                "",
                || vec![table.create()],
                &kind.columns,
                |column| table.create_column(column),
                report,
            )
            .await?;
    }
    for lane in schema.lanes() {
        let table = tables.lane(lane.name)?;
        let mut shaper = Shaper::new(writer, Owner::Lane, lane.name, &mut stored);
        let spec = if lane.chained { "chained" } else { "" };
        let add = |column: &Column| vec![table.create_column(column)];
        shaper
            .owner(spec, || table.create(), &lane.columns, add, report)
            .await?;
    }
    for latest in schema.latests() {
        let table = tables.latest(latest.name)?;
        let mut shaper = Shaper::new(writer, Owner::Latest, latest.name, &mut stored);
        shaper
            .owner("", || vec![table.create()], &[], |_| Vec::new(), report)
            .await?;
    }
    if changes(writer).await? > before {
        writer.shared().check_serving()?;
    }
    match stored.first_key_value() {
        None => Ok(()),
        Some(((r#type, owner), _)) => Err(Error::Refused(format!(
            "the store holds the {type} {owner}, which this version does not know; a newer version wrote it. Start that \
             version"
        ))
        .into()),
    }
}

/// Rows that the connection has changed; each change of shape is also one of the catalogue.
async fn changes(writer: &mut Writer) -> Result<i64, Failure> {
    let row = literal("SELECT total_changes()").fetch_one(writer.conn()).await?;
    Ok(row.try_get(0)?)
}

async fn catalogue(writer: &mut Writer) -> Result<Catalogue, Failure> {
    let mut catalogue = Catalogue::new();
    let rows = literal("SELECT type, owner, \"column\", spec, filled FROM catalogue ORDER BY type, owner, \"column\"")
        .fetch_all(writer.conn())
        .await?;
    for row in rows {
        let stored = catalogue.entry((row.try_get(0)?, row.try_get(1)?)).or_default();
        let (column, spec): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        if column.is_empty() {
            stored.spec = spec;
        } else {
            let filled: i64 = row.try_get(4)?;
            stored.columns.insert(column, (spec, filled != 0));
        }
    }
    Ok(catalogue)
}

/// Brings one owner's tables into the declared shape.
struct Shaper<'w> {
    writer: &'w mut Writer,
    owner: Owner,
    name: Name,
    stored: Option<Stored>,
}

impl<'w> Shaper<'w> {
    fn new(writer: &'w mut Writer, owner: Owner, name: Name, catalogue: &mut Catalogue) -> Self {
        Self {
            writer,
            owner,
            name,
            stored: catalogue.remove(&(owner.name().to_owned(), name.to_owned())),
        }
    }

    async fn owner(
        &mut self,
        spec: &'static str,
        create: impl Fn() -> Vec<Sql>,
        columns: &[Column],
        add: impl Fn(&Column) -> Vec<Sql>,
        report: &mut SchemaReport,
    ) -> Result<(), Failure> {
        let there = match self.stored.take() {
            None => {
                self.run(create()).await?;
                self.note("", spec, true).await?;
                report.created.push(self.name.to_owned());
                None
            }
            Some(stored) if stored.spec != spec => {
                return Err(Error::Refused(format!(
                    "{} {} is stored in another form ({:?}, not {spec:?})",
                    self.owner.name(),
                    self.name,
                    stored.spec
                ))
                .into());
            }
            Some(stored) => Some(stored.columns),
        };
        let known = there.unwrap_or_default();
        let unchanged = |column: &Column| {
            known
                .get(column.name)
                .is_some_and(|(stored, _)| *stored == column.spec())
        };
        let gone: Vec<_> = known
            .iter()
            .filter(|(name, _)| !columns.iter().any(|column| column.name == *name && unchanged(column)))
            .collect();
        if !gone.is_empty() {
            // A composite index may hold the column; the declared ones are made again.
            self.drop_composites().await?;
        }
        for (name, (spec, _)) in gone {
            let many = spec.contains("many");
            self.run(drop_column(self.owner, self.name, name, many)).await?;
            literal("DELETE FROM catalogue WHERE type = ?1 AND owner = ?2 AND \"column\" = ?3")
                .bind(self.owner.name())
                .bind(self.name)
                .bind(name.clone())
                .execute(self.writer.conn())
                .await?;
        }
        let new: Vec<&Column> = columns.iter().filter(|column| !unchanged(column)).collect();
        for column in &new {
            self.run(add(column)).await?;
            self.note(column.name, &column.spec(), false).await?;
        }
        if !new.is_empty() {
            // What was filled before does not have the new ones.
            literal("DELETE FROM fills WHERE type = ?1 AND owner = ?2")
                .bind(self.owner.name())
                .bind(self.name)
                .execute(self.writer.conn())
                .await?;
        }
        Ok(())
    }

    async fn run(&mut self, statements: Vec<Sql>) -> Result<(), Failure> {
        for statement in statements {
            statement.once(self.writer.conn()).await?;
        }
        Ok(())
    }

    async fn note(&mut self, column: &str, spec: &str, filled: bool) -> Result<(), Failure> {
        literal("INSERT INTO catalogue (type, owner, \"column\", spec, filled) VALUES (?1, ?2, ?3, ?4, ?5)")
            .bind(self.owner.name())
            .bind(self.name)
            .bind(column.to_owned())
            .bind(spec.to_owned())
            .bind(i64::from(filled))
            .execute(self.writer.conn())
            .await?;
        Ok(())
    }

    async fn drop_composites(&mut self) -> Result<(), Failure> {
        for index in composites(self.writer, self.owner, self.name).await? {
            drop_index(&index).once(self.writer.conn()).await?;
        }
        Ok(())
    }
}

/// The composite indexes that are there, by name: `kind.device.a.b`.
async fn composites(writer: &mut Writer, owner: Owner, name: Name) -> Result<Vec<Ident>, Failure> {
    let table = Ident::new(&[owner.name(), name]);
    let rows = literal("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL")
        .bind(table.bare().to_owned())
        .fetch_all(writer.conn())
        .await?;
    let mut found = Vec::new();
    for row in rows {
        let index: String = row.try_get(0)?;
        let parts: Vec<&str> = index.split('.').collect();
        if owner == Owner::Kind && parts.len() > 3 {
            found.push(Ident::new(&parts));
        }
    }
    Ok(found)
}

/// The declared columns that are not filled, and how far their filling came.
struct Fill {
    columns: Vec<Column>,
    /// The last document or row that was filled.
    stream: Vec<u8>,
    at: i64,
    n: i64,
}

async fn fill_of(writer: &mut Writer, owner: Owner, name: Name, declared: &[Column]) -> Result<Fill, sqlx::Error> {
    let rows = literal("SELECT \"column\" FROM catalogue WHERE type = ?1 AND owner = ?2 AND filled = 0")
        .bind(owner.name())
        .bind(name)
        .fetch_all(writer.conn())
        .await?;
    let unfilled: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let unfilled = unfilled?;
    let place = literal("SELECT stream, at, n FROM fills WHERE type = ?1 AND owner = ?2")
        .bind(owner.name())
        .bind(name)
        .fetch_optional(writer.conn())
        .await?;
    let mut fill = Fill {
        columns: declared
            .iter()
            .filter(|column| unfilled.iter().any(|name| name == column.name))
            .copied()
            .collect(),
        // Before everything: the empty blob comes before every id.
        stream: Vec::new(),
        at: i64::MIN,
        n: -1,
    };
    if let Some(row) = place {
        fill.stream = row.try_get(0)?;
        fill.at = row.try_get(1)?;
        fill.n = row.try_get(2)?;
    }
    Ok(fill)
}

async fn save_place(writer: &mut Writer, owner: Owner, name: Name, place: (Uuid, i64, i64)) -> Result<(), sqlx::Error> {
    literal(
        "INSERT INTO fills (type, owner, stream, at, n) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (type, owner) \
         DO UPDATE SET stream = excluded.stream, at = excluded.at, n = excluded.n",
    )
    .bind(owner.name())
    .bind(name)
    .bind(place.0.as_bytes().to_vec())
    .bind(place.1)
    .bind(place.2)
    .execute(writer.conn())
    .await
    .map(drop)
}

async fn mark_filled(writer: &mut Writer, owner: Owner, name: Name) -> Result<(), sqlx::Error> {
    for statement in [
        literal("UPDATE catalogue SET filled = 1 WHERE type = ?1 AND owner = ?2"),
        literal("DELETE FROM fills WHERE type = ?1 AND owner = ?2"),
    ] {
        statement.bind(owner.name()).bind(name).execute(writer.conn()).await?;
    }
    Ok(())
}

async fn fill_kind(writer: &mut Writer, table: &KindTable, report: &mut SchemaReport) -> Result<()> {
    let kind = &*table.kind;
    loop {
        let fill = fill_of(writer, Owner::Kind, kind.name, &kind.columns).await;
        let fill = fill.map_err(from_engine)?;
        writer.begin().await?;
        let step = fill_documents(writer, table, &fill).await;
        if writer.end(step).await? {
            continue;
        }
        writer.begin().await?;
        let done = finish_kind(writer, table, &fill).await;
        writer.end(done).await?;
        // A kind that is new has nothing to fill.
        if !report.created.iter().any(|created| created == kind.name) {
            let named = |column: &Column| format!("{}.{}", kind.name, column.name);
            report.filled.extend(fill.columns.iter().map(named));
        }
        return Ok(());
    }
}

/// Fills a step; says whether there may be more.
async fn fill_documents(writer: &mut Writer, table: &KindTable, fill: &Fill) -> Result<bool, Failure> {
    if fill.columns.is_empty() {
        return Ok(false);
    }
    let kind = &*table.kind;
    let rows = table.walk.query().bind(fill.stream.clone()).bind(STEP);
    let rows = rows.fetch_all(writer.conn()).await?;
    let Some(last) = rows.last() else { return Ok(false) };
    let place = (read_id(last, 0)?, 0, 0);
    let mut values = Pack::new();
    let mut many: Vec<Pack> = table.many.iter().map(|_| Pack::new()).collect();
    for row in &rows {
        let (id, body) = (read_id(row, 0)?, read_bytes(row, 5)?);
        let index = kind.index(&body)?;
        let sums = Sums::of(table, &index);
        values.row().id(&id).bytes(&sums.singles).sum(&sums.many);
        for (column, list) in kind.columns.iter().zip(&index) {
            if !column.many {
                match list.first() {
                    Some(value) => values.value(value),
                    None => values.null(),
                };
            }
        }
        for (table, pack) in table.many.iter().zip(&mut many) {
            if fill.columns.contains(&table.column) {
                let place = pack.place(&id);
                for value in &index[table.position] {
                    pack.row().value(value).int(place);
                }
            }
        }
    }
    table.fill.pack(values).execute(writer.conn()).await?;
    for (table, pack) in table.many.iter().zip(many) {
        if !pack.is_empty() {
            table.insert.pack(pack).execute(writer.conn()).await?;
        }
    }
    save_place(writer, Owner::Kind, kind.name, place).await?;
    Ok(true)
}

/// Makes the indexes, and forgets composite ones that are not declared any more.
async fn finish_kind(writer: &mut Writer, table: &KindTable, fill: &Fill) -> Result<(), Failure> {
    let kind = &*table.kind;
    for column in &fill.columns {
        for statement in table.create_indexes(column) {
            match statement.once(writer.conn()).await {
                Ok(()) => {}
                Err(error) if column.unique && is_constraint(&error) => {
                    let row = table
                        .clash(column)
                        .query()
                        .persistent(false)
                        .fetch_one(writer.conn())
                        .await?;
                    return Err(Failure(Error::Taken {
                        column: column.name,
                        holder: Key::new(kind.name, read_id(&row, 0)?),
                    }));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    let there = composites(writer, Owner::Kind, kind.name).await?;
    let declared = table.composite_indexes();
    for index in there
        .iter()
        .filter(|index| !declared.iter().any(|(name, _)| name == *index))
    {
        drop_index(index).once(writer.conn()).await?;
    }
    // A store that is being filled makes them in the end.
    let missing = declared.iter().filter(|(name, _)| !there.contains(name));
    for (_, statement) in missing.filter(|_| !writer.shared().is_put_off()).collect::<Vec<_>>() {
        statement.once(writer.conn()).await?;
    }
    if !fill.columns.is_empty() {
        mark_filled(writer, Owner::Kind, kind.name).await?;
    }
    Ok(())
}

async fn fill_lane(writer: &mut Writer, table: &LaneTable, report: &mut SchemaReport) -> Result<()> {
    let lane = &*table.lane;
    loop {
        let fill = fill_of(writer, Owner::Lane, lane.name, &lane.columns).await;
        let fill = fill.map_err(from_engine)?;
        if fill.columns.is_empty() {
            return Ok(());
        }
        writer.begin().await?;
        let step = fill_rows(writer, table, &fill).await;
        if writer.end(step).await? {
            continue;
        }
        writer.begin().await?;
        let done = finish_lane(writer, table, &fill).await;
        writer.end(done).await?;
        if !report.created.iter().any(|created| created == lane.name) {
            let named = |column: &Column| format!("{}.{}", lane.name, column.name);
            report.filled.extend(fill.columns.iter().map(named));
        }
        return Ok(());
    }
}

async fn fill_rows(writer: &mut Writer, table: &LaneTable, fill: &Fill) -> Result<bool, Failure> {
    let lane = &*table.lane;
    let statement = table.walk.query().bind(fill.stream.clone()).bind(fill.at).bind(fill.n);
    let rows = statement.bind(STEP).fetch_all(writer.conn()).await?;
    let mut place = None;
    let mut values = Pack::new();
    for row in &rows {
        let row = stored_row(row, lane.chained)?.row;
        let index = lane.index(&row.body)?;
        let n = i64::from(row.n);
        values.row().id(&row.stream).int(row.at).int(n);
        for value in &index {
            values.value(value);
        }
        place = Some((row.stream, row.at, n));
    }
    let Some(place) = place else { return Ok(false) };
    table.fill.pack(values).execute(writer.conn()).await?;
    save_place(writer, Owner::Lane, lane.name, place).await?;
    Ok(true)
}

async fn finish_lane(writer: &mut Writer, table: &LaneTable, fill: &Fill) -> Result<(), Failure> {
    for column in &fill.columns {
        table.create_index(column).once(writer.conn()).await?;
    }
    mark_filled(writer, Owner::Lane, table.lane.name).await?;
    Ok(())
}
