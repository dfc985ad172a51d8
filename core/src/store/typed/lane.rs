//! Typed rows of lanes and typed latest values.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{JsonObject, one_value};
use crate::{
    kernel::{EntityId, Timestamp, canonical},
    store::{Column, Error, Key, LaneSchema, LatestSchema, Name, Result, Row, Value},
};

/// A type that is stored as rows of one lane.
pub trait LaneRow: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {
    /// The lane.
    const LANE: Name;
    /// The version of its body's shape, written as member `v`.
    const VERSION: u32;
    /// Whether the lane is chained.
    const CHAINED: bool = false;

    /// The lane's columns.
    fn columns() -> Vec<Column> {
        Vec::new()
    }

    /// The values of the columns.
    fn index(&self) -> Vec<Value> {
        Vec::new()
    }

    /// The row that stores this value.
    fn row(&self, stream: Uuid, at: Timestamp, n: u32) -> Result<Row> {
        Ok(Row {
            stream,
            at: at.as_micros(),
            n,
            body: encode(Self::LANE, Self::VERSION, self)?,
            index: self
                .index()
                .into_iter()
                .flat_map(|value| one_value(vec![value]))
                .collect(),
        })
    }

    /// The value of a row.
    fn from_row(row: &Row) -> Result<Self> {
        decode(Self::LANE, &row.body)
    }
}

/// The schema of a lane.
pub fn lane_schema<T: LaneRow>() -> LaneSchema {
    LaneSchema {
        name: T::LANE,
        columns: T::columns(),
        chained: T::CHAINED,
        indexer: Arc::new(|body| {
            decode::<T>(T::LANE, body)
                .map(|value| value.index().into_iter().map(|value| vec![value]).collect())
                .map_err(|error| error.to_string())
        }),
    }
}

/// A type that is stored as the latest value of an id.
pub trait LatestValue: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {
    /// The id that it belongs to.
    type Id: EntityId;
    /// The set.
    const SET: Name;
    /// The version of its body's shape, written as member `v`.
    const VERSION: u32;

    /// The name of the value of `id`.
    fn key(id: Self::Id) -> Key {
        Key::new(Self::SET, id.uuid())
    }

    /// Its stored form.
    fn encode(&self) -> Result<Bytes> {
        encode(Self::SET, Self::VERSION, self)
    }

    /// Reads its stored form.
    fn decode(body: &[u8]) -> Result<Self> {
        decode(Self::SET, body)
    }
}

/// The schema of a set of latest values.
pub fn latest_schema<T: LatestValue>() -> LatestSchema {
    LatestSchema { name: T::SET }
}

fn encode(subject: &str, version: u32, value: &impl Serialize) -> Result<Bytes> {
    canonical::object_with(value, [], version)
        .map(Bytes::from)
        .map_err(|error| Error::Invalid(format!("{subject}: {error}")))
}

fn decode<T: DeserializeOwned>(subject: &str, body: &[u8]) -> Result<T> {
    // Straight from the bytes; what is refused is looked at once more, for a message that does not depend on the way of reading.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let body: JsonObject =
        serde_json::from_slice(body).map_err(|error| Error::Corrupt(format!("{subject}: {error}")))?;
    serde_json::from_value(Json::Object(body)).map_err(|error| Error::Corrupt(format!("{subject}: {error}")))
}
