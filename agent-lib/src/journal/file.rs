//! The journal over its file.

use std::{collections::HashMap, io, sync::Arc};

use fleet_core::kernel::{Error, Result, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::{
    JOURNAL_BROKEN, JOURNAL_DISK_FULL, JOURNAL_FULL, JOURNAL_NEWER, JOURNAL_UNREADABLE, Limits, Record, Recovered,
    RecoveredRun,
    frame::{Class, FORMAT, FRAME_HEADER, Head, body_of},
    index::{Facts, Index, Item, Run},
    rewrite::{copy_live, lost},
    scan::{End, Found, Location, read_record, scan},
};
use crate::disk::{Disk, DiskFile};

/// Output that the server has not got yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Pending {
    /// A piece.
    Chunk {
        /// Its place.
        sequence: u64,
        /// The piece.
        body: Value,
    },
    /// Pieces that are gone; to be announced in their place, and acknowledged like them.
    Lost {
        /// The first one.
        from: u64,
        /// The first one after them.
        before: u64,
        /// Bytes of the dropped records, as far as they are known.
        bytes: u64,
    },
}

/// How far a run has come, for answering an offer that comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Received, not started.
    Received,
    /// Started, without a result.
    Started,
    /// It has a result; [`Journal::result`] reads it.
    Ended,
}

/// The agent's spool. All calls block on the disk: use it through [`JournalWriter`](super::JournalWriter) in a runtime.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    length: u64,
    /// The length after the last rewrite: the next one waits until the file has grown.
    rewritten_length: u64,
    index: Index,
    limits: Limits,
    broken: bool,
}

pub(super) const NAME: &str = "journal";
const NEW_NAME: &str = "journal.new";
const DAMAGED_NAME: &str = "journal.damaged";

impl Journal {
    /// Opens the journal of a folder (see [`StateDirectory`](crate::state::StateDirectory)), or begins one. A write that a crash cut short is removed; damage is passed
    /// over, reported and rewritten without it.
    ///
    /// # Errors
    /// [`JOURNAL_NEWER`] when a newer agent wrote the file; [`JOURNAL_UNREADABLE`] when the disk does not give it.
    pub fn open(disk: Arc<dyn Disk>, limits: Limits, now: Timestamp) -> Result<(Self, Recovered)> {
        remove_if_there(&*disk, NEW_NAME).map_err(unreadable)?;
        let file = disk.open(NAME).map_err(unreadable)?;
        let mut recovered = Recovered::default();
        let (index, end) = load(&*file, &mut recovered)?;
        let mut journal = Self {
            disk,
            file,
            length: end.good,
            rewritten_length: end.good,
            index,
            limits,
            broken: false,
        };
        recovered.torn_bytes = end.torn;
        if !recovered.damage.is_empty() {
            keep_damaged(&*journal.disk).map_err(unreadable)?;
            journal.rewrite()?;
        } else if end.torn > 0 {
            journal.file.cut(end.good).map_err(unreadable)?;
            journal.file.sync_all().map_err(unreadable)?;
        }
        if journal.length == 0 {
            journal.rewrite()?;
        }
        journal.index.forget(&limits, now);
        journal.describe(&mut recovered)?;
        Ok((journal, recovered))
    }

    /// Appends records, all or none, and syncs them.
    ///
    /// # Errors
    /// As [`append_groups`](Self::append_groups).
    pub fn append(&mut self, records: &[Record]) -> Result<()> {
        self.append_groups(&[records]).pop().unwrap_or(Ok(()))
    }

