//! The configuration (what concerns TLS is in `tls`): flag > environment > file > default, and for each value, where it came from.

use std::{
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use fleet_api::extract::Network;
use fleet_bins_common::{
    logging::LogFormat,
    storage::{BlobUri, StoreUri},
};
use fleet_core::settings::Overrides;
use serde::Deserialize;

use crate::{
    settings::{self, HandedIn, InFile},
    tls::Tls,
};

/// Where the configuration file is when nobody says; it need not exist.
const DEFAULT_FILE: &str = "/etc/fleet/server.toml";
/// Where the data is when nobody says.
const DEFAULT_DATA: &str = "/var/lib/fleet";
/// Where the API listens when nobody says.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// What the command line and the environment can say.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Flags {
    /// The configuration file (TOML) [default: /etc/fleet/server.toml, if it is there]
    #[arg(long, env = "FLEET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for database, keys and blobs [default: /var/lib/fleet]
    #[arg(long, env = "FLEET_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The store: sqlite:PATH, json:PATH or postgres://… [default: sqlite:<data>/fleet.db]
    #[arg(long, env = "FLEET_STORAGE", hide_env_values = true, value_name = "URI")]
    storage: Option<String>,
    /// The place for blobs, such as programs of agents: file:PATH [default: file:<data>/blobs]
    #[arg(long, env = "FLEET_BLOBS", value_name = "URI")]
    blobs: Option<String>,
    /// The address and port of the API; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "FLEET_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The address that agents reach the server by; it goes into enrolment tokens [default: where it listens]
    #[arg(long, env = "FLEET_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// The address and port where agents connect by TLS and prove themselves by certificates of the fleet, such as 0.0.0.0:8443
    #[arg(long, env = "FLEET_AGENTS_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) agents_listen: Option<SocketAddr>,
    /// The address that agents reach that port by; it goes into enrolment tokens [default: the host of the public URL]
    #[arg(long, env = "FLEET_AGENTS_URL", value_name = "URL")]
    pub(crate) agents_url: Option<String>,
    /// Serve the API by HTTPS: with the certificate given, or with one that the fleet's own authority issues
    #[arg(long, env = "FLEET_TLS")]
    pub(crate) tls: bool,
    /// The server's own certificate for the API: its chain in PEM. Implies --tls
    #[arg(long, env = "FLEET_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, env = "FLEET_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Names and addresses for the certificate that the fleet's authority issues; may be repeated [default: the host of the
    /// public URL, localhost, and where it listens]
    #[arg(long, env = "FLEET_TLS_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub(crate) tls_name: Vec<String>,
    /// Allow plain HTTP beyond loopback, because a proxy in front ends TLS
    #[arg(long, env = "FLEET_BEHIND_PROXY")]
    behind_proxy: bool,
    /// Addresses or networks of proxies whose X-Forwarded-For is believed; may be repeated
    #[arg(long, env = "FLEET_TRUSTED_PROXIES", value_name = "ADDRESS", value_delimiter = ',')]
    trusted_proxy: Vec<Network>,
    /// The folder with the agents that come with the server, as fleet-agent-linux-x86_64: those that are new become releases at
    /// the start [default: <data>/agents]
    #[arg(long, env = "FLEET_AGENT_BINARIES", value_name = "DIR")]
    agent_binaries: Option<PathBuf>,
    /// The file of the master key [default: <data>/keys/master.key, made at the first start]
    #[arg(long, env = "FLEET_MASTER_KEY_FILE", value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// The file whose first line is the passphrase that the master key is put under in backups; without it, backups leave the
    /// key out
    #[arg(long, env = "FLEET_BACKUP_PASSPHRASE_FILE", value_name = "FILE")]
    backup_passphrase_file: Option<PathBuf>,
    /// Change a store of an older version without a backup first
    #[arg(long, env = "FLEET_NO_BACKUP_BEFORE_UPGRADE")]
    no_backup_before_upgrade: bool,
    /// A setting of the fleet that stands above the stored one, until the next start; may be repeated. The environment has
    /// FLEET_SETTING_<SECTION>_<KEY>, the file [settings]
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How the log looks [default: text]
    #[arg(long, env = "FLEET_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// What the file can say. A key that is not here is an error, not a wish.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    data: Option<PathBuf>,
    storage: Option<String>,
    blobs: Option<String>,
    listen: Option<SocketAddr>,
    public_url: Option<String>,
    pub(crate) agents_listen: Option<SocketAddr>,
    pub(crate) agents_url: Option<String>,
    pub(crate) tls: Option<bool>,
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_names: Option<Vec<String>>,
    behind_proxy: Option<bool>,
    trusted_proxies: Option<Vec<String>>,
    agent_binaries: Option<PathBuf>,
    master_key_file: Option<PathBuf>,
    backup_passphrase_file: Option<PathBuf>,
    log_format: Option<LogFormat>,
    /// By section and key: `storage.backup_keep = 14`.
    settings: InFile,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line or the environment.
    Flag,
    File,
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag or environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) source: Source,
}

