//! Loads the store, or takes over another schema.

use std::sync::Arc;

use fleet_core::store::{
    Result, Schema, SchemaReport,
    memory::{Load, State},
};

use super::{Writer, replay::replay};
use crate::{
    catalogue::Catalogue,
    error::unavailable,
    journal::{Journal, Scanned},
    snapshot::{load_into, remove_unlisted},
};

impl Writer {
    pub(super) fn prepare(&mut self, schema: &Schema) -> Result<SchemaReport> {
        self.wait_for_checkpoint();
        let catalogue = Catalogue::of(schema);
        let report = self.manifest.catalogue.prepare(&catalogue)?;
        let mut prepared = if self.prepared {
            let mut state = self.state.clone();
            state.prepare(schema)?;
            state
        } else {
            self.load(schema, report != SchemaReport::default())?
        };
        if self.manifest.catalogue != catalogue {
            let mut next = self.manifest.clone();
            next.catalogue = catalogue;
            next.write(&*self.place.files, &self.place.root)
                .map_err(crate::manifest::Switch::error)?;
            self.manifest = next;
        }
        std::mem::swap(&mut self.state, &mut prepared);
        self.shared.publish(self.state.clone(), true);
        self.shared.prepared(self.state.schema());
        Ok(report)
    }

    /// Reads the snapshot and the journal behind it; nothing on the disk changes unless all of it is sound. `changes`: the schema
    /// is not what was prepared, which only a serving store allows.
    fn load(&mut self, schema: &Schema, changes: bool) -> Result<State> {
        // Taken only when nothing is left that may be refused: after that a failure needs a new start.
        let Some(scanned) = self.scanned.take() else {
            return Err(fleet_core::store::Error::Unavailable(
                "the journal could not be gone on with; the store has to be opened again".into(),
            ));
        };
        let loaded = self.load_scanned(&scanned, schema, changes);
        if loaded.is_err() {
            self.scanned = Some(scanned);
            return loaded;
        }
        self.go_on(&scanned)?;
        loaded
    }

    fn load_scanned(&mut self, scanned: &Scanned, schema: &Schema, changes: bool) -> Result<State> {
        let (files, root) = (&*self.place.files, self.place.root.as_path());
        let mut load = Load::new(schema)?;
        load_into(&mut load, files, root, &self.manifest, schema)?;
        let dirty = replay(&mut load, scanned, &self.manifest, schema)?;
        let state = load.finish()?;
        if changes {
            state.standing().phase.check_serving()?;
        }
        let lines = scanned.segments.iter().flat_map(|segment| segment.lines());
        self.behind = lines.map(|(_, line)| line.len() as u64 + 1).sum();
        self.dirty = dirty;
        Ok(state)
    }

    /// Writes on where the journal ends.
    fn go_on(&mut self, scanned: &Scanned) -> Result<()> {
        let (files, root) = (&*self.place.files, self.place.root.as_path());
        if scanned.torn > 0 {
            tracing::info!(
                bytes = scanned.torn,
                "the end of the journal was torn off: nobody was answered for it"
            );
        }
        let segment_bytes = self.options.segment_bytes;
        let journal = Journal::open(
            Arc::clone(&self.place.files),
            root,
            segment_bytes,
            scanned.next,
            scanned.last(),
        )?;
        // Only what certainly counts may have its predecessors removed.
        let synced = files.sync_folder(root);
        synced.map_err(|error| unavailable("synchronise", root, &error))?;
        remove_unlisted(files, root, &self.manifest);
        self.line = journal.next();
        self.journal = Some(journal);
        self.prepared = true;
        Ok(())
    }
}
