//! Drives the command line as a user would.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{data::Data, isolated};
use crate::process::{Stop, run_until};

/// The command line with a session of its own.
#[derive(Debug)]
pub struct Fleet {
    program: PathBuf,
    credentials: PathBuf,
    stop: Stop,
    deadline: Instant,
}

impl Fleet {
    pub fn new(program: &Path, data: &Data, stop: &Stop, deadline: Instant) -> Self {
        Self {
            program: program.to_path_buf(),
            credentials: data.cli_credentials(),
            stop: stop.clone(),
            deadline,
        }
    }

    /// Runs a command and reads the JSON that it prints.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        let printed = self.call(&all, None, "")?;
        serde_json::from_str(&printed).with_context(|| format!("`fleet {}` printed no JSON", arguments.join(" ")))
    }

    /// Runs a command with `input` (a password goes there, never among the arguments).
    pub fn call(&self, arguments: &[&str], last: Option<&Path>, input: &str) -> Result<String> {
        let mut command = isolated(&self.program);
        command
            .args(arguments)
            .args(last)
            .env("FLEET_CREDENTIALS", &self.credentials);
        let printed = run_until(self.deadline, &self.stop, &mut command, input)?;
        if !printed.status.success() {
            bail!(
                "`fleet {}` failed ({}): {}",
                arguments.join(" "),
                printed.status,
                printed.errors.trim()
            );
        }
        Ok(printed.output)
    }
}
