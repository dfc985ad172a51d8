//! Kinds of operation.

pub mod actions;
pub mod agent_update;
pub mod manifest_apply;
mod model;
pub mod refresh;
pub mod shell;

pub use model::{
    Gate, INVALID_PARAMS, Lane, MAX_PARAMS, OperationKind, Operations, Risk, UNKNOWN_KIND, Upkeep, schema_of,
};
