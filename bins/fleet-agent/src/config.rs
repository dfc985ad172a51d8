//! What the agent's commands have in common.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fleet_agent_lib::{limits::Limits, link::Preference};
use fleet_bins_common::logging::LogFormat;
use fleet_core::devices::inventory::Section;
use serde::Deserialize;

/// Where the configuration file is when nobody says; it need not exist.
const DEFAULT_FILE: &str = "/etc/fleet/agent.toml";
/// Where the agent keeps its state when nobody says.
const DEFAULT_STATE: &str = "/var/lib/fleet-agent";
/// Where the policy is when nobody says; it need not exist.
const DEFAULT_POLICY: &str = "/etc/fleet/agent-policy.toml";
/// Where a token for the first start is left when nobody says; it need not exist.
const DEFAULT_TOKEN_FILE: &str = "/etc/fleet/enrolment-token";
/// Where scripts of other users are kept while they run, when nobody says.
const DEFAULT_SCRIPTS: &str = "/run/fleet-agent";

/// How to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    /// By socket, and by polling where sockets do not get through.
    #[default]
    Auto,
    /// By socket only.
    Socket,
    /// By polling only.
    Poll,
}

impl From<Transport> for Preference {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Auto => Self::Auto,
            Transport::Socket => Self::Socket,
            Transport::Poll => Self::Poll,
        }
    }
}

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Flags {
    /// The configuration file (TOML) [default: /etc/fleet/agent.toml, if it is there]
    #[arg(long, env = "FLEET_AGENT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for the agent's identity and journal [default: /var/lib/fleet-agent]
    #[arg(long, env = "FLEET_AGENT_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// The file that says what this device lets be done to it [default: /etc/fleet/agent-policy.toml, if it is there]
    #[arg(long, env = "FLEET_AGENT_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How to connect [default: auto]
    #[arg(long, env = "FLEET_AGENT_TRANSPORT", value_name = "HOW")]
    transport: Option<Transport>,
    /// Sections of the inventory that this device does not tell, such as users,ports [default: none]
    #[arg(
        long,
        env = "FLEET_AGENT_WITHOUT_SECTIONS",
        value_name = "SECTIONS",
        value_delimiter = ',',
        value_parser = section
    )]
    without_sections: Option<Vec<Section>>,
    /// A file for the log, where no journal keeps it: 10 MB, and three before it [default: standard error]
    #[arg(long, env = "FLEET_AGENT_LOG_FILE", value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// How the log looks [default: text]
    #[arg(long, env = "FLEET_AGENT_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// What the file can say. A key that is not here is an error, not a wish.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    state: Option<PathBuf>,
    policy: Option<PathBuf>,
    transport: Option<Transport>,
    without_sections: Option<Vec<Section>>,
    log_format: Option<LogFormat>,
    log_file: Option<PathBuf>,
    scripts: Option<PathBuf>,
    token_file: Option<PathBuf>,
    memory_mb: Option<u64>,
    niceness: Option<u8>,
}

/// The effective configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) state: PathBuf,
    pub(crate) policy: PathBuf,
    pub(crate) transport: Transport,
    pub(crate) without_sections: Vec<Section>,
    pub(crate) log_format: LogFormat,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) scripts: PathBuf,
    pub(crate) token_file: PathBuf,
    pub(crate) limits: Limits,
}

impl Config {
    /// Puts flag, environment, file and default together, in this order.
    pub(crate) fn load(flags: &Flags) -> anyhow::Result<Self> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => File::default(),
        };
        Ok(Self::combine(flags.clone(), file))
    }

    fn combine(flags: Flags, file: File) -> Self {
        Self {
            state: flags.state.or(file.state).unwrap_or_else(|| DEFAULT_STATE.into()),
            policy: flags.policy.or(file.policy).unwrap_or_else(|| DEFAULT_POLICY.into()),
            transport: flags.transport.or(file.transport).unwrap_or_default(),
            without_sections: flags.without_sections.or(file.without_sections).unwrap_or_default(),
            log_file: flags.log_file.or(file.log_file),
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            scripts: file.scripts.unwrap_or_else(|| DEFAULT_SCRIPTS.into()),
            token_file: file.token_file.unwrap_or_else(|| DEFAULT_TOKEN_FILE.into()),
            limits: Limits {
                memory_bytes: file.memory_mb.map(|megabytes| megabytes.saturating_mul(1 << 20)),
                niceness: file.niceness,
            },
        }
    }
}

fn section(name: &str) -> Result<Section, String> {
    name.parse().map_err(|error| {
        let names: Vec<_> = Section::ALL.iter().map(|section| section.name()).collect();
        format!("{error}; there are {}", names.join(", "))
    })
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration {} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("the configuration {} is not valid", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file: File = toml::from_str("state = '/srv/agent'\ntransport = 'poll'").unwrap();
        let flags = Flags {
            transport: Some(Transport::Socket),
            ..Flags::default()
        };
        let config = Config::combine(flags, file);
        assert_eq!(
            (config.state, config.transport, config.policy),
            ("/srv/agent".into(), Transport::Socket, DEFAULT_POLICY.into())
        );
    }

    #[test]
    fn sections_that_are_left_out_are_known_ones() {
        let file: File = toml::from_str("without_sections = ['users', 'ports']").unwrap();
        assert_eq!(
            Config::combine(Flags::default(), file).without_sections,
            [Section::Users, Section::Ports]
        );
        assert!(toml::from_str::<File>("without_sections = ['user']").is_err());
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<File>("stat = '/srv'").is_err());
    }
}
