//! Makes the runs of a batch, step by step: the first with the batch itself, the others right after it by whoever asked, and by a job
//! where that one came to grief. Each step is a commit of its own, so that beats and results find their place between two, and its
//! runs are on their way while the next are made.
//!
//! A run's id follows from its batch and its device, and a step makes the runs that are not there: whoever goes on, and with whomever
//! it races, each run is made once.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};

use super::{
    Batch, BatchId, BatchTargets,
    release::skip,
    service::{BATCH_EXPAND, existing},
};
use crate::{
    Fleet,
    access::Context,
    devices::{Device, DeviceId},
    kernel::{PageRequest, Result, Timestamp},
    link::{Claims, DirectOffers},
    store::{Direction, Evidence, Filter, Query, Store, Tx, Value},
    work::{
        delivery::offer_first,
        run::{Delivery, Edge, OUTPUT_LIMIT, Run, RunId, State, move_run},
    },
};

/// Runs of one step.
pub(super) const STEP: usize = 512;
/// Steps at the same time: one is prepared while another is written, and a third waits to be.
const AT_ONCE: usize = 3;

/// Whoever asked is done sooner than that.
const STALLED: Duration = Duration::from_secs(60);
/// Batches that one tick of the job looks for.
const BATCHES: usize = 20;

/// Runs that a commit makes, with the claims on their devices.
#[derive(Debug)]
pub(in crate::work) struct Made<'a> {
    pub(super) runs: Vec<Run>,
    claims: Claims<'a>,
}

impl<'a> Made<'a> {
    /// Makes runs of a batch in a commit: those on `devices`, of which these are in storage. A device that is gone gets its run as
    /// well; it expires, as that of a device that goes a moment later. Runs of a batch that was stopped meanwhile are made cancelled.
    pub(super) fn make<'d>(
        tx: &mut Tx,
        batch: &Batch,
        devices: impl Iterator<Item = (DeviceId, Option<&'d Device>)>,
        direct: DirectOffers<'a>,
    ) -> Result<Self> {
        let mut made = Self {
            runs: Vec::new(),
            claims: direct.begin(),
        };
        let is_stopped = batch.cancelled_at.is_some();
        let first = if is_stopped { State::Draft } else { batch.first_state() };
        for (id, device) in devices {
            let mut run = Run {
                id: batch.run_on(id),
                batch: Some(batch.id),
                origin: None,
                device: id,
                device_name: device.map_or_else(|| id.to_string(), |device| device.name.clone()),
                operation: batch.operation.clone(),
                params: batch.params.clone(),
                // What gates this work was asked with the request: up to here the request itself moved it.
                state: first,
                priority: batch.priority,
                due_at: batch.start_at.unwrap_or(batch.created_at),
                delivery: Delivery::default(),
                created_at: batch.created_at,
                expires_at: batch.first_expiry(),
                timeout_seconds: batch.timeout_seconds,
                output_limit_bytes: OUTPUT_LIMIT,
                started_at: None,
                finished_at: None,
                cancel_requested_at: None,
                on_hold: false,
                ending: None,
            };
            if is_stopped {
                let (actor, reason) = (tx.context().actor().clone(), Some("its batch was stopped".to_owned()));
                run.cancel_requested_at = batch.cancelled_at;
                move_run(tx, &mut run, &actor, Edge::Withdraw, reason)?;
            } else if first == State::Queued && batch.skips(direct.presence, run.device) {
                skip(tx, &mut run)?;
            } else if first == State::Queued
                && let Some(epoch) = made.claims.claim(run.device, run.id)
            {
                offer_first(tx, &mut run, epoch)?;
            }
            tx.create(&run)?;
            made.runs.push(run);
        }
        Ok(made)
    }

    /// The commit is durable: wakes the devices.
    pub(super) fn hand_over(self) {
        self.claims.hand_over(self.runs);
    }
}

