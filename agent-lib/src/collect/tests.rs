//! Collectors together: on this very device, on a folder, and with neighbours that misbehave.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::{
    devices::inventory::{Memory, Section, SectionBody},
    kernel::{ManualClock, Timestamp},
};

use super::*;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_seconds(1_000)))
}

#[tokio::test]
async fn this_device_gives_every_section() {
    let outcomes = collect_all(&CollectContext::device(clock()), &[]).await;
    let sections: Vec<_> = outcomes.iter().map(|outcome| outcome.section).collect();
    assert_eq!(sections, Section::ALL);
    for outcome in outcomes {
        let report = outcome
            .result
            .unwrap_or_else(|error| panic!("{}: {error}", outcome.section));
        // What the server will check.
        let body = report.verify().unwrap().unwrap();
        assert_eq!(body.section(), outcome.section);
        match body {
            SectionBody::Os(os) => {
                assert!(!os.id.is_empty() && !os.kernel_running.is_empty() && os.boot_time.is_some())
            }
            SectionBody::Cpu(cpu) => assert!(cpu.threads > 0),
            SectionBody::Memory(memory) => assert!(memory.total_bytes > 0),
            SectionBody::Mounts(mounts) => assert!(mounts.items.iter().any(|mount| mount.target == "/")),
            SectionBody::Interfaces(interfaces) => assert!(interfaces.items.iter().any(|item| item.name == "lo")),
            SectionBody::Users(users) => assert!(users.items.iter().any(|user| user.uid == 0)),
            SectionBody::Ports(_) => {}
            SectionBody::Services(services) => assert_ne!(services.available, services.reason.is_some()),
            SectionBody::Packages(packages) => {
                assert_eq!(
                    packages.available,
                    std::path::Path::new("/var/lib/dpkg/status").exists()
                );
                assert_eq!(packages.available, !packages.items.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn what_is_missing_costs_only_its_section() {
    let folder = tempfile::tempdir().unwrap();
    let proc = folder.path().join("proc");
    std::fs::create_dir(&proc).unwrap();
    std::fs::write(proc.join("meminfo"), "MemTotal: 2 kB\n").unwrap();
    std::fs::write(proc.join("cpuinfo"), "processor: 0\n").unwrap();
    let report = report(collect_all(&CollectContext::below(folder.path(), clock()), &[]).await);
    let text = serde_json::to_string_pretty(&report)
        .unwrap()
        .replace(&*folder.path().to_string_lossy(), "ROOT");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sorted: BTreeMap<String, serde_json::Value> = serde_json::from_value(report).unwrap();
    insta::assert_json_snapshot!(sorted);
}

#[tokio::test]
async fn the_operating_system_is_put_together_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        (
            "etc/os-release",
            include_str!("../../tests/fixtures/os-release/debian-12"),
        ),
        ("proc/sys/kernel/ostype", "Linux\n"),
        ("proc/sys/kernel/osrelease", "6.1.0-37-amd64\n"),
        ("proc/sys/kernel/hostname", "web-1\n"),
        ("proc/sys/kernel/arch", "x86_64\n"),
        ("proc/stat", "cpu  1 2 3\nbtime 1700000000\nprocesses 9\n"),
        ("boot/vmlinuz-6.1.0-37-amd64", ""),
        ("boot/vmlinuz-6.1.0-38-amd64", ""),
        ("run/reboot-required", "*** System restart required ***\n"),
        ("run/reboot-required.pkgs", "libc6\n"),
        ("run/systemd/container", "lxc\n"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut bodies = Vec::new();
    Collectors::default()
        .collect(
            &CollectContext::below(folder.path(), clock()),
            &[Section::Os],
            |outcome| {
                bodies.push(outcome.result.unwrap().verify().unwrap().unwrap());
            },
        )
        .await;
    insta::assert_json_snapshot!(bodies);
}

type Wait = Arc<Mutex<mpsc::Receiver<()>>>;

#[derive(Debug)]
enum Misbehaving {
    Panics,
    Waits,
    Blocks(Wait),
    Works,
}

#[async_trait]
impl Collector for Misbehaving {
    fn section(&self) -> Section {
        match self {
            Self::Panics => Section::Os,
            Self::Waits => Section::Cpu,
            Self::Blocks(_) => Section::Mounts,
            Self::Works => Section::Memory,
        }
    }

    fn timeout(&self) -> Duration {
        match self {
            Self::Works | Self::Panics => Duration::from_secs(60),
            Self::Waits | Self::Blocks(_) => Duration::from_millis(20),
        }
    }

    async fn collect(&self, _: &CollectContext) -> Result<SectionBody, CollectError> {
        match self {
            Self::Panics => panic!("on purpose, in a test"),
            Self::Waits => std::future::pending().await,
            Self::Blocks(wait) => _ = wait.lock().unwrap().recv(),
            Self::Works => {}
        }
        Ok(SectionBody::Memory(Memory::default()))
    }
}

#[tokio::test]
async fn one_that_panics_waits_or_blocks_does_not_stop_the_others() {
    let (free, wait) = mpsc::channel();
    let collectors = Collectors::new([
        Arc::new(Misbehaving::Panics) as Arc<dyn Collector>,
        Arc::new(Misbehaving::Waits),
        Arc::new(Misbehaving::Blocks(Arc::new(Mutex::new(wait)))),
        Arc::new(Misbehaving::Works),
    ]);
    let run = async || {
        let mut codes = Vec::new();
        let each =
            |outcome: SectionOutcome| codes.push(outcome.result.map_or_else(|error| error.code().name(), |_| "ok"));
        collectors
            .collect(&CollectContext::device(clock()), &Section::ALL, each)
            .await;
        codes
    };
    let first = ["collect.panicked", "collect.timed_out", "collect.timed_out", "ok"];
    assert_eq!(run().await, first);
    // The thread that blocks is not joined by a second.
    assert_eq!(run().await[2..], ["collect.busy", "ok"]);
    drop(free);
    while run().await[2] == "collect.busy" {}
}

#[tokio::test]
async fn only_the_sections_that_were_asked_for_are_collected() {
    let mut sections = Vec::new();
    let asked = [Section::Memory, Section::Cpu];
    let each = |outcome: SectionOutcome| sections.push(outcome.section);
    Collectors::default()
        .collect(&CollectContext::device(clock()), &asked, each)
        .await;
    assert_eq!(sections, [Section::Cpu, Section::Memory]);
}

#[tokio::test]
async fn sections_that_are_left_out_are_not_even_asked_for() {
    let without: Vec<_> = Section::ALL
        .into_iter()
        .filter(|section| *section != Section::Cpu)
        .collect();
    let outcomes = collect_all(&CollectContext::device(clock()), &without).await;
    let sections: Vec<_> = outcomes.iter().map(|outcome| outcome.section).collect();
    assert_eq!(sections, [Section::Cpu]);
}
