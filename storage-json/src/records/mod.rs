//! What stands in the lines of snapshots and of the journal. Bodies are carried as they are, byte for byte.

mod journal;
mod patch;
mod plain;
mod snapshot;
mod text;

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

pub(crate) use self::{
    journal::{CommitRecord, JournalRecord, Operation},
    patch::PatchRecord,
    snapshot::{BatchRecord, DocRecord, FeedRecord, LatestRecord, LeaseRecord, RowRecord},
    text::Text,
};

/// A body: the JSON that it is. One that would not survive as a part of a line (it is no JSON, is a text itself, or holds a line
/// break) is written as a text of hexadecimal digits.
#[derive(Clone, Debug)]
pub(crate) struct Body<'l>(pub(crate) Cow<'l, [u8]>);

impl<'l> Body<'l> {
    pub(crate) fn of(body: &'l [u8]) -> Self {
        Self(Cow::Borrowed(body))
    }

    pub(crate) fn bytes(self) -> Bytes {
        match self.0 {
            Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        }
    }
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_slice::<&RawValue>(&self.0) {
            Ok(raw) if is_part_of_a_line(&self.0) => raw.serialize(serializer),
            _ => serializer.serialize_str(&hex::encode(&self.0)),
        }
    }
}

/// Whether a body can stand in a line as it is.
fn is_part_of_a_line(body: &[u8]) -> bool {
    !body.starts_with(b"\"") && plain::is_value_in_a_line(body)
}

impl<'de: 'l, 'l> Deserialize<'de> for Body<'l> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        match raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            None => Ok(Self(Cow::Borrowed(raw.as_bytes()))),
            Some(digits) => hex::decode(digits)
                .map(|bytes| Self(Cow::Owned(bytes)))
                .map_err(de::Error::custom),
        }
    }
}

/// Hashes, as hexadecimal digits.
pub(crate) mod digits {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(text, &mut bytes).map_err(de::Error::custom)?;
        Ok(bytes)
    }
}
