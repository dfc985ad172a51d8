//! Opens PostgreSQL stores for the suites.

use std::sync::Arc;

use fleet_core::kernel::{ManualClock, Timestamp};
use fleet_storage_conformance::{Guard, Harness, Opened, async_trait};
use fleet_storage_postgres::{LeaseClock, PostgresOptions, PostgresStore};

use crate::common::Namespace;

pub struct Postgres;

async fn open(namespace: Namespace) -> Opened {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let options = PostgresOptions {
        lease_clock: LeaseClock::Given(clock.clone()),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::open(&namespace.uri(), options)
        .await
        .expect("the store opens");
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
