//! `fleet-server repair`: goes on without what is damaged, when that is wanted.

use clap::Args;
use fleet_bins_common::{
    logging::print,
    storage::{self, Repair as Report},
};
use fleet_core::kernel::{SystemClock, SystemRandom};
use serde_json::json;

use crate::config::{Config, Flags};

/// Sets damaged lines aside.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// Print one JSON object: `lost`, `lines`, `aside`, `recorded`
    #[arg(long)]
    json: bool,
}

/// Repairs the store, with its audit entry, and says what is lost.
pub(crate) async fn repair(config: &Config, asked: &Repair) -> anyhow::Result<()> {
    let uri = config.storage().clone();
    let report = tokio::task::spawn_blocking(move || storage::repair(&uri, &SystemClock, &SystemRandom)).await??;
    print(&said(&report, asked.json));
    Ok(())
}

fn said(report: &Report, as_json: bool) -> String {
    let Report {
        lost,
        lines,
        aside,
        recorded,
    } = report;
    if as_json {
        return json!({"lost": lost, "lines": lines, "aside": aside, "recorded": recorded}).to_string();
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
    if *recorded {
        text.push_str("\nthe audit has an entry of it (storage.repair)");
    }
    text.push_str(
        "\nthe store goes on without what is lost; `fleet-server check` says which rows of the audit that are, if any",
    );
    text
}
