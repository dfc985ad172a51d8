//! The store as a value.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use super::{lane::Lane, table::Table};
use crate::{
    kernel::Timestamp,
    store::{Committed, Error, Name, Result, Schema, SchemaReport, Seq, Standing, Touched},
};

/// Everything that a store holds. A clone shares its contents and costs a few dozen pointers, so a clone is a view.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) schema: Arc<Schema>,
    /// The newest commit.
    pub(super) seq: Seq,
    /// The newest commit that the feed has forgotten.
    pub(super) floor: Seq,
    pub(super) kinds: BTreeMap<Name, Arc<Table>>,
    pub(super) latest: BTreeMap<Name, OrdMap<Uuid, Bytes>>,
    pub(super) lanes: BTreeMap<Name, Arc<Lane>>,
    /// What each commit after the floor touched; commits that touched nothing that the feed tells of are left out.
    pub(super) feed: OrdMap<Seq, Arc<[Touched]>>,
    /// The answers to the batches after the floor.
    pub(super) batches: OrdMap<Uuid, Arc<Answered>>,
    /// The same batches by the place that they answered with, for compaction.
    pub(super) answered: OrdSet<(Seq, Uuid)>,
    pub(super) leases: OrdMap<String, Lease>,
    pub(super) standing: Standing,
}

/// A batch that was committed.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) fingerprint: [u8; 16],
    pub(super) committed: Committed,
}

/// A lease that was ever taken; its fence outlives its holder.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// Who has it, and until when.
    pub(super) held: Option<(Uuid, Timestamp)>,
    pub(super) fence: u64,
}

impl State {
    /// See [`Backend::prepare`](crate::store::Backend::prepare).
    pub fn prepare(&mut self, schema: &Schema) -> Result<SchemaReport> {
        self.check_declared(schema)?;
        let mut report = SchemaReport::default();
        let mut next = self.clone();
        for kind in schema.kinds() {
            match next.kinds.get_mut(kind.name) {
                Some(table) => {
                    let added = kind
                        .columns
                        .iter()
                        .filter(|column| !table.schema.columns.contains(column));
                    report
                        .filled
                        .extend(added.map(|column| format!("{}.{}", kind.name, column.name)));
                    Arc::make_mut(table).redeclare(kind)?;
                }
                None => {
                    report.created.push(kind.name.to_owned());
                    next.kinds.insert(kind.name, Arc::new(Table::new(kind.clone())));
                }
            }
        }
        for lane in schema.lanes() {
            match next.lanes.get_mut(lane.name) {
                Some(stored) => {
                    let added = lane
                        .columns
                        .iter()
                        .filter(|column| !stored.schema.columns.contains(column));
                    report
                        .filled
                        .extend(added.map(|column| format!("{}.{}", lane.name, column.name)));
                    Arc::make_mut(stored).redeclare(lane)?;
                }
                None => {
                    report.created.push(lane.name.to_owned());
                    next.lanes.insert(lane.name, Arc::new(Lane::new(lane.clone())));
                }
            }
        }
        for set in schema.latests() {
            if !next.latest.contains_key(set.name) {
                report.created.push(set.name.to_owned());
                next.latest.insert(set.name, OrdMap::new());
            }
        }
        if report != SchemaReport::default() {
            self.standing.phase.check_serving()?;
        }
        next.schema = Arc::new(schema.clone());
        *self = next;
        Ok(report)
    }

    /// See [`Backend::pending`](crate::store::Backend::pending).
    pub fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        let mut next = self.clone();
        next.standing = Standing::default();
        next.prepare(schema)
    }

    /// What is stored must stay visible: an older version of the program must not work on a newer store.
    fn check_declared(&self, schema: &Schema) -> Result<()> {
        let refused = |what: &str, name: &str| {
            Err(Error::Refused(format!(
                "the store holds {what} {name}, which is not declared"
            )))
        };
        if let Some(name) = self.kinds.keys().find(|name| schema.kind(name).is_err()) {
            return refused("kind", name);
        }
        if let Some(name) = self.latest.keys().find(|name| schema.latest(name).is_err()) {
            return refused("latest values", name);
        }
        for (name, stored) in &self.lanes {
            match schema.lane(name) {
                Err(_) => return refused("lane", name),
                Ok(lane) if lane.chained != stored.schema.chained => {
                    return Err(Error::Refused(format!(
                        "lane {name} cannot begin or cease to be chained"
                    )));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// The newest commit.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The schema that was prepared.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Whether nothing was ever committed and nothing is held.
    pub fn is_empty(&self) -> bool {
        self.seq == 0
            && self.kinds.values().all(|table| table.docs.is_empty())
            && self.latest.values().all(OrdMap::is_empty)
            && self.lanes.values().all(|lane| lane.rows.is_empty())
    }

    pub(super) fn table(&self, kind: &str) -> Result<&Table> {
        self.kinds
            .get(kind)
            .map(|table| &**table)
            .ok_or_else(|| undeclared(kind))
    }

    pub(super) fn table_mut(&mut self, kind: &str) -> Result<&mut Table> {
        let table = self.kinds.get_mut(kind).map(Arc::make_mut);
        table.ok_or_else(|| undeclared(kind))
    }

    pub(super) fn lane(&self, lane: &str) -> Result<&Lane> {
        self.lanes.get(lane).map(|lane| &**lane).ok_or_else(|| undeclared(lane))
    }

    pub(super) fn lane_mut(&mut self, lane: &str) -> Result<&mut Lane> {
        let found = self.lanes.get_mut(lane).map(Arc::make_mut);
        found.ok_or_else(|| undeclared(lane))
    }

    pub(super) fn latest_of(&self, set: &str) -> Result<&OrdMap<Uuid, Bytes>> {
        self.latest.get(set).ok_or_else(|| undeclared(set))
    }

    pub(super) fn latest_mut(&mut self, set: &str) -> Result<&mut OrdMap<Uuid, Bytes>> {
        self.latest.get_mut(set).ok_or_else(|| undeclared(set))
    }
}

fn undeclared(name: &str) -> Error {
    Error::Invalid(format!("{name} is not declared"))
}
