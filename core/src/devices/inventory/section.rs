//! Sections of an inventory and how one travels.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{ContentHash, Cpu, Interfaces, Memory, Mounts, Os, Packages, Ports, Services, Users};
use crate::kernel::{Timestamp, canonical::CanonicalError};

/// A part of the inventory that is collected and reported by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// The operating system.
    Os,
    /// The processors.
    Cpu,
    /// The memory.
    Memory,
    /// Mounted file systems.
    Mounts,
    /// Network interfaces.
    Interfaces,
    /// Installed packages and their updates.
    Packages,
    /// Units of systemd.
    Services,
    /// Listening ports.
    Ports,
    /// Local user accounts.
    Users,
}

impl Section {
    /// All of them, in the order in which they are collected.
    pub const ALL: [Self; 9] = [
        Self::Os,
        Self::Cpu,
        Self::Memory,
        Self::Mounts,
        Self::Interfaces,
        Self::Users,
        Self::Ports,
        Self::Services,
        Self::Packages,
    ];

    /// Its name in JSON and in addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Mounts => "mounts",
            Self::Interfaces => "interfaces",
            Self::Packages => "packages",
            Self::Services => "services",
            Self::Ports => "ports",
            Self::Users => "users",
        }
    }

    /// The most items that its list may have; what is beyond is left out and counted. Sections without a list say 0.
    pub const fn max_items(self) -> usize {
        match self {
            Self::Os | Self::Cpu | Self::Memory => 0,
            Self::Mounts | Self::Interfaces => 1_000,
            Self::Services | Self::Ports => 5_000,
            Self::Users => 10_000,
            Self::Packages => 20_000,
        }
    }

    /// The most bytes that its body may have as JSON without white space.
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Os | Self::Cpu | Self::Memory => 64 << 10,
            Self::Mounts | Self::Interfaces => 512 << 10,
            Self::Services | Self::Ports | Self::Users => 2 << 20,
            Self::Packages => 8 << 20,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Section {
    type Err = BodyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|section| section.name() == text)
            .ok_or(BodyError::UnknownSection)
    }
}

/// Why a section's report is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// There is no section of this name.
    #[error("no such inventory section")]
    UnknownSection,
    /// The body is not of the section's shape.
    #[error("the body of section {section} is malformed: {cause}")]
    Malformed {
        /// Whose body it is.
        section: Section,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// The body has no canonical form.
    #[error("the body of section {section} cannot be stored: {cause}")]
    Canonical {
        /// Whose body it is.
        section: Section,
        /// What is wrong with it.
        cause: CanonicalError,
    },
    /// The body is larger than [`Section::max_bytes`].
    #[error("the body of section {section} has {bytes} bytes, more than {}", .section.max_bytes())]
    TooLarge {
        /// Whose body it is.
        section: Section,
        /// Its canonical size.
        bytes: usize,
    },
    /// The list is longer than [`Section::max_items`].
    #[error("the list of section {section} has {items} items, more than {}", .section.max_items())]
    TooMany {
        /// Whose body it is.
        section: Section,
        /// How many there are.
        items: usize,
    },
    /// The hash is not that of the body.
    #[error("the hash of section {section} is not that of its body")]
    HashDiffers {
        /// Whose hash it is.
        section: Section,
    },
}

/// The typed body of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SectionBody {
    /// The operating system.
    Os(Box<Os>),
    /// The processors.
    Cpu(Cpu),
    /// The memory.
    Memory(Memory),
    /// Mounted file systems.
    Mounts(Mounts),
    /// Network interfaces.
    Interfaces(Interfaces),
    /// Installed packages and their updates.
    Packages(Packages),
    /// Units of systemd.
    Services(Services),
    /// Listening ports.
    Ports(Ports),
    /// Local user accounts.
    Users(Users),
}

impl SectionBody {
    /// Whose body it is.
    pub const fn section(&self) -> Section {
        match self {
            Self::Os(_) => Section::Os,
            Self::Cpu(_) => Section::Cpu,
            Self::Memory(_) => Section::Memory,
            Self::Mounts(_) => Section::Mounts,
            Self::Interfaces(_) => Section::Interfaces,
            Self::Packages(_) => Section::Packages,
            Self::Services(_) => Section::Services,
            Self::Ports(_) => Section::Ports,
            Self::Users(_) => Section::Users,
        }
    }

