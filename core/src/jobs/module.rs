//! What this part brings along.

use super::JobState;
use crate::{modules::Module, store::latest_schema};

/// What `jobs` brings along.
pub fn module() -> Module {
    Module {
        name: "jobs",
        latest: vec![latest_schema::<JobState>()],
        ..Module::default()
    }
}
