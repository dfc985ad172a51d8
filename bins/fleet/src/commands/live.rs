//! Following runs while they run.

use std::{collections::BTreeSet, future::Future, time::Duration};

use fleet_core::work::State;
use futures::{StreamExt as _, stream};
use serde_json::Value;
use tokio::sync::Mutex;

use super::Context;
use crate::{
    client::{Chunk, Client, Exit, Failure, Pages, Query, Result, all, follow},
    output::{Output, Prefixer, note},
};

/// Up to so many runs each have a live stream; with more, finished runs are shown as they finish.
const STREAMS: usize = 24;
/// How often many runs are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many failed devices are named.
const NAMED: usize = 20;
/// The longest width of names before output.
const NAME_WIDTH: usize = 30;
/// The most runs of a batch.
pub const MOST_RUNS: usize = 100_000;

/// Runs `work` until it is done or somebody presses Ctrl-C: then we leave, and what runs goes on.
pub async fn until_ctrl_c(work: impl Future<Output = Result<()>>, cancel: &str) -> Result<()> {
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => {
            note(&format!("\nleft; the work goes on. To stop it: {cancel}"));
            Err(Failure::silent(Exit::Interrupted))
        }
    }
}

/// Writes a piece of output to where it belongs.
pub fn write(output: &mut Output, lines: &mut Prefixer, chunk: &Chunk) -> Result<()> {
    let text = lines.push(&chunk.stream, &chunk.text);
    emit(output, &chunk.stream, &text)
}

fn emit(output: &mut Output, stream: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    if stream == "stdout" {
        output.text(text)
    } else {
        use std::io::Write as _;
        Ok(std::io::stderr().write_all(text.as_bytes())?)
    }
}

/// Follows the runs of a batch to their end and gives them back. Nothing is printed when `quiet`.
pub async fn follow_all(context: &mut Context, batch: &str, runs: &[Value], quiet: bool) -> Result<Vec<Value>> {
    if runs.len() > STREAMS {
        return watch_many(context, batch, runs, quiet).await;
    }
    let several = runs.len() > 1;
    let width = name_width(runs);
    let terminal = context.output.is_terminal();
    let client = &context.client;
    let output = Mutex::new(&mut context.output);
    let follows = runs.iter().map(|run| {
        let output = &output;
        async move {
            let id = run["id"].as_str().unwrap_or_default();
            let name = run["device_name"].as_str().unwrap_or_default();
            let mut lines = Prefixer::new(several.then_some((name, width)), terminal);
            let ended = follow(client, id, |chunk| {
                if quiet {
                    return Ok(());
                }
                // Never held over a wait, so it is always free.
                match output.try_lock() {
                    Ok(mut output) => write(&mut output, &mut lines, &chunk),
                    Err(_) => Err(Failure::unexpected("two runs write at once")),
                }
            })
            .await?;
            for stream in ["stdout", "stderr", "agent"] {
                let rest = lines.end(stream);
                emit(*output.lock().await, stream, &rest)?;
            }
            Ok::<_, Failure>(ended)
        }
    });
    let mut ended = Vec::new();
    let mut follows = stream::iter(follows).buffer_unordered(STREAMS);
    while let Some(run) = follows.next().await {
        ended.push(run?);
    }
    Ok(ended)
}

