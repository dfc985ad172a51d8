//! Reading the audit.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::AuditEntry;
use crate::{
    access::{Context, Permission},
    kernel::{Page, PageRequest, Result, Timestamp},
    store::{Filter, LaneQuery, Store, Value},
};

/// Read the audit.
pub const AUDIT_READ: Permission = Permission::new("audit:read");

/// Which entries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFilter {
    /// Only by this actor.
    pub actor: Option<Uuid>,
    /// Only this action.
    pub action: Option<String>,
    /// Only about this thing.
    pub subject: Option<Uuid>,
    /// Only from this time on.
    pub from: Option<Timestamp>,
    /// Only before this time.
    pub to: Option<Timestamp>,
}

/// Where the chain of the audit stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChainState {
    /// How many entries there are, with those that a repair went on without: they keep their numbers.
    pub entries: u64,
    /// The hash of the last one, in hexadecimal; it covers all entries before it.
    pub head: Option<String>,
}

/// Reads the audit.
#[derive(Debug)]
pub struct AuditService<'a> {
    store: &'a Store,
}

impl<'a> AuditService<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// A page of entries, newest first.
    pub async fn list(&self, context: &Context, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEntry>> {
        context.require(AUDIT_READ)?.require_all(AUDIT_READ)?;
        let mut parts = Vec::new();
        if let Some(actor) = filter.actor {
            parts.push(Filter::Eq(AuditEntry::ACTOR, Value::Id(actor)));
        }
        if let Some(action) = &filter.action {
            parts.push(Filter::Eq(AuditEntry::ACTION, Value::Text(action.clone())));
        }
        if let Some(subject) = filter.subject {
            parts.push(Filter::Eq(AuditEntry::SUBJECT, Value::Id(subject)));
        }
        let query = LaneQuery::newest_first()
            .filter(Filter::And(parts))
            .from(filter.from)
            .to(filter.to);
        self.store.reader().await?.rows(&query, page).await
    }

    /// Where the chain stands.
    pub async fn chain(&self, context: &Context) -> Result<ChainState> {
        context.require(AUDIT_READ)?.require_all(AUDIT_READ)?;
        let head = self.store.reader().await?.chain_head::<AuditEntry>().await?;
        Ok(ChainState {
            entries: head.map_or(0, |link| link.number),
            head: head.map(|link| hex::encode(link.hash)),
        })
    }
}
