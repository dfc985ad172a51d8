//! Frames by plain requests: enough by itself where proxies break sockets, only slower.

use std::{future::Future, pin::Pin, time::Duration};

use async_trait::async_trait;
use fleet_core::protocol::{AgentFrame, Exchange, MAX_FRAMES, ServerFrame};
use tokio::time::Instant;

use super::{Http, LinkError, Transport, TransportKind, prover::Prover};

/// The time between two requests while work is under way.
const QUICK: Duration = Duration::from_millis(500);
/// How long the server may hold back an empty answer while nothing is under way.
const WAIT: u32 = 20;
/// How long an exchange may take beyond that.
const PATIENCE: Duration = Duration::from_secs(30);

/// The prover comes back with the answer.
type InFlight = Pin<Box<dyn Future<Output = (Prover, Result<Vec<ServerFrame>, LinkError>)> + Send>>;

/// A session by polling.
pub(super) struct Poll {
    /// None while a request is under way.
    prover: Option<Prover>,
    http: Http,
    epoch: Option<u64>,
    waiting: Vec<AgentFrame>,
    busy: bool,
    next: Instant,
    /// The request that is under way; it lives here, so that dropping a `receive` loses no answer.
    in_flight: Option<InFlight>,
}

impl Poll {
    /// Begins; nothing is sent yet.
    pub(super) fn new(http: Http) -> Self {
        Self {
            prover: None,
            http,
            epoch: None,
            waiting: Vec::new(),
            busy: false,
            next: Instant::now(),
            in_flight: None,
        }
    }

    fn exchange(&mut self) -> InFlight {
        let rest = self.waiting.split_off(self.waiting.len().min(MAX_FRAMES));
        let frames = std::mem::replace(&mut self.waiting, rest);
        let wait_seconds = if self.busy || self.epoch.is_none() || !frames.is_empty() {
            0
        } else {
            WAIT
        };
        let exchange = Exchange {
            epoch: self.epoch,
            frames,
            wait_seconds,
            key: None,
        };
        let mut prover = self.prover.take().unwrap_or_else(|| Prover::new(self.http.clone()));
        Box::pin(async move {
            let patience = PATIENCE + Duration::from_secs(u64::from(wait_seconds));
            let answer = prover.exchange(exchange, patience).await;
            (prover, answer)
        })
    }
}

#[async_trait]
impl Transport for Poll {
    fn kind(&self) -> TransportKind {
        TransportKind::Poll
    }

    async fn send(&mut self, frames: Vec<AgentFrame>) -> Result<(), LinkError> {
        self.waiting.extend(frames);
        self.next = Instant::now();
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<ServerFrame>, LinkError> {
        loop {
            if self.in_flight.is_none() {
                tokio::time::sleep_until(self.next).await;
                self.in_flight = Some(self.exchange());
            }
            if let Some(in_flight) = &mut self.in_flight {
                let (prover, frames) = in_flight.await;
                self.in_flight = None;
                self.prover = Some(prover);
                // What still waits goes at once; otherwise the server's own waiting sets the pace.
                self.next = if self.waiting.is_empty() {
                    Instant::now() + QUICK
                } else {
                    Instant::now()
                };
                match frames? {
                    frames if frames.is_empty() => {}
                    frames => return Ok(frames),
                }
            }
        }
    }

    fn opened(&mut self, epoch: u64) {
        self.epoch = Some(epoch);
    }

    fn busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    async fn close(&mut self) {}
}
