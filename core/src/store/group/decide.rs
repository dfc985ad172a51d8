//! The decision.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use bytes::Bytes;
use uuid::Uuid;

use super::super::{
    Batch, Change, Committed, Error, IndexedValues, Ingest, Key, Latest, Link, Name, Result, Rev, Row, Schema, Seq,
    StoredRow, Touched, Write,
};
use super::{Effects, Facts, Place, PutDoc, Remembered, UniqueValue, Work};

/// The answer to one piece of work.
#[derive(Debug)]
pub enum Answer {
    /// To a batch.
    Batch(Result<Committed>),
    /// To an ingest.
    Ingest(Result<()>),
}

/// What comes of a group.
#[derive(Debug)]
pub struct Outcome {
    /// One answer for each piece of work, in their order. They hold once the effects are stored.
    pub answers: Vec<Answer>,
    /// What is to be stored.
    pub effects: Effects,
}

/// Decides a group. The work was checked against the schema, and `facts` answer all that
/// [`Needs::of`](super::Needs::of) asks for this group.
pub fn decide(schema: &Schema, facts: Facts, group: Vec<Work>) -> Outcome {
    let mut state = State::new(schema, facts);
    let answers = group
        .into_iter()
        .map(|work| match work {
            Work::Batch(batch) => Answer::Batch(state.batch(batch)),
            Work::Ingest(ingest) => Answer::Ingest(state.ingest(ingest)),
        })
        .collect();
    Outcome {
        answers,
        effects: state.effects(),
    }
}

/// A document during the group.
struct Document {
    /// Whether it was there before the group.
    before: bool,
    /// How it stands now, where it is there.
    now: Option<Current>,
}

/// A revision, and what is to be stored where the group wrote it.
type Current = (Rev, Option<(Seq, Bytes, IndexedValues)>);

/// The store as the group sees it: the facts, and what was accepted so far.
struct State<'s> {
    schema: &'s Schema,
    seq: Seq,
    documents: HashMap<Key, Document>,
    /// Documents that the group wrote, in order of their first write.
    written: Vec<Key>,
    holders: HashMap<UniqueValue, Uuid>,
    /// The unique values of `holders`, by who holds them.
    held: HashMap<Key, HashSet<UniqueValue>>,
    remembered: HashMap<Uuid, Remembered>,
    /// Bodies of the rows that were there before.
    rows: HashMap<Place, Bytes>,
    /// Where the group's new rows stand among `appended`.
    places: HashMap<Place, usize>,
    appended: Vec<(Name, StoredRow)>,
    heads: HashMap<Name, Link>,
    grown: Vec<Name>,
    /// Latest values that were there before.
    present: HashSet<Key>,
    latest: Vec<(Key, Option<Bytes>)>,
    latest_places: HashMap<Key, usize>,
    feed: Vec<Change>,
    batches: Vec<(Uuid, Remembered)>,
}

