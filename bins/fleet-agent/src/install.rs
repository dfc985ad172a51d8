//! `fleet-agent install` and `fleet-agent uninstall`: the service, and what the agent leaves on a device.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, bail};
use clap::Args;
use fleet_bins_common::logging::print;

use crate::{
    commands::open_state,
    config::{Config, Flags},
};

const UNIT: &str = include_str!("../../../deploy/agent/fleet-agent.service");
const OBSERVE_ONLY: &str = include_str!("../../../deploy/agent/observe-only.conf");
/// What a device that is only to be seen lets be done to it.
const OBSERVE_ONLY_POLICY: &str =
    "# Written by `fleet-agent install --observe-only`.\nallow_kinds = [\"inventory.*\"]\n";

const NAME: &str = "fleet-agent.service";
const UNIT_PATH: &str = "etc/systemd/system/fleet-agent.service";
const DROP_IN: &str = "etc/systemd/system/fleet-agent.service.d/observe-only.conf";
/// The path that stands in the unit as it is kept.
const BINARY: &str = "/usr/local/bin/fleet-agent";

/// Installs the service.
#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    flags: Flags,
    /// This device is to be seen and not touched: confine the service, and allow the inventory only
    #[arg(long)]
    observe_only: bool,
    /// Print the unit and install nothing
    #[arg(long)]
    print: bool,
    /// Install into the file system below this folder, as of an image, and start nothing
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Install {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let unit = unit(&own)?;
        if self.print {
            print(unit.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        let config = Config::load(&self.flags)?;
        let root = self.root.clone().unwrap_or_else(|| "/".into());
        if self.root.is_none() && !Path::new("/run/systemd/system").is_dir() {
            bail!(
                "this device is not run by systemd; start `{} run --log-file /var/log/fleet-agent.log` by what runs it",
                own.display()
            );
        }
        let mut changed = put(&root.join(UNIT_PATH), &unit)?;
        if self.observe_only {
            changed |= put(&root.join(DROP_IN), OBSERVE_ONLY)?;
            let policy = match &self.root {
                Some(root) => root.join(config.policy.strip_prefix("/").unwrap_or(&config.policy)),
                None => config.policy.clone(),
            };
            if !policy.exists() {
                put(&policy, OBSERVE_ONLY_POLICY)?;
            } else if fs::read_to_string(&policy)? != OBSERVE_ONLY_POLICY {
                print(&format!("{} is there already and stays as it is", policy.display()));
            }
        } else {
            changed |= take_away(&root.join(DROP_IN))?;
        }
        if self.root.is_none() {
            if changed {
                systemctl(&["daemon-reload"])?;
            }
            systemctl(&["enable", "--now", NAME])?;
            if changed {
                systemctl(&["try-restart", NAME])?;
            }
        }
        print(match changed {
            true => "installed",
            false => "installed already; nothing was changed",
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// Forgets the fleet.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    flags: Flags,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl Uninstall {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        let unit = Path::new("/").join(UNIT_PATH);
        if !config.state.exists() && !unit.exists() {
            print("nothing to remove");
            return Ok(ExitCode::SUCCESS);
        }
        if !self.yes {
            bail!(
                "this removes the service, and {} with the device's identity and results that were not sent; say --yes to \
                 do it",
                config.state.display()
            );
        }
        if unit.exists() {
            systemctl(&["disable", "--now", NAME])?;
            take_away(&unit)?;
            take_away(&Path::new("/").join(DROP_IN))?;
            systemctl(&["daemon-reload"])?;
            print(&format!("removed {}", unit.display()));
        }
        if config.state.exists() {
            // An agent that runs holds it, and must be stopped first.
            let state = open_state(&config)?;
            fs::remove_dir_all(state.path())
                .with_context(|| format!("{} could not be removed", state.path().display()))?;
            print(&format!("removed {}", config.state.display()));
        }
        print("settings in /etc/fleet stay; remove the device from the server as well: fleet devices delete");
        Ok(ExitCode::SUCCESS)
    }
}

/// The unit that starts the program at this path.
fn unit(own: &Path) -> anyhow::Result<String> {
    let own = own.to_str().context("the path of this program is not a text")?;
    if own.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '%' | '"' | '\'' | '\\' | '$')) {
        bail!("{own} cannot stand in a unit; put the program elsewhere, such as {BINARY}");
    }
    Ok(UNIT.replace(BINARY, own))
}

/// Writes a file with its folder, whole or not at all; whether it said something else before.
fn put(path: &Path, text: &str) -> anyhow::Result<bool> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let new = folder.join(".fleet-agent.new");
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(true)
}

/// Removes a file, and its folder if that is empty then; whether it was there.
fn take_away(path: &Path) -> anyhow::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {
            if path.ends_with("observe-only.conf")
                && let Some(folder) = path.parent()
            {
                // Others may have put something beside it.
                let _ = fs::remove_dir(folder);
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{} cannot be removed", path.display())),
    }
}

fn systemctl(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output();
    let done = done.context("systemctl cannot be started")?;
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr);
        bail!("systemctl {}: {}", arguments.join(" "), why.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_starts_the_program_where_it_is() {
        let text = unit(Path::new("/opt/fleet/fleet-agent")).unwrap();
        assert!(text.contains("\nExecStart=/opt/fleet/fleet-agent run\n"));
        assert!(!text.contains(BINARY));
        for odd in ["/opt/my fleet/agent", "/opt/50%/agent", "/opt/a\nb", "/opt/\"x"] {
            assert!(unit(Path::new(odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn installing_again_changes_nothing_and_observe_only_comes_and_goes() {
        let root = tempfile::tempdir().unwrap();
        let install = |observe_only| Install {
            flags: Flags::default(),
            observe_only,
            print: false,
            root: Some(root.path().into()),
        };
        let there = |path: &str| root.path().join(path).exists();
        install(true).run().unwrap();
        assert!(there(UNIT_PATH) && there(DROP_IN));
        let policy = root.path().join("etc/fleet/agent-policy.toml");
        assert_eq!(fs::read_to_string(&policy).unwrap(), OBSERVE_ONLY_POLICY);
        fs::write(&policy, "forbid_kinds = ['shell']").unwrap();
        install(true).run().unwrap();
        assert_eq!(fs::read_to_string(&policy).unwrap(), "forbid_kinds = ['shell']");
        install(false).run().unwrap();
        assert!(there(UNIT_PATH) && !there(DROP_IN) && !there("etc/systemd/system/fleet-agent.service.d"));
        let path = root.path().join(UNIT_PATH);
        assert!(!put(&path, &fs::read_to_string(&path).unwrap()).unwrap());
        assert!(put(&path, "[Unit]").unwrap());
    }
}
