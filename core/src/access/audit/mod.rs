//! The audit: one chained lane with a row for every decision and every security fact.

mod model;
mod service;

pub use model::{Action, AuditEntry, Outcome, Subject};
pub use service::{AUDIT_READ, AuditFilter, AuditService, ChainState};
