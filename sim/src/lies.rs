//! What the planted faults of the server do: what it hears, what it says, and what it writes.

use std::time::Duration;

use fleet_core::{
    Fleet,
    access::Context,
    devices::{DEVICE_OFFLINE, DeviceEvent, DeviceId, DeviceSummary, Presence},
    kernel::{EntityId as _, PageRequest, Timestamp},
    protocol::{AgentFrame, Offer, OfferBody, Recorded, RunResult, ServerFrame, Welcome},
    store::{Evidence, Query},
    work::{
        Batch, BatchId, Plan, Run, RunId, State,
        batch::Cause,
        plans::{PlanOccasion, PlanOutcome, PlanProgress},
        run::{Delivery, RunEvent},
        secrets::{MASK, OperationSecret},
    },
};
use futures::FutureExt as _;

use crate::{panics, plant::Plant};

/// What becomes of a frame on its way in.
pub enum Inbound {
    /// The server hears it.
    Pass,
    /// It does not, and this is answered.
    Swallow(Vec<ServerFrame>),
    /// It hears something else.
    Instead(String),
}

/// A frame on its way in.
pub fn inbound(plant: Option<Plant>, fleet: &Fleet, text: &str) -> Inbound {
    let Some(plant) = plant else { return Inbound::Pass };
    let Ok(frame) = serde_json::from_str::<AgentFrame>(text) else {
        return Inbound::Pass;
    };
    let recorded = |run: RunId, chunks: u32, finished: bool| {
        Inbound::Swallow(vec![ServerFrame::Recorded(Recorded {
            run,
            chunks,
            accepted: true,
            finished,
        })])
    };
    match (plant, frame) {
        (Plant::ResultNotStored, AgentFrame::Finished(finished)) => recorded(finished.run, finished.chunks, true),
        (Plant::OutputNotStored, AgentFrame::Output(output)) => {
            let after = output.chunks.iter().map(|chunk| chunk.sequence + 1).max();
            recorded(output.run, after.unwrap_or(0), false)
        }
        (Plant::ReceiptNotStored, AgentFrame::Accepted(accepted)) => recorded(accepted.run, 0, false),
        (Plant::BeatNotTaken, AgentFrame::Beat(_)) => Inbound::Swallow(vec![ServerFrame::Beat {
            time: fleet.clock().now(),
        }]),
        (Plant::LossNotAnnounced, AgentFrame::Output(output))
            if output.chunks.iter().any(|chunk| chunk.text.contains("spool was full")) =>
        {
            Inbound::Swallow(Vec::new())
        }
        (Plant::FailureTakenForSuccess, AgentFrame::Finished(mut finished)) if finished.result == RunResult::Failed => {
            finished.result = RunResult::Succeeded;
            serde_json::to_string(&AgentFrame::Finished(finished)).map_or(Inbound::Pass, Inbound::Instead)
        }
        (Plant::EverythingWouldChange, AgentFrame::Finished(mut finished)) if finished.changed != Some(true) => {
            finished.changed = Some(true);
            serde_json::to_string(&AgentFrame::Finished(finished)).map_or(Inbound::Pass, Inbound::Instead)
        }
        (Plant::PanicAtResult, AgentFrame::Finished(finished)) if finished.result == RunResult::TimedOut => {
            panic!("{}", panics::PLANTED)
        }
        (Plant::LetGoEarly, AgentFrame::Beat(_)) => {
            let_go(fleet, State::Scheduled, |batch| !batch.rolls_out);
            Inbound::Pass
        }
        (Plant::AgreedByNobody, AgentFrame::Beat(_)) => {
            let_go(fleet, State::AwaitingApproval, |_| true);
            Inbound::Pass
        }
        (Plant::WavesAtOnce, AgentFrame::Beat(_)) => {
            let_go(fleet, State::Scheduled, |batch| batch.rolls_out);
            Inbound::Pass
        }
        (Plant::SuccessTriedAgain, AgentFrame::Beat(_)) => {
            try_all_again(fleet);
            Inbound::Pass
        }
        (Plant::SecretsGoEarly, AgentFrame::Beat(_)) => {
            remove_secrets(fleet);
            Inbound::Pass
        }
        (Plant::PlanTimeTwice, AgentFrame::Beat(_)) => {
            make_again(fleet);
            Inbound::Pass
        }
        (Plant::PausedPlanGoesOn, AgentFrame::Beat(_)) => {
            settle_paused(fleet);
            Inbound::Pass
        }
        (Plant::ResultCountedTwice, AgentFrame::Finished(finished)) => {
            write_again(fleet, finished.run);
            Inbound::Pass
        }
        (Plant::StartUndoesEnd, AgentFrame::Started(started)) => {
            undo(fleet, started.run);
            Inbound::Pass
        }
        _ => Inbound::Pass,
    }
}

