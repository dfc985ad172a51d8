//! What changes a state. Everything is checked first and changed then, so that a refusal leaves no trace.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use super::{
    State,
    state::{Answered, Lease},
    table::Stored,
    verdict::{Fresh, Judged, Verdict},
};
use crate::{
    kernel::Timestamp,
    store::{
        Batch, Committed, Error, Expect, Ingest, Key, Name, Result, Rev, Row, Seq, Touched, Value, Write, check_lease,
    },
};

/// Up to this many rows of a batch are told apart by looking at each.
const FEW: usize = 8;

impl State {
    /// See [`Backend::commit`](crate::store::Backend::commit).
    pub fn apply(&mut self, batch: &Batch) -> Result<Committed> {
        self.schema.check_batch(batch)?;
        match self.judge(batch, batch.fingerprint())? {
            Judged::Repeat(committed) => Ok(committed),
            Judged::New(verdict) => self.enact(batch.clone(), verdict),
        }
    }

    /// Decides a batch that was checked against the schema, and changes nothing. The fingerprint is the batch's own: its caller may
    /// have made it while others decided.
    pub fn judge(&self, batch: &Batch, fingerprint: [u8; 16]) -> Result<Judged> {
        self.standing.phase.check_serving()?;
        if let Some(answered) = self.batches.get(&batch.id) {
            return if answered.fingerprint == fingerprint {
                Ok(Judged::Repeat(answered.committed.clone()))
            } else {
                Err(Error::BatchReused(batch.id))
            };
        }
        let was = self.check_expectations(batch)?;
        self.check_unique(batch)?;
        let fresh = self.fresh(&batch.rows)?;
        self.verdict(batch, was, fresh, fingerprint).map(Judged::New)
    }

    /// What becomes of a batch whose demands are known to hold.
    pub(super) fn verdict(
        &self,
        batch: &Batch,
        was: Vec<Option<Rev>>,
        fresh: Fresh,
        fingerprint: [u8; 16],
    ) -> Result<Verdict> {
        let mut changes = fresh.any(batch.rows.len());
        for (write, was) in batch.writes.iter().zip(&was) {
            changes |= match write {
                Write::Put { .. } => true,
                Write::Delete { .. } => was.is_some(),
                Write::Check { .. } => false,
                Write::DropLatest { key } => self.latest_of(key.kind)?.contains_key(&key.id),
            };
        }
        Ok(Verdict {
            seq: self.seq + u64::from(changes),
            was,
            fresh,
            fingerprint,
        })
    }

    /// Changes what a batch changes, by the verdict on it; nothing may have changed since.
    pub fn enact(&mut self, batch: Batch, verdict: Verdict) -> Result<Committed> {
        let Verdict {
            seq,
            was,
            fresh,
            fingerprint,
        } = verdict;
        let mut touched = Vec::with_capacity(batch.writes.len() + batch.rows.len());
        let mut revs = Vec::with_capacity(batch.writes.len());
        for (write, was) in batch.writes.into_iter().zip(was) {
            let rev = match write {
                Write::Put { key, body, index, .. } => {
                    let rev = was.unwrap_or(0) + 1;
                    let stored = Stored { rev, seq, body, index };
                    self.table_mut(key.kind)?.put(key.id, stored);
                    touched.push(document(key, rev, false));
                    Some(rev)
                }
                Write::Delete { key, .. } => {
                    if let Some(old) = self.table_mut(key.kind)?.remove(key.id) {
                        touched.push(document(key, old.rev, true));
                    }
                    None
                }
                Write::Check { .. } => was,
                Write::DropLatest { key } => {
                    self.latest_mut(key.kind)?.remove(&key.id);
                    None
                }
            };
            revs.push(rev);
        }
        let few = batch.rows.len() <= FEW;
        let mut streams = HashSet::new();
        for (position, (lane, row)) in batch.rows.into_iter().enumerate() {
            if !fresh.is(position) {
                continue;
            }
            let stream = row.stream;
            let told = if few {
                touched.contains(&Touched::Stream { lane, stream })
            } else {
                !streams.insert((lane, stream))
            };
            if !told {
                touched.push(Touched::Stream { lane, stream });
            }
            self.lane_mut(lane)?.append(row);
        }
        self.seq = seq;
        if !touched.is_empty() {
            self.feed.insert(seq, touched.into());
        }
        let committed = Committed { seq, revs };
        self.answered.insert((seq, batch.id));
        let answered = Answered {
            fingerprint,
            committed: committed.clone(),
        };
        self.batches.insert(batch.id, Arc::new(answered));
        Ok(committed)
    }

    /// The revisions of the documents that the writes name, in their order.
    pub(super) fn revs(&self, batch: &Batch) -> Result<Vec<Option<Rev>>> {
        batch.writes.iter().map(|write| self.rev(write)).collect()
    }

    /// The revision of the document that a write names.
    fn rev(&self, write: &Write) -> Result<Option<Rev>> {
        match write {
            Write::DropLatest { .. } => Ok(None),
            Write::Put { key, .. } | Write::Delete { key, .. } | Write::Check { key, .. } => {
                Ok(self.table(key.kind)?.rev(key.id))
            }
        }
    }

    /// The revisions that were found.
    fn check_expectations(&self, batch: &Batch) -> Result<Vec<Option<Rev>>> {
        let was = self.revs(batch)?;
        for (write, found) in batch.writes.iter().zip(&was) {
            let expect = match write {
                Write::Put { expect, .. } | Write::Delete { expect, .. } | Write::Check { expect, .. } => *expect,
                Write::DropLatest { .. } => Expect::Any,
            };
            if !expect.holds(*found) {
                return Err(Error::Conflict {
                    key: write.key(),
                    expect,
                    found: *found,
                });
            }
        }
        Ok(was)
    }

