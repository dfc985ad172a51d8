//! `fleet-server repair`: goes on without what is damaged, when that is wanted.

use clap::Args;
use fleet_bins_common::{
    logging::print,
    storage::{self, Purpose, Repair as Report},
};
use fleet_core::storage::record_repair;
use serde_json::json;

use crate::{
    config::{Config, Flags},
    serve,
};

/// Sets damaged lines aside.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// Print one JSON object: `lost`, `lines`, `aside`
    #[arg(long)]
    json: bool,
}

/// Repairs the store, says what is lost, and leaves the audit entry.
pub(crate) async fn repair(config: &Config, asked: &Repair) -> anyhow::Result<()> {
    let uri = config.storage().clone();
    let report = tokio::task::spawn_blocking(move || storage::repair(&uri)).await??;
    // Said first: it is true even if the store does not open.
    print(&said(&report, asked.json));
    if report.lost.is_empty() {
        return Ok(());
    }
    let (fleet, _) = serve::open(config, Purpose::Existing).await?;
    let aside = report.aside.as_ref().map(|path| path.display().to_string());
    let recorded = record_repair(fleet.store(), report.lost.len() as u64, aside.as_deref()).await;
    let closed = fleet.close().await;
    recorded.map_err(|error| anyhow::anyhow!("the repair was done, its audit entry was not: {}", error.log()))?;
    closed.map_err(|error| anyhow::anyhow!("the store did not close cleanly: {}", error.log()))
}

fn said(report: &Report, as_json: bool) -> String {
    let Report { lost, lines, aside } = report;
    if as_json {
        return json!({"lost": lost, "lines": lines, "aside": aside}).to_string();
    }
    if lost.is_empty() {
        return "nothing is damaged; nothing was changed".to_owned();
    }
    let mut text = lost.join("\n");
    if let Some(aside) = aside {
        text.push_str(&format!(
            "\n{lines} damaged lines were set aside in {}",
            aside.display()
        ));
    }
    text.push_str("\nthe store goes on without them; `fleet-server check` says what is left to do");
    text
}