/// The event of an end, once more.
fn write_again(fleet: &Fleet, run: RunId) {
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let Some(run) = tx.get::<Run>(run).await?.filter(|run| run.state.is_terminal()) else {
            return Ok(());
        };
        let now = tx.now();
        let event = RunEvent {
            run: run.id,
            device: run.device,
            batch: run.batch,
            from: State::Running,
            to: run.state,
            at: now,
            actor: tx.context().actor().clone(),
            reason: None,
        };
        tx.append(run.id.uuid(), now, 0, &event)?;
        tx.commit().await.map(drop)
    });
    let _ = work.now_or_never();
}

/// Runs that wait, of batches that are meant, wait no longer.
fn let_go(fleet: &Fleet, waits: State, is_meant: fn(&Batch) -> bool) {
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let query = Query::<Run>::all().filter(Run::STATE.eq(waits.name()));
        for before in tx.list(&query, &PageRequest::default()).await?.items {
            let Some(id) = before.batch else { continue };
            if !tx.get::<Batch>(id).await?.is_some_and(|batch| is_meant(&batch)) {
                continue;
            }
            let (mut after, now) = (before.value.clone(), tx.now());
            let edges = match waits {
                State::AwaitingApproval => &[(waits, State::Scheduled), (State::Scheduled, State::Queued)][..],
                _ => &[(waits, State::Queued)],
            };
            for (n, (from, to)) in edges.iter().enumerate() {
                let event = RunEvent {
                    run: after.id,
                    device: after.device,
                    batch: after.batch,
                    from: *from,
                    to: *to,
                    at: now,
                    actor: tx.context().actor().clone(),
                    reason: None,
                };
                tx.append(after.id.uuid(), now, n as u32, &event)?;
            }
            after.state = State::Queued;
            tx.update(&before, &after)?;
        }
        match tx.is_empty() {
            true => Ok(()),
            false => tx.commit().await.map(drop),
        }
    });
    let _ = work.now_or_never();
}

/// Further attempts have runs on the devices, too, on which it succeeded.
fn try_all_again(fleet: &Fleet) {
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        for attempt in tx.list(&Query::<Batch>::all(), &PageRequest::default()).await?.items {
            let Some(before) = attempt.retry_of else { continue };
            let succeeded = Query::<Run>::all()
                .filter(Run::BATCH.eq(before.uuid()))
                .filter(Run::STATE.eq(State::Succeeded.name()));
            for run in tx.list(&succeeded, &PageRequest::default()).await?.items {
                let id = attempt.run_on(run.device);
                if tx.get::<Run>(id).await?.is_some() {
                    continue;
                }
                let now = tx.now();
                let again = Run {
                    id,
                    batch: Some(attempt.id),
                    state: State::Queued,
                    created_at: now,
                    expires_at: now.plus(Duration::from_secs(600)),
                    delivery: Delivery::default(),
                    started_at: None,
                    finished_at: None,
                    ending: None,
                    ..run.value
                };
                let event = RunEvent {
                    run: id,
                    device: again.device,
                    batch: again.batch,
                    from: State::Queued,
                    to: State::Queued,
                    at: now,
                    actor: tx.context().actor().clone(),
                    reason: None,
                };
                tx.append(id.uuid(), now, 0, &event)?;
                tx.create(&again)?;
            }
        }
        match tx.is_empty() {
            true => Ok(()),
            false => tx.commit().await.map(drop),
        }
    });
    let _ = work.now_or_never();
}

/// The work of the last time of a plan is made once more.
fn make_again(fleet: &Fleet) {
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let made = tx.list(&Query::<Batch>::all(), &PageRequest::default()).await?.items;
        let Some(made) = made.into_iter().find(|batch| batch.cause == Cause::Schedule) else {
            return Ok(());
        };
        let again = Batch {
            id: BatchId::new(tx.now(), fleet.random()),
            ..made.value
        };
        tx.create(&again)?;
        DeviceEvent::new(None, DEVICE_OFFLINE, tx.now()).append_to(&mut tx)?;
        tx.commit().await.map(drop)
    });
    let _ = work.now_or_never();
}

/// The times of a plan that is paused are met all the same.
fn settle_paused(fleet: &Fleet) {
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let plans = tx.list(&Query::<Plan>::all(), &PageRequest::default()).await?.items;
        let Some(plan) = plans.into_iter().find(|plan| !plan.enabled) else {
            return Ok(());
        };
        let Some(before) = tx.get::<PlanProgress>(plan.id).await? else {
            return Ok(());
        };
        let (mut after, now) = (before.value.clone(), tx.now());
        let minute = Duration::from_secs(60);
        let due_at = Timestamp::from_seconds(now.as_micros() / 60_000_000 * 60);
        if due_at <= before.settled_at.plus(minute) {
            return Ok(());
        }
        after.settled_at = due_at;
        after.last = Some(PlanOccasion {
            due_at,
            at: now,
            missed: 0,
            outcome: PlanOutcome::Missed,
        });
        tx.update(&before, &after)?;
        DeviceEvent::new(None, DEVICE_OFFLINE, now).append_to(&mut tx)?;
        tx.commit().await.map(drop)
    });
    let _ = work.now_or_never();
}

