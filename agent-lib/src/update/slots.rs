//! What is remembered of the agent's versions, and what follows from it.

use fleet_core::{
    kernel::Timestamp,
    protocol::{AgentManifest, AgentVersion, Sha256Digest},
    work::{RunId, operations::agent_update::AgentUpdateParams},
};
use serde::{Deserialize, Serialize};

/// How many versions that did not prove themselves are remembered.
const MAX_FAILED: usize = 16;
/// How often a version on trial is started; more often than once only when the device went down meanwhile.
const MAX_STARTS: u32 = 2;

/// A place for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// `slots/a`
    A,
    /// `slots/b`
    B,
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The version that works, where it is not the installed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Where it is.
    pub slot: Slot,
    /// Its version.
    pub version: AgentVersion,
    /// The digest of its program.
    pub sha256: Sha256Digest,
    /// The run that brought it.
    pub run: RunId,
}

/// A version that has to prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Where it is.
    pub slot: Slot,
    /// Its version.
    pub version: AgentVersion,
    /// The digest of its program.
    pub sha256: Sha256Digest,
    /// The run that ordered it.
    pub run: RunId,
    /// The floor that holds once it has proved itself.
    pub floor: AgentVersion,
    /// How often it was started.
    pub starts: u32,
}

/// A version that did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its version.
    pub version: AgentVersion,
    /// The digest of its program.
    pub sha256: Sha256Digest,
    /// The run that ordered it.
    pub run: RunId,
    /// When the former version took over again.
    pub at: Timestamp,
    /// What was wrong, for people.
    pub reason: String,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// The version of this shape.
    pub v: u32,
    /// The version of the installed program when the first update was ordered: a package that brings another takes over.
    pub installed: Option<AgentVersion>,
    /// The version that works, where it is not the installed one.
    pub current: Option<Current>,
    /// The version that has to prove itself.
    pub trial: Option<Trial>,
    /// Versions that did not; the latest last.
    pub failed: Vec<Failed>,
    /// The oldest version that this agent may become.
    pub floor: Option<AgentVersion>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            v: 1,
            installed: None,
            current: None,
            trial: None,
            failed: Vec::new(),
            floor: None,
        }
    }
}

/// Which program is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The installed one.
    Installed,
    /// The one in this slot.
    Current(Slot),
    /// The one in this slot, under supervision.
    Trial(Slot),
}

/// Whether a manifest is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It names what is wanted and may be had.
    Follow,
    /// There is nothing to do.
    Already,
    /// It is not followed: code and reason.
    Refuse(&'static str, String),
}

/// What has become of a run's update so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// It is on trial.
    Trying,
    /// It has proved itself.
    Proved(AgentVersion),
    /// It has not.
    Failed(Failed),
}

impl Slots {
    /// Which program comes next.
    pub fn next(&self) -> Next {
        match (&self.trial, &self.current) {
            (Some(trial), _) => Next::Trial(trial.slot),
            (None, Some(current)) => Next::Current(current.slot),
            (None, None) => Next::Installed,
        }
    }

    /// The installed program was started. One that a package has brought meanwhile takes over.
    pub fn installed(&mut self, version: &AgentVersion) {
        let is_known = self.installed.as_ref().is_none_or(|installed| installed == version);
        if !is_known {
            self.installed = Some(version.clone());
            self.current = None;
            self.trial = None;
        }
    }

    /// Whether an agent of version `own` becomes what a manifest names.
    pub fn judge(&self, manifest: &AgentManifest, own: &AgentVersion, wanted: &AgentUpdateParams) -> Verdict {
        let version = &manifest.version;
        if wanted.version.as_ref().is_some_and(|wanted| wanted != version) {
            let message = format!("the server shows a manifest of {version}");
            return Verdict::Refuse("agent_manifest.other_version", message);
        }
        if version == own || (version < own && wanted.version.is_none() && !wanted.allow_downgrade) {
            return Verdict::Already;
        }
        let floor = self.floor.as_ref().max(Some(&manifest.rollback_floor));
        if let Some(floor) = floor.filter(|floor| version < floor) {
            let message = format!("{version} is below {floor}, the oldest version that this agent may become");
            return Verdict::Refuse("agent_update.below_floor", message);
        }
        if version < own && !wanted.allow_downgrade {
            let message = format!("{version} is older than {own}, and a downgrade was not allowed");
            return Verdict::Refuse("agent_update.older", message);
        }
        match self.failed.iter().rfind(|failed| failed.sha256 == manifest.sha256) {
            Some(failed) if !wanted.retry_failed => Verdict::Refuse(
                "agent_update.failed_before",
                format!(
                    "{version} was tried at {} and did not prove itself: {}",
                    failed.at, failed.reason
                ),
            ),
            _ => Verdict::Follow,
        }
    }

