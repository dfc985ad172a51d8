//! Merge patches (RFC 7396), where absent and null differ: absent leaves a member as it is, null takes it away.

use serde::{Deserialize, Deserializer};

/// Reads a member that may be null; with `#[serde(default)]` an absent one is `None`, null is `Some(None)`.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}
