//! The façade that embedders, the API server and tests all use.

mod work;

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{join, select};
use object_store::ObjectStore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    access::{Access, PermissionEntry, audit::AuditService, server_keys::ServerKeys},
    agents::AgentReleaseService,
    blobs::{BlobHolder, BlobService},
    certificates::CertificateService,
    devices::{
        DeviceGroupService, DeviceId, DeviceService, EnrolmentService, InventoryService, PresenceBoard,
        PresenceService,
        enrolment::{Enrolments, RefusalGate},
        groups::DynamicGroups,
    },
    escrow::{Allowance, DiskKeyService, EscrowService},
    kernel::{Clock, Error, MasterKey, Randomness, Result, Sealer, SystemClock, SystemRandom},
    link::{Admission, DirectOffers, Inboxes, KnownDevices, LinkService, ReplayGuard, SessionKeys, Sessions},
    live::Signals,
    modules::{self, Job, Module},
    retention::LaneRetention,
    settings::{Overrides, Settings},
    storage::{
        self, Desk, StorageService, Upgrade,
        ports::{BackupFolder, StorageOpener},
    },
    store::{Backend, Schema, Store, Switch},
    work::secrets::SecretHolder,
    work::{
        Operations, RunId,
        batch::WindowsSeen,
        bell::{self, RunBell},
        delivery::{Deliveries, DeliveryService},
        desired::Catalogues,
        output::OutputMeter,
    },
};

/// How long a write waits while the store is exchanged: ten times the pause that a move may make.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tasks that work off what devices ask and tell: while one waits for its commit, the other reads and decides.
const DELIVERIES: usize = 2;

