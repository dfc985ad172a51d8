//! The commands.

use std::{fs, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use fleet_agent_lib::{
    collect::{CollectContext, collect_all, report},
    farewell::Farewell,
    identity::NOT_ENROLLED,
    policy::{Policy, device_zone},
    state::StateDirectory,
    update::{LAUNCHED, Launched, RELAUNCH_EXIT},
    worker::{self, Stopped, WorkerConfig},
};
use fleet_bins_common::logging::{self, print};
use fleet_core::kernel::{SystemClock, SystemRandom};

use crate::{
    config::{Config, Flags},
    enrol, launch,
};

/// Runs the agent.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    flags: Flags,
    /// Set by the agent itself, for the program that it has chosen to run.
    #[arg(long, env = LAUNCHED, hide = true)]
    launched: Option<String>,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        let launched = Launched::of(self.launched.as_deref());
        if launched == Launched::First
            && let Some(code) = launch::launch(&config)?
        {
            return Ok(code);
        }
        logging::start_in(config.log_format, config.log_file.as_deref()).context("the log file cannot be written")?;
        if launched == Launched::Watched {
            launch::end_with_watcher()?;
        }
        config.limits.apply().context("this process cannot be bounded")?;
        let policy =
            Policy::load(&config.policy, agent_user(), device_zone()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let state = open_state(&config)?;
        let runtime = runtime()?;
        let stopped = runtime.block_on(async {
            tokio::select! {
                enrolled = enrol::at_first_start(&config, state.path()) => enrolled.map(|()| None),
                () = asked_to_stop() => Ok(Some(Stopped::Asked)),
            }
        })?;
        if stopped.is_some() {
            return Ok(ExitCode::SUCCESS);
        }
        let worker = WorkerConfig {
            state: Arc::new(state),
            preference: config.transport.into(),
            policy,
            without_sections: config.without_sections.clone(),
            shared_scripts: config.scripts.clone(),
            environment: std::env::vars().collect(),
        };
        let stopped = runtime.block_on(worker::run(
            worker,
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
            asked_to_stop(),
        ));
        match stopped {
            Ok(Stopped::Asked) => Ok(ExitCode::SUCCESS),
            Ok(Stopped::Gone(farewell)) => {
                logging::complain(&format!("fleet-agent: {}", left(&farewell)));
                Ok(NOT_ENROLLED_EXIT.into())
            }
            Ok(Stopped::Renamed) => {
                tracing::info!("an operator has made this device another; beginning anew");
                Err(launch::begin_anew(launched))
            }
            Ok(Stopped::Update) => match launched {
                Launched::Watched => Ok(RELAUNCH_EXIT.into()),
                Launched::First | Launched::Chosen => Err(launch::begin_anew(Launched::First)),
            },
            Err(error) if error.code() == NOT_ENROLLED => {
                let why = Farewell::load(&config.state).map(|farewell| left(&farewell));
                logging::complain(&format!("fleet-agent: {}", why.unwrap_or_else(|| error.to_string())));
                Ok(NOT_ENROLLED_EXIT.into())
            }
            Err(error) => Err(anyhow::anyhow!(error.log())),
        }
    }
}

/// `run` ends with this where there is nothing to run for (EX_CONFIG of sysexits.h): whoever starts services should not try again.
const NOT_ENROLLED_EXIT: u8 = 78;

/// Why the agent has left its server.
pub(crate) fn left(farewell: &Farewell) -> String {
    format!(
        "the server {} has removed this device ({}, {}; {}); enrol it again if it should come back",
        farewell.server,
        farewell.name,
        farewell.device,
        farewell.reason()
    )
}

/// Prints the inventory.
#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON; there is no other form
    #[arg(long)]
    json: bool,
}

impl Report {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.flags)?;
        logging::start(config.log_format);
        let context = CollectContext::device(Arc::new(SystemClock));
        let outcomes = runtime()?.block_on(collect_all(&context, &config.without_sections));
        let failed = outcomes.iter().any(|outcome| outcome.result.is_err());
        let report = report(outcomes);
        print(&if self.json {
            report.to_string()
        } else {
            serde_json::to_string_pretty(&report)?
        });
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

pub(crate) fn open_state(config: &Config) -> anyhow::Result<StateDirectory> {
    StateDirectory::open(&config.state).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The name of the user that the agent runs as, for the policy; its number where it has no name.
pub(crate) fn agent_user() -> String {
    let id = fs::metadata("/proc/self")
        .map(|own| std::os::unix::fs::MetadataExt::uid(&own))
        .unwrap_or_default();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&id.to_string().as_str()));
    name.and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or_else(|| id.to_string())
}

/// One thread is enough for an agent, and costs the device least.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