pub(crate) fn pick<T>(flag: Option<T>, file: Option<T>, default: impl FnOnce() -> T) -> Sourced<T> {
    match (flag, file) {
        (Some(value), _) => Sourced {
            value,
            source: Source::Flag,
        },
        (None, Some(value)) => Sourced {
            value,
            source: Source::File,
        },
        (None, None) => Sourced {
            value: default(),
            source: Source::Default,
        },
    }
}

/// The effective configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    data: Sourced<PathBuf>,
    storage: Sourced<StoreUri>,
    blobs: Sourced<BlobUri>,
    listen: Sourced<SocketAddr>,
    public_url: Sourced<Option<String>>,
    tls: Tls,
    behind_proxy: Sourced<bool>,
    trusted_proxies: Sourced<Vec<Network>>,
    agent_binaries: Sourced<PathBuf>,
    master_key_file: Sourced<PathBuf>,
    backup_passphrase_file: Sourced<Option<PathBuf>>,
    backup_before_upgrade: bool,
    log_format: Sourced<LogFormat>,
    settings: HandedIn,
}

impl Config {
    /// Puts the sources together and checks what they say.
    pub(crate) fn load(flags: &Flags) -> anyhow::Result<Self> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => File::default(),
        };
        Self::combine(flags.clone(), std::env::vars_os(), file)
    }

    fn combine(
        flags: Flags,
        environment: impl Iterator<Item = (OsString, OsString)>,
        file: File,
    ) -> anyhow::Result<Self> {
        let tls = Tls::combine(&flags, &file)?;
        let data = pick(flags.data, file.data, || DEFAULT_DATA.into());
        let parse = |text: Option<String>| text.map(|text| text.parse::<StoreUri>()).transpose();
        let storage = pick(parse(flags.storage)?, parse(file.storage)?, || {
            StoreUri::Sqlite(data.value.join("fleet.db"))
        });
        let parse = |text: Option<String>| text.map(|text| text.parse::<BlobUri>()).transpose();
        let blobs = pick(parse(flags.blobs)?, parse(file.blobs)?, || {
            BlobUri::File(data.value.join("blobs"))
        });
        let listen = pick(flags.listen, file.listen, || SocketAddr::from(DEFAULT_LISTEN));
        let public_url = match (flags.public_url, file.public_url) {
            (None, None) => Sourced {
                value: None,
                source: Source::Default,
            },
            (flag, file) => {
                let picked = pick(flag, file, String::new);
                Sourced {
                    value: Some(picked.value),
                    source: picked.source,
                }
            }
        };
        let behind_proxy = pick(flags.behind_proxy.then_some(true), file.behind_proxy, || false);
        let proxies = (!flags.trusted_proxy.is_empty()).then_some(flags.trusted_proxy);
        let in_file = file
            .trusted_proxies
            .map(|texts| {
                texts
                    .iter()
                    .map(|text| parse_network(text))
                    .collect::<anyhow::Result<Vec<_>>>()
            })
            .transpose()?;
        let trusted_proxies = pick(proxies, in_file, Vec::new);
        let master_key_file = pick(flags.master_key_file, file.master_key_file, || {
            data.value.join("keys/master.key")
        });
        let agent_binaries = pick(flags.agent_binaries, file.agent_binaries, || data.value.join("agents"));
        let backup_passphrase_file = pick(
            flags.backup_passphrase_file.map(Some),
            file.backup_passphrase_file.map(Some),
            || None,
        );
        let settings = settings::collect(&flags.set, environment, file.settings)?;
        let log_format = pick(flags.log_format, file.log_format, LogFormat::default);
        if !listen.value.ip().is_loopback() && !behind_proxy.value && !tls.api.value {
            bail!(
                "{} is not a loopback address, and plain HTTP would show passwords to the network; \
                 say --tls, put a proxy with TLS in front and say --behind-proxy, or listen on 127.0.0.1",
                listen.value
            );
        }
        if let Some(url) = &public_url.value
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            bail!("the public URL {url:?} begins with neither https:// nor http://");
        }
        Ok(Self {
            data,
            storage,
            blobs,
            listen,
            public_url,
            tls,
            behind_proxy,
            trusted_proxies,
            agent_binaries,
            master_key_file,
            backup_passphrase_file,
            backup_before_upgrade: !flags.no_backup_before_upgrade,
            log_format,
            settings,
        })
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data.value
    }

    pub(crate) fn storage(&self) -> &StoreUri {
        &self.storage.value
    }

    /// Where blobs are.
    pub(crate) fn blobs(&self) -> &BlobUri {
        &self.blobs.value
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen.value
    }

    pub(crate) fn public_url(&self) -> Option<&str> {
        self.public_url.value.as_deref()
    }

    /// What TLS the server speaks itself.
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(crate) fn trusted_proxies(&self) -> &[Network] {
        &self.trusted_proxies.value
    }

    /// The folder with the agents that come with the server.
    pub(crate) fn agent_binaries(&self) -> &Path {
        &self.agent_binaries.value
    }

    pub(crate) fn master_key_file(&self) -> &Path {
        &self.master_key_file.value
    }

    pub(crate) fn backup_passphrase_file(&self) -> Option<&Path> {
        self.backup_passphrase_file.value.as_deref()
    }

    /// Whether a backup is made before a store of an older version is changed. Only a flag says otherwise: it is for one start.
    pub(crate) fn backup_before_upgrade(&self) -> bool {
        self.backup_before_upgrade
    }

    /// Settings of the fleet that stand above the stored ones.
    pub(crate) fn settings(&self) -> &Overrides {
        &self.settings.overrides
    }

    pub(crate) fn log_format(&self) -> LogFormat {
        self.log_format.value
    }

    /// A line for each value, with its source.
    pub(crate) fn explain(&self) -> String {
        let proxies: Vec<_> = self.trusted_proxies.value.iter().map(ToString::to_string).collect();
        let rows = [
            ("data", self.data.value.display().to_string(), self.data.source),
            ("storage", self.storage.value.to_string(), self.storage.source),
            ("blobs", self.blobs.value.to_string(), self.blobs.source),
            ("listen", self.listen.value.to_string(), self.listen.source),
            (
                "public_url",
                self.public_url
                    .value
                    .clone()
                    .unwrap_or_else(|| "(where it listens)".into()),
                self.public_url.source,
            ),
            (
                "agents_listen",
                shown(&self.tls.agents_listen.value, "(none)"),
                self.tls.agents_listen.source,
            ),
            (
                "agents_url",
                shown(&self.tls.agents_url.value, "(by the public URL)"),
                self.tls.agents_url.source,
            ),
            ("tls", self.tls.api.value.to_string(), self.tls.api.source),
            (
                "tls_certificate",
                shown(
                    &self.tls.files.value.as_ref().map(|files| files.certificate.display()),
                    "(the fleet's authority)",
                ),
                self.tls.files.source,
            ),
            (
                "tls_names",
                format!("[{}]", self.tls.names.value.join(", ")),
                self.tls.names.source,
            ),
            (
                "behind_proxy",
                self.behind_proxy.value.to_string(),
                self.behind_proxy.source,
            ),
            (
                "trusted_proxies",
                format!("[{}]", proxies.join(", ")),
                self.trusted_proxies.source,
            ),
            (
                "agent_binaries",
                self.agent_binaries.value.display().to_string(),
                self.agent_binaries.source,
            ),
            (
                "master_key_file",
                self.master_key_file.value.display().to_string(),
                self.master_key_file.source,
            ),
            (
                "backup_passphrase_file",
                self.backup_passphrase_file
                    .value
                    .as_ref()
                    .map_or_else(|| "(none)".into(), |file| file.display().to_string()),
                self.backup_passphrase_file.source,
            ),
            ("log_format", self.log_format.value.to_string(), self.log_format.source),
        ];
        let own = rows
            .iter()
            .map(|(name, value, source)| format!("{name:<22} {value:<40} {source}"));
        let settings = self.settings.effective.iter().map(|(name, (source, value))| {
            let source = settings::source_name(*source);
            format!("{name:<22} {:<40} {source}", value.to_string())
        });
        own.chain(settings).collect::<Vec<_>>().join("\n")
    }
}

