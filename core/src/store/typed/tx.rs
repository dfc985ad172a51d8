//! A change: reads from one view, writes collected, evidence attached, one commit.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Entity, LaneRow, LatestValue, Query, Reader, Store, Versioned, encode};
use crate::{
    access::{Action, AuditEntry, Context, Outcome, Subject},
    kernel::{Class, Code, EntityId, Error, Page, PageRequest, Result, Timestamp},
    store::{Batch, Committed, Expect, Key, Name, Row, Seq, Write},
};

/// Somebody else changed what this change was decided on.
pub const STALE: Code = Code::new("storage.stale", Class::Conflict);
/// A unique value belongs to somebody else.
pub const TAKEN: Code = Code::new("storage.taken", Class::Conflict);
/// Another row stands at the same place of a lane.
pub const ROW_CONFLICT: Code = Code::new("storage.row_conflict", Class::Conflict);
/// Storage cannot be reached.
pub const UNAVAILABLE: Code = Code::new("storage.unavailable", Class::Unavailable);
/// The store is read-only: its data was moved, or is being moved.
pub const NOT_SERVING: Code = Code::new("storage.not_serving", Class::Unavailable);

/// How often an unknown outcome is resolved by sending the batch again.
const RESOLVE_ATTEMPTS: usize = 3;

/// What a change leaves behind so that it can be accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// An audit row: for decisions by people, keys and policies, and for security facts.
    Audit(Action),
    /// At least one row of another lane, appended in the same commit: for what devices and sweeps observe, where an
    /// audit row each would drown the decisions.
    Observed,
}

/// A change in the making. It cannot be built without an actor and its evidence, and nothing is written before
/// [`Tx::commit`].
#[derive(Debug)]
pub struct Tx {
    store: Store,
    reader: Reader,
    context: Context,
    evidence: Evidence,
    id: Uuid,
    now: Timestamp,
    writes: BTreeMap<Key, Write>,
    rows: Vec<(Name, Row)>,
    outcome: Outcome,
    subject: Option<Subject>,
    changed: Vec<String>,
    details: BTreeMap<String, serde_json::Value>,
}

impl Tx {
    pub(super) fn begin(store: Store, reader: Reader, context: Context, evidence: Evidence) -> Self {
        let id = store.new_uuid();
        let now = store.clock().now();
        Self {
            store,
            reader,
            context,
            evidence,
            id,
            now,
            writes: BTreeMap::new(),
            rows: Vec::new(),
            outcome: Outcome::Done,
            subject: None,
            changed: Vec::new(),
            details: BTreeMap::new(),
        }
    }

    /// The time of the change: one for everything in it.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Who changes.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The view that the change is decided on.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The entity of an id, as of the view.
    pub async fn get<T: Entity>(&mut self, id: T::Id) -> Result<Option<Versioned<T>>> {
        self.reader.get(id).await
    }

    /// A page of a list, as of the view.
    pub async fn list<T: Entity>(&mut self, query: &Query<T>, page: &PageRequest) -> Result<Page<Versioned<T>>> {
        self.reader.list(query, page).await
    }

    /// Creates an entity; the commit fails as stale when its id is taken.
    pub fn create<T: Entity>(&mut self, value: &T) -> Result<()> {
        self.put(value, Expect::Absent, &serde_json::Map::new())
    }

    /// Replaces an entity as it was read. Writes nothing when nothing changed; returns whether something did.
    pub fn update<T: Entity>(&mut self, before: &Versioned<T>, after: &T) -> Result<bool> {
        if before.value == *after {
            self.require(before);
            return Ok(false);
        }
        self.put(after, Expect::Rev(before.rev), &before.unknown)?;
        Ok(true)
    }

    /// Creates or replaces whatever is there. Only for documents whose content follows from others in this change.
    pub fn replace<T: Entity>(&mut self, value: &T) -> Result<()> {
        self.put(value, Expect::Any, &serde_json::Map::new())
    }

    /// Removes an entity as it was read.
    pub fn delete<T: Entity>(&mut self, before: &Versioned<T>) {
        let key = T::key(before.value.id());
        self.writes.insert(
            key,
            Write::Delete {
                key,
                expect: Expect::Rev(before.rev),
            },
        );
    }

    /// Removes whatever is there under an id.
    pub fn remove<T: Entity>(&mut self, id: T::Id) {
        let key = T::key(id);
        self.writes.insert(
            key,
            Write::Delete {
                key,
                expect: Expect::Any,
            },
        );
    }

    /// Fails the change when the entity, as it was read, is changed by somebody else before the commit.
    pub fn require<T: Entity>(&mut self, before: &Versioned<T>) {
        let key = T::key(before.value.id());
        self.writes.entry(key).or_insert(Write::Check {
            key,
            expect: Expect::Rev(before.rev),
        });
    }

