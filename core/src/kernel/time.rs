//! A point in time with a resolution of one microsecond.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time: microseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC.
///
/// The type wraps an integer, so that no date library appears in our interface, and its resolution is the coarsest of
/// the storage engines, so that a value survives every one of them unchanged. The range is years 1 to 9999, which is
/// what RFC 3339 can write; arithmetic saturates at its ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-30T22:00:00Z: the last second that is of the year 9999 in every time zone, and so the last that can be written.
    pub const MAX: Self = Self(253_402_207_200_000_000);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the epoch; values outside the range become its nearest end.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// From whole seconds since the epoch; saturating.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole milliseconds since the epoch, rounded down; what UUIDv7 carries.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This time plus `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_micros(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// This time minus `duration`, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self::from_micros(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Always six digits: texts of one length sort like the times that they stand for.
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => f.write_str("invalid time"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time in RFC 3339 between the years 1 and 9999, such as 2026-11-21T08:30:00Z")]
pub struct TimestampParseError;

impl FromStr for Timestamp {
    type Err = TimestampParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An RFC 3339 time with an offset is at most 35 characters; anything longer is not worth parsing.
        if text.len() > 40 {
            return Err(TimestampParseError);
        }
        let at: jiff::Timestamp = text.parse().map_err(|_| TimestampParseError)?;
        let micros = at.as_microsecond();
        if !(Self::MIN.0..=Self::MAX.0).contains(&micros) {
            return Err(TimestampParseError);
        }
        Ok(Self(micros))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Timestamp {
    fn name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let got = text.parse::<Timestamp>().ok().map(|at| at.to_string());
        assert_eq!(got.as_deref(), expected, "{text}");
    }

    #[test]
    fn texts_are_read_in_any_offset_and_written_in_utc_with_microseconds() {
        check("2026-11-21T08:30:00Z", Some("2026-11-21T08:30:00.000000Z"));
        check("2026-11-21T08:30:00+02:00", Some("2026-11-21T06:30:00.000000Z"));
        check("2026-11-21T08:30:00.123456789Z", Some("2026-11-21T08:30:00.123456Z"));
        check("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00.000000Z"));
        check("9999-12-30T22:00:00Z", Some("9999-12-30T22:00:00.000000Z"));
    }

    #[test]
    fn every_time_is_read_back_as_it_was_written() {
        let far = [i64::MIN, i64::MAX].map(Timestamp::from_micros);
        for at in [
            Timestamp::MIN,
            Timestamp::MAX,
            Timestamp::EPOCH,
            Timestamp::from_micros(-1),
        ]
        .iter()
        .chain(&far)
        {
            assert_eq!(at.to_string().parse(), Ok(*at), "{at}");
        }
    }

    #[test]
    fn foreign_text_is_refused_without_a_panic() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "-0001-01-01T00:00:00Z",
            &"9".repeat(5000),
        ] {
            check(text, None);
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.minus(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::from_seconds(5)), Duration::ZERO);
    }
}
