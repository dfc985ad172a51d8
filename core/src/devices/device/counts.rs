//! Counts over the fleet, for the first page.

use serde::{Deserialize, Serialize};

use super::{DeviceSummary, Presence};
use crate::{
    kernel::Result,
    store::{Filter, Reader, Value},
};

/// The most operating systems that are counted one by one.
const MAX_OS: usize = 50;

/// How many devices there are, by what matters at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetCounts {
    /// All devices.
    pub devices: u64,
    /// Those that are heard of regularly.
    pub online: u64,
    /// Those that were not heard of for too long.
    pub offline: u64,
    /// Those that were never heard of.
    pub never: u64,
    /// Those that wait for an operator to let them in.
    pub pending: u64,
    /// Those on which updates wait.
    pub with_updates: u64,
    /// Those on which security updates wait.
    pub with_security_updates: u64,
    /// Those that should be restarted.
    pub reboot_required: u64,
    /// By operating system, the most frequent first; at most 50.
    pub os: Vec<OsCount>,
}

/// How many devices run an operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OsCount {
    /// The distribution's id, such as `debian`; null for those that did not tell yet.
    pub os: Option<String>,
    /// How many devices run it.
    pub devices: u64,
}

impl FleetCounts {
    pub(super) async fn read(reader: &mut Reader, filter: &Filter) -> Result<Self> {
        let mut counts = Self::default();
        for (value, devices) in reader.tally(filter, DeviceSummary::PRESENCE).await? {
            counts.devices += devices;
            match value {
                Value::Text(name) if name == Presence::Online.name() => counts.online = devices,
                Value::Text(name) if name == Presence::Offline.name() => counts.offline = devices,
                Value::Text(name) if name == Presence::Pending.name() => counts.pending = devices,
                _ => counts.never += devices,
            }
        }
        let with = |part: Filter| filter.clone().and(part);
        let updates = with(DeviceSummary::UPDATES.at_least(1_i64));
        let security = with(DeviceSummary::SECURITY_UPDATES.at_least(1_i64));
        let reboot = with(DeviceSummary::REBOOT_REQUIRED.eq(1_i64));
        counts.with_updates = reader.count::<DeviceSummary>(&updates).await?;
        counts.with_security_updates = reader.count::<DeviceSummary>(&security).await?;
        counts.reboot_required = reader.count::<DeviceSummary>(&reboot).await?;
        counts.os = reader
            .tally(filter, DeviceSummary::OS)
            .await?
            .into_iter()
            .map(|(value, devices)| OsCount {
                os: match value {
                    Value::Text(os) => Some(os),
                    _ => None,
                },
                devices,
            })
            .collect();
        counts
            .os
            .sort_by(|a, b| b.devices.cmp(&a.devices).then_with(|| a.os.cmp(&b.os)));
        counts.os.truncate(MAX_OS);
        Ok(counts)
    }
}