    /// Where the next version goes: never where the current one is.
    pub fn free(&self) -> Slot {
        self.current.as_ref().map_or(Slot::A, |current| current.slot.other())
    }

    /// A version is in the free slot, and has to prove itself.
    pub fn order(&mut self, manifest: &AgentManifest, run: RunId, own: &AgentVersion) {
        let slot = self.free();
        if self.current.is_none() {
            self.installed = Some(own.clone());
        }
        self.trial = Some(Trial {
            slot,
            version: manifest.version.clone(),
            sha256: manifest.sha256,
            run,
            floor: manifest.rollback_floor.clone(),
            starts: 0,
        });
    }

    /// The version on trial is about to be started; false when that has happened too often.
    pub fn start_trial(&mut self) -> bool {
        self.trial.as_mut().is_some_and(|trial| {
            trial.starts += 1;
            trial.starts <= MAX_STARTS
        })
    }

    /// The version on trial has proved itself.
    pub fn proved(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        self.failed.retain(|failed| failed.sha256 != trial.sha256);
        self.floor = self.floor.take().max(Some(trial.floor));
        self.current = Some(Current {
            slot: trial.slot,
            version: trial.version,
            sha256: trial.sha256,
            run: trial.run,
        });
    }

    /// The version on trial has not proved itself.
    pub fn returned(&mut self, at: Timestamp, reason: String) {
        let Some(trial) = self.trial.take() else { return };
        self.failed.retain(|failed| failed.sha256 != trial.sha256);
        let surplus = (self.failed.len() + 1).saturating_sub(MAX_FAILED);
        self.failed.drain(..surplus);
        self.failed.push(Failed {
            version: trial.version,
            sha256: trial.sha256,
            run: trial.run,
            at,
            reason,
        });
    }

