//! The switches that keep `agent.update` from devices.

use super::UPDATES_ENABLED;
use crate::{
    kernel::{Class, Code},
    work::operations::{Gate, agent_update},
};

/// Agents are not updated, or the agent of this device is not.
pub const UPDATES_DISABLED: Code = Code::new("agent_update.disabled", Class::Conflict);

pub(super) const GATE: Gate = Gate {
    operation: agent_update::NAME,
    check: |settings, device| {
        if !settings.get(&UPDATES_ENABLED) {
            return Err(UPDATES_DISABLED.error("agents are not updated: the setting agents.updates_enabled is off"));
        }
        if !device.agent_updates_enabled {
            return Err(UPDATES_DISABLED.error(format!(
                "the agent of {} is not updated: its switch is off",
                device.name
            )));
        }
        Ok(())
    },
};
