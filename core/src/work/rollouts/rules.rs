//! Who is in which wave, and what a rollout does next; pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{FailureLimit, Phase, Rollout, RolloutPolicy, RolloutWave, Wave};
use crate::{
    devices::{DeviceGroupId, DeviceId},
    kernel::Timestamp,
    work::State,
};

/// What has not had its turn by then, from the beginning of the batch on, expires: 180 days.
pub(crate) const TURN_WITHIN: Duration = Duration::from_secs(180 * 86_400);

/// Divides devices into waves: each is in the first that means it, or in the last one. `shuffled` holds all of them in an order that
/// has nothing to do with what they are. Waves that come out empty are left out.
pub(super) fn divide(
    policy: &RolloutPolicy,
    shuffled: &[DeviceId],
    groups: &BTreeMap<DeviceId, BTreeSet<DeviceGroupId>>,
) -> (Vec<DeviceId>, Vec<RolloutWave>) {
    let (mut order, mut waves) = (Vec::with_capacity(shuffled.len()), Vec::new());
    let mut take = |devices: Vec<DeviceId>, chosen: Option<&Wave>| {
        if !devices.is_empty() {
            waves.push(RolloutWave {
                devices: u32::try_from(devices.len()).unwrap_or(u32::MAX),
                chosen: chosen.cloned(),
            });
            order.extend(devices);
        }
    };
    let mut rest: Vec<DeviceId> = shuffled.to_vec();
    for wave in &policy.waves {
        let (devices, others) = match wave {
            Wave::Groups { groups: wanted } => {
                let is_meant = |device: &DeviceId| {
                    let of = groups.get(device);
                    of.is_some_and(|of| wanted.iter().any(|group| of.contains(group)))
                };
                rest.into_iter().partition(is_meant)
            }
            Wave::Count { devices } => split(rest, *devices as usize),
            Wave::Percent { percent } => split(rest, (shuffled.len() * *percent as usize).div_ceil(100)),
        };
        take(devices, Some(wave));
        rest = others;
    }
    take(rest, None);
    (order, waves)
}

fn split(mut devices: Vec<DeviceId>, count: usize) -> (Vec<DeviceId>, Vec<DeviceId>) {
    let others = devices.split_off(count.min(devices.len()));
    (devices, others)
}

/// How all runs of a rollout stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Those that devices have or are to get: from queued to running.
    pub(super) open: u32,
    /// Those of them whose devices are offline, where those are passed over.
    pub(super) offline: u32,
    /// Those that have ended, however.
    pub(super) ended: u32,
    /// Those of them that failed.
    pub(super) failed: u32,
}

impl Standing {
    /// Counts runs of a state.
    pub(super) fn count(&mut self, policy: &RolloutPolicy, state: State, runs: u32) {
        if state.is_terminal() {
            self.ended += runs;
            if is_failure(policy, state) {
                self.failed += runs;
            }
        } else if !matches!(state, State::Draft | State::AwaitingApproval | State::Scheduled) {
            self.open += runs;
        }
    }
}

/// The ends that count as failures. What was stopped by somebody does not.
pub(super) fn failures(policy: &RolloutPolicy) -> impl Iterator<Item = State> {
    let expired = (!policy.ignore_offline).then_some(State::Expired);
    [State::Failed, State::TimedOut, State::Lost, State::Indeterminate]
        .into_iter()
        .chain(expired)
}

/// Whether an end counts as a failure.
pub(super) fn is_failure(policy: &RolloutPolicy, state: State) -> bool {
    failures(policy).any(|failure| failure == state)
}

/// Whether an end says that the work does no harm.
pub(super) fn is_success(state: State) -> bool {
    matches!(
        state,
        State::Succeeded | State::SucceededWithIssues | State::NotApplicable | State::Skipped
    )
}

/// How the wave that is under way stands, when it may be over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WaveStanding {
    /// Its runs that have ended.
    pub(super) ended: u32,
    /// Those of them that succeeded.
    pub(super) succeeded: u32,
    /// Those of them that somebody stopped.
    pub(super) cancelled: u32,
    /// Its runs whose devices are offline, where those are passed over.
    pub(super) passed_over: u32,
    /// Its devices whose runs succeeded and that are not well now; counted at the end of the time in which they are watched.
    pub(super) unwell: u32,
}

/// Why a rollout halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// More failed than is borne: so many.
    Failures(u32, FailureLimit),
    /// No run of the wave succeeded.
    NoSuccess,
    /// So many devices are not well after their wave, with what failed before more than is borne.
    Unwell(u32),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Devices of the wave have their turn, as long as runs begin: at most so many.
    Admit(u32),
    /// Nothing until something happens.
    Stay,
    /// It halts.
    Halt(Halt),
    /// It enters a phase of the same wave.
    Enter(Phase),
    /// The next wave begins.
    Proceed,
}

impl Rollout {
    /// How many devices the waves up to this one have.
    pub(super) fn end_of(&self, wave: u32) -> u32 {
        self.waves.iter().take(wave as usize + 1).map(|wave| wave.devices).sum()
    }

    /// The places of the wave that is under way in the order of the devices.
    pub(super) fn places(&self) -> std::ops::Range<usize> {
        let end = self.end_of(self.wave);
        (end - self.size()) as usize..end as usize
    }

    pub(super) fn size(&self) -> u32 {
        self.waves.get(self.wave as usize).map_or(0, |wave| wave.devices)
    }

