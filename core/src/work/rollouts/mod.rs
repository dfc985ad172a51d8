//! Rollouts: work that goes from wave to wave, and stops where it does harm.
//!
//! ```text
//! request   what is asked         rules    who is in which wave, and what comes next; pure
//! view      what is answered      words    the same for people; pure
//! begin     made with its batch
//! standing  how the runs of a rollout stand
//! drive     goes on with rollouts, step by step, each a commit of its own; a job, a run that has ended, and whoever changed something
//! settle    holds runs back that were let go and not taken yet, lets them go again, takes back what had not begun
//! service   looking at one, holding it, letting it go on, giving it up
//! ```
//!
//! Who is in which wave is decided with the batch and frozen ([`RolloutOrder`]). The runs of all waves are made at once and stay
//! *scheduled* until their turn comes; then windows are asked, as for any other work. A wave is over when all of its runs have ended.
//! Everything is stored: whichever server looks next goes on from there, and of two that look at once one begins anew.

mod begin;
mod drive;
mod events;
mod model;
mod request;
mod rules;
mod service;
mod settle;
mod standing;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub(in crate::work) use begin::groups_of;
pub(crate) use begin::{agreed, begin};
pub(in crate::work) use drive::open as open_rollouts;
pub(crate) use drive::{Rollouts, advance_due};
pub use events::*;
pub use model::{FailureLimit, Phase, Rollout, RolloutOrder, RolloutPolicy, RolloutWave, Wave};
pub use request::{NewFailureLimit, NewRollout, NewWave, RolloutAbort};
pub(crate) use rules::TURN_WITHIN;
pub use service::{RolloutFilter, RolloutService};
pub use view::{RolloutFailure, RolloutView};
