//! Audit actions and error codes of rollouts.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// A rollout went on by itself: to its next wave, to its end, or it halted.
pub const ROLLOUT_ADVANCE: Action = Action::new("rollout.advance");
/// Somebody holds a rollout.
pub const ROLLOUT_PAUSE: Action = Action::new("rollout.pause");
/// Somebody lets a rollout go on that was held or had halted, or its next wave begin.
pub const ROLLOUT_RESUME: Action = Action::new("rollout.resume");
/// Somebody gave a rollout up.
pub const ROLLOUT_ABORT: Action = Action::new("rollout.abort");

/// The batch does not go from wave to wave.
pub const ROLLOUT_NOT_FOUND: Code = Code::new("rollout.not_found", Class::NotFound);
/// The rollout is over.
pub const ROLLOUT_OVER: Code = Code::new("rollout.over", Class::Conflict);