    pub(super) fn total(&self) -> u32 {
        self.waves.iter().map(|wave| wave.devices).sum()
    }

    fn is_last(&self) -> bool {
        self.wave as usize + 1 >= self.waves.len()
    }

    /// Whether the wave may be over: only then is it looked at run by run.
    pub(super) fn may_be_over(&self, all: Standing) -> bool {
        all.ended + all.offline >= self.end_of(self.wave)
    }

    /// How many runs may begin.
    pub(super) fn room(&self, all: Standing) -> u32 {
        let busy = all.open.saturating_sub(all.offline);
        self.policy
            .max_parallel
            .map_or(u32::MAX, |most| most.saturating_sub(busy))
    }

    /// Whether more failed than is borne: how many, and the limit.
    fn too_many(&self, all: Standing, unwell: u32) -> Option<(u32, FailureLimit)> {
        let limit = self.policy.max_failures?;
        let (failed, is_over) = match limit {
            FailureLimit::Count { failures } => {
                let failed = (all.failed + self.unwell + unwell).saturating_sub(self.forgiven);
                (failed, failed > failures)
            }
            FailureLimit::Percent { percent } => {
                let failed = all.failed.saturating_sub(self.failed_before) + unwell;
                (
                    failed,
                    u64::from(failed) * 100 > u64::from(percent) * u64::from(self.size()),
                )
            }
        };
        is_over.then_some((failed, limit))
    }

    /// What a rollout that nobody holds does next. `wave` is known when it may be over.
    pub(super) fn next(&self, all: Standing, wave: Option<WaveStanding>, now: Timestamp) -> Next {
        match &self.phase {
            Phase::Pending { approval: true, .. } if all.ended >= self.total() => Next::Enter(Phase::Aborted),
            Phase::Pending { approval, until } if *approval || *until > now => Next::Stay,
            Phase::Pending { .. } => Next::Enter(Phase::Rolling),
            Phase::Rolling => self.next_of_wave(all, wave, now),
            Phase::Watching { since, until } => self.next_of_watch(all, wave, (*since, *until), now),
            Phase::Waiting | Phase::Halted { .. } | Phase::Done | Phase::Aborted => Next::Stay,
        }
    }

    fn next_of_wave(&self, all: Standing, wave: Option<WaveStanding>, now: Timestamp) -> Next {
        let over = wave.filter(|wave| wave.ended + wave.passed_over >= self.size());
        let too_many = self.too_many(all, 0);
        match over {
            Some(_) if self.is_last() => Next::Enter(Phase::Done),
            _ if let Some((failed, limit)) = too_many => Next::Halt(Halt::Failures(failed, limit)),
            None => match (self.room(all), self.end_of(self.wave).saturating_sub(self.admitted)) {
                (0, _) | (_, 0) => Next::Stay,
                (room, _) => Next::Admit(room),
            },
            // What somebody stopped says nothing about the work.
            Some(wave) if wave.succeeded == 0 && wave.cancelled < self.size() && !self.excused => {
                Next::Halt(Halt::NoSuccess)
            }
            Some(_) if self.policy.watch_seconds > 0 => Next::Enter(self.watching(now)),
            Some(_) => self.after_wave(),
        }
    }

    fn next_of_watch(
        &self,
        all: Standing,
        wave: Option<WaveStanding>,
        (since, until): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Next {
        if now < since {
            // The clock was set back: it must not be watched for as long.
            return Next::Enter(self.watching(now));
        }
        let unwell = wave.filter(|_| until <= now).map_or(0, |wave| wave.unwell);
        match self.too_many(all, unwell) {
            Some(_) if unwell > 0 => Next::Halt(Halt::Unwell(unwell)),
            Some((failed, limit)) => Next::Halt(Halt::Failures(failed, limit)),
            None if until > now => Next::Stay,
            // Who watches and names no limit bears none.
            None if unwell > 0 && self.policy.max_failures.is_none() => Next::Halt(Halt::Unwell(unwell)),
            None => self.after_wave(),
        }
    }

    fn watching(&self, now: Timestamp) -> Phase {
        Phase::Watching {
            since: now,
            until: now.plus(Duration::from_secs(self.policy.watch_seconds.into())),
        }
    }

    fn after_wave(&self) -> Next {
        match self.policy.by_hand {
            true => Next::Enter(Phase::Waiting),
            false => Next::Proceed,
        }
    }

    /// Begins the next wave; it is done when there is none.
    pub(super) fn begin_next_wave(&mut self, all: Standing, now: Timestamp) {
        if self.is_last() {
            self.phase = Phase::Done;
            return;
        }
        self.wave += 1;
        self.wave_began_at = now;
        self.phase = Phase::Rolling;
        self.failed_before = all.failed;
        self.excused = false;
    }

    /// Somebody lets it go on, whatever came of it: what failed up to now is borne.
    pub(super) fn resume(&mut self, all: Standing, now: Timestamp) {
        self.paused_by = None;
        match self.phase {
            Phase::Halted { watched, .. } => {
                self.forgiven = all.failed + self.unwell;
                self.failed_before = all.failed;
                self.excused = true;
                self.phase = Phase::Rolling;
                if watched {
                    self.begin_next_wave(all, now);
                }
            }
            Phase::Waiting => self.begin_next_wave(all, now),
            _ => {}
        }
    }
}
