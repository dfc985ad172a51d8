//! Action sets: actions that are applied one after another, in one rhythm.

mod model;
mod rules;

pub use model::{ActionSet, ActionSetChange, ActionSetId, ActionSetView, NewActionSet};
pub use rules::{MAX_MEMBERS, MAX_SETS};

/// Reads and changes action sets.
pub type ActionSetService<'a> = super::authoring::AuthoredService<'a, ActionSet>;
