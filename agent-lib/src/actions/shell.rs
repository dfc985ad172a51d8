//! `shell`, with the script that checks: look, act, look again, where both are somebody's own words. Once for the device, or once for each
//! user who is signed in to a desktop.
//!
//! ```text
//! session.rs  one user's turn, and the output of several users in one
//! users.rs    all of them, and how that ended
//! ```

mod session;
mod users;

use std::time::Duration;

use fleet_core::{
    kernel::{Class, Code, EntityId as _, Error},
    protocol::{OfferBody, OutputChunk, OutputStream, RunResult},
    work::operations::shell::{ShellParams, ShellScope},
};
use tokio::{sync::mpsc, time::Instant};

use self::session::Session;
use super::{NOT_REACHED, device::Device};
use crate::{
    executor::{Executor, ShellSpec},
    runs::{Cancellation, Ending, OutputSink},
};

/// The check script says that the device is not as it should be, and nothing was to be done about it.
pub(crate) const NOT_COMPLIANT: Code = Code::new("shell.not_compliant", Class::Conflict);

/// How much of what a check script prints is kept, in bytes: the script's own output is what matters.
const CHECK_OUTPUT: u64 = 64 << 10;

/// Runs an offer of `shell` to its end on a device.
pub(super) async fn run(
    executor: &Executor,
    offer: &OfferBody,
    output: &OutputSink,
    cancellation: &Cancellation,
    device: &Device,
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
        session: None,
    };
    match params.scope {
        ShellScope::System => run.to_its_end().await,
        ShellScope::Users => users::run(&run, device).await,
    }
}

fn not_begun(error: &Error) -> Ending {
    let why = format!("it could not be written down, so nothing was done: {}", error.message());
    Ending::failed(error.code().name(), why)
}

#[derive(Clone, Copy)]
struct Run<'a> {
    executor: &'a Executor,
    offer: &'a OfferBody,
    params: &'a ShellParams,
    output: &'a OutputSink,
    cancellation: &'a Cancellation,
    deadline: Instant,
    /// Whose turn it is, where it runs for each user.
    session: Option<&'a Session<'a>>,
}

impl Run<'_> {
    async fn to_its_end(self) -> Ending {
        match &self.params.check_script {
            Some(check) => self.with_check(check).await,
            None if self.params.dry_run => {
                // Nothing tells whether it would change anything.
                self.say("would run the script\n").await;
                Ending::of(RunResult::Succeeded)
            }
            None => match self.output.begin(true).await {
                Ok(()) => self.script(&self.params.script, self.offer.output_limit_bytes).await,
                Err(error) => not_begun(&error),
            },
        }
    }

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
        let spec = match self.session {
            Some(session) => session.specify(spec),
            None => spec,
        };
        let (sender, mut chunks) = mpsc::channel::<OutputChunk>(16);
        let forward = async {
            while let Some(chunk) = chunks.recv().await {
                self.write(chunk.stream, &chunk.text).await;
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
        self.write(OutputStream::Stdout, text).await;
    }

    async fn write(&self, stream: OutputStream, text: &str) {
        match self.session {
            Some(session) => session.write(stream, text).await,
            None => self.output.write(stream, text).await,
        }
    }
}
