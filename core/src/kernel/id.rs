//! Typed ids: one newtype over UUIDv7 for each entity, so that a device id cannot be passed where a run id belongs.

use std::{fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// What all typed ids have in common.
pub trait EntityId:
    Copy
    + Eq
    + Ord
    + std::hash::Hash
    + fmt::Debug
    + fmt::Display
    + FromStr<Err = IdParseError>
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The entity's name as people read it, such as `device`.
    const ENTITY: &'static str;

    /// Wraps a UUID that is known to name such an entity.
    fn from_uuid(uuid: Uuid) -> Self;

    /// The UUID itself.
    fn uuid(self) -> Uuid;
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {entity} id: expected a UUID in lower case, such as 019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41")]
pub struct IdParseError {
    /// The entity whose id was expected.
    pub entity: &'static str,
}

impl IdParseError {
    /// Reads the one accepted form: 36 lower-case characters with hyphens.
    #[doc(hidden)]
    pub fn parse(entity: &'static str, text: &str) -> Result<Uuid, Self> {
        let uuid = Uuid::try_parse(text).map_err(|_| Self { entity })?;
        let mut buffer = Uuid::encode_buffer();
        // Other spellings of the same id (braces, upper case) would make two names for one resource.
        if *uuid.hyphenated().encode_lower(&mut buffer) == *text {
            Ok(uuid)
        } else {
            Err(Self { entity })
        }
    }
}

/// The id of a document that there is only one of: it follows from kind and name (a UUIDv8, RFC 9562 §5.8).
pub fn named_uuid(kind: &str, name: &str) -> Uuid {
    let hash = blake3::Hasher::new_derive_key("fleet named id")
        .update(&(kind.len() as u64).to_le_bytes())
        .update(kind.as_bytes())
        .update(name.as_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Defines a typed id.
///
/// ```
/// use fleet_core::kernel::{SeededRandom, Timestamp, define_id};
///
/// define_id!(
///     /// Names a rack.
///     RackId,
///     "rack"
/// );
///
/// // Time and randomness are handed in, so that a test decides both.
/// let id = RackId::new(Timestamp::from_seconds(1_800_000_000), &SeededRandom::new(1));
/// assert_eq!(id.to_string().parse(), Ok(id));
/// // One thing has one name: other spellings of it are refused.
/// assert!(id.to_string().to_uppercase().parse::<RackId>().is_err());
/// ```
#[macro_export]
macro_rules! define_id {
    ($(#[$doc:meta])* $name:ident, $entity:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(::uuid::Uuid);

        impl $name {
            /// A new id: the time in its first bits, randomness in the rest.
            pub fn new(now: $crate::kernel::Timestamp, random: &dyn $crate::kernel::Randomness) -> Self {
                Self($crate::kernel::random_uuid(now, random))
            }
        }

        impl $crate::kernel::EntityId for $name {
            const ENTITY: &'static str = $entity;

            fn from_uuid(uuid: ::uuid::Uuid) -> Self {
                Self(uuid)
            }

            fn uuid(self) -> ::uuid::Uuid {
                self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::kernel::IdParseError;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                $crate::kernel::IdParseError::parse($entity, text).map(Self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                ::utoipa::openapi::ObjectBuilder::new()
                    .schema_type(::utoipa::openapi::schema::Type::String)
                    .format(Some(::utoipa::openapi::SchemaFormat::KnownFormat(
                        ::utoipa::openapi::KnownFormat::Uuid,
                    )))
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl ::utoipa::ToSchema for $name {
            fn name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}
pub use define_id;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SeededRandom, Timestamp};

    define_id!(
        /// For these tests.
        ThingId,
        "thing"
    );

    #[test]
    fn ids_of_later_times_sort_later() {
        let random = SeededRandom::new(1);
        let earlier = ThingId::new(Timestamp::from_seconds(1_000), &random);
        let later = ThingId::new(Timestamp::from_seconds(1_001), &random);
        assert!(earlier < later);
        assert_eq!(earlier.uuid().get_version_num(), 7);
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let text = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";
        assert_eq!(text.parse::<ThingId>().map(|id| id.to_string()), Ok(text.to_owned()));
        for other in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            String::new(),
            "x".repeat(9_999),
        ] {
            assert_eq!(
                other.parse::<ThingId>(),
                Err(IdParseError { entity: "thing" }),
                "{other}"
            );
        }
    }
}
