//! Groups of devices: those that devices are put into, and those that follow from queries.

use fleet_core::{
    devices::{
        DeviceGroup, DeviceGroupId, DeviceSummary,
        groups::{GroupEdition, GroupEditionId, GroupPass},
    },
    store::Result,
};

use crate::{
    Dataset,
    device::SITES,
    dice::Dice,
    people::{audit, somebody},
    writer::Writer,
};

/// A dynamic group: its name, its query, and the same as a function.
type Dynamic = (&'static str, &'static str, fn(&DeviceSummary) -> bool);
const DYNAMIC: [Dynamic; 3] = [
    ("Debian", "os equals debian", |device| {
        device.os.as_deref() == Some("debian")
    }),
    (
        "Behind",
        "security_updates greaterThan 0 and reboot_required equals true",
        |device| device.security_updates > Some(0) && device.reboot_required == Some(true),
    ),
    ("Production", "labels.env equals prod", |device| {
        device.labels.get("env").is_some_and(|env| env == "prod")
    }),
];

/// The id of a group that devices are put into.
pub fn group_id(dataset: &Dataset, n: usize) -> DeviceGroupId {
    Dice::new(dataset.seed, "group", n as u64).id(dataset.long_ago())
}

fn dynamic_id(dataset: &Dataset, n: usize) -> DeviceGroupId {
    Dice::new(dataset.seed, "dynamic group", n as u64).id(dataset.long_ago())
}

impl Dataset {
    /// Puts a device into the dynamic groups that describe it.
    pub(crate) fn place(&self, summary: &mut DeviceSummary) {
        for (n, (_, _, describes)) in DYNAMIC.iter().enumerate() {
            if describes(summary) {
                summary.groups.insert(dynamic_id(self, n));
                summary.dynamic_groups.insert(dynamic_id(self, n));
            }
        }
    }

    pub(crate) async fn write_groups(&self, writer: &mut Writer<'_>) -> Result<()> {
        for n in 0..self.size.groups {
            let name = match SITES.get(n) {
                Some(site) => format!("Site {site}"),
                None => format!("Team {n}"),
            };
            self.write_group(writer, group_id(self, n), name, None).await?;
        }
        for (n, (name, query, _)) in DYNAMIC.iter().enumerate() {
            self.write_group(writer, dynamic_id(self, n), (*name).to_owned(), Some(query))
                .await?;
        }
        let mut dice = Dice::new(self.seed, "group edition", 0);
        let edition = GroupEdition {
            id: GroupEditionId::only(),
            number: DYNAMIC.len() as u64,
            token: dice.uuid(self.long_ago()),
            dynamic: DYNAMIC.len().try_into().unwrap_or(0),
        };
        writer.put(&edition).await?;
        let pass = GroupPass {
            running: None,
            complete: Some(edition.number),
            complete_at: Some(self.now()),
        };
        writer.set(edition.id, &pass).await
    }

    async fn write_group(
        &self,
        writer: &mut Writer<'_>,
        id: DeviceGroupId,
        name: String,
        query: Option<&str>,
    ) -> Result<()> {
        let group = DeviceGroup {
            id,
            name,
            description: "Maintained together".into(),
            created_at: self.long_ago(),
            query: query.map(str::to_owned),
            query_edition: query.map(|_| 1),
        };
        writer.put(&group).await?;
        let mut dice = Dice::new(self.seed, &format!("group facts {id}"), 0);
        let actor = somebody(self, &mut dice);
        let about = (group.id, group.name.as_str());
        let entry = audit::<DeviceGroup>(actor, self.long_ago(), "device_group.create", about, &mut dice);
        writer.append(entry.id, entry.at, 0, &entry).await
    }
}
