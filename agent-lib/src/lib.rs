//! **fleet-agent-lib**: what an agent is made of.

pub mod backoff;
pub mod collect;
pub mod executor;
pub mod journal;
pub mod policy;
pub mod state;
