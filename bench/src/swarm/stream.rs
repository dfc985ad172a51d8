//! Bytes to the server: TCP, with TLS over it or not, from one of many addresses of this machine.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Addresses of this machine that agents come from when the server is on it too. One address has 28,000 ports, of which one is
/// used again a minute after it was closed; and the server bounds what one address may try.
const SOURCES: u64 = 250;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects the `n`th agent; by TLS where there is a configuration for it.
    pub async fn connect(
        server: SocketAddr,
        n: u64,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    ) -> io::Result<Self> {
        let tcp = match source(server, n) {
            Some(source) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(source)?;
                socket.connect(server).await?
            }
            None => TcpStream::connect(server).await?,
        };
        tcp.set_nodelay(true)?;
        Ok(match tls {
            Some((config, name)) => Self::Tls(Box::new(TlsConnector::from(config).connect(name, tcp).await?)),
            None => Self::Plain(tcp),
        })
    }
}

fn source(server: SocketAddr, n: u64) -> Option<SocketAddr> {
    let IpAddr::V4(address) = server.ip() else { return None };
    let last = u8::try_from(n % SOURCES + 1).ok()?;
    address
        .is_loopback()
        .then(|| SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0)))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_come_from_many_addresses_where_the_server_is_here() {
        let here = SocketAddr::from(([127, 0, 0, 1], 80));
        assert_eq!(source(here, 0), Some(SocketAddr::from(([127, 0, 1, 1], 0))));
        assert_eq!(source(here, 249), Some(SocketAddr::from(([127, 0, 1, 250], 0))));
        assert_eq!(source(here, 250), source(here, 0));
        assert_eq!(source(SocketAddr::from(([192, 0, 2, 1], 80)), 7), None);
        assert_eq!(source(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1_u16], 80)), 7), None);
    }
}
