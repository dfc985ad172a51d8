//! Opens PostgreSQL stores for the suites.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod emptied;

use std::sync::Arc;

use fleet_core::kernel::{ManualClock, Timestamp};
use fleet_storage_conformance::{Guard, Harness, Opened, async_trait};
use fleet_storage_postgres::{LeaseClock, PostgresOptions, PostgresStore};

pub use self::emptied::Emptied;
use crate::common::Namespace;

pub struct Postgres;

async fn open_at(uri: &str) -> (PostgresStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let options = PostgresOptions {
        lease_clock: LeaseClock::Given(clock.clone()),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::open(uri, options).await.expect("the store opens");
    (store, clock)
}

async fn open(namespace: Namespace) -> Opened {
    let (store, clock) = open_at(&namespace.uri()).await;
    Opened::new(store, namespace).with_clock(clock)
}

#[async_trait]
impl Harness for Postgres {
    async fn open(&self) -> Opened {
        open(Namespace::new()).await
    }

    fn reopens(&self) -> bool {
        true
    }

    async fn reopen(&self, guard: Guard) -> Opened {
        let namespace = guard.downcast::<Namespace>().expect("the guard of this harness");
        open(*namespace).await
    }
}
