//! `shell`, with the script that checks: look, act, look again, where both are somebody's own words.

use std::time::Duration;

use fleet_core::{
    kernel::{Class, Code, EntityId as _, Error},
    protocol::{OfferBody, OutputChunk, OutputStream, RunResult},
    work::operations::shell::ShellParams,
};
use tokio::{sync::mpsc, time::Instant};

use super::NOT_REACHED;
use crate::{
    executor::{Executor, ShellSpec},
    runs::{Cancellation, Ending, OutputSink},
};

/// The check script says that the device is not as it should be, and nothing was to be done about it.
pub(crate) const NOT_COMPLIANT: Code = Code::new("shell.not_compliant", Class::Conflict);

/// How much of what a check script prints is kept, in bytes: the script's own output is what matters.
const CHECK_OUTPUT: u64 = 64 << 10;

/// Runs an offer of `shell` to its end.
pub(crate) async fn run(
    executor: &Executor,
    offer: &OfferBody,
    output: &OutputSink,
    cancellation: &Cancellation,
) -> Ending {
    let params: ShellParams = match serde_json::from_value((*offer.params).clone()) {
        Ok(params) => params,
        Err(error) => return Ending::failed("operation.params_invalid", error.to_string()),
    };
    let run = Run {
        executor,
        offer,
        params: &params,
        output,
        cancellation,
        deadline: Instant::now() + Duration::from_secs(u64::from(offer.timeout_seconds)),
    };
    match &params.check_script {
        Some(check) => run.with_check(check).await,
        None if params.dry_run => {
            // Nothing tells whether it would change anything.
            run.say("would run the script\n").await;
            Ending::of(RunResult::Succeeded)
        }
        None => match output.begin(true).await {
            Ok(()) => run.script(&params.script, offer.output_limit_bytes).await,
            Err(error) => not_begun(&error),
        },
    }
}

fn not_begun(error: &Error) -> Ending {
    let why = format!("it could not be written down, so nothing was done: {}", error.message());
    Ending::failed(error.code().name(), why)
}

struct Run<'a> {
    executor: &'a Executor,
    offer: &'a OfferBody,
    params: &'a ShellParams,
    output: &'a OutputSink,
    cancellation: &'a Cancellation,
    deadline: Instant,
}

impl Run<'_> {
    async fn with_check(&self, check: &str) -> Ending {
        let limit = CHECK_OUTPUT.min(self.offer.output_limit_bytes);
        let checked = self.script(check, limit).await;
        match checked.result {
            RunResult::Succeeded => {
                return Ending {
                    changed: Some(false),
                    ..checked
                };
            }
            // Stopped, or it could not be started: nobody knows how the device is.
            _ if checked.result != RunResult::Failed || checked.code.is_some() => return checked,
            _ => {}
        }
        let has_script = !self.params.script.trim().is_empty();
        if self.params.check_only || !has_script {
            return Ending {
                changed: Some(false),
                exit_code: checked.exit_code,
                signal: checked.signal,
                truncated_bytes: checked.truncated_bytes,
                ..Ending::failed(
                    NOT_COMPLIANT.name(),
                    "the check script says that the device is not as it should be",
                )
            };
        }
        if self.params.dry_run {
            self.say("would run the script\n").await;
            return Ending {
                changed: Some(true),
                ..Ending::of(RunResult::Succeeded)
            };
        }
        if let Err(error) = self.output.begin(true).await {
            return not_begun(&error);
        }
        let ran = self.script(&self.params.script, self.offer.output_limit_bytes).await;
        if ran.result != RunResult::Succeeded {
            return ran;
        }
        let again = self.script(check, limit).await;
        let truncated_bytes = checked.truncated_bytes + ran.truncated_bytes + again.truncated_bytes;
        match again.result {
            RunResult::Succeeded => Ending {
                changed: Some(true),
                truncated_bytes,
                ..ran
            },
            RunResult::Failed if again.code.is_none() => Ending {
                exit_code: again.exit_code,
                signal: again.signal,
                truncated_bytes,
                ..Ending::failed(
                    NOT_REACHED.name(),
                    "the script ran, and the check script still says that it is not as it should be",
                )
            },
            _ => Ending {
                truncated_bytes,
                ..again
            },
        }
    }

    async fn script(&self, text: &str, output_limit_bytes: u64) -> Ending {
        let spec = ShellSpec {
            timeout: self.deadline.saturating_duration_since(Instant::now()),
            output_limit_bytes,
            ..ShellSpec::from_offer(self.params, self.offer).with_text(text)
        };
        let (sender, mut chunks) = mpsc::channel::<OutputChunk>(16);
        let forward = async {
            while let Some(chunk) = chunks.recv().await {
                self.output.write(chunk.stream, &chunk.text).await;
            }
        };
        let run = self.offer.run.uuid();
        let running = self.executor.run(run, &spec, 0, sender, self.cancellation.receiver());
        let (outcome, ()) = tokio::join!(running, forward);
        match outcome {
            Ok(outcome) => Ending {
                exit_code: outcome.exit_code,
                signal: outcome.signal,
                truncated_bytes: outcome.truncated_bytes,
                ..Ending::of(outcome.result())
            },
            Err(error) => Ending::failed(error.code().name(), error.message()),
        }
    }

    async fn say(&self, text: &str) {
        self.output.write(OutputStream::Stdout, text).await;
    }
}
