//! Repairs the store that a URI names.

use fleet_core::store::{Error, Result};
use fleet_storage_json::Repair;

use super::StoreUri;

/// Sets damaged lines of a JSON store aside that no process has open, so that it opens again. Blocks.
///
/// # Errors
/// [`Error::Refused`] for the other engines, when another process has the store, and when there is none; [`Error::Corrupt`] when
/// only a backup helps.
pub fn repair(uri: &StoreUri) -> Result<Repair> {
    match uri {
        StoreUri::Json(path) => fleet_storage_json::repair(path),
        StoreUri::Sqlite(_) | StoreUri::Postgres(_) => Err(Error::Refused(format!(
            "{uri}: only a JSON store can be repaired line by line. Where `check` calls everything repairable, move the store \
             into a new one (migrate-storage run), which makes indexes anew; else restore a backup (fleet-server restore)"
        ))),
    }
}
