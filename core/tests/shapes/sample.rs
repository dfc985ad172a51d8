//! A body as it reaches the store, with what the tests need to know of its type.

use fleet_core::{
    kernel::Timestamp,
    store::{Doc, Entity, JsonObject, Key, LaneRow, LatestValue, Row, Value, decode, encode},
};
use serde_json::Value as Json;
use uuid::Uuid;

/// What a body is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Document,
    Row,
    Latest,
}

/// Reads a body and writes it again.
type Rewrite = fn(&[u8]) -> Result<Vec<u8>, String>;

pub struct Sample {
    /// The kind, the lane or the set of latest values.
    pub name: &'static str,
    /// What is special about this one.
    pub case: &'static str,
    pub role: Role,
    pub version: u32,
    pub body: Vec<u8>,
    /// One list of values per column.
    pub index: Vec<Vec<Value>>,
    pub columns: Vec<&'static str>,
    pub rewrite: Rewrite,
    /// Whether members that this version does not know stay when the body is changed. Rows never change; a latest value is
    /// replaced as a whole.
    pub keeps_unknown: bool,
}

/// A document.
pub fn document<T: Entity>(case: &'static str, value: &T) -> Sample {
    let body = encode(value, &JsonObject::new()).unwrap().to_vec();
    Sample {
        name: T::KIND,
        case,
        role: Role::Document,
        version: T::VERSION,
        body,
        index: value.index(),
        columns: T::columns().iter().map(|column| column.name).collect(),
        rewrite: |body| {
            let doc = Doc {
                key: Key::new(T::KIND, Uuid::nil()),
                rev: 1,
                seq: 1,
                body: body.to_vec().into(),
            };
            let read = decode::<T>(&doc).map_err(|error| error.to_string())?;
            Ok(read.body().map_err(|error| error.to_string())?.to_vec())
        },
        keeps_unknown: true,
    }
}

/// A row of a lane.
pub fn row<T: LaneRow>(case: &'static str, value: &T) -> Sample {
    let row = value.row(Uuid::nil(), Timestamp::EPOCH, 0).unwrap();
    Sample {
        name: T::LANE,
        case,
        role: Role::Row,
        version: T::VERSION,
        body: row.body.to_vec(),
        index: row.index.into_iter().map(|value| vec![value]).collect(),
        columns: T::columns().iter().map(|column| column.name).collect(),
        rewrite: |body| {
            let row = Row {
                stream: Uuid::nil(),
                at: 0,
                n: 0,
                body: body.to_vec().into(),
                index: Vec::new(),
            };
            let value = T::from_row(&row).map_err(|error| error.to_string())?;
            let row = value.row(Uuid::nil(), Timestamp::EPOCH, 0);
            Ok(row.map_err(|error| error.to_string())?.body.to_vec())
        },
        keeps_unknown: false,
    }
}

/// A latest value.
pub fn latest<T: LatestValue>(case: &'static str, value: &T) -> Sample {
    Sample {
        name: T::SET,
        case,
        role: Role::Latest,
        version: T::VERSION,
        body: value.encode().unwrap().to_vec(),
        index: Vec::new(),
        columns: Vec::new(),
        rewrite: |body| {
            let value = T::decode(body).map_err(|error| error.to_string())?;
            Ok(value.encode().map_err(|error| error.to_string())?.to_vec())
        },
        keeps_unknown: false,
    }
}

/// All samples of all modules. The first of a name is the one that stands in the corpus.
pub fn all() -> Vec<Sample> {
    [
        super::access::samples(),
        super::settings::samples(),
        super::storage::samples(),
        super::upkeep::samples(),
        super::agents::samples(),
        super::devices::samples(),
        super::inventory::samples(),
        super::work::samples(),
        super::secrets::samples(),
        super::escrow::samples(),
        super::desired::samples(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Samples as a snapshot shows them: the very bytes, and below them what the index holds.
pub fn show(samples: &[Sample]) -> String {
    let mut text = String::new();
    for sample in samples {
        let role = match sample.role {
            Role::Document => "document",
            Role::Row => "row",
            Role::Latest => "latest value",
        };
        text += &format!("--- {role} {} v{}: {}\n", sample.name, sample.version, sample.case);
        text += std::str::from_utf8(&sample.body).unwrap();
        text.push('\n');
        for (column, values) in sample.columns.iter().zip(&sample.index) {
            let values: Vec<_> = values.iter().map(show_value).collect();
            text += &format!("    {column}: {}\n", values.join(", "));
        }
        text.push('\n');
    }
    text
}

fn show_value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Id(id) => id.to_string(),
    }
}

/// Adds a member that no version knows to every object, however deep.
pub fn with_unknown_members(value: &mut Json) {
    match value {
        Json::Object(members) => {
            members.values_mut().for_each(with_unknown_members);
            members.insert(UNKNOWN.into(), "of a later version".into());
        }
        Json::Array(items) => items.iter_mut().for_each(with_unknown_members),
        _ => {}
    }
}

/// Takes out what [`with_unknown_members`] added.
pub fn without_unknown_members(value: &mut Json) {
    match value {
        Json::Object(members) => {
            members.remove(UNKNOWN);
            members.values_mut().for_each(without_unknown_members);
        }
        Json::Array(items) => items.iter_mut().for_each(without_unknown_members),
        _ => {}
    }
}

/// The name of a member that no version knows.
pub const UNKNOWN: &str = "zz_of_a_later_version";
