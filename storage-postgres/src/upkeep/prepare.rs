//! Makes what a schema needs, and fills what is new in bounded steps that a restart, or another server, resumes.
//!
//! ```text
//!   declared = ours?  nothing to do, and no lock taken
//!   shape    tables and columns, in one transaction that keeps writers out; from then on nobody may write (declared = '')
//!   fill     new columns of old tables, step by step (fill.rs)
//!   finish   indexes, views for people; declared = ours: whoever declares the same may write
//! ```

use std::{collections::BTreeMap, sync::Arc};

use fleet_core::store::{Column, Error, Key, Name, Prepared, Result, Schema, SchemaReport};
use sqlx::{
    Row as _,
    postgres::{PgConnection, PgRow},
};

use super::{end, fill, partitions, views};
use crate::{
    PostgresStore,
    error::{Class, class, from_engine},
    sql::Sql,
    tables::{Fixed, KindTable, Tables},
    writer::{Failure, Stands},
};

/// What the catalogue says of one kind, lane or set.
#[derive(Debug, Default)]
struct Stored {
    spec: String,
    /// Column to spec.
    columns: BTreeMap<String, String>,
}

type Catalogue = BTreeMap<(String, String), Stored>;

/// Prepares the store; it may be used afterwards.
pub(crate) async fn prepare(store: &PostgresStore, schema: &Schema) -> Result<SchemaReport> {
    let tables = Arc::new(Tables::new(&store.server().fixed.namespace, schema));
    let mut report = SchemaReport::default();
    let fixed = &store.server().fixed;
    let (lent, rows) = store.others().begin(&fixed.begin.then(&fixed.stands)).await?;
    let stands = Stands::read(&rows)?;
    drop(lent);
    if stands.check_declared(&tables).is_err() {
        stands.standing.phase.check_serving()?;
        let (mut lent, rows) = store.others().begin(&fixed.begin_alone).await?;
        let now = partitions::now(lent.conn()?, fixed, &store.options().lease_clock).await;
        let shaped = match now {
            Ok(now) => {
                let shaper = Shaper {
                    conn: lent.conn()?,
                    fixed,
                    tables: &tables,
                    report: &mut report,
                };
                shaper.shape(schema, &rows, now).await
            }
            Err(error) => Err(error.into()),
        };
        end(lent, shaped).await?;
        fill::fill(store, &tables, &mut report).await?;
        let (mut lent, _) = store.others().begin(&fixed.begin_alone).await?;
        let finished = finish(lent.conn()?, fixed, &tables, &report).await;
        end(lent, finished).await?;
    }
    store.shared().found_at(stands.seq);
    store.shared().set_tables(tables);
    Ok(report)
}

/// What preparing would change; changes nothing.
pub(crate) async fn pending(store: &PostgresStore, schema: &Schema) -> Result<SchemaReport> {
    let fixed = &store.server().fixed;
    let (mut lent, _) = store.others().begin(&fixed.begin).await?;
    let mut stored: BTreeMap<(String, String), Prepared> = BTreeMap::new();
    let rows = fixed
        .catalogue
        .query()
        .fetch_all(lent.conn()?)
        .await
        .map_err(from_engine)?;
    for row in rows {
        let text = |n: usize| row.try_get::<String, _>(n).map_err(from_engine);
        let (r#type, name, column, spec) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let entry = stored.entry((r#type.clone(), name.clone()));
        let prepared = entry.or_insert_with(|| Prepared {
            r#type,
            name,
            ..Prepared::default()
        });
        if column.is_empty() {
            prepared.form = spec;
        } else if row.try_get(4).map_err(from_engine)? {
            prepared.columns.insert(column, spec);
        }
    }
    schema.pending(stored.into_values())
}

/// Refused when another version is preparing the store as well, and came later.
pub(super) async fn check_ours(conn: &mut PgConnection, fixed: &Fixed, tables: &Tables) -> Result<(), Failure> {
    let row = fixed.shape.query().fetch_one(conn).await?;
    let (declared, preparing): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    if preparing == tables.declared || declared == tables.declared {
        Ok(())
    } else {
        let text = "another version of this program is preparing the store; start only one of them";
        Err(Error::Refused(text.into()).into())
    }
}

/// Brings the tables into the declared shape.
struct Shaper<'s> {
    conn: &'s mut PgConnection,
    fixed: &'s Fixed,
    tables: &'s Tables,
    report: &'s mut SchemaReport,
}

