//! What a bare server takes for one command to all, just now on this machine: as many connections, a signed text to each, a durable row for
//! each text and for each answer, and the same work in between.

use std::{net::SocketAddr, os::unix::fs::DirBuilderExt as _, path::Path, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::{arguments::Arguments, run::times};
use crate::{
    child::Service,
    generator::wire::{Connection, frame, post, upgrade},
    probe::fanout::{TAG, dispatch},
};

/// Connections that are opened at once.
const OPENING: usize = 128;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it took from the request on, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Fanout {
    pub bare_acknowledged_half_seconds: f64,
    pub bare_acknowledged_all_seconds: f64,
    pub bare_finished_all_seconds: f64,
}

/// What an agent has seen.
enum Seen {
    Connected,
    Acknowledged(Instant),
    Finished(Instant),
}

/// Starts the bare server, has all come, and gives the command.
pub async fn measure(arguments: &Arguments, folder: &Path) -> Result<Fanout> {
    let data = folder.join("fanout");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
    let mut command = Command::new(std::env::current_exe()?);
    let mut service = Service::start(command.args(["probe", "--data"]).arg(&data), &folder.join("fanout.log"))?;
    let address: SocketAddr = service.address()?.parse()?;
    let (count, work) = (
        usize::try_from(arguments.agents)?,
        Duration::from_millis(arguments.work_millis),
    );
    let Ok(reached) = timeout(PATIENCE, reach(address, count, work)).await else {
        bail!(
            "the bare server did not reach all; its log ends with\n{}",
            service.tail()
        );
    };
    service.stop()?;
    reached
}

/// Has so many agents come, and gives the command.
async fn reach(address: SocketAddr, count: usize, work: Duration) -> Result<Fanout> {
    let (seen, mut watched) = mpsc::channel(count.max(1));
    let opening = Arc::new(Semaphore::new(OPENING));
    let mut agents = JoinSet::new();
    for number in 0..count {
        let id = Uuid::from_u128(number as u128 + 1);
        agents.spawn(agent(address, id, opening.clone(), work, seen.clone()));
    }
    // Agents that have ended are missed.
    drop(seen);
    let measured = watch(address, count, &mut watched).await;
    agents.shutdown().await;
    measured
}

async fn watch(address: SocketAddr, count: usize, watched: &mut mpsc::Receiver<Seen>) -> Result<Fanout> {
    for _ in 0..count {
        let Some(Seen::Connected) = watched.recv().await else {
            bail!("an agent of the bare server has ended");
        };
    }
    let begun = Instant::now();
    // Its answer is not waited for: agents answer before.
    let command = tokio::spawn(async move {
        let mut connection = Connection::open(address).await?;
        connection.send(&post("/command", "x-bench", "1", b"{}")).await?;
        let (status, _) = connection.answer().await?;
        ensure!(status == 204, "the bare server answered {status}");
        Ok(())
    });
    let (mut acknowledged, mut finished) = (Vec::new(), Vec::new());
    while finished.len() < count {
        match watched.recv().await {
            Some(Seen::Acknowledged(at)) => acknowledged.push(at),
            Some(Seen::Finished(at)) => finished.push(at),
            Some(Seen::Connected) | None => bail!("an agent of the bare server has ended"),
        }
    }
    command.await??;
    let (half, all) = times(acknowledged, begun);
    Ok(Fanout {
        bare_acknowledged_half_seconds: half,
        bare_acknowledged_all_seconds: all,
        bare_finished_all_seconds: times(finished, begun).1,
    })
}

async fn agent(
    address: SocketAddr,
    id: Uuid,
    opening: Arc<Semaphore>,
    work: Duration,
    seen: mpsc::Sender<Seen>,
) -> Result<()> {
    let permit = opening.acquire_owned().await?;
    let mut connection = Connection::open(address).await?;
    connection
        .send(&upgrade(&format!("/fan?id={id}"), "x-bench", "1"))
        .await?;
    let (status, _) = connection.answer().await?;
    ensure!(status == 101, "the bare server answered {status}");
    drop(permit);
    seen.send(Seen::Connected).await?;
    let text = std::str::from_utf8(connection.text().await?)?;
    let (order, signature) = text.rsplit_once('\n').context("an order without signature")?;
    ensure!(
        dispatch().public().verifies(TAG, order.as_bytes(), &signature.parse()?),
        "an order that somebody else signed"
    );
    let told = |what: &str| frame(format!(r#"{{"type":"{what}","run":"{id}"}}"#).as_bytes());
    connection.send(&told("accepted")?).await?;
    connection.text().await?;
    seen.send(Seen::Acknowledged(Instant::now())).await?;
    sleep(work).await;
    connection.send(&told("finished")?).await?;
    connection.text().await?;
    seen.send(Seen::Finished(Instant::now())).await?;
    // Who leaves gives the others something to do.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_agent_is_reached_and_every_answer_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (address, kept) = crate::probe::in_background(folder.path()).await.unwrap();
        let reached = reach(address, 20, Duration::from_millis(1)).await.unwrap();
        assert!(reached.bare_acknowledged_half_seconds <= reached.bare_acknowledged_all_seconds);
        assert!(reached.bare_acknowledged_all_seconds <= reached.bare_finished_all_seconds);
        // The command, what was accepted, and what was finished.
        assert_eq!(kept.stop().await.unwrap(), 3 * 20);
    }
}
