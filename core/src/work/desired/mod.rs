//! Desired state: what shall be on devices, and stay so.
//!
//! An *action* is an operation with its parameters, to be kept up. Actions stand in *action sets*, sets and actions in *definitions*; an
//! *assignment* brings one of the three to devices: to one, to a group, or to those of a user. What follows for one device is one pure
//! function, [`resolve`], whose answer is compiled into the device's *manifest*.
//!
//! ```text
//!   model, rhythm   what the parts below have in common: source, target, state; how often something is looked at
//!   edition         counts the changes, and remembers which devices each may concern until those were compiled
//!   authoring/      use cases that actions, sets and definitions share
//!   actions/  sets/  definitions/
//!   assignments/    which of them reach which devices, and how
//!   owners/         the users that devices belong to
//!   selections/     what was chosen on a device of what is available there
//!   catalogue       all of that as one edition shows it, read once
//!   resolve/        what applies to a device, in which order, and why; pure
//!   manifest/       the document of a device, its history, and how it is kept current
//! ```
//!
//! A manifest is compiled in a commit that depends on the edition of what it was compiled from: one that is out of date is never
//! written over a newer one. Devices whose groups changed are marked in memory by an observer of commits, and found by a pass over all
//! devices where a server went down in between; all other changes are remembered in the commit that makes them.

pub mod actions;
pub mod assignments;
pub mod authoring;
mod catalogue;
pub mod definitions;
mod edition;
mod events;
pub mod manifest;
mod model;
pub mod owners;
mod registration;
pub mod resolve;
mod rhythm;
pub mod selections;
mod service;
pub mod sets;
#[cfg(test)]
mod tests;

pub use actions::{ActionId, DesiredAction};
pub use assignments::{Assignment, AssignmentId};
pub(crate) use catalogue::Catalogues;
pub use definitions::{Definition, DefinitionId};
pub(super) use edition::windows_changed;
pub use edition::{ChangeCounts, DesiredChange, DesiredChangeId, DesiredEdition, DesiredEditionId};
pub use events::*;
pub use manifest::{Manifest, ManifestContent, ManifestContentId, ManifestGroup, Occurrence, manifest_digest};
pub(crate) use manifest::{compile_pending, remove_idle_contents};
pub use model::{DesiredState, Mode, OnFailure, Source, Target};
pub use owners::DeviceOwners;
pub(super) use registration::add_to;
pub use rhythm::{NewRhythm, NewRhythmTimes, Rhythm, RhythmTimes};
pub use selections::DeviceSelections;
pub use service::DesiredService;
pub use sets::{ActionSet, ActionSetId};

use crate::access::Permission;

/// See actions, action sets and definitions.
pub const ACTIONS_READ: Permission = Permission::new("actions:read");
/// Make, alter and delete them; for an action it takes the right to its operation as well.
pub const ACTIONS_WRITE: Permission = Permission::new("actions:write");
/// See assignments, manifests, and why something is applied or not.
pub const ASSIGNMENTS_READ: Permission = Permission::new("assignments:read");
/// Assign actions, sets and definitions.
pub const ASSIGNMENTS_WRITE: Permission = Permission::new("assignments:write");
/// Choose among what is available on one's own devices.
pub const SELECTIONS_WRITE: Permission = Permission::new("selections:write");
