//! Settings of this part.

use serde::{Deserialize, Serialize};

use super::batch::MAX_APPROVALS;
use crate::settings::{Seconds, SettingKey};

/// Which work somebody else has to agree to.
pub const APPROVALS_FOR: SettingKey<ApprovalsFor> = SettingKey::new(
    "work.approvals_for",
    "Which work begins only when others agree, whatever is asked for: nothing, risky (kinds that can do anything to a device), \
     or everything. What is assigned as desired state is applied without asking.",
    || ApprovalsFor::Nothing,
);

/// On how many devices risky work has to be confirmed.
pub const CONFIRM_ABOVE: SettingKey<u32> = SettingKey::new(
    "work.confirm_above",
    "Risky work (kinds that can do anything to a device) on more devices than so many, or on all devices, is made only when whoever asks \
     says on how many, 1 to 10,000.",
    || 10,
)
.validated(|above| match (1..=10_000).contains(above) {
    true => Ok(()),
    false => Err("1 to 10,000".into()),
});

/// How many have to agree.
pub const APPROVALS_NEEDED: SettingKey<u32> = SettingKey::new(
    "work.approvals_needed",
    "How many others have to agree to work that needs approval, 1 to 10.",
    || 1,
)
.validated(|needed| match (1..=MAX_APPROVALS).contains(needed) {
    true => Ok(()),
    false => Err(format!("1 to {MAX_APPROVALS}")),
});

/// How long they have time.
pub const APPROVAL_SECONDS: SettingKey<Seconds> = SettingKey::new(
    "work.approval_seconds",
    "How long work waits for approval before it expires, in seconds: 5 minutes to 30 days.",
    || Seconds(86_400),
)
.validated(|time| time.within(300, 30 * 86_400));

/// See [`APPROVALS_FOR`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalsFor {
    /// Only to what was asked to be approved.
    #[default]
    Nothing,
    /// To kinds that can do anything to a device.
    Risky,
    /// To every kind.
    Everything,
}
