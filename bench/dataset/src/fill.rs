//! Streaming a fleet into a backend.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use fleet_core::{
    Fleet,
    access::Actor,
    devices::{
        DEVICE_CONNECTED, DEVICE_OFFLINE, DEVICE_ONLINE, DEVICES_SEEN, Device, DeviceEvent, DeviceGroup, DeviceGroupId,
        INVENTORY_CHANGED, Presence,
        inventory::{
            InventorySection, InventorySectionId, PackageFacts, PackageMemberId, PackageSet, Section, SectionReport,
            StoredMember, StoredSet,
        },
    },
    kernel::{EntityId as _, ManualClock, SeededRandom},
    store::Backend,
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Dataset, FillError, LEFT_OUT,
    dice::Dice,
    people::{audit, somebody},
    sets::{Contents, Facts},
    writer::Writer,
};

/// The share of devices that were changed after they were enrolled: one in so many.
const CHANGED: usize = 20;

/// How far the filling is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being written.
    pub phase: &'static str,
    /// How many of it are.
    pub done: usize,
    /// Of how many.
    pub of: usize,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filled {
    /// Devices.
    pub devices: usize,
    /// Distinct package sets.
    pub package_sets: usize,
    /// Distinct packages, each in one version for one architecture.
    pub package_members: usize,
    /// Writes of documents, removals included.
    pub writes: u64,
    /// Latest values.
    pub latest: u64,
    /// Rows of lanes.
    pub rows: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// Commits.
    pub commits: u64,
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} devices with {} distinct package sets ({:.1} for each 100 devices) of {} packages; {} writes of documents, {} \
             latest values and {} rows, {:.1} MB of bodies, in {} commits; left out: {LEFT_OUT}",
            self.devices,
            self.package_sets,
            self.package_sets as f64 * 100.0 / self.devices.max(1) as f64,
            self.package_members,
            self.writes,
            self.latest,
            self.rows,
            self.bytes as f64 / 1e6,
            self.commits
        )
    }
}

impl Dataset {
    /// Opens a fleet over a store that this dataset fills or has filled: at its time and with its master key.
    pub async fn open(&self, backend: &Arc<dyn Backend>) -> Result<Fleet, FillError> {
        let fleet = Fleet::builder(backend.clone(), self.master_key())
            .clock(Arc::new(ManualClock::new(self.now())))
            .random(Arc::new(SeededRandom::new(self.seed)))
            .open()
            .await?;
        Ok(fleet)
    }

