//! What no engine likes. Each of it is within the contract: a backend that loses or alters one of these is wrong.

use std::collections::BTreeMap;

use fleet_core::{
    access::{Actor, AuditEntry, Origin, Outcome, users::User},
    devices::{
        Device, DeviceEvent, DeviceGroup, DeviceId, DeviceState, DeviceSummary, EnrolmentToken, Presence,
        inventory::{
            ContentHash, InventorySection, InventorySectionId, PackageFacts, PackageMemberId, PackageSetId, Section,
            StoredMember, StoredSet, version_key,
        },
    },
    kernel::{EntityId as _, Timestamp},
    protocol::{Gauges, OutputStream},
    store::Result,
    work::{
        Priority, Run, RunId, State, StoredParams,
        output::Chunk,
        run::{Delivery, RunEvent},
    },
};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::{Dataset, dice::Dice, writer::Writer};

/// Texts that must come back byte for byte.
const TEXTS: [&str; 22] = [
    "",
    " leading and trailing ",
    "𝒇𝒍𝒆𝒆𝒕 🛰️ 🧑‍🚀 𠜎",
    "\u{10FFFF}\u{FFFE}\u{FFFF}",
    "\u{1}\u{7}\u{8}\t\r\n\u{1b}[31m\u{7f}",
    "\\ \" ' ` ; -- /* */",
    "'); DROP TABLE device; --",
    "%_[a-z]*?\\%",
    "$1 ?1 :name @name ${x} {{x}}",
    "NULL null \\N",
    "\\u0000 \\x00 \\0",
    "é",
    "e\u{301}",
    "İ I ı i ß ẞ ſ K \u{212A} Σ ς σ",
    "\u{202E}reversed\u{202C}",
    "a\u{200D}b\u{200B}c\u{FEFF}",
    "\u{2028}\u{2029}\u{85}",
    "2026-11-20T12:00:00Z",
    "0019",
    "1e400",
    "true",
    "{\"v\":1}",
];

/// Keys that are different texts, however much some collations make of them one.
const KEYS: [&str; 22] = [
    "key",
    "Key",
    "KEY",
    "kéy",
    "ke\u{301}y",
    "key ",
    " key",
    "key\t",
    "ſ",
    "s",
    "ss",
    "ß",
    "ẞ",
    "K",
    "\u{212A}",
    "i",
    "İ",
    "ı",
    "\u{E000}",
    "\u{FFFF}",
    "\u{10000}",
    "ｋｅｙ",
];

/// A megabyte.
const LARGE: usize = 1_000_000;

impl Dataset {
    pub(crate) async fn write_adversarial(&self, writer: &mut Writer<'_>) -> Result<()> {
        for (n, text) in TEXTS.iter().chain(&KEYS).enumerate() {
            let device = self.adversarial_device(n, text);
            writer.put(&self.adversarial_summary(&device, n)).await?;
            writer.put(&device).await?;
        }
        for (n, key) in KEYS.iter().enumerate() {
            self.write_key(writer, n, key).await?;
        }
        for (n, id) in [Uuid::nil(), Uuid::max(), Uuid::from_u128(1), Uuid::from_u128(1 << 127)]
            .into_iter()
            .enumerate()
        {
            let device = Device {
                id: DeviceId::from_uuid(id),
                machine_id: None,
                ..self.adversarial_device(100 + n, "edge")
            };
            writer.put(&self.adversarial_summary(&device, n)).await?;
            writer.put(&device).await?;
        }
        self.write_members(writer).await?;
        self.write_large(writer).await?;
        self.write_extreme_rows(writer).await
    }

    fn adversarial_device(&self, n: usize, text: &str) -> Device {
        let mut dice = Dice::new(self.seed, "adversarial device", n as u64);
        let extreme = [Timestamp::MIN, Timestamp::MAX, Timestamp::EPOCH, self.now()][n % 4];
        let known = self.device(0);
        Device {
            id: dice.id(self.now()),
            name: text.to_owned(),
            machine_id: Some(format!("{text}/{}", if n < TEXTS.len() { "text" } else { "" })),
            public_key: self.device_key(usize::MAX - n).public(),
            enrolled_at: extreme,
            labels: BTreeMap::from([("text".into(), text.to_owned()), (format!("l{n}"), String::new())]),
            ..known
        }
    }

