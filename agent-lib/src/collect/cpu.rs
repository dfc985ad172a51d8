//! The processors, from `/proc/cpuinfo`.

use std::collections::BTreeSet;

use async_trait::async_trait;
use fleet_core::devices::inventory::{Cpu, Section, SectionBody, clean_text};

use super::{CollectContext, CollectError, Collector, files};

/// 4,096 processors with 4 KiB each.
const MAX_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct CpuCollector;

#[async_trait]
impl Collector for CpuCollector {
    fn section(&self) -> Section {
        Section::Cpu
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        let mut parser = Parser::default();
        files::for_each_line(&context.path("/proc/cpuinfo"), MAX_BYTES, |line| parser.line(line))?;
        Ok(SectionBody::Cpu(parser.finish()))
    }
}

#[derive(Debug, Default)]
struct Parser {
    cpu: Cpu,
    socket: Option<u32>,
    sockets: BTreeSet<u32>,
    cores: BTreeSet<(u32, u32)>,
}

impl Parser {
    fn line(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else {
            return;
        };
        let value = value.trim();
        let first = |member: &mut Option<String>| {
            if member.is_none() && !value.is_empty() {
                *member = Some(clean_text(value, 256));
            }
        };
        match name.trim() {
            "processor" => {
                self.cpu.threads = self.cpu.threads.saturating_add(1);
                self.socket = None;
            }
            // `cpu` is PowerPC's word, `Model` that of single-board computers.
            "model name" | "cpu" | "Model" => first(&mut self.cpu.model),
            "vendor_id" | "CPU implementer" => first(&mut self.cpu.vendor),
            "physical id" => {
                self.socket = value.parse().ok();
                self.sockets.extend(self.socket);
            }
            "core id" => {
                if let (Some(socket), Ok(core)) = (self.socket, value.parse()) {
                    self.cores.insert((socket, core));
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Cpu {
        let count = |count: usize| u32::try_from(count).ok().filter(|count| *count > 0);
        self.cpu.sockets = count(self.sockets.len());
        self.cpu.cores = count(self.cores.len());
        self.cpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str) -> Cpu {
        let mut parser = Parser::default();
        input.lines().for_each(|line| parser.line(line));
        parser.finish()
    }

    #[test]
    fn sockets_cores_and_threads_are_counted() {
        insta::assert_json_snapshot!(parse(include_str!("../../tests/fixtures/proc/cpuinfo-x86_64")));
    }

    #[test]
    fn a_kernel_that_tells_less_gives_less() {
        insta::assert_json_snapshot!(parse(include_str!("../../tests/fixtures/proc/cpuinfo-arm64.SYNTHETIC")));
        assert_eq!(parse(""), Cpu::default());
        assert_eq!(parse("processor: 0\nphysical id: x\ncore id: 7\n:::").threads, 1);
    }

    #[test]
    fn two_sockets_have_their_own_cores() {
        let text: String = (0..8)
            .map(|n| format!("processor : {n}\nphysical id : {}\ncore id : {}\n\n", n / 4, n % 2))
            .collect();
        let cpu = parse(&text);
        assert_eq!((cpu.sockets, cpu.cores, cpu.threads), (Some(2), Some(4), 8));
    }
}
