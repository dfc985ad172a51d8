//! `fleet-agent disk`: an owner of the device chooses a passphrase of its disk.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fleet_agent_lib::{
    actions::{Actions, ActionsParts, Beginning, Choice},
    clock::ServerClock,
    executor::{Executor, ExecutorConfig},
    identity::Identity,
    link::Http,
    policy::{Policy, device_zone},
    token_file::TokenFile,
};
use fleet_bins_common::{
    logging::{self, complain, print},
    terminal::{first_line, hidden, terminal},
};
use fleet_core::{
    kernel::{SystemClock, SystemRandom},
    work::{operations::actions::passphrase::PassphraseComplexity, secrets::SecretText},
};

use crate::{
    commands::{agent_user, runtime},
    config::{Config, Flags},
};

/// How often somebody may try before they have to begin anew.
const TRIES: usize = 5;

/// What is done with disks.
#[derive(Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// Choose a passphrase that opens the disk of this device, with a token of the server; it stays on this device.
    #[command(after_help = "\
Examples:
  sudo fleet-agent disk set-passphrase --token 5e7c…     # asks for it twice; the token is good for one
  sudo fleet-agent disk set-passphrase --token-file token --passphrase-file - < passphrase")]
    SetPassphrase(SetPassphrase),
}

impl DiskCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::SetPassphrase(command) => command.run(),
        }
    }
}

/// Chooses a passphrase.
#[derive(Debug, Args)]
pub(crate) struct SetPassphrase {
    #[command(flatten)]
    flags: Flags,
    /// The token, as `fleet devices disk-passphrase-token` has shown it
    #[arg(
        long,
        env = "FLEET_DISK_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        required_unless_present = "token_file"
    )]
    token: Option<String>,
    /// A file with the token, of mode 600
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The LUKS volume, such as /dev/sda3, where passphrases of several may be chosen
    #[arg(long, value_name = "PATH")]
    volume: Option<String>,
    /// Read the passphrase from the first line of this file, or of standard input with `-`; it is asked for otherwise
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl SetPassphrase {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        logging::start(config.log_format);
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.trim().to_owned(),
            (None, Some(path)) => TokenFile::read(path)
                .map_err(|error| anyhow::anyhow!("{error}"))?
                .token()
                .to_owned(),
            (None, None) => bail!("a token is needed: --token-file FILE, FLEET_DISK_TOKEN, or --token TOKEN"),
        };
        let actions = actions(&config)?;
        runtime()?.block_on(self.choose(&actions, token.into()))
    }

    async fn choose(&self, actions: &Actions, token: SecretText) -> anyhow::Result<ExitCode> {
        let begun = actions.choose_passphrase(token, self.volume.as_deref()).await;
        let choice = match begun.map_err(|error| anyhow::anyhow!("{error}"))? {
            Beginning::Choose(choice) => choice,
            Beginning::Told(volume) => {
                print(&format!(
                    "the passphrase of {} was set by this token before; the server knows now",
                    volume.path
                ));
                return Ok(ExitCode::SUCCESS);
            }
        };
        let passphrase = match &self.passphrase_file {
            Some(path) => from_file(path)?,
            None => from_terminal(&choice).await?,
        };
        let at = choice
            .set(&passphrase)
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        print(&format!("the passphrase opens {} since {at}", choice.volume().path));
        Ok(ExitCode::SUCCESS)
    }
}

/// What alters disks here, beside an agent that runs: it takes none of its locks, and has no part in its scripts.
fn actions(config: &Config) -> anyhow::Result<Actions> {
    let said = |error: fleet_core::kernel::Error| anyhow::anyhow!("{error}");
    let identity = Arc::new(Identity::load(&config.state).map_err(said)?);
    let device_key = identity.key.public();
    let (clock, random) = (
        Arc::new(ServerClock::new(Arc::new(SystemClock))),
        Arc::new(SystemRandom),
    );
    let http = Http::new(identity, &config.state, clock.clone(), random.clone())?;
    let nowhere = config.state.join("disk");
    let executor = Executor::new(
        ExecutorConfig {
            scripts: nowhere.clone(),
            shared_scripts: nowhere,
            environment: std::env::vars().collect(),
        },
        clock.clone(),
    );
    let policy = Policy::load(&config.policy, agent_user(), device_zone()).map_err(said)?;
    Ok(Actions::new(ActionsParts {
        executor,
        own: vec![config.state.to_string_lossy().into_owned()],
        policy: Arc::new(policy),
        escrow: Arc::new(http.clone()),
        contents: Arc::new(http),
        clock,
        random,
        state: config.state.clone(),
        device_key,
    }))
}

fn from_file(path: &Path) -> anyhow::Result<SecretText> {
    let line = match path == Path::new("-") {
        true => first_line(io::stdin().lock()),
        false => File::open(path).and_then(first_line),
    };
    Ok(line
        .with_context(|| format!("{} cannot be read", path.display()))?
        .into())
}

/// Asks until a passphrase is as it has to be, and typed twice.
async fn from_terminal(choice: &Choice) -> anyhow::Result<SecretText> {
    let rules = choice.rules();
    let made_of = match rules.complexity {
        PassphraseComplexity::Any => "",
        PassphraseComplexity::Alphanumeric => ", with letters of both cases and digits",
        PassphraseComplexity::Complex => ", with letters of both cases, digits, and others",
    };
    print(&format!(
        "A passphrase for {}: {} characters at least{made_of}. It is typed when the device starts, often on an American keyboard.",
        choice.volume().path,
        rules.min_length
    ));
    for _ in 0..TRIES {
        let Some(terminal) = terminal() else {
            bail!(
                "there is no terminal to ask for the passphrase; give --passphrase-file FILE, or `-` for standard input"
            );
        };
        let typed = hidden(terminal, |ask| -> io::Result<_> {
            Ok((
                SecretText::from(ask("passphrase")?),
                SecretText::from(ask("once more")?),
            ))
        });
        let (passphrase, again) = typed.await.and_then(|typed| typed).context("nothing was set")?;
        if passphrase != again {
            complain("the two differ; nothing was set");
            continue;
        }
        match choice.check(&passphrase) {
            Ok(()) => return Ok(passphrase),
            Err(error) => complain(&error.to_string()),
        }
    }
    bail!("that was tried {TRIES} times; nothing was set")
}
