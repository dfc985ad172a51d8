//! Decides what waits, one after the other, against the state as everything before has left it.

use std::{convert::Infallible, sync::Arc};

use fleet_core::store::{
    Committed, Error, Move, Name, Result, Tracking,
    memory::{Judged, State},
};

use super::{Ask, Group, ReadyCommit, ReadyIngest, ReadyPatch, Writer, answer::Answer};
use crate::records::{LeaseRecord, Operation, Text};

/// Rows that are trimmed at once, but for those of one time.
const TRIM_SLICE: usize = 5_000;

impl Writer {
    /// Decides, and adds a line if something was accepted.
    pub(super) fn decide(&mut self, ask: Ask) {
        let mut group = match self.open.take() {
            Some(group) => group,
            None => self.open_group(),
        };
        let answer = if self.prepared {
            self.answer(&mut group, ask)
        } else {
            group.urgent = true;
            Answer::unprepared(ask)
        };
        group.answers.push(answer);
        self.shared.count_decided();
        self.open = Some(group);
    }

    fn answer(&mut self, group: &mut Group, ask: Ask) -> Answer {
        group.urgent |= !matches!(ask, Ask::Ingest(..));
        match ask {
            Ask::Commit(ready, reply) => Answer::Committed(reply, self.commit(group, ready)),
            Ask::Ingest(ready, reply) => Answer::Done(reply, self.ingest(group, ready)),
            Ask::Trim(lane, before, reply) => Answer::Trimmed(reply, self.trim(group, lane, before)),
            Ask::Compact(upto, reply) => Answer::Count(reply, self.compact(group, upto)),
            Ask::Lease(name, holder, ttl, reply) => {
                let before = self.state.lease_of(&name);
                // The time is that of the decision, not of the call: a queue may lie between.
                let answer = self.state.lease(&name, holder, ttl, self.clock.now());
                if let Some(after) = self.state.lease_of(&name)
                    && before.as_ref() != Some(&after)
                {
                    group.accept(Operation::Lease(LeaseRecord::of(after)));
                    group.dirty.lease();
                }
                Answer::Lease(reply, answer)
            }
            Ask::Freeze(to, reply) => Answer::Count(reply, self.step(group, |state| state.freeze(to))),
            Ask::Serve(reply) => Answer::Done(reply, self.step(group, State::serve)),
            Ask::Fill(from, reply) => Answer::Done(reply, self.fill(group, from)),
            Ask::Patch(patch, reply) => Answer::Done(reply, self.patch(group, patch)),
            Ask::Clear(reply) => {
                let answer = self.state.clear();
                if answer.is_ok() {
                    group.accept(Operation::Clear {});
                    group.dirty.everything(&self.manifest);
                    group.told = true;
                }
                Answer::Done(reply, answer)
            }
        }
    }

    fn commit(&mut self, group: &mut Group, ready: ReadyCommit) -> Result<Committed> {
        let batch = ready.batch;
        if !Arc::ptr_eq(&ready.schema, self.state.schema()) {
            self.state.schema().check_batch(&batch)?;
        }
        let verdict = match self.state.judge(&batch, ready.fingerprint)? {
            Judged::Repeat(committed) => return Ok(committed),
            Judged::New(verdict) => verdict,
        };
        let seq = verdict.seq();
        let chains = self.state.chains_of(&batch);
        group.line(|text| {
            text.place_in_order(batch.id, seq, &chains);
            text.raw(&ready.changes);
        });
        group.dirty.commit(&batch, seq);
        group.told = true;
        if self.tracks {
            group.keys.extend(batch.record_keys());
        }
        let committed = self.state.enact(batch, verdict);
        group.must(committed)
    }

    fn ingest(&mut self, group: &mut Group, ready: ReadyIngest) -> Result<()> {
        let ingest = ready.ingest;
        group.items += ingest.latest.len() + ingest.rows.len();
        if !Arc::ptr_eq(&ready.schema, self.state.schema()) {
            self.state.schema().check_ingest(&ingest)?;
        }
        let fresh = self.state.judge_ingest(&ingest)?;
        group.line(|text| text.raw(&ready.text));
        group.dirty.ingest(&ingest);
        if self.tracks {
            group.keys.extend(ingest.record_keys());
        }
        let stored = self.state.enact_ingest(ingest, &fresh);
        group.must(stored)
    }

    fn trim(&mut self, group: &mut Group, lane: Name, before: i64) -> Result<(u64, bool)> {
        if self.tracks {
            return Err(Tracking::refuses_trim());
        }
        let slice = slice(&self.state, lane, before);
        let trimmed = self.state.trim(lane, slice)?;
        if trimmed > 0 {
            group.accept(Operation::Trim { lane, before: slice });
            group.dirty.trim(lane, slice, &self.manifest);
        }
        Ok((trimmed, slice < before))
    }

    fn compact(&mut self, group: &mut Group, upto: u64) -> Result<u64> {
        let upto = upto.min(self.state.seq());
        // What changed nothing is remembered at the floor itself.
        let forgets = upto > self.state.floor() || self.state.answered_within(0..=upto).next().is_some();
        let forgotten = self.state.compact(upto)?;
        if forgets {
            group.accept(Operation::Compact { upto });
            group.dirty.compact(upto, &self.manifest);
            group.told = true;
        }
        Ok(forgotten)
    }

    /// A step after which the store may be for something else.
    fn step<T>(&mut self, group: &mut Group, take: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let before = self.state.standing().clone();
        let taken = take(&mut self.state)?;
        let after = self.state.standing();
        if before != *after {
            group.accept(Operation::Standing(after.clone()));
            group.told = true;
        }
        Ok(taken)
    }

    fn fill(&mut self, group: &mut Group, from: Move) -> Result<()> {
        self.state.fill(from.clone())?;
        group.accept(Operation::Fill(from));
        group.dirty.history(&self.manifest);
        group.told = true;
        Ok(())
    }

    fn patch(&mut self, group: &mut Group, ready: ReadyPatch) -> Result<()> {
        if Arc::ptr_eq(&ready.schema, self.state.schema()) {
            self.state.patch_laid_out(ready.layout)?;
        } else {
            self.state.patch(ready.patch.clone())?;
        }
        group.line(|text| text.raw(&ready.text));
        group.dirty.patch(&ready.patch);
        group.told = true;
        Ok(())
    }
}

impl Group {
    /// Adds the line of something that was accepted.
    fn accept(&mut self, op: Operation<'_>) {
        let written = self.lines.push(|out| serde_json::to_writer(out, &op));
        if let Err(error) = written {
            self.failed = Some(Error::Unavailable(Box::new(error)));
        }
    }

    fn line(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        let written = self.lines.push(|out| {
            write(&mut Text(out));
            Ok::<_, Infallible>(())
        });
        match written {
            Ok(()) => {}
        }
    }

    /// What was judged cannot fail; if it does, nothing of the group is stored.
    fn must<T>(&mut self, stored: Result<T>) -> Result<T> {
        if let Err(error) = &stored {
            self.failed = Some(Error::Unavailable(error.to_string().into()));
        }
        stored
    }
}

/// The end of the next slice of a trim: so that others have their turn between two of them.
fn slice(state: &State, lane: Name, before: i64) -> i64 {
    let Some(last) = before.checked_sub(1) else {
        return before;
    };
    let end = state.rows_within(lane, i64::MIN..=last).ok().and_then(|mut rows| {
        let first = rows.next()?.row.at;
        let after = rows.nth(TRIM_SLICE)?.row.at;
        // Rows of one time go together.
        Some(after.max(first + 1))
    });
    end.map_or(before, |end| end.min(before))
}
