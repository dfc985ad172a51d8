//! What a group changes in the store, net of what its members undid of each other.

use bytes::Bytes;
use uuid::Uuid;

use super::super::{Change, IndexedValues, Key, Latest, Link, Name, Rev, Seq, StoredRow};
use super::Remembered;

/// A document as it stands after the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutDoc {
    /// Its name.
    pub key: Key,
    /// Its revision.
    pub rev: Rev,
    /// The commit that wrote it last.
    pub seq: Seq,
    /// Canonical JSON.
    pub body: Bytes,
    /// Its index values.
    pub index: IndexedValues,
}

/// The changes of a group. No key and no place appears twice; lists are in the order in which their members first appear in
/// the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The newest place in commit order afterwards.
    pub seq: Seq,
    /// Documents to insert or replace.
    pub puts: Vec<PutDoc>,
    /// Documents to remove; all of them are there.
    pub deletes: Vec<Key>,
    /// Latest values to insert or replace.
    pub latest: Vec<Latest>,
    /// Latest values to remove; all of them are there.
    pub drops: Vec<Key>,
    /// Rows to insert; none of their places is taken.
    pub rows: Vec<(Name, StoredRow)>,
    /// The last links of the chained lanes that grew.
    pub heads: Vec<(Name, Link)>,
    /// Entries of the feed, in order.
    pub feed: Vec<Change>,
    /// Batches to remember.
    pub batches: Vec<(Uuid, Remembered)>,
}

impl Effects {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty()
            && self.deletes.is_empty()
            && self.latest.is_empty()
            && self.drops.is_empty()
            && self.rows.is_empty()
            && self.feed.is_empty()
            && self.batches.is_empty()
    }
}
