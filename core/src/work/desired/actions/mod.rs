//! Actions: operations with their parameters, to be kept up on devices.

mod model;
mod rules;

pub use model::{ActionChange, ActionId, ActionView, DesiredAction, NewAction};
pub(super) use rules::{Effective, kinds_with_state};
pub use rules::{MAX_ACTIONS, Upkeep, upkeep};

/// Reads and changes actions.
pub type ActionService<'a> = super::authoring::AuthoredService<'a, DesiredAction>;
#[cfg(test)]
pub(super) use rules::REVERTED_KIND;