    /// Reads the body of `section`; members that this version does not know are passed over.
    pub fn from_value(section: Section, value: &Value) -> Result<Self, BodyError> {
        fn read<T: DeserializeOwned>(section: Section, value: &Value) -> Result<T, BodyError> {
            T::deserialize(value).map_err(|cause| BodyError::Malformed { section, cause })
        }
        let body = match section {
            Section::Os => Self::Os(Box::new(read(section, value)?)),
            Section::Cpu => Self::Cpu(read(section, value)?),
            Section::Memory => Self::Memory(read(section, value)?),
            Section::Mounts => Self::Mounts(read(section, value)?),
            Section::Interfaces => Self::Interfaces(read(section, value)?),
            Section::Packages => Self::Packages(read(section, value)?),
            Section::Services => Self::Services(read(section, value)?),
            Section::Ports => Self::Ports(read(section, value)?),
            Section::Users => Self::Users(read(section, value)?),
        };
        match body.items() {
            Some(items) if items > section.max_items() => Err(BodyError::TooMany { section, items }),
            _ => Ok(body),
        }
    }

    /// How many items its list has; `None` for sections without a list.
    pub fn items(&self) -> Option<usize> {
        match self {
            Self::Os(_) | Self::Cpu(_) | Self::Memory(_) => None,
            Self::Mounts(body) => Some(body.items.len()),
            Self::Interfaces(body) => Some(body.items.len()),
            Self::Packages(body) => Some(body.items.len()),
            Self::Services(body) => Some(body.items.len()),
            Self::Ports(body) => Some(body.items.len()),
            Self::Users(body) => Some(body.items.len()),
        }
    }

    /// Leaves out the end of the list until the body fits [`Section::max_items`] and [`Section::max_bytes`], and says so in
    /// the body's `truncated` and `left_out`.
    pub fn bound(&mut self) {
        let section = self.section();
        self.keep(section.max_items());
        // What is kept shrinks by at least a quarter each time, so this ends.
        while self.json_len() > section.max_bytes() && self.items().is_some_and(|items| items > 0) {
            self.keep(self.items().unwrap_or(0) * 3 / 4);
        }
    }

    fn keep(&mut self, most: usize) {
        fn cut<T>(items: &mut Vec<T>, truncated: &mut bool, left_out: &mut u64, most: usize) {
            if items.len() > most {
                *truncated = true;
                *left_out = left_out.saturating_add((items.len() - most) as u64);
                items.truncate(most);
            }
        }
        match self {
            Self::Os(_) | Self::Cpu(_) | Self::Memory(_) => {}
            Self::Mounts(body) => cut(&mut body.items, &mut body.truncated, &mut body.left_out, most),
            Self::Interfaces(body) => cut(&mut body.items, &mut body.truncated, &mut body.left_out, most),
            Self::Packages(body) => cut(&mut body.items, &mut body.truncated, &mut body.left_out, most),
            Self::Services(body) => cut(&mut body.items, &mut body.truncated, &mut body.left_out, most),
            Self::Ports(body) => cut(&mut body.items, &mut body.truncated, &mut body.left_out, most),
            Self::Users(body) => cut(&mut body.items, &mut body.truncated, &mut body.left_out, most),
        }
    }

    /// The size as JSON, counted without keeping it.
    fn json_len(&self) -> usize {
        struct Count(usize);
        impl std::io::Write for Count {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut count = Count(0);
        // What cannot be written has no size that fits.
        serde_json::to_writer(&mut count, self).map_or(usize::MAX, |()| count.0)
    }
}

/// One section as it travels from the agent to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "section": "memory", "hash": "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a",
    "collected_at": "2026-11-21T07:00:00.000000Z", "body": {"total_bytes": 8589934592_u64, "swap_total_bytes": 0}
})))]
pub struct SectionReport {
    /// Which section.
    pub section: Section,
    /// BLAKE3 of the body's canonical JSON.
    pub hash: ContentHash,
    /// When the agent collected it, by the device's clock.
    pub collected_at: Timestamp,
    /// The body; absent when the server has it already. It stays as it came, so that members from a newer agent are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub body: Option<Value>,
}

impl SectionReport {
    /// A full report of `body`, which is first made to fit.
    pub fn new(mut body: SectionBody, collected_at: Timestamp) -> Result<Self, BodyError> {
        body.bound();
        let section = body.section();
        let value = serde_json::to_value(&body).map_err(|cause| BodyError::Malformed { section, cause })?;
        drop(body);
        let hash = ContentHash::of_bytes(&canonical(section, &value)?);
        Ok(Self {
            section,
            hash,
            collected_at,
            body: Some(value),
        })
    }

    /// The same report for a server that has the body already.
    #[must_use]
    pub fn without_body(&self) -> Self {
        Self {
            section: self.section,
            hash: self.hash,
            collected_at: self.collected_at,
            body: None,
        }
    }

