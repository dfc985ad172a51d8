//! Joining a fleet: by hand, or by the agent itself at its first start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;
use clap::Args;
use fleet_agent_lib::{
    backoff::{Backoff, BackoffLimits},
    enrol::{self, Joined},
    identity::{Identity, NOT_ENROLLED},
    token_file::TokenFile,
};
use fleet_bins_common::logging::{self, print};
use fleet_core::{
    devices::enrolment::Machine,
    kernel::{SystemClock, SystemRandom},
};

use crate::{
    commands::{open_state, runtime},
    config::{Config, Flags},
};

/// Joins a fleet.
#[derive(Debug, Args)]
pub(crate) struct Enrol {
    #[command(flatten)]
    flags: Flags,
    /// The enrolment token; better given by --token-file or FLEET_TOKEN, where others cannot read it
    #[arg(long, env = "FLEET_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file with the enrolment token, of mode 600; it is removed once the device is enrolled [default:
    /// /etc/fleet/enrolment-token, if it is there]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// A PIN of six digits in place of a token, with --server
    #[arg(long, env = "FLEET_PIN", hide_env_values = true, value_name = "PIN", requires = "server", conflicts_with_all = ["token", "token_file"])]
    pin: Option<String>,
    /// The address of the server that the PIN is of; https, or on this machine
    #[arg(long, value_name = "URL", requires = "pin")]
    server: Option<String>,
    /// The device's name [default: the host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Join anew although this device is enrolled already
    #[arg(long)]
    force: bool,
}

/// Where a token comes from.
enum Source {
    Inline(String),
    File(TokenFile),
}

impl Source {
    /// That of a file, if there is one at this place.
    fn at(path: &Path) -> anyhow::Result<Option<Self>> {
        if fs::symlink_metadata(path).is_err() {
            return Ok(None);
        }
        TokenFile::read(path)
            .map(|file| Some(Self::File(file)))
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn token(&self) -> &str {
        match self {
            Self::Inline(token) => token.trim(),
            Self::File(file) => file.token(),
        }
    }

    /// The token has done its work.
    fn done(self) -> anyhow::Result<()> {
        match self {
            Self::Inline(_) => Ok(()),
            Self::File(file) => file.remove().map_err(|error| anyhow::anyhow!("enrolled, but {error}")),
        }
    }
}

impl Enrol {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        logging::start(config.log_format);
        let state = open_state(&config)?;
        if let Ok(identity) = Identity::load(state.path())
            && !self.force
        {
            bail!(
                "this device is enrolled already, as {} with {}; say --force to join anew",
                identity.device,
                identity.address
            );
        }
        let runtime = runtime()?;
        let redeemed = match self.pin.zip(self.server) {
            Some((pin, server)) => {
                let redeemed = runtime.block_on(enrol::redeem_pin(&server, &pin));
                Some(redeemed.map_err(|error| anyhow::anyhow!("{error}"))?.to_string())
            }
            None => None,
        };
        let source = match (redeemed.or(self.token), &self.token_file) {
            (Some(token), _) => Source::Inline(token),
            (None, Some(path)) => Source::File(TokenFile::read(path).map_err(|error| anyhow::anyhow!("{error}"))?),
            (None, None) => match Source::at(&config.token_file)? {
                Some(source) => source,
                None => bail!("an enrolment token is needed: --token-file FILE, or FLEET_TOKEN, or --token TOKEN"),
            },
        };
        let joined = runtime
            .block_on(present(state.path(), source.token(), machine(self.name)))
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        source.done()?;
        let identity = joined.identity;
        print(&format!(
            "enrolled as {} ({}) with {}",
            identity.name, identity.device, identity.address
        ));
        if joined.pending {
            print(&format!(
                "it can do nothing yet: an operator approves it (fleet devices approve {}) or rejects it; its key is {}",
                identity.device,
                identity.key.public()
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Enrols a device that is not yet, where somebody left a token for it: an image, or what set the machine up. Tries for as long as
/// it takes: the network may come up after the agent does.
pub(crate) async fn at_first_start(config: &Config, state: &Path) -> anyhow::Result<()> {
    match Identity::load(state) {
        Err(error) if error.code() == NOT_ENROLLED => {}
        _ => return Ok(()),
    }
    let mut backoff = Backoff::new(BackoffLimits {
        ceiling: std::time::Duration::from_secs(600),
        ..BackoffLimits::default()
    });
    // Read anew each time: whoever left a token that does not work may replace it.
    while let Some(source) = Source::at(&config.token_file)? {
        match present(state, source.token(), machine(None)).await {
            Ok(Joined { identity, pending }) => {
                tracing::info!(device = %identity.device, server = identity.address, pending, "enrolled");
                return source.done();
            }
            Err(error) => {
                let delay = backoff.next_delay(&SystemRandom);
                tracing::warn!(%error, retry_in_seconds = delay.as_secs(), "not enrolled yet");
                tokio::time::sleep(delay).await;
            }
        }
    }
    Ok(())
}

async fn present(state: &Path, token: &str, machine: Machine) -> fleet_core::kernel::Result<Joined> {
    enrol::enrol(state, token, machine, Arc::new(SystemClock), Arc::new(SystemRandom)).await
}

fn machine(name: Option<String>) -> Machine {
    Machine {
        hostname: name.unwrap_or_else(hostname),
        machine_id: fs::read_to_string("/etc/machine-id")
            .ok()
            .and_then(|text| machine_id(&text)),
        agent_version: fleet_agent_lib::VERSION.to_owned(),
    }
}

/// What the machine calls itself for good. An image that was made to be copied says `uninitialized` until its first boot is over
/// (machine-id(5)).
fn machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    (!id.is_empty() && id != "uninitialized").then(|| id.to_owned())
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_was_never_started_has_no_machine_id() {
        for (text, id) in [
            ("abc\n", Some("abc")),
            ("", None),
            ("\n", None),
            ("uninitialized\n", None),
        ] {
            assert_eq!(machine_id(text).as_deref(), id);
        }
    }
}