/// A fleet: its store, its clock, its secrets and its services. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    switch: Switch,
    schema: Schema,
    desk: Desk,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    sealer: Sealer,
    permissions: Vec<PermissionEntry>,
    keys: ServerKeys,
    certificates: CertificateService,
    settings: Settings,
    access: Access,
    jobs: Vec<Job>,
    retention: Vec<LaneRetention>,
    blob_holders: Vec<BlobHolder>,
    secret_holders: Vec<SecretHolder>,
    blob_objects: Option<Arc<dyn ObjectStore>>,
    operations: Operations,
    /// Names this process among several that share a store.
    server: Uuid,
    device_signals: Signals<DeviceId>,
    run_signals: Signals<RunId>,
    output_meter: OutputMeter,
    deliveries: Deliveries,
    windows_seen: WindowsSeen,
    rollout_windows_seen: WindowsSeen,
    run_bell: Arc<RunBell>,
    presence: PresenceBoard,
    dynamic_groups: DynamicGroups,
    catalogues: Catalogues,
    refusals: RefusalGate,
    enrolments: Enrolments,
    admission: Admission,
    sessions: Sessions,
    inboxes: Inboxes,
    replay_guard: Mutex<ReplayGuard>,
    session_keys: SessionKeys,
    known_devices: Arc<KnownDevices>,
    escrow_allowance: Mutex<Allowance>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Fleet`].
#[derive(Debug)]
pub struct FleetBuilder {
    backend: Arc<dyn Backend>,
    master_key: MasterKey,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    modules: Vec<Module>,
    overrides: Overrides,
    backup_folder: Option<Arc<dyn BackupFolder>>,
    backup_before_upgrade: bool,
    storage_opener: Option<Arc<dyn StorageOpener>>,
    blob_objects: Option<Arc<dyn ObjectStore>>,
}

impl FleetBuilder {
    /// Takes the time from this clock; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes randomness from here; the system's by default.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Randomness>) -> Self {
        self.random = random;
        self
    }

    /// Adds a module of the embedder's own.
    #[must_use]
    pub fn module(mut self, module: Module) -> Self {
        self.modules.push(module);
        self
    }

    /// Settings that stand above the stored ones: from flags, environment and file. An unknown name, or a value that is not
    /// allowed, makes [`FleetBuilder::open`] fail.
    #[must_use]
    pub fn settings(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Keeps backups here; without it none are made.
    #[must_use]
    pub fn backups(mut self, folder: Arc<dyn BackupFolder>) -> Self {
        self.backup_folder = Some(folder);
        self
    }

    /// Whether a backup is made before a store of an older version is changed; it is, where there is a folder for backups.
    #[must_use]
    pub fn backup_before_upgrade(mut self, wanted: bool) -> Self {
        self.backup_before_upgrade = wanted;
        self
    }

    /// Opens the stores that data is moved to; without it nothing is moved.
    #[must_use]
    pub fn storage_opener(mut self, opener: Arc<dyn StorageOpener>) -> Self {
        self.storage_opener = Some(opener);
        self
    }

    /// Keeps blobs here, such as the programs of agents; without it none are taken in.
    #[must_use]
    pub fn blobs(mut self, objects: Arc<dyn ObjectStore>) -> Self {
        self.blob_objects = Some(objects);
        self
    }

    /// Prepares the store and opens the fleet. Fails when the master key is not the one that sealed the store's secrets.
    pub async fn open(self) -> Result<Fleet> {
        let schema = modules::schema(&self.modules)?;
        let permissions = modules::permissions(&self.modules)?;
        let retention: Vec<LaneRetention> = self
            .modules
            .iter()
            .flat_map(|module| module.retention.clone())
            .collect();
        let definitions = modules::settings(&self.modules);
        let sealer = Sealer::new(self.master_key);
        // Embedders that keep no backups look after their stores themselves.
        let backup = match &self.backup_folder {
            None => None,
            Some(folder) => {
                let upgrade = Upgrade {
                    backend: &self.backend,
                    schema: &schema,
                    sealer: &sealer,
                    clock: &self.clock,
                    random: &self.random,
                    settings: definitions.clone(),
                    overrides: &self.overrides,
                    blobs: self.blob_objects.as_ref(),
                    folder: self.backup_before_upgrade.then_some(folder),
                };
                upgrade.back_up().await?
            }
        };
        let switch = Switch::new(self.backend, PATIENCE);
        let (store, report) = Store::open(
            Arc::new(switch.clone()),
            &schema,
            self.clock.clone(),
            self.random.clone(),
        )
        .await?;
        for created in &report.created {
            tracing::debug!(created, "storage extended");
        }
        let keys = ServerKeys::load_or_create(&store, &sealer).await?;
        let certificates = CertificateService::load_or_create(store.clone(), sealer.clone()).await?;
        let settings = Settings::open(store.clone(), definitions, &self.overrides).await?;
        let access = Access::new(
            store.clone(),
            permissions.clone(),
            settings.clone(),
            keys.tokens().clone(),
        );
        let jobs = self
            .modules
            .iter()
            .flat_map(|module| module.jobs.iter().cloned())
            .collect();
        let blob_holders = self.modules.iter().flat_map(|module| module.blob_holders.clone());
        let blob_holders = blob_holders.collect();
        let secret_holders = self.modules.iter().flat_map(|module| module.secret_holders.clone());
        let secret_holders = secret_holders.collect();
        let operations = Operations::new(self.modules.iter().flat_map(|module| module.operations.iter().copied()))?;
        let operations = operations.with_gates(self.modules.iter().flat_map(|module| module.gates.iter().copied()));
        let server = store.new_uuid();
        let presence = PresenceBoard::load(&store).await?;
        let now = self.clock.now();
        let known_devices = Arc::new(KnownDevices::default());
        store.observe(known_devices.clone());
        let catalogues = Catalogues::default();
        store.observe(catalogues.observer());
        let run_bell = Arc::new(RunBell::default());
        store.observe(run_bell.clone());
        let inner = Inner {
            store,
            switch,
            schema,
            desk: Desk::new(self.backup_folder, self.storage_opener),
            clock: self.clock,
            random: self.random,
            sealer,
            permissions,
            keys,
            certificates,
            settings,
            access,
            jobs,
            retention,
            blob_holders,
            secret_holders,
            blob_objects: self.blob_objects,
            operations,
            server,
            device_signals: Signals::default(),
            run_signals: Signals::default(),
            output_meter: OutputMeter::default(),
            deliveries: Deliveries::default(),
            windows_seen: WindowsSeen::default(),
            rollout_windows_seen: WindowsSeen::default(),
            run_bell,
            presence,
            dynamic_groups: DynamicGroups::default(),
            catalogues,
            refusals: RefusalGate::default(),
            enrolments: Enrolments::default(),
            admission: Admission::new(now),
            sessions: Sessions::default(),
            inboxes: Inboxes::default(),
            replay_guard: Mutex::new(ReplayGuard::new(now)),
            session_keys: SessionKeys::default(),
            known_devices,
            escrow_allowance: Mutex::default(),
        };
        let fleet = Fleet { inner: Arc::new(inner) };
        if let Some(backup) = backup {
            storage::note_upgrade(&fleet, &backup).await?;
        }
        Ok(fleet)
    }
}

impl Fleet {
    /// Begins to build a fleet over a backend. The master key seals its secrets and is kept by the caller.
    pub fn builder(backend: Arc<dyn Backend>, master_key: MasterKey) -> FleetBuilder {
        FleetBuilder {
            backend,
            master_key,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            modules: modules::built_in(),
            overrides: Overrides::new(),
            backup_folder: None,
            backup_before_upgrade: true,
            storage_opener: None,
            blob_objects: None,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Everything that the store holds.
    pub fn schema(&self) -> &Schema {
        &self.inner.schema
    }

    /// Looks after the store.
    pub fn storage(&self) -> StorageService<'_> {
        StorageService::new(self)
    }

    /// Where the store is exchanged when its data moves.
    pub(crate) fn switch(&self) -> &Switch {
        &self.inner.switch
    }

    pub(crate) fn shared_random(&self) -> Arc<dyn Randomness> {
        self.inner.random.clone()
    }

    pub(crate) fn storage_desk(&self) -> &Desk {
        &self.inner.desk
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// The source of randomness.
    pub fn random(&self) -> &dyn Randomness {
        &*self.inner.random
    }

    /// Seals and opens secrets.
    pub fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    /// The permission table.
    pub fn permissions(&self) -> &[PermissionEntry] {
        &self.inner.permissions
    }

    /// The jobs of all modules.
    pub fn jobs(&self) -> &[Job] {
        &self.inner.jobs
    }

    /// How long rows of lanes are kept, for all modules.
    pub fn retention(&self) -> &[LaneRetention] {
        &self.inner.retention
    }

    /// The columns that hold digests of blobs, of all modules.
    pub(crate) fn blob_objects(&self) -> Option<&Arc<dyn ObjectStore>> {
        self.inner.blob_objects.as_ref()
    }

    pub(crate) fn blob_holders(&self) -> impl Iterator<Item = BlobHolder> {
        self.inner.blob_holders.iter().copied()
    }

    /// Takes blobs in and gives them out.
    pub fn blobs(&self) -> BlobService<'_> {
        BlobService::new(&self.inner.store, self.inner.blob_objects.as_ref())
    }

    /// The releases of the agent that are handed out.
    pub fn agent_releases(&self) -> AgentReleaseService<'_> {
        AgentReleaseService::new(self)
    }

    /// The secrets that devices make.
    pub fn escrow(&self) -> EscrowService<'_> {
        EscrowService::new(self)
    }

    /// The keys of devices' own, by which their disks open beside what is in escrow.
    pub fn disk_keys(&self) -> DiskKeyService<'_> {
        DiskKeyService::new(self)
    }

    pub(crate) fn escrow_allowance(&self) -> MutexGuard<'_, Allowance> {
        self.inner
            .escrow_allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's own keys.
    pub fn keys(&self) -> &ServerKeys {
        &self.inner.keys
    }

    /// The fleet's certificate authorities, and what they issue.
    pub fn certificates(&self) -> &CertificateService {
        &self.inner.certificates
    }

    /// Users, sessions, API keys, and who presents a token.
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Reads the audit.
    pub fn audit(&self) -> AuditService<'_> {
        AuditService::new(&self.inner.store)
    }

    /// Reads and changes devices.
    pub fn devices(&self) -> DeviceService<'_> {
        let inner = &self.inner;
        DeviceService::new(
            &inner.store,
            &inner.presence,
            &inner.device_signals,
            &inner.dynamic_groups,
        )
    }

    /// Reads and changes groups of devices.
    pub fn device_groups(&self) -> DeviceGroupService<'_> {
        DeviceGroupService::new(&self.inner.store, &self.inner.dynamic_groups, &self.inner.settings)
    }

    /// Heartbeats, connections, and who is online.
    pub fn presence(&self) -> PresenceService<'_> {
        PresenceService::new(&self.inner.store, &self.inner.presence, &self.inner.dynamic_groups)
    }

    /// Takes inventories in and answers questions about them.
    pub fn inventory(&self) -> InventoryService<'_> {
        InventoryService::new(&self.inner.store, &self.inner.dynamic_groups)
    }

    /// Enrolment and its tokens.
    pub fn enrolment(&self) -> EnrolmentService<'_> {
        EnrolmentService {
            store: &self.inner.store,
            settings: &self.inner.settings,
            refusals: &self.inner.refusals,
            token_key: self.inner.keys.tokens(),
            gathering: &self.inner.enrolments,
            dynamic: &self.inner.dynamic_groups,
        }
    }

    /// The kinds of operation.
    pub fn operations(&self) -> &Operations {
        &self.inner.operations
    }

    /// Hands work to devices and takes their answers.
    pub fn delivery(&self) -> DeliveryService<'_> {
        let inner = &self.inner;
        DeliveryService {
            store: &inner.store,
            vault: self.vault(),
            operations: &inner.operations,
            settings: &inner.settings,
            devices: &inner.device_signals,
            runs: &inner.run_signals,
            meter: &inner.output_meter,
            deliveries: &inner.deliveries,
        }
    }

    /// Serves agents.
    pub fn link(&self) -> LinkService<'_> {
        LinkService::new(self)
    }

    /// The sessions of agents that are open here.
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// Who may open a session now.
    pub(crate) fn admission(&self) -> &Admission {
        &self.inner.admission
    }

    /// The assertions that were used.
    pub(crate) fn replay_guard(&self) -> MutexGuard<'_, ReplayGuard> {
        self.inner.replay_guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session keys of agents that poll.
    pub(crate) fn session_keys(&self) -> &SessionKeys {
        &self.inner.session_keys
    }

    /// What is remembered of devices between two requests.
    pub(crate) fn known_devices(&self) -> &KnownDevices {
        &self.inner.known_devices
    }

    pub(crate) fn inboxes(&self) -> &Inboxes {
        &self.inner.inboxes
    }

    pub(crate) fn direct_offers(&self) -> DirectOffers<'_> {
        DirectOffers {
            known: &self.inner.known_devices,
            inboxes: &self.inner.inboxes,
            sessions: &self.inner.sessions,
            keys: &self.inner.keys,
            devices: &self.inner.device_signals,
            clock: &*self.inner.clock,
            presence: &self.inner.presence,
            deliveries: &self.inner.deliveries,
        }
    }

    /// Wakes whoever waits for work of a device.
    pub fn device_signals(&self) -> &Signals<DeviceId> {
        &self.inner.device_signals
    }

    /// Wakes whoever waits for something to happen to a run.
    pub fn run_signals(&self) -> &Signals<RunId> {
        &self.inner.run_signals
    }

    /// Names this process among several that share a store.
    pub fn server(&self) -> Uuid {
        self.inner.server
    }

    /// Drives the jobs of all modules until `stop` completes, and follows what other servers change. Several servers may do so
    /// at once: each job has a lease.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        // On tasks of their own: they have work for more than one core, and a job that takes its time must not keep devices waiting.
        let mut gatherings = JoinSet::new();
        for _ in 0..DELIVERIES {
            let fleet = self.clone();
            gatherings.spawn(async move { fleet.delivery().drive().await });
        }
        let fleet = self.clone();
        gatherings.spawn(async move { fleet.enrolment().drive().await });
        let fleet = self.clone();
        gatherings.spawn(async move { fleet.presence().drive().await });
        let fleet = self.clone();
        gatherings.spawn(async move { fleet.device_groups().drive(&fleet).await });
        let fleet = self.clone();
        gatherings.spawn(async move { fleet.desired().manifests().drive(&fleet).await });
        let fleet = self.clone();
        gatherings.spawn(async move { bell::drive(&fleet, fleet.run_bell()).await });
        // The second never ends, so that only the jobs do.
        let beside = pin!(join(crate::link::follow(self), crate::storage::drive(self)));
        select(pin!(crate::jobs::run(self, stop)), beside).await;
        gatherings.shutdown().await;
    }

    /// Finishes what was accepted and closes the store.
    pub async fn close(&self) -> Result<()> {
        self.inner.store.backend().close().await.map_err(Error::from)
    }
}
