//! The kinds of operation that this agent executes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use fleet_core::{
    protocol::{OfferBody, OutputChunk, OutputStream, RunResult},
    work::operations::{agent_update, refresh, shell},
};
use tokio::sync::mpsc;

use crate::{
    executor::{Executor, ShellSpec},
    reports::{Reports, section},
    runs::{Cancellation, Ending, Execute, OutputSink},
    update::Updater,
};

/// How long a refresh waits for its reports to be sent.
const SENDING: Duration = Duration::from_secs(60);
/// How long it waits for the server to say what it wants.
const ASKING: Duration = Duration::from_secs(3);

/// What this agent executes.
pub const KINDS: [&str; 3] = [shell::NAME, refresh::NAME, agent_update::NAME];

/// The built-in kinds.
#[derive(Debug)]
pub struct Operations {
    executor: Executor,
    reports: Arc<Reports>,
    updater: Arc<Updater>,
}

impl Operations {
    /// Executes scripts with `executor`, refreshes `reports`, and brings other versions by `updater`.
    pub fn new(executor: Executor, reports: Arc<Reports>, updater: Arc<Updater>) -> Self {
        Self {
            executor,
            reports,
            updater,
        }
    }

    async fn shell(&self, offer: &OfferBody, output: OutputSink, cancellation: Cancellation) -> Ending {
        let params: shell::ShellParams = match serde_json::from_value(offer.params.clone()) {
            Ok(params) => params,
            Err(error) => return Ending::failed("operation.params_invalid", error.to_string()),
        };
        let spec = ShellSpec::from_offer(&params, offer);
        let (sender, mut chunks) = mpsc::channel::<OutputChunk>(16);
        let forward = async {
            while let Some(chunk) = chunks.recv().await {
                output.write(chunk.stream, &chunk.text).await;
            }
        };
        use fleet_core::kernel::EntityId as _;
        let (outcome, ()) = tokio::join!(
            self.executor
                .run(offer.run.uuid(), &spec, 0, sender, cancellation.receiver()),
            forward
        );
        match outcome {
            Ok(outcome) => Ending {
                result: outcome.result(),
                exit_code: outcome.exit_code,
                signal: outcome.signal,
                code: None,
                message: None,
                changed: None,
                truncated_bytes: outcome.truncated_bytes,
            },
            Err(error) => Ending::failed(error.code().name(), error.message()),
        }
    }

    async fn refresh(&self, offer: &OfferBody, output: OutputSink, mut cancellation: Cancellation) -> Ending {
        let params: refresh::RefreshParams = match serde_json::from_value(offer.params.clone()) {
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

#[async_trait]
impl Execute for Operations {
    fn kinds(&self) -> Vec<String> {
        KINDS.map(str::to_owned).into()
    }

    async fn execute(&self, offer: &OfferBody, output: OutputSink, cancellation: Cancellation) -> Ending {
        match offer.kind.as_str() {
            shell::NAME => self.shell(offer, output, cancellation).await,
            refresh::NAME => self.refresh(offer, output, cancellation).await,
            agent_update::NAME => self.updater.execute(offer, &output, cancellation).await,
            kind => Ending::failed(
                "operation.unknown",
                format!("this agent does not know the operation {kind}"),
            ),
        }
    }
}
