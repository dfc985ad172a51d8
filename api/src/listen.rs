use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be taken in. Where more come at once, those who are turned away try again after a second, then after two,
/// four and so on, unseen by the server: so it is as many as Linux allows unless told otherwise (`net.core.somaxconn`), for a moment
/// in which thousands of agents come. The standard library asks for 128.
const BACKLOG: u32 = 4_096;

/// A listener that agents may come to all at once.
///
/// # Errors
/// When the address is taken, is not of this machine, or needs more rights.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that starts again need not wait until the connections of the former one are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_thousand_connections_wait_while_nobody_takes_them_in() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let many = allowed.trim().parse().unwrap_or(0).min(1_000);
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = tokio::task::spawn_blocking(move || {
            let patience = std::time::Duration::from_millis(500);
            let connect = |_| TcpStream::connect_timeout(&address, patience);
            (0..many).map(connect).collect::<io::Result<Vec<_>>>().unwrap().len()
        });
        assert_eq!(waiting.await.unwrap(), many);
        drop(listener);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_refused() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = listen(first.local_addr().unwrap());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
