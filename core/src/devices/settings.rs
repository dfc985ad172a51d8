//! Settings of this part.

use serde::{Deserialize, Serialize};

use crate::settings::{Seconds, SettingKey};

/// Whether new devices wait for an operator.
pub const APPROVAL_REQUIRED: SettingKey<bool> = SettingKey::new(
    "devices.approval_required",
    "Whether a new device waits for an operator to approve it. An enrolment token may say otherwise.",
    || false,
);

/// How often all devices are evaluated although no query changed.
pub const GROUP_EVALUATION: SettingKey<Seconds> = SettingKey::new(
    "devices.group_evaluation_seconds",
    "How often the membership of all devices in dynamic groups is evaluated although nothing changed, in seconds: 1,800 to 28,800, \
     or 0 for never. Changes of queries and devices do not wait for it.",
    || Seconds(3_600),
)
.validated(|every| match every.0 {
    0 => Ok(()),
    _ => every.within(1_800, 28_800),
});

/// What becomes of a machine that comes with a new key and names the machine id of a known device.
pub const KNOWN_MACHINE: SettingKey<KnownMachine> = SettingKey::new(
    "devices.known_machine",
    "What becomes of a machine that names the machine id of a known device but has another key: hold lets an operator decide, \
     replace makes it that device, separate makes it a device of its own.",
    || KnownMachine::Hold,
);

/// See [`KNOWN_MACHINE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownMachine {
    /// It waits, and an operator decides which of the two it is.
    #[default]
    Hold,
    /// It is the known device, whose former key counts no more.
    Replace,
    /// It is a device of its own, which names the other.
    Separate,
}
