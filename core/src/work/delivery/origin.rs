//! Runs that devices begin by themselves, to keep their desired state.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    Told,
    answers::{Moving, Report},
    told::within,
};
use crate::{
    devices::Device,
    kernel::Result,
    protocol::Originated,
    store::Tx,
    work::{
        Run, RunId, State,
        desired::{Occurrence, manifest::find_occurrences},
        run::{Delivery, OUTPUT_LIMIT, Priority, RunOrigin},
    },
};

/// How long ago such a run may have begun: so long agents keep what they could not tell, and history is kept.
const OLDEST: Duration = Duration::from_secs(90 * 86_400);

/// Adds the runs that devices tell of for the first time: those by which they apply something that stands, or stood lately, in
/// their manifests, and no others.
pub(super) async fn originate(tx: &mut Tx, reports: &[Report], runs: &mut HashMap<RunId, Moving>) -> Result<()> {
    let begun: Vec<_> = reports
        .iter()
        .filter_map(|report| Some((report, origin(report)?)))
        .collect();
    let mut seen = HashSet::new();
    let begun: Vec<_> = begun
        .into_iter()
        .filter(|(report, _)| !runs.contains_key(&report.run) && seen.insert(report.run))
        .collect();
    if begun.is_empty() {
        return Ok(());
    }
    let asks: Vec<_> = begun
        .iter()
        .map(|(report, told)| (report.device, told.occurrence))
        .collect();
    let occurrences = find_occurrences(tx.reader(), &asks).await?;
    let ids: Vec<_> = asks.iter().map(|(device, _)| *device).collect();
    let devices = tx.reader().get_many::<Device>(&ids).await?;
    for (((report, told), occurrence), device) in begun.into_iter().zip(occurrences).zip(devices) {
        let (Some(occurrence), Some(device)) = (occurrence, device) else {
            continue;
        };
        let run = run(tx, report.run, told, occurrence, &device);
        runs.insert(report.run, Moving { before: None, run });
    }
    Ok(())
}

/// What a report tells of a run's beginning, if its id follows from that: a device takes no other id than the run's own.
fn origin(report: &Report) -> Option<&Originated> {
    report.told.iter().find_map(|told| match told {
        Told::Originated(told) if RunId::originated(report.device, told.occurrence, told.at) == report.run => {
            Some(told)
        }
        _ => None,
    })
}

fn run(tx: &Tx, id: RunId, told: &Originated, occurrence: Occurrence, device: &Device) -> Run {
    let now = tx.now();
    let at = within(told.at, now.minus(OLDEST), now);
    Run {
        id,
        batch: None,
        origin: Some(RunOrigin {
            action: occurrence.action,
            occurrence: occurrence.id,
            manifest_version: told.version,
        }),
        device: device.id,
        device_name: device.name.clone(),
        operation: occurrence.operation,
        params: occurrence.params,
        state: State::Draft,
        priority: Priority::Normal,
        due_at: at,
        delivery: Delivery::default(),
        created_at: at,
        // It was never to be offered.
        expires_at: at,
        timeout_seconds: occurrence.timeout_seconds,
        output_limit_bytes: OUTPUT_LIMIT,
        on_hold: false,
        started_at: None,
        finished_at: None,
        cancel_requested_at: None,
        ending: None,
    }
}
