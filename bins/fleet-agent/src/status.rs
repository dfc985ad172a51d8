//! `fleet-agent status` and `fleet-agent diagnostics`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use fleet_agent_lib::{
    collect::{CollectContext, collect_all},
    credentials::Credentials,
    farewell::Farewell,
    identity::{Identity, NOT_ENROLLED},
    journal::Overview,
    policy::{Policy, device_zone},
    redact::redact,
    state::{STATE_LOCKED, StateDirectory},
    status,
    update::SlotStore,
};
use fleet_bins_common::logging::print;
use fleet_core::kernel::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    commands::{agent_user, left, runtime},
    config::{Config, Flags},
};

/// Lines of the log that go into diagnostics, the last ones.
const LOG_LINES: usize = 500;

/// Shows who this device is.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    flags: Flags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        let status = read(&config)?;
        if self.json {
            print(&status.to_string());
        } else {
            lines(&status).iter().for_each(|line| print(line));
        }
        Ok(match status["enrolled"] == true {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(3),
        })
    }
}

/// What is known of this agent, whether it runs or not.
fn read(config: &Config) -> anyhow::Result<Value> {
    let identity = match Identity::load(&config.state) {
        Ok(identity) => Some(identity),
        Err(error) if error.code() == NOT_ENROLLED => None,
        Err(error) => bail!("{error}"),
    };
    let farewell = Farewell::load(&config.state).filter(|_| identity.is_none());
    // Whoever holds the state directory is the agent.
    let running = config.state.exists()
        && matches!(StateDirectory::open(&config.state), Err(error) if error.code() == STATE_LOCKED);
    let told = status::read(&config.state).filter(|_| identity.is_some());
    let certificate = Credentials::load(&config.state).certificate;
    let spool = Overview::read(&config.state)
        .map_or_else(|error| json!({"problem": error.message()}), |overview| json!(overview));
    let policy = match Policy::load(&config.policy, agent_user(), device_zone()) {
        Ok(_) => json!({"path": config.policy, "exists": config.policy.exists()}),
        Err(error) => json!({"path": config.policy, "exists": true, "problem": error.message()}),
    };
    Ok(json!({
        "version": fleet_agent_lib::VERSION,
        "enrolled": identity.is_some(),
        "left": farewell.as_ref().map(left),
        "running": running,
        "device": identity.as_ref().map(|identity| identity.device),
        "name": identity.as_ref().map(|identity| &identity.name),
        "server": identity.as_ref().map(|identity| &identity.address),
        "own_tls": identity.as_ref().map(|identity| identity.own_tls),
        "state": config.state,
        "started_at": told.as_ref().filter(|_| running).map(|told| told.started_at),
        "session": told.as_ref().filter(|_| running).and_then(|told| told.session.as_ref()),
        "last_end": told.as_ref().and_then(|told| told.last_end.as_ref()),
        "clock_offset_seconds": told.as_ref().map(|told| told.clock_offset_seconds),
        "certificate": certificate.map(|certificate| json!({
            "renew_at": certificate.renew_at,
            "not_after": certificate.not_after,
        })),
        "spool": spool,
        "update": SlotStore::new(&config.state).load(),
        "policy": policy,
    }))
}

