//! The agent's worker: recovers, collects, and keeps a session open until it is told to stop.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use fleet_core::{
    devices::inventory::Section,
    kernel::{Clock, Error, Randomness, Result, Timestamp},
    protocol::Standing,
};
use futures::future::{Either, select};
use tokio::{sync::watch, time::Instant};

use crate::{
    VERSION,
    actions::{Actions, ActionsParts},
    backoff::{Backoff, BackoffLimits},
    clock::ServerClock,
    collect::{CollectContext, Collectors},
    credentials::Credentials,
    desired::{Keeper, KeeperParts, Requests},
    executor::{Executor, ExecutorConfig},
    farewell::Farewell,
    identity::Identity,
    journal::{Journal, JournalWriter, Limits},
    link::{Connector, End, Http, LinkError, Preference, Session, TransportKind, is_reason_to_ask},
    operations::Operations,
    policy::{Policy, device_zone},
    reports::Reports,
    runs::Runs,
    state::StateDirectory,
    status::{SessionStatus, StatusFile},
    update::{SlotStore, Updater, UpdaterParts},
};

/// A session that lived this long has proved that the link works.
const PROVEN: Duration = Duration::from_secs(30);

/// How long an ordered version waits for other work to end.
const QUIET: Duration = Duration::from_secs(15 * 60);

/// What a worker needs.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The state directory, held by this process.
    pub state: Arc<StateDirectory>,
    /// How to connect.
    pub preference: Preference,
    /// What this device lets be done to it.
    pub policy: Policy,
    /// Sections of the inventory that this device does not tell.
    pub without_sections: Vec<Section>,
    /// Where scripts of other users are kept while they run.
    pub shared_scripts: PathBuf,
    /// The agent's environment; only the harmless part of it reaches scripts.
    pub environment: Vec<(String, String)>,
}

/// How the worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was told to.
    Asked,
    /// The server has told this device to leave; it has forgotten who it was.
    Gone(Farewell),
    /// An operator has made this device another, whose identity is kept now: begin anew.
    Renamed,
    /// Another version of the agent was ordered: begin anew, with that.
    Update,
}

/// Runs until `stop` completes, or the server has removed this device or made it another.
///
/// # Errors
/// When the device is not enrolled, or its state cannot be used.
pub async fn run(
    config: WorkerConfig,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    stop: impl Future<Output = ()>,
) -> Result<Stopped> {
    let identity = Arc::new(Identity::load(config.state.path())?);
    let clock = Arc::new(ServerClock::new(clock));
    let (journal, recovered) = Journal::open(config.state.clone(), Limits::default(), clock.now())?;
    for damage in &recovered.damage {
        tracing::error!(?damage, "the journal was damaged");
    }
    // The thread ends with the last writer; nothing waits for it.
    let (journal, _thread) = JournalWriter::start(journal)?;
    let collectors = Collectors::default().without(&config.without_sections);
    let reports = Reports::new(collectors, CollectContext::device(clock.clone()));
    let executor = Executor::new(
        ExecutorConfig {
            scripts: config.state.path().join("scripts"),
            shared_scripts: config.shared_scripts,
            environment: config.environment,
        },
        clock.clone(),
    );
    let http = Http::new(identity, config.state.path(), clock.clone(), random.clone()).map_err(Error::internal)?;
    let in_session = watch::Sender::new(false);
    let updater = Arc::new(Updater::new(UpdaterParts {
        http: http.clone(),
        store: SlotStore::new(config.state.path()),
        own: VERSION.parse().map_err(Error::internal)?,
        in_session: in_session.subscribe(),
    }));
    let own = [config.state.path(), executor.shared_scripts()].map(|path| path.to_string_lossy().into_owned());
    let actions = Actions::new(ActionsParts {
        executor,
        own: own.into(),
        policy: Arc::new(config.policy.clone()),
        escrow: Arc::new(http.clone()),
        contents: Arc::new(http.clone()),
        clock: clock.clone(),
        random: random.clone(),
        state: config.state.path().to_owned(),
        device_key: http.identity().key.public(),
    });
    let requests = Arc::new(Requests::default());
    let operations = Operations::new(reports.clone(), updater.clone(), actions, requests.clone());
    let runs = Runs::recover(journal, recovered, clock.clone(), config.policy, Arc::new(operations)).await?;
    let keeper = Keeper::new(KeeperParts {
        disk: config.state.clone(),
        http: http.clone(),
        runs: runs.clone(),
        clock: clock.clone(),
        random: random.clone(),
        requests,
        zone: device_zone(),
        in_session: in_session.subscribe(),
    });
    let worker = Worker {
        http,
        preference: config.preference,
        clock,
        random,
        runs: runs.clone(),
        reports,
        keeper,
        state: config.state.path().to_owned(),
        in_session,
    };
    tokio::select! {
        stopped = worker.work(stop) => Ok(stopped),
        () = updater.prove() => Ok(Stopped::Asked),
        stopped = update(&updater, &runs) => Ok(stopped),
    }
}

/// Ends the agent when another version was ordered, and nothing runs that would be interrupted.
async fn update(updater: &Updater, runs: &Runs) -> Stopped {
    loop {
        updater.ordered().await;
        if tokio::time::timeout(QUIET, runs.quiet()).await.is_ok() {
            return Stopped::Update;
        }
        updater.withdraw();
    }
}

