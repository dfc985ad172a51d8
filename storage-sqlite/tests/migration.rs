//! Data moves into SQLite and out of it.

mod harness;
#[path = "../../storage-json/tests/harness/mod.rs"]
mod json;

use harness::Sqlite;
use json::Json;

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

mod json_to_sqlite {
    fleet_storage_conformance::migration_tests!(super::Json, super::Sqlite);
}

mod sqlite_to_json {
    fleet_storage_conformance::migration_tests!(super::Sqlite, super::Json);
}

mod sqlite_to_sqlite {
    fleet_storage_conformance::migration_tests!(super::Sqlite, super::Sqlite);
}
