//! What remains of a repair, which a backend does by itself while no server has the store.

use std::collections::BTreeMap;

use super::REPAIR;
use crate::{
    access::{AuditEntry, Context, Outcome},
    kernel::{Clock, Randomness, Result, random_uuid},
    store::{Batch, LaneRow},
};

/// The audit entry of a repair, as a batch that the repair itself commits: how much is lost, and where the damaged lines are.
pub fn repair_entry(lost: u64, aside: Option<&str>, clock: &dyn Clock, random: &dyn Randomness) -> Result<Batch> {
    let context = Context::system("repair");
    let at = clock.now();
    let id = random_uuid(at, random);
    let lost = Some(("lost".to_owned(), lost.to_string().into()));
    let aside = aside.map(|aside| ("aside".to_owned(), aside.into()));
    let entry = AuditEntry {
        id,
        at,
        actor: context.actor().clone(),
        origin: context.origin().clone(),
        action: REPAIR.name().to_owned(),
        outcome: Outcome::Done,
        subject: None,
        changed: Vec::new(),
        details: lost.into_iter().chain(aside).collect::<BTreeMap<_, _>>(),
    };
    Ok(Batch {
        id,
        writes: Vec::new(),
        rows: vec![(AuditEntry::LANE, entry.row(id, at, 0)?)],
    })
}
