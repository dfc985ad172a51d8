//! Carries an action out, and says honestly what became of it.

use fleet_core::{
    protocol::{OutputStream, RunResult},
    work::operations::{ActionSummary, actions::ActionParams as _},
};
use serde_json::Value;

use super::{
    NOT_REACHED,
    action::{Action, Problem},
    device::Device,
};
use crate::runs::Ending;

/// Looks, acts, and looks again.
pub(super) async fn carry_out<A: Action>(params: &Value, device: &Device) -> Ending {
    let refuse = |why: String| changed(Ending::failed("operation.params_invalid", why), Some(false));
    let params: A::Params = match serde_json::from_value(params.clone()) {
        Ok(params) => params,
        Err(error) => return refuse(error.to_string()),
    };
    // The server has checked them; an agent that is older or newer than it knows other rules.
    if let Some(problem) = params.problem() {
        return refuse(problem);
    }
    let ending = to_its_end::<A>(&params, device).await;
    let truncated_bytes = device.truncated_bytes();
    with_warnings(
        Ending {
            truncated_bytes,
            ..ending
        },
        device,
    )
}

/// Says what there was to warn of.
pub(super) fn with_warnings(ending: Ending, device: &Device) -> Ending {
    let warnings = device.warnings();
    let result = match ending.result {
        RunResult::Succeeded if !warnings.is_empty() => RunResult::SucceededWithIssues,
        result => result,
    };
    let message = ending
        .message
        .or_else(|| (!warnings.is_empty()).then(|| warnings.join("; ")));
    Ending {
        result,
        message,
        ..ending
    }
}

async fn to_its_end<A: Action>(params: &A::Params, device: &Device) -> Ending {
    let steps = match look::<A>(params, device).await {
        Ok(steps) => steps,
        Err(problem) => return ending(problem, Some(false)),
    };
    if let Some(until) = device.deferred().filter(|_| steps.is_empty()) {
        device.say(&format!("{until}\n")).await;
        let ending = changed(Ending::of(RunResult::Succeeded), Some(false));
        let ending = Ending {
            message: Some(until),
            ..ending
        };
        return with_steps(ending, &steps);
    }
    if steps.is_empty() {
        device.say("it is as it should be; nothing to do\n").await;
        let ending = changed(Ending::of(RunResult::Succeeded), Some(false));
        return with_steps(ending, &steps);
    }
    let read_only = match device.read_only_mounts(&A::writes(params)) {
        Ok(read_only) => read_only,
        Err(problem) => return ending(problem, Some(false)),
    };
    if params.dry_run() {
        for point in &read_only {
            device
                .say(&format!("would remount {point}, which is mounted read-only\n"))
                .await;
        }
        for step in &steps {
            device.say(&format!("would {step}\n")).await;
        }
        let ending = changed(Ending::of(RunResult::Succeeded), Some(true));
        return with_steps(ending, &steps);
    }
    let makes = steps.iter().any(|step| A::makes(step));
    if let Err(error) = device.begin(makes).await {
        let why = format!("it could not be written down, so nothing was done: {}", error.message());
        return changed(Ending::failed(error.code().name(), why), Some(false));
    }
    for (remounted, point) in read_only.iter().enumerate() {
        device
            .say(&format!("remount {point}, which is mounted read-only\n"))
            .await;
        if let Err(problem) = device.remount(point).await {
            return with_steps::<A::Step>(ending(problem, Some(remounted > 0)), &[]);
        }
    }
    let mut made = false;
    for (done, step) in steps.iter().enumerate() {
        device.say(&format!("{step}\n")).await;
        let acted = match device.check_time() {
            Ok(()) => A::act(params, device, step).await,
            stopped => stopped,
        };
        if let Err(problem) = acted {
            let changed = match &problem {
                // There is neither time nor leave to look.
                Problem::TimedOut | Problem::Cancelled => (done > 0).then_some(true),
                _ => {
                    let left = look::<A>(params, device).await.ok();
                    left.map(|left| left != steps || device.has_made_parents())
                }
            };
            let ending = ending(problem, changed);
            return with_steps(Ending { made, ..ending }, &steps[..done]);
        }
        made |= A::makes(step);
    }
    let ending = look_again::<A>(params, device).await;
    with_steps(Ending { made, ..ending }, &steps)
}

async fn look_again<A: Action>(params: &A::Params, device: &Device) -> Ending {
    match look::<A>(params, device).await {
        Ok(left) => {
            let left: Vec<_> = left
                .iter()
                .filter(|step| A::is_lasting(step))
                .map(ToString::to_string)
                .collect();
            if left.is_empty() {
                return changed(Ending::of(RunResult::Succeeded), Some(true));
            }
            let message = format!("all was done, and yet this is left to do: {}", left.join(", "));
            changed(Ending::failed(NOT_REACHED.name(), message), Some(true))
        }
        Err(problem) => ending(problem, Some(true)),
    }
}

async fn look<A: Action>(params: &A::Params, device: &Device) -> Result<Vec<A::Step>, Problem> {
    device.check_time()?;
    A::look(params, device).await
}

/// Says which steps were done, or would be.
fn with_steps<S: ToString>(ending: Ending, steps: &[S]) -> Ending {
    Ending {
        summary: Some(ActionSummary::of(steps).into()),
        ..ending
    }
}

fn changed(ending: Ending, changed: Option<bool>) -> Ending {
    Ending { changed, ..ending }
}

/// The end of a run that a problem has brought about.
pub(super) fn ending(problem: Problem, did_change: Option<bool>) -> Ending {
    let ending = match problem {
        Problem::Failed {
            code,
            message,
            exit_code,
        } => Ending {
            exit_code,
            ..Ending::failed(code.name(), message)
        },
        Problem::NotApplicable(why) => Ending {
            message: Some(why),
            ..Ending::of(RunResult::NotApplicable)
        },
        Problem::TimedOut => Ending::of(RunResult::TimedOut),
        Problem::Cancelled => Ending::of(RunResult::Cancelled),
    };
    changed(ending, did_change)
}

impl Device {
    /// What follows changes the device; `making` where it makes something that was not there.
    async fn begin(&self, making: bool) -> fleet_core::kernel::Result<()> {
        self.output().begin(making).await
    }

    /// Says something in the run's output.
    pub(super) async fn say(&self, text: &str) {
        self.write(OutputStream::Stdout, text).await;
    }
}