    /// What has become of a run's update.
    pub fn told(&self, run: RunId) -> Told {
        if self.trial.as_ref().is_some_and(|trial| trial.run == run) {
            return Told::Trying;
        }
        if let Some(current) = self.current.as_ref().filter(|current| current.run == run) {
            return Told::Proved(current.version.clone());
        }
        match self.failed.iter().find(|failed| failed.run == run) {
            Some(failed) => Told::Failed(failed.clone()),
            None => Told::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::kernel::SeededRandom;

    use super::*;

    fn version(text: &str) -> AgentVersion {
        text.parse().unwrap()
    }

    fn run(n: u64) -> RunId {
        RunId::new(Timestamp::EPOCH, &SeededRandom::new(n))
    }

    fn manifest(text: &str) -> AgentManifest {
        AgentManifest {
            version: version(text),
            platform: "linux-x86_64".into(),
            length: 1,
            sha256: digest(text),
            expires_at: Timestamp::MAX,
            rollback_floor: version("1.0.0"),
        }
    }

    fn digest(text: &str) -> Sha256Digest {
        let mut bytes = [0; 32];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Sha256Digest::from_bytes(bytes)
    }

    /// Ordered by an agent of version `own`.
    fn ordered(slots: &mut Slots, text: &str, n: u64, own: &str) {
        slots.order(&manifest(text), run(n), &version(own));
    }

    fn came_back(slots: &mut Slots) {
        slots.returned(Timestamp::EPOCH, "it did not connect".into());
    }

    #[test]
    fn versions_take_turns_in_two_slots_and_the_one_that_works_is_never_overwritten() {
        let mut slots = Slots::default();
        assert_eq!(slots.next(), Next::Installed);
        ordered(&mut slots, "1.1.0", 1, "1.0.0");
        assert_eq!(slots.next(), Next::Trial(Slot::A));
        slots.proved();
        assert_eq!((slots.next(), slots.free()), (Next::Current(Slot::A), Slot::B));
        ordered(&mut slots, "1.2.0", 2, "1.1.0");
        assert_eq!(slots.next(), Next::Trial(Slot::B));
        came_back(&mut slots);
        assert_eq!((slots.next(), slots.free()), (Next::Current(Slot::A), Slot::B));
        ordered(&mut slots, "1.3.0", 3, "1.1.0");
        slots.proved();
        assert_eq!((slots.next(), slots.free()), (Next::Current(Slot::B), Slot::A));
    }

    #[test]
    fn a_version_on_trial_is_started_a_second_time_and_not_a_third() {
        let mut slots = Slots::default();
        assert!(!slots.start_trial());
        ordered(&mut slots, "1.1.0", 1, "1.0.0");
        assert_eq!([(); 3].map(|()| slots.start_trial()), [true, true, false]);
    }

    #[test]
    fn a_package_that_brings_another_version_takes_over_and_the_same_does_not() {
        let mut slots = Slots::default();
        ordered(&mut slots, "1.1.0", 1, "1.0.0");
        slots.proved();
        slots.installed(&version("1.0.0"));
        assert_eq!(slots.next(), Next::Current(Slot::A));
        slots.installed(&version("1.0.5"));
        assert_eq!(slots.next(), Next::Installed);
        // A deliberate downgrade below the installed version stays.
        ordered(&mut slots, "1.0.1", 2, "1.0.5");
        slots.proved();
        slots.installed(&version("1.0.5"));
        assert_eq!(slots.next(), Next::Current(Slot::A));
    }

    #[test]
    fn a_run_finds_what_became_of_it_after_the_restart() {
        let mut slots = Slots::default();
        assert_eq!(slots.told(run(1)), Told::Nothing);
        ordered(&mut slots, "1.1.0", 1, "1.0.0");
        assert_eq!(slots.told(run(1)), Told::Trying);
        slots.proved();
        assert_eq!(slots.told(run(1)), Told::Proved(version("1.1.0")));
        ordered(&mut slots, "1.2.0", 2, "1.1.0");
        came_back(&mut slots);
        assert!(matches!(slots.told(run(2)), Told::Failed(failed) if failed.version == version("1.2.0")));
        assert_eq!(slots.told(run(3)), Told::Nothing);
    }

    #[test]
    fn no_more_than_sixteen_failures_are_remembered_and_the_same_one_once() {
        let mut slots = Slots::default();
        for n in 0..40 {
            ordered(&mut slots, &format!("1.{n}.0"), n, "1.0.0");
            came_back(&mut slots);
            ordered(&mut slots, &format!("1.{n}.0"), n, "1.0.0");
            came_back(&mut slots);
        }
        let versions: Vec<_> = slots.failed.iter().map(|failed| failed.version.to_string()).collect();
        assert_eq!(versions.len(), 16);
        assert_eq!(versions.last().unwrap(), "1.39.0");
    }

    /// An agent of version 1.2.0 with floor 1.1.0, which 1.3.0 has failed on.
    #[track_caller]
    fn check(shown: &str, wanted: AgentUpdateParams, expected: &str) {
        let mut slots = Slots::default();
        ordered(&mut slots, "1.3.0", 1, "1.2.0");
        came_back(&mut slots);
        slots.floor = Some(version("1.1.0"));
        let found = match slots.judge(&manifest(shown), &version("1.2.0"), &wanted) {
            Verdict::Follow => "follow",
            Verdict::Already => "already",
            Verdict::Refuse(code, _) => code,
        };
        assert_eq!(found, expected, "{shown} for {wanted:?}");
    }

    #[test]
    fn only_what_is_newer_is_followed_unless_the_order_says_otherwise() {
        let newest = AgentUpdateParams::default;
        let this = |text: &str| AgentUpdateParams {
            version: Some(version(text)),
            ..newest()
        };
        let down = |wanted: AgentUpdateParams| AgentUpdateParams {
            allow_downgrade: true,
            ..wanted
        };
        let again = |wanted: AgentUpdateParams| AgentUpdateParams {
            retry_failed: true,
            ..wanted
        };
        check("1.4.0", newest(), "follow");
        check("1.4.0", this("1.4.0"), "follow");
        check("1.2.0", newest(), "already");
        check("1.2.0", this("1.2.0"), "already");
        check("1.1.5", newest(), "already");
        check("1.1.5", this("1.1.5"), "agent_update.older");
        check("1.1.5", down(this("1.1.5")), "follow");
        check("1.0.9", down(this("1.0.9")), "agent_update.below_floor");
        check("1.0.9", down(newest()), "agent_update.below_floor");
        check("1.4.0", this("1.5.0"), "agent_manifest.other_version");
        check("1.3.0", newest(), "agent_update.failed_before");
        check("1.3.0", again(newest()), "follow");
    }

    #[test]
    fn the_floor_rises_when_a_version_has_proved_itself_and_never_sinks() {
        let mut slots = Slots::default();
        ordered(&mut slots, "1.5.0", 1, "1.0.0");
        slots.trial.as_mut().unwrap().floor = version("1.4.0");
        came_back(&mut slots);
        assert_eq!(slots.floor, None);
        for (floor, expected) in [("1.4.0", "1.4.0"), ("1.2.0", "1.4.0")] {
            ordered(&mut slots, "1.5.0", 2, "1.0.0");
            slots.trial.as_mut().unwrap().floor = version(floor);
            slots.proved();
            assert_eq!(slots.floor, Some(version(expected)));
        }
    }
}
