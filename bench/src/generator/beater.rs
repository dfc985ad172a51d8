//! One simulated agent on one connection, with one beat under way at a time.

use std::{collections::VecDeque, net::SocketAddr};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use fleet_core::{
    kernel::{Clock as _, SystemClock, SystemRandom},
    protocol::{
        ASSERTION_HEADER, AgentFrame, Assertion, Beat, Exchange, ExchangeAnswer, Hello, KeyAgreement, KeyRequest,
        PROOF_HEADER, PROTOCOL, PROTOCOL_MIN, ServerFrame, SessionKey, agree,
    },
};
use serde_json::json;

use super::wire::{Connection, frame, post, upgrade};
use crate::{fixture::Agent, steps::gauges};

/// What is driven, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Our server, by frames over an open WebSocket: the normal case.
    Socket,
    /// Our server, by one request for each beat, proved by a session key: where proxies break sockets.
    Poll,
    /// The same with a signature for each beat, as agents do that know no session keys, and after a restart of the server.
    Signed,
    /// The probe, by WebSocket.
    ProbeSocket,
    /// The probe, by requests.
    ProbePoll,
}

impl Mode {
    /// Whether the probe is driven.
    pub fn is_probe(self) -> bool {
        matches!(self, Self::ProbeSocket | Self::ProbePoll)
    }

    fn is_socket(self) -> bool {
        matches!(self, Self::Socket | Self::ProbeSocket)
    }
}

const EXCHANGE: &str = "/agent/v1/exchange";
const LINK: &str = "/agent/v1/link";

/// An agent that beats.
#[derive(Debug)]
pub struct Beater {
    mode: Mode,
    agent: Agent,
    connection: Connection,
    /// The body of an exchange, or the bytes of everything that is sent again and again.
    beat: Vec<u8>,
    /// The session key, and the last counter that was used with it.
    key: Option<(SessionKey, u64)>,
    /// Requests that are proved already: a proof holds once.
    proved: VecDeque<Vec<u8>>,
    /// How many had to be proved while the clock was running.
    pub late: u64,
}

impl Beater {
    /// Connects and says hello.
    pub async fn open(mode: Mode, agent: Agent, address: SocketAddr) -> Result<Self> {
        let connection = Connection::open(address).await?;
        let mut beater = Self {
            mode,
            agent,
            connection,
            beat: Vec::new(),
            key: None,
            proved: VecDeque::new(),
            late: 0,
        };
        match mode {
            Mode::Poll | Mode::Signed => {
                let epoch = beater.hello().await?;
                if mode == Mode::Poll {
                    beater.key = Some((beater.agree(epoch).await?, 0));
                }
                beater.beat = exchange(Some(epoch), vec![beat()], None)?;
            }
            Mode::Socket => {
                beater.open_socket(LINK).await?;
                let hello = serde_json::to_vec(&hello())?;
                beater.connection.send(&frame(&hello)?).await?;
                let answer = beater.connection.text().await?;
                epoch(serde_json::from_slice(answer)?)?;
                beater.beat = frame(&serde_json::to_vec(&beat())?)?;
            }
            Mode::ProbeSocket => {
                let path = format!("/link?id={}", beater.agent.device);
                beater.open_socket(&path).await?;
                beater.beat = frame(&serde_json::to_vec(&beat())?)?;
            }
            Mode::ProbePoll => {
                let body = probe_body(&beater.agent)?;
                // The probe looks at no proof, but it gets the same bytes.
                let key = probe_key(&beater.agent)?;
                let proof = key.prove(beater.agent.device, 1_000, "POST", "/beat", &body);
                beater.beat = post("/beat", PROOF_HEADER, &proof, &body);
            }
        }
        Ok(beater)
    }

    async fn open_socket(&mut self, path: &str) -> Result<()> {
        let assertion = self.assertion("GET", path, &[]);
        self.connection
            .send(&upgrade(path, ASSERTION_HEADER, &assertion))
            .await?;
        match self.connection.answer().await? {
            (101, _) => Ok(()),
            (status, body) => bail!("no socket ({status}): {}", String::from_utf8_lossy(body)),
        }
    }

    async fn hello(&mut self) -> Result<u64> {
        let answer = self.exchange(&exchange(None, vec![hello()], None)?).await?;
        epoch(answer.frames.into_iter().next().context("no welcome")?)
    }

    async fn agree(&mut self, epoch: u64) -> Result<SessionKey> {
        let agreement = KeyAgreement::begin(&SystemRandom);
        let body = exchange(Some(epoch), Vec::new(), Some(agreement.request()))?;
        let answer = self.exchange(&body).await?.key.context("no session key")?;
        let device = self.agent.device;
        agreement
            .finish(&answer, &self.agent.server, device, epoch)
            .context("a session key that does not verify")
    }

