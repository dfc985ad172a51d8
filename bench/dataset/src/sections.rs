//! The sections of a device's inventory but the packages. Texts are those that the real tools print.

use std::{net::IpAddr, time::Duration};

use fleet_core::{
    devices::{
        Device,
        inventory::{
            Cpu, Interface, InterfaceAddress, Interfaces, ListeningPort, LocalUser, LockState, Memory, Mount, Mounts,
            Os, PortScope, Ports, Reboot, SectionBody, Service, Services, Users,
        },
    },
    kernel::Timestamp,
};

use crate::{Dataset, catalogue::catalogue, device::addresses, dice::Dice, sets::Contents};

const GIB: u64 = 1 << 30;
/// Where disks are mounted, and of which size in GiB they are.
const DISKS: [(&str, &str, u64); 6] = [
    ("/dev/vda1", "/", 32),
    ("/dev/vda15", "/boot/efi", 1),
    ("/dev/vdb", "/var", 128),
    ("/dev/vdc", "/home", 64),
    ("/dev/mapper/data-srv", "/srv", 512),
    ("/dev/mapper/data-backup", "/backup", 1_024),
];
const PORTS: [(&str, u16, &str, u32, &str); 12] = [
    ("tcp", 22, "sshd", 0, "root"),
    ("tcp", 25, "master", 0, "root"),
    ("udp", 68, "dhclient", 0, "root"),
    ("tcp", 80, "nginx", 0, "root"),
    ("tcp", 111, "rpcbind", 0, "root"),
    ("udp", 123, "chronyd", 101, "_chrony"),
    ("udp", 161, "snmpd", 102, "Debian-snmp"),
    ("tcp", 443, "nginx", 0, "root"),
    ("tcp", 3306, "mariadbd", 110, "mysql"),
    ("tcp", 5432, "postgres", 111, "postgres"),
    ("tcp", 6379, "redis-server", 112, "redis"),
    ("tcp", 9100, "node_exporter", 113, "prometheus"),
];
const SYSTEM_USERS: [(&str, u32); 8] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("mail", 8),
    ("www-data", 33),
    ("nobody", 65_534),
    ("systemd-network", 998),
    ("_chrony", 101),
];

impl Dataset {
    /// All sections of a device but the packages, in the order in which an agent collects them.
    pub(crate) fn sections(&self, n: usize, device: &Device, contents: &Contents) -> Vec<SectionBody> {
        vec![
            SectionBody::Os(Box::new(self.os(n, device, contents))),
            SectionBody::Cpu(self.cpu(n, contents)),
            SectionBody::Memory(Memory {
                total_bytes: self.memory_bytes(n),
                swap_total_bytes: GIB,
            }),
            SectionBody::Mounts(self.mounts(n)),
            SectionBody::Interfaces(interfaces(n)),
            SectionBody::Users(self.users(n)),
            SectionBody::Ports(self.ports(n)),
            SectionBody::Services(self.services(n)),
        ]
    }

    pub(crate) fn os(&self, n: usize, device: &Device, contents: &Contents) -> Os {
        let mut dice = Dice::new(self.seed, "os", n as u64);
        let release = contents.release;
        let kernel = |patch: usize| {
            format!(
                "{}-{patch}-{}",
                release.kernel,
                if contents.arm { "arm64" } else { "amd64" }
            )
        };
        let stale = contents.level < 9 && dice.percent(60);
        let newest = kernel(37);
        Os {
            id: release.id.into(),
            name: release.name.into(),
            pretty_name: Some(release.pretty.into()),
            version: Some(release.version.into()),
            codename: Some(release.codename.into()),
            family: release.family.iter().map(ToString::to_string).collect(),
            kernel_name: "Linux".into(),
            kernel_running: if stale {
                kernel(28 + contents.level)
            } else {
                newest.clone()
            },
            kernel_newest_installed: Some(newest.clone()),
            architecture: if contents.arm { "aarch64" } else { "x86_64" }.into(),
            hostname: format!(
                "{}.{}.example.org",
                device.name,
                device.labels.get("env").map_or("", String::as_str)
            ),
            boot_time: Some(seconds(self.now().minus(Duration::from_secs(dice.next() % 8_640_000)))),
            virtualisation: Some((*dice.pick(&["kvm", "kvm", "vmware", "none"])).into()),
            reboot: Reboot {
                required: stale,
                reasons: if stale {
                    vec![format!("linux-image-{newest} is newer than the running kernel")]
                } else {
                    Vec::new()
                },
            },
        }
    }

    pub(crate) fn cpu(&self, n: usize, contents: &Contents) -> Cpu {
        let threads = 1 << Dice::new(self.seed, "cpu", n as u64).below(6);
        let (model, vendor) = match contents.arm {
            true => ("Neoverse-N1", "ARM"),
            false => ("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", "GenuineIntel"),
        };
        Cpu {
            model: Some(model.into()),
            vendor: Some(vendor.into()),
            sockets: Some(1),
            cores: Some((threads / 2).max(1)),
            threads,
        }
    }

    pub(crate) fn memory_bytes(&self, n: usize) -> u64 {
        GIB << Dice::new(self.seed, "memory", n as u64).below(7)
    }

