//! What is stored of a group, and how it is shown.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    GROUP_DYNAMIC, GROUP_NOT_FOUND, GROUP_QUERY_INVALID, GROUP_QUERY_TOO_LARGE,
    query::{DeviceQuery, QueryError, QueryErrorKind},
};
use crate::{
    Entity,
    devices::device::fold,
    kernel::{EntityId, Error, PageToken, Result, Timestamp, named_uuid},
    store::{LatestValue, Name, Reader},
};

/// The most dynamic groups of a fleet: each of them is evaluated whenever something changes on a device.
pub const MAX_DYNAMIC_GROUPS: u32 = 1_000;

crate::define_id!(
    /// Names a group of devices.
    DeviceGroupId,
    "device group"
);

/// A group of devices. Who is in it stands with the devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_group", version = 1)]
#[entity(computed(name, text, unique, with = DeviceGroup::folded))]
#[entity(computed(dynamic, int, with = DeviceGroup::is_dynamic))]
#[entity(computed(frozen_with, int, with = DeviceGroup::frozen_with))]
pub struct DeviceGroup {
    /// Its id.
    #[entity(id)]
    pub id: DeviceGroupId,
    /// Its name; no two groups have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Which devices are in it, as it was written; none for a group that devices are put into by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The edition of the dynamic groups with which it got its query, or lost it; none for a group that never had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_edition: Option<u64>,
}

impl DeviceGroup {
    fn folded(&self) -> String {
        fold(&self.name)
    }

    fn is_dynamic(&self) -> bool {
        self.query.is_some()
    }

    fn frozen_with(&self) -> Option<i64> {
        let edition = self.query_edition.filter(|_| self.query.is_none())?;
        i64::try_from(edition).ok()
    }
}

crate::define_id!(
    /// Names the one edition of a fleet's dynamic groups.
    GroupEditionId,
    "edition of dynamic groups"
);

impl GroupEditionId {
    /// The only one.
    pub fn only() -> Self {
        Self::from_uuid(named_uuid("device_group_edition", "only"))
    }
}

/// What changes with each change that membership of dynamic groups may follow from: a query, or the name of a group. Absent while there
/// never was a dynamic group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_group_edition", version = 1)]
pub struct GroupEdition {
    /// Its id.
    #[entity(id)]
    pub id: GroupEditionId,
    /// Counts the changes.
    pub number: u64,
    /// Another with each change. A store that was set back to an older state counts on from there; what is remembered of the newer
    /// one must not seem to be of it.
    pub token: Uuid,
    /// How many dynamic groups there are.
    pub dynamic: u32,
}

/// How far the evaluation of all devices is: a latest value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPass {
    /// The pass that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningPass>,
    /// The edition that the last complete pass began with; every device was evaluated with it or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<u64>,
    /// When that pass ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_at: Option<Timestamp>,
}

/// A pass that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningPass {
    /// The edition that it began with.
    pub edition: u64,
    /// Where it goes on; none at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PageToken>,
}

impl GroupPass {
    pub(super) async fn of(reader: &mut Reader) -> Result<Self> {
        let found = reader.latest::<Self>(&[GroupEditionId::only()]).await?;
        Ok(found.into_iter().next().flatten().unwrap_or_default())
    }

    /// Whether all devices were gone over since this group got its query, or lost it.
    pub(super) fn has_settled(&self, group: &DeviceGroup) -> bool {
        group.query_edition.is_none_or(|edition| self.complete >= Some(edition))
    }
}

impl LatestValue for GroupPass {
    type Id = GroupEditionId;
    const SET: Name = "device_group_pass";
    const VERSION: u32 = 1;
}

/// A group of devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceGroupView {
    /// Its id.
    pub id: DeviceGroupId,
    /// How often it was changed since it was made, 1 at first; the ETag of the resource. Members do not count.
    pub revision: u64,
    /// Its name; no two groups have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many devices are in it.
    pub members: u64,
    /// Which devices are in it; null for a group that devices are put into by hand.
    pub query: Option<String>,
    /// When all devices were last evaluated with this query, or a moment later; null until that was done for the first time, and for a
    /// group that devices are put into by hand. In between, each device is evaluated with its own changes.
    pub evaluated_at: Option<Timestamp>,
    /// Whether a pass over all devices is still to be completed that follows a change of its query, or of its kind. Until then each
    /// device is in a group with a new query as it was, or as the query says; who is in a group whose query was removed does not change.
    pub settling: bool,
    /// Whether the query asks for something that devices say of themselves, so that whoever controls a device decides whether it is in.
    pub relies_on_reports: bool,
    /// Why the query cannot be evaluated, so that its members stay as they are; null when it can.
    pub problem: Option<String>,
}

impl DeviceGroupView {
    pub(super) fn new(group: crate::store::Versioned<DeviceGroup>, members: u64, pass: &GroupPass) -> Self {
        let query = group.query.as_deref().map(str::parse::<DeviceQuery>);
        let is_settled = pass.has_settled(&group);
        Self {
            id: group.id,
            revision: group.rev,
            members,
            evaluated_at: pass.complete_at.filter(|_| is_settled && group.query.is_some()),
            settling: !is_settled,
            relies_on_reports: matches!(&query, Some(Ok(query)) if query.relies_on_reports()),
            problem: query.and_then(Result::err).map(|error| error.to_string()),
            name: group.value.name,
            description: group.value.description,
            created_at: group.value.created_at,
            query: group.value.query,
        }
    }
}

/// The refusal of a group that does not exist.
pub(crate) fn group_not_found(id: DeviceGroupId) -> Error {
    GROUP_NOT_FOUND.error(format!("there is no device group {id}"))
}

/// Refuses a group that nobody puts devices into.
pub(crate) fn require_static(group: &DeviceGroup) -> Result<()> {
    match group.query {
        None => Ok(()),
        Some(_) => Err(GROUP_DYNAMIC.error(format!(
            "the members of the group {} follow from its query; change that, or what it asks for, or remove it",
            group.name
        ))),
    }
}

/// The refusal of a text that is no query, which stands in this member of a request.
pub(crate) fn query_refused(error: &QueryError, pointer: &str) -> Error {
    let code = match error.kind {
        QueryErrorKind::Invalid => GROUP_QUERY_INVALID,
        QueryErrorKind::TooLarge => GROUP_QUERY_TOO_LARGE,
    };
    code.error(error.to_string()).with_field(pointer, error.to_string())
}
