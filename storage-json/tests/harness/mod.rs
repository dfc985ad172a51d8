//! Opens folders of JSON for the suites.

use std::{path::PathBuf, sync::Arc};

use fleet_core::kernel::{ManualClock, Timestamp};
use fleet_storage_conformance::{Guard, Harness, Opened, async_trait};
use fleet_storage_json::{JsonOptions, JsonStore};
use tempfile::TempDir;

pub struct Json;

/// The folder of one store; gone when the case ends.
struct Place {
    _folder: TempDir,
    path: PathBuf,
}

async fn open(place: Place) -> Opened {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let store = JsonStore::open(&place.path, JsonOptions::default(), clock.clone())
        .await
        .expect("the store opens");
    Opened::new(store, place).with_clock(clock)
}

#[async_trait]
impl Harness for Json {
    async fn open(&self) -> Opened {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("json");
        open(Place { _folder: folder, path }).await
    }

    fn reopens(&self) -> bool {
        true
    }

    async fn reopen(&self, guard: Guard) -> Opened {
        let place = guard.downcast::<Place>().expect("the guard of this harness");
        open(*place).await
    }
}
