//! Reports of inventory sections as they travel, with their hashes.

use fleet_core::devices::inventory::{
    Cpu, InstalledPackage, Interface, InterfaceAddress, Interfaces, ListeningPort, LocalUser, LockState, Memory, Mount,
    Mounts, Os, Packages, PortScope, Ports, Reboot, Section, SectionBody, SectionReport, Service, Services, Users,
};

use crate::values::at;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub fn bodies() -> Vec<SectionBody> {
    vec![
        SectionBody::Os(Box::new(Os {
            id: "debian".into(),
            name: "Debian GNU/Linux".into(),
            pretty_name: text("Debian GNU/Linux 12 (bookworm)"),
            version: text("12"),
            codename: text("bookworm"),
            family: vec!["debian".into()],
            kernel_name: "Linux".into(),
            kernel_running: "6.1.0-37-amd64".into(),
            kernel_newest_installed: text("6.1.0-38-amd64"),
            architecture: "x86_64".into(),
            hostname: "web-01".into(),
            boot_time: Some(at(-86_400)),
            virtualisation: text("kvm"),
            reboot: Reboot {
                required: true,
                reasons: vec!["linux-image-6.1.0-38-amd64 asks for it".into()],
            },
        })),
        SectionBody::Cpu(Cpu {
            model: text("AMD EPYC 7B13"),
            vendor: text("AuthenticAMD"),
            sockets: Some(1),
            cores: Some(2),
            threads: 4,
        }),
        SectionBody::Memory(Memory {
            total_bytes: 8 << 30,
            swap_total_bytes: 0,
        }),
        SectionBody::Mounts(Mounts {
            items: vec![
                Mount {
                    source: "/dev/vda1".into(),
                    target: "/".into(),
                    fstype: "ext4".into(),
                    read_only: false,
                    size_bytes: Some(20 << 30),
                    used_bytes: Some(5 << 30),
                    available_bytes: Some(14 << 30),
                    inodes: Some(1_310_720),
                    inodes_used: Some(90_000),
                    problem: None,
                },
                Mount {
                    source: "files:/home".into(),
                    target: "/home".into(),
                    fstype: "nfs4".into(),
                    problem: text("no answer within 2 seconds"),
                    ..Mount::default()
                },
            ],
            ..Mounts::default()
        }),
        SectionBody::Interfaces(Interfaces {
            items: vec![Interface {
                name: "eth0".into(),
                mac: text("52:54:00:12:34:56"),
                mtu: Some(1_500),
                state: "up".into(),
                addresses: vec![
                    InterfaceAddress {
                        address: "192.0.2.10".parse().unwrap(),
                        prefix: 24,
                    },
                    InterfaceAddress {
                        address: "2001:db8::10".parse().unwrap(),
                        prefix: 64,
                    },
                ],
            }],
            ..Interfaces::default()
        }),
        SectionBody::Users(Users {
            items: vec![LocalUser {
                name: "ann".into(),
                uid: 1_000,
                gid: 1_000,
                home: "/home/ann".into(),
                shell: "/bin/bash".into(),
                system: false,
                locked: LockState::Unlocked,
                groups: vec!["ann".into(), "sudo".into()],
            }],
            ..Users::default()
        }),
        SectionBody::Ports(Ports {
            items: vec![ListeningPort {
                protocol: "tcp".into(),
                address: "::".parse().unwrap(),
                port: 22,
                scope: PortScope::Any,
                process: text("sshd"),
                pid: Some(700),
                uid: 0,
                user: text("root"),
            }],
            ..Ports::default()
        }),
        SectionBody::Services(Services {
            available: true,
            items: vec![Service {
                name: "ssh.service".into(),
                load_state: "loaded".into(),
                active_state: "active".into(),
                sub_state: "running".into(),
                enabled: text("enabled"),
                description: text("OpenBSD Secure Shell server"),
            }],
            ..Services::default()
        }),
        SectionBody::Packages(Packages {
            available: true,
            manager: "dpkg".into(),
            lists_updated_at: Some(at(-3_600)),
            items: vec![InstalledPackage {
                name: "libssl3".into(),
                version: "3.0.15-1~deb12u1".into(),
                architecture: "amd64".into(),
                source: text("openssl"),
                source_version: None,
                available_version: text("3.0.16-1~deb12u1"),
                security: true,
                origin: text("Debian-Security:12/oldstable-security"),
                held: false,
                installed_size_bytes: Some(6_000_000),
            }],
            truncated: true,
            left_out: 7,
            ..Packages::default()
        }),
    ]
}

#[test]
fn reports_of_all_sections() {
    let reports: Vec<_> = bodies()
        .into_iter()
        .map(|body| SectionReport::new(body, at(0)).unwrap())
        .collect();
    let sections: Vec<_> = reports.iter().map(|report| report.section).collect();
    assert_eq!(sections, Section::ALL);
    let mut text: Vec<_> = reports
        .iter()
        .map(|report| serde_json::to_string(report).unwrap())
        .collect();
    text.push(serde_json::to_string(&reports[0].without_body()).unwrap());
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_report_of_a_later_version_is_verified_with_all_that_it_holds() {
    for body in bodies() {
        let section = body.section();
        let mut value = serde_json::to_value(&body).unwrap();
        crate::sample::with_unknown_members(&mut value);
        let report = serde_json::json!({
            "section": section,
            "hash": fleet_core::devices::inventory::ContentHash::of(&value).unwrap(),
            "collected_at": at(0),
            "body": value,
        });
        let report: SectionReport = serde_json::from_value(report).unwrap();
        assert_eq!(report.verify().unwrap(), Some(body), "{section}");
        assert_eq!(report.body, Some(value), "{section}: kept as it came");
    }
}
