//! Moving, broken.

use std::collections::BTreeSet;

use fleet_core::{
    kernel::Timestamp,
    store::{
        Error, Move, Patch, Phase, Record, RecordKey, Relocate, Result, Seq, Standing, Tracked, memory::MemoryStore,
    },
};
use fleet_storage_conformance::async_trait;
use uuid::Uuid;

use crate::{
    Fault,
    store::{BrokenStore, lock},
};

/// The move by which what is seen follows what is kept.
pub fn copy() -> Move {
    Move {
        id: Uuid::nil(),
        peer: "what is kept".into(),
        at: Timestamp::from_seconds(1_000_000),
    }
}

/// Does something to a frozen store as if it served.
pub async fn thawed<T>(live: &MemoryStore, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Phase::Frozen(to) = live.standing().await?.phase else {
        return work.await;
    };
    live.serve().await?;
    let result = work.await;
    live.freeze(to).await?;
    result
}

fn changed(fault: Fault, patch: &mut Patch) {
    for record in &mut patch.records {
        match (fault, record) {
            (Fault::PatchChangesRevisions, Record::Doc(doc)) => doc.rev = 1,
            (Fault::PatchChangesPlaces, Record::Doc(doc)) if doc.seq > 0 => doc.seq = doc.seq.max(patch.seq),
            (Fault::PatchBreaksLinks, Record::Row(_, stored)) => {
                if let Some(link) = &mut stored.link {
                    link.hash = [0; 32];
                }
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Relocate for BrokenStore {
    async fn standing(&self) -> Result<Standing> {
        self.open()?;
        let mut standing = self.live.standing().await?;
        if self.fault == Fault::OriginForgotten {
            standing.origin = None;
        }
        Ok(standing)
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        self.open()?;
        let result = self.live.freeze(to.clone()).await;
        match (self.fault, result) {
            (Fault::AnotherMoveFreezes, Err(Error::NotServing(_))) => {
                self.live.serve().await?;
                self.live.freeze(to).await
            }
            (Fault::FreezeTellsAnOldPlace, Ok(seq)) => Ok(seq.saturating_sub(1)),
            (_, result) => result,
        }
    }

    async fn fill(&self, from: Move) -> Result<()> {
        self.open()?;
        match self.live.fill(from.clone()).await {
            Err(Error::Refused(_)) if self.fault == Fault::FillOverContents => {
                self.live.freeze(from.clone()).await?;
                self.live.fill(from).await
            }
            Ok(()) if self.fault == Fault::FillEmptiesAFrozenStore => {
                self.live.clear().await?;
                self.live.fill(from).await
            }
            result => result,
        }
    }

    async fn patch(&self, mut patch: Patch) -> Result<()> {
        self.open()?;
        changed(self.fault, &mut patch);
        match self.fault {
            Fault::PatchRemovesLast => {
                let removed = std::mem::take(&mut patch.removed);
                let seq = patch.seq;
                self.live.patch(patch).await?;
                self.live
                    .patch(Patch {
                        seq,
                        removed,
                        records: Vec::new(),
                    })
                    .await
            }
            Fault::PatchInPieces => {
                let Patch { seq, removed, records } = patch;
                self.live
                    .patch(Patch {
                        seq,
                        removed,
                        records: Vec::new(),
                    })
                    .await?;
                for record in records {
                    self.live
                        .patch(Patch {
                            seq,
                            removed: Vec::new(),
                            records: vec![record],
                        })
                        .await?;
                }
                Ok(())
            }
            _ => self.live.patch(patch).await,
        }
    }

    async fn serve(&self) -> Result<()> {
        self.open()?;
        self.live.serve().await
    }

    async fn clear(&self) -> Result<()> {
        self.open()?;
        if self.fault == Fault::ClearKeepsContents {
            return self.live.serve().await;
        }
        self.live.clear().await
    }

    async fn track(&self, on: bool) -> Result<()> {
        self.open()?;
        self.live.track(on).await
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        self.open()?;
        let mut page = self.live.tracked(after).await?;
        match self.fault {
            Fault::TrackedMissesIngests => {
                let ingested: BTreeSet<RecordKey> = lock(&self.ingested).clone();
                page.keys.retain(|key| !ingested.contains(key));
            }
            Fault::TrackedMissesRemovals => {
                let mut view = fleet_core::store::Backend::view(&*self.live).await?;
                let mut there = Vec::new();
                for key in page.keys {
                    match key {
                        RecordKey::Doc(doc) if view.get(&[doc]).await?[0].is_none() => {}
                        key => there.push(key),
                    }
                }
                page.keys = there;
            }
            Fault::TrackedForgetsWhatItTold => drop(self.live.tracked(page.upto).await?),
            _ => {}
        }
        Ok(page)
    }
}
