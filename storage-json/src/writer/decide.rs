//! Decides what waits, one after the other, against the state as the group has left it so far.

use fleet_core::store::{Name, Patch, Result, Tracking, memory::State};

use super::{Ask, Group, Settle, Writer, not_prepared, settle};
use crate::records::{CommitRecord, IngestRecord, LeaseRecord, Operation, PatchRecord};

/// Rows that are trimmed at once, but for those of one time.
const TRIM_SLICE: usize = 5_000;

impl Writer {
    /// Decides, and adds a line if something was accepted.
    pub(super) fn decide(&mut self, group: &mut Group, ask: Ask) {
        if self.journal.is_none() {
            group.answers.push(refuse(ask));
            return;
        }
        let tracks = self.shared.tracking().is_some();
        group.urgent |= !matches!(ask, Ask::Ingest(..));
        match ask {
            Ask::Commit(batch, reply) => {
                let repeated = group.next.remembers(batch.id);
                let answer = group.next.apply(&batch);
                if let Ok(committed) = &answer
                    && !repeated
                {
                    let record = CommitRecord::of(&batch, committed.seq);
                    self.accept(group, Operation::Commit(record));
                    group.dirty.commit(&batch, committed.seq);
                    group.told = true;
                    if tracks {
                        group.keys.extend(batch.record_keys());
                    }
                }
                group.answer(reply, answer);
            }
            Ask::Ingest(ingest, reply) => {
                let answer = group.next.ingest(&ingest);
                if answer.is_ok() {
                    self.accept(group, Operation::Ingest(IngestRecord::of(&ingest)));
                    group.dirty.ingest(&ingest);
                    if tracks {
                        group.keys.extend(ingest.record_keys());
                    }
                }
                group.items += ingest.latest.len() + ingest.rows.len();
                group.answer(reply, answer);
            }
            Ask::Trim(_, _, reply) if tracks => group.answer(reply, Err(Tracking::refuses_trim())),
            Ask::Trim(lane, before, reply) => {
                let slice = slice(&group.next, lane, before);
                let answer = group.next.trim(lane, slice);
                if matches!(answer, Ok(1..)) {
                    self.accept(group, Operation::Trim { lane, before: slice });
                    group.dirty.trim(lane, slice, &self.manifest);
                }
                group.answer(reply, answer.map(|trimmed| (trimmed, slice < before)));
            }
            Ask::Compact(upto, reply) => {
                let upto = upto.min(group.next.seq());
                // What changed nothing is remembered at the floor itself.
                let forgets = upto > group.next.floor() || group.next.answered_within(0..=upto).next().is_some();
                let answer = group.next.compact(upto);
                if answer.is_ok() && forgets {
                    self.accept(group, Operation::Compact { upto });
                    group.dirty.compact(upto, &self.manifest);
                    group.told = true;
                }
                group.answer(reply, answer);
            }
            Ask::Lease(name, holder, ttl, reply) => {
                let before = group.next.lease_of(&name);
                // The time is that of the decision, not of the call: a queue may lie between.
                let answer = group.next.lease(&name, holder, ttl, self.clock.now());
                if let Some(after) = group.next.lease_of(&name)
                    && before.as_ref() != Some(&after)
                {
                    self.accept(group, Operation::Lease(LeaseRecord::of(after)));
                    group.dirty.lease();
                }
                group.answer(reply, answer);
            }
            Ask::Freeze(to, reply) => {
                let answer = self.step(group, |state| state.freeze(to));
                group.answer(reply, answer);
            }
            Ask::Serve(reply) => {
                let answer = self.step(group, State::serve);
                group.answer(reply, answer);
            }
            Ask::Fill(from, reply) => {
                let answer = group.next.fill(from.clone());
                if answer.is_ok() {
                    self.accept(group, Operation::Fill(from));
                    group.dirty.history(&self.manifest);
                    group.told = true;
                }
                group.answer(reply, answer);
            }
            Ask::Patch(patch, reply) => {
                let answer = self.patch(group, &patch);
                group.answer(reply, answer);
            }
            Ask::Clear(reply) => {
                let answer = group.next.clear();
                if answer.is_ok() {
                    self.accept(group, Operation::Clear {});
                    group.dirty.everything(&self.manifest);
                    group.told = true;
                }
                group.answer(reply, answer);
            }
        }
    }

    fn accept(&mut self, group: &mut Group, op: Operation<'_>) {
        if let Some(journal) = &self.journal
            && let Err(error) = journal.encode(&mut self.lines, op)
        {
            group.failed = Some(error);
        }
    }

    /// A step after which the store may be for something else.
    fn step<T>(&mut self, group: &mut Group, take: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let before = group.next.standing().clone();
        let taken = take(&mut group.next)?;
        let after = group.next.standing();
        if before != *after {
            let after = after.clone();
            self.accept(group, Operation::Standing(after));
            group.told = true;
        }
        Ok(taken)
    }

    fn patch(&mut self, group: &mut Group, patch: &Patch) -> Result<()> {
        let record = PatchRecord::of(patch)?;
        group.next.patch(patch.clone())?;
        self.accept(group, Operation::Patch(record));
        group.dirty.patch(patch);
        group.told = true;
        Ok(())
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

fn refuse(ask: Ask) -> Settle {
    match ask {
        Ask::Commit(_, reply) => settle(reply, Err(not_prepared())),
        Ask::Ingest(_, reply) | Ask::Fill(_, reply) | Ask::Patch(_, reply) | Ask::Serve(reply) | Ask::Clear(reply) => {
            settle(reply, Err(not_prepared()))
        }
        Ask::Compact(_, reply) | Ask::Freeze(_, reply) => settle(reply, Err(not_prepared())),
        Ask::Trim(.., reply) => settle(reply, Err(not_prepared())),
        Ask::Lease(.., reply) => settle(reply, Err(not_prepared())),
    }
}
