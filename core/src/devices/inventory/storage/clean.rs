//! Removing sets that no device has and members that no set holds.
//!
//! Nothing is removed when it is first found idle. It is *doubted* first, which alters the document, and removed an hour
//! later if it is still idle and unaltered. Whoever takes a report in renews the doubt of what it relies on, and is done
//! within minutes; so the two never meet. A new member is doubted from its birth: a report that comes to nothing leaves
//! none behind.

use std::{collections::BTreeSet, time::Duration};

use uuid::Uuid;

use super::{InventoryService, PackageMemberId, PackageSetId, StoredMember, StoredSet, fleet_packages::devices_by_set};
use crate::{
    access::{Context, Scope},
    devices::{DeviceEvent, PACKAGES_CLEANED},
    kernel::{EntityId as _, PageRequest, Result},
    store::{Direction, Evidence, Filter, Query, Tx, Value},
};

/// The time between two cleanings, and the least time between doubt and removal.
pub const CLEAN_EVERY: Duration = Duration::from_secs(3_600);
/// The most sets that one cleaning doubts or removes.
const MAX_SETS: usize = 100;
/// The most members that one cleaning looks at.
const MAX_MEMBERS: usize = 5_000;
/// Members of one commit.
const BATCH: usize = 500;

/// What a cleaning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Sets that are doubted from now on.
    pub sets_doubted: u64,
    /// Sets that were removed.
    pub sets_removed: u64,
    /// Members that were removed.
    pub members_removed: u64,
}

impl InventoryService<'_> {
    /// Removes what no device has any more; bounded, and safe to repeat.
    pub async fn clean(&self) -> Result<Cleaned> {
        let mut cleaned = Cleaned::default();
        let mut reader = self.store.reader().await?;
        let used = devices_by_set(&mut reader, &Scope::All).await?;
        let idle: Vec<_> = reader
            .tally(&Filter::All, StoredSet::OWN_ID)
            .await?
            .into_iter()
            .filter_map(|(set, _)| match set {
                Value::Id(set) if !used.contains_key(&set) => Some(PackageSetId::from_uuid(set)),
                _ => None,
            })
            .take(MAX_SETS)
            .collect();
        drop(reader);
        for set in idle {
            self.clean_set(set, &mut cleaned).await?;
        }
        self.clean_members(&mut cleaned).await?;
        Ok(cleaned)
    }

    async fn clean_set(&self, id: PackageSetId, cleaned: &mut Cleaned) -> Result<()> {
        let Some(set) = self.store.get::<StoredSet>(id).await? else {
            return Ok(());
        };
        let due = set.doubted_since.map(|since| since.plus(CLEAN_EVERY));
        let remove = due.is_some_and(|due| due <= self.store.clock().now());
        if due.is_some() && !remove {
            return Ok(());
        }
        if remove {
            for members in set.members.chunks(BATCH) {
                self.doubt_members(members).await?;
            }
        }
        let context = Context::system("inventory");
        let (set, rev) = (&set, set.rev);
        let done = self
            .store
            .change(&context, Evidence::Observed, |mut tx| async move {
                let now = tx.now();
                let Some(found) = tx.get::<StoredSet>(id).await? else {
                    return Ok(false);
                };
                if found.rev != rev {
                    return Ok(false);
                }
                if remove {
                    tx.delete(&found);
                    cleaned_event(now, "sets_removed", 1, id.uuid()).append_to(&mut tx)?;
                } else {
                    let mut doubted = set.value.clone();
                    doubted.doubted_since = Some(now);
                    tx.update(&found, &doubted)?;
                    cleaned_event(now, "sets_doubted", 1, id.uuid()).append_to(&mut tx)?;
                }
                tx.commit().await.map(|_| true)
            })
            .await?;
        match (done, remove) {
            (true, true) => cleaned.sets_removed += 1,
            (true, false) => cleaned.sets_doubted += 1,
            (false, _) => {}
        }
        Ok(())
    }

    /// Doubts those of a set's members that no other set holds.
    async fn doubt_members(&self, members: &[i64]) -> Result<()> {
        let context = Context::system("inventory");
        self.store
            .change(&context, Evidence::Observed, |mut tx| async move {
                let now = tx.now();
                let mut lonely = Vec::new();
                for member in members {
                    if sets(&mut tx, *member).await? <= 1 {
                        lonely.push(PackageMemberId::of(*member));
                    }
                }
                let found = tx.reader().get_many::<StoredMember>(&lonely).await?;
                let mut doubted = 0;
                for before in found.into_iter().flatten() {
                    if before.doubted_since.is_none() {
                        let mut after = before.value.clone();
                        after.doubted_since = Some(now);
                        doubted += u64::from(tx.update(&before, &after)?);
                    }
                }
                if doubted > 0 {
                    cleaned_event(now, "members_doubted", doubted, lonely[0].uuid()).append_to(&mut tx)?;
                }
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Looks again at members that were doubted for long enough.
    async fn clean_members(&self, cleaned: &mut Cleaned) -> Result<()> {
        let context = Context::system("inventory");
        for _ in 0..MAX_MEMBERS / BATCH {
            let (looked_at, removed) = self.store.change(&context, Evidence::Observed, clean_some).await?;
            cleaned.members_removed += removed;
            if looked_at < BATCH {
                break;
            }
        }
        Ok(())
    }
}

async fn clean_some(mut tx: Tx) -> Result<(usize, u64)> {
    let now = tx.now();
    let before = now.minus(CLEAN_EVERY).as_micros().saturating_add(1);
    let doubted = Query::<StoredMember>::all()
        .filter(StoredMember::DOUBTED_SINCE.below(before))
        .order(StoredMember::DOUBTED_SINCE, Direction::Ascending);
    let page = PageRequest::new(Some(BATCH), None)?;
    let doubted = tx.list(&doubted, &page).await?.items;
    let mut removed = BTreeSet::new();
    for member in &doubted {
        if sets(&mut tx, member.number).await? == 0 {
            tx.delete(member);
            removed.insert(member.id.uuid());
        } else {
            let mut trusted = member.value.clone();
            trusted.doubted_since = None;
            tx.update(member, &trusted)?;
        }
    }
    if let Some(first) = doubted.first() {
        cleaned_event(now, "members_removed", removed.len() as u64, first.id.uuid()).append_to(&mut tx)?;
        tx.commit().await?;
    }
    Ok((doubted.len(), removed.len() as u64))
}

/// How many sets hold a member.
async fn sets(tx: &mut Tx, member: i64) -> Result<u64> {
    tx.reader().count::<StoredSet>(&StoredSet::MEMBERS.eq(member)).await
}

fn cleaned_event(now: crate::kernel::Timestamp, what: &str, count: u64, first: Uuid) -> DeviceEvent {
    DeviceEvent::new(None, PACKAGES_CLEANED, now)
        .with(what, count)
        .with("first", first.to_string())
}
