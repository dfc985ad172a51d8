//! TLS that the server ends itself.
//!
//! ```text
//! config.rs    what a port presents and whom it believes, made anew when that changes
//! listener.rs  TCP in, connections whose handshake is done out
//! ```
//!
//! The agents' port asks for certificates of the fleet's own authority. A connection without one is served as well: whoever
//! enrols, or has to ask for the next certificate, has none. What each request needs is decided where it arrives.

mod config;
mod listener;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use fleet_core::certificates::PresentedCertificate;

pub use config::{PortTls, TlsError};
pub use listener::TlsListener;

/// Who is at the other end of a TLS connection.
#[derive(Clone, Debug)]
pub struct TlsPeer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// What it proved by its certificate.
    pub proof: ClientProof,
}

/// What a client proved by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientProof {
    /// This port asks nobody for a certificate.
    NotAsked,
    /// It has none, or one that names nobody of the fleet.
    Missing,
    /// It has the key of this certificate, which an authority of the fleet issued and whose time was not over.
    Certificate(Arc<PresentedCertificate>),
}

impl Connected<IncomingStream<'_, TlsListener>> for TlsPeer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (address, connection) = (*stream.remote_addr(), stream.io());
        let first = || connection.get_ref().1.peer_certificates()?.first();
        let proof = match (connection.asked(), first()) {
            (false, _) => ClientProof::NotAsked,
            (true, certificate) => certificate
                .and_then(|der| PresentedCertificate::read(der))
                .map_or(ClientProof::Missing, |presented| {
                    ClientProof::Certificate(Arc::new(presented))
                }),
        };
        Self { address, proof }
    }
}
