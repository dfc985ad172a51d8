//! How the runs of a rollout stand.

use std::collections::BTreeSet;

use super::{
    Phase, Rollout, RolloutOrder,
    rules::{Standing, WaveStanding, failures, is_success},
    words::MAX_NAMED,
};
use crate::{
    agents::newest_versions,
    devices::{DeviceId, DeviceState, DeviceSummary, Presence},
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result, Timestamp},
    protocol::AgentVersion,
    store::{Query, Reader, Value, Versioned},
    work::{
        Batch, State,
        operations::agent_update::{self, AgentUpdateParams},
        run::Run,
    },
};

/// Devices that are read at once.
const STEP: usize = 500;

/// How all runs stand, and which devices that have one to come for are offline, where those are passed over.
pub(super) async fn of_all(reader: &mut Reader, rollout: &Rollout) -> Result<(Standing, BTreeSet<DeviceId>)> {
    let tally = reader
        .tally::<Run>(&Run::BATCH.eq(rollout.id.uuid()), Run::STATE)
        .await?;
    let (mut all, mut queued) = (Standing::default(), 0);
    for (value, runs) in tally {
        if let Value::Text(name) = value
            && let Some(state) = State::from_name(&name)
        {
            let runs = u32::try_from(runs).unwrap_or(u32::MAX);
            all.count(&rollout.policy, state, runs);
            queued += if state == State::Queued { runs } else { 0 };
        }
    }
    let mut offline = BTreeSet::new();
    if rollout.policy.ignore_offline && queued > 0 {
        offline = who_is_offline(reader, rollout).await?;
        all.offline = u32::try_from(offline.len()).unwrap_or(u32::MAX);
    }
    Ok((all, offline))
}

async fn who_is_offline(reader: &mut Reader, rollout: &Rollout) -> Result<BTreeSet<DeviceId>> {
    let (mut offline, mut page) = (BTreeSet::new(), PageRequest::new(Some(MAX_LIMIT), None)?);
    let queued = Query::<Run>::all()
        .filter(Run::BATCH.eq(rollout.id.uuid()))
        .filter(Run::STATE.eq(State::Queued.name()));
    loop {
        let found = reader.list(&queued, &page).await?;
        let devices: Vec<_> = found.items.iter().map(|run| run.device).collect();
        let summaries = reader.get_many::<DeviceSummary>(&devices).await?;
        for (device, summary) in devices.into_iter().zip(summaries) {
            if summary.is_none_or(|summary| summary.presence != Presence::Online) {
                offline.insert(device);
            }
        }
        match found.next {
            Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
            None => return Ok(offline),
        }
    }
}

/// How the wave that is under way stands, run by run; and what is wrong with the first devices that are not well, where the time in
/// which they are watched is over.
pub(super) async fn of_wave(
    reader: &mut Reader,
    batch: &Batch,
    rollout: &Rollout,
    offline: &BTreeSet<DeviceId>,
    now: Timestamp,
) -> Result<(WaveStanding, Vec<String>)> {
    let (mut wave, mut unwell) = (WaveStanding::default(), Vec::new());
    let Some(order) = reader.get::<RolloutOrder>(rollout.id).await? else {
        return Ok((wave, unwell));
    };
    let is_judged = matches!(rollout.phase, Phase::Watching { until, .. } if until <= now);
    let gate = match is_judged {
        true => Some(Gate::of(reader, batch).await?),
        false => None,
    };
    for devices in order.devices.get(rollout.places()).unwrap_or_default().chunks(STEP) {
        let ids: Vec<_> = devices.iter().map(|device| batch.run_on(*device)).collect();
        let runs: Vec<_> = reader.get_many::<Run>(&ids).await?.into_iter().flatten().collect();
        for run in &runs {
            wave.ended += u32::from(run.state.is_terminal());
            wave.succeeded += u32::from(is_success(run.state));
            wave.cancelled += u32::from(run.state == State::Cancelled);
            wave.passed_over += u32::from(run.state == State::Queued && offline.contains(&run.device));
        }
        if let Some(gate) = &gate {
            let watched: Vec<_> = runs.into_iter().filter(|run| is_success(run.state)).collect();
            for what in gate.unwell(reader, &watched, now).await? {
                wave.unwell += 1;
                if unwell.len() < MAX_NAMED {
                    unwell.push(what);
                }
            }
        }
    }
    Ok((wave, unwell))
}

/// What a device is asked after its wave.
struct Gate {
    /// The versions of which its agent has to be one, if that is known.
    versions: BTreeSet<AgentVersion>,
}

impl Gate {
    async fn of(reader: &mut Reader, batch: &Batch) -> Result<Self> {
        let mut versions = BTreeSet::new();
        if batch.operation == agent_update::NAME {
            let params = batch.params.read::<AgentUpdateParams>();
            versions = match params.and_then(|params| params.version) {
                Some(version) => BTreeSet::from([version]),
                None => newest_versions(reader).await?,
            };
        }
        Ok(Self { versions })
    }

    /// What is wrong with which of the devices that are not well.
    async fn unwell(&self, reader: &mut Reader, runs: &[Versioned<Run>], now: Timestamp) -> Result<Vec<String>> {
        let devices: Vec<_> = runs.iter().map(|run| run.device).collect();
        let summaries = reader.get_many::<DeviceSummary>(&devices).await?;
        let states = reader.latest::<DeviceState>(&devices).await?;
        let mut unwell = Vec::new();
        for ((run, summary), state) in runs.iter().zip(summaries).zip(states) {
            let is_online = summary.is_some_and(|summary| summary.presence == Presence::Online);
            // The clock may have been set back since it ended.
            let ended = run.finished_at.filter(|ended| *ended <= now);
            let wrong = match state {
                Some(state) if is_online && ended.is_none_or(|ended| ended <= state.seen_at) => {
                    self.is_other_version(&state.agent_version)
                }
                _ => Some("not connected".to_owned()),
            };
            unwell.extend(wrong.map(|wrong| format!("{} ({wrong})", run.device_name)));
        }
        Ok(unwell)
    }

    fn is_other_version(&self, is: &str) -> Option<String> {
        let is_expected = is.parse().is_ok_and(|version| self.versions.contains(&version));
        if self.versions.is_empty() || is_expected {
            return None;
        }
        let expected: Vec<_> = self.versions.iter().map(ToString::to_string).collect();
        Some(format!("its agent is {is}, not {}", expected.join(" or ")))
    }
}

/// The runs that failed, the last one first; of very many, some.
pub(super) async fn failed(reader: &mut Reader, rollout: &Rollout, most: usize) -> Result<Vec<Run>> {
    let states = failures(&rollout.policy).map(|state| state.name());
    let query = Query::<Run>::all()
        .filter(Run::BATCH.eq(rollout.id.uuid()))
        .filter(Run::STATE.one_of(states));
    let found = reader.list(&query, &PageRequest::new(Some(MAX_LIMIT), None)?).await?;
    let mut runs: Vec<_> = found.items.into_iter().map(|run| run.value).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.finished_at));
    runs.truncate(most);
    Ok(runs)
}
