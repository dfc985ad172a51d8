//! Where the fleet is kept: in memory, or in a SQLite file with the key of its secrets beside it.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, sync::Arc};

use fleet_core::{
    kernel::{MasterKey, SystemClock, SystemRandom},
    store::{Backend, memory::MemoryStore},
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};

/// Opens `sqlite:PATH`, or a store in memory when nothing is named.
pub async fn open(location: Option<&str>) -> anyhow::Result<(Arc<dyn Backend>, MasterKey)> {
    let (clock, key) = (Arc::new(SystemClock), MasterKey::generate(&SystemRandom));
    let Some(location) = location else {
        return Ok((Arc::new(MemoryStore::new(clock)), key));
    };
    let path = location
        .strip_prefix("sqlite:")
        .ok_or_else(|| anyhow::anyhow!("expected sqlite:PATH"))?;
    // Made once, for its owner only. Without it nobody opens the secrets in the store: back it up elsewhere.
    let key_path = format!("{path}.key");
    let mut create = fs::OpenOptions::new();
    if let Ok(mut file) = create.write(true).create_new(true).mode(0o600).open(&key_path) {
        file.write_all(key.to_text().as_bytes())?;
    }
    let key = MasterKey::from_text(&fs::read_to_string(key_path)?)?;
    let store = SqliteStore::open(path, SqliteOptions::default(), clock).await?;
    Ok((Arc::new(store), key))
}
