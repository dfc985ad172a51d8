//! What the journal knows of each run, and where in the file its records lie.

use std::collections::{BTreeSet, HashMap, VecDeque};

use fleet_core::kernel::{Result, Timestamp};
use uuid::Uuid;

use super::{
    JOURNAL_CONFLICT, Limits,
    frame::{Class, Head},
    scan::Location,
};

/// Output that the server has not got yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Chunk { sequence: u64, location: Location },
    Lost { from: u64, before: u64, bytes: u64 },
}

impl Item {
    fn before(self) -> u64 {
        match self {
            Self::Chunk { sequence, .. } => sequence.saturating_add(1),
            Self::Lost { before, .. } => before,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub idempotent: bool,
    pub location: Location,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub location: Location,
    pub acknowledged_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// Place in the order of arrival.
    pub order: u64,
    pub receipt: Option<Receipt>,
    pub starts: u32,
    pub started_at: Option<Timestamp>,
    /// A damaged place may have held the start.
    pub doubtful: bool,
    pub pending: VecDeque<Item>,
    /// Bytes of the pending pieces.
    output_bytes: u64,
    /// The server has everything before this sequence number.
    pub acknowledged: u64,
    /// The sequence number of the next output.
    pub next: u64,
    pub ending: Option<Ending>,
}

impl Run {
    /// Nothing is owed to the server any more.
    pub fn is_finished(&self) -> bool {
        self.finished_at().is_some()
    }

    /// Adds a loss at the end, joined with one that it touches.
    fn push_lost(&mut self, from: u64, before: u64, bytes: u64) {
        if before <= from {
            return;
        }
        if let Some(Item::Lost {
            before: end,
            bytes: sum,
            ..
        }) = self.pending.back_mut()
            && *end == from
        {
            *end = before;
            *sum = sum.saturating_add(bytes);
        } else {
            self.pending.push_back(Item::Lost { from, before, bytes });
        }
    }

    /// Output up to `sequence` should be here by now; what is not, is lost.
    fn expect(&mut self, sequence: u64) {
        self.push_lost(self.next, sequence, 0);
        self.next = self.next.max(sequence);
    }
}

/// All runs of a journal.
#[derive(Debug, Default)]
pub(super) struct Index {
    runs: HashMap<Uuid, Run>,
    finished: BTreeSet<(Timestamp, Uuid)>,
    arrivals: u64,
    /// Bytes of the records that a rewrite would keep (small control records are not counted).
    pub live: u64,
}

impl Index {
    pub fn get(&self, run: &Uuid) -> Option<&Run> {
        self.runs.get(run)
    }

    /// All runs in the order of their arrival.
    pub fn in_order(&self) -> Vec<(Uuid, &Run)> {
        let mut runs: Vec<_> = self.runs.iter().map(|(id, run)| (*id, run)).collect();
        runs.sort_unstable_by_key(|(_, run)| run.order);
        runs
    }

    pub fn finished(&self) -> usize {
        self.finished.len()
    }

    /// Takes in a proved record. Never fails: after damage any record may be missing, and what remains still counts.
    pub fn apply(&mut self, head: &Head, location: Location) {
        if matches!(head.class, Class::Header | Class::Unknown) {
            return;
        }
        let at = head.at.unwrap_or(Timestamp::EPOCH);
        let arrivals = &mut self.arrivals;
        let run = self.runs.entry(head.run).or_insert_with(|| {
            *arrivals += 1;
            Run {
                order: *arrivals,
                ..Run::default()
            }
        });
        let before_bytes = run.live();
        let was_finished = run.is_finished();
        match head.class {
            Class::Header | Class::Unknown => {}
            Class::Receipt => {
                run.receipt.get_or_insert(Receipt {
                    at,
                    expires_at: head.expires_at,
                    idempotent: head.idempotent.unwrap_or(false),
                    location,
                });
            }
            Class::Started => {
                run.starts = run.starts.saturating_add(head.starts.unwrap_or(1));
                run.started_at = Some(at);
                run.doubtful |= head.doubtful.unwrap_or(false);
            }
            Class::Output => {
                let sequence = head.sequence.unwrap_or(0);
                // Output proves a start, even when the record of the start is gone.
                run.starts = run.starts.max(1);
                if sequence >= run.next {
                    run.expect(sequence);
                    run.pending.push_back(Item::Chunk { sequence, location });
                    run.output_bytes += u64::from(location.length);
                    run.next = sequence.saturating_add(1);
                }
            }
            Class::Lost => {
                let (from, before) = (head.from.unwrap_or(0), head.before.unwrap_or(0));
                run.expect(from);
                run.push_lost(from.max(run.next), before, head.bytes.unwrap_or(0));
                run.next = run.next.max(before);
            }
            Class::Result => {
                run.expect(head.before.unwrap_or(0));
                run.ending.get_or_insert(Ending {
                    location,
                    acknowledged_at: None,
                });
            }
            Class::OutputAcknowledged => {
                let before = head.before.unwrap_or(0);
                run.acknowledged = run.acknowledged.max(before);
                run.next = run.next.max(before);
                while let Some(item) = run.pending.pop_front_if(|item| item.before() <= before) {
                    if let Item::Chunk { location, .. } = item {
                        run.output_bytes = run.output_bytes.saturating_sub(u64::from(location.length));
                    }
                }
                if let Some(Item::Lost { from, .. }) = run.pending.front_mut() {
                    *from = (*from).max(before);
                }
            }
            Class::ResultAcknowledged => {
                if let Some(ending) = &mut run.ending {
                    ending.acknowledged_at.get_or_insert(at);
                }
            }
        }
        if run.is_finished() {
            // A repeated offer is answered with the result; the offer itself is of no use any more.
            run.receipt = None;
        }
        self.live = (self.live + run.live()).saturating_sub(before_bytes);
        // Finishing is final: nothing makes a finished run owe something again but output that reappears after damage.
        match (was_finished, run.finished_at()) {
            (false, Some(at)) => {
                self.finished.insert((at, head.run));
            }
            (true, None) => self.finished.retain(|(_, id)| *id != head.run),
            _ => {}
        }
    }

    /// Bytes were lost at this place of the file. A run that had been received but not started may have been started in
    /// them; it must not be executed a second time, so it counts as started.
    pub fn damaged(&mut self) {
        for run in self.runs.values_mut() {
            if let Some(receipt) = run.receipt
                && run.starts == 0
                && run.ending.is_none()
            {
                run.starts = 1;
                run.started_at = Some(receipt.at);
                run.doubtful = true;
            }
        }
    }

    /// Forgets finished runs that are too many or too old.
    pub fn forget(&mut self, limits: &Limits, now: Timestamp) {
        while let Some((at, _)) = self.finished.first().copied()
            && (self.finished.len() > limits.finished_runs || at.plus(limits.finished_age) < now)
        {
            self.forget_oldest();
        }
    }

    /// Forgets the run that was finished longest ago; answers whether there was one.
    pub fn forget_oldest(&mut self) -> bool {
        let Some((_, id)) = self.finished.pop_first() else {
            return false;
        };
        if let Some(run) = self.runs.remove(&id) {
            self.live = self.live.saturating_sub(run.live());
        }
        true
    }

    /// Drops the oldest output until at most `live` bytes are in use; answers how many pieces went.
    pub fn drop_output(&mut self, live: u64) -> u64 {
        let mut oldest: Vec<(Location, Uuid)> = Vec::new();
        for (id, run) in &self.runs {
            oldest.extend(run.pending.iter().filter_map(|item| match item {
                Item::Chunk { location, .. } => Some((*location, *id)),
                Item::Lost { .. } => None,
            }));
        }
        oldest.sort_unstable();
        let mut dropped = 0;
        for (location, id) in oldest {
            if self.live <= live {
                break;
            }
            let Some(run) = self.runs.get_mut(&id) else { continue };
            run.lose(location);
            self.live = self.live.saturating_sub(u64::from(location.length));
            dropped += 1;
        }
        dropped
    }

    /// Marks a piece of output as lost, because it can no longer be read.
    pub fn lose(&mut self, id: &Uuid, location: Location) {
        if let Some(run) = self.runs.get_mut(id) {
            run.lose(location);
            self.live = self.live.saturating_sub(u64::from(location.length));
        }
    }
}

impl Run {
    /// Bytes of the run's records that a rewrite would keep.
    fn live(&self) -> u64 {
        self.output_bytes
            + self.receipt.map_or(0, |receipt| u64::from(receipt.location.length))
            + self.ending.map_or(0, |ending| u64::from(ending.location.length))
    }

    fn finished_at(&self) -> Option<Timestamp> {
        if !self.pending.is_empty() {
            return None;
        }
        self.ending?.acknowledged_at
    }

    /// Replaces the piece at `location` by a loss, joined with its neighbours.
    fn lose(&mut self, location: Location) {
        let place = self
            .pending
            .iter()
            .position(|item| matches!(item, Item::Chunk { location: at, .. } if *at == location));
        let Some(place) = place else { return };
        let Some(Item::Chunk { sequence, .. }) = self.pending.get(place).copied() else {
            return;
        };
        self.output_bytes = self.output_bytes.saturating_sub(u64::from(location.length));
        let (mut from, mut before, mut bytes) = (sequence, sequence.saturating_add(1), u64::from(location.length));
        let mut start = place;
        let mut end = place + 1;
        if let Some(Item::Lost {
            from: first,
            before: last,
            bytes: sum,
        }) = place.checked_sub(1).and_then(|at| self.pending.get(at)).copied()
            && last == from
        {
            from = first;
            bytes += sum;
            start -= 1;
        }
        if let Some(Item::Lost {
            from: first,
            before: last,
            bytes: sum,
        }) = self.pending.get(end).copied()
            && first == before
        {
            before = last;
            bytes += sum;
            end += 1;
        }
        self.pending.drain(start..end);
        self.pending.insert(start, Item::Lost { from, before, bytes });
    }
}

/// What must hold before a record may be appended; kept apart from the index, so that a refused group changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    known: bool,
    received: bool,
    started: bool,
    ended: bool,
    result_acknowledged: bool,
    acknowledged: u64,
    next: u64,
}

impl Facts {
    pub fn of(run: Option<&Run>) -> Self {
        run.map_or_else(Self::default, |run| Self {
            known: true,
            received: run.receipt.is_some(),
            started: run.starts > 0,
            ended: run.ending.is_some(),
            result_acknowledged: run.ending.is_some_and(|ending| ending.acknowledged_at.is_some()),
            acknowledged: run.acknowledged,
            next: run.next,
        })
    }

