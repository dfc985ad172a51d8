//! What all agents have in common.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result, bail};
use fleet_agent_lib::link::Trust;
use fleet_bench_dataset::{Dataset, Size};
use fleet_core::{
    devices::enrolment::{EnrolmentSecret, TokenText},
    kernel::{PublicKey, SeededRandom, SystemClock},
};
use rustls::pki_types::ServerName;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{agent::ask_whom_to_trust, arguments::Arguments, connection::Connection, stream::Stream, tally::Tally};

/// Reports under way at once: each is put together and packed while it is.
const REPORTS: usize = 32;

/// What agents do at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// They beat and work.
    On,
    /// They begin nothing new, and wait for what is under way.
    Quiet,
    /// They end.
    Over,
}

/// The server, as the token tells of it.
#[derive(Debug)]
pub struct Target {
    /// Where it is.
    pub address: SocketAddr,
    /// Its identity key, which agents pin.
    pub identity: PublicKey,
    /// On its own TLS port: whom agents believe, and its name.
    pub tls: Option<(Trust, ServerName<'static>)>,
    /// What lets them in.
    pub secret: EnrolmentSecret,
}

/// What all agents have in common.
#[derive(Debug)]
pub struct Swarm {
    pub arguments: Arguments,
    pub target: Target,
    pub tally: Tally,
    pub phase: watch::Sender<Phase>,
    /// The beginning of time, from which beats are counted.
    pub begun: Instant,
    /// Drawn from for delays.
    pub random: SeededRandom,
    /// Whether the server is not there because we killed it.
    pub storming: AtomicBool,
    /// How often all agents had to come back.
    pub generation: AtomicU64,
    pub dataset: Option<Dataset>,
    pub reporting: Semaphore,
}

impl Swarm {
    /// Agents for the server of a token.
    pub async fn new(arguments: &Arguments, token: &str) -> Result<Arc<Self>> {
        let token = TokenText::decode(token)?;
        let (scheme, rest) = token.address.split_once("://").context("an address without scheme")?;
        let authority = rest.trim_end_matches('/');
        if authority.contains('/') {
            bail!(
                "{}: an address with a path is not one of a server itself",
                token.address
            );
        }
        if scheme == "https" && token.ca.is_none() {
            bail!(
                "{}: the swarm speaks to the server itself, by plain HTTP or on its own TLS port, and not to a proxy before it",
                token.address
            );
        }
        if arguments.tls && token.ca.is_none() {
            bail!(
                "--tls: the token names {}, which is no TLS port of the server itself",
                token.address
            );
        }
        let default = if scheme == "https" { 443 } else { 80 };
        let with_port = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            _ => format!("{authority}:{default}"),
        };
        let address = tokio::net::lookup_host(&with_port)
            .await
            .with_context(|| format!("looking up {with_port}"))?
            .next()
            .with_context(|| format!("{with_port} has no address"))?;
        let tls = match token.ca {
            Some(_) => Some((
                Trust::for_many(Arc::new(SystemClock), None)?,
                ServerName::from(address.ip()),
            )),
            None => None,
        };
        let mut swarm = Self {
            arguments: arguments.clone(),
            target: Target {
                address,
                identity: token.identity,
                tls,
                secret: token.secret,
            },
            tally: Tally::default(),
            phase: watch::channel(Phase::On).0,
            begun: Instant::now(),
            random: SeededRandom::new(arguments.seed),
            storming: AtomicBool::new(false),
            generation: AtomicU64::new(1),
            dataset: arguments.reports.then(|| {
                Dataset::new(
                    arguments.seed,
                    Size::of(usize::try_from(arguments.agents).unwrap_or(usize::MAX)),
                )
            }),
            reporting: Semaphore::new(REPORTS),
        };
        swarm.learn_authorities().await?;
        Ok(Arc::new(swarm))
    }

    /// All agents here learn from one answer whom to believe.
    async fn learn_authorities(&mut self) -> Result<()> {
        let Some((trust, name)) = &self.target.tls else {
            return Ok(());
        };
        let tls = (trust.config(None)?, name.clone());
        let stream = Stream::connect(self.target.address, 0, Some(tls)).await?;
        let (authorities, _) = ask_whom_to_trust(self, &mut Connection::new(stream, None)).await?;
        let name = name.clone();
        self.target.tls = Some((Trust::for_many(Arc::new(SystemClock), Some(&authorities))?, name));
        Ok(())
    }

    /// From now on agents that prove a session are counted anew.
    pub fn begin_return(&self) {
        self.tally.back.store(0, Relaxed);
        self.generation.fetch_add(1, Relaxed);
    }
}
