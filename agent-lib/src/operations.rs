//! The kinds of operation that this agent executes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use fleet_core::{
    protocol::{OfferBody, OutputStream, RunResult},
    work::operations::{agent_update, refresh, shell, sync},
};

use crate::{
    actions::{self, Actions},
    desired::Requests,
    reports::{Reports, section},
    runs::{Cancellation, Ending, Execute, OutputSink},
    update::Updater,
};

/// How long a refresh waits for its reports to be sent.
const SENDING: Duration = Duration::from_secs(60);
/// How long it waits for the server to say what it wants.
const ASKING: Duration = Duration::from_secs(3);

/// What this agent executes.
pub const KINDS: [&str; OWN.len() + actions::KINDS.len()] = {
    let mut kinds = [""; OWN.len() + actions::KINDS.len()];
    let mut at = 0;
    while at < kinds.len() {
        kinds[at] = if at < OWN.len() {
            OWN[at]
        } else {
            actions::KINDS[at - OWN.len()]
        };
        at += 1;
    }
    kinds
};

/// Those that are no actions.
const OWN: [&str; 4] = [shell::NAME, refresh::NAME, agent_update::NAME, sync::NAME];

/// The built-in kinds.
#[derive(Debug)]
pub struct Operations {
    reports: Arc<Reports>,
    updater: Arc<Updater>,
    actions: Actions,
    requests: Arc<Requests>,
}

impl Operations {
    /// Refreshes `reports`, brings other versions by `updater`, runs scripts and keeps the device by `actions`, and its desired state by
    /// `requests`.
    pub fn new(reports: Arc<Reports>, updater: Arc<Updater>, actions: Actions, requests: Arc<Requests>) -> Self {
        Self {
            reports,
            updater,
            actions,
            requests,
        }
    }

    async fn refresh(&self, offer: &OfferBody, output: OutputSink, mut cancellation: Cancellation) -> Ending {
        let params: refresh::RefreshParams = match serde_json::from_value((*offer.params).clone()) {
            Ok(params) => params,
            Err(error) => return Ending::failed("operation.params_invalid", error.to_string()),
        };
        let mut sections = Vec::new();
        for name in &params.sections {
            match section(name) {
                Some(section) => sections.push(section),
                None => {
                    return Ending::failed(
                        "inventory.section_unknown",
                        format!("this agent collects no section {name}"),
                    );
                }
            }
        }
        let work = async {
            let changed = self.reports.collect(&sections).await;
            for section in &changed {
                output
                    .write(OutputStream::Stdout, &format!("{}: changed\n", section.name()))
                    .await;
            }
            if changed.is_empty() {
                output.write(OutputStream::Stdout, "nothing changed\n").await;
                return Ending::of(RunResult::Succeeded);
            }
            // The server hears the new hashes and asks for what it lacks.
            tokio::time::sleep(ASKING).await;
            if self.reports.sent(SENDING).await {
                Ending::of(RunResult::Succeeded)
            } else {
                Ending::failed(
                    "inventory.not_sent",
                    "collected, but not all of it could be sent; it is sent later",
                )
            }
        };
        tokio::select! {
            ending = tokio::time::timeout(Duration::from_secs(u64::from(offer.timeout_seconds)), work) => ending.unwrap_or_else(|_| Ending::of(RunResult::TimedOut)),
            () = cancellation.requested() => Ending::of(RunResult::Cancelled),
        }
    }
}

impl Operations {
    async fn apply_manifest(&self, offer: &OfferBody, output: OutputSink, mut cancellation: Cancellation) -> Ending {
        let work = async {
            let params: sync::SyncParams = match serde_json::from_value((*offer.params).clone()) {
                Ok(params) => params,
                Err(error) => return Ending::failed("operation.params_invalid", error.to_string()),
            };
            let Some(applied) = self.requests.apply_all(params.ignore_windows).await else {
                return Ending::failed("agent.busy", "so many wait for this already that it is not begun");
            };
            for line in &applied.lines {
                output.write(OutputStream::Stdout, &format!("{line}\n")).await;
            }
            if applied.lines.is_empty() {
                let why = "nothing is assigned to this device";
                output.write(OutputStream::Stdout, &format!("{why}\n")).await;
            }
            Ending {
                changed: Some(applied.changed > 0),
                message: (applied.failed > 0).then(|| format!("{} could not be brought there", applied.failed)),
                ..Ending::of(match applied.failed {
                    0 => RunResult::Succeeded,
                    _ => RunResult::SucceededWithIssues,
                })
            }
        };
        let patience = Duration::from_secs(u64::from(offer.timeout_seconds));
        tokio::select! {
            // What is under way goes on all the same: it is the device's own.
            ending = tokio::time::timeout(patience, work) => ending.unwrap_or_else(|_| Ending::of(RunResult::TimedOut)),
            () = cancellation.requested() => Ending::of(RunResult::Cancelled),
        }
    }
}

#[async_trait]
impl Execute for Operations {
    fn kinds(&self) -> Vec<String> {
        KINDS.map(str::to_owned).into()
    }

    fn takes_up(&self, kind: &str) -> bool {
        Actions::takes_up(kind)
    }

    async fn take_up(&self, offer: &OfferBody, output: OutputSink, cancellation: Cancellation) -> Ending {
        self.actions.take_up(offer, &output, &cancellation).await
    }

    async fn execute(&self, offer: &OfferBody, output: OutputSink, cancellation: Cancellation) -> Ending {
        match offer.kind.as_str() {
            shell::NAME => self.actions.run_script(offer, &output, &cancellation).await,
            refresh::NAME => self.refresh(offer, output, cancellation).await,
            sync::NAME => self.apply_manifest(offer, output, cancellation).await,
            agent_update::NAME => self.updater.execute(offer, &output, cancellation).await,
            kind => match self.actions.execute(offer, &output, &cancellation).await {
                Some(ending) => ending,
                None => Ending::failed(
                    "operation.unknown",
                    format!("this agent does not know the operation {kind}"),
                ),
            },
        }
    }
}
