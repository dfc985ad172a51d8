//! Which devices a list holds, and in which order. Only what is declared here can be asked for.

use serde::{Deserialize, Serialize};

use super::{DeviceSummary, Presence, rules::check_label, rules::check_label_name, summary::fold};
use crate::{
    access::Scope,
    devices::{DeviceGroupId, permissions::in_scope},
    kernel::Result,
    search,
    store::{Direction, Field, Filter, Query, Value},
};

/// The most labels of one filter.
const MAX_LABEL_FILTERS: usize = 16;

/// Which devices are wanted; all conditions hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DeviceFilter {
    /// Words, each of which begins a word of the name, host name, labels, operating system or addresses, or the last eight
    /// digits of the id.
    pub search: Option<String>,
    /// The name, without regard to case.
    pub name: Option<String>,
    /// Labels that it has, each as `name` or `name=value`.
    pub label: Vec<String>,
    /// A group that it is in.
    pub group: Option<DeviceGroupId>,
    /// Whether it is heard of.
    pub presence: Option<Presence>,
    /// The distribution's id, such as `debian`.
    pub os: Option<String>,
    /// The distribution's release.
    pub os_version: Option<String>,
    /// The processor architecture.
    pub architecture: Option<String>,
    /// The version of its agent.
    pub agent_version: Option<String>,
    /// Whether updates are waiting.
    pub updates: Option<bool>,
    /// Whether security updates are waiting.
    pub security_updates: Option<bool>,
    /// Whether it should be restarted.
    pub reboot_required: Option<bool>,
}

impl DeviceFilter {
    pub(crate) fn build(&self, scope: &Scope) -> Result<Filter> {
        let text =
            |field: Field<DeviceSummary>, value: &Option<String>| value.as_ref().map(|value| field.eq(value.as_str()));
        let some = |field: Field<DeviceSummary>, wanted: Option<bool>| match wanted {
            Some(true) => Some(field.at_least(1_i64)),
            // What is not known is not known to be none.
            Some(false) => Some(field.eq(0_i64)),
            None => None,
        };
        let mut filter = in_scope(scope);
        if let Some(words) = &self.search {
            filter = filter.and(search::filter(DeviceSummary::TERMS.name(), words));
        }
        if self.label.len() > MAX_LABEL_FILTERS {
            let why = format!("at most {MAX_LABEL_FILTERS} labels can be asked for at once");
            return Err(crate::kernel::Error::invalid_field("label", why));
        }
        for label in &self.label {
            match label.split_once('=') {
                Some((name, value)) => check_label(name, value)?,
                None => check_label_name(label)?,
            }
            filter = filter.and(DeviceSummary::LABELS.eq(label.as_str()));
        }
        let parts = [
            self.name.as_ref().map(|name| DeviceSummary::NAME_FOLDED.eq(fold(name))),
            self.group
                .map(|group| DeviceSummary::GROUPS.eq(crate::kernel::EntityId::uuid(group))),
            self.presence
                .map(|presence| DeviceSummary::PRESENCE.eq(presence.name())),
            text(DeviceSummary::OS, &self.os),
            text(DeviceSummary::OS_VERSION, &self.os_version),
            text(DeviceSummary::ARCHITECTURE, &self.architecture),
            text(DeviceSummary::AGENT_VERSION, &self.agent_version),
            some(DeviceSummary::UPDATES, self.updates),
            some(DeviceSummary::SECURITY_UPDATES, self.security_updates),
            self.reboot_required
                .map(|wanted| DeviceSummary::REBOOT_REQUIRED.eq(Value::from(wanted))),
        ];
        Ok(parts.into_iter().flatten().fold(filter, Filter::and))
    }
}

/// What devices can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeviceSort {
    /// The name, without regard to case.
    #[default]
    Name,
    /// When it was heard of last.
    SeenAt,
    /// How many updates are waiting.
    Updates,
    /// How many security updates are waiting.
    SecurityUpdates,
    /// When it was enrolled.
    EnrolledAt,
}

impl DeviceSort {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Name,
        Self::SeenAt,
        Self::Updates,
        Self::SecurityUpdates,
        Self::EnrolledAt,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::SeenAt => "seen_at",
            Self::Updates => "updates",
            Self::SecurityUpdates => "security_updates",
            Self::EnrolledAt => "enrolled_at",
        }
    }

    fn field(self) -> Field<DeviceSummary> {
        match self {
            Self::Name => DeviceSummary::NAME_FOLDED,
            Self::SeenAt => DeviceSummary::SEEN_AT,
            Self::Updates => DeviceSummary::UPDATES,
            Self::SecurityUpdates => DeviceSummary::SECURITY_UPDATES,
            Self::EnrolledAt => DeviceSummary::ENROLLED_AT,
        }
    }
}

/// An order of devices; by name when nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceOrder {
    /// By what.
    pub by: DeviceSort,
    /// In which direction.
    pub direction: Direction,
}

impl DeviceOrder {
    pub(super) fn query(self, filter: Filter) -> Query<DeviceSummary> {
        Query::all().filter(filter).order(self.by.field(), self.direction)
    }
}