/// What is to be done for one owner.
struct Owner<'o> {
    r#type: &'static str,
    name: Name,
    spec: &'static str,
    columns: &'o [Column],
}

impl Shaper<'_> {
    async fn shape(
        mut self,
        schema: &Schema,
        rows: &[PgRow],
        now: fleet_core::kernel::Timestamp,
    ) -> Result<(), Failure> {
        Stands::read(rows)?.standing.phase.check_serving()?;
        let mut stored = self.catalogue().await?;
        for kind in schema.kinds() {
            let table = self.tables.kind(kind.name)?;
            let owner = Owner {
                r#type: "kind",
                name: kind.name,
                spec: "",
                columns: &kind.columns,
            };
            let mut create = vec![table.create()];
            create.extend(kind.columns.iter().flat_map(|column| table.create_column(column)));
            let uniques = kind.columns.iter().filter(|column| column.unique);
            create.extend(uniques.map(|column| table.create_unique(column)));
            create.extend(table.indexes().into_iter().map(|(_, sql)| sql));
            let namespace = &self.fixed.namespace;
            self.owner(
                owner,
                &mut stored,
                create,
                |column| table.create_column(column),
                |column, many| table.drop_column(namespace, column, many),
            )
            .await?;
        }
        for lane in schema.lanes() {
            let table = self.tables.lane(lane.name)?;
            let owner = Owner {
                r#type: "lane",
                name: lane.name,
                spec: if lane.chained { "chained" } else { "" },
                columns: &lane.columns,
            };
            let mut create = table.create();
            create.extend(lane.columns.iter().map(|column| table.create_column(column)));
            create.extend(lane.columns.iter().map(|column| table.create_index(column)));
            create.extend(partitions::first_days(self.fixed, table, now));
            self.owner(
                owner,
                &mut stored,
                create,
                |column| vec![table.create_column(column)],
                |column, _| crate::tables::drop_column(&table.table, column),
            )
            .await?;
        }
        for latest in schema.latests() {
            let table = self.tables.latest(latest.name)?;
            let owner = Owner {
                r#type: "latest",
                name: latest.name,
                spec: "",
                columns: &[],
            };
            let nothing = |_: &str, _: bool| Sql::new("SELECT 1");
            self.owner(owner, &mut stored, vec![table.create()], |_| Vec::new(), nothing)
                .await?;
        }
        if let Some(((r#type, owner), _)) = stored.first_key_value() {
            return Err(Error::Refused(format!(
                "the store holds the {type} {owner}, which this version does not know; a newer version wrote it. Start that \
                 version"
            ))
            .into());
        }
        let preparing = self.fixed.set_preparing.query().bind(&self.tables.declared);
        preparing.execute(self.conn).await?;
        Ok(())
    }

    async fn catalogue(&mut self) -> Result<Catalogue, Failure> {
        let mut catalogue = Catalogue::new();
        for row in self.fixed.catalogue.query().fetch_all(&mut *self.conn).await? {
            let stored = catalogue.entry((row.try_get(0)?, row.try_get(1)?)).or_default();
            let (column, spec): (String, String) = (row.try_get(2)?, row.try_get(3)?);
            if column.is_empty() {
                stored.spec = spec;
            } else {
                stored.columns.insert(column, spec);
            }
        }
        Ok(catalogue)
    }

    async fn owner(
        &mut self,
        owner: Owner<'_>,
        stored: &mut Catalogue,
        create: Vec<Sql>,
        add: impl Fn(&Column) -> Vec<Sql>,
        drop_column: impl Fn(&str, bool) -> Sql,
    ) -> Result<(), Failure> {
        let there = stored.remove(&(owner.r#type.to_owned(), owner.name.to_owned()));
        let Some(there) = there else {
            // With its indexes: there is nothing to fill.
            self.run(create).await?;
            self.note(&owner, "", owner.spec, true).await?;
            for column in owner.columns {
                self.note(&owner, column.name, &column.spec(), true).await?;
            }
            self.report.created.push(owner.name.to_owned());
            return Ok(());
        };
        if there.spec != owner.spec {
            return Err(Error::Refused(format!(
                "{} {} is stored in another form ({:?}, not {:?})",
                owner.r#type, owner.name, there.spec, owner.spec
            ))
            .into());
        }
        let unchanged = |column: &Column| there.columns.get(column.name) == Some(&column.spec());
        for (name, spec) in &there.columns {
            if owner
                .columns
                .iter()
                .any(|column| column.name == name && unchanged(column))
            {
                continue;
            }
            self.run(vec![drop_column(name, spec.contains("many"))]).await?;
            let forget = self.fixed.forget_column.query().bind(owner.r#type).bind(owner.name);
            forget.bind(name).execute(&mut *self.conn).await?;
        }
        let new: Vec<&Column> = owner.columns.iter().filter(|column| !unchanged(column)).collect();
        for column in &new {
            self.run(add(column)).await?;
            self.note(&owner, column.name, &column.spec(), false).await?;
        }
        if !new.is_empty() {
            // What was filled before does not have the new ones.
            let forget = self.fixed.forget_fill.query().bind(owner.r#type).bind(owner.name);
            forget.execute(&mut *self.conn).await?;
        }
        Ok(())
    }

    async fn run(&mut self, statements: Vec<Sql>) -> Result<(), Failure> {
        let all = statements.into_iter().reduce(|all, next| all.then(&next));
        match all {
            Some(all) => Ok(all.run(self.conn).await?),
            None => Ok(()),
        }
    }

    async fn note(&mut self, owner: &Owner<'_>, column: &str, spec: &str, filled: bool) -> Result<(), Failure> {
        let note = self.fixed.note.query().bind(owner.r#type).bind(owner.name).bind(column);
        note.bind(spec).bind(filled).execute(&mut *self.conn).await?;
        Ok(())
    }
}

/// Makes the indexes of what was there before, forgets those that are not declared any more, makes the views, and lets
/// writers in.
async fn finish(conn: &mut PgConnection, fixed: &Fixed, tables: &Tables, report: &SchemaReport) -> Result<(), Failure> {
    check_ours(conn, fixed, tables).await?;
    let is_new = |name: &str| report.created.iter().any(|created| created == name);
    for table in tables.kinds.values().filter(|table| !is_new(table.kind.name)) {
        finish_kind(conn, fixed, table).await?;
    }
    for table in tables.lanes.values().filter(|table| !is_new(table.lane.name)) {
        for column in &table.lane.columns {
            table.create_index(column).run(conn).await?;
        }
    }
    views::make(conn, fixed, tables).await?;
    fixed.set_declared.query().bind(&tables.declared).execute(conn).await?;
    Ok(())
}

async fn finish_kind(conn: &mut PgConnection, fixed: &Fixed, table: &KindTable) -> Result<(), Failure> {
    let kind = &*table.kind;
    for column in kind.columns.iter().filter(|column| column.unique) {
        // An index that cannot be made must not cost the transaction, which has to say who clashes.
        Sql::new("SAVEPOINT made").run(conn).await?;
        match table.create_unique(column).run(conn).await {
            Ok(()) => Sql::new("RELEASE SAVEPOINT made").run(conn).await?,
            Err(error) if class(&error) == Class::Taken => {
                Sql::new("ROLLBACK TO SAVEPOINT made").run(conn).await?;
                let row = table.clash(column).query().fetch_one(conn).await?;
                return Err(Failure::Store(Error::Taken {
                    column: column.name,
                    holder: Key::new(kind.name, row.try_get(0)?),
                }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let indexes = table.indexes();
    let there = Sql::new("SELECT indexname::text FROM pg_indexes WHERE schemaname = $1 AND tablename = $2");
    let there = there.query().bind(fixed.namespace.bare().to_owned());
    let ours = format!("kind.{}.", kind.name);
    for row in there
        .bind(table.table.name.bare().to_owned())
        .fetch_all(&mut *conn)
        .await?
    {
        let name: String = row.try_get(0)?;
        if name.starts_with(&ours) && !indexes.iter().any(|(index, _)| index.bare() == name) {
            let index = crate::sql::Table::new(&fixed.namespace, &[&name]);
            Sql::new(format!("DROP INDEX IF EXISTS {index}")).run(conn).await?;
        }
    }
    for (_, sql) in indexes {
        sql.run(conn).await?;
    }
    Ok(())
}