    async fn exchange(&mut self, body: &[u8]) -> Result<ExchangeAnswer> {
        let request = self.request(body);
        self.connection.send(&request).await?;
        let (status, body) = self.connection.answer().await?;
        if status != 200 {
            bail!("no session ({status}): {}", String::from_utf8_lossy(body));
        }
        Ok(serde_json::from_slice(body)?)
    }

    fn assertion(&self, method: &str, path: &str, body: &[u8]) -> String {
        let (key, device) = (&self.agent.key, self.agent.device);
        Assertion::sign(key, device, SystemClock.now(), &SystemRandom, method, path, body)
    }

    fn request(&self, body: &[u8]) -> Vec<u8> {
        post(
            EXCHANGE,
            ASSERTION_HEADER,
            &self.assertion("POST", EXCHANGE, body),
            body,
        )
    }

    /// The next beat, proved.
    fn proved(&mut self) -> Vec<u8> {
        match &mut self.key {
            Some((key, counter)) => {
                *counter += 1;
                let proof = key.prove(self.agent.device, *counter, "POST", EXCHANGE, &self.beat);
                post(EXCHANGE, PROOF_HEADER, &proof, &self.beat)
            }
            None => self.request(&self.beat),
        }
    }

    /// Proves so many requests ahead, where that takes long.
    pub fn prepare(&mut self, count: usize) {
        if self.mode == Mode::Signed {
            self.proved = (0..count).map(|_| self.proved()).collect();
        }
    }

    /// Sends a beat and waits until it is acknowledged.
    pub async fn beat(&mut self) -> Result<()> {
        if matches!(self.mode, Mode::Poll | Mode::Signed) {
            let request = match self.proved.pop_front() {
                Some(request) => request,
                None => {
                    self.late += u64::from(self.mode == Mode::Signed);
                    self.proved()
                }
            };
            self.connection.send(&request).await?;
        } else {
            self.connection.send(&self.beat).await?;
        }
        let (status, body) = if self.mode.is_socket() {
            (200, self.connection.text().await?)
        } else {
            self.connection.answer().await?
        };
        // The only answer that says so; looking for it costs less than reading it all.
        if status == 200 && has(body, br#""type":"beat""#) {
            Ok(())
        } else {
            bail!(
                "a beat was not acknowledged ({status}): {}",
                String::from_utf8_lossy(body)
            )
        }
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn exchange(epoch: Option<u64>, frames: Vec<AgentFrame>, key: Option<KeyRequest>) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Exchange {
        epoch,
        frames,
        wait_seconds: 0,
        key,
    })?)
}

fn beat() -> AgentFrame {
    AgentFrame::Beat(Beat { gauges: gauges() })
}

/// A key that nobody else has, for proofs that nobody looks at.
fn probe_key(agent: &Agent) -> Result<SessionKey> {
    let agreement = KeyAgreement::begin(&SystemRandom);
    let (key, _) = agree(&agreement.request(), agent.device, 1, &agent.key, &SystemRandom).context("no key")?;
    Ok(key)
}

/// As long as an exchange and as what our server stores, within a tenth; with an id where an exchange names its session.
fn probe_body(agent: &Agent) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(
        &json!({"v": 1, "id": agent.device, "type": "beat", "gauges": gauges()}),
    )?)
}

fn hello() -> AgentFrame {
    AgentFrame::Hello(Hello {
        nonce: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        operations: Vec::new(),
        manifest: None,
    })
}

fn epoch(frame: ServerFrame) -> Result<u64> {
    match frame {
        ServerFrame::Welcome(welcome) => Ok(welcome.body.epoch),
        ServerFrame::Bye(bye) => bail!("no session: {} ({})", bye.message, bye.code),
        other => bail!("no welcome but {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::{
        devices::{DeviceId, presence::DeviceState},
        kernel::{SeededRandom, SigningKey},
        store::LatestValue as _,
    };

    use super::*;

    #[test]
    fn the_probe_gets_and_writes_as_many_bytes_as_the_server() {
        let random = SeededRandom::new(1);
        let now = SystemClock.now();
        let agent = Agent {
            device: DeviceId::new(now, &random),
            key: SigningKey::generate(&random),
            server: SigningKey::generate(&random).public(),
        };
        let ours = exchange(Some(1), vec![beat()], None).unwrap().len();
        let probe = probe_body(&agent).unwrap().len();
        assert!(
            probe.abs_diff(ours) * 10 < ours,
            "{probe} and {ours} bytes in a request"
        );
        let state = DeviceState {
            seen_at: now,
            epoch: 1,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            gauges: gauges(),
        };
        let row = state.encode().unwrap().len();
        assert!(probe.abs_diff(row) * 10 < row, "{probe} and {row} bytes in a row");
        let frame = serde_json::to_string(&beat()).unwrap();
        let socket_row = format!(r#"{{"seen_at":"{now}","v":1,"beat":{frame}}}"#).len();
        assert!(
            socket_row.abs_diff(row) * 10 < row,
            "{socket_row} and {row} bytes in a row"
        );
    }
}
