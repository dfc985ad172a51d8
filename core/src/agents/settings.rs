//! Settings of agent releases.

use crate::{protocol::AgentVersion, settings::SettingKey};

/// Whether agents are updated at all.
pub const UPDATES_ENABLED: SettingKey<bool> = SettingKey::new(
    "agents.updates_enabled",
    "Whether agents may be given other versions of themselves; each device has a switch of its own beside it.",
    || true,
);

/// The oldest version that agents may become.
pub const ROLLBACK_FLOOR: SettingKey<String> = SettingKey::new(
    "agents.rollback_floor",
    "The oldest version that agents may become, such as 1.2.0: no older one is handed out. Empty for any.",
    String::new,
)
.validated(|text| {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<AgentVersion>()
        .map(drop)
        .map_err(|error| error.to_string())
});
