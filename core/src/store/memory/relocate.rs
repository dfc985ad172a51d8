//! Moving what a state holds.

use std::sync::Arc;

use super::{State, lane::Lane, table::Stored, table::Table};
use crate::store::{Error, Key, Layout, Move, Patch, Result, Seq, Standing, Step};

impl State {
    /// See [`Relocate::standing`](crate::store::Relocate::standing).
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// See [`Relocate::freeze`](crate::store::Relocate::freeze).
    pub fn freeze(&mut self, to: Move) -> Result<Seq> {
        self.standing = self.standing.after(&Step::Freeze(to))?;
        Ok(self.seq)
    }

    /// See [`Relocate::fill`](crate::store::Relocate::fill).
    pub fn fill(&mut self, from: Move) -> Result<()> {
        let empty = self.is_empty();
        self.standing = self.standing.after(&Step::Fill { from, empty })?;
        // The feed begins anew where the patches end, and what was answered before says nothing about what is filled in.
        self.forget_history();
        Ok(())
    }

    /// See [`Relocate::serve`](crate::store::Relocate::serve).
    pub fn serve(&mut self) -> Result<()> {
        self.standing = self.standing.after(&Step::Serve)?;
        Ok(())
    }

    /// See [`Relocate::clear`](crate::store::Relocate::clear).
    pub fn clear(&mut self) -> Result<()> {
        self.standing = self.standing.after(&Step::Clear)?;
        self.kinds
            .values_mut()
            .for_each(|table| *table = Arc::new(Table::new(table.schema.clone())));
        self.lanes
            .values_mut()
            .for_each(|lane| *lane = Arc::new(Lane::new(lane.schema.clone())));
        self.latest
            .values_mut()
            .for_each(|values| *values = imbl::OrdMap::new());
        (self.seq, self.floor) = (0, 0);
        self.forget_history();
        Ok(())
    }

    /// See [`Relocate::patch`](crate::store::Relocate::patch). When it fails the state is as before.
    pub fn patch(&mut self, patch: Patch) -> Result<()> {
        self.standing.phase.check_filling()?;
        self.store_layout(patch.lay_out(&self.schema)?)
    }

    /// Stores a patch that was laid out by this state's schema. When it fails the state is as before.
    pub fn patch_laid_out(&mut self, layout: Layout) -> Result<()> {
        self.standing.phase.check_filling()?;
        self.store_layout(layout)
    }

    /// Refuses what makes two documents hold a unique value; without indexes that does not show.
    pub(super) fn store_layout(&mut self, layout: Layout) -> Result<()> {
        // A clone costs little, and a value that is taken shows only when the removals are done.
        let mut next = self.clone();
        for key in layout.deletes {
            next.table_mut(key.kind)?.remove(key.id);
        }
        for key in layout.drops {
            next.latest_mut(key.kind)?.remove(&key.id);
        }
        for place in layout.removed_rows {
            next.lane_mut(place.lane)?.remove((place.at, place.stream, place.n));
        }
        // Documents that are replaced give up their values before any is claimed.
        for put in &layout.puts {
            next.table_mut(put.key.kind)?.remove(put.key.id);
        }
        for put in layout.puts {
            let table = next.table_mut(put.key.kind)?;
            if let Some((column, holder)) = table.clash(put.key.id, &put.index) {
                return Err(Error::Taken {
                    column: table.schema.columns[column].name,
                    holder: Key::new(put.key.kind, holder),
                });
            }
            let stored = Stored {
                rev: put.rev,
                seq: put.seq,
                body: put.body,
                index: put.index,
            };
            table.put(put.key.id, stored);
        }
        for latest in layout.latest {
            next.latest_mut(latest.key.kind)?.insert(latest.key.id, latest.body);
        }
        for (lane, stored) in layout.rows {
            let lane = next.lane_mut(lane)?;
            lane.remove((stored.row.at, stored.row.stream, stored.row.n));
            lane.insert(stored);
        }
        for (lane, link) in layout.heads {
            let head = &mut next.lane_mut(lane)?.head;
            *head = Some(head.map_or(link, |now| if now.number > link.number { now } else { link }));
        }
        next.seq = next.seq.max(layout.seq);
        next.floor = next.seq;
        *self = next;
        Ok(())
    }

    fn forget_history(&mut self) {
        self.feed = imbl::OrdMap::new();
        self.batches = imbl::OrdMap::new();
        self.answered = imbl::OrdSet::new();
        self.leases = imbl::OrdMap::new();
        self.floor = self.seq;
    }
}
