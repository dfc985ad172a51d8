//! How a type is stored as documents of one kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::{
    kernel::{EntityId, PRECONDITION_FAILED, Timestamp, canonical},
    store::{Column, Doc, Error, IndexedValues, Key, KindSchema, Name, Result, Rev, Value},
};

/// The members of a stored body.
pub type JsonObject = serde_json::Map<String, Json>;

/// A type that is stored as documents of one kind. Derive it with `#[derive(Entity)]`.
pub trait Entity: Serialize + DeserializeOwned + Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Its id.
    type Id: EntityId;
    /// The kind of its documents.
    const KIND: Name;
    /// The version of its body's shape, written as member `v`.
    const VERSION: u32;
    /// The members that this version knows. Others are kept as they are when it is written, so that a version one step
    /// older loses nothing.
    const MEMBERS: &'static [&'static str];

    /// Its columns.
    fn columns() -> Vec<Column>;

    /// Its composite indexes.
    fn indexes() -> Vec<Vec<Name>> {
        Vec::new()
    }

    /// Its id.
    fn id(&self) -> Self::Id;

    /// Its index values, one list per column.
    fn index(&self) -> IndexedValues;

    /// The entity of a body of this version as far as [`Entity::index`] looks at it; members that no column rests on may be left at
    /// their defaults. None for what is no entity.
    fn for_index(body: &[u8]) -> Option<Self> {
        parse_for_index(body)
    }

    /// Turns a body of version `from` into one of [`Entity::VERSION`]. Pure; called when reading.
    fn upgrade(from: u32, body: &mut JsonObject) -> Result<(), String> {
        let _ = body;
        Err(format!("no upgrade from version {from}"))
    }

    /// The name of its document.
    fn key(id: Self::Id) -> Key {
        Key::new(Self::KIND, id.uuid())
    }
}

/// An entity as it was read: its value, its revision, and what its body holds beyond what this version knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    /// The entity.
    pub value: T,
    /// Its revision; the ETag of its resource.
    pub rev: Rev,
    pub(crate) unknown: JsonObject,
}

impl<T: Entity> Versioned<T> {
    /// The body that writing it back stores: in this version's shape, with the members that this version does not know.
    pub fn body(&self) -> Result<Bytes> {
        encode(&self.value, &self.unknown)
    }

    /// Refuses to go on where somebody changed it since `expected` was read.
    pub fn require_revision(&self, expected: Option<Rev>) -> crate::kernel::Result<()> {
        match expected {
            Some(rev) if rev != self.rev => {
                let what = <T::Id as EntityId>::ENTITY;
                Err(PRECONDITION_FAILED.error(format!("the {what} was changed since it was read; read it again")))
            }
            _ => Ok(()),
        }
    }
}

impl<T> std::ops::Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The schema of an entity's kind.
pub fn kind_schema<T: Entity>() -> KindSchema {
    KindSchema {
        name: T::KIND,
        columns: T::columns(),
        indexes: T::indexes(),
        indexer: Arc::new(|body| match decode_newest::<T>(body) {
            Some(value) => Ok(value.index()),
            None => decode_body::<T>(body).map(|(value, _)| value.index()),
        }),
    }
}

/// The body of an entity: canonical JSON with its version, and the unknown members that it was read with.
pub fn encode<T: Entity>(value: &T, unknown: &JsonObject) -> Result<Bytes> {
    let unknown = unknown.iter().map(|(name, member)| (name.as_str(), member));
    canonical::object_with(value, unknown, T::VERSION)
        .map(Bytes::from)
        .map_err(|error| Error::Invalid(format!("{}: {error}", T::KIND)))
}

/// The entity of a stored document.
pub fn decode<T: Entity>(doc: &Doc) -> Result<Versioned<T>> {
    let (value, unknown) = decode_body(&doc.body).map_err(|why| Error::Corrupt(format!("{}: {why}", doc.key)))?;
    Ok(Versioned {
        value,
        rev: doc.rev,
        unknown,
    })
}

/// Parses a body; for [`Entity::for_index`].
#[doc(hidden)]
pub fn parse_for_index<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// The entity of a body that needs no upgrade, as far as its index values need it, read straight from its bytes: whole stores are
/// indexed this way. None for any other body, and for what is no entity; [`decode_body`] says why.
fn decode_newest<T: Entity>(bytes: &[u8]) -> Option<T> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let version: Version = serde_json::from_slice(bytes).ok()?;
    (version.v >= T::VERSION).then(|| T::for_index(bytes)).flatten()
}

fn decode_body<T: Entity>(bytes: &[u8]) -> Result<(T, JsonObject), String> {
    let mut body: JsonObject = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let version = body
        .get("v")
        .and_then(Json::as_u64)
        .and_then(|version| u32::try_from(version).ok())
        .ok_or("the body has no version")?;
    // A newer body is read as it is: members that it added are kept, and its writer promises that one step back can read it.
    if version < T::VERSION {
        T::upgrade(version, &mut body)?;
    }
    let unknown = body
        .iter()
        .filter(|(name, _)| *name != "v" && !T::MEMBERS.contains(&name.as_str()))
        .map(|(name, member)| (name.clone(), member.clone()))
        .collect();
    let value = serde_json::from_value(Json::Object(body)).map_err(|error| error.to_string())?;
    Ok((value, unknown))
}

/// What can stand in an index column.
pub trait ToColumn {
    /// Its values: none for nothing, several for a collection.
    fn to_values(&self) -> Vec<Value>;
}

macro_rules! to_column {
    ($($type:ty),*) => {$(
        impl ToColumn for $type {
            fn to_values(&self) -> Vec<Value> {
                vec![self.clone().into()]
            }
        }
    )*};
}
to_column!(String, i64, bool, Timestamp, Value);

impl ToColumn for u32 {
    fn to_values(&self) -> Vec<Value> {
        vec![Value::Int(i64::from(*self))]
    }
}

impl<T: EntityId> ToColumn for T {
    fn to_values(&self) -> Vec<Value> {
        vec![Value::Id(self.uuid())]
    }
}

impl<T: ToColumn> ToColumn for Option<T> {
    fn to_values(&self) -> Vec<Value> {
        self.iter().flat_map(ToColumn::to_values).collect()
    }
}

impl<T: ToColumn> ToColumn for Vec<T> {
    fn to_values(&self) -> Vec<Value> {
        self.iter().flat_map(ToColumn::to_values).collect()
    }
}

impl<T: ToColumn> ToColumn for BTreeSet<T> {
    fn to_values(&self) -> Vec<Value> {
        self.iter().flat_map(ToColumn::to_values).collect()
    }
}

/// Labels and the like: `name=value`.
impl ToColumn for BTreeMap<String, String> {
    fn to_values(&self) -> Vec<Value> {
        self.iter()
            .map(|(name, value)| Value::Text(format!("{name}={value}")))
            .collect()
    }
}

/// The value of a single-valued column; null when there is none.
#[doc(hidden)]
pub fn one_value(mut values: Vec<Value>) -> Vec<Value> {
    values.truncate(1);
    if values.is_empty() {
        values.push(Value::Null);
    }
    values
}

/// The values of a many-valued column: sorted, each once.
#[doc(hidden)]
pub fn sorted_values(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_unstable();
    values.dedup();
    values
}
