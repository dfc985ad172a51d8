//! Inventory reports, where the server wants them.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use fleet_core::{
    devices::inventory::SectionReport,
    protocol::{ASSERTION_HEADER, Want},
};

use super::{
    agent::{Agent, request_on},
    connection::{Connection, post},
    shared::Swarm,
    trouble::Trouble,
};

/// As agents pack them.
const LEVEL: i32 = 3;

/// Sends the sections that are wanted, by a connection of their own.
pub async fn send(swarm: Arc<Swarm>, agent: Arc<Agent>, want: Want) {
    // Nobody closes it.
    let Ok(_turn) = swarm.reporting.acquire().await else {
        return;
    };
    if let Err(trouble) = sections(&swarm, &agent, &want).await {
        swarm.tally.trouble(&format!("report: {}", trouble.name()));
    }
}

async fn sections(swarm: &Swarm, agent: &Agent, want: &Want) -> Result<(), Trouble> {
    let Some(dataset) = &swarm.dataset else { return Ok(()) };
    let reports = usize::try_from(agent.n)
        .ok()
        .and_then(|n| dataset.reports(n).ok())
        .ok_or(Trouble::Untrusted("the data set has no such device"))?;
    let mut connection = agent.connect(swarm, true).await?;
    for report in reports {
        if want.sections.iter().any(|name| name == report.section.name()) {
            one(swarm, agent, &mut connection, &report).await?;
            swarm.tally.reports.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}

async fn one(swarm: &Swarm, agent: &Agent, connection: &mut Connection, report: &SectionReport) -> Result<(), Trouble> {
    let path = format!("/agent/v1/reports/{}", report.section.name());
    let body = zstd::encode_all(&serde_json::to_vec(report)?[..], LEVEL)?;
    let mut headers = vec![("content-encoding", "zstd")];
    let assertion;
    if swarm.target.tls.is_none() {
        assertion = agent.assertion("POST", &path, &body);
        headers.push((ASSERTION_HEADER, &assertion));
    }
    let request = post(&path, "application/json", &headers, &body);
    request_on(connection, &request).await.map(drop)
}
