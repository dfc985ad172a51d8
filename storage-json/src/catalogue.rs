//! The schema as it is stored, and what a new one changes.

use std::collections::BTreeMap;

use fleet_core::store::{Column, ColumnType, Error, Result, Schema, SchemaReport};
use serde::{Deserialize, Serialize};

/// What the store was prepared for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Catalogue {
    kinds: BTreeMap<String, Vec<StoredColumn>>,
    lanes: BTreeMap<String, StoredLane>,
    latest: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredLane {
    chained: bool,
    columns: Vec<StoredColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredColumn {
    name: String,
    r#type: StoredType,
    many: bool,
    unique: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredType {
    Int,
    Text,
    Id,
}

fn stored(columns: &[Column]) -> Vec<StoredColumn> {
    let stored = |column: &Column| StoredColumn {
        name: column.name.to_owned(),
        r#type: match column.r#type {
            ColumnType::Int => StoredType::Int,
            ColumnType::Text => StoredType::Text,
            ColumnType::Id => StoredType::Id,
        },
        many: column.many,
        unique: column.unique,
    };
    columns.iter().map(stored).collect()
}

impl Catalogue {
    pub(crate) fn of(schema: &Schema) -> Self {
        Self {
            kinds: schema
                .kinds()
                .map(|kind| (kind.name.to_owned(), stored(&kind.columns)))
                .collect(),
            lanes: schema
                .lanes()
                .map(|lane| {
                    let stored = StoredLane {
                        chained: lane.chained,
                        columns: stored(&lane.columns),
                    };
                    (lane.name.to_owned(), stored)
                })
                .collect(),
            latest: schema.latests().map(|set| set.name.to_owned()).collect(),
        }
    }

    /// What preparing `next` changes. What is stored must stay visible: an older version of the program must not work on a
    /// newer store.
    pub(crate) fn prepare(&self, next: &Self) -> Result<SchemaReport> {
        let missing = |what: &str, name: &str| {
            Err(Error::Refused(format!(
                "the store holds {what} {name}, which is not declared"
            )))
        };
        if let Some(name) = self.kinds.keys().find(|name| !next.kinds.contains_key(*name)) {
            return missing("kind", name);
        }
        if let Some(name) = self.latest.iter().find(|name| !next.latest.contains(name)) {
            return missing("latest values", name);
        }
        for (name, lane) in &self.lanes {
            match next.lanes.get(name) {
                None => return missing("lane", name),
                Some(next) if next.chained != lane.chained => {
                    return Err(Error::Refused(format!(
                        "lane {name} cannot begin or cease to be chained"
                    )));
                }
                Some(_) => {}
            }
        }
        let mut report = SchemaReport::default();
        let mut compare = |name: &String, was: Option<&Vec<StoredColumn>>, is: &[StoredColumn]| match was {
            None => report.created.push(name.clone()),
            Some(was) => {
                let added = is.iter().filter(|column| !was.contains(column));
                report
                    .filled
                    .extend(added.map(|column| format!("{name}.{}", column.name)));
            }
        };
        for (name, columns) in &next.kinds {
            compare(name, self.kinds.get(name), columns);
        }
        for (name, lane) in &next.lanes {
            compare(name, self.lanes.get(name).map(|lane| &lane.columns), &lane.columns);
        }
        let created = next.latest.iter().filter(|name| !self.latest.contains(name));
        report.created.extend(created.cloned());
        Ok(report)
    }
}
