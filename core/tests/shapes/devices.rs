//! What `devices` stores.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::{
    certificates::DeviceCertificate,
    devices::{
        DEVICE_OFFLINE, DEVICES_SEEN, Device, DeviceEvent, DeviceGroup, DeviceLink, DeviceState, DeviceSummary,
        EnrolmentToken, Presence,
        device::Pending,
        enrolment::{EnrolmentPin, EnrolmentPinId},
        groups::{GroupEdition, GroupEditionId, GroupPass, RunningPass},
    },
    kernel::PageToken,
    protocol::Gauges,
};

use crate::{
    sample::{Sample, document, latest, row, show},
    values::{at, id, key, user, uuid},
};

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("env".into(), "prod".into()), ("rack".into(), String::new())])
}

pub fn device() -> Device {
    Device {
        id: id(10),
        name: "Web-01".into(),
        machine_id: Some("0123456789abcdef0123456789abcdef".into()),
        public_key: key(102).public(),
        enrolled_at: at(0),
        enrolled_by: id(12),
        labels: labels(),
        groups: BTreeSet::from([id(11)]),
        disabled: false,
        agent_version: "0.1.0".into(),
        agent_updates_enabled: true,
        certificate: Some(DeviceCertificate {
            serial: "4f".repeat(16),
            authority: id(30),
            issued_at: at(60),
            not_after: at(86_460),
        }),
        revoked_at: None,
        pending: None,
        duplicate_of: None,
        claimed_machine_id: None,
        enrolled_from: Some("192.0.2.10".into()),
    }
}

pub fn samples() -> Vec<Sample> {
    vec![
        document(
            "with everything",
            &Device {
                pending: Some(Pending::Duplicate),
                duplicate_of: Some(id(13)),
                claimed_machine_id: Some("fedcba9876543210fedcba9876543210".into()),
                ..device()
            },
        ),
        document(
            "with the least",
            &Device {
                id: id(13),
                name: "unnamed".into(),
                machine_id: None,
                labels: BTreeMap::new(),
                groups: BTreeSet::new(),
                disabled: true,
                agent_version: String::new(),
                certificate: None,
                revoked_at: Some(at(90)),
                pending: None,
                duplicate_of: None,
                claimed_machine_id: None,
                enrolled_from: None,
                ..device()
            },
        ),
        document(
            "with an inventory",
            &DeviceSummary {
                os: Some("debian".into()),
                os_version: Some("12".into()),
                os_name: Some("Debian GNU/Linux 12 (bookworm)".into()),
                kernel: Some("6.1.0-37-amd64".into()),
                architecture: Some("x86_64".into()),
                hostname: Some("web-01.example.org".into()),
                addresses: vec!["192.0.2.10".into(), "2001:db8::10".into()],
                presence: Presence::Online,
                seen_at: Some(at(30)),
                updates: Some(12),
                security_updates: Some(3),
                reboot_required: Some(true),
                package_set: Some(id(14)),
                groups: BTreeSet::from([id(11), id(16)]),
                dynamic_groups: BTreeSet::from([id(16)]),
                os_family: vec!["debian".into()],
                virtualisation: Some("kvm".into()),
                cpu_model: Some("AMD EPYC 7763".into()),
                cpu_cores: Some(4),
                cpu_threads: Some(8),
                memory_total: Some(8 << 30),
                ..DeviceSummary::new(&device())
            },
        ),
        document("of a device that was never heard of", &DeviceSummary::new(&device())),
        document(
            "a dynamic group",
            &DeviceGroup {
                id: id(16),
                name: "Debian".into(),
                description: String::new(),
                created_at: at(0),
                query: Some("os equals debian".into()),
                query_edition: Some(7),
            },
        ),
        document(
            "a group",
            &DeviceGroup {
                id: id(11),
                name: "Web Servers".into(),
                description: "Behind the balancer".into(),
                created_at: at(0),
                query: None,
                query_edition: None,
            },
        ),
        document(
            "after seven changes",
            &GroupEdition {
                id: GroupEditionId::only(),
                number: 7,
                token: uuid(17),
                dynamic: 1,
            },
        ),
        document(
            "used once",
            &EnrolmentToken {
                id: id(12),
                name: "rack 7".into(),
                description: "Machines of rack 7".into(),
                prefix: "AbCdEfGh".into(),
                secret_hash: "d".repeat(64),
                max_uses: 20,
                uses: 1,
                daily_uses: Some(5),
                used_on_day: 20_833,
                uses_on_day: 1,
                approval: Some(true),
                networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
                expires_at: at(86_400),
                labels: labels(),
                groups: BTreeSet::from([id(11)]),
                created_at: at(0),
                created_by: user(),
                used_at: Some(at(60)),
                revoked_at: None,
            },
        ),
        document(
            "guessed at twice",
            &EnrolmentPin {
                id: EnrolmentPinId::of_slot(0),
                token: id(12),
                pin_hash: serde_json::from_value("e".repeat(64).into()).unwrap(),
                wrong_tries: 2,
                expires_at: at(600),
            },
        ),
        document(
            "the newest connection",
            &DeviceLink {
                id: id(10),
                server: uuid(15),
                epoch: 7,
                connected_at: at(30),
            },
        ),
        row(
            "of one device",
            &DeviceEvent::new(Some(id(10)), DEVICE_OFFLINE, at(120)).with("seen_at", at(30).to_string()),
        ),
        row(
            "of many devices",
            &DeviceEvent::new(None, DEVICES_SEEN, at(300)).with("devices", 500),
        ),
        latest(
            "under way again",
            &GroupPass {
                running: Some(RunningPass {
                    edition: 7,
                    after: Some(PageToken::from_text("AQIDBAUGBwgJ")),
                }),
                complete: Some(6),
                complete_at: Some(at(60)),
            },
        ),
        latest(
            "with all gauges",
            &DeviceState {
                seen_at: at(30),
                epoch: 7,
                agent_version: "0.1.0".into(),
                gauges: Gauges {
                    uptime_seconds: Some(86_400),
                    load_hundredths: Some(25),
                    memory_total_bytes: Some(8 << 30),
                    memory_used_bytes: Some(1 << 30),
                },
            },
        ),
        latest(
            "without gauges",
            &DeviceState {
                seen_at: at(30),
                epoch: 1,
                agent_version: String::new(),
                gauges: Gauges::default(),
            },
        ),
    ]
}

#[test]
fn what_is_stored_of_devices() {
    insta::assert_snapshot!(show(&samples()));
}
