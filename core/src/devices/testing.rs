//! What the tests of devices have in common: a fleet in memory whose clock and randomness the test decides.

use std::{sync::Arc, time::Duration};

use object_store::memory::InMemory;

use super::{
    Device, DeviceId, DeviceSummary, EnrolmentTokenId,
    enrolment::{DEVICE_ENROLLED, EnrolRequest, Enrolled, EnrolmentSecret, Machine, NewEnrolmentToken},
};
use crate::{
    Fleet,
    access::{Actor, AuditEntry, Context, Grants, Origin, Role, audit::AuditFilter},
    kernel::{
        Code, ManualClock, MasterKey, PageRequest, PublicKey, Result, SeededRandom, SigningKey, Timestamp, random_bytes,
    },
    store::{Evidence, LaneQuery, memory::MemoryStore},
};

/// A fleet in memory at a standing clock.
pub(crate) struct TestFleet {
    pub fleet: Fleet,
    pub clock: Arc<ManualClock>,
    pub random: Arc<SeededRandom>,
    pub backend: Arc<MemoryStore>,
    pub objects: Arc<InMemory>,
}

impl TestFleet {
    pub async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let backend = Arc::new(MemoryStore::new(clock.clone()));
        Self::over(backend, Arc::default(), clock).await
    }

    /// A fleet of its own randomness: other keys, other ids.
    pub async fn over_seed(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let backend = Arc::new(MemoryStore::new(clock.clone()));
        Self::with(backend, Arc::default(), clock, SeededRandom::new(seed)).await
    }

    /// The time.
    pub fn clock_now(&self) -> Timestamp {
        self.fleet.clock().now()
    }

    /// Another fleet over the same store, as after a restart.
    pub async fn restarted(&self) -> Self {
        Self::over(self.backend.clone(), self.objects.clone(), self.clock.clone()).await
    }

    async fn over(backend: Arc<MemoryStore>, objects: Arc<InMemory>, clock: Arc<ManualClock>) -> Self {
        // Ids must differ from those of the run before.
        let random = SeededRandom::new(Arc::strong_count(&backend) as u64);
        Self::with(backend, objects, clock, random).await
    }

    async fn with(
        backend: Arc<MemoryStore>,
        objects: Arc<InMemory>,
        clock: Arc<ManualClock>,
        random: SeededRandom,
    ) -> Self {
        let random = Arc::new(random);
        let key = MasterKey::generate(&SeededRandom::new(7));
        let fleet = Fleet::builder(backend.clone(), key)
            .clock(clock.clone())
            .random(random.clone())
            .blobs(objects.clone())
            .open()
            .await
            .unwrap();
        Self {
            fleet,
            clock,
            random,
            backend,
            objects,
        }
    }

    /// Somebody of a role.
    pub fn role(&self, role: Role) -> Context {
        let grants = role.grants(self.fleet.permissions());
        Context::new(crate::access::Actor::Anonymous, Origin::default(), Arc::new(grants))
    }

    pub fn admin(&self) -> Context {
        self.role(Role::Admin)
    }

    /// Somebody who may do nothing.
    pub fn nobody(&self) -> Context {
        Context::new(
            crate::access::Actor::Anonymous,
            Origin::default(),
            Arc::new(Grants::default()),
        )
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Sets the clock back.
    pub fn set_back(&self, seconds: u64) {
        self.clock.set(self.clock_now().minus(Duration::from_secs(seconds)));
    }

    /// The secret of a new token.
    pub async fn token(&self, new: NewEnrolmentToken) -> EnrolmentSecret {
        self.fleet
            .enrolment()
            .create_token(&self.admin(), &new)
            .await
            .unwrap()
            .1
    }

    pub fn key(&self) -> SigningKey {
        SigningKey::generate(&*self.random)
    }

    pub async fn enrol_as(
        &self,
        secret: &EnrolmentSecret,
        key: &SigningKey,
        name: &str,
        machine_id: Option<&str>,
    ) -> Result<Enrolled> {
        let machine = Machine {
            hostname: name.to_owned(),
            machine_id: machine_id.map(str::to_owned),
            agent_version: "1.0.0".into(),
        };
        let request = EnrolRequest::prove(secret.clone(), key, [9; 32], machine);
        self.fleet.enrolment().enrol(&request, Origin::default()).await
    }

    /// A new device with a token and a key of its own.
    pub async fn device(&self, name: &str) -> DeviceId {
        let secret = self.token(NewEnrolmentToken::default()).await;
        self.enrol_as(&secret, &self.key(), name, None).await.unwrap().device_id
    }

    /// Several devices, put into the store without enrolment.
    pub async fn devices(&self, count: usize) -> Vec<DeviceId> {
        let now = self.fleet.clock().now();
        let device = |n| Device {
            id: DeviceId::new(now, &*self.random),
            name: format!("device {n:04}"),
            machine_id: None,
            public_key: PublicKey::from_bytes(random_bytes(&*self.random)),
            enrolled_at: now,
            enrolled_by: EnrolmentTokenId::new(now, &*self.random),
            labels: Default::default(),
            groups: Default::default(),
            disabled: false,
            agent_version: "1.0.0".into(),
            agent_updates_enabled: true,
            certificate: None,
            revoked_at: None,
            pending: None,
            duplicate_of: None,
            claimed_machine_id: None,
            enrolled_from: None,
        };
        let devices: &Vec<_> = &(0..count).map(device).collect();
        let context = Context::system("test");
        let store = self.fleet.store();
        store
            .change(&context, Evidence::Audit(DEVICE_ENROLLED), |mut tx| async move {
                for device in devices {
                    tx.create(device)?;
                    tx.create(&DeviceSummary::new(device))?;
                }
                tx.commit().await
            })
            .await
            .unwrap();
        devices.iter().map(|device| device.id).collect()
    }

    /// The actions of the audit, oldest first.
    pub async fn actions(&self) -> Vec<String> {
        let mut entries = self.audit().await;
        entries.reverse();
        entries.into_iter().map(|entry| entry.action).collect()
    }

    /// The newest 500 entries of the audit, newest first, without what the first start wrote at the same moment.
    pub async fn audit(&self) -> Vec<AuditEntry> {
        let page = PageRequest::new(Some(500), None).unwrap();
        let (audit, admin) = (self.fleet.audit(), self.admin());
        let mut entries = audit.list(&admin, &AuditFilter::default(), &page).await.unwrap().items;
        entries.retain(|entry| !matches!(&entry.actor, Actor::System { part } if part == "setup"));
        entries
    }

    /// The types of the events on the timeline, oldest first.
    pub async fn events(&self) -> Vec<super::DeviceEvent> {
        let page = PageRequest::new(Some(500), None).unwrap();
        let query = LaneQuery::oldest_first();
        self.fleet
            .store()
            .reader()
            .await
            .unwrap()
            .rows(&query, &page)
            .await
            .unwrap()
            .items
    }

    /// Where commit order stands: equal before and after means that nothing was committed.
    pub async fn seq(&self) -> u64 {
        self.fleet.store().reader().await.unwrap().seq()
    }
}

/// Whether it failed with this code.
#[track_caller]
pub(crate) fn fails<T: std::fmt::Debug>(result: Result<T>, code: Code) {
    assert_eq!(result.unwrap_err().code(), code);
}
