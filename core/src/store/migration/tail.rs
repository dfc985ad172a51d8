//! What was written while a move is under way, and carrying it.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use super::{Class, Copied, Difference, Kind, Meter, MigrationError, Side, Sizes, join::alike, patcher::store};
use crate::store::{Backend, Error, Key, Latest, Patch, Record, RecordKey, Result, Seq, group::Place, limits};

/// Keys that are read at once.
const KEYS: usize = 2_000;

/// What is known of sizes before a page counts for that much less behind it: pages grow by so much at a time.
const FADING: usize = 4;

/// Pages of notes that are taken at a time; a store that is written to without end has more.
const PAGES: usize = 100;

/// The keys that were written since they were last carried.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The last note that was taken.
    noted: u64,
    dirty: BTreeSet<RecordKey>,
}

/// How [`Tail::carry`] carries.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// Whether what was written is read back and compared.
    pub(super) read_back: bool,
    /// When to leave off.
    pub(super) until: Option<Instant>,
}

impl Tail {
    pub(super) fn len(&self) -> u64 {
        self.dirty.len() as u64
    }

    pub(super) fn holds(&self, key: &RecordKey) -> bool {
        self.dirty.contains(key)
    }

    pub(super) fn add(&mut self, keys: impl IntoIterator<Item = RecordKey>) {
        self.dirty.extend(keys);
    }

    /// Takes the source's notes; `keep` says which keys matter.
    pub(super) async fn absorb(
        &mut self,
        source: &Arc<dyn Backend>,
        keep: impl Fn(&RecordKey) -> bool,
    ) -> Result<(), MigrationError> {
        for _ in 0..PAGES {
            let page = source.tracked(self.noted).await.map_err(|error| match error {
                Error::Compacted(_) => MigrationError::NotesLost("too many piled up".to_owned()),
                Error::Refused(why) => MigrationError::NotesLost(why),
                error => MigrationError::of(Side::Source)(error),
            })?;
            if page.upto < self.noted {
                return Err(MigrationError::NotesLost("somebody began them anew".to_owned()));
            }
            self.noted = page.upto;
            if page.keys.is_empty() {
                break;
            }
            self.dirty.extend(page.keys.into_iter().filter(&keep));
        }
        Ok(())
    }

    /// Writes to the target what the source holds under the keys that were written, or that it holds nothing. False when time ran
    /// out before all were; what is left stays to be carried.
    pub(super) async fn carry(
        &mut self,
        source: &Arc<dyn Backend>,
        target: &Arc<dyn Backend>,
        sizes: &mut Sizes,
        copied: &mut Copied,
        meter: &mut Meter,
        how: How,
    ) -> Result<bool, MigrationError> {
        let of_source = MigrationError::of(Side::Source);
        let of_target = MigrationError::of(Side::Target);
        while !self.dirty.is_empty() {
            if how.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            let keys = self.chunk(sizes);
            let (seq, ours) = read(source, &keys).await.map_err(&of_source)?;
            let mut patch = Patch {
                seq,
                ..Patch::default()
            };
            faded(sizes, &keys);
            for (key, record) in keys.iter().zip(&ours) {
                match record {
                    None => patch.removed.push(*key),
                    Some(record) => {
                        let greatest = sizes.entry((Class::of(key), key.name())).or_default();
                        *greatest = record.size().max(*greatest);
                        copied.bytes += record.size() as u64;
                        meter.count(key.name(), record);
                        patch.records.push(record.clone());
                    }
                }
            }
            copied.replaced += patch.records.len() as u64;
            copied.removed += patch.removed.len() as u64;
            let displaced = store(Arc::clone(target), patch).await.map_err(&of_target)?;
            copied.displaced += displaced.len() as u64;
            if how.read_back {
                let (target_seq, theirs) = read(target, &keys).await.map_err(&of_target)?;
                for ((key, ours), theirs) in keys.iter().zip(&ours).zip(&theirs) {
                    if !displaced.contains(key) && !same(ours.as_ref(), theirs.as_ref()) {
                        return Err(different(*key, ours.as_ref(), theirs.as_ref(), (seq, target_seq)));
                    }
                }
            }
            keys.iter().for_each(|key| {
                self.dirty.remove(key);
            });
            self.dirty.extend(displaced);
        }
        meter.tell();
        Ok(true)
    }

