//! Chooses how to connect.

use std::time::Duration;

use tokio::time::Instant;

use super::{Http, LinkError, Transport, poll::Poll, socket::Socket};

/// Which way the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// By socket, and by polling where sockets do not get through.
    #[default]
    Auto,
    /// By socket only.
    Socket,
    /// By polling only.
    Poll,
}

/// After this many sockets in a row that broke young, polling takes over.
const FAILURES: u32 = 3;
/// Then a socket is tried again after this time.
const RETRY: Duration = Duration::from_secs(600);

/// Opens transports. Remembers whether sockets get through.
#[derive(Debug)]
pub struct Connector {
    http: Http,
    preference: Preference,
    failures: u32,
    poll_until: Option<Instant>,
}

impl Connector {
    /// Connects to the server of `http`.
    pub fn new(http: Http, preference: Preference) -> Self {
        Self {
            http,
            preference,
            failures: 0,
            poll_until: None,
        }
    }

    /// Opens a transport.
    ///
    /// # Errors
    /// As [`LinkError`] says. When the server refused, polling would be refused as well.
    pub async fn open(&mut self) -> Result<Box<dyn Transport>, LinkError> {
        self.http.certify().await?;
        if self.polls() {
            return Ok(Box::new(Poll::new(self.http.clone())));
        }
        match Socket::open(&self.http).await {
            Ok(socket) => Ok(socket),
            // A proxy that does not know sockets answers with a status of its own; ours come with a code.
            Err(LinkError::Refused { code, .. }) if self.preference == Preference::Auto && code == "link.refused" => {
                tracing::info!("sockets do not get through; polling instead");
                self.poll_until = Some(Instant::now() + RETRY);
                Ok(Box::new(Poll::new(self.http.clone())))
            }
            Err(error) => Err(error),
        }
    }

    /// Tells how a socket session went: whether it lived long enough to be of use.
    pub fn ended(&mut self, proven: bool) {
        self.failures = if proven { 0 } else { self.failures + 1 };
        if self.preference == Preference::Auto && self.failures >= FAILURES && self.poll_until.is_none() {
            tracing::info!("sockets break again and again; polling for a while");
            self.poll_until = Some(Instant::now() + RETRY);
        }
    }

    fn polls(&mut self) -> bool {
        if self.poll_until.is_some_and(|until| until <= Instant::now()) {
            self.poll_until = None;
            self.failures = 0;
        }
        match self.preference {
            Preference::Auto => self.poll_until.is_some(),
            Preference::Socket => false,
            Preference::Poll => true,
        }
    }
}
