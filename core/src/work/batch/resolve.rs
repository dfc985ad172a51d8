//! Finds the devices that a request means, on the view on which it is decided: from then on they are frozen.

use std::collections::BTreeSet;

use super::{MAX_TARGETS, Targets, request::Order, rules::check_query};
use crate::{
    access::Scope,
    devices::{
        Device, DeviceGroup, DeviceId,
        device::{DeviceFilter, DeviceSummary, Presence},
        groups::{DynamicGroups, Membership, group_not_found, query::DeviceQuery},
        permissions::in_scope,
    },
    kernel::{Class, Code, EntityId as _, MAX_LIMIT, PageRequest, Result},
    store::{Filter, Query, Reader},
};

/// The request means no device.
pub const NO_TARGETS: Code = Code::new("batch.no_targets", Class::Invalid);
/// The request means more devices than one batch may have.
pub const TOO_MANY_TARGETS: Code = Code::new("batch.too_many_targets", Class::Invalid);

/// The devices that are meant, each once, in the order of their ids. Those that were named are not looked at, but for those of a plan,
/// which may have gone since.
pub(super) async fn resolve(
    reader: &mut Reader,
    dynamic: &DynamicGroups,
    scope: &Scope,
    order: &Order,
) -> Result<Vec<DeviceId>> {
    let targets = &order.targets;
    let mut devices: BTreeSet<_> = targets.devices.iter().copied().collect();
    if order.plan.is_some() {
        let there = reader.get_many::<Device>(&targets.devices).await?;
        devices = there.into_iter().flatten().map(|device| device.id).collect();
    }
    for condition in conditions(reader, scope, targets).await? {
        find(reader, condition, None, &mut devices).await?;
    }
    if let Some(query) = &targets.query {
        let described = Described {
            query: check_query(query)?,
            groups: dynamic.read(reader).await?,
        };
        let condition = in_scope(scope).and(described.query.narrow());
        find(reader, condition, Some(&described), &mut devices).await?;
    }
    if devices.is_empty() {
        return Err(NO_TARGETS
            .error("no device is meant: groups, labels and query fit none that is let in")
            .with_field("/targets", "means no device"));
    }
    Ok(devices.into_iter().collect())
}

/// The lists whose devices are meant.
async fn conditions(reader: &mut Reader, scope: &Scope, targets: &Targets) -> Result<Vec<Filter>> {
    let mut conditions = Vec::new();
    if targets.all {
        conditions.push(in_scope(scope));
    }
    if !targets.groups.is_empty() {
        let found = reader.get_many::<DeviceGroup>(&targets.groups).await?;
        for (id, group) in targets.groups.iter().zip(found) {
            if group.is_none() {
                return Err(group_not_found(*id).with_field("/targets/groups", format!("no group {id}")));
            }
        }
        let any = DeviceSummary::GROUPS.one_of(targets.groups.iter().map(|group| group.uuid()));
        conditions.push(in_scope(scope).and(any));
    }
    if !targets.labels.is_empty() {
        let filter = DeviceFilter {
            label: targets.labels.clone(),
            ..DeviceFilter::default()
        };
        let filter = filter.build(scope);
        conditions.push(filter.map_err(|error| error.with_field("/targets/labels", "name or name=value"))?);
    }
    Ok(conditions)
}

/// What a query describes, as of the view on which the work is decided.
struct Described {
    query: DeviceQuery,
    groups: Membership,
}

/// Adds the devices of a list that are let in, and described where that is asked for.
async fn find(
    reader: &mut Reader,
    condition: Filter,
    described: Option<&Described>,
    devices: &mut BTreeSet<DeviceId>,
) -> Result<()> {
    let query = Query::<DeviceSummary>::all().filter(condition);
    let mut page = PageRequest::new(Some(MAX_LIMIT), None)?;
    loop {
        let found = reader.list(&query, &page).await?;
        for device in &found.items {
            let is_let_in = !device.disabled && device.presence != Presence::Pending;
            let is_meant = is_let_in
                && match described {
                    Some(wanted) => wanted.groups.matches(reader, device, &wanted.query).await?,
                    None => true,
                };
            if is_meant {
                devices.insert(device.id);
            }
        }
        if devices.len() > MAX_TARGETS {
            return Err(TOO_MANY_TARGETS
                .error(format!(
                    "one batch has at most {MAX_TARGETS} devices; name fewer at a time"
                ))
                .with_field("/targets", format!("means more than {MAX_TARGETS} devices")));
        }
        match found.next {
            Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
            None => return Ok(()),
        }
    }
}