    /// Appends several groups with one sync; each group is appended whole or not at all, and answers for itself.
    ///
    /// # Errors
    /// [`JOURNAL_CONFLICT`](super::JOURNAL_CONFLICT) when a record contradicts its run,
    /// [`JOURNAL_INVALID`](super::JOURNAL_INVALID) when it cannot be written, [`JOURNAL_FULL`] when no further run can be
    /// taken, [`JOURNAL_DISK_FULL`] when nothing could be written, [`JOURNAL_BROKEN`] when nobody knows what was.
    pub fn append_groups(&mut self, groups: &[&[Record]]) -> Vec<Result<()>> {
        if self.broken {
            return groups.iter().map(|_| Err(broken(None))).collect();
        }
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(groups.len());
        let mut now = None;
        for group in groups {
            answers.push(self.prepare(group, &mut batch));
            now = group.iter().filter_map(acknowledged_at).max().max(now);
        }
        if batch.heads.is_empty() {
            return answers;
        }
        if let Err(error) = self.write(&batch) {
            tracing::error!(error = error.log(), "the journal could not be written");
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(error.code().error(error.message()));
            }
            return answers;
        }
        if let Some(now) = now {
            self.index.forget(&self.limits, now);
        }
        if self.has_much_garbage()
            && let Err(error) = self.rewrite()
        {
            // What was appended is safe; only the tidying up failed.
            tracing::warn!(error = error.log(), "the journal could not be rewritten");
        }
        answers
    }

    /// Output of a run that the server has not got yet, from a sequence number on: at least one item if there is one, then
    /// as many as fit into `max_bytes`. What can no longer be read comes as [`Pending::Lost`].
    ///
    /// # Errors
    /// [`JOURNAL_UNREADABLE`] when the disk fails.
    pub fn pending(&mut self, run: &Uuid, from: u64, max_bytes: usize) -> Result<Vec<Pending>> {
        let Some(known) = self.index.get(run) else {
            return Ok(Vec::new());
        };
        let mut room = max_bytes;
        let mut items = Vec::new();
        for item in &known.pending {
            let size = match item {
                Item::Chunk { sequence, .. } if *sequence < from => continue,
                Item::Lost { before, .. } if *before <= from => continue,
                Item::Chunk { location, .. } => location.length as usize,
                Item::Lost { .. } => 100,
            };
            if !items.is_empty() && size > room {
                break;
            }
            room = room.saturating_sub(size);
            items.push(*item);
        }
        let mut pending = Vec::with_capacity(items.len());
        for item in items {
            pending.push(match item {
                Item::Lost { from, before, bytes } => Pending::Lost { from, before, bytes },
                Item::Chunk { sequence, location } => match self.read_body(location)? {
                    Some(body) => Pending::Chunk { sequence, body },
                    None => {
                        self.index.lose(run, location);
                        Pending::Lost {
                            from: sequence,
                            before: sequence + 1,
                            bytes: u64::from(location.length),
                        }
                    }
                },
            });
        }
        Ok(pending)
    }

    /// The runs that have output which the server has not got yet, oldest first.
    pub fn runs_with_output(&self) -> Vec<Uuid> {
        let runs = self.index.in_order().into_iter();
        runs.filter(|(_, run)| !run.pending.is_empty())
            .map(|(id, _)| id)
            .collect()
    }

    /// The runs whose result the server has not acknowledged, oldest first.
    pub fn runs_with_result(&self) -> Vec<Uuid> {
        let owed = |run: &Run| run.ending.is_some_and(|ending| ending.acknowledged_at.is_none());
        let runs = self.index.in_order().into_iter();
        runs.filter(|(_, run)| owed(run)).map(|(id, _)| id).collect()
    }

    /// How far a run has come; nothing when it is unknown or forgotten.
    pub fn status(&self, run: &Uuid) -> Option<Status> {
        self.index.get(run).map(|run| match (run.ending, run.starts) {
            (Some(_), _) => Status::Ended,
            (None, 0) => Status::Received,
            (None, _) => Status::Started,
        })
    }

    /// The sequence number of a run's next output; 0 when the run is unknown.
    pub fn next_sequence(&self, run: &Uuid) -> u64 {
        self.index.get(run).map_or(0, |run| run.next)
    }

    /// The result of a run, also after the server has acknowledged it, for as long as the run is remembered.
    ///
    /// # Errors
    /// [`JOURNAL_UNREADABLE`] when the disk fails or what it gives is damaged.
    pub fn result(&self, run: &Uuid) -> Result<Option<Value>> {
        match self.index.get(run).and_then(|run| run.ending) {
            None => Ok(None),
            Some(ending) => self
                .read_body(ending.location)?
                .map(Some)
                .ok_or_else(|| JOURNAL_UNREADABLE.error(format!("the result of run {run} is damaged"))),
        }
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    /// Checks a group and encodes it behind the groups before it. A group that is refused leaves no trace.
    fn prepare(&mut self, group: &[Record], batch: &mut Batch) -> Result<()> {
        let mut facts: HashMap<Uuid, Facts> = HashMap::new();
        let mut heads = Vec::with_capacity(group.len());
        for record in group {
            let mut head = record.to_head();
            let known = facts.entry(head.run).or_insert_with(|| {
                let earlier = batch.facts.get(&head.run).copied();
                earlier.unwrap_or_else(|| Facts::of(self.index.get(&head.run)))
            });
            if known.check(&mut head)? {
                heads.push(head);
            }
        }
        let (mut bytes, mut lengths) = encode_all(&heads)?;
        let total = (batch.bytes.len() + bytes.len()) as u64;
        if self.length + total > self.limits.file_bytes && !self.make_room(total)? {
            if heads.iter().any(|head| head.class == Class::Receipt) {
                return Err(
                    JOURNAL_FULL.error("the spool is full; no further run is taken until the server is reached")
                );
            }
            // There is no older output to drop, so the new one goes. Starts, results and acknowledgements stay.
            for (head, length) in heads.iter_mut().zip(&lengths) {
                if let (Class::Output, Some(sequence)) = (head.class, head.sequence) {
                    *head = lost(head.run, sequence, sequence + 1, u64::from(*length));
                }
            }
            (bytes, lengths) = encode_all(&heads)?;
        }
        batch.bytes.append(&mut bytes);
        batch.facts.extend(facts);
        for (mut head, length) in heads.into_iter().zip(lengths) {
            head.body = None;
            batch.heads.push((head, length));
        }
        Ok(())
    }

    /// Makes the file shorter, dropping the oldest output, then what is remembered of finished runs; answers whether `needed`
    /// bytes fit now.
    fn make_room(&mut self, needed: u64) -> Result<bool> {
        // A quarter is cleared at once, so that the rewrite is paid for by many appends.
        let target = (self.limits.file_bytes / 4 * 3).saturating_sub(needed);
        let dropped = self.index.drop_output(target);
        let mut forgotten = 0;
        while self.index.live > target && self.index.forget_oldest() {
            forgotten += 1;
        }
        // Rewriting a file that holds next to no garbage would only cost.
        if dropped + forgotten > 0 || self.length > self.index.live + self.limits.file_bytes / 8 {
            tracing::warn!(dropped, forgotten, "the journal is full");
            self.rewrite()?;
        }
        Ok(self.length + needed <= self.limits.file_bytes)
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        if let Err(error) = self.file.write(self.length, &batch.bytes) {
            // Some of it may be there: take it back. Only what is known to be gone may be written again.
            if self.file.cut(self.length).and_then(|()| self.file.sync_all()).is_err() {
                self.broken = true;
                return Err(broken(Some(error)));
            }
            return Err(write_error(error));
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync the kernel may have dropped the pages: a later sync would prove nothing.
            self.broken = true;
            return Err(broken(Some(error)));
        }
        for (head, length) in &batch.heads {
            let location = Location {
                offset: self.length,
                length: *length,
            };
            self.index.apply(head, location);
            self.length += u64::from(*length);
        }
        Ok(())
    }

    fn has_much_garbage(&self) -> bool {
        let bound = self.limits.garbage_bytes;
        let garbage = self.length.saturating_sub(self.index.live);
        garbage >= bound && garbage >= self.index.live && self.length >= self.rewritten_length + bound
    }

    /// Writes what still counts into a new file, which then takes the place of the old one.
    fn rewrite(&mut self) -> Result<()> {
        let file = self.disk.open(NEW_NAME).map_err(write_error)?;
        file.cut(0).map_err(write_error)?;
        let written = copy_live(&self.index, &*self.file, &*file);
        let (length, index) = match written.and_then(|written| file.sync_all().map_err(write_error).map(|()| written)) {
            Ok(written) => written,
            Err(error) => {
                // The old file is whole and stays in use.
                let _ = self.disk.remove(NEW_NAME);
                return Err(error);
            }
        };
        self.disk.rename(NEW_NAME, NAME).map_err(write_error)?;
        self.file = file;
        self.length = length;
        self.rewritten_length = length;
        self.index = index;
        if let Err(error) = self.disk.sync() {
            // After a power cut the old file could be back, without what is appended from now on.
            self.broken = true;
            return Err(broken(Some(error)));
        }
        Ok(())
    }

    /// The body of a record; nothing when it is damaged.
    fn read_body(&self, location: Location) -> Result<Option<Value>> {
        let mut frame = Vec::new();
        let head = read_record(&*self.file, location.offset, &mut frame).map_err(unreadable)?;
        Ok(head.and_then(|_| body_of(frame.get(FRAME_HEADER..)?)))
    }

    fn describe(&self, recovered: &mut Recovered) -> Result<()> {
        recovered.finished = self.index.finished();
        for (id, run) in self.index.in_order() {
            if run.is_finished() {
                continue;
            }
            let receipt = run.receipt;
            let offer = match receipt {
                Some(receipt) => self.read_body(receipt.location)?,
                None => None,
            };
            let result = match run.ending {
                Some(ending) => Some((
                    self.read_body(ending.location)?.unwrap_or(Value::Null),
                    ending.acknowledged_at.is_some(),
                )),
                None => None,
            };
            recovered.runs.push(RecoveredRun {
                run: id,
                offer,
                received_at: receipt.map(|receipt| receipt.at),
                expires_at: receipt.and_then(|receipt| receipt.expires_at),
                idempotent: receipt.is_some_and(|receipt| receipt.idempotent),
                starts: run.starts,
                started_at: run.started_at,
                doubtful: run.doubtful,
                pending_output: run.pending.len(),
                next_sequence: run.next,
                result,
            });
        }
        Ok(())
    }
}

