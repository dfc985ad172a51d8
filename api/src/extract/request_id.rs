//! Names of requests.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use fleet_core::kernel::{Randomness, Timestamp, random_bytes};
use uuid::Uuid;

/// Names a request, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name of a request, in the log and in the answer's `X-Request-Id`: 8 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Name);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// By the caller or a proxy.
    Given(Arc<str>),
    /// Here. Nothing is allocated for it: most are never looked at.
    Made(Uuid),
}

impl RequestId {
    /// The name that a request came with, if it is a sane one.
    pub fn given(headers: &HeaderMap) -> Option<Self> {
        let sane = |text: &&str| {
            (8..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        let given = headers.get(&REQUEST_ID)?.to_str().ok().filter(sane)?;
        Some(Self(Name::Given(given.into())))
    }

    /// The value of the header.
    pub fn header(&self) -> Option<HeaderValue> {
        match &self.0 {
            Name::Given(name) => HeaderValue::from_str(name).ok(),
            Name::Made(uuid) => HeaderValue::from_str(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())).ok(),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Given(name) => f.write_str(name),
            Name::Made(uuid) => uuid.fmt(f),
        }
    }
}

/// Makes names: UUIDv7 whose random part was drawn once and is counted on from there (RFC 9562 §6.2, method 2), since a
/// system call for each request would cost more than the rest of the name.
#[derive(Debug)]
pub(super) struct Names {
    begin: [u8; 10],
    made: AtomicU64,
}

impl Names {
    pub(super) fn new(random: &dyn Randomness) -> Self {
        Self {
            begin: random_bytes(random),
            made: AtomicU64::new(0),
        }
    }

    pub(super) fn next(&self, now: Timestamp) -> RequestId {
        let [a, b, counted @ ..] = self.begin;
        let n = u64::from_be_bytes(counted).wrapping_add(self.made.fetch_add(1, Ordering::Relaxed));
        let mut bytes = [a, b, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[2..].copy_from_slice(&n.to_be_bytes());
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        RequestId(Name::Made(
            uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use fleet_core::kernel::SeededRandom;

    use super::*;

    #[test]
    fn a_sane_name_is_kept_and_no_other() {
        let given = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            RequestId::given(&headers).map(|id| id.to_string())
        };
        assert_eq!(given("trace-42.a_B").as_deref(), Some("trace-42.a_B"));
        for bad in ["short", "has space", "é-é-é-é-é", &*"x".repeat(65)] {
            assert_eq!(given(bad), None, "{bad:?}");
        }
        assert_eq!(RequestId::given(&HeaderMap::new()), None);
    }

    #[test]
    fn names_are_distinct_and_the_header_says_what_the_log_says() {
        let names = Names::new(&SeededRandom::new(1));
        let now = Timestamp::from_seconds(1_800_000_000);
        let made: Vec<_> = (0..1_000).map(|_| names.next(now)).collect();
        let texts: HashSet<_> = made.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 1_000);
        for id in made {
            let uuid: Uuid = id.to_string().parse().unwrap();
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(id.header().unwrap(), id.to_string());
        }
        let others = Names::new(&SeededRandom::new(2));
        assert!(!texts.contains(&others.next(now).to_string()));
    }
}
