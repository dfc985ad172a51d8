//! What an index can hold, and its order.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A value of an index column.
///
/// The derived order is the order of every list in every backend: null, then integers, then texts by their UTF-8 bytes,
/// then ids by their 16 bytes. A column holds one type and, where it is single-valued, null. No database's own order or
/// collation is ever used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// Known to be nothing. Sorts first.
    Null,
    /// An integer; times are microseconds since 1970.
    Int(i64),
    /// A text without U+0000, at most [`limits::TEXT`](super::limits::TEXT) bytes long.
    Text(String),
    /// An id.
    Id(Uuid),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Id(value)
    }
}

impl From<crate::kernel::Timestamp> for Value {
    fn from(value: crate::kernel::Timestamp) -> Self {
        Self::Int(value.as_micros())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
