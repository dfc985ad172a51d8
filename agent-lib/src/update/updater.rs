//! The operation `agent.update`, and the proof that a version on trial is good.

use std::{io, path::Path, process::Stdio, time::Duration};

use fleet_core::{
    protocol::{AgentManifest, AgentVersion, OfferBody, OutputStream, RunResult},
    work::operations::agent_update::AgentUpdateParams,
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{
    fetch::{self, FetchError},
    slots::{Told, Verdict},
    store::{Placed, SlotStore},
};
use crate::{
    link::Http,
    runs::{Cancellation, Ending, OutputSink},
};

/// How long a session has to last until it proves a version: a welcome, reports and beats have gone to and fro.
const PROOF: Duration = Duration::from_secs(10);
/// How long a program may take to say its version.
const SAYING: Duration = Duration::from_secs(10);
/// The pause while somebody has the program open.
const BUSY: Duration = Duration::from_millis(50);
/// The first and the longest pause between two tries to reach the server.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// What an updater is made of.
#[derive(Debug)]
pub struct UpdaterParts {
    /// Asks the server.
    pub http: Http,
    /// Where versions are kept.
    pub store: SlotStore,
    /// The version of this very program.
    pub own: AgentVersion,
    /// Whether there is a session.
    pub in_session: watch::Receiver<bool>,
}

/// Brings other versions, and proves the one that runs.
#[derive(Debug)]
pub struct Updater {
    parts: UpdaterParts,
    /// A version was ordered: the agent is to begin anew.
    ordered: Notify,
    /// The version on trial has proved itself, or the order was withdrawn.
    settled: watch::Sender<()>,
}

/// Why an update ends before its time.
enum Stop {
    Cancelled,
    TimedOut,
}

impl Updater {
    /// Nothing happens before [`Updater::prove`] and runs are driven.
    pub fn new(parts: UpdaterParts) -> Self {
        Self {
            parts,
            ordered: Notify::new(),
            settled: watch::Sender::new(()),
        }
    }

    /// Waits until a version was ordered.
    pub async fn ordered(&self) {
        self.ordered.notified().await;
    }

    /// The agent cannot begin anew just now: the version that was ordered is forgotten.
    pub fn withdraw(&self) {
        self.forget_order("other work did not end in time");
        self.settled.send_replace(());
    }

    /// Proves the version on trial, if this is one, once a session has lasted; never ends.
    pub async fn prove(&self) {
        let mut in_session = self.parts.in_session.clone();
        while self.parts.store.load().trial.is_some() {
            if in_session.wait_for(|open| *open).await.is_err() {
                break;
            }
            tokio::select! {
                () = sleep(PROOF) => match self.parts.store.change(|slots| slots.proved()) {
                    Ok(()) => {
                        tracing::info!(version = %self.parts.own, "this version has proved itself, and stays");
                        self.settled.send_replace(());
                    }
                    Err(error) => tracing::error!(%error, "the proof of this version cannot be kept"),
                },
                _ = in_session.wait_for(|open| !*open) => {}
            }
        }
        std::future::pending().await
    }

    /// Executes `agent.update`. Where a version is ordered, the agent begins anew, and the run with it: it is told what has become of it.
    pub async fn execute(&self, offer: &OfferBody, output: &OutputSink, mut cancellation: Cancellation) -> Ending {
        let params: AgentUpdateParams = match serde_json::from_value((*offer.params).clone()) {
            Ok(params) => params,
            Err(error) => return Ending::failed("operation.params_invalid", error.to_string()),
        };
        let limit = Duration::from_secs(u64::from(offer.timeout_seconds));
        let work = self.work(offer, &params, output);
        let stop = tokio::select! {
            ending = work => return ending,
            () = sleep(limit) => Stop::TimedOut,
            () = cancellation.requested() => Stop::Cancelled,
        };
        self.forget_order("the update was stopped");
        Ending::of(match stop {
            Stop::Cancelled => RunResult::Cancelled,
            Stop::TimedOut => RunResult::TimedOut,
        })
    }

    async fn work(&self, offer: &OfferBody, params: &AgentUpdateParams, output: &OutputSink) -> Ending {
        let own = &self.parts.own;
        let mut settled = self.settled.subscribe();
        let mut told = self.parts.store.load().told(offer.run);
        if told == Told::Nothing {
            if let Err(ending) = self.order(offer, params, output).await {
                return ending;
            }
            self.ordered.notify_one();
            told = Told::Trying;
        }
        // Here the agent begins anew. What comes below happens in the version on trial, or in the former one after its return.
        while told == Told::Trying {
            if settled.changed().await.is_err() {
                break;
            }
            told = self.parts.store.load().told(offer.run);
        }
        match told {
            Told::Proved(version) => {
                say(output, &format!("the agent is {version} now\n")).await;
                Ending::of(RunResult::Succeeded)
            }
            Told::Failed(failed) => Ending::failed(
                "agent_update.returned",
                format!(
                    "{} did not prove itself, and {own} works on: {}",
                    failed.version, failed.reason
                ),
            ),
            Told::Trying | Told::Nothing => Ending::failed(
                "agent_update.withdrawn",
                "other work on this device did not end in time; nothing was changed",
            ),
        }
    }

    /// Brings the version into its slot, and orders it; otherwise says how the run ends.
    async fn order(&self, offer: &OfferBody, params: &AgentUpdateParams, output: &OutputSink) -> Result<(), Ending> {
        let UpdaterParts { store, own, .. } = &self.parts;
        let http = &self.parts.http;
        let mut patience = Patience(PAUSES.0);
        let manifest = loop {
            match fetch::manifest(http, params.version.as_ref()).await {
                Ok(manifest) => break manifest,
                Err(error) => patience.wait(error).await?,
            }
        };
        let version = &manifest.version;
        match store.load().judge(&manifest, own, params) {
            Verdict::Follow => {}
            Verdict::Already => {
                say(
                    output,
                    &format!("nothing to do: the agent is {own}, and the server has {version}\n"),
                )
                .await;
                return Err(Ending::of(RunResult::Succeeded));
            }
            Verdict::Refuse(code, reason) => return Err(Ending::failed(code, reason)),
        }
        say(output, &format!("downloading {version}, {} bytes\n", manifest.length)).await;
        let slot = store.load().free();
        let placed = loop {
            match fetch::program(http, store, slot, &manifest).await {
                Ok(placed) => break placed,
                Err(error) => patience.wait(error).await?,
            }
        };
        if let Err(reason) = says_its_version(placed.path(), version).await {
            placed.discard();
            return Err(Ending::failed("agent_update.does_not_run", reason));
        }
        self.place(&placed, &manifest, offer)
            .map_err(|error| Ending::failed("agent_update.disk", format!("the update cannot be stored: {error}")))?;
        say(
            output,
            &format!("{version} is in its place; {own} gives way to it, and comes back if it does not connect\n"),
        )
        .await;
        Ok(())
    }

    fn place(&self, placed: &Placed, manifest: &AgentManifest, offer: &OfferBody) -> io::Result<()> {
        let UpdaterParts { store, own, .. } = &self.parts;
        store.place(store.load().free(), placed)?;
        store.change(|slots| slots.order(manifest, offer.run, own))
    }

    /// Forgets a version that was ordered and never started.
    fn forget_order(&self, why: &str) {
        let forgotten = self.parts.store.change(|slots| {
            slots
                .trial
                .take_if(|trial| trial.starts == 0)
                .map(|trial| trial.version)
        });
        match forgotten {
            Ok(Some(version)) => tracing::warn!(%version, why, "an update is given up"),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "an update cannot be given up"),
        }
    }
}