    fn mounts(&self, n: usize) -> Mounts {
        let mut dice = Dice::new(self.seed, "mounts", n as u64);
        let mount = |disk: usize| {
            let (source, target, gib) = DISKS[disk % DISKS.len()];
            let more = disk / DISKS.len();
            let numbered = |text: &str| {
                if more == 0 {
                    text.to_owned()
                } else {
                    format!("{text}{more}")
                }
            };
            let size = gib * GIB;
            let used = dice.next() % size;
            Mount {
                source: numbered(source),
                target: numbered(target),
                fstype: if target == "/boot/efi" { "vfat" } else { "ext4" }.into(),
                read_only: false,
                size_bytes: Some(size),
                used_bytes: Some(used),
                available_bytes: Some((size - used) / 20 * 19),
                inodes: (target != "/boot/efi").then_some(size / 16_384),
                inodes_used: (target != "/boot/efi").then_some(used / 65_536),
                problem: None,
            }
        };
        let mut items: Vec<_> = (0..self.size.disks).map(mount).collect();
        items.sort_by(|a, b| a.target.cmp(&b.target));
        Mounts {
            items,
            ..Mounts::default()
        }
    }

    fn users(&self, n: usize) -> Users {
        let mut dice = Dice::new(self.seed, "users", n as u64);
        let mut items: Vec<_> = SYSTEM_USERS
            .iter()
            .map(|(name, uid)| LocalUser {
                name: (*name).into(),
                uid: *uid,
                gid: *uid,
                home: if *uid == 0 {
                    "/root".into()
                } else {
                    format!("/var/lib/{name}")
                },
                shell: if *uid == 0 { "/bin/bash" } else { "/usr/sbin/nologin" }.into(),
                system: true,
                locked: LockState::Locked,
                groups: vec![(*name).into()],
            })
            .collect();
        for person in 0..dice.below(4) {
            let name = format!("operator{person}");
            items.push(LocalUser {
                uid: 1_000 + u32::try_from(person).unwrap_or(0),
                gid: 100,
                home: format!("/home/{name}"),
                shell: "/bin/bash".into(),
                system: false,
                locked: if dice.percent(80) {
                    LockState::Locked
                } else {
                    LockState::Unlocked
                },
                groups: vec!["sudo".into(), "users".into()],
                name,
            });
        }
        items.sort_by(|a, b| (a.uid, &a.name).cmp(&(b.uid, &b.name)));
        Users {
            items,
            ..Users::default()
        }
    }

    fn ports(&self, n: usize) -> Ports {
        let mut dice = Dice::new(self.seed, "ports", n as u64);
        let mut items: Vec<_> = (0..self.size.ports)
            .map(|port| {
                let own = (
                    "tcp",
                    20_000 + u16::try_from(port).unwrap_or(0),
                    "app",
                    1_000,
                    "operator0",
                );
                let (protocol, number, process, uid, user) = PORTS.get(port).copied().unwrap_or(own);
                let address: IpAddr = match dice.below(4) {
                    0 => IpAddr::from([127, 0, 0, 1]),
                    1 => addresses(n)[0],
                    2 => IpAddr::from([0_u16; 8]),
                    _ => IpAddr::from([0_u8; 4]),
                };
                ListeningPort {
                    protocol: protocol.into(),
                    address,
                    port: number,
                    scope: PortScope::of(address),
                    process: Some(process.into()),
                    pid: Some(400 + u32::try_from(dice.below(60_000)).unwrap_or(0)),
                    uid,
                    user: Some(user.into()),
                }
            })
            .collect();
        items.sort_by(|a, b| (&a.protocol, a.port, a.address).cmp(&(&b.protocol, b.port, b.address)));
        Ports {
            items,
            ..Ports::default()
        }
    }

    fn services(&self, n: usize) -> Services {
        let mut dice = Dice::new(self.seed, "services", n as u64);
        let listed = &catalogue().services;
        let mut items: Vec<_> = (0..self.size.services)
            .map(|service| {
                let (name, description) = match listed.get(service) {
                    Some((name, description)) => ((*name).to_owned(), *description),
                    None => (format!("app-{service:03}.service"), "An application"),
                };
                let (active, sub) = match dice.below(100) {
                    0 => ("failed", "failed"),
                    1..=55 => ("active", "running"),
                    56..=80 => ("active", "exited"),
                    _ => ("inactive", "dead"),
                };
                Service {
                    name,
                    load_state: "loaded".into(),
                    active_state: active.into(),
                    sub_state: sub.into(),
                    enabled: Some((*dice.pick(&["enabled", "enabled", "static", "disabled"])).into()),
                    description: Some(description.into()),
                }
            })
            .collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Services {
            available: true,
            items,
            ..Services::default()
        }
    }
}

fn interfaces(n: usize) -> Interfaces {
    let [v4, v6] = addresses(n);
    let address = |address: IpAddr, prefix| InterfaceAddress { address, prefix };
    let bytes = u32::try_from(n).unwrap_or(0).to_be_bytes();
    Interfaces {
        items: vec![
            Interface {
                name: "eth0".into(),
                mac: Some(format!(
                    "52:54:{:02x}:{:02x}:{:02x}:{:02x}",
                    bytes[0], bytes[1], bytes[2], bytes[3]
                )),
                mtu: Some(1_500),
                state: "up".into(),
                addresses: vec![address(v4, 16), address(v6, 64)],
            },
            Interface {
                name: "lo".into(),
                mac: None,
                mtu: Some(65_536),
                state: "unknown".into(),
                addresses: vec![
                    address(IpAddr::from([127, 0, 0, 1]), 8),
                    address(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), 128),
                ],
            },
        ],
        ..Interfaces::default()
    }
}

fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_seconds(at.as_seconds())
}
