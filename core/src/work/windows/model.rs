//! What is stored of a window, and how it is shown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    devices::{DeviceGroupId, DeviceId, device::fold},
    kernel::Timestamp,
    work::schedule::{Schedule, describe, short_time, span_text},
};

crate::define_id!(
    /// Names a window.
    WindowId,
    "window"
);

/// What a window is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Work may begin while it is open, and outside of it not.
    Maintenance,
    /// Work must not begin while it lasts.
    Blackout,
}

/// Which devices a window concerns: all, or those that are in one of the groups or named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WindowScope {
    /// All devices, those that come later too.
    pub all: bool,
    /// The devices that are in one of these groups. A group that was deleted since is in no device, and so concerns none.
    pub groups: BTreeSet<DeviceGroupId>,
    /// These devices.
    pub devices: BTreeSet<DeviceId>,
}

impl WindowScope {
    /// Whether a device that is in `groups` is meant.
    pub fn includes(&self, device: DeviceId, groups: &BTreeSet<DeviceGroupId>) -> bool {
        self.all || self.devices.contains(&device) || !self.groups.is_disjoint(groups)
    }
}

/// When a window is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WindowTimes {
    /// Once.
    Once {
        /// Its first moment.
        starts_at: Timestamp,
        /// The first moment after it.
        ends_at: Timestamp,
    },
    /// Again and again.
    Recurring {
        /// When it starts: minute, hour, day of month, month and day of week, as cron(5) reads them.
        cron: String,
        /// The time zone by its name in the IANA database, such as `Europe/Berlin`.
        zone: String,
        /// How long it lasts each time, in seconds of elapsed time.
        duration_seconds: u32,
    },
}

impl WindowTimes {
    /// In words, such as `every Sunday at 03:00 Europe/Berlin, for 2 hours`.
    pub fn describe(&self) -> String {
        match self {
            Self::Once { starts_at, ends_at } => {
                format!("once, from {} to {}", short_time(*starts_at), short_time(*ends_at))
            }
            Self::Recurring {
                cron,
                zone,
                duration_seconds,
            } => {
                let schedule = Schedule::Cron {
                    cron: cron.clone(),
                    zone: zone.clone(),
                };
                let lasts = span_text((*duration_seconds).into());
                format!("{}, for {lasts}", describe(&schedule))
            }
        }
    }
}

/// What happens to work that meets a window which is closed to it: outside of a maintenance window, or during a blackout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Outside {
    /// It waits for the next opening.
    #[default]
    Gate,
    /// It waits, and expires when it has waited for too long.
    Postpone {
        /// After how long, in seconds.
        give_up_after_seconds: u32,
    },
    /// It runs all the same, and that is noted.
    Allow,
}

/// When devices may be changed, or must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "window", version = 1)]
#[entity(computed(name, text, unique, with = Window::folded))]
pub struct Window {
    /// Its id.
    #[entity(id)]
    pub id: WindowId,
    /// Its name; no two windows have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it counts.
    pub enabled: bool,
    /// Whether it allows or forbids.
    pub kind: WindowKind,
    /// Which devices it concerns.
    pub scope: WindowScope,
    /// When it is.
    pub when: WindowTimes,
    /// What happens to work that meets it closed.
    pub outside: Outside,
    /// The kinds of operation that it concerns; when there are none, all that change the device.
    pub operations: BTreeSet<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl Window {
    fn folded(&self) -> String {
        fold(&self.name)
    }
}

/// A window as people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WindowView {
    /// Its id.
    pub id: WindowId,
    /// How often it was changed since it was made, 1 at first; the ETag of the resource.
    pub revision: u64,
    /// Its name; no two windows have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it counts.
    pub enabled: bool,
    /// Whether it allows or forbids.
    pub kind: WindowKind,
    /// Which devices it concerns.
    pub scope: WindowScope,
    /// When it is.
    pub when: WindowTimes,
    /// The same in words, such as `every Sunday at 03:00 Europe/Berlin, for 2 hours`.
    pub in_words: String,
    /// What happens to work that meets it closed.
    pub outside: Outside,
    /// The kinds of operation that it concerns; when there are none, all that change the device.
    pub operations: BTreeSet<String>,
    /// When what is going on ends; null when it is not its time now.
    pub current_end: Option<Timestamp>,
    /// When it begins next; null when it is over.
    pub next_start: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}
