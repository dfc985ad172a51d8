//! Which request this is and where it came from.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, HeaderMap, request::Parts},
};
use fleet_core::{
    access::Origin,
    kernel::{Clock, Randomness},
};

use super::{
    Network,
    request_id::{Names, RequestId},
};
use crate::{problem::ApiError, tls::TlsPeer};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// No chain of proxies is longer; what lies beyond is not looked at.
const MAX_HOPS: usize = 16;

/// Which request this is and where it came from. The stack of [`crate::router()`] makes it; handlers take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestContext {
    /// The request.
    pub request_id: RequestId,
    /// The client's address; none where the transport has none, as a socket of this machine.
    pub client: Option<IpAddr>,
}

impl RequestContext {
    /// The same for the domain's own context.
    pub fn origin(&self) -> Origin {
        Origin {
            address: self.client.map(|address| address.to_string()),
            request_id: Some(self.request_id.to_string()),
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
    names: Arc<Names>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[Network]>,
}

impl ContextSource {
    /// Trusts no proxy.
    pub fn new(clock: Arc<dyn Clock>, random: &dyn Randomness) -> Self {
        Self {
            clock,
            names: Arc::new(Names::new(random)),
            trusted_proxies: Arc::default(),
        }
    }

    /// Reads a request's headers and its connection.
    pub fn context(&self, headers: &HeaderMap, extensions: &Extensions) -> RequestContext {
        let plain = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(peer)| *peer);
        let by_tls = || {
            extensions
                .get::<ConnectInfo<TlsPeer>>()
                .map(|ConnectInfo(peer)| peer.address)
        };
        let peer = plain.or_else(by_tls).map(|peer| peer.ip().to_canonical());
        RequestContext {
            request_id: RequestId::given(headers).unwrap_or_else(|| self.names.next(self.clock.now())),
            client: peer.map(|peer| self.client(peer, headers)),
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
        let clock = ManualClock::new(Timestamp::from_seconds(1_800_000_000));
        ContextSource {
            trusted_proxies: ["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().unwrap()).into(),
            ..ContextSource::new(Arc::new(clock), &SeededRandom::new(1))
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
}
