//! What is known of one device, made fit to be compared many times.

use super::{Attribute, Field, syntax::Text};
use crate::devices::DeviceSummary;

/// What is known of one device.
#[derive(Clone, Debug)]
pub struct Facts {
    /// By name, which is in lower case: no label is allowed another.
    labels: Vec<(String, [Text; 1])>,
    groups: Vec<Text>,
    /// By the number of the attribute; none while nothing is known.
    attributes: [Vec<Text>; Attribute::ALL.len()],
}

impl Facts {
    /// The facts of a device: what its summary shows, and the names of the groups that it was put into by hand.
    pub fn of<'n>(summary: &DeviceSummary, groups: impl IntoIterator<Item = &'n str>) -> Self {
        Self {
            labels: summary
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), [Text::new(value.as_str())]))
                .collect(),
            groups: groups.into_iter().map(Text::new).collect(),
            attributes: Attribute::ALL.map(|attribute| known(summary, attribute)),
        }
    }

    pub(super) fn values(&self, field: &Field) -> &[Text] {
        match field {
            Field::Label(name) => {
                let place = self
                    .labels
                    .binary_search_by(|(label, _)| label.as_str().cmp(name.as_str()));
                place
                    .ok()
                    .and_then(|place| self.labels.get(place))
                    .map_or(&[], |(_, value)| value.as_slice())
            }
            Field::Group => &self.groups,
            // The order of the attributes is that of their numbers.
            Field::Attribute(attribute) => self.attributes.get(*attribute as usize).map_or(&[], Vec::as_slice),
        }
    }
}

fn known(summary: &DeviceSummary, attribute: Attribute) -> Vec<Text> {
    let text = |text: &Option<String>| text.as_deref().map(Text::new).into_iter().collect();
    let part = |n: usize| {
        let version = summary.os_version.as_deref().unwrap_or_default();
        let part = version.split('.').nth(n).filter(|part| !part.is_empty());
        part.map(Text::new).into_iter().collect()
    };
    let number = |number: Option<u64>| number.map(|number| Text::new(number.to_string())).into_iter().collect();
    match attribute {
        Attribute::Name => vec![Text::new(summary.name.as_str())],
        Attribute::Hostname => text(&summary.hostname),
        Attribute::Os => text(&summary.os),
        Attribute::OsVersion => text(&summary.os_version),
        Attribute::OsMajor => part(0),
        Attribute::OsMinor => part(1),
        Attribute::OsFamily => summary
            .os_family
            .iter()
            .map(|member| Text::new(member.as_str()))
            .collect(),
        Attribute::Architecture => text(&summary.architecture),
        Attribute::Kernel => text(&summary.kernel),
        Attribute::AgentVersion => text(&Some(summary.agent_version.clone()).filter(|version| !version.is_empty())),
        Attribute::CpuModel => text(&summary.cpu_model),
        Attribute::CpuCores => number(summary.cpu_cores.map(u64::from)),
        Attribute::CpuThreads => number(summary.cpu_threads.map(u64::from)),
        Attribute::MemoryTotal => number(summary.memory_total),
        Attribute::Virtualisation => text(&summary.virtualisation),
        Attribute::Updates => number(summary.updates.map(u64::from)),
        Attribute::SecurityUpdates => number(summary.security_updates.map(u64::from)),
        Attribute::RebootRequired => text(&summary.reboot_required.map(|required| required.to_string())),
    }
}
