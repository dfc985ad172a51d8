//! Which program `fleet-agent run` becomes.

use std::{
    io,
    path::{Path, PathBuf},
};

use fleet_core::{kernel::Timestamp, protocol::AgentVersion};

use super::{
    slots::{Next, Slot},
    store::SlotStore,
};

/// The environment variable that says how this program was started; without it, it looks first which program is to run.
pub const LAUNCHED: &str = "FLEET_AGENT_LAUNCHED";

/// How this program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launched {
    /// By somebody who wants the agent: it decides which program that is.
    First,
    /// As that program.
    Chosen,
    /// As that program, by the one that watches it.
    Watched,
}

impl Launched {
    /// From the value of [`LAUNCHED`].
    pub fn of(value: Option<&str>) -> Self {
        match value {
            Some("watched") => Self::Watched,
            Some("chosen") => Self::Chosen,
            _ => Self::First,
        }
    }

    /// The value of [`LAUNCHED`].
    pub fn value(self) -> &'static str {
        match self {
            Self::First => "",
            Self::Chosen => "chosen",
            Self::Watched => "watched",
        }
    }
}

/// What `fleet-agent run` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// Be the agent.
    Work,
    /// Become this program.
    Become(PathBuf),
    /// Start this program, and watch it.
    Try(PathBuf),
}

/// Which program is to run, asked by `program`, which is of version `own`. A slot that does not hold what was put there is forgotten, and so is a
/// version on trial that was started too often.
///
/// # Errors
/// When the disk does not take what changes.
pub fn next(store: &SlotStore, program: &Path, own: &AgentVersion, now: Timestamp) -> io::Result<Launch> {
    let in_slot = store.is_slot(program);
    store.change(|slots| {
        if !in_slot {
            slots.installed(own);
        }
        if let Some(trial) = &slots.trial {
            if !store.is_whole(trial.slot, trial.sha256) {
                slots.returned(now, "its program was damaged on the disk".into());
            } else if !slots.start_trial() {
                slots.returned(now, "the device went down twice while it was tried".into());
            }
        }
        if let Some(current) = &slots.current
            && !store.is_whole(current.slot, current.sha256)
        {
            tracing::error!(version = %current.version, "the agent's program is damaged on the disk; the installed one is used");
            slots.current = None;
        }
        let path = |slot: Slot| store.program(slot);
        match slots.next() {
            Next::Trial(slot) => Launch::Try(path(slot)),
            Next::Current(slot) if !is_same(program, &path(slot)) => Launch::Become(path(slot)),
            Next::Current(_) | Next::Installed => Launch::Work,
        }
    })
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::{kernel::SeededRandom, protocol::AgentManifest, work::RunId};

    use super::*;

    const INSTALLED: &str = "/usr/local/bin/fleet-agent";

    struct Device {
        folder: tempfile::TempDir,
        store: SlotStore,
    }

    impl Device {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self {
                store: SlotStore::new(folder.path()),
                folder,
            }
        }

        fn order(&self, version: &str) {
            let slot = self.store.load().free();
            let mut incoming = self.store.begin(slot).unwrap();
            incoming.write(version.as_bytes()).unwrap();
            let (placed, sha256) = incoming.finish().unwrap();
            self.store.place(slot, &placed).unwrap();
            let manifest = AgentManifest {
                version: version.parse().unwrap(),
                platform: String::new(),
                length: version.len() as u64,
                sha256,
                expires_at: Timestamp::MAX,
                rollback_floor: version.parse().unwrap(),
            };
            let run = RunId::new(Timestamp::EPOCH, &SeededRandom::new(1));
            self.store
                .change(|slots| slots.order(&manifest, run, &"1.0.0".parse().unwrap()))
                .unwrap();
        }

        /// What a program does: `a`, `b`, or the installed one.
        #[track_caller]
        fn check(&self, program: &str, own: &str, expected: &str) {
            let slot = |name: &str| self.folder.path().join("slots").join(name).join("fleet-agent");
            let path = if program == INSTALLED {
                program.into()
            } else {
                slot(program)
            };
            let found = match next(&self.store, &path, &own.parse().unwrap(), Timestamp::EPOCH).unwrap() {
                Launch::Work => "work".to_owned(),
                Launch::Become(path) => format!("become {}", if path == slot("a") { "a" } else { "b" }),
                Launch::Try(path) => format!("try {}", if path == slot("a") { "a" } else { "b" }),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_program_of_the_current_slot_runs_whoever_is_started() {
        let device = Device::new();
        device.check(INSTALLED, "1.0.0", "work");
        device.order("1.1.0");
        device.check(INSTALLED, "1.0.0", "try a");
        device.store.change(|slots| slots.proved()).unwrap();
        device.check(INSTALLED, "1.0.0", "become a");
        device.check("a", "1.1.0", "work");
        device.order("1.2.0");
        device.check("a", "1.1.0", "try b");
        device
            .store
            .change(|slots| slots.returned(Timestamp::EPOCH, "why".into()))
            .unwrap();
        device.check("a", "1.1.0", "work");
        // A package brings another version.
        device.check(INSTALLED, "1.0.1", "work");
    }

    #[test]
    fn a_version_that_takes_the_device_down_is_not_tried_for_ever() {
        let device = Device::new();
        device.order("1.1.0");
        for expected in ["try a", "try a", "work", "work"] {
            device.check(INSTALLED, "1.0.0", expected);
        }
        assert_eq!(device.store.load().failed.len(), 1);
    }

    #[test]
    fn what_is_damaged_on_the_disk_is_not_started() {
        let device = Device::new();
        device.order("1.1.0");
        std::fs::write(device.store.program(Slot::A), "damaged").unwrap();
        device.check(INSTALLED, "1.0.0", "work");
        device.order("1.2.0");
        device.check(INSTALLED, "1.0.0", "try a");
        device.store.change(|slots| slots.proved()).unwrap();
        std::fs::remove_file(device.store.program(Slot::A)).unwrap();
        device.check(INSTALLED, "1.0.0", "work");
        assert_eq!(device.store.load().current, None);
    }

    #[test]
    fn how_a_program_was_started_survives_its_environment() {
        for launched in [Launched::First, Launched::Chosen, Launched::Watched] {
            assert_eq!(Launched::of(Some(launched.value())), launched);
        }
        assert_eq!(Launched::of(None), Launched::First);
    }
}