    /// The first keys, as many as may be read at once, judged by the greatest bodies of their names that were seen of late. Bodies may
    /// have grown since, though not all of them by much in so short a time.
    fn chunk(&self, sizes: &Sizes) -> Vec<RecordKey> {
        let mut bytes = 0;
        let mut keys = Vec::new();
        for key in &self.dirty {
            let size = sizes.get(&(Class::of(key), key.name()));
            bytes += size.copied().unwrap_or(limits::BODY);
            if !keys.is_empty() && (keys.len() >= KEYS || bytes > Patch::BYTES) {
                break;
            }
            keys.push(*key);
        }
        keys
    }
}

/// Makes little of what was seen before a page: one large body of a name must not have all others read a few at a time for ever.
fn faded(sizes: &mut Sizes, page: &[RecordKey]) {
    let names: BTreeSet<_> = page.iter().map(|key| (Class::of(key), key.name())).collect();
    for name in names {
        if let Some(greatest) = sizes.get_mut(&name) {
            *greatest /= FADING;
        }
    }
}

/// What a store holds under these keys, in their order, and where commit order stood.
pub(super) async fn read(store: &Arc<dyn Backend>, keys: &[RecordKey]) -> Result<(Seq, Vec<Option<Record>>)> {
    let (mut docs, mut latests, mut places): (Vec<Key>, Vec<Key>, Vec<Place>) = Default::default();
    for key in keys {
        match key {
            RecordKey::Doc(key) => docs.push(*key),
            RecordKey::Latest(key) => latests.push(*key),
            RecordKey::Row(place) => places.push(*place),
        }
    }
    let mut view = store.view().await?;
    let mut found_docs = Vec::new().into_iter();
    let mut found_latests = Vec::new().into_iter();
    let mut found_rows = Vec::new().into_iter();
    if !docs.is_empty() {
        found_docs = view.get(&docs).await?.into_iter();
    }
    if !latests.is_empty() {
        found_latests = view.latest(&latests).await?.into_iter();
    }
    if !places.is_empty() {
        found_rows = view.rows_at(&places).await?.into_iter();
    }
    let records = keys.iter().map(|key| match key {
        RecordKey::Doc(_) => found_docs.next().flatten().map(Record::Doc),
        RecordKey::Latest(key) => found_latests
            .next()
            .flatten()
            .map(|body| Record::Latest(Latest { key: *key, body })),
        RecordKey::Row(place) => found_rows
            .next()
            .flatten()
            .map(|stored| Record::Row(place.lane, stored)),
    });
    Ok((view.seq(), records.collect()))
}

/// Whether both hold the same, or both nothing.
pub(super) fn same(ours: Option<&Record>, theirs: Option<&Record>) -> bool {
    match (ours, theirs) {
        (None, None) => true,
        (Some(ours), Some(theirs)) => alike(ours, theirs),
        _ => false,
    }
}

/// The error that names a record which differs.
pub(super) fn different(
    key: RecordKey,
    ours: Option<&Record>,
    theirs: Option<&Record>,
    (source_seq, target_seq): (Seq, Seq),
) -> MigrationError {
    let kind = match (ours, theirs) {
        (Some(_), None) => Kind::Missing,
        (None, Some(_)) => Kind::Surplus,
        _ => Kind::Unlike,
    };
    MigrationError::Different(Box::new(Difference {
        key: Some(key),
        kind,
        records: 1,
        source_seq,
        target_seq,
    }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_large_body_has_the_others_read_a_few_at_a_time_only_for_a_moment() {
        const SET: &str = "device_state";
        let key = |n: u32| RecordKey::Latest(Key::new(SET, Uuid::from_u128(u128::from(n))));
        let mut tail = Tail::default();
        tail.add((0..10_000).map(key));
        let name = (Class::of(&key(0)), SET);
        let mut sizes = Sizes::from([(name, limits::BODY)]);
        let mut pages = Vec::new();
        while tail.len() > 0 {
            let page = tail.chunk(&sizes);
            faded(&mut sizes, &page);
            // All that were written are small.
            let greatest = sizes.entry(name).or_default();
            *greatest = 100.max(*greatest);
            tail.dirty.retain(|key| !page.contains(key));
            pages.push(page.len());
        }
        assert_eq!(pages[..4], [1, 1, 4, 16]);
        assert_eq!(pages.iter().max(), Some(&KEYS));
        assert!(pages.len() < 13, "{pages:?}");
    }
}
