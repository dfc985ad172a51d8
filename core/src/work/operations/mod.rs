//! Kinds of operation.

pub mod actions;
pub mod agent_update;
mod model;
pub mod refresh;
pub mod shell;
mod subject;
mod summary;
pub mod sync;

pub use model::{
    Gate, INVALID_PARAMS, Lane, MAX_PARAMS, OperationKind, Operations, Risk, UNKNOWN_KIND, Upkeep, schema_of,
};
pub(crate) use subject::named;
pub use subject::{Subject, Subjects};
pub(in crate::work) use summary::is_storable;
pub use summary::{ActionSummary, MAX_SUMMARY};