    /// Checks what came from a device: the size, the hash, the shape. Gives the typed body, or `None` when the report carries
    /// only the hash.
    pub fn verify(&self) -> Result<Option<SectionBody>, BodyError> {
        let section = self.section;
        let Some(value) = &self.body else {
            return Ok(None);
        };
        if ContentHash::of_bytes(&canonical(section, value)?) != self.hash {
            return Err(BodyError::HashDiffers { section });
        }
        SectionBody::from_value(section, value).map(Some)
    }
}

fn canonical(section: Section, value: &Value) -> Result<Vec<u8>, BodyError> {
    let bytes = crate::kernel::canonical::to_vec(value).map_err(|cause| BodyError::Canonical { section, cause })?;
    if bytes.len() > section.max_bytes() {
        return Err(BodyError::TooLarge {
            section,
            bytes: bytes.len(),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::LocalUser, *};

    fn users(count: usize, name: &str) -> SectionBody {
        SectionBody::Users(Users {
            items: (0..count)
                .map(|n| LocalUser {
                    name: name.to_owned(),
                    uid: n as u32,
                    ..LocalUser::default()
                })
                .collect(),
            ..Users::default()
        })
    }

    fn report(body: SectionBody) -> SectionReport {
        SectionReport::new(body, Timestamp::EPOCH).unwrap()
    }

    #[test]
    fn names_are_one_in_json_and_text() {
        for section in Section::ALL {
            assert_eq!(serde_json::to_value(section).unwrap(), json!(section.name()));
            assert_eq!(section.name().parse::<Section>().unwrap(), section);
        }
        assert!(matches!("Users".parse::<Section>(), Err(BodyError::UnknownSection)));
    }

    #[test]
    fn a_report_survives_the_journey() {
        let body = users(3, "ann");
        let sent = serde_json::to_string(&report(body.clone())).unwrap();
        let came: SectionReport = serde_json::from_str(&sent).unwrap();
        assert_eq!(came.verify().unwrap(), Some(body));
        let short = serde_json::to_value(came.without_body()).unwrap();
        assert_eq!(
            short
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect::<std::collections::BTreeSet<_>>(),
            ["section", "hash", "collected_at"].into()
        );
        assert_eq!(
            serde_json::from_value::<SectionReport>(short)
                .unwrap()
                .verify()
                .unwrap(),
            None
        );
    }

    #[test]
    fn the_same_body_has_the_same_hash_whenever_it_was_collected() {
        let one = report(users(2, "ann"));
        let other = SectionReport::new(users(2, "ann"), Timestamp::from_seconds(99)).unwrap();
        assert_eq!(one.hash, other.hash);
        assert_ne!(one.hash, report(users(2, "bob")).hash);
    }

    #[test]
    fn members_from_a_newer_agent_are_hashed_and_passed_over() {
        let value = json!({"total_bytes": 5, "swap_total_bytes": 0, "pages": "huge"});
        let came = SectionReport {
            section: Section::Memory,
            hash: ContentHash::of(&value).unwrap(),
            collected_at: Timestamp::EPOCH,
            body: Some(value),
        };
        let expected = Memory {
            total_bytes: 5,
            swap_total_bytes: 0,
        };
        assert_eq!(came.verify().unwrap(), Some(SectionBody::Memory(expected)));
    }

    #[test]
    fn a_false_report_is_refused() {
        let mut other_body = report(users(1, "ann"));
        other_body.body = report(users(1, "bob")).body;
        assert!(matches!(other_body.verify(), Err(BodyError::HashDiffers { .. })));

        let mut other_section = report(users(1, "ann"));
        other_section.section = Section::Ports;
        assert!(matches!(other_section.verify(), Err(BodyError::Malformed { .. })));

        let mut with_nul = report(users(1, "ann"));
        with_nul.body = Some(json!({"items": [], "x": "\0"}));
        assert!(matches!(with_nul.verify(), Err(BodyError::Canonical { .. })));

        let mut large = report(users(1, "ann"));
        large.body = Some(json!({"items": [], "x": "y".repeat(Section::Users.max_bytes())}));
        assert!(matches!(large.verify(), Err(BodyError::TooLarge { .. })));
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        #[track_caller]
        fn check(body: SectionBody) {
            let all = body.items().unwrap();
            let report = report(body);
            let Some(SectionBody::Users(users)) = report.verify().unwrap() else {
                panic!("not the section that was sent");
            };
            assert!(users.truncated);
            assert!(!users.items.is_empty());
            assert_eq!(users.left_out + users.items.len() as u64, all as u64);
        }
        check(users(Section::Users.max_items() + 7, "a"));
        check(users(2_000, &"n".repeat(5_000)));
    }
}
