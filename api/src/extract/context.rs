//! Which request this is and where it came from.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, HeaderMap, HeaderName, request::Parts},
};
use fleet_core::{
    access::Origin,
    kernel::{Clock, Randomness, random_uuid},
};

use super::Network;
use crate::problem::ApiError;

/// Names a request, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const FORWARDED_FOR: &str = "x-forwarded-for";
/// No chain of proxies is longer; what lies beyond is not looked at.
const MAX_HOPS: usize = 16;

/// Which request this is and where it came from. The stack of [`crate::router`] makes it; handlers take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestContext {
    /// The request, in the log and in the answer's `X-Request-Id`: 8 to 64 letters, digits, `.`, `_` and `-`.
    pub request_id: String,
    /// The client's address; none where the transport has none, as a socket of this machine.
    pub client: Option<IpAddr>,
}

impl RequestContext {
    /// The same for the domain's own context.
    pub fn origin(&self) -> Origin {
        Origin {
            address: self.client.map(|address| address.to_string()),
            request_id: Some(self.request_id.clone()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a route was served outside the stack of fleet_api::router"))
    }
}

/// Makes a [`RequestContext`] for every request.
#[derive(Clone, Debug)]
pub struct ContextSource {
    /// Tells the time, which is part of a request id.
    pub clock: Arc<dyn Clock>,
    /// The rest of a request id.
    pub random: Arc<dyn Randomness>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[Network]>,
}

impl ContextSource {
    /// Reads a request's headers and its connection.
    pub fn context(&self, headers: &HeaderMap, extensions: &Extensions) -> RequestContext {
        let peer = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(peer)| peer.ip().to_canonical());
        RequestContext {
            request_id: self.request_id(headers),
            client: peer.map(|peer| self.client(peer, headers)),
        }
    }

    fn request_id(&self, headers: &HeaderMap) -> String {
        let sane = |text: &&str| {
            (8..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        match headers
            .get(&REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(sane)
        {
            Some(given) => given.to_owned(),
            None => random_uuid(self.clock.now(), &*self.random).to_string(),
        }
    }

    /// Each proxy appends the address that it saw, so the list is read from its end, for as long as the one who wrote an
    /// entry is trusted. Anything further left is hearsay.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let entries = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for entry in entries.take(MAX_HOPS) {
            if !self.trusted_proxies.iter().any(|network| network.contains(client)) {
                break;
            }
            let Some(address) = address_of(entry.trim()) else {
                break;
            };
            client = address;
        }
        client
    }
}

/// An address, with or without a port, as proxies write it.
fn address_of(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| entry.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use fleet_core::kernel::{ManualClock, SeededRandom, Timestamp};

    use super::*;

    fn source() -> ContextSource {
        ContextSource {
            clock: Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000))),
            random: Arc::new(SeededRandom::new(1)),
            trusted_proxies: ["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().unwrap()).into(),
        }
    }

    #[track_caller]
    fn check_client(peer: &str, forwarded: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 9)));
        let got = source().context(&headers, &extensions).client;
        assert_eq!(got, Some(expected.parse().unwrap()), "{peer} {forwarded:?}");
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        check_client("203.0.113.9", &[], "203.0.113.9");
        check_client("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check_client("127.0.0.1", &["198.51.100.1, 203.0.113.9"], "203.0.113.9");
    }

    #[test]
    fn trusted_proxies_are_passed_from_the_end_of_the_list() {
        check_client("127.0.0.1", &["203.0.113.9, 10.1.1.1"], "203.0.113.9");
        check_client("127.0.0.1", &["198.51.100.1, 203.0.113.9", "10.1.1.1"], "203.0.113.9");
        check_client("127.0.0.1", &["203.0.113.9", "198.51.100.1, 10.1.1.1"], "198.51.100.1");
        check_client("::ffff:127.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        check_client("127.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1");
        check_client("127.0.0.1", &["10.0.0.1"], "10.0.0.1");
    }

    #[test]
    fn damaged_entries_end_the_search() {
        check_client("127.0.0.1", &["203.0.113.9, unknown"], "127.0.0.1");
        check_client("127.0.0.1", &["203.0.113.9, garbage, 10.0.0.1"], "10.0.0.1");
        check_client("127.0.0.1", &[&"10.0.0.1,".repeat(10_000)], "127.0.0.1");
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        let id_for = |given: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(
                    REQUEST_ID,
                    axum::http::HeaderValue::from_bytes(given.as_bytes()).unwrap(),
                );
            }
            source().context(&headers, &Extensions::new()).request_id
        };
        assert_eq!(id_for(Some("trace-42.a_B")), "trace-42.a_B");
        for bad in [
            None,
            Some("short"),
            Some("has space"),
            Some("é-é-é-é-é"),
            Some(&*"x".repeat(65)),
        ] {
            assert_eq!(id_for(bad).len(), 36, "{bad:?}");
        }
    }
}
