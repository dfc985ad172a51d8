//! How agents come by their identity: by real requests, as many at once as was asked for.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet_core::{
    devices::enrolment::{EnrolRequest, Machine},
    kernel::{SigningKey, SystemRandom, random_bytes},
    protocol::EnrolAnswer,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    agent::{Agent, Manner, request_on},
    connection::{Connection, post},
    shared::Swarm,
    stream::Stream,
    trouble::Trouble,
};
use crate::figures::quantile;

const PATH: &str = "/agent/v1/enrol";
/// How often one enrolment is tried.
const TRIES: u32 = 8;

/// How quick enrolments were.
#[derive(Clone, Debug, Serialize)]
pub struct Enrolments {
    pub seconds: f64,
    pub enrolments_per_second: f64,
    pub enrol_p50_ms: f64,
    pub enrol_p99_ms: f64,
}

/// Enrols all agents; on the server's own TLS port each gets its certificate, too.
pub async fn all(swarm: &Arc<Swarm>) -> Result<(Vec<Arc<Agent>>, Enrolments)> {
    let begun = Instant::now();
    let at_once = usize::try_from(swarm.arguments.enrol_at_once)?;
    let enrolled: Vec<(Arc<Agent>, Duration)> = stream::iter(0..swarm.arguments.agents)
        .map(|n| {
            let swarm = swarm.clone();
            // A task each, so that all processors take part in signing.
            async move { tokio::spawn(async move { patiently(&swarm, n).await }).await? }
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let millis: Vec<f64> = enrolled.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    let mut agents: Vec<_> = enrolled.into_iter().map(|(agent, _)| agent).collect();
    agents.sort_unstable_by_key(|agent| agent.n);
    let enrolments = Enrolments {
        seconds,
        enrolments_per_second: agents.len() as f64 / seconds,
        enrol_p50_ms: quantile(millis.clone(), 0.5),
        enrol_p99_ms: quantile(millis, 0.99),
    };
    Ok((agents, enrolments))
}

/// Tries until it succeeds, as long as that can be hoped for.
async fn patiently(swarm: &Swarm, n: u64) -> Result<(Arc<Agent>, Duration)> {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        let trouble = match one(swarm, n).await {
            Ok(agent) => return Ok((Arc::new(agent), begun.elapsed())),
            Err(trouble) => trouble,
        };
        swarm.tally.trouble(&format!("enrolment: {}", trouble.name()));
        let hint = match &trouble {
            Trouble::Refused { retry_after, .. } => *retry_after,
            Trouble::Broken(_) => Some(Duration::from_millis(500)),
            Trouble::Untrusted(_) => None,
        };
        match hint {
            Some(hint) if tries < TRIES => tokio::time::sleep(hint).await,
            _ => bail!("agent {n} could not be enrolled: {trouble}"),
        }
    }
}

async fn one(swarm: &Swarm, n: u64) -> Result<Agent, Trouble> {
    let key = key(swarm, n);
    let manner = Manner::of(swarm, n);
    let tls = match &swarm.target.tls {
        Some((trust, name)) => {
            let config = trust.config(None).map_err(|error| Trouble::Broken(error.to_string()))?;
            Some((config, name.clone()))
        }
        None => None,
    };
    let stream = Stream::connect(swarm.target.address, n, tls).await?;
    let mut connection = Connection::new(stream, None);
    let nonce: [u8; 32] = random_bytes(&SystemRandom);
    let machine = Machine {
        hostname: format!("swarm-{n}"),
        machine_id: Some(hex::encode(&key.public().as_bytes()[..16])),
        agent_version: env!("CARGO_PKG_VERSION").into(),
    };
    let request = EnrolRequest::prove(swarm.target.secret.clone(), &key, nonce, machine);
    let body = serde_json::to_vec(&request)?;
    let answer = request_on(&mut connection, &post(PATH, "application/json", &[], &body)).await?;
    let answer: EnrolAnswer = serde_json::from_slice(&answer.body)?;
    if !answer.verify(&swarm.target.identity, &URL_SAFE_NO_PAD.encode(nonce), &key.public()) {
        return Err(Trouble::Untrusted("an enrolment that the server did not sign"));
    }
    if answer.pending {
        return Err(Trouble::Untrusted(
            "the device waits for approval: use a token with --approval false",
        ));
    }
    let agent = Agent::new(n, answer.body.device, key, manner);
    if swarm.target.tls.is_some() {
        agent.certify(swarm, &mut connection).await?;
    }
    Ok(agent)
}

/// Follows from the seed and from the token, so that nobody who only knows the seed has the keys.
fn key(swarm: &Swarm, n: u64) -> SigningKey {
    let place = [swarm.arguments.seed.to_le_bytes(), n.to_le_bytes()].concat();
    SigningKey::from_bytes(blake3::keyed_hash(&swarm.target.secret.hash(), &place).as_bytes())
}

/// Lets all agents come, so many a second; returns the time until the first beat of all was acknowledged.
pub async fn connect(
    swarm: &Arc<Swarm>,
    agents: &[Arc<Agent>],
    tasks: &mut tokio::task::JoinSet<()>,
) -> Result<Duration> {
    let begun = Instant::now();
    let pause = Duration::from_secs_f64(1.0 / swarm.arguments.connect_per_second as f64);
    for (place, agent) in agents.iter().enumerate() {
        tokio::time::sleep_until(begun + pause.saturating_mul(u32::try_from(place)?)).await;
        tasks.spawn(super::life::live(swarm.clone(), agent.clone()));
    }
    until_back(swarm, Duration::from_secs(120))
        .await
        .context("while the agents connected for the first time")?;
    Ok(begun.elapsed())
}

/// Waits until the first beat of every agent was acknowledged; how long that took.
pub async fn until_back(swarm: &Swarm, patience: Duration) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let back = swarm.tally.back.load(Relaxed);
        if back >= swarm.arguments.agents {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > patience {
            bail!(
                "after {} s only {back} of {} agents are there; what went wrong: {:?}",
                patience.as_secs(),
                swarm.arguments.agents,
                swarm.tally.troubles()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
