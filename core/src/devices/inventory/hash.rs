//! The hash that names a content.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::kernel::canonical::{self, CanonicalError};

/// BLAKE3 (256 bits) of a canonical JSON; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of a value's canonical JSON. Fails for what cannot be stored: U+0000 in a text, or deep nesting.
    pub fn of(value: &impl Serialize) -> Result<Self, CanonicalError> {
        Ok(Self::of_bytes(&canonical::to_vec(value)?))
    }

    /// The hash of bytes that are canonical already.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of what `hasher` was fed.
    pub(super) fn finish(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a [`ContentHash`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a content hash: expected 64 lower-case hexadecimal digits")]
pub struct ContentHashParseError;

impl FromStr for ContentHash {
    type Err = ContentHashParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Upper case would make a second name for the same content.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ContentHashParseError);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ContentHashParseError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ContentHash {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9a-f]{64}$"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ContentHash {
    fn name() -> std::borrow::Cow<'static, str> {
        "ContentHash".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, valid: bool) {
        let got = text.parse::<ContentHash>();
        assert_eq!(got.is_ok(), valid, "{text}");
        if let Ok(hash) = got {
            assert_eq!(hash.to_string(), text);
        }
    }

    #[test]
    fn only_64_lower_case_digits_are_a_hash() {
        check(&ContentHash::of_bytes(b"x").to_string(), true);
        check(&"0".repeat(64), true);
        for text in ["", "0", "xyz", &"A".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            check(text, false);
        }
    }

    #[test]
    fn the_order_of_members_does_not_change_the_hash() {
        let one: serde_json::Value = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        let two: serde_json::Value = serde_json::from_str(r#"{ "b":2, "a":1.0 }"#).unwrap();
        assert_eq!(ContentHash::of(&one).unwrap(), ContentHash::of(&two).unwrap());
    }
}
