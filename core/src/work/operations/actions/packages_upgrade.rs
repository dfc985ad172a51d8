//! `packages.upgrade`: what is installed is as new as its repositories have it.

use serde::{Deserialize, Serialize};

use super::{
    ActionParams, Presence,
    common::{action, is_false},
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Upkeep},
};

/// Upgrade the packages of devices.
pub const UPGRADE_RUN: Permission = Permission::new("operations.packages.upgrade:run");
/// The name of the kind.
pub const NAME: &str = "packages.upgrade";

/// The parameters of `packages.upgrade`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UpgradeParams {
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Only upgrades that close security holes; an error where the package manager cannot tell which do.
    #[serde(default, skip_serializing_if = "is_false")]
    pub security_only: bool,
    /// Whether to remove what was installed for others that are gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub autoremove: bool,
    /// Whether the device starts anew, a minute later, when the upgrade made that necessary.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reboot_if_required: bool,
}

impl ActionParams for UpgradeParams {
    /// Nothing is downgraded again.
    fn state(&self) -> Presence {
        Presence::Present
    }

    fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Every combination means something.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// The kind.
pub const KIND: OperationKind = OperationKind {
    timeout_seconds: 3_600,
    knows_absence: false,
    ..action::<UpgradeParams>(NAME, "upgrade what is installed", UPGRADE_RUN, Risk::High, Upkeep::Kept)
};
