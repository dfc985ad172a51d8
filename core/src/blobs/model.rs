//! Blobs as documents know them.

use std::fmt;

use object_store::path::Path;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    Entity,
    kernel::{EntityId as _, Timestamp, named_uuid},
    store::{Field, Name, ToColumn, Value},
};

crate::define_id!(
    /// Names what is known of a blob; it follows from the content.
    BlobId,
    "blob"
);

impl BlobId {
    /// That of a content.
    pub fn of(digest: BlobDigest) -> Self {
        Self::from_uuid(named_uuid("blob", &digest.to_string()))
    }
}

/// The BLAKE3 of a content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobDigest([u8; 32]);

impl BlobDigest {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let hash = blake3::Hash::from_hex(text).ok()?;
        (hash.to_hex().as_str() == text).then_some(Self(*hash.as_bytes()))
    }

    /// Where its object is.
    pub(super) fn path(self) -> Path {
        let digits = self.to_string();
        Path::from_iter([&digits[..2], digits.as_str()])
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BlobDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a BLAKE3 is 64 hexadecimal digits in lower case"))
    }
}

impl ToColumn for BlobDigest {
    fn to_values(&self) -> Vec<Value> {
        vec![Value::Text(self.to_string())]
    }
}

/// What a document holds of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Its content.
    pub digest: BlobDigest,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// Its media type, such as `application/octet-stream`.
    pub media_type: String,
}

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "blob", version = 1)]
pub struct Blob {
    /// Its id.
    #[entity(id)]
    pub id: BlobId,
    /// Its content.
    pub digest: BlobDigest,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// When it was referred to first.
    pub stored_at: Timestamp,
    /// Since when nobody is known to refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreferenced_since: Option<Timestamp>,
    /// Since when it waits to be named for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[entity(int)]
    pub unnamed_since: Option<Timestamp>,
    /// Since when it is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving_since: Option<Timestamp>,
}

/// A blob that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlobView {
    /// The BLAKE3 of its content, in hexadecimal: what parameters name it by.
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 64, max_length = 64))]
    pub digest: BlobDigest,
    /// Its size, in bytes.
    pub size_bytes: u64,
}

/// A kind whose documents refer to blobs, and the text column that holds their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHolder {
    /// The kind.
    pub kind: Name,
    /// The column.
    pub column: Name,
}

impl BlobHolder {
    /// The holder that a column of an entity is.
    pub fn of<T: crate::store::Entity>(column: Field<T>) -> Self {
        Self {
            kind: T::KIND,
            column: column.name(),
        }
    }
}