/// The same for people.
fn lines(status: &Value) -> Vec<String> {
    let text = |path: &str| match status.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    // Microseconds are for machines.
    let when = |path: &str| match text(path).split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text(path),
    };
    let number = |path: &str| status.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let is = |path: &str| status.pointer(path).is_some_and(|value| !value.is_null());
    let mut lines = vec![match is("/device") {
        true => format!(
            "enrolled as {} ({}) with {}",
            text("/name"),
            text("/device"),
            text("/server")
        ),
        false => "not enrolled".to_owned(),
    }];
    if is("/left") {
        lines.push(text("/left"));
    }
    lines.push(match (status["running"] == true, is("/started_at")) {
        (true, true) => format!("running since {}", when("/started_at")),
        (true, false) => "running".to_owned(),
        _ => "not running".to_owned(),
    });
    if is("/session") {
        lines.push(format!(
            "connected since {} by {} (session {}, server {})",
            when("/session/since"),
            text("/session/transport"),
            text("/session/epoch"),
            text("/session/server_version")
        ));
    } else if is("/last_end") {
        lines.push(format!(
            "not connected since {}: {}",
            when("/last_end/at"),
            text("/last_end/reason")
        ));
    }
    let offset = number("/clock_offset_seconds");
    if offset.abs() > 5 {
        let side = if offset > 0 { "behind" } else { "ahead of" };
        lines.push(format!(
            "this device's clock is {} seconds {side} the server's",
            offset.abs()
        ));
    }
    if is("/update/trial") {
        lines.push(format!("version {} is on trial", text("/update/trial/version")));
    }
    if is("/update/current") {
        lines.push(format!("version {} came by an update", text("/update/current/version")));
    }
    if let Some(failed) = status["update"]["failed"].as_array().and_then(|failed| failed.last()) {
        let text = |name: &str| failed[name].as_str().unwrap_or_default();
        lines.push(format!(
            "version {} did not prove itself: {}",
            text("version"),
            text("reason")
        ));
    }
    if is("/certificate") {
        lines.push(format!("certificate until {}", when("/certificate/not_after")));
    }
    if is("/spool/bytes") {
        lines.push(format!(
            "spool: {} of {} kB; {} runs open, {} results and {} pieces of output to send",
            number("/spool/bytes") / 1024,
            number("/spool/limit_bytes") / 1024,
            number("/spool/runs_open"),
            number("/spool/results_to_send"),
            number("/spool/output_to_send")
        ));
        if number("/spool/lost_bytes") > 0 {
            lines.push(format!(
                "{} bytes of output were lost for want of room",
                number("/spool/lost_bytes")
            ));
        }
    }
    if is("/spool/problem") {
        lines.push(format!("the spool cannot be read: {}", text("/spool/problem")));
    }
    if is("/policy/problem") {
        lines.push(text("/policy/problem"));
    }
    lines
}