    /// Checks a record against the facts and adds what it says; sets on a result where the output ends. Answers whether
    /// there is anything to write: an acknowledgement that comes again says nothing new.
    pub fn check(&mut self, head: &mut Head) -> Result<bool> {
        let refuse = |why: &str| Err(JOURNAL_CONFLICT.error(format!("run {}: {why}", head.run)));
        match head.class {
            Class::Receipt if self.known => return refuse("it was received before"),
            Class::Receipt => (self.known, self.received) = (true, true),
            // It was finished and forgotten since.
            Class::OutputAcknowledged | Class::ResultAcknowledged if !self.known => return Ok(false),
            _ if !self.known => return refuse("it was never received"),
            Class::Started if self.ended => return refuse("it has ended"),
            Class::Started if !self.received => return refuse("its offer is gone"),
            Class::Started => self.started = true,
            Class::Output if self.ended => return refuse("it has ended"),
            Class::Output if !self.started => return refuse("it has not been started"),
            Class::Output if head.sequence != Some(self.next) => {
                return refuse(&format!("its next output must be number {}", self.next));
            }
            Class::Output => self.next += 1,
            Class::Result if self.ended => return refuse("it has a result"),
            Class::Result => {
                self.ended = true;
                head.before = Some(self.next);
            }
            Class::OutputAcknowledged => {
                let before = head.before.unwrap_or(0);
                if before > self.next {
                    return refuse("output that was never made cannot be acknowledged");
                }
                let is_news = before > self.acknowledged;
                self.acknowledged = self.acknowledged.max(before);
                return Ok(is_news);
            }
            Class::ResultAcknowledged if !self.ended => return refuse("it has no result to acknowledge"),
            Class::ResultAcknowledged => return Ok(!std::mem::replace(&mut self.result_acknowledged, true)),
            Class::Header | Class::Lost | Class::Unknown => {}
        }
        Ok(true)
    }
}
