//! What is asked of a window, and whether it can be.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Outside, WINDOW_NEVER_OPENS, WindowKind, WindowScope, WindowTimes};
use crate::{
    devices::{
        DeviceGroupId, DeviceId,
        device::{check_description, check_name},
    },
    kernel::{Error, Result, Timestamp},
    work::{
        Operations,
        operations::UNKNOWN_KIND,
        schedule::{SCHEDULE_NEVER, check_recurring},
    },
};

/// The most groups that a window names.
pub const MAX_GROUPS: usize = 100;
/// The most devices that a window names; a group holds more.
pub const MAX_DEVICES: usize = 500;
/// The most kinds of operation that a window names.
pub const MAX_OPERATIONS: usize = 50;
/// The longest that a window lasts each time, in seconds: 31 days.
pub const MAX_DURATION_SECONDS: u32 = 31 * 86_400;
/// The longest that work waits for a window which makes it give up, in seconds: 30 days, as for a device that is offline.
pub const MAX_GIVE_UP_SECONDS: u32 = 30 * 86_400;

/// The shortest window, in seconds.
const MIN_DURATION: u32 = 60;

/// Which devices a window shall concern: all, or those that are in one of the groups or named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NewWindowScope {
    /// All devices; then neither groups nor devices are named.
    pub all: bool,
    /// The devices of these groups; at most 100.
    pub groups: Vec<DeviceGroupId>,
    /// These devices; at most 500.
    pub devices: Vec<DeviceId>,
}

/// When a window shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewWindowTimes {
    /// Once.
    Once {
        /// Its first moment.
        starts_at: Timestamp,
        /// The first moment after it; at most 31 days later, and to come.
        ends_at: Timestamp,
    },
    /// Again and again.
    Recurring {
        /// When it starts: minute, hour, day of month, month and day of week, as cron(5) reads them; at most 128 bytes.
        cron: String,
        /// The time zone by its name in the IANA database, such as `Europe/Berlin`; UTC when left out.
        #[serde(default = "utc")]
        zone: String,
        /// How long it lasts each time, in seconds of elapsed time; 60 to 2,678,400 (31 days).
        duration_seconds: u32,
    },
}

fn utc() -> String {
    "UTC".into()
}

/// What shall happen to work that meets a window which is closed to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewOutside {
    /// It waits for the next opening.
    #[default]
    Gate,
    /// It waits, and expires when it has waited for too long.
    Postpone {
        /// After how long, in seconds; at most 2,592,000 (30 days).
        give_up_after_seconds: u32,
    },
    /// It runs all the same, and that is noted.
    Allow,
}

/// A window to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Sunday nights", "kind": "maintenance", "scope": {"all": true}, "when": {"type": "recurring", "cron": "0 3 * * 0", "zone": "Europe/Berlin", "duration_seconds": 7200}, "outside": {"policy": "gate"}})))]
#[serde(deny_unknown_fields)]
pub struct NewWindow {
    /// Its name; no two windows have the same, without regard to case.
    pub name: String,
    /// What it is for; at most 2,000 bytes.
    #[serde(default)]
    pub description: String,
    /// Whether it counts.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether it allows or forbids.
    pub kind: WindowKind,
    /// Which devices it concerns.
    pub scope: NewWindowScope,
    /// When it is.
    pub when: NewWindowTimes,
    /// What happens to work that meets it closed; it waits when left out.
    #[serde(default)]
    pub outside: NewOutside,
    /// The kinds of operation that it concerns, at most 50; all that change the device when there are none.
    #[serde(default)]
    pub operations: Vec<String>,
}

fn yes() -> bool {
    true
}

/// What may be set of a window; what is absent stays as it is, what is given replaces the whole member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"enabled": false})))]
#[serde(default, deny_unknown_fields)]
pub struct WindowChange {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it counts.
    pub enabled: Option<bool>,
    /// Whether it allows or forbids.
    pub kind: Option<WindowKind>,
    /// Which devices it concerns.
    pub scope: Option<NewWindowScope>,
    /// When it is.
    pub when: Option<NewWindowTimes>,
    /// What happens to work that meets it closed.
    pub outside: Option<NewOutside>,
    /// The kinds of operation that it concerns.
    pub operations: Option<Vec<String>>,
}

/// A change that was checked, but for whether groups and devices exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) kind: Option<WindowKind>,
    pub(super) scope: Option<WindowScope>,
    pub(super) when: Option<WindowTimes>,
    pub(super) outside: Option<Outside>,
    pub(super) operations: Option<BTreeSet<String>>,
}