/// Makes the runs of a batch that are missing on these devices, which are all of its plan but those of earlier steps.
pub(super) async fn expand(
    store: &Store,
    direct: DirectOffers<'_>,
    context: &Context,
    batch: &Batch,
    devices: &[DeviceId],
) -> Result<()> {
    let mut devices = devices.to_vec();
    // Runs that are written together stand together in storage: half as many pages are written as in any other order.
    devices.sort_by_cached_key(|device| batch.run_on(*device));
    // Boxed one by one: the future of a step that borrows from a closure's argument would not be known to be `Send`.
    let mut all = Vec::with_capacity(devices.len().div_ceil(STEP));
    for devices in devices.chunks(STEP) {
        all.push(step(store, direct, context, batch, devices).boxed());
    }
    let mut steps = stream::iter(all).buffer_unordered(AT_ONCE);
    while let Some(done) = steps.next().await {
        done?;
    }
    finish(store, context, batch.id).await
}

async fn step(
    store: &Store,
    direct: DirectOffers<'_>,
    context: &Context,
    batch: &Batch,
    devices: &[DeviceId],
) -> Result<()> {
    let ids: &Vec<RunId> = &devices.iter().map(|device| batch.run_on(*device)).collect();
    // Devices that have their runs are waited for; those that have none yet can wait.
    direct.deliveries.give_way().await;
    let made = store
        .change(context, Evidence::Audit(BATCH_EXPAND), |mut tx| async move {
            // As it is now: it may have been stopped, or let go.
            let batch = &existing(tx.reader(), batch.id).await?.value;
            let there = tx.reader().get_many::<Run>(ids).await?;
            let missing = devices.iter().zip(there).filter(|(_, run)| run.is_none());
            let missing: Vec<DeviceId> = missing.map(|(device, _)| *device).collect();
            if missing.is_empty() {
                return Ok(None);
            }
            let stored = tx.reader().get_many::<Device>(&missing).await?;
            let stored = stored.iter().map(Option::as_deref);
            let made = Made::make(&mut tx, batch, missing.iter().copied().zip(stored), direct)?;
            tx.subject::<Batch>(batch.id, batch.operation.clone());
            tx.detail("runs", made.runs.len());
            tx.commit().await?;
            Ok(Some(made))
        })
        .await?;
    if let Some(made) = made {
        made.hand_over();
    }
    Ok(())
}

/// All runs are there.
async fn finish(store: &Store, context: &Context, id: BatchId) -> Result<()> {
    store
        .change(context, Evidence::Audit(BATCH_EXPAND), |mut tx| async move {
            let before = existing(tx.reader(), id).await?;
            if before.expanding_since.is_none() {
                return Ok(());
            }
            let mut batch = before.value.clone();
            batch.expanding_since = None;
            tx.update(&before, &batch)?;
            tx.remove::<BatchTargets>(id);
            tx.subject::<Batch>(id, batch.operation.clone());
            tx.detail("complete", true);
            tx.commit().await?;
            Ok(())
        })
        .await
}

/// Goes on with batches whose maker was interrupted.
pub(crate) async fn expand_stalled(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.expand");
    let page = PageRequest::new(Some(BATCHES), None)?;
    let stalled = stalled(fleet.clock().now().minus(STALLED));
    let batches = fleet.store().reader().await?.list(&stalled, &page).await?.items;
    for batch in batches {
        let Some(targets) = fleet.store().get::<BatchTargets>(batch.id).await? else {
            // Whoever made it has just finished.
            continue;
        };
        tracing::info!(batch = %batch.id, runs = batch.runs, "goes on where its maker was interrupted");
        let devices = &targets.value.devices;
        if let Err(error) = expand(fleet.store(), fleet.direct_offers(), &context, &batch, devices).await {
            // The next tick tries again; the others need not wait for it.
            tracing::warn!(batch = %batch.id, error = error.log(), "its runs are not all made yet");
        }
    }
    Ok(())
}

/// Batches that were begun before this time and may not have all of their runs.
fn stalled(before: Timestamp) -> Query<Batch> {
    let range = Filter::Range(
        Batch::EXPANDING_SINCE.name(),
        Some(Value::Int(i64::MIN)),
        Some(Value::from(before)),
    );
    Query::all()
        .filter(range)
        .order(Batch::EXPANDING_SINCE, Direction::Ascending)
}
