//! What lies in a journal, for people who ask: also while an agent writes it, and also when none runs.

use std::{fs::File, io, path::Path};

use fleet_core::kernel::Result;
use serde::Serialize;

use super::{
    Limits,
    file::{NAME, load, unreadable},
    index::Item,
    recovery::Recovered,
};
use crate::disk::DiskFile;

/// What lies in a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Bytes of the file.
    pub bytes: u64,
    /// The most that it may have.
    pub limit_bytes: u64,
    /// Runs that were taken and have not ended.
    pub runs_open: usize,
    /// Results that the server has not confirmed.
    pub results_to_send: usize,
    /// Pieces of output that it has not confirmed.
    pub output_to_send: usize,
    /// Bytes of output that were dropped for want of room or damaged, and of which the server has not been told yet.
    pub lost_bytes: u64,
}

impl Overview {
    /// Looks into the journal of a state directory, and changes nothing.
    ///
    /// # Errors
    /// [`JOURNAL_NEWER`](super::JOURNAL_NEWER) when a newer agent wrote it,
    /// [`JOURNAL_UNREADABLE`](super::JOURNAL_UNREADABLE) when the disk does not give it.
    pub fn read(state: &Path) -> Result<Self> {
        let mut overview = Self {
            limit_bytes: Limits::default().file_bytes,
            ..Self::default()
        };
        let file: Box<dyn DiskFile> = match File::open(state.join(NAME)) {
            Ok(file) => Box::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(overview),
            Err(error) => return Err(unreadable(error)),
        };
        overview.bytes = file.length().map_err(unreadable)?;
        let (index, _) = load(&*file, &mut Recovered::default())?;
        for (_, run) in index.in_order() {
            match run.ending {
                None => overview.runs_open += 1,
                Some(ending) if ending.acknowledged_at.is_none() => overview.results_to_send += 1,
                Some(_) => {}
            }
            for item in &run.pending {
                match item {
                    Item::Chunk { .. } => overview.output_to_send += 1,
                    Item::Lost { bytes, .. } => overview.lost_bytes += bytes,
                }
            }
        }
        Ok(overview)
    }
}