/// A run that has ended runs again.
fn undo(fleet: &Fleet, run: RunId) {
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let Some(before) = tx.get::<Run>(run).await?.filter(|run| run.state.is_terminal()) else {
            return Ok(());
        };
        let mut after = before.value.clone();
        after.state = State::Running;
        let now = tx.now();
        let event = RunEvent {
            run: after.id,
            device: after.device,
            batch: after.batch,
            from: before.state,
            to: State::Running,
            at: now,
            actor: tx.context().actor().clone(),
            reason: None,
        };
        tx.append(after.id.uuid(), now, 0, &event)?;
        tx.update(&before, &after)?;
        tx.commit().await.map(drop)
    });
    let _ = work.now_or_never();
}

/// A frame on its way out.
pub fn outbound(plant: Option<Plant>, fleet: &Fleet, now: Timestamp, frame: ServerFrame) -> Vec<ServerFrame> {
    match (plant, frame) {
        (Some(Plant::CancelIgnored), ServerFrame::Cancel(_))
        | (Some(Plant::ManifestNotNamed), ServerFrame::Manifest(_)) => Vec::new(),
        (Some(Plant::OffersWithoutEnd), ServerFrame::Offer(offer)) => {
            let mut body = offer.body;
            body.expires_at = Timestamp::MAX;
            signed(fleet, body)
        }
        (Some(Plant::SecretMasked), ServerFrame::Offer(offer)) => {
            let mut body = offer.body;
            for pointer in body.secrets.clone() {
                if let Some(place) = body.params.pointer_mut(&pointer) {
                    *place = MASK.into();
                }
            }
            signed(fleet, body)
        }
        (Some(Plant::SecretWrittenDown), ServerFrame::Offer(offer)) => {
            write_down(fleet, &offer.body);
            vec![ServerFrame::Offer(offer)]
        }
        (Some(Plant::WorkOfNobody), ServerFrame::Offer(offer)) => {
            let mut other = offer.body.clone();
            other.run = RunId::new(now, fleet.random());
            let mut frames = vec![ServerFrame::Offer(offer)];
            frames.extend(signed(fleet, other));
            frames
        }
        (Some(Plant::ConnectionsNumberedAlike), ServerFrame::Welcome(mut welcome)) => {
            welcome.body.epoch = 1;
            let signed = Welcome::sign(welcome.body, fleet.keys().identity());
            signed
                .map(|welcome| ServerFrame::Welcome(Box::new(welcome)))
                .into_iter()
                .collect()
        }
        (_, frame) => vec![frame],
    }
}

/// The parameters of an offer as a detail of an event.
fn write_down(fleet: &Fleet, offer: &OfferBody) {
    let context = Context::system("sim");
    let params = offer.params.clone().into_value();
    let params = &params;
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let event = DeviceEvent::new(Some(offer.device), DEVICE_OFFLINE, tx.now()).with("params", params.clone());
        event.append_to(&mut tx)?;
        tx.commit().await.map(drop)
    });
    let _ = work.now_or_never();
}

/// Secrets of work are removed.
fn remove_secrets(fleet: &Fleet) {
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let secrets = tx
            .list(&Query::<OperationSecret>::all(), &PageRequest::default())
            .await?
            .items;
        if secrets.is_empty() {
            return Ok(());
        }
        for secret in &secrets {
            tx.delete(secret);
        }
        DeviceEvent::new(None, DEVICE_OFFLINE, tx.now()).append_to(&mut tx)?;
        tx.commit().await.map(drop)
    });
    let _ = work.now_or_never();
}

fn signed(fleet: &Fleet, body: fleet_core::protocol::OfferBody) -> Vec<ServerFrame> {
    let offer = Offer::sign(body, &fleet.keys().dispatch().key);
    offer
        .map(|offer| ServerFrame::Offer(Box::new(offer)))
        .into_iter()
        .collect()
}

/// A connection has ended for the server. Whether it is answered all the same.
pub fn goes_on(plant: Option<Plant>) -> bool {
    plant == Some(Plant::OlderConnectionAnswered)
}

/// A connection has ended.
pub async fn at_disconnect(plant: Option<Plant>, fleet: &Fleet, device: DeviceId) {
    if plant != Some(Plant::OfflineAtDisconnect) {
        return;
    }
    let context = Context::system("sim");
    let work = fleet.store().change(&context, Evidence::Observed, |mut tx| async move {
        let Some(before) = tx.get::<DeviceSummary>(device).await? else {
            return Ok(());
        };
        let mut after = before.value.clone();
        after.presence = Presence::Offline;
        DeviceEvent::new(Some(device), DEVICE_OFFLINE, tx.now()).append_to(&mut tx)?;
        tx.update(&before, &after)?;
        tx.commit().await.map(drop)
    });
    let _ = work.await;
}