/// What somebody who helps needs to know.
#[derive(Debug, Args)]
pub(crate) struct Diagnostics {
    #[command(flatten)]
    flags: Flags,
    /// Write it there [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Diagnostics {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        let text = serde_json::to_string_pretty(&bundle(&config, &collectors(&config)?))?;
        match &self.output {
            Some(path) => {
                fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
                print(&format!(
                    "written to {}; look through it before you pass it on",
                    path.display()
                ));
            }
            None => print(&text),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What each collector makes of this device, in a word.
fn collectors(config: &Config) -> anyhow::Result<Value> {
    let context = CollectContext::device(std::sync::Arc::new(SystemClock));
    let outcomes = runtime()?.block_on(collect_all(&context, &config.without_sections));
    let verdicts: serde_json::Map<_, _> = outcomes
        .into_iter()
        .map(|outcome| {
            let verdict = match &outcome.result {
                Ok(_) => "collected".to_owned(),
                Err(error) => redact(&error.to_string()),
            };
            (outcome.section.name().to_owned(), json!(verdict))
        })
        .collect();
    Ok(Value::Object(verdicts))
}

fn bundle(config: &Config, collectors: &Value) -> Value {
    let file = |path: &str| fs::read_to_string(path).map_or_else(|error| error.to_string(), |text| redact(&text));
    json!({
        "made_at": SystemClock.now(),
        "status": read(config).unwrap_or_else(|error| json!({"problem": redact(&error.to_string())})),
        "settings": file("/etc/fleet/agent.toml"),
        "policy": file(&config.policy.to_string_lossy()),
        "collectors": collectors,
        "os": file("/etc/os-release"),
        "kernel": file("/proc/sys/kernel/osrelease"),
        "uptime": file("/proc/uptime"),
        "files_in_state": names(config),
        "log": log(config),
    })
}

/// Names and sizes only: what is in them is not for others.
fn names(config: &Config) -> Vec<Value> {
    let entries = fs::read_dir(&config.state).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| (entry.file_name(), entry.metadata().map(|found| found.len()).ok()))
        .collect();
    names.sort();
    let shown = names.into_iter().take(1_000);
    shown
        .map(|(name, bytes)| json!({"name": name.to_string_lossy(), "bytes": bytes}))
        .collect()
}

/// The end of the log, from its file or from the journal of the system.
fn log(config: &Config) -> Vec<String> {
    let text = match &config.log_file {
        Some(path) => fs::read_to_string(path).unwrap_or_else(|error| error.to_string()),
        None => {
            let lines = LOG_LINES.to_string();
            std::process::Command::new("journalctl")
                .args([
                    "--unit=fleet-agent",
                    "--no-pager",
                    "--output=short-iso",
                    "--lines",
                    &lines,
                ])
                .stdin(std::process::Stdio::null())
                .output()
                .map_or_else(
                    |error| error.to_string(),
                    |done| String::from_utf8_lossy(&done.stdout).into_owned(),
                )
        }
    };
    let text = redact(&text);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use fleet_core::{
        devices::DeviceId,
        kernel::{EntityId as _, SigningKey, SystemRandom},
    };

    use super::*;

    fn config(state: &std::path::Path) -> Config {
        Config {
            state: state.into(),
            policy: state.join("policy.toml"),
            log_file: Some(state.join("agent.log")),
            ..Config::default()
        }
    }

    #[test]
    fn the_status_of_an_agent_that_does_not_run_is_what_it_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        assert_eq!(lines(&read(&config).unwrap())[..2], ["not enrolled", "not running"]);
        let key = SigningKey::generate(&SystemRandom);
        let identity = Identity {
            device: DeviceId::from_uuid(Default::default()),
            name: "web-1".into(),
            address: "https://fleet.test".into(),
            own_tls: false,
            server: key.public(),
            key: key.clone(),
        };
        identity.save(folder.path()).unwrap();
        fs::write(folder.path().join("status.json"), r#"{"v":1,"version":"0","started_at":"2027-01-15T08:00:00Z",
            "session":null,"last_end":{"at":"2027-01-15T09:00:00Z","reason":"the server cannot be reached"},"clock_offset_seconds":-90}"#)
        .unwrap();
        fs::write(folder.path().join("policy.toml"), "surprise = 1").unwrap();
        let said = lines(&read(&config).unwrap()).join("\n");
        for part in [
            "enrolled as web-1",
            "not running",
            "not connected since 2027-01-15T09:00:00Z: the server cannot be reached",
            "90 seconds ahead of the server's",
            "spool: 0 of 65536 kB",
            "surprise",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        // Diagnostics say the same, and nothing that is secret.
        let secret = base64_of(&key);
        fs::write(
            folder.path().join("agent.log"),
            format!("it said {secret}\ntoken=hush\nall is well"),
        )
        .unwrap();
        let all = bundle(&config, &json!({})).to_string();
        assert!(all.contains("web-1") && all.contains("all is well") && all.contains("identity.json"));
        assert!(!all.contains(&secret) && !all.contains("hush"), "{all}");
        assert!(
            fs::read_to_string(folder.path().join("identity.json"))
                .unwrap()
                .contains(&secret)
        );
    }

    /// The secret as it stands in the identity file.
    fn base64_of(key: &SigningKey) -> String {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
            device: DeviceId::from_uuid(Default::default()),
            name: String::new(),
            address: String::new(),
            own_tls: false,
            server: key.public(),
            key: key.clone(),
        };
        identity.save(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("identity.json")).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        stored["key"].as_str().unwrap().to_owned()
    }
}