/// A worker that has recovered: what keeps a session open.
#[derive(Debug)]
pub struct Worker {
    /// How the server is reached.
    pub http: Http,
    /// By socket or by polling.
    pub preference: Preference,
    /// The server's time, as well as the device knows it.
    pub clock: Arc<ServerClock>,
    /// Where nonces and delays come from.
    pub random: Arc<dyn Randomness>,
    /// The runs that are here.
    pub runs: Runs,
    /// The inventory.
    pub reports: Arc<Reports>,
    /// What keeps the desired state.
    pub keeper: Arc<Keeper>,
    /// Where it is written down how the session stands.
    pub state: PathBuf,
    /// Whether there is a session: told here whenever that changes.
    pub in_session: watch::Sender<bool>,
}

impl Worker {
    /// Works until `stop` completes, or the server has removed this device or made it another.
    pub async fn work(self, stop: impl Future<Output = ()>) -> Stopped {
        let Self {
            http, reports, keeper, ..
        } = &self;
        let work = async {
            tokio::select! {
                biased;
                stopped = self.keep_linked() => stopped,
                () = reports.run() => Stopped::Asked,
                () = keeper.keep() => Stopped::Asked,
                () = http.keep_certified() => Stopped::Asked,
            }
        };
        match select(pin!(work), pin!(stop)).await {
            Either::Left((stopped, _)) => stopped,
            Either::Right(_) => Stopped::Asked,
        }
    }

    async fn keep_linked(&self) -> Stopped {
        let mut connector = Connector::new(self.http.clone(), self.preference);
        let status = StatusFile::new(self.state.clone(), self.clock.now());
        let mut backoff = Backoff::new(BackoffLimits::default());
        loop {
            let began = Instant::now();
            let (end, kind) = self.one_session(&mut connector, &status).await;
            let proven = kind.is_some() && began.elapsed() >= PROVEN;
            if kind == Some(TransportKind::Socket) {
                connector.ended(proven);
            }
            if proven {
                backoff.proved();
            }
            let mut hint = match &end {
                End::Bye(bye) => bye
                    .retry_after_seconds
                    .map(|seconds| Duration::from_secs(u64::from(seconds))),
                End::Broken(error) => error.retry_after(),
                End::Local(_) => None,
            };
            if code(&end).is_some_and(is_reason_to_ask) {
                match after_standing(&self.http, &self.state).await {
                    Ok(Some(stopped)) => return stopped,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the server does not say how this device stands");
                        // Whoever is asked this may say, too, when to come again.
                        hint = hint.max(error.retry_after());
                    }
                }
            }
            if let Some(wait) = hint {
                backoff.hint(wait);
            }
            status.ended(self.clock.now(), &reason(&end));
            let delay = backoff.next_delay(&*self.random);
            tracing::warn!(
                reason = reason(&end),
                retry_in_seconds = delay.as_secs_f32(),
                "no session"
            );
            tokio::time::sleep(delay).await;
        }
    }

    async fn one_session(&self, connector: &mut Connector, status: &StatusFile) -> (End, Option<TransportKind>) {
        let mut transport = match connector.open().await {
            Ok(transport) => transport,
            Err(error) => return (End::Broken(error), None),
        };
        let (kind, clock) = (transport.kind(), &self.clock);
        let session = Session::open(
            &mut *transport,
            &self.http,
            clock,
            &*self.random,
            &self.runs,
            &self.reports,
            &self.keeper,
        );
        let end = match session.await {
            Ok(session) => {
                status.opened(session_status(&session, kind, clock.now()), clock.offset_seconds());
                self.in_session.send_replace(true);
                session.run(&mut *transport).await
            }
            Err(end) => end,
        };
        self.in_session.send_replace(false);
        transport.close().await;
        (end, Some(kind))
    }
}

/// Asks the server how this device stands, and does what follows from a signed answer; none when the device goes on trying.
async fn after_standing(http: &Http, state: &Path) -> Result<Option<Stopped>, LinkError> {
    let identity = http.identity();
    let said = http.standing().await?;
    if said.standing.is_end() {
        return match Farewell::leave(state, identity, said.standing, said.time) {
            Ok(farewell) => Ok(Some(Stopped::Gone(farewell))),
            Err(error) => {
                tracing::error!(error = error.log(), "this device should forget its server, and cannot");
                Ok(None)
            }
        };
    }
    match said.standing {
        Standing::Pending => tracing::info!(
            device = %said.device,
            key = %identity.key.public(),
            "waiting for an operator to approve this device"
        ),
        Standing::Admitted if said.device != identity.device => {
            let renamed = Identity {
                device: said.device,
                name: said.name,
                ..identity.clone()
            };
            let kept = Credentials::remove(state).and_then(|()| renamed.save(state));
            match kept {
                Ok(()) => return Ok(Some(Stopped::Renamed)),
                Err(error) => tracing::error!(error = error.log(), "the new identity cannot be kept"),
            }
        }
        _ => {}
    }
    Ok(None)
}

/// Why a session ended, where the server gave a code.
fn code(end: &End) -> Option<&str> {
    match end {
        End::Bye(bye) => Some(&bye.code),
        End::Broken(error) => error.code(),
        End::Local(_) => None,
    }
}

fn session_status(session: &Session<'_>, kind: TransportKind, since: Timestamp) -> SessionStatus {
    let welcome = session.welcome();
    SessionStatus {
        since,
        transport: match kind {
            TransportKind::Socket => "socket",
            TransportKind::Poll => "poll",
        }
        .to_owned(),
        epoch: welcome.epoch,
        server_version: welcome.server_version.clone(),
    }
}

fn reason(end: &End) -> String {
    match end {
        End::Broken(LinkError::Refused { code, message, .. }) => format!("{message} ({code})"),
        End::Broken(error) => error.to_string(),
        End::Bye(bye) => format!("{} ({})", bye.message, bye.code),
        End::Local(problem) => problem.clone(),
    }
}