impl<'s> State<'s> {
    fn new(schema: &'s Schema, facts: Facts) -> Self {
        let mut held: HashMap<Key, HashSet<UniqueValue>> = HashMap::new();
        for (value, holder) in &facts.holders {
            let key = Key::new(value.kind, *holder);
            held.entry(key).or_default().insert(value.clone());
        }
        let known = |(key, rev)| {
            let document = Document {
                before: true,
                now: Some((rev, None)),
            };
            (key, document)
        };
        Self {
            schema,
            seq: facts.seq,
            documents: facts.documents.into_iter().map(known).collect(),
            written: Vec::new(),
            holders: facts.holders,
            held,
            remembered: facts.batches,
            rows: facts.rows,
            places: HashMap::new(),
            appended: Vec::new(),
            heads: facts.heads,
            grown: Vec::new(),
            present: facts.latest,
            latest: Vec::new(),
            latest_places: HashMap::new(),
            feed: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// First everything that may fail, then everything that changes: a batch that fails leaves no trace.
    fn batch(&mut self, batch: Batch) -> Result<Committed> {
        let fingerprint = batch.fingerprint();
        if let Some(known) = self.remembered.get(&batch.id) {
            return if known.fingerprint == fingerprint {
                Ok(known.committed.clone())
            } else {
                Err(Error::BatchReused(batch.id))
            };
        }
        self.check_expectations(&batch.writes)?;
        self.check_unique(&batch.writes)?;
        let fresh = self.check_rows(&batch.rows)?;
        let id = batch.id;
        let committed = self.apply(batch, &fresh);
        let remembered = Remembered {
            fingerprint,
            committed: committed.clone(),
        };
        self.remembered.insert(id, remembered.clone());
        self.batches.push((id, remembered));
        Ok(committed)
    }

    fn ingest(&mut self, ingest: Ingest) -> Result<()> {
        let fresh = self.check_rows(&ingest.rows)?;
        for Latest { key, body } in ingest.latest {
            self.set_latest(key, Some(body));
        }
        let mut fresh = fresh.into_iter();
        for (lane, row) in ingest.rows {
            if fresh.next() == Some(true) {
                self.append(lane, row);
            }
        }
        Ok(())
    }

    fn rev(&self, key: &Key) -> Option<Rev> {
        self.documents
            .get(key)
            .and_then(|document| document.now.as_ref())
            .map(|(rev, _)| *rev)
    }

    fn check_expectations(&self, writes: &[Write]) -> Result<()> {
        for write in writes {
            let (key, expect) = match write {
                Write::Put { key, expect, .. } | Write::Delete { key, expect } | Write::Check { key, expect } => {
                    (*key, *expect)
                }
                Write::DropLatest { .. } => continue,
            };
            let found = self.rev(&key);
            if !expect.holds(found) {
                return Err(Error::Conflict { key, expect, found });
            }
        }
        Ok(())
    }

    /// Judges by what would be there after the batch: a value may be freed and taken, or swapped, in one batch.
    fn check_unique(&self, writes: &[Write]) -> Result<()> {
        let rewritten: HashSet<Key> = writes
            .iter()
            .filter(|write| matches!(write, Write::Put { .. } | Write::Delete { .. }))
            .map(Write::key)
            .collect();
        let mut wanted: HashMap<UniqueValue, Uuid> = HashMap::new();
        for write in writes {
            let Write::Put { key, index, .. } = write else { continue };
            for value in self.unique_values(*key, index) {
                let taken = |holder| Error::Taken {
                    column: value.column,
                    holder: Key::new(key.kind, holder),
                };
                if let Some(holder) = self.holders.get(&value)
                    && *holder != key.id
                    && !rewritten.contains(&Key::new(key.kind, *holder))
                {
                    return Err(taken(*holder));
                }
                match wanted.entry(value.clone()) {
                    Entry::Occupied(first) => return Err(taken(*first.get())),
                    Entry::Vacant(free) => drop(free.insert(key.id)),
                }
            }
        }
        Ok(())
    }

    fn unique_values(&self, key: Key, index: &IndexedValues) -> Vec<UniqueValue> {
        let wanted = UniqueValue::wanted(self.schema, [(key, index)]).unwrap_or_default();
        wanted.into_iter().map(|(value, _)| value).collect()
    }

    /// Which rows are new; fails when another row stands at the place of one.
    fn check_rows(&self, rows: &[(Name, Row)]) -> Result<Vec<bool>> {
        let mut within: HashMap<Place, &Bytes> = HashMap::new();
        let mut fresh = Vec::with_capacity(rows.len());
        for (lane, row) in rows {
            let place = Place::of(lane, row);
            let there = match (self.rows.get(&place), self.places.get(&place)) {
                (Some(body), _) => Some(body),
                (None, Some(position)) => Some(&self.appended[*position].1.row.body),
                (None, None) => within.get(&place).copied(),
            };
            match there {
                Some(body) if *body == row.body => fresh.push(false),
                Some(_) => {
                    return Err(Error::RowConflict {
                        lane,
                        stream: row.stream,
                        at: row.at,
                        n: row.n,
                    });
                }
                None => {
                    // A single row cannot repeat within its own call: the common case of the hot path.
                    if rows.len() > 1 {
                        within.insert(place, &row.body);
                    }
                    fresh.push(true);
                }
            }
        }
        Ok(fresh)
    }

    fn apply(&mut self, batch: Batch, fresh: &[bool]) -> Committed {
        let changes = fresh.contains(&true)
            || batch.writes.iter().any(|write| match write {
                Write::Put { .. } => true,
                Write::Delete { key, .. } => self.rev(key).is_some(),
                Write::Check { .. } => false,
                Write::DropLatest { key } => self.has_latest(key),
            });
        if changes {
            self.seq += 1;
        }
        // All that the batch frees is free before the first value is taken.
        for write in &batch.writes {
            if let Write::Put { key, .. } | Write::Delete { key, .. } = write {
                for value in self.held.remove(key).unwrap_or_default() {
                    self.holders.remove(&value);
                }
            }
        }
        let revs = batch.writes.into_iter().map(|write| self.write(write)).collect();
        let mut streams = HashSet::new();
        for ((lane, row), fresh) in batch.rows.into_iter().zip(fresh) {
            if *fresh {
                if streams.insert((lane, row.stream)) {
                    let stream = row.stream;
                    self.touch(Touched::Stream { lane, stream });
                }
                self.append(lane, row);
            }
        }
        Committed { seq: self.seq, revs }
    }

    fn write(&mut self, write: Write) -> Option<Rev> {
        match write {
            Write::Put { key, body, index, .. } => {
                for value in self.unique_values(key, &index) {
                    self.holders.insert(value.clone(), key.id);
                    self.held.entry(key).or_default().insert(value);
                }
                let rev = self.rev(&key).unwrap_or(0) + 1;
                let stored = (self.seq, body, index);
                self.set_document(key, Some((rev, Some(stored))));
                self.touch(Touched::Document {
                    key,
                    rev,
                    deleted: false,
                });
                Some(rev)
            }
            Write::Delete { key, .. } => {
                if let Some(rev) = self.rev(&key) {
                    self.set_document(key, None);
                    self.touch(Touched::Document {
                        key,
                        rev,
                        deleted: true,
                    });
                }
                None
            }
            Write::Check { key, .. } => self.rev(&key),
            Write::DropLatest { key } => {
                if self.has_latest(&key) {
                    self.set_latest(key, None);
                }
                None
            }
        }
    }

    fn touch(&mut self, touched: Touched) {
        self.feed.push(Change { seq: self.seq, touched });
    }

    fn set_document(&mut self, key: Key, now: Option<Current>) {
        let document = self.documents.entry(key).or_insert(Document {
            before: false,
            now: None,
        });
        document.now = now;
        self.written.push(key);
    }

    fn append(&mut self, lane: Name, row: Row) {
        let chained = self.schema.lane(lane).is_ok_and(|lane| lane.chained);
        let link = chained.then(|| {
            let link = Link::after(self.heads.get(lane).copied(), &row);
            self.heads.insert(lane, link);
            if !self.grown.contains(&lane) {
                self.grown.push(lane);
            }
            link
        });
        self.places.insert(Place::of(lane, &row), self.appended.len());
        self.appended.push((lane, StoredRow { row, link }));
    }

    fn has_latest(&self, key: &Key) -> bool {
        match self.latest_places.get(key) {
            Some(position) => self.latest[*position].1.is_some(),
            None => self.present.contains(key),
        }
    }

    fn set_latest(&mut self, key: Key, body: Option<Bytes>) {
        match self.latest_places.entry(key) {
            Entry::Occupied(position) => self.latest[*position.get()].1 = body,
            Entry::Vacant(free) => {
                free.insert(self.latest.len());
                self.latest.push((key, body));
            }
        }
    }

    fn effects(mut self) -> Effects {
        let mut effects = Effects {
            seq: self.seq,
            rows: self.appended,
            feed: self.feed,
            batches: self.batches,
            ..Effects::default()
        };
        for key in self.written {
            // The first mention takes the document; later ones find nothing.
            match self.documents.remove(&key) {
                Some(Document {
                    now: Some((rev, Some((seq, body, index)))),
                    ..
                }) => effects.puts.push(PutDoc {
                    key,
                    rev,
                    seq,
                    body,
                    index,
                }),
                Some(Document {
                    before: true,
                    now: None,
                }) => effects.deletes.push(key),
                _ => {}
            }
        }
        for (key, body) in self.latest {
            match body {
                Some(body) => effects.latest.push(Latest { key, body }),
                None if self.present.contains(&key) => effects.drops.push(key),
                None => {}
            }
        }
        for lane in self.grown {
            if let Some(link) = self.heads.get(lane) {
                effects.heads.push((lane, *link));
            }
        }
        effects
    }
}