    fn adversarial_summary(&self, device: &Device, n: usize) -> DeviceSummary {
        DeviceSummary {
            os: Some(device.name.clone()),
            os_name: Some(device.name.repeat(3)),
            presence: Presence::Offline,
            seen_at: Some([Timestamp::MAX, Timestamp::MIN][n % 2]),
            updates: Some(u32::MAX),
            ..DeviceSummary::new(device)
        }
    }

    /// One text in every unique column.
    async fn write_key(&self, writer: &mut Writer<'_>, n: usize, key: &str) -> Result<()> {
        let mut dice = Dice::new(self.seed, "adversarial key", n as u64);
        let user = User {
            id: dice.id(self.now()),
            name: key.to_owned(),
            display_name: key.to_uppercase(),
            role: fleet_core::access::Role::Viewer,
            disabled: true,
            password_hash: None,
            created_at: Timestamp::MIN,
            password_changed_at: None,
            session_version: u32::MAX,
        };
        writer.put(&user).await?;
        let token = EnrolmentToken {
            id: dice.id(self.now()),
            name: key.to_owned(),
            description: key.to_lowercase(),
            prefix: key.to_owned(),
            secret_hash: key.to_owned(),
            max_uses: u32::MAX,
            uses: 0,
            daily_uses: Some(u32::MAX),
            used_on_day: u32::MAX,
            uses_on_day: u32::MAX,
            networks: Vec::new(),
            approval: None,
            expires_at: Timestamp::MAX,
            labels: BTreeMap::new(),
            groups: Default::default(),
            created_at: Timestamp::MIN,
            created_by: Actor::Anonymous,
            used_at: None,
            revoked_at: Some(Timestamp::MIN),
        };
        writer.put(&token).await?;
        // Names of groups are compared in lower case, by Rust's rules and not by an engine's.
        if KEYS[..n].iter().all(|other| other.to_lowercase() != key.to_lowercase()) {
            let group = DeviceGroup {
                id: dice.id(self.now()),
                name: key.to_owned(),
                description: key.to_owned(),
                created_at: Timestamp::MAX,
                query: None,
                query_edition: None,
            };
            writer.put(&group).await?;
        }
        Ok(())
    }

    async fn write_members(&self, writer: &mut Writer<'_>) -> Result<()> {
        let numbers = [1, i64::MAX];
        for number in numbers {
            let version = "🛰".repeat(128);
            let member = StoredMember {
                id: PackageMemberId::of(number),
                number,
                manager: "unknown".into(),
                name: "𠜎".repeat(128),
                version_key: version_key("unknown", &version),
                version,
                architecture: String::new(),
                facts: PackageFacts {
                    installed_size_bytes: Some(u64::MAX),
                    ..PackageFacts::default()
                },
                doubted_since: Some(Timestamp::MIN),
            };
            writer.put(&member).await?;
        }
        let hash = ContentHash::of_bytes(b"adversarial");
        let set = StoredSet {
            id: PackageSetId::of(hash),
            hash,
            members: numbers.to_vec(),
            doubted_since: Some(Timestamp::MAX),
        };
        writer.put(&set).await
    }

    /// Bodies of a megabyte: of 4-byte characters, and of characters that are six bytes each as JSON; numbers and depth.
    async fn write_large(&self, writer: &mut Writer<'_>) -> Result<()> {
        let device = self.adversarial_device(0, TEXTS[0]).id;
        let mut deep = json!(1);
        for _ in 0..50 {
            deep = json!([deep]);
        }
        let bodies: [(Section, Json); 4] = [
            (Section::Services, json!({"text": "🛰".repeat(LARGE / 4)})),
            (Section::Ports, json!({"text": "\u{1}".repeat(LARGE / 6)})),
            (Section::Users, json!({"text": "\"\\".repeat(LARGE / 4), "a": TEXTS})),
            (
                Section::Mounts,
                json!({
                    "deep": deep, "numbers": [u64::MAX, i64::MIN, 9_007_199_254_740_993_u64, 0.1, 1e308, 5e-324, -0.0, 1e15],
                    "": {"": ""}, "é": 1, "e\u{301}": 2, "B": 3, "a": 4, "𠜎": 5, "\u{FFFF}": 6,
                }),
            ),
        ];
        for (section, body) in bodies {
            let section = InventorySection {
                id: InventorySectionId::of(device, section),
                device,
                section,
                hash: ContentHash::of_bytes(b"adversarial"),
                collected_at: Timestamp::MAX,
                received_at: Timestamp::MIN,
                body,
                updates: TEXTS.iter().map(ToString::to_string).collect(),
                security_updates: Vec::new(),
            };
            writer.put(&section).await?;
        }
        let state = DeviceState {
            seen_at: Timestamp::MAX,
            epoch: u64::MAX,
            agent_version: "𠜎".repeat(LARGE / 4),
            gauges: Gauges {
                uptime_seconds: Some(u64::MAX),
                load_hundredths: Some(u32::MAX),
                memory_total_bytes: Some(u64::MAX),
                memory_used_bytes: Some(0),
            },
        };
        writer.set(device, &state).await?;
        let edge = DeviceState {
            seen_at: Timestamp::MIN,
            agent_version: String::new(),
            ..state
        };
        for id in [Uuid::nil(), Uuid::max()] {
            writer.set(DeviceId::from_uuid(id), &edge).await?;
        }
        Ok(())
    }

