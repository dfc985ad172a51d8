//! From one schema to the next: what a store lacks, and the schema that it has. Pure.

use std::{collections::BTreeMap, sync::Arc};

use super::{Column, ColumnType, Error, Indexer, KindSchema, LaneSchema, Name, Result, Schema, SchemaReport};

/// What a store says it was prepared for: one kind, lane or set of latest values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// `kind`, `lane` or `latest`.
    pub r#type: String,
    /// Its name.
    pub name: String,
    /// `chained` for such a lane, otherwise empty.
    pub form: String,
    /// The columns that are filled, each with its [`Column::spec`].
    pub columns: BTreeMap<String, String>,
}

impl Column {
    /// How it is declared, as a text to compare: `int`, `text many`, `id unique`.
    pub fn spec(&self) -> String {
        let r#type = match self.r#type {
            ColumnType::Int => "int",
            ColumnType::Text => "text",
            ColumnType::Id => "id",
        };
        let more = match (self.many, self.unique) {
            (true, _) => " many",
            (false, true) => " unique",
            (false, false) => "",
        };
        format!("{type}{more}")
    }
}

impl Schema {
    /// What preparing this schema does to a store that was prepared for something else: see [`super::Backend::pending`].
    pub fn pending(&self, prepared: impl IntoIterator<Item = Prepared>) -> Result<SchemaReport> {
        let mut there: BTreeMap<(String, String), Prepared> = prepared
            .into_iter()
            .map(|prepared| ((prepared.r#type.clone(), prepared.name.clone()), prepared))
            .collect();
        let mut report = SchemaReport::default();
        let mut compare = |r#type: &str, name: Name, form: &str, columns: &[Column]| {
            let Some(prepared) = there.remove(&(r#type.to_owned(), name.to_owned())) else {
                report.created.push(name.to_owned());
                return Ok(());
            };
            if prepared.form != form {
                return Err(Error::Refused(format!(
                    "{type} {name} is stored in another form ({:?}, not {form:?})",
                    prepared.form
                )));
            }
            let lacks = |column: &&Column| prepared.columns.get(column.name) != Some(&column.spec());
            let lacking = columns.iter().filter(lacks);
            report
                .filled
                .extend(lacking.map(|column| format!("{name}.{}", column.name)));
            Ok(())
        };
        for kind in self.kinds() {
            compare("kind", kind.name, "", &kind.columns)?;
        }
        for lane in self.lanes() {
            compare(
                "lane",
                lane.name,
                if lane.chained { "chained" } else { "" },
                &lane.columns,
            )?;
        }
        for latest in self.latests() {
            compare("latest", latest.name, "", &[])?;
        }
        match there.first_key_value() {
            None => Ok(report),
            Some(((r#type, name), _)) => Err(Error::Refused(format!(
                "the store holds the {type} {name}, which this version does not know; a newer version wrote it. Start that version"
            ))),
        }
    }

    /// The schema that a store has of which [`super::Backend::pending`] reported this: without what would be created or filled.
    /// Preparing it loses nothing and adds nothing that could not be computed anew, so that the store can be read as it is.
    pub fn before(&self, report: &SchemaReport) -> Self {
        let is_new = |name: Name| report.created.iter().any(|created| created == name);
        let is_filled = |name: Name, column: &Column| {
            report
                .filled
                .iter()
                .any(|filled| *filled == format!("{name}.{}", column.name))
        };
        let mut before = Self::default();
        for kind in self.kinds().filter(|kind| !is_new(kind.name)) {
            let (columns, indexer) = cut(&kind.columns, &kind.indexer, |column| !is_filled(kind.name, column));
            let has = |name: &Name| columns.iter().any(|column| column.name == *name);
            let older = KindSchema {
                name: kind.name,
                indexes: kind
                    .indexes
                    .iter()
                    .filter(|index| index.iter().all(has))
                    .cloned()
                    .collect(),
                columns,
                indexer,
            };
            before.kinds.insert(kind.name, Arc::new(older));
        }
        for lane in self.lanes().filter(|lane| !is_new(lane.name)) {
            let (columns, indexer) = cut(&lane.columns, &lane.indexer, |column| !is_filled(lane.name, column));
            let older = LaneSchema {
                name: lane.name,
                chained: lane.chained,
                columns,
                indexer,
            };
            before.lanes.insert(lane.name, Arc::new(older));
        }
        let latests = self.latest.iter().filter(|(name, _)| !is_new(name));
        before.latest = latests.map(|(name, set)| (*name, set.clone())).collect();
        before
    }

    /// Every name of a kind, a lane or a set of latest values.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        let kinds = self.kinds.keys().chain(self.lanes.keys());
        kinds.chain(self.latest.keys()).copied()
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.names().next().is_none()
    }
}

/// The columns to keep, and an indexer that computes only those.
fn cut(columns: &[Column], indexer: &Indexer, keep: impl Fn(&Column) -> bool) -> (Vec<Column>, Indexer) {
    let kept: Vec<bool> = columns.iter().map(keep).collect();
    if kept.iter().all(|kept| *kept) {
        return (columns.to_vec(), Arc::clone(indexer));
    }
    let columns = columns.iter().zip(&kept).filter(|(_, kept)| **kept);
    let columns = columns.map(|(column, _)| *column).collect();
    let whole = Arc::clone(indexer);
    let indexer: Indexer = Arc::new(move |body| {
        let values = whole(body)?;
        Ok(values
            .into_iter()
            .zip(&kept)
            .filter(|(_, kept)| **kept)
            .map(|(values, _)| values)
            .collect())
    });
    (columns, indexer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LatestSchema, Value};

    const NAME: Column = Column::unique("name", ColumnType::Text);
    const TAG: Column = Column::many("tag", ColumnType::Text);
    const SIZE: Column = Column::one("size", ColumnType::Int);

    fn schema() -> Schema {
        let indexer: Indexer = Arc::new(|_| Ok(vec![vec!["n".into()], vec!["t".into()], vec![Value::Int(7)]]));
        let kind = KindSchema {
            name: "device",
            columns: vec![NAME, TAG, SIZE],
            indexes: vec![vec!["name", "size"], vec!["name"]],
            indexer,
        };
        let lane = LaneSchema {
            name: "audit",
            columns: Vec::new(),
            chained: true,
            indexer: Arc::new(|_| Ok(Vec::new())),
        };
        let schema = Schema::default()
            .with_kind(kind)
            .and_then(|schema| schema.with_lane(lane));
        schema
            .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
            .unwrap()
    }

    fn prepared(r#type: &str, name: &str, form: &str, columns: &[Column]) -> Prepared {
        Prepared {
            r#type: r#type.to_owned(),
            name: name.to_owned(),
            form: form.to_owned(),
            columns: columns
                .iter()
                .map(|column| (column.name.to_owned(), column.spec()))
                .collect(),
        }
    }

    #[track_caller]
    fn check(there: Vec<Prepared>, expected: Result<(&[&str], &[&str]), &str>) {
        match (schema().pending(there), expected) {
            (Ok(report), Ok((created, filled))) => {
                assert_eq!(report.created, created);
                assert_eq!(report.filled, filled);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn what_a_store_lacks_is_created_or_filled() {
        check(vec![], Ok((&["device", "audit", "state"], &[])));
        let all = || {
            vec![
                prepared("kind", "device", "", &[NAME, TAG, SIZE]),
                prepared("lane", "audit", "chained", &[]),
                prepared("latest", "state", "", &[]),
            ]
        };
        check(all(), Ok((&[], &[])));
        let mut older = all();
        older[0] = prepared("kind", "device", "", &[NAME, Column::one("tag", ColumnType::Text)]);
        older.pop();
        check(older, Ok((&["state"], &["device.tag", "device.size"])));
        let mut newer = all();
        newer.push(prepared("kind", "tomorrow", "", &[]));
        check(newer, Err("newer version"));
        let mut unchained = all();
        unchained[1].form.clear();
        check(unchained, Err("another form"));
    }

    #[test]
    fn the_schema_before_computes_only_what_was_there() {
        let report = SchemaReport {
            created: vec!["state".into()],
            filled: vec!["device.tag".into(), "device.size".into()],
        };
        let before = schema().before(&report);
        assert_eq!(before.names().collect::<Vec<_>>(), ["device", "audit"]);
        let device = before.kind("device").unwrap();
        assert_eq!(device.columns, [NAME]);
        assert_eq!(device.indexes, [["name"]]);
        assert_eq!(device.index(b"{}").unwrap(), [[Value::from("n")]]);
        assert!(schema().before(&schema().pending([]).unwrap()).is_empty());
    }
}
