//! What callers make ready before they queue: everything that does not depend on what is stored. Callers are many and work side by
//! side; the writer is one thread, and what it need not do is what makes it quick.

use std::sync::Arc;

use bytes::Bytes;
use fleet_core::store::{Batch, Ingest, Layout, Name, Patch, Result, Row, Schema, Write};

use crate::records::Text;

/// Bytes of a line around each of its bodies, at most as a rule.
const AROUND: usize = 256;

/// A batch that its caller has checked.
pub(crate) struct ReadyCommit {
    pub(super) batch: Batch,
    /// What it was checked against.
    pub(super) schema: Arc<Schema>,
    pub(super) fingerprint: [u8; 16],
    /// The end of its line: all but its place in commit order.
    pub(super) changes: Vec<u8>,
}

impl ReadyCommit {
    pub(crate) fn new(batch: Batch, schema: Arc<Schema>) -> Result<Self> {
        schema.check_batch(&batch)?;
        let written = batch.writes.iter().filter_map(|write| match write {
            Write::Put { body, .. } => Some(body),
            _ => None,
        });
        let mut changes = Vec::with_capacity(room(written, &batch.rows));
        Text(&mut changes).changes(&batch);
        Ok(Self {
            fingerprint: batch.fingerprint(),
            batch,
            schema,
            changes,
        })
    }
}

/// An ingest that its caller has checked.
pub(crate) struct ReadyIngest {
    pub(super) ingest: Ingest,
    /// What it was checked against.
    pub(super) schema: Arc<Schema>,
    /// Its line.
    pub(super) text: Vec<u8>,
}

impl ReadyIngest {
    pub(crate) fn new(ingest: Ingest, schema: Arc<Schema>) -> Result<Self> {
        schema.check_ingest(&ingest)?;
        let written = ingest.latest.iter().map(|latest| &latest.body);
        let mut text = Vec::with_capacity(room(written, &ingest.rows));
        Text(&mut text).ingest(&ingest);
        Ok(Self { ingest, schema, text })
    }
}

/// A patch that its caller has laid out.
pub(crate) struct ReadyPatch {
    pub(super) patch: Patch,
    pub(super) layout: Layout,
    /// What it was laid out by.
    pub(super) schema: Arc<Schema>,
    /// Its line.
    pub(super) text: Vec<u8>,
}

impl ReadyPatch {
    /// Parses all bodies: not for a thread that others wait for.
    pub(crate) fn new(patch: Patch, schema: Arc<Schema>) -> Result<Self> {
        let layout = patch.clone().lay_out(&schema)?;
        let bytes: usize = patch.records.iter().map(|record| AROUND + record.size()).sum();
        let mut text = Vec::with_capacity(bytes);
        Text(&mut text).patch(&patch)?;
        Ok(Self {
            patch,
            layout,
            schema,
            text,
        })
    }
}

/// How long a line becomes, about.
fn room<'b>(written: impl Iterator<Item = &'b Bytes>, rows: &'b [(Name, Row)]) -> usize {
    let bodies = written.chain(rows.iter().map(|(_, row)| &row.body));
    bodies.map(|body| AROUND + body.len()).sum()
}