/// The next pause between two tries; the run's own time bounds them all.
struct Patience(Duration);

impl Patience {
    /// Waits before the next try; where that is hopeless, says how the run ends.
    async fn wait(&mut self, error: FetchError) -> Result<(), Ending> {
        if !error.is_passing() {
            return Err(Ending::failed(error.code(), error.to_string()));
        }
        tracing::warn!(%error, retry_in_seconds = self.0.as_secs(), "the update does not come");
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
        Ok(())
    }
}

async fn say(output: &OutputSink, text: &str) {
    output.write(OutputStream::Stdout, text).await;
}

/// Runs a program to hear that it runs here, and is the version that its manifest says.
async fn says_its_version(program: &Path, version: &AgentVersion) -> Result<(), String> {
    let said = match tokio::time::timeout(SAYING, ask_version(program)).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(format!(
                "{} may not be executed; is its file system mounted noexec? {error}",
                program.display()
            ));
        }
        Ok(Err(error)) => return Err(format!("the program does not run on this device: {error}")),
        Err(_) => return Err("the program does not say its version in time".into()),
    };
    let text = String::from_utf8_lossy(&said.stdout);
    if said.status.success() && text.trim() == format!("fleet-agent {version}") {
        return Ok(());
    }
    let text: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(format!(
        "the program should be fleet-agent {version}, and says {text:?} ({})",
        said.status
    ))
}

async fn ask_version(program: &Path) -> io::Result<std::process::Output> {
    loop {
        let asked = tokio::process::Command::new(program)
            .arg("--version")
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        match asked.await {
            // A child that is just being started still has the file open for writing, as we had.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => sleep(BUSY).await,
            said => return said,
        }
    }
}
