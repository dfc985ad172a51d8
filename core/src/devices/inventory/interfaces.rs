//! Network interfaces.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Network interfaces (section `interfaces`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Interfaces {
    /// The interfaces, by name.
    pub items: Vec<Interface>,
    /// There were more than fit.
    #[serde(default)]
    pub truncated: bool,
    /// How many were left out.
    #[serde(default)]
    pub left_out: u64,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Interface {
    /// The name, such as `eth0`.
    pub name: String,
    /// The hardware address, lower case with colons; absent where there is none (a tunnel, loopback).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The largest packet in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The operational state (RFC 2863) as the kernel writes it: `up`, `down`, `unknown`, …
    pub state: String,
    /// The addresses, at most 256.
    #[serde(default)]
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InterfaceAddress {
    /// The address, IPv4 or IPv6.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
    /// The length of the network's prefix in bits: 0 to 32, or 0 to 128 for IPv6.
    pub prefix: u8,
}
