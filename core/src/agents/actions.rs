//! Permissions, audit actions and error codes of agent releases.

use crate::{
    access::{Action, Permission},
    kernel::{Class, Code},
};

/// See the releases of the agent.
pub const RELEASES_READ: Permission = Permission::new("agent-releases:read");
/// Upload and withdraw releases of the agent.
pub const RELEASES_MANAGE: Permission = Permission::new("agent-releases:manage");

/// A release was taken in.
pub const RELEASE_CREATE: Action = Action::new("agent_release.create");
/// A release is handed out no more.
pub const RELEASE_WITHDRAW: Action = Action::new("agent_release.withdraw");

/// There is no such release.
pub const RELEASE_NOT_FOUND: Code = Code::new("agent_release.not_found", Class::NotFound);
/// The version and platform have a release of another content.
pub const RELEASE_EXISTS: Code = Code::new("agent_release.exists", Class::Conflict);
/// The program is for another platform than it is said to be, or it does not show for which.
pub const RELEASE_PLATFORM: Code = Code::new("agent_release.platform_invalid", Class::Invalid);
/// There is no release for the platform.
pub const RELEASE_NONE: Code = Code::new("agent_release.none", Class::NotFound);
/// The release was withdrawn.
pub const RELEASE_WITHDRAWN: Code = Code::new("agent_release.withdrawn", Class::Conflict);
/// The release is older than agents may become.
pub const RELEASE_BELOW_FLOOR: Code = Code::new("agent_release.below_floor", Class::Conflict);
