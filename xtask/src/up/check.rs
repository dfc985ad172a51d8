//! `up --check`: the promise of the first page, tried out.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{Data, PATIENCE, Programs, start, wait_for};
use crate::process::Stop;

/// What was found: the last line of the output.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// Whether everything was as it should be.
    ok: bool,
    /// The device's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// How many packages are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<usize>,
    /// How many of them have an update.
    #[serde(skip_serializing_if = "Option::is_none")]
    updates: Option<usize>,
    /// What the command printed, read back over the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_output: Option<String>,
    /// Seconds since the server was started.
    seconds: f64,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs the check and says what was found.
pub fn run(programs: &Programs, stop: &Stop, json: bool) -> Result<ExitCode> {
    let begun = Instant::now();
    let mut found = Found::default();
    let result = find(programs, stop, begun, &mut found);
    if found.seconds == 0.0 {
        found.seconds = seconds_since(begun);
    }
    found.ok = result.is_ok();
    if let Err(error) = &result {
        found.error = Some(format!("{error:#}"));
        eprintln!("up --check failed: {error:#}");
    }
    if json {
        println!("{}", serde_json::to_string(&found)?);
    } else if found.ok {
        println!(
            "ok: {} packages, {} updates, in {} s; uname -a said {}",
            found.packages.unwrap_or_default(),
            found.updates.unwrap_or_default(),
            found.seconds,
            found.run_output.as_deref().unwrap_or_default().trim()
        );
    }
    Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn find(programs: &Programs, stop: &Stop, begun: Instant, found: &mut Found) -> Result<()> {
    let deadline = begun + PATIENCE;
    // Dropped, and thereby removed, after everything that works in it.
    let folder = tempfile::Builder::new()
        .prefix("fleet-up-")
        .tempdir()
        .context("a temporary folder")?;
    let data = Data::open(&folder.path().join("data"))?;
    let mut up = start(programs, &data, stop, deadline, None)?;
    found.device = Some(up.device.clone());
    let device = up.device.clone();

    eprintln!("waiting for the packages");
    let packages = wait_for(stop, deadline, "no packages are listed", || {
        up.server.must_run()?;
        up.agent.must_run()?;
        // Until the device has told of its packages there is nothing to list.
        let packages = match up.fleet.json(&["devices", "packages", &device, "--all"]) {
            Err(error) if error.to_string().contains("inventory.section_not_found") => return Ok(None),
            packages => packages?,
        };
        Ok(packages.as_array().map(Vec::len).filter(|count| *count > 0))
    })?;
    found.packages = Some(packages);
    let updates = up.fleet.json(&["devices", "packages", &device, "--all", "--updates"])?;
    found.updates = updates.as_array().map(Vec::len);

    eprintln!("running uname -a");
    let result = up
        .fleet
        .json(&["run", "--on", &device, "--timeout", "30s", "--", "uname", "-a"])?;
    let run = result["runs"][0]["id"].as_str().context("the batch has no run")?;
    let shown = up.fleet.json(&["runs", "show", run])?;
    if shown["state"] != "succeeded" {
        bail!("the run ended as {}: {}", shown["state"], shown["ending"]);
    }
    let chunks = up.fleet.json(&["runs", "output", run, "--all"])?;
    let output: String = chunks
        .as_array()
        .into_iter()
        .flatten()
        .filter(|chunk| chunk["stream"] == "stdout")
        .filter_map(|chunk| chunk["text"].as_str())
        .collect();
    found.run_output = Some(output.clone());
    if !output.starts_with("Linux ") {
        bail!("uname -a printed {output:?}");
    }
    found.seconds = seconds_since(begun);
    up.stop()
}

/// Tenths are what people compare.
fn seconds_since(begun: Instant) -> f64 {
    (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0
}
