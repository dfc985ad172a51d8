//! `fleet-agent policy`: what this device lets be done to it.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use fleet_agent_lib::{
    operations::KINDS,
    policy::{Policy, device_zone},
};
use fleet_bins_common::logging::print;
use fleet_core::kernel::{Clock as _, SystemClock, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    commands::agent_user,
    config::{Config, Flags},
};

/// What this device lets be done to it.
#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what the policy file allows; fails when it cannot be used, or refuses the kind that is asked for.
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    flags: Flags,
    /// The kind of operation, such as shell [default: all that this agent executes]
    kind: Option<String>,
    /// The user that it would run as [default: the agent's own]
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    /// A path that it would name; may be repeated
    #[arg(long, value_name = "PATH")]
    path: Vec<PathBuf>,
    /// When it would begin, as 2027-01-15T22:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl PolicyCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Verb::Check(check) = self.command;
        check.run()
    }
}

impl Check {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        let policy = Policy::load(&config.policy, agent_user(), device_zone())
            .map_err(|error| anyhow::anyhow!("{}", error.message()))?;
        let mut params = Map::new();
        if let Some(user) = &self.run_as {
            params.insert("run_as".into(), json!(user));
        }
        if !self.path.is_empty() {
            params.insert("paths".into(), json!(self.path));
        }
        let (params, at) = (Value::Object(params), self.at.unwrap_or_else(|| SystemClock.now()));
        let kinds = match &self.kind {
            Some(kind) => vec![kind.as_str()],
            None => KINDS.to_vec(),
        };
        let verdicts: Vec<_> = kinds
            .into_iter()
            .map(|kind| (kind, policy.permits(kind, &params, at).err()))
            .collect();
        if self.json {
            let shown: Vec<_> = verdicts
                .iter()
                .map(|(kind, refusal)| {
                    json!({
                        "kind": kind,
                        "allowed": refusal.is_none(),
                        "rule": refusal.as_ref().map(|refusal| refusal.rule()),
                        "why": refusal.as_ref().map(ToString::to_string),
                    })
                })
                .collect();
            let file = config.policy.exists().then_some(&config.policy);
            print(&json!({"policy": file, "at": at, "kinds": shown}).to_string());
        } else {
            if !config.policy.exists() {
                print(&format!("there is no {}: all is allowed", config.policy.display()));
            }
            for (kind, refusal) in &verdicts {
                print(&match refusal {
                    None => format!("{kind}: allowed"),
                    Some(refusal) => format!("{kind}: refused: {refusal}"),
                });
            }
        }
        let refused = verdicts.iter().any(|(_, refusal)| refusal.is_some());
        Ok(match self.kind.is_some() && refused {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }
}