/// What one sync will cover.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    heads: Vec<(Head, u32)>,
    facts: HashMap<Uuid, Facts>,
}

fn encode_all(heads: &[Head]) -> Result<(Vec<u8>, Vec<u32>)> {
    let mut bytes = Vec::new();
    let mut lengths = Vec::with_capacity(heads.len());
    for head in heads {
        lengths.push(head.encode(&mut bytes)?);
    }
    Ok((bytes, lengths))
}

pub(super) fn load(file: &dyn DiskFile, recovered: &mut Recovered) -> Result<(Index, End)> {
    let mut index = Index::default();
    let mut newer = None;
    let end = scan(file, |found| match found {
        Found::Record(head, location) => {
            match head.class {
                Class::Header => newer = head.v.filter(|version| *version > FORMAT).or(newer),
                Class::Unknown => recovered.unknown += 1,
                _ => {}
            }
            index.apply(&head, location);
        }
        Found::Damage(damage) => {
            index.damaged();
            recovered.damage.push(damage);
        }
    })
    .map_err(unreadable)?;
    match newer {
        Some(version) => Err(JOURNAL_NEWER.error(format!(
            "the journal has format {version}; this agent reads up to {FORMAT}: install the newer agent again"
        ))),
        None => Ok((index, end)),
    }
}

fn acknowledged_at(record: &Record) -> Option<Timestamp> {
    match record {
        Record::ResultAcknowledged { at, .. } => Some(*at),
        _ => None,
    }
}

/// Keeps the damaged file for people to look at; one copy, the newest.
fn keep_damaged(disk: &dyn Disk) -> io::Result<()> {
    remove_if_there(disk, DAMAGED_NAME)?;
    disk.link(NAME, DAMAGED_NAME)
}

fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn unreadable(error: io::Error) -> Error {
    JOURNAL_UNREADABLE
        .error(format!("the agent's journal cannot be read: {error}"))
        .caused_by(error)
}

pub(super) fn write_error(error: io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JOURNAL_DISK_FULL,
        _ => JOURNAL_BROKEN,
    };
    code.error(format!("the agent's journal cannot be written: {error}"))
        .caused_by(error)
}

fn broken(cause: Option<io::Error>) -> Error {
    let error = JOURNAL_BROKEN.error("a write to the agent's journal failed; it must be opened again");
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}
