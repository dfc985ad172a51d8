//! Moving what a store holds into another one: the contract's second half.
//!
//! ```text
//!   serving ──freeze──▶ frozen ──serve──▶ serving          a source: read-only from then on, or taken back
//!   serving (empty) ──fill──▶ filling ──patch…──serve──▶ serving          a target
//!   frozen ──fill──▶ filling                               an old source that the data comes back to
//!   filling ──clear──▶ serving (empty)                     a move that is given up
//! ```
//!
//! A move copies record by record, in canonical order, and needs no long transaction on either side: what changes meanwhile
//! is noted by the source ([`Relocate::track`]) and copied again. The state machine is one table ([`Phase::after`]); what a
//! patch means is decided here ([`Patch::lay_out`]); backends store the result.

mod behind;
mod export;
mod import;
mod patch;
mod phase;
mod tracking;

use async_trait::async_trait;

pub use self::{
    behind::Behind,
    patch::{Layout, Patch},
    phase::{Move, Phase, Standing, Step},
    tracking::{Tracked, Tracking},
};
use super::{Key, Latest, Name, Record, Result, Seq, group::Place};

/// Names a record of an export. The order is that of an export: documents, latest values, rows; then by name, id, time and
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKey {
    /// A document.
    Doc(Key),
    /// A latest value.
    Latest(Key),
    /// A row of a lane.
    Row(Place),
}

impl RecordKey {
    /// The kind, set or lane.
    pub fn name(&self) -> Name {
        match self {
            Self::Doc(key) | Self::Latest(key) => key.kind,
            Self::Row(place) => place.lane,
        }
    }
}

impl std::fmt::Display for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Doc(key) | Self::Latest(key) => key.fmt(f),
            Self::Row(Place { lane, stream, at, n }) => write!(f, "{lane}/{stream}/{at}/{n}"),
        }
    }
}

impl Record {
    /// What the record is called; none for the end.
    pub fn key(&self) -> Option<RecordKey> {
        match self {
            Self::Doc(doc) => Some(RecordKey::Doc(doc.key)),
            Self::Latest(Latest { key, .. }) => Some(RecordKey::Latest(*key)),
            Self::Row(lane, stored) => Some(RecordKey::Row(Place::of(lane, &stored.row))),
            Self::End { .. } => None,
        }
    }

    /// Bytes of its body.
    pub fn size(&self) -> usize {
        match self {
            Self::Doc(doc) => doc.body.len(),
            Self::Latest(latest) => latest.body.len(),
            Self::Row(_, stored) => stored.row.body.len(),
            Self::End { .. } => 0,
        }
    }
}

/// What a backend implements so that data can be moved out of it, into it and back.
///
/// Steps that [`Phase::after`] does not allow fail with [`super::Error::NotServing`] or [`super::Error::Refused`] and change
/// nothing. All of them are durable on return, and survive a restart unless they say otherwise.
#[async_trait]
pub trait Relocate {
    /// What the store is for now, and where its data came from.
    async fn standing(&self) -> Result<Standing>;

    /// Makes a serving store read-only: when this returns, every write that was acknowledged is visible, and none will be
    /// acknowledged any more by anybody who uses the store: they fail with [`super::Error::NotServing`] (`prepare` too, if it
    /// would change something). Returns where commit order stands. Freezing again for the same move is no error.
    async fn freeze(&self, to: Move) -> Result<Seq>;

    /// Begins to fill a store that is empty (commit order at 0, nothing held), frozen, or being filled by the same move. Only
    /// `patch`, `settle`, `serve`, `clear`, views and `check` work until then. Refused for a serving store that is not empty. Batch ids and
    /// leases that the store remembers are forgotten.
    async fn fill(&self, from: Move) -> Result<()>;

    /// Stores and removes records as they are, all or nothing: revisions, places in commit order and links are carried; a
    /// record that is there is replaced; the same patch again changes nothing. Fails with [`super::Error::Corrupt`] for what
    /// [`Patch::lay_out`] refuses and with [`super::Error::Taken`] when a unique value would be held twice. No feed entries: the
    /// feed begins after the newest place that a patch named. Heads of chained lanes follow the greatest number.
    async fn patch(&self, patch: Patch) -> Result<()>;

    /// Does what a store that is being filled has put off while records came in order, such as building indexes. A move calls it when
    /// the target was filled, and reads it back meanwhile; patches may follow. Until then questions that need an index may take long,
    /// and patches need not be durable; `serve` does it when nobody did. Doing it again is no error.
    async fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Makes a filling or frozen store serve. Quick: it verifies nothing, and all that was patched is durable then. No error when it serves already.
    async fn serve(&self) -> Result<()>;

    /// Empties a store that is being filled; it then serves, as new.
    async fn clear(&self) -> Result<()>;

    /// Begins to note what is written (anew, when it did before), or ceases to. While it does, `trim` is refused. Ends when
    /// the store is closed. A shared store notes what every process writes.
    async fn track(&self, on: bool) -> Result<()>;

    /// What was written since the note `after` (0 at first); notes up to `after` are forgotten. Waits for nothing; what was
    /// acknowledged before the call is in it, and a view that is taken afterwards shows all that is in it. Fails with [`super::Error::Compacted`] when notes were lost because too many
    /// piled up ([`Tracking::MOST`]), and with [`super::Error::Refused`] when nothing is tracked.
    async fn tracked(&self, after: u64) -> Result<Tracked>;
}
