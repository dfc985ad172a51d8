//! Windows as a device holds them by itself, in its manifest.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Outside, Window, WindowId, WindowKind, WindowScope, WindowSet, WindowTimes, rules::Ready};
use crate::{
    devices::{DeviceGroupId, DeviceId},
    kernel::Timestamp,
};

/// A window as far as it decides, for a device that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldWindow {
    /// Its id.
    pub id: WindowId,
    /// Its name.
    pub name: String,
    /// Whether it allows or forbids.
    pub kind: WindowKind,
    /// When it is.
    pub when: WindowTimes,
    /// What happens to work that meets it closed. What is kept waits until it opens, however long it may wait.
    pub outside: Outside,
    /// The kinds of operation that it concerns; when there are none, all that change the device.
    pub operations: BTreeSet<String>,
}

impl Window {
    /// What a device holds that it concerns.
    pub(in crate::work) fn held(&self) -> HeldWindow {
        HeldWindow {
            id: self.id,
            name: self.name.clone(),
            kind: self.kind,
            when: self.when.clone(),
            outside: self.outside,
            operations: self.operations.clone(),
        }
    }
}

impl WindowSet {
    /// Those that concern a device that is in these groups, by their names.
    pub(in crate::work) fn concerning<'a>(
        &'a self,
        device: DeviceId,
        groups: &'a BTreeSet<DeviceGroupId>,
    ) -> impl Iterator<Item = &'a Window> {
        let windows = self.windows.iter().map(|ready| &ready.window);
        windows.filter(move |window| window.scope.includes(device, groups))
    }

    /// Windows that a device holds by itself.
    pub fn of_device(windows: &[HeldWindow]) -> Self {
        let ready = |held: &HeldWindow| {
            let window = Window {
                id: held.id,
                name: held.name.clone(),
                description: String::new(),
                enabled: true,
                kind: held.kind,
                scope: WindowScope {
                    all: true,
                    ..WindowScope::default()
                },
                when: held.when.clone(),
                // What is kept has no time by which it is given up.
                outside: match held.outside {
                    Outside::Postpone { .. } => Outside::Gate,
                    outside => outside,
                },
                operations: held.operations.clone(),
                created_at: Timestamp::MIN,
                updated_at: Timestamp::MIN,
            };
            Ready::new(window, 0)
        };
        Self {
            windows: windows.iter().map(ready).collect(),
        }
    }
}
