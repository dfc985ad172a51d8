//! Which platform a program is for, and which release is handed out. Pure.

use super::{AgentRelease, RELEASE_PLATFORM};
use crate::{
    kernel::{Error, Result},
    protocol::AgentVersion,
};

/// Platforms that agents are made for.
pub const PLATFORMS: [&str; 5] = [
    "linux-aarch64",
    "linux-armv7",
    "linux-i686",
    "linux-riscv64",
    "linux-x86_64",
];

/// The bytes of a program that say what it is for: up to `e_machine` of an ELF header.
pub(super) const HEADER: usize = 20;

/// What the first bytes of a program say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    /// It is for this platform.
    For(&'static str),
    /// It is for a machine that no agent is made for.
    Other,
    /// It is not in ELF: it says nothing.
    Silent,
}

/// Reads the header (System V ABI, chapter 4: class, byte order and machine).
fn header(bytes: &[u8]) -> Header {
    const CLASS_32: u8 = 1;
    const CLASS_64: u8 = 2;
    const LITTLE: u8 = 1;
    let Some(head) = bytes.first_chunk::<HEADER>() else {
        return Header::Silent;
    };
    if !head.starts_with(b"\x7fELF") {
        return Header::Silent;
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    match (head[4], head[5], machine) {
        (CLASS_64, LITTLE, 62) => Header::For("linux-x86_64"),
        (CLASS_64, LITTLE, 183) => Header::For("linux-aarch64"),
        (CLASS_64, LITTLE, 243) => Header::For("linux-riscv64"),
        (CLASS_32, LITTLE, 40) => Header::For("linux-armv7"),
        (CLASS_32, LITTLE, 3) => Header::For("linux-i686"),
        _ => Header::Other,
    }
}

/// The platform of a program, by what is said of it and by its first bytes, which must not disagree.
pub(super) fn platform_of(said: Option<&str>, bytes: &[u8]) -> Result<&'static str> {
    let invalid = |why: String| RELEASE_PLATFORM.error(why.clone()).with_field("platform", why);
    let said = said.map(|said| known(said).ok_or_else(|| unknown(said))).transpose()?;
    match (header(bytes), said) {
        (Header::For(found), None) => Ok(found),
        (Header::For(found), Some(said)) if found == said => Ok(found),
        (Header::For(found), Some(said)) => Err(invalid(format!("the program is for {found}, not for {said}"))),
        (Header::Other, _) => Err(invalid("the program is for a machine that no agent is made for".into())),
        (Header::Silent, Some(said)) => Ok(said),
        (Header::Silent, None) => Err(invalid(
            "the program does not show what it is for: name the platform".into(),
        )),
    }
}

fn known(name: &str) -> Option<&'static str> {
    PLATFORMS.into_iter().find(|known| *known == name)
}

/// The refusal of a platform that no agent is made for.
fn unknown(name: &str) -> Error {
    let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    let why = format!(
        "there are no agents for {name:?}; there are for {}",
        PLATFORMS.join(", ")
    );
    RELEASE_PLATFORM.error(why.clone()).with_field("platform", why)
}

/// The newest of the releases that are handed out.
pub(super) fn newest(releases: impl IntoIterator<Item = AgentRelease>) -> Option<AgentRelease> {
    releases
        .into_iter()
        .filter(|release| release.withdrawn_at.is_none())
        .max_by(|a, b| a.version.cmp(&b.version))
}

/// Where nothing is said, any version.
pub(super) fn lowest() -> AgentVersion {
    AgentVersion::new(0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(class: u8, order: u8, machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([class, order]);
        bytes.resize(18, 0);
        bytes.extend(machine.to_le_bytes());
        bytes
    }

    #[track_caller]
    fn check(said: Option<&str>, bytes: &[u8], expected: Option<&str>) {
        let found = platform_of(said, bytes);
        assert_eq!(found.as_ref().ok().copied(), expected);
        if let Err(error) = found {
            assert_eq!(error.code(), RELEASE_PLATFORM);
        }
    }

    #[test]
    fn a_program_says_what_it_is_for() {
        check(None, &elf(2, 1, 62), Some("linux-x86_64"));
        check(None, &elf(2, 1, 183), Some("linux-aarch64"));
        check(None, &elf(2, 1, 243), Some("linux-riscv64"));
        check(None, &elf(1, 1, 40), Some("linux-armv7"));
        check(None, &elf(1, 1, 3), Some("linux-i686"));
        // x32, big-endian ARM, SPARC.
        for other in [elf(1, 1, 62), elf(1, 2, 40), elf(2, 1, 2)] {
            check(None, &other, None);
            check(Some("linux-x86_64"), &other, None);
        }
    }

    #[test]
    fn what_is_said_and_what_is_there_must_not_disagree() {
        check(Some("linux-x86_64"), &elf(2, 1, 62), Some("linux-x86_64"));
        check(Some("linux-aarch64"), &elf(2, 1, 62), None);
        check(Some("plan9-pdp11"), &elf(2, 1, 62), None);
        check(Some("../../etc"), b"#!/bin/sh\n", None);
    }

    #[test]
    fn a_program_that_shows_nothing_is_what_it_is_said_to_be() {
        check(None, b"#!/bin/sh\nexec something\n", None);
        check(Some("linux-armv7"), b"#!/bin/sh\nexec something\n", Some("linux-armv7"));
        check(None, b"\x7fELF", None);
        check(Some("linux-i686"), b"", Some("linux-i686"));
    }

    #[test]
    fn this_very_program_is_for_this_machine() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        check(None, &own, Some(&format!("linux-{}", std::env::consts::ARCH)));
    }
}
