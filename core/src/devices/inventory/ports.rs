//! Listening ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Ports that wait for peers (section `ports`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ports {
    /// The ports, by protocol, port and address.
    pub items: Vec<ListeningPort>,
    /// There were more than fit.
    #[serde(default)]
    pub truncated: bool,
    /// How many were left out.
    #[serde(default)]
    pub left_out: u64,
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListeningPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The local address; `0.0.0.0` and `::` mean every address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
    /// The port, 1 to 65535.
    pub port: u16,
    /// From where it can be reached.
    pub scope: PortScope,
    /// The name of a process that holds the socket; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The id of that process (the lowest, when several share the socket).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The numeric id of the user who opened the socket.
    pub uid: u32,
    /// That user's name; absent when the local user list does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PortScope {
    /// Only from the device itself.
    Loopback,
    /// Only from the same network segment (link-local addresses).
    Link,
    /// From private networks (RFC 1918, RFC 6598, RFC 4193).
    Private,
    /// From anywhere, through one public address.
    Public,
    /// Through every address that the device has.
    Any,
}

impl PortScope {
    /// The scope of a local address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                if v4.is_unspecified() {
                    Self::Any
                } else if v4.is_loopback() {
                    Self::Loopback
                } else if v4.is_link_local() {
                    Self::Link
                } else if v4.is_private() || (a == 100 && (64..128).contains(&b)) {
                    Self::Private
                } else {
                    Self::Public
                }
            }
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Self::of(v4.into()),
                None if v6.is_unspecified() => Self::Any,
                None if v6.is_loopback() => Self::Loopback,
                None if v6.is_unicast_link_local() => Self::Link,
                None if v6.is_unique_local() => Self::Private,
                None => Self::Public,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: PortScope) {
        assert_eq!(PortScope::of(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn every_address_has_one_scope() {
        for address in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            check(address, PortScope::Any);
        }
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            check(address, PortScope::Loopback);
        }
        for address in ["169.254.1.1", "fe80::1"] {
            check(address, PortScope::Link);
        }
        for address in ["10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"] {
            check(address, PortScope::Private);
        }
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1"] {
            check(address, PortScope::Public);
        }
    }
}
