//! Data moves into SQLite and out of it.

mod harness;

use harness::Sqlite;

use std::sync::Arc;

use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::memory::MemoryStore,
};
use fleet_storage_conformance::{Harness, Opened, async_trait};

struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Opened {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
        Opened::new(MemoryStore::new(clock.clone()), ()).with_clock(clock)
    }
}

mod memory_to_sqlite {
    fleet_storage_conformance::migration_tests!(super::Memory, super::Sqlite);
}

mod sqlite_to_memory {
    fleet_storage_conformance::migration_tests!(super::Sqlite, super::Memory);
}
