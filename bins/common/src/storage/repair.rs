//! Repairs the store that a URI names.

use fleet_core::{
    kernel::{Clock, Randomness},
    storage::repair_entry,
    store::{Error, Result},
};
use fleet_storage_json::Repair;

use super::StoreUri;

/// Sets damaged lines of a JSON store aside that no process has open, so that it opens again, and leaves the audit entry of it in
/// the same step. Blocks.
///
/// # Errors
/// [`Error::Refused`] for the other engines, when another process has the store, and when there is none; [`Error::Corrupt`] when
/// only a backup helps.
pub fn repair(uri: &StoreUri, clock: &dyn Clock, random: &dyn Randomness) -> Result<Repair> {
    let entry = |report: &Repair| {
        let aside = report.aside.as_ref().map(|path| path.display().to_string());
        let entry = repair_entry(report.lost.len() as u64, aside.as_deref(), clock, random);
        entry.map(Some).map_err(|error| Error::Unavailable(error.log().into()))
    };
    match uri {
        StoreUri::Json(path) => fleet_storage_json::repair(path, entry),
        StoreUri::Sqlite(_) | StoreUri::Postgres(_) => Err(Error::Refused(format!(
            "{uri}: only a JSON store can be repaired line by line. Where `check` calls everything repairable, move the store \
             into a new one (migrate-storage run), which makes indexes anew; else restore a backup (fleet-server restore)"
        ))),
    }
}
