//! TCP in, connections whose handshake is done out.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::PortTls;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once; more connections wait in the system's queue.
const MOST: usize = 512;
/// How long to wait when the system gives no connection, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on a port that speaks TLS. Its handshakes end with it.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    tls: Arc<PortTls>,
    handshakes: JoinSet<Option<(TlsConnection, SocketAddr)>>,
}

impl TlsListener {
    /// Speaks TLS on a listener.
    pub fn new(tcp: TcpListener, tls: PortTls) -> Self {
        Self {
            tcp,
            tls: Arc::new(tls),
            handshakes: JoinSet::new(),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// What it presents, and whom it believes.
    pub(crate) fn tls(&self) -> Arc<PortTls> {
        self.tls.clone()
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        let config = self.tls.config();
        let asked = self.tls.asks_clients();
        self.handshakes.spawn(async move {
            // Frames are small, and each is waited for.
            let _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => Some((TlsConnection { stream, asked }, address)),
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "a handshake failed");
                    None
                }
                Err(_) => None,
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TlsConnection, SocketAddr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                accepted = self.tcp.accept(), if self.handshakes.len() < MOST => match accepted {
                    Ok((stream, address)) => self.begin(stream, address),
                    Err(error) => {
                        tracing::debug!(%error, "no connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    asked: bool,
}

impl TlsConnection {
    /// Whether the client was asked for its certificate.
    pub(super) fn asked(&self) -> bool {
        self.asked
    }

    pub(super) fn get_ref(&self) -> (&TcpStream, &rustls::ServerConnection) {
        self.stream.get_ref()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
