//! Releases of the agent: the programs that the server hands out, and what it signs about them.
//!
//! ```text
//!   model    AgentRelease: one version of the agent for one platform, and the blob that it is
//!   rules    which platform a program is for, which release is the newest (pure)
//!   service  AgentReleaseService: take in, withdraw, list; hand out, and sign a manifest
//!   import   the programs that come with a server become releases
//!   gate     the switches that keep `agent.update` from devices
//! ```
//!
//! Of a version and a platform there is one release at a time. A withdrawn one stays in the list and is handed out no more; its
//! program goes after a while ([`crate::blobs`]).

mod actions;
mod gate;
mod import;
mod model;
mod module;
mod rules;
mod service;
mod settings;
#[cfg(test)]
mod tests;

pub use actions::{
    RELEASE_BELOW_FLOOR, RELEASE_CREATE, RELEASE_EXISTS, RELEASE_NONE, RELEASE_NOT_FOUND, RELEASE_PLATFORM,
    RELEASE_WITHDRAW, RELEASE_WITHDRAWN, RELEASES_MANAGE, RELEASES_READ,
};
pub use gate::UPDATES_DISABLED;
pub use import::Imported;
pub use model::{AgentRelease, AgentReleaseId, AgentReleaseView, NewAgentRelease, ReleaseFilter, ReleaseSource};
pub use module::module;
pub use rules::PLATFORMS;
pub(crate) use service::newest_versions;
pub use service::{AgentReleaseService, MANIFEST_LIFE};
pub use settings::{ROLLBACK_FLOOR, UPDATES_ENABLED};
