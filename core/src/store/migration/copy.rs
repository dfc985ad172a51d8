//! Making the target hold what the source holds: the one primitive of every move.

use std::{collections::HashMap, sync::Arc};

use super::{Class, Found, Join, Meter, MigrationError, Patcher, Step, join::alike};
use crate::store::{Backend, Name, Record, RecordKey};

/// The greatest body under each name, so that reading by key can be bounded by bytes.
pub(super) type Sizes = HashMap<(Class, Name), usize>;

/// How far a walk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// The last key that was dealt with.
    pub(super) key: Option<RecordKey>,
    /// Whether that was all.
    pub(super) ended: bool,
}

/// Walks both stores behind a key, over at most so many records, and writes to the target what differs. When it returns, all of
/// it is stored and nothing is read ahead. On an empty target this is the copy, again it is the resumption, and on an old store
/// it carries what was written since. Without a target to read, it is known to hold nothing behind the key.
pub(super) async fn reconcile(
    source: &Arc<dyn Backend>,
    target: Option<&Arc<dyn Backend>>,
    after: Option<RecordKey>,
    most: u64,
    patcher: &mut Patcher,
    sizes: &mut Sizes,
    meter: &mut Meter,
) -> Result<Reached, MigrationError> {
    let mut join = Join::new(source, target, after, patcher.page());
    let mut reached = Reached {
        key: after,
        ended: false,
    };
    let mut seen = 0;
    while seen < most {
        match join.step() {
            Step::Wait => patcher.while_storing(&mut join).await?,
            Step::End => {
                reached.ended = true;
                break;
            }
            Step::Found(key, found) => {
                reached.key = Some(key);
                seen += 1;
                if let Found::Both(record, _) | Found::Missing(record) = &found {
                    meter.count(key.name(), record);
                    let greatest = sizes.entry((Class::of(&key), key.name())).or_default();
                    *greatest = record.size().max(*greatest);
                }
                let difference = match found {
                    Found::Both(ours, theirs) if alike(&ours, &theirs) => {
                        patcher.copied.equal += 1;
                        continue;
                    }
                    Found::Both(ours, _) => {
                        patcher.copied.replaced += 1;
                        Some(ours)
                    }
                    Found::Missing(ours) => {
                        patcher.copied.added += 1;
                        Some(ours)
                    }
                    Found::Surplus(_) => None,
                };
                if patcher.is_full(difference.as_ref().map_or(0, Record::size)) {
                    patcher.send(join.source_seq(), &mut join).await?;
                }
                match difference {
                    Some(record) => patcher.put(record),
                    None => patcher.remove(key),
                }
            }
        }
    }
    patcher.finish(join.source_seq()).await?;
    meter.tell();
    Ok(reached)
}
