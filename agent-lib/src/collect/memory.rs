//! The memory, from `/proc/meminfo`.

use async_trait::async_trait;
use fleet_core::devices::inventory::{Memory, Section, SectionBody};

use super::{CollectContext, CollectError, Collector, files};

#[derive(Debug)]
pub(super) struct MemoryCollector;

#[async_trait]
impl Collector for MemoryCollector {
    fn section(&self) -> Section {
        Section::Memory
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        parse(&files::read(&context.path("/proc/meminfo"), 64 << 10)?).map(SectionBody::Memory)
    }
}

fn parse(input: &str) -> Result<Memory, CollectError> {
    // proc(5) says kB and means 1024 bytes.
    let bytes = |name: &str| {
        let value = input
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes.saturating_mul(1024))
    };
    Ok(Memory {
        total_bytes: bytes("MemTotal").ok_or_else(|| CollectError::Malformed {
            what: "/proc/meminfo",
            problem: "it has no MemTotal".into(),
        })?,
        swap_total_bytes: bytes("SwapTotal").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_in_bytes() {
        let memory = parse(include_str!("../../tests/fixtures/proc/meminfo")).unwrap();
        insta::assert_json_snapshot!(memory);
        assert_eq!(parse("MemTotal: 1 kB\nSwapTotal: 2 kB").unwrap().swap_total_bytes, 2048);
    }

    #[test]
    fn a_text_without_a_total_is_refused() {
        for input in ["", "MemTotal", "MemTotal: x kB", "MemTotal: 99999999999999999999999 kB"] {
            assert!(matches!(parse(input), Err(CollectError::Malformed { .. })), "{input}");
        }
    }
}
