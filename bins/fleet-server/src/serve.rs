//! Opens the store, serves until it is told to stop, and closes in order.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use fleet_api::{ApiConfig, ApiListener, Ports, listen};
use fleet_bins_common::{
    logging::print,
    storage::{self, Opened, Opener, Purpose},
};
use fleet_core::{
    Fleet,
    kernel::SystemClock,
    store::{Finding, Phase, Standing},
};
use tokio::sync::watch;

use crate::{
    agents,
    backup::Folder,
    config::Config,
    files::{bootstrap_token_file, master_key, private_folder, remove, write_private},
};

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn serve(config: &Config) -> anyhow::Result<()> {
    let (fleet, store) = open(config, Purpose::Serve).await?;
    let listener = listen(config.listen())
        .with_context(|| format!("cannot listen on {}; is another server running?", config.listen()))?;
    let address = listener.local_addr()?;
    let tls = config.tls().api.value;
    let scheme = if tls { "https" } else { "http" };
    let public_url = config
        .public_url()
        .map_or_else(|| format!("{scheme}://{address}"), str::to_owned);
    let agents = config.tls().agents(&fleet, config.public_url()).await?;
    let (agents, agents_url) = agents.unzip();

    agents::import_agents(&fleet, config.agent_binaries()).await;
    offer_bootstrap(&fleet, config.data()).await?;
    let (stop, stopping) = watch::channel(false);
    let api = ApiConfig {
        public_url,
        agents_url: agents_url.clone(),
        trusted_proxies: config.trusted_proxies().to_vec(),
        // The token is of no use any more once somebody has claimed it.
        bootstrap_token_file: Some(bootstrap_token_file(config.data())),
    };
    let ports = Ports {
        api: match tls {
            true => ApiListener::Tls(config.tls().api(&fleet, listener, config.public_url())?),
            false => ApiListener::Plain(listener),
        },
        agents,
    };
    print(&format!("listening on {scheme}://{address}"));
    if let Some(url) = agents_url {
        print(&format!("agents connect to {url}"));
    }
    let served = {
        let jobs = fleet.run(stopped(stopping.clone()));
        let api = fleet_api::serve_on(fleet.clone(), api, ports, stopped(stopping));
        let signal = async {
            let signal = asked_to_stop().await;
            tracing::info!(signal, "stopping");
            stop.send_replace(true);
        };
        let ((), served, ()) = tokio::join!(jobs, api, signal);
        served
    };
    fleet.close().await.context("the store did not close cleanly")?;
    match store.effort() {
        Some(effort) => tracing::info!(transactions = effort.transactions, works = effort.works, "stopped"),
        None => tracing::info!("stopped"),
    }
    served.context("the server failed")
}

/// Looks for damage in the store: 0 when there is none but what a repair went on without, 1 otherwise.
pub(crate) async fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let (fleet, _) = open(config, Purpose::Existing).await?;
    let findings = fleet.store().backend().check().await?;
    for finding in &findings {
        print(&format!("{}: {finding}", finding.severity));
    }
    fleet.close().await?;
    if Finding::none_open(&findings) {
        print("no damage found");
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

/// Opens the fleet. Whatever was wrong, the next start finds the store closed in order.
pub(crate) async fn open(config: &Config, purpose: Purpose) -> anyhow::Result<(Fleet, Opened)> {
    let uri = config.storage();
    if purpose == Purpose::Existing && uri.exists() == Some(false) {
        anyhow::bail!("there is no store at {uri}");
    }
    private_folder(config.data())?;
    // Only where it can be told beforehand: behind a server, a wrong key is found when the store's secrets do not open.
    let key = master_key(config.master_key_file(), uri.exists().unwrap_or(false))?;
    let store = storage::open(uri, purpose, Arc::new(SystemClock))
        .await
        .with_context(|| format!("the store {uri} cannot be opened"))?;
    let backups = Folder {
        data: config.data().to_owned(),
        passphrase: config.backup_passphrase_file().map(Path::to_owned),
    };
    let builder = Fleet::builder(store.backend.clone(), key)
        .backups(Arc::new(backups))
        .settings(config.settings().clone())
        .blobs(config.blobs().open(true)?)
        .backup_before_upgrade(config.backup_before_upgrade())
        .storage_opener(Arc::new(Opener::new(Arc::new(SystemClock))));
    match builder.open().await {
        Ok(fleet) => Ok((fleet, store)),
        Err(error) => {
            let standing = store.backend.standing().await;
            let _ = store.backend.close().await;
            if let Ok(Standing {
                phase: Phase::Frozen(to),
                ..
            }) = standing
            {
                anyhow::bail!(
                    "the data of {uri} was moved: start with --storage and {}. {}",
                    to.peer,
                    Phase::Frozen(to.clone())
                );
            }
            anyhow::bail!("the store {uri} cannot be used: {}", error.log())
        }
    }
}

/// While there is no user, makes the token that the first administrator signs up with, and says so.
async fn offer_bootstrap(fleet: &Fleet, data: &Path) -> anyhow::Result<()> {
    let path = bootstrap_token_file(data);
    match fleet
        .access()
        .bootstrap_token()
        .await
        .map_err(|error| anyhow::anyhow!(error.log()))?
    {
        Some(token) => {
            write_private(&path, token.expose().as_bytes())
                .with_context(|| format!("{} cannot be written", path.display()))?;
            print("no user exists yet; the first administrator signs up with this one-time token:");
            print(&format!("  {}", token.expose()));
            print(&format!("  (also in {}; it ends with this process)", path.display()));
        }
        None => remove(&path),
    }
    Ok(())
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // The sender lives as long as the server.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn asked_to_stop() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => "interrupt",
            _ = terminate.recv() => "terminate",
        },
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be waited for");
            let _ = tokio::signal::ctrl_c().await;
            "interrupt"
        }
    }
}