/// Looks again and again which runs have ended, and shows each one's output whole.
async fn watch_many(context: &mut Context, batch: &str, runs: &[Value], quiet: bool) -> Result<Vec<Value>> {
    let width = name_width(runs);
    let mut shown = BTreeSet::new();
    loop {
        let now = all(&context.client, &["runs"], vec![("batch", batch.to_owned())], MOST_RUNS).await?;
        for run in now.iter().filter(|run| run["terminal"] == true) {
            let id = run["id"].as_str().unwrap_or_default();
            if !shown.insert(id.to_owned()) || quiet {
                continue;
            }
            let name = run["device_name"].as_str().unwrap_or_default();
            let mut lines = Prefixer::new(Some((name, width)), context.output.is_terminal());
            let path = ["runs", id, "output"];
            let mut pages = Pages::new(&context.client, &path, Query::new(), usize::MAX);
            while let Some(items) = pages.next().await? {
                for chunk in items.iter().filter_map(Chunk::from_json) {
                    write(&mut context.output, &mut lines, &chunk)?;
                }
            }
            for stream in ["stdout", "stderr", "agent"] {
                let rest = lines.end(stream);
                emit(&mut context.output, stream, &rest)?;
            }
        }
        if shown.len() >= runs.len() {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn name_width(runs: &[Value]) -> usize {
    let names = runs.iter().filter_map(|run| run["device_name"].as_str());
    names
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .min(NAME_WIDTH)
}

/// Says how runs ended; fails when some did not do what they should.
pub fn verdict(runs: &[Value]) -> Result<()> {
    for line in told(runs) {
        note(&line);
    }
    match runs.iter().all(has_succeeded) {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Devices)),
    }
}

/// What people are told of how runs ended: of one that simply did what it should, nothing.
fn told(runs: &[Value]) -> Vec<String> {
    let (fine, failed): (Vec<_>, Vec<_>) = runs.iter().partition(|run| has_succeeded(run));
    let (plain, noted): (Vec<_>, Vec<_>) = fine
        .into_iter()
        .partition(|run| run["state"] == State::Succeeded.name());
    let mut lines = Vec::new();
    if runs.len() > 1 {
        let with_issues = |run: &&&Value| run["state"] == State::SucceededWithIssues.name();
        let with_issues = noted.iter().filter(with_issues).count();
        let counts = [
            (plain.len() + with_issues, "succeeded"),
            (noted.len() - with_issues, "not concerned"),
            (failed.len(), "failed"),
        ];
        let counts = counts
            .iter()
            .filter(|(count, what)| *count > 0 || *what != "not concerned");
        let counts: Vec<_> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        lines.push(counts.join(", "));
    }
    let named: Vec<_> = failed.into_iter().chain(noted).collect();
    lines.extend(named.iter().take(NAMED).map(|run| ending(run)));
    if named.len() > NAMED {
        lines.push(format!("and {} more", named.len() - NAMED));
    }
    lines
}

/// Whether a run did what it should; a state that is newer than we are counts as failed.
fn has_succeeded(run: &Value) -> bool {
    matches!(
        serde_json::from_value(run["state"].clone()),
        Ok(State::Succeeded | State::SucceededWithIssues | State::NotApplicable | State::Skipped)
    )
}

/// How a run ended, on one line.
fn ending(run: &Value) -> String {
    let text = |name: &str| run["ending"][name].as_str().map(crate::output::plain);
    let number = |name: &str| run["ending"][name].as_i64();
    let mut reasons = Vec::new();
    reasons.extend(number("exit_code").map(|code| format!("exit code {code}")));
    reasons.extend(number("signal").map(|signal| format!("signal {signal}")));
    reasons.extend(text("message").or_else(|| text("code")));
    let name = crate::output::plain(run["device_name"].as_str().unwrap_or("a device"));
    let state = run["state"].as_str().unwrap_or("unknown").replace('_', " ");
    if reasons.is_empty() {
        format!("{name}: {state}")
    } else {
        format!("{name}: {state} ({})", reasons.join(", "))
    }
}

/// The runs of a batch.
pub async fn runs_of(client: &Client, batch: &str) -> Result<Vec<Value>> {
    all(client, &["runs"], vec![("batch", batch.to_owned())], MOST_RUNS).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(runs: Value, expected: Option<Exit>) {
        let result = verdict(runs.as_array().unwrap());
        assert_eq!(result.err().map(|failure| failure.exit()), expected);
    }

    #[test]
    fn the_exit_code_says_whether_all_devices_did_it() {
        check(json!([{"state": "succeeded"}]), None);
        check(
            json!([{"state": "succeeded"}, {"state": "succeeded_with_issues"}, {"state": "skipped"}]),
            None,
        );
        check(
            json!([{"state": "succeeded"}, {"state": "failed"}]),
            Some(Exit::Devices),
        );
        for state in [
            "timed_out",
            "lost",
            "indeterminate",
            "cancelled",
            "expired",
            "newer_than_we_are",
        ] {
            check(json!([{"state": state}]), Some(Exit::Devices));
        }
    }

    #[test]
    fn what_did_not_simply_succeed_is_told_the_failures_first() {
        let run = |state: &str| json!({"device_name": "web", "state": state, "ending": null});
        let check = |states: &[&str], expected: &[&str]| {
            let runs: Vec<_> = states.iter().map(|state| run(state)).collect();
            assert_eq!(told(&runs), expected);
        };
        check(&["succeeded"], &[]);
        check(&["not_applicable"], &["web: not applicable"]);
        check(&["succeeded", "succeeded"], &["2 succeeded, 0 failed"]);
        check(
            &["succeeded", "not_applicable", "lost", "succeeded_with_issues"],
            &[
                "2 succeeded, 1 not concerned, 1 failed",
                "web: lost",
                "web: not applicable",
                "web: succeeded with issues",
            ],
        );
    }

    #[test]
    fn an_ending_is_told_with_its_reasons() {
        let told = |state, ending| super::ending(&json!({"device_name": "web-1", "state": state, "ending": ending}));
        assert_eq!(told("failed", json!({"exit_code": 3})), "web-1: failed (exit code 3)");
        assert_eq!(
            told("timed_out", json!({"signal": 9, "code": "x"})),
            "web-1: timed out (signal 9, x)"
        );
        assert_eq!(told("lost", json!(null)), "web-1: lost");
    }
}