impl From<&NewWindow> for WindowChange {
    fn from(new: &NewWindow) -> Self {
        let new = new.clone();
        Self {
            name: Some(new.name),
            description: Some(new.description),
            enabled: Some(new.enabled),
            kind: Some(new.kind),
            scope: Some(new.scope),
            when: Some(new.when),
            outside: Some(new.outside),
            operations: Some(new.operations),
        }
    }
}

impl WindowChange {
    /// Checks each member that is given.
    pub(super) fn check(&self, operations: &Operations, now: Timestamp) -> Result<Checked> {
        self.name.as_deref().map(check_name).transpose()?;
        self.description.as_deref().map(check_description).transpose()?;
        let named = self.operations.as_deref();
        Ok(Checked {
            name: self.name.clone(),
            description: self.description.clone(),
            enabled: self.enabled,
            kind: self.kind,
            scope: self.scope.as_ref().map(check_scope).transpose()?,
            when: self.when.as_ref().map(|when| check_times(when, now)).transpose()?,
            outside: self.outside.map(check_outside).transpose()?,
            operations: named.map(|named| check_operations(named, operations)).transpose()?,
        })
    }
}

fn check_scope(scope: &NewWindowScope) -> Result<WindowScope> {
    if scope.groups.len() > MAX_GROUPS {
        return Err(Error::invalid_field(
            "/scope/groups",
            format!("at most {MAX_GROUPS} groups"),
        ));
    }
    if scope.devices.len() > MAX_DEVICES {
        let why = format!("at most {MAX_DEVICES} devices; put more into a group");
        return Err(Error::invalid_field("/scope/devices", why));
    }
    let names_some = !scope.groups.is_empty() || !scope.devices.is_empty();
    if scope.all == names_some {
        let why = "say either all, or name groups or devices";
        return Err(Error::invalid_field("/scope", why));
    }
    Ok(WindowScope {
        all: scope.all,
        groups: scope.groups.iter().copied().collect(),
        devices: scope.devices.iter().copied().collect(),
    })
}

fn check_times(when: &NewWindowTimes, now: Timestamp) -> Result<WindowTimes> {
    let never = |member: &str, why: &str| {
        let pointer = format!("/when/{member}");
        Err(WINDOW_NEVER_OPENS
            .error(format!("the window would never open: {why}"))
            .with_field(pointer, why))
    };
    match when {
        NewWindowTimes::Once { starts_at, ends_at } => {
            if ends_at <= starts_at {
                return never("ends_at", "it ends before it starts");
            }
            if *ends_at <= now {
                return never("ends_at", "its end is past");
            }
            if ends_at.since(*starts_at).as_secs() > MAX_DURATION_SECONDS.into() {
                let why = format!("at most {} days after its start", MAX_DURATION_SECONDS / 86_400);
                return Err(Error::invalid_field("/when/ends_at", why));
            }
            Ok(WindowTimes::Once {
                starts_at: *starts_at,
                ends_at: *ends_at,
            })
        }
        NewWindowTimes::Recurring {
            cron,
            zone,
            duration_seconds,
        } => {
            let checked = check_recurring(cron, zone, "/when");
            let (cron, zone) = match checked {
                Err(error) if error.code() == SCHEDULE_NEVER => {
                    return never("cron", "there is no such day in any year");
                }
                checked => checked?,
            };
            if !(MIN_DURATION..=MAX_DURATION_SECONDS).contains(duration_seconds) {
                let why = format!("{MIN_DURATION} to {MAX_DURATION_SECONDS} seconds");
                return Err(Error::invalid_field("/when/duration_seconds", why));
            }
            Ok(WindowTimes::Recurring {
                cron,
                zone,
                duration_seconds: *duration_seconds,
            })
        }
    }
}

fn check_outside(outside: NewOutside) -> Result<Outside> {
    match outside {
        NewOutside::Gate => Ok(Outside::Gate),
        NewOutside::Allow => Ok(Outside::Allow),
        NewOutside::Postpone { give_up_after_seconds } => {
            if !(1..=MAX_GIVE_UP_SECONDS).contains(&give_up_after_seconds) {
                let why = format!("1 to {MAX_GIVE_UP_SECONDS} seconds");
                return Err(Error::invalid_field("/outside/give_up_after_seconds", why));
            }
            Ok(Outside::Postpone { give_up_after_seconds })
        }
    }
}

fn check_operations(named: &[String], operations: &Operations) -> Result<BTreeSet<String>> {
    if named.len() > MAX_OPERATIONS {
        let why = format!("at most {MAX_OPERATIONS} kinds of operation");
        return Err(Error::invalid_field("/operations", why));
    }
    for (at, name) in named.iter().enumerate() {
        if let Err(error) = operations.kind(name) {
            let message = error.message().to_owned();
            return Err(UNKNOWN_KIND
                .error(message)
                .with_field(format!("/operations/{at}"), "unknown"));
        }
    }
    Ok(named.iter().cloned().collect())
}
