//! What the steps of one beat by polling cost when each is done by itself: the same functions, many times over, in this process.
//! What our server takes beyond their sum is HTTP, its layers, the runtime and the system's network.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fleet_core::{
    devices::presence::DeviceState,
    kernel::{Clock as _, SystemClock, SystemRandom},
    protocol::{
        AgentFrame, Assertion, Beat, Exchange, ExchangeAnswer, Gauges, KeyAgreement, Proof, ServerFrame, agree,
    },
    store::Ingest,
};
use futures::future::try_join_all;
use serde::Serialize;

use crate::{
    fixture::{self, Agent},
    machine,
};

/// How long each step is repeated.
const LONG: Duration = Duration::from_secs(1);
const METHOD: &str = "POST";
const PATH: &str = "/agent/v1/exchange";

/// CPU time of each step, in microseconds a beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Steps {
    /// Reading and checking a proof by session key.
    pub proof: f64,
    /// Reading and checking an assertion.
    pub assertion: f64,
    /// Reading an exchange and writing its answer.
    pub json: f64,
    /// Storing the beat, its share of the transaction included.
    pub ingest: f64,
}

/// Measures them, in a store of its own below `folder`.
pub async fn measure(folder: &std::path::Path, agents: &[Agent]) -> Result<Steps> {
    let agent = agents.first().context("no agents")?;
    let now = SystemClock.now();
    let exchange = Exchange {
        epoch: Some(1),
        frames: vec![AgentFrame::Beat(Beat { gauges: gauges() })],
        wait_seconds: 0,
        key: None,
    };
    let body = serde_json::to_vec(&exchange)?;

    let agreement = KeyAgreement::begin(&SystemRandom);
    let agreed = agree(&agreement.request(), agent.device, 1, &agent.key, &SystemRandom);
    let (key, _) = agreed.context("no key")?;
    let proof = key.prove(agent.device, 1_000, METHOD, PATH, &body);
    let proof =
        each(|| Proof::parse(black_box(&proof)).is_some_and(|proof| key.verifies(&proof, METHOD, PATH, &body)))?;

    let assertion = Assertion::sign(&agent.key, agent.device, now, &SystemRandom, METHOD, PATH, &body);
    let verifier = agent.key.public().verifier();
    let assertion = each(|| {
        let read = Assertion::parse(black_box(&assertion));
        read.is_ok_and(|read| read.verify(&verifier, now, METHOD, PATH, &body).is_ok())
    })?;

    let answer = ExchangeAnswer {
        frames: vec![ServerFrame::Beat { time: now }],
        key: None,
    };
    let json = each(|| {
        serde_json::from_slice::<Exchange>(black_box(&body)).is_ok() && serde_json::to_vec(black_box(&answer)).is_ok()
    })?;
    Ok(Steps {
        proof,
        assertion,
        json,
        ingest: ingest(folder, agents).await?,
    })
}

/// Microseconds of CPU time for one call, which has to succeed.
fn each(mut call: impl FnMut() -> bool) -> Result<f64> {
    let (begun, before) = (Instant::now(), machine::cpu(std::process::id())?);
    let mut calls = 0_u32;
    while begun.elapsed() < LONG {
        for _ in 0..100 {
            ensure!(call(), "a step failed");
        }
        calls += 100;
    }
    Ok(machine::cpu(std::process::id())?.since(before).total() * 1e6 / f64::from(calls))
}

/// All agents at once, as they come to the server.
async fn ingest(folder: &std::path::Path, agents: &[Agent]) -> Result<f64> {
    let fleet = &fixture::open(&folder.join("steps")).await?;
    let until = Instant::now() + LONG;
    let before = machine::cpu(std::process::id())?;
    let beats = agents.iter().map(|agent| async move {
        let mut beats = 0_u32;
        while Instant::now() < until {
            let state = DeviceState {
                seen_at: SystemClock.now(),
                epoch: 1,
                agent_version: env!("CARGO_PKG_VERSION").into(),
                gauges: gauges(),
            };
            let mut ingest = Ingest::default();
            ingest.set(agent.device, &state).map_err(fixture::log)?;
            fleet.store().ingest(ingest).await.map_err(fixture::log)?;
            beats += 1;
        }
        anyhow::Ok(beats)
    });
    let beats: u32 = try_join_all(beats).await?.into_iter().sum();
    let cpu = machine::cpu(std::process::id())?.since(before).total();
    fleet.close().await.map_err(fixture::log)?;
    Ok(cpu * 1e6 / f64::from(beats.max(1)))
}

/// As large as those of a real device.
pub fn gauges() -> Gauges {
    Gauges {
        uptime_seconds: Some(1_234_567),
        load_hundredths: Some(142),
        memory_total_bytes: Some(16_777_216_000),
        memory_used_bytes: Some(8_388_608_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_step_takes_some_time() {
        let folder = tempfile::tempdir().unwrap();
        let agents = fixture::with_devices(&folder.path().join("data"), 4).await.unwrap();
        let steps = measure(folder.path(), &agents).await.unwrap();
        for step in [steps.proof, steps.assertion, steps.json, steps.ingest] {
            assert!(step > 0.0, "{steps:?}");
        }
    }
}
