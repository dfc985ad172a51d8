//! Actions: operations with their parameters, to be kept up on devices.

mod model;
mod rules;

pub use model::{ActionChange, ActionId, ActionView, DesiredAction, NewAction};
pub use rules::MAX_ACTIONS;
pub(super) use rules::{Effective, kinds_with_state};

/// Reads and changes actions.
pub type ActionService<'a> = super::authoring::AuthoredService<'a, DesiredAction>;