    /// Rows at the ends of time, with the highest number, in streams at the ends of ids; large ones and odd ones.
    async fn write_extreme_rows(&self, writer: &mut Writer<'_>) -> Result<()> {
        let mut dice = Dice::new(self.seed, "adversarial rows", 0);
        let run = Run {
            id: dice.id::<RunId>(Timestamp::MAX),
            batch: Some(dice.id(Timestamp::MIN)),
            origin: None,
            device: DeviceId::from_uuid(Uuid::max()),
            device_name: TEXTS[2].into(),
            operation: TEXTS[5].into(),
            params: StoredParams::without_secrets(json!({"script": "echo \"$1\"\n".repeat(LARGE / 16)})),
            state: State::Lost,
            priority: Priority::High,
            due_at: Timestamp::MIN,
            delivery: Delivery {
                epoch: Some(u64::MAX),
                attempts: u32::MAX,
                offered_at: Some(Timestamp::MIN),
                receipt_at: None,
            },
            created_at: Timestamp::MIN,
            expires_at: Timestamp::MAX,
            timeout_seconds: u32::MAX,
            output_limit_bytes: u64::MAX,
            started_at: Some(Timestamp::MAX),
            finished_at: Some(Timestamp::MIN),
            cancel_requested_at: None,
            on_hold: true,
            ending: None,
        };
        writer.put(&run).await?;
        let times = [
            Timestamp::MIN,
            Timestamp::EPOCH,
            Timestamp::from_micros(-1),
            Timestamp::MAX,
        ];
        for (place, at) in times.into_iter().enumerate() {
            for n in [0, u32::MAX] {
                let event = RunEvent {
                    run: run.id,
                    device: run.device,
                    batch: run.batch,
                    from: State::Offered,
                    to: State::Lost,
                    at,
                    actor: Actor::System {
                        part: TEXTS[place].into(),
                    },
                    reason: Some(format!("{n} {}", TEXTS[place + 4])),
                };
                writer
                    .append([Uuid::nil(), Uuid::max()][place % 2], at, n, &event)
                    .await?;
                let event = DeviceEvent::new(None, TEXTS[place + 8], at).with(TEXTS[3], TEXTS[place]);
                writer
                    .ingest([Uuid::max(), Uuid::nil()][place % 2], at, n, &event)
                    .await?;
            }
            let chunk = Chunk {
                stream: OutputStream::Agent,
                text: "🧑‍🚀\r\n".repeat(LARGE / 16),
            };
            writer.ingest(run.id.uuid(), at, u32::MAX, &chunk).await?;
        }
        for (n, text) in TEXTS.iter().enumerate() {
            let at = times[n % times.len()];
            let entry = AuditEntry {
                id: dice.uuid(at),
                at,
                actor: Actor::Key {
                    id: Uuid::max(),
                    name: (*text).into(),
                },
                origin: Origin {
                    address: Some((*text).into()),
                    request_id: None,
                },
                action: (*text).into(),
                outcome: Outcome::Refused,
                subject: None,
                changed: vec![text.repeat(100)],
                details: BTreeMap::from([((*text).to_owned(), json!(TEXTS))]),
            };
            writer.append(entry.id, at, u32::MAX, &entry).await?;
        }
        Ok(())
    }
}
