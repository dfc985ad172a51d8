//! Definitions: what a sort of device shall be, of action sets and actions.

mod model;
mod rules;

pub use model::{Definition, DefinitionChange, DefinitionId, DefinitionView, NewDefinition};
pub use rules::MAX_DEFINITIONS;

/// Reads and changes definitions.
pub type DefinitionService<'a> = super::authoring::AuthoredService<'a, Definition>;
