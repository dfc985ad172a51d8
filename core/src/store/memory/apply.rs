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
};
use crate::{
    kernel::Timestamp,
    store::{
        Batch, Committed, Error, Expect, Ingest, Key, Name, Result, Rev, Row, Seq, Touched, Value, Write, check_lease,
    },
};

impl State {
    /// See [`Backend::commit`](crate::store::Backend::commit).
    pub fn apply(&mut self, batch: &Batch) -> Result<Committed> {
        self.standing.phase.check_serving()?;
        self.schema.check_batch(batch)?;
        let fingerprint = batch.fingerprint();
        if let Some(answered) = self.batches.get(&batch.id) {
            return if answered.fingerprint == fingerprint {
                Ok(answered.committed.clone())
            } else {
                Err(Error::BatchReused(batch.id))
            };
        }
        self.check_expectations(batch)?;
        self.check_unique(batch)?;
        let rows = self.new_rows(&batch.rows)?;
        self.store(batch, rows, fingerprint)
    }

    /// Changes what a batch changes, whose demands are known to hold; `rows` are those of its rows that are not there yet.
    pub(super) fn store(&mut self, batch: &Batch, rows: Vec<(Name, Row)>, fingerprint: [u8; 16]) -> Result<Committed> {
        let seq = self.seq + 1;
        let mut changed = !rows.is_empty();
        let mut touched = Vec::new();
        let mut revs = Vec::with_capacity(batch.writes.len());
        for write in &batch.writes {
            let was = self.rev(write)?;
            let rev = match write {
                Write::Put { key, body, index, .. } => {
                    let rev = was.unwrap_or(0) + 1;
                    let stored = Stored {
                        rev,
                        seq,
                        body: body.clone(),
                        index: Arc::new(index.clone()),
                    };
                    self.table_mut(key.kind)?.put(key.id, stored);
                    touched.push(document(*key, rev, false));
                    Some(rev)
                }
                Write::Delete { key, .. } => {
                    if let Some(old) = self.table_mut(key.kind)?.remove(key.id) {
                        touched.push(document(*key, old.rev, true));
                    }
                    None
                }
                Write::Check { .. } => was,
                Write::DropLatest { key } => {
                    changed |= self.latest_mut(key.kind)?.remove(&key.id).is_some();
                    None
                }
            };
            revs.push(rev);
        }
        changed |= !touched.is_empty();
        let mut streams = HashSet::new();
        for (lane, row) in rows {
            let stream = row.stream;
            if streams.insert((lane, stream)) {
                touched.push(Touched::Stream { lane, stream });
            }
            self.lane_mut(lane)?.append(row);
        }

        if changed {
            self.seq = seq;
        }
        if !touched.is_empty() {
            self.feed.insert(seq, touched.into());
        }
        let committed = Committed { seq: self.seq, revs };
        self.answered.insert((self.seq, batch.id));
        self.batches.insert(
            batch.id,
            Answered {
                fingerprint,
                committed: committed.clone(),
            },
        );
        Ok(committed)
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

    fn check_expectations(&self, batch: &Batch) -> Result<()> {
        for write in &batch.writes {
            let expect = match write {
                Write::Put { expect, .. } | Write::Delete { expect, .. } | Write::Check { expect, .. } => *expect,
                Write::DropLatest { .. } => Expect::Any,
            };
            let found = self.rev(write)?;
            if !expect.holds(found) {
                return Err(Error::Conflict {
                    key: write.key(),
                    expect,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Unique columns are judged by what the store would hold after the batch.
    fn check_unique(&self, batch: &Batch) -> Result<()> {
        // Documents that the batch replaces or removes give up the values that they have now.
        let leaving: HashSet<Key> = batch
            .writes
            .iter()
            .filter(|write| matches!(write, Write::Put { .. } | Write::Delete { .. }))
            .map(Write::key)
            .collect();
        let mut claims: HashMap<(Name, usize, &Value), Key> = HashMap::new();
        for write in &batch.writes {
            let Write::Put { key, index, .. } = write else { continue };
            let table = self.table(key.kind)?;
            for (column, value) in table.unique_values(index) {
                let stays = |holder: &Uuid| !leaving.contains(&Key::new(key.kind, *holder));
                let stored = table
                    .holders(column, value)
                    .find(stays)
                    .map(|holder| Key::new(key.kind, holder));
                if let Some(holder) = stored.or_else(|| claims.insert((key.kind, column, value), *key)) {
                    return Err(Error::Taken {
                        column: table.schema.columns[column].name,
                        holder,
                    });
                }
            }
        }
        Ok(())
    }

    /// The rows that are not there yet, each once.
    pub(super) fn new_rows(&self, rows: &[(Name, Row)]) -> Result<Vec<(Name, Row)>> {
        let mut seen: HashMap<(Name, Uuid, i64, u32), &Row> = HashMap::new();
        let mut new = Vec::with_capacity(rows.len());
        for (lane, row) in rows {
            let there = self.lane(lane)?.get(row);
            // A single row cannot repeat within its own call: the common case of the hot path.
            let there = match there {
                None if rows.len() > 1 => seen.insert((lane, row.stream, row.at, row.n), row),
                there => there,
            };
            match there {
                None => new.push((*lane, row.clone())),
                Some(there) if there.body == row.body => {}
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
        Ok(new)
    }

    /// See [`Backend::ingest`](crate::store::Backend::ingest).
    pub fn ingest(&mut self, ingest: &Ingest) -> Result<()> {
        self.standing.phase.check_serving()?;
        self.schema.check_ingest(ingest)?;
        let rows = self.new_rows(&ingest.rows)?;
        for latest in &ingest.latest {
            self.latest_mut(latest.key.kind)?
                .insert(latest.key.id, latest.body.clone());
        }
        for (lane, row) in rows {
            self.lane_mut(lane)?.append(row);
        }
        Ok(())
    }

    /// See [`Backend::trim`](crate::store::Backend::trim).
    pub fn trim(&mut self, lane: Name, before: i64) -> Result<u64> {
        self.standing.phase.check_serving()?;
        if self.schema.lane(lane)?.chained {
            return Err(Error::Invalid(format!("lane {lane} is chained and is not trimmed")));
        }
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

fn document(key: Key, rev: Rev, deleted: bool) -> Touched {
    Touched::Document { key, rev, deleted }
}