    /// Fills an empty store. It needs the same few megabytes and some hundred bytes for each package set, whatever the size;
    /// `progress` is told after each batch.
    pub async fn fill(
        &self,
        backend: &Arc<dyn Backend>,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Filled, FillError> {
        // The server's own keys and its authority, as its first start makes them.
        let fleet = self.open(backend).await?;
        let view = backend.view().await?;
        // Each is one commit.
        if view.seq() > 2 {
            return Err(FillError::NotEmpty);
        }
        drop((view, fleet));
        let mut writer = Writer::new(self, &**backend, &mut progress);
        writer.at.phase = "people";
        self.write_people(&mut writer).await?;
        self.write_groups(&mut writer).await?;
        self.write_upkeep(&mut writer).await?;
        self.write_desired(&mut writer).await?;
        let facts = self.write_sets(&mut writer).await?;
        for n in 0..self.size.devices {
            writer.at = at("devices", n, self.size.devices);
            self.write_device(&mut writer, n, &facts).await?;
        }
        writer.flush().await?;
        for n in 0..self.size.batches {
            writer.at = at("work", n, self.size.batches);
            self.write_batch(&mut writer, n).await?;
        }
        writer.flush().await?;
        self.change_some(&mut writer, &facts).await?;
        if self.size.adversarial {
            writer.at = at("adversarial", 0, 1);
            self.write_adversarial(&mut writer).await?;
            writer.flush().await?;
        }
        writer.filled.devices = self.size.devices;
        writer.filled.package_sets = facts.len();
        Ok(writer.filled)
    }

    async fn write_sets(&self, writer: &mut Writer<'_>) -> Result<Vec<Facts>, FillError> {
        let mut known = HashSet::new();
        let mut all = Vec::with_capacity(self.size.package_sets);
        for n in 0..self.size.package_sets {
            writer.at = at("package sets", n, self.size.package_sets);
            let contents = self.contents(n);
            let facts = contents.facts(self.now())?;
            for (member, package) in contents.members() {
                let number = member.member_id();
                if known.insert(number) {
                    let stored = StoredMember {
                        id: PackageMemberId::of(number),
                        number,
                        version_key: member.version_key(),
                        manager: member.manager,
                        name: member.name,
                        version: member.version,
                        architecture: member.architecture,
                        facts: PackageFacts {
                            source: package.source.clone(),
                            source_version: package.source_version.clone(),
                            installed_size_bytes: package.installed_size_bytes,
                        },
                        doubted_since: None,
                    };
                    writer.put(&stored).await?;
                }
            }
            let set = PackageSet::new(contents.members().map(|(member, _)| member));
            let stored = StoredSet {
                id: facts.id,
                hash: set.hash(),
                members: set.members().iter().map(|member| member.member_id()).collect(),
                doubted_since: None,
            };
            writer.put(&stored).await?;
            all.push(facts);
        }
        writer.flush().await?;
        writer.filled.package_members = known.len();
        Ok(all)
    }

    async fn write_device(&self, writer: &mut Writer<'_>, n: usize, facts: &[Facts]) -> Result<(), FillError> {
        let device = self.device(n);
        let set = self.set_of(n);
        let contents = self.contents(set);
        writer.put(&device).await?;
        writer.put(&self.summary(n, &device, &contents, &facts[set])).await?;
        let mut dice = Dice::new(self.seed, "device audit", n as u64);
        let actor = Actor::Device {
            id: device.id.uuid(),
            name: device.name.clone(),
        };
        let entry = audit::<Device>(
            actor,
            device.enrolled_at,
            "device.enrolled",
            (device.id, &device.name),
            &mut dice,
        );
        writer.append(entry.id, entry.at, 0, &entry).await?;
        if matches!(self.presence(n), Presence::Never | Presence::Pending) {
            return Ok(());
        }
        self.write_sections(writer, n, &device, &contents, &facts[set]).await?;
        self.write_escrow(writer, n, &device).await?;
        if let Some(state) = self.state(n, &device) {
            writer.put(&self.link(device.id, &state)).await?;
            writer.set(device.id, &state).await?;
        }
        self.write_events(writer, n, &device).await
    }

    async fn write_sections(
        &self,
        writer: &mut Writer<'_>,
        n: usize,
        device: &Device,
        contents: &Contents,
        facts: &Facts,
    ) -> Result<(), FillError> {
        for body in self.sections(n, device, contents) {
            let report = SectionReport::new(body, self.now())?;
            let section = InventorySection {
                id: InventorySectionId::of(device.id, report.section),
                device: device.id,
                section: report.section,
                hash: report.hash,
                collected_at: report.collected_at,
                received_at: self.now(),
                body: report.body.unwrap_or_default(),
                updates: Vec::new(),
                security_updates: Vec::new(),
            };
            writer.put(&section).await?;
        }
        let packages = InventorySection {
            id: InventorySectionId::of(device.id, Section::Packages),
            device: device.id,
            section: Section::Packages,
            hash: facts.section_hash,
            collected_at: self.now(),
            received_at: self.now(),
            body: contents.stored(facts.id, self.now()),
            updates: contents.updates(false),
            security_updates: contents.updates(true),
        };
        Ok(writer.put(&packages).await?)
    }

    async fn write_events(&self, writer: &mut Writer<'_>, n: usize, device: &Device) -> Result<(), FillError> {
        let mut dice = Dice::new(self.seed, "events", n as u64);
        for event in 0..self.size.events {
            let name = [DEVICE_CONNECTED, INVENTORY_CHANGED, DEVICE_OFFLINE, DEVICE_ONLINE][event % 4];
            let back = Duration::from_secs(dice.next() % (30 * 86_400));
            let event = DeviceEvent::new(Some(device.id), name, self.now().minus(back));
            let event = match name {
                INVENTORY_CHANGED => event.with("section", "mounts").with("hash", dice.hex::<32>()),
                _ => event,
            };
            writer.ingest(device.id.uuid(), event.at, 0, &event).await?;
        }
        if n.is_multiple_of(500) {
            let event = DeviceEvent::new(None, DEVICES_SEEN, self.now()).with("devices", 500);
            writer
                .ingest(Uuid::nil(), event.at, u32::try_from(n).unwrap_or(0), &event)
                .await?;
        }
        Ok(())
    }

    /// What came after: some devices have another label, some groups are gone.
    async fn change_some(&self, writer: &mut Writer<'_>, facts: &[Facts]) -> Result<(), FillError> {
        for n in (0..self.size.devices).step_by(CHANGED) {
            writer.at = at("changes", n, self.size.devices);
            let mut dice = Dice::new(self.seed, "change", n as u64);
            let mut device = self.device(n);
            device
                .labels
                .insert("owner".into(), (*dice.pick(&["platform", "data", "büro"])).into());
            let set = self.set_of(n);
            writer.put(&device).await?;
            writer
                .put(&self.summary(n, &device, &self.contents(set), &facts[set]))
                .await?;
            let actor = somebody(self, &mut dice);
            let mut entry = audit::<Device>(
                actor,
                self.now(),
                "device.label.set",
                (device.id, &device.name),
                &mut dice,
            );
            entry.changed.push("labels/owner".into());
            writer.append(entry.id, entry.at, 0, &entry).await?;
        }
        let mut dice = Dice::new(self.seed, "former groups", 0);
        let former: Vec<DeviceGroupId> = (0..self.size.groups.div_ceil(5)).map(|_| dice.id(self.now())).collect();
        for (n, id) in former.iter().enumerate() {
            let group = DeviceGroup {
                id: *id,
                name: format!("Project {n}"),
                description: String::new(),
                created_at: self.now(),
                query: None,
                query_edition: None,
            };
            writer.put(&group).await?;
        }
        writer.flush().await?;
        for id in former {
            writer.delete::<DeviceGroup>(id).await?;
            let actor = somebody(self, &mut dice);
            let entry = audit::<DeviceGroup>(actor, self.now(), "device_group.delete", (id, "Project"), &mut dice);
            writer.append(entry.id, entry.at, 0, &entry).await?;
        }
        Ok(writer.flush().await?)
    }
}

fn at(phase: &'static str, done: usize, of: usize) -> Progress {
    Progress { phase, done, of }
}
