//! One device: what is decided about it, what lists show of it, and its state at the last heartbeat.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use fleet_core::{
    devices::{Device, DeviceId, DeviceLink, DeviceState, DeviceSummary, Presence, device::Pending},
    kernel::{SigningKey, Timestamp},
    protocol::Gauges,
};

use crate::{
    Dataset,
    dice::Dice,
    groups, people,
    sets::{Contents, Facts},
};

/// The sites that devices stand at.
pub const SITES: [&str; 12] = [
    "berlin",
    "boston",
    "cape-town",
    "dublin",
    "lima",
    "madrid",
    "mumbai",
    "osaka",
    "oslo",
    "perth",
    "quito",
    "zürich",
];
/// The versions of agents, the newest first.
const AGENTS: [&str; 4] = ["0.1.0", "0.1.0", "0.0.9", "0.0.8"];

impl Dataset {
    /// The id of a device.
    pub fn device_id(&self, device: usize) -> DeviceId {
        Dice::new(self.seed, "device id", device as u64).id(self.enrolled_at(device))
    }

    /// The key that a device proves itself with.
    pub fn device_key(&self, device: usize) -> SigningKey {
        SigningKey::from_bytes(&Dice::new(self.seed, "device key", device as u64).bytes())
    }

    /// Devices came over 300 days, and the last a day ago.
    fn enrolled_at(&self, device: usize) -> Timestamp {
        let back = Duration::from_secs(301 * 86_400);
        let step = Duration::from_secs(300 * 86_400) / u32::try_from(self.size.devices.max(1)).unwrap_or(u32::MAX);
        self.now().minus(back).plus(step * u32::try_from(device).unwrap_or(0))
    }

    /// Whether and when a device is heard of. One in a hundred never was, and has no inventory; some of those wait to be approved.
    pub(crate) fn presence(&self, device: usize) -> Presence {
        let mut dice = Dice::new(self.seed, "presence", device as u64);
        match dice.below(100) {
            0 if device >= self.size.package_sets && device.is_multiple_of(3) => Presence::Pending,
            0 if device >= self.size.package_sets => Presence::Never,
            0..=6 => Presence::Offline,
            _ => Presence::Online,
        }
    }

    fn seen_at(&self, device: usize) -> Option<Timestamp> {
        let mut dice = Dice::new(self.seed, "seen", device as u64);
        match self.presence(device) {
            Presence::Never | Presence::Pending => None,
            Presence::Online => Some(self.now().minus(Duration::from_micros(dice.next() % 30_000_000))),
            Presence::Offline => Some(self.now().minus(Duration::from_secs(120 + dice.next() % (40 * 86_400)))),
        }
    }

    /// What is decided about a device.
    pub fn device(&self, device: usize) -> Device {
        let mut dice = Dice::new(self.seed, "device", device as u64);
        let role = self.kind_of_set(self.set_of(device)).1;
        let site = dice.below(SITES.len());
        let environment = *dice.pick(&["prod", "prod", "prod", "stage", "dev"]);
        let mut labels = BTreeMap::from([
            ("env".to_owned(), environment.to_owned()),
            ("role".to_owned(), role.to_owned()),
            ("site".to_owned(), SITES[site].to_owned()),
        ]);
        if dice.percent(40) {
            labels.insert("rack".into(), format!("r{:02}", dice.below(48)));
        }
        if dice.percent(3) {
            labels.insert("pinned".into(), String::new());
        }
        let groups = self.size.groups;
        let groups: BTreeSet<_> = [site, SITES.len() + dice.below(groups)]
            .into_iter()
            .take(dice.below(3))
            .map(|group| groups::group_id(self, group % groups.max(1)))
            .collect();
        Device {
            id: self.device_id(device),
            name: format!("{role}-{device:05}"),
            machine_id: Some(dice.hex::<16>()),
            public_key: self.device_key(device).public(),
            enrolled_at: self.enrolled_at(device),
            enrolled_by: people::token_id(self, device),
            labels,
            groups: if self.size.groups == 0 { BTreeSet::new() } else { groups },
            disabled: dice.percent(1),
            agent_version: (*dice.pick(&AGENTS)).to_owned(),
            agent_updates_enabled: true,
            certificate: None,
            revoked_at: None,
            pending: (self.presence(device) == Presence::Pending).then_some(Pending::New),
            duplicate_of: None,
            claimed_machine_id: None,
            enrolled_from: Some(addresses(device)[0].to_string()),
        }
    }

    /// What lists show of a device.
    pub(crate) fn summary(&self, n: usize, device: &Device, contents: &Contents, facts: &Facts) -> DeviceSummary {
        let mut summary = self.reported(n, device, contents, facts);
        self.place(&mut summary);
        summary
    }

    fn reported(&self, n: usize, device: &Device, contents: &Contents, facts: &Facts) -> DeviceSummary {
        let mut summary = DeviceSummary::new(device);
        summary.presence = self.presence(n);
        summary.seen_at = self.seen_at(n);
        if matches!(summary.presence, Presence::Never | Presence::Pending) {
            return summary;
        }
        let cpu = self.cpu(n, contents);
        summary.cpu_model = cpu.model;
        summary.cpu_cores = cpu.cores;
        summary.cpu_threads = Some(cpu.threads);
        summary.memory_total = Some(self.memory_bytes(n));
        let os = self.os(n, device, contents);
        summary.os = Some(os.id);
        summary.os_version = os.version;
        summary.os_name = os.pretty_name;
        summary.kernel = Some(os.kernel_running);
        summary.architecture = Some(os.architecture);
        summary.hostname = Some(os.hostname);
        summary.reboot_required = Some(os.reboot.required);
        summary.os_family = os.family;
        summary.virtualisation = os.virtualisation;
        summary.addresses = addresses(n).map(|address| address.to_string()).to_vec();
        summary.updates = Some(facts.updates);
        summary.security_updates = Some(facts.security_updates);
        summary.package_set = Some(facts.id);
        summary
    }

    /// The state of a device at its last heartbeat.
    pub(crate) fn state(&self, n: usize, device: &Device) -> Option<DeviceState> {
        let mut dice = Dice::new(self.seed, "state", n as u64);
        let total = self.memory_bytes(n);
        Some(DeviceState {
            seen_at: self.seen_at(n)?,
            epoch: 1 + dice.next() % 40,
            agent_version: device.agent_version.clone(),
            gauges: Gauges {
                uptime_seconds: Some(dice.next() % 8_640_000),
                load_hundredths: Some(u32::try_from(dice.below(1_600)).unwrap_or(0)),
                memory_total_bytes: Some(total),
                memory_used_bytes: Some(dice.next() % total),
            },
        })
    }

    /// The connection of a device.
    pub(crate) fn link(&self, device: DeviceId, state: &DeviceState) -> DeviceLink {
        DeviceLink {
            id: device,
            server: Dice::new(self.seed, "server", 0).uuid(self.now()),
            epoch: state.epoch,
            connected_at: state.seen_at.minus(Duration::from_secs(3_600)),
        }
    }
}

/// The addresses by which a device may be reached, those of IPv4 first.
pub fn addresses(n: usize) -> [IpAddr; 2] {
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    let [_, b, c, d] = n.saturating_add(1).to_be_bytes();
    [
        Ipv4Addr::new(10, b, c, d).into(),
        Ipv6Addr::from(0xfd00_0000_0000_0000_0000_0000_0000_0000 | u128::from(n) << 16 | 1).into(),
    ]
}