    /// Fails the change when the entity appears before the commit.
    pub fn require_absent<T: Entity>(&mut self, id: T::Id) {
        let key = T::key(id);
        self.writes.entry(key).or_insert(Write::Check {
            key,
            expect: Expect::Absent,
        });
    }

    /// Removes a latest value.
    pub fn drop_latest<T: LatestValue>(&mut self, id: T::Id) {
        let key = T::key(id);
        self.writes.insert(key, Write::DropLatest { key });
    }

    /// Appends a row to a lane.
    pub fn append<T: LaneRow>(&mut self, stream: Uuid, at: Timestamp, n: u32, value: &T) -> Result<()> {
        self.rows.push((T::LANE, value.row(stream, at, n)?));
        Ok(())
    }

    /// Says what the change is about.
    pub fn subject<T: Entity>(&mut self, id: T::Id, name: impl Into<String>) {
        self.subject = Some(Subject {
            kind: T::KIND.to_owned(),
            id: id.uuid(),
            name: name.into(),
        });
    }

    /// Says that the change turned out to be another than it was begun as. It stays one with an audit entry.
    pub fn turned_out(&mut self, action: Action) {
        if let Evidence::Audit(begun) = &mut self.evidence {
            *begun = action;
        }
    }

    /// Says that what was asked for is refused; what the commit writes is the account of it.
    pub fn refused(&mut self) {
        self.outcome = Outcome::Refused;
    }

    /// Names a member that the change altered; never its value, which may be secret.
    pub fn changed(&mut self, member: impl Into<String>) {
        self.changed.push(member.into());
    }

    /// Adds a detail to the audit entry. Never a secret.
    pub fn detail(&mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) {
        self.details.insert(name.into(), value.into());
    }

    /// Accounts for one of several decisions that share this commit, each by an actor of its own: what was said of it since the last
    /// one is in an entry of its own. For changes that are begun with [`Evidence::Observed`].
    pub fn account(&mut self, context: &Context, action: Action) -> Result<()> {
        let id = self.store.new_uuid();
        self.push_account(id, context, action)
    }

    fn push_account(&mut self, id: Uuid, context: &Context, action: Action) -> Result<()> {
        let entry = AuditEntry {
            id,
            at: self.now,
            actor: context.actor().clone(),
            origin: context.origin().clone(),
            action: action.name().to_owned(),
            outcome: std::mem::replace(&mut self.outcome, Outcome::Done),
            subject: self.subject.take(),
            changed: std::mem::take(&mut self.changed),
            details: std::mem::take(&mut self.details),
        };
        self.rows.push((AuditEntry::LANE, entry.row(id, self.now, 0)?));
        Ok(())
    }

    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.writes.values().all(|write| matches!(write, Write::Check { .. }))
    }

    /// Commits everything and its evidence. A change without effect is not committed and leaves no evidence.
    pub async fn commit(self) -> Result<Seq> {
        if self.is_empty() {
            return Ok(self.reader.seq());
        }
        self.commit_always().await.map(|committed| committed.seq)
    }

    /// Commits the evidence even when nothing else is written: for a sign-in or a refusal.
    pub async fn record(self) -> Result<Seq> {
        self.commit_always().await.map(|committed| committed.seq)
    }

    async fn commit_always(mut self) -> Result<Committed> {
        match self.evidence {
            Evidence::Audit(action) => {
                let (id, context) = (self.id, self.context.clone());
                self.push_account(id, &context, action)?;
            }
            Evidence::Observed if self.rows.is_empty() => {
                return Err(Error::internal(
                    "a change without evidence: it needs an action or a row of a lane",
                ));
            }
            Evidence::Observed => {}
        }
        let Self {
            store,
            reader,
            id,
            writes,
            rows,
            ..
        } = self;
        // All is decided. Views are few: one that was held here would keep others from deciding, and so from sharing the
        // transaction that this commit waits for.
        drop(reader);
        let batch = Batch {
            id,
            writes: writes.into_values().collect(),
            rows,
        };
        // Dropped with this call, before whoever waits for the commit hears of it.
        let announcement = store.announce(&batch.writes);
        let mut attempt = 1;
        loop {
            // The batch id makes the repeat harmless: it returns the first answer if the first try did commit.
            match store.backend().commit(batch.clone()).await {
                Err(error) if !error.certainly_not_written() && attempt < RESOLVE_ATTEMPTS => attempt += 1,
                outcome => {
                    let committed = outcome?;
                    announcement.committed();
                    return Ok(committed);
                }
            }
        }
    }

    fn put<T: Entity>(&mut self, value: &T, expect: Expect, unknown: &super::JsonObject) -> Result<()> {
        let key = T::key(value.id());
        self.writes.insert(
            key,
            Write::Put {
                key,
                expect,
                body: encode(value, unknown)?,
                index: value.index(),
            },
        );
        Ok(())
    }
}