fn shown<T: fmt::Display>(value: &Option<T>, otherwise: &str) -> String {
    value.as_ref().map_or_else(|| otherwise.to_owned(), ToString::to_string)
}

fn parse_network(text: &str) -> anyhow::Result<Network> {
    text.parse()
        .with_context(|| format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration {} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("the configuration {} is not valid", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(flags: Flags, file: &str, expected: Result<&str, &str>) {
        let config = toml::from_str(file)
            .map_err(anyhow::Error::from)
            .and_then(|file| Config::combine(flags, std::iter::empty(), file));
        match (config, expected) {
            (Ok(config), Ok(line)) => {
                let explained = config.explain();
                let line: Vec<_> = line.split_whitespace().collect();
                let found = explained
                    .lines()
                    .any(|got| got.split_whitespace().collect::<Vec<_>>().starts_with(&line));
                assert!(found, "{explained}");
            }
            (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{error:#}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        check(Flags::default(), "", Ok("data /var/lib/fleet default"));
        check(Flags::default(), "data = '/srv/fleet'", Ok("data /srv/fleet file"));
        check(
            Flags {
                data: Some("/tmp/x".into()),
                ..Flags::default()
            },
            "data = '/srv/fleet'",
            Ok("data /tmp/x flag"),
        );
        check(
            Flags::default(),
            "data = '/srv/fleet'",
            Ok("storage sqlite:/srv/fleet/fleet.db default"),
        );
        check(
            Flags::default(),
            "data = '/srv/fleet'",
            Ok("master_key_file /srv/fleet/keys/master.key default"),
        );
        check(
            Flags::default(),
            "data = '/srv/fleet'",
            Ok("blobs file:/srv/fleet/blobs default"),
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        check(Flags::default(), "datta = '/srv'", Err("unknown field `datta`"));
        check(Flags::default(), "storage = 'oracle:x'", Err("expected sqlite:PATH"));
        check(Flags::default(), "blobs = '/srv/blobs'", Err("expected file:PATH"));
        check(Flags::default(), "listen = 'everywhere'", Err("listen"));
        check(Flags::default(), "public_url = 'ftp://x'", Err("https://"));
    }

    #[test]
    fn plain_http_beyond_loopback_must_be_asked_for() {
        check(Flags::default(), "listen = '0.0.0.0:80'", Err("--behind-proxy"));
        check(
            Flags::default(),
            "listen = '0.0.0.0:80'\nbehind_proxy = true",
            Ok("listen 0.0.0.0:80 file"),
        );
    }
}
