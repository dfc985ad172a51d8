//! Writing to the target.

use std::{collections::BTreeSet, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{Copied, Join, MigrationError, Side};
use crate::store::{Backend, Error, Patch, Record, RecordKey, Result, Seq};

/// Patches that are being stored at once: one may be prepared while the engine is busy with the other. A walk never writes a key
/// twice, so that their order does not matter; what is walked or carried next waits for all of them ([`Patcher::finish`]).
const FLIGHT: usize = 2;

/// Collects differences into patches, and stores them while the next is collected.
///
/// **A unique value that is still held.** While the target changes from one state of the source into another, a document may
/// claim a value that the target's old version of another one still holds. That holder is removed in the same patch. It cannot
/// be right as it is: the source gives the value to another. Either the walk has yet to come to it, and will find it unlike or
/// missing in the source; or the source changed meanwhile and has a note of it. In both cases it is written again; and since it
/// is remembered here, it is looked at once more in any case ([`Patcher::owed`]). What is verified in the end does not rest on
/// this argument.
pub(super) struct Patcher {
    target: Arc<dyn Backend>,
    /// Records and removals of one patch.
    most: usize,
    patch: Patch,
    bytes: usize,
    storing: FuturesUnordered<BoxFuture<'static, Result<Vec<RecordKey>>>>,
    /// What was removed because it held a value of another document.
    pub(super) owed: BTreeSet<RecordKey>,
    pub(super) copied: Copied,
}

impl Patcher {
    pub(super) fn new(target: &Arc<dyn Backend>, most: usize) -> Self {
        Self {
            target: Arc::clone(target),
            most,
            patch: Patch::default(),
            bytes: 0,
            storing: FuturesUnordered::new(),
            owed: BTreeSet::new(),
            copied: Copied::default(),
        }
    }

    /// Records of one page of the walk that fills the patches.
    pub(super) fn page(&self) -> usize {
        self.most
    }

    /// Whether a record of so many bytes has to wait for the next patch.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        let held = self.patch.records.len() + self.patch.removed.len();
        held >= self.most || (held > 0 && self.bytes + bytes > Patch::BYTES)
    }

    pub(super) fn put(&mut self, record: Record) {
        self.bytes += record.size();
        self.copied.bytes += record.size() as u64;
        self.patch.records.push(record);
    }

    pub(super) fn remove(&mut self, key: RecordKey) {
        self.copied.removed += 1;
        self.patch.removed.push(key);
    }

    /// Sends what was collected, once there is room; meanwhile the walk reads on.
    pub(super) async fn send(&mut self, seq: Seq, join: &mut Join) -> Result<(), MigrationError> {
        while self.storing.len() >= FLIGHT {
            self.while_storing(join).await?;
        }
        self.store(seq);
        Ok(())
    }

    /// Sends what was collected, once there is room.
    pub(super) async fn hand_over(&mut self, seq: Seq) -> Result<(), MigrationError> {
        while self.storing.len() >= FLIGHT {
            self.wait().await?;
        }
        self.store(seq);
        Ok(())
    }

    fn store(&mut self, seq: Seq) {
        let mut patch = std::mem::take(&mut self.patch);
        // The next one will be as long: room that grows step by step leaves blocks of every size behind.
        self.patch.records.reserve(patch.records.len());
        self.bytes = 0;
        patch.seq = seq;
        self.storing.push(store(Arc::clone(&self.target), patch).boxed());
    }

    /// Waits until one that was sent is stored.
    async fn wait(&mut self) -> Result<(), MigrationError> {
        match self.storing.next().await {
            None => Ok(()),
            Some(stored) => self.stored(stored),
        }
    }

    fn stored(&mut self, stored: Result<Vec<RecordKey>>) -> Result<(), MigrationError> {
        let displaced = stored.map_err(MigrationError::of(Side::Target))?;
        self.copied.displaced += displaced.len() as u64;
        self.owed.extend(displaced);
        Ok(())
    }

    /// Stores what is left, and where commit order stands; then all that was sent is stored.
    pub(super) async fn finish(&mut self, seq: Seq) -> Result<(), MigrationError> {
        while !self.storing.is_empty() {
            self.wait().await?;
        }
        self.store(seq);
        self.wait().await
    }

    /// Waits until a patch is stored or a page is read, whichever comes first.
    pub(super) async fn while_storing(&mut self, join: &mut Join) -> Result<(), MigrationError> {
        if self.storing.is_empty() {
            return join.fetch().await;
        }
        tokio::select! {
            Some(stored) = self.storing.next() => self.stored(stored),
            read = join.fetch() => read,
        }
    }

    /// Waits for something else while patches are stored.
    pub(super) async fn beside<T>(&mut self, other: impl Future<Output = T>) -> Result<T, MigrationError> {
        tokio::pin!(other);
        loop {
            tokio::select! {
                other = &mut other => return Ok(other),
                Some(stored) = self.storing.next() => self.stored(stored)?,
            }
        }
    }
}

/// Stores a patch; returns the documents that had to give up a unique value.
pub(super) async fn store(target: Arc<dyn Backend>, mut patch: Patch) -> Result<Vec<RecordKey>> {
    let mut displaced = Vec::new();
    loop {
        let holder = match target.patch(patch.clone()).await {
            Ok(()) => return Ok(displaced),
            Err(Error::Taken { holder, .. }) => holder,
            Err(error) => return Err(error),
        };
        let key = RecordKey::Doc(holder);
        if displaced.contains(&key) {
            return Err(Error::Corrupt(format!(
                "{key} holds a unique value although it was removed"
            )));
        }
        // Two pages of a source that changes may both claim the value; the one that is left out here is written later.
        patch.records.retain(|record| record.key() != Some(key));
        patch.removed.push(key);
        displaced.push(key);
    }
}
