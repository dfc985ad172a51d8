//! Comparing two stores, record by record.

use std::sync::Arc;

use super::{Difference, Found, Join, Kind, Meter, MigrationError, Reached, Tally, Verification, join::alike};
use crate::store::{Backend, Record, RecordKey};

/// As long as both sides are alike, the source's tally counts for both.
#[derive(Default)]
struct Tallies {
    source: Tally,
    /// Since the first difference.
    target: Option<Tally>,
}

impl Tallies {
    fn both(&mut self, key: &RecordKey, record: &Record) {
        self.source.add(key, record);
        if let Some(target) = &mut self.target {
            target.add(key, record);
        }
    }

    fn apart(&mut self) -> (&mut Tally, &mut Tally) {
        let target = self.target.get_or_insert_with(|| self.source.clone());
        (&mut self.source, target)
    }

    fn end(self) -> (Tally, Tally) {
        let target = self.target.unwrap_or_else(|| self.source.clone());
        (self.source, target)
    }
}

/// Reads both stores to their ends and compares every record. Both must stand still.
pub(super) async fn verify(
    source: &Arc<dyn Backend>,
    target: &Arc<dyn Backend>,
    page: usize,
    meter: &mut Meter,
) -> Result<Verification, MigrationError> {
    let mut join = Join::new(source, Some(target), None, page);
    let mut tallies = Tallies::default();
    let (mut first, mut differing) = (None, 0);
    while let Some((key, found)) = join.next().await? {
        let kind = match &found {
            Found::Both(ours, theirs) if alike(ours, theirs) => {
                meter.count(key.name(), ours);
                tallies.both(&key, ours);
                continue;
            }
            Found::Both(ours, theirs) => {
                let (source, target) = tallies.apart();
                source.add(&key, ours);
                target.add(&key, theirs);
                Kind::Unlike
            }
            Found::Missing(ours) => {
                tallies.apart().0.add(&key, ours);
                Kind::Missing
            }
            Found::Surplus(theirs) => {
                tallies.apart().1.add(&key, theirs);
                Kind::Surplus
            }
        };
        differing += 1;
        first.get_or_insert((key, kind));
    }
    meter.tell();
    let (source_seq, target_seq) = (join.source_seq(), join.target_seq());
    let (source, target) = tallies.end();
    let difference = (differing > 0 || source_seq != target_seq).then(|| Difference {
        key: first.map(|(key, _)| key),
        kind: first.map_or(Kind::Unlike, |(_, kind)| kind),
        records: differing,
        source_seq,
        target_seq,
    });
    Ok(Verification {
        source: source.end(source_seq),
        target: target.end(target_seq),
        difference,
    })
}

/// Counts what a store holds.
pub(super) async fn count(
    store: &Arc<dyn Backend>,
    page: usize,
    meter: &mut Meter,
) -> Result<super::Contents, MigrationError> {
    let mut join = Join::new(store, None, None, page);
    let mut tally = Tally::default();
    while let Some((key, found)) = join.next().await? {
        if let Found::Missing(record) = &found {
            meter.count(key.name(), record);
            tally.add(&key, record);
        }
    }
    meter.tell();
    Ok(tally.end(join.source_seq()))
}

/// Compares both behind a key, over at most so many records, while the source is written to: the keys that differ, and how.
pub(super) async fn differences(
    source: &Arc<dyn Backend>,
    target: &Arc<dyn Backend>,
    after: Option<RecordKey>,
    most: u64,
    page: usize,
    meter: &mut Meter,
) -> Result<(Reached, Vec<(RecordKey, Kind)>), MigrationError> {
    let mut join = Join::new(source, Some(target), after, page);
    let mut reached = Reached {
        key: after,
        ended: false,
    };
    let mut differing = Vec::new();
    for _ in 0..most {
        let Some((key, found)) = join.next().await? else {
            reached.ended = true;
            break;
        };
        reached.key = Some(key);
        if let Found::Both(record, _) | Found::Missing(record) = &found {
            meter.count(key.name(), record);
        }
        match found {
            Found::Both(ours, theirs) if alike(&ours, &theirs) => {}
            Found::Both(..) => differing.push((key, Kind::Unlike)),
            Found::Missing(_) => differing.push((key, Kind::Missing)),
            Found::Surplus(_) => differing.push((key, Kind::Surplus)),
        }
    }
    Ok((reached, differing))
}