    /// Unique columns are judged by what the store would hold after the batch.
    fn check_unique(&self, batch: &Batch) -> Result<()> {
        let mut leaving: Option<HashSet<Key>> = None;
        let mut claims: HashMap<(Name, usize, &Value), Key> = HashMap::new();
        for write in &batch.writes {
            let Write::Put { key, index, .. } = write else { continue };
            let table = self.table(key.kind)?;
            for (column, value) in table.unique_values(index) {
                let mut stored = None;
                for holder in table.holders(column, value).filter(|holder| *holder != key.id) {
                    let holder = Key::new(key.kind, holder);
                    // Documents that the batch replaces or removes give up the values that they have now.
                    if !leaving.get_or_insert_with(|| rewritten(batch)).contains(&holder) {
                        stored = Some(holder);
                        break;
                    }
                }
                let claimed = match stored {
                    None if batch.writes.len() > 1 => claims.insert((key.kind, column, value), *key),
                    stored => stored,
                };
                if let Some(holder) = claimed {
                    return Err(Error::Taken {
                        column: table.schema.columns[column].name,
                        holder,
                    });
                }
            }
        }
        Ok(())
    }

    /// Which rows are not there yet, each once.
    pub(super) fn fresh(&self, rows: &[(Name, Row)]) -> Result<Fresh> {
        let mut seen: HashMap<(Name, Uuid, i64, u32), &Row> = HashMap::new();
        let mut fresh = Fresh::All;
        for (position, (lane, row)) in rows.iter().enumerate() {
            let there = self.lane(lane)?.get(row);
            // A single row cannot repeat within its own call: the common case of the hot path.
            let there = match there {
                None if rows.len() > 1 => seen.insert((lane, row.stream, row.at, row.n), row),
                there => there,
            };
            match there {
                None => {}
                Some(there) if there.body == row.body => fresh.without(position, rows.len()),
                Some(_) => {
                    return Err(Error::RowConflict {
                        lane,
                        stream: row.stream,
                        at: row.at,
                        n: row.n,
                    });
                }
            }
        }
        Ok(fresh)
    }

    /// See [`Backend::ingest`](crate::store::Backend::ingest).
    pub fn ingest(&mut self, ingest: &Ingest) -> Result<()> {
        self.schema.check_ingest(ingest)?;
        let fresh = self.judge_ingest(ingest)?;
        self.enact_ingest(ingest.clone(), &fresh)
    }

    /// Decides an ingest that was checked against the schema, and changes nothing.
    pub fn judge_ingest(&self, ingest: &Ingest) -> Result<Fresh> {
        self.standing.phase.check_serving()?;
        self.fresh(&ingest.rows)
    }

    /// Stores an ingest, by what was found out about its rows; nothing may have changed since.
    pub fn enact_ingest(&mut self, ingest: Ingest, fresh: &Fresh) -> Result<()> {
        for latest in ingest.latest {
            self.latest_mut(latest.key.kind)?.insert(latest.key.id, latest.body);
        }
        for (position, (lane, row)) in ingest.rows.into_iter().enumerate() {
            if fresh.is(position) {
                self.lane_mut(lane)?.append(row);
            }
        }
        Ok(())
    }

    /// See [`Backend::trim`](crate::store::Backend::trim).
    pub fn trim(&mut self, lane: Name, before: i64) -> Result<u64> {
        let lane = self.schema.check_trim(lane)?;
        self.standing.phase.check_serving()?;
        Ok(self.lane_mut(lane)?.trim(before))
    }

    /// See [`Backend::compact`](crate::store::Backend::compact).
    pub fn compact(&mut self, upto: Seq) -> Result<u64> {
        self.standing.phase.check_serving()?;
        let upto = upto.min(self.seq);
        while let Some((seq, _)) = self.feed.get_min().filter(|(seq, _)| *seq <= upto).cloned() {
            self.feed.remove(&seq);
        }
        while let Some((seq, batch)) = self.answered.get_min().filter(|(seq, _)| *seq <= upto).copied() {
            self.answered.remove(&(seq, batch));
            self.batches.remove(&batch);
        }
        let forgotten = upto.saturating_sub(self.floor);
        self.floor = self.floor.max(upto);
        Ok(forgotten)
    }

    /// See [`Backend::lease`](crate::store::Backend::lease).
    pub fn lease(&mut self, name: &str, holder: Uuid, ttl: Duration, now: Timestamp) -> Result<Option<u64>> {
        self.standing.phase.check_serving()?;
        check_lease(name)?;
        let lease = self.leases.get(name).cloned().unwrap_or(Lease { held: None, fence: 0 });
        let held = lease.held.filter(|(_, until)| now < *until);
        let mine = held.is_some_and(|(by, _)| by == holder);
        let next = match held {
            Some(_) if !mine => return Ok(None),
            None if ttl.is_zero() => return Ok(None),
            _ if ttl.is_zero() => Lease { held: None, ..lease },
            _ => Lease {
                held: Some((holder, now.plus(ttl))),
                fence: lease.fence + u64::from(!mine),
            },
        };
        let answer = next.held.map(|_| next.fence);
        self.leases.insert(name.to_owned(), next);
        Ok(answer)
    }
}

/// The documents that a batch replaces or removes.
fn rewritten(batch: &Batch) -> HashSet<Key> {
    let writes = batch.writes.iter();
    let rewrites = |write: &&Write| matches!(write, Write::Put { .. } | Write::Delete { .. });
    writes.filter(rewrites).map(Write::key).collect()
}

fn document(key: Key, rev: Rev, deleted: bool) -> Touched {
    Touched::Document { key, rev, deleted }
}
