//! One store, from which others branch off, and the servers on them.

use std::{sync::Arc, time::Duration};

use fleet_core::{
    Fleet,
    access::Context,
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
    },
    kernel::{Clock as _, ManualClock, MasterKey, SeededRandom, SigningKey, Timestamp},
    store::{Backend, memory::MemoryStore},
};
use fleet_storage_conformance::Tapped;
use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, memory::InMemory};

use crate::killed::Killed;

/// A store with its time.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    objects: InMemory,
}

impl World {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            clock,
            random: Arc::new(SeededRandom::new(1)),
            objects: InMemory::new(),
        }
    }

    /// What would become of it otherwise.
    pub fn branch(&self) -> Self {
        let clock = Arc::new(ManualClock::new(self.clock.now()));
        Self {
            store: Arc::new(self.store.fork(clock.clone()).unwrap()),
            clock,
            random: self.random.clone(),
            objects: self.objects.fork(),
        }
    }

    pub async fn server(&self) -> Fleet {
        self.server_over(self.store.clone()).await
    }

    pub async fn killed_server(&self, tap: Arc<Killed>) -> Fleet {
        self.server_over(Tapped::over(self.store.clone(), tap)).await
    }

    async fn server_over(&self, store: Arc<dyn Backend>) -> Fleet {
        let builder = Fleet::builder(store, MasterKey::generate(&SeededRandom::new(7)));
        let builder = builder.clock(self.clock.clone()).random(self.random.clone());
        // A clone has the same objects, unlike a fork.
        let builder = builder.blobs(Arc::new(self.objects.clone()));
        builder.open().await.unwrap()
    }

    pub async fn enrol(&self, fleet: &Fleet, devices: usize) -> Vec<DeviceId> {
        let mut enrolled = Vec::new();
        let token = NewEnrolmentToken {
            max_uses: devices.try_into().unwrap(),
            ..NewEnrolmentToken::default()
        };
        let (_, secret) = fleet
            .enrolment()
            .create_token(&Context::system("test"), &token)
            .await
            .unwrap();
        for n in 0..devices {
            let machine = Machine {
                hostname: format!("web-{n}"),
                machine_id: None,
                agent_version: "1.0.0".into(),
            };
            let request = EnrolRequest::prove(secret.clone(), &self.key(), [9; 32], machine);
            let joined = fleet.enrolment().enrol(&request, Default::default()).await.unwrap();
            enrolled.push(joined.device_id);
        }
        enrolled
    }

    /// The paths of all objects.
    pub async fn objects(&self) -> Vec<String> {
        let objects = self.objects.list(None);
        objects
            .map_ok(|object| object.location.to_string())
            .try_collect()
            .await
            .unwrap()
    }

    pub fn later(&self, seconds: u64) -> Timestamp {
        self.clock.now().plus(Duration::from_secs(seconds))
    }

    pub fn key(&self) -> SigningKey {
        SigningKey::generate(&*self.random)
    }
}
