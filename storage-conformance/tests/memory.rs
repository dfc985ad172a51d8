//! The reference backend passes its own suite.

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

fleet_storage_conformance::conformance_tests!(Memory);
fleet_storage_conformance::model_test!(Memory);
fleet_storage_conformance::histories_test!(Memory);
