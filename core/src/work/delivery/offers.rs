//! Offers and requests to stop, for one device in one session.

use super::rules::choose;
use crate::{
    access::Context,
    devices::{Device, DeviceId},
    kernel::{EntityId, Error, PageRequest, Result, SigningKey},
    live::Signals,
    protocol::{Offer, OfferBody},
    settings::Settings,
    store::{Direction, Evidence, Query, Reader, Store, Tx, Versioned},
    work::{
        Operations, Run, RunId, State,
        operations::Lane,
        output::OutputMeter,
        run::{Edge, Ending, step_run},
    },
};

/// The most open runs of a device that are looked at in one go.
const MAX_OPEN: usize = 100;
/// How many times the edge of being offered again may be repeated.
const MAX_ATTEMPTS: u32 = 1_000;

/// Hands work to devices and takes their answers. Used by the link, never by people.
#[derive(Debug)]
pub struct DeliveryService<'a> {
    pub(super) store: &'a Store,
    pub(super) operations: &'a Operations,
    settings: &'a Settings,
    pub(super) devices: &'a Signals<DeviceId>,
    pub(super) runs: &'a Signals<RunId>,
    pub(super) meter: &'a OutputMeter,
}

/// What a device is to do now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    /// Work, signed, in due order. Each offer is committed before it stands here.
    pub offers: Vec<Offer>,
    /// Runs to stop.
    pub cancels: Vec<RunId>,
}

impl<'a> DeliveryService<'a> {
    pub(crate) fn new(
        store: &'a Store,
        operations: &'a Operations,
        settings: &'a Settings,
        devices: &'a Signals<DeviceId>,
        runs: &'a Signals<RunId>,
        meter: &'a OutputMeter,
    ) -> Self {
        Self {
            store,
            operations,
            settings,
            devices,
            runs,
            meter,
        }
    }

    /// What a device is to do, as of now. Offers are committed before they are returned; a crash between commit and sending
    /// is mended by the next session, which offers them again.
    pub async fn pending(&self, device: DeviceId, epoch: u64, dispatch: &SigningKey) -> Result<Pending> {
        let pending = self
            .pending_in(self.store.reader().await?, device, epoch, dispatch)
            .await?;
        Ok(pending.unwrap_or_default())
    }

    /// The same by a view that is open already, on which the offers are decided as well. None while the device has no open
    /// run: then nothing becomes due before one of its runs is written.
    pub(crate) async fn pending_in(
        &self,
        mut reader: Reader,
        device: DeviceId,
        epoch: u64,
        dispatch: &SigningKey,
    ) -> Result<Option<Pending>> {
        let mut open = open_runs(device, &mut reader).await?;
        if open.is_empty() {
            return Ok(None);
        }
        let now = self.store.clock().now();
        let refs: Vec<_> = open.iter().map(|run| &run.value).collect();
        let cancels = refs
            .iter()
            .filter(|run| run.state.is_with_device() && run.cancel_requested_at.is_some())
            .map(|run| run.id)
            .collect();
        let chosen = choose(&refs, self.operations, epoch, now);
        if chosen.is_empty() {
            return Ok(Some(Pending {
                offers: Vec::new(),
                cancels,
            }));
        }
        let ids: &Vec<RunId> = &chosen.into_iter().map(|place| refs[place].id).collect();
        // As they were read: who was faster makes the first try fail, and the next one reads anew.
        open.retain(|run| ids.contains(&run.value.id));
        let mut known = Some(open);
        let context = Context::system("delivery");
        let decide = |mut tx: Tx| {
            let known = known.take();
            async move {
                let runs = match known {
                    Some(runs) => runs,
                    None => tx.reader().get_many::<Run>(ids).await?.into_iter().flatten().collect(),
                };
                let (mut offered, mut refused) = (Vec::new(), Vec::new());
                for before in runs {
                    if let Some(refusal) = self.refusal(&mut tx, &before).await? {
                        let mut run = before.value.clone();
                        refuse(&mut tx, &before, &mut run, &refusal)?;
                        refused.push(run.id);
                    } else if let Some(run) = offer(&mut tx, &before, epoch)? {
                        offered.push(run);
                    }
                }
                tx.commit().await?;
                Ok((offered, refused))
            }
        };
        let (offered, refused) = self
            .store
            .change_on(reader, &context, Evidence::Observed, decide)
            .await?;
        for run in refused {
            self.runs.signal(run);
            // What waited behind it may go.
            self.devices.signal(device);
        }
        let offers = offered
            .into_iter()
            .map(|run| self.sign(run, device, epoch, dispatch))
            .collect::<Result<_>>()?;
        Ok(Some(Pending { offers, cancels }))
    }

    /// Why a run is not offered after all: something keeps its kind from the device by now. What was offered already may be
    /// under way, and is offered again as it was.
    async fn refusal(&self, tx: &mut Tx, run: &Run) -> Result<Option<Error>> {
        if run.state != State::Queued || !self.operations.has_gate(&run.operation) {
            return Ok(None);
        }
        let device = tx.get::<Device>(run.device).await?;
        let checked = device.map(|device| self.operations.check_gates(&run.operation, self.settings, &device));
        Ok(checked.and_then(Result::err))
    }

    fn sign(&self, run: Run, device: DeviceId, epoch: u64, dispatch: &SigningKey) -> Result<Offer> {
        let kind = self.operations.kind(&run.operation)?;
        let body = OfferBody {
            run: run.id,
            device,
            epoch,
            kind: run.operation,
            params: run.params,
            expires_at: run.expires_at,
            timeout_seconds: run.timeout_seconds,
            output_limit_bytes: run.output_limit_bytes,
            idempotent: kind.idempotent,
            exclusive: kind.lane == Lane::Exclusive,
        };
        Offer::sign(body, dispatch).map_err(Error::internal)
    }
}

/// A device's open runs, the oldest first.
async fn open_runs(device: DeviceId, reader: &mut Reader) -> Result<Vec<Versioned<Run>>> {
    let states = [State::Queued, State::Offered, State::Accepted, State::Running].map(State::name);
    let query = Query::<Run>::all()
        .filter(Run::DEVICE.eq(device.uuid()))
        .filter(Run::STATE.one_of(states))
        .order(Run::CREATED_AT, Direction::Ascending);
    let page = PageRequest::new(Some(MAX_OPEN), None)?;
    Ok(reader.list(&query, &page).await?.items)
}

/// Withdraws a run that its device is kept from.
fn refuse(tx: &mut Tx, before: &Versioned<Run>, run: &mut Run, refusal: &Error) -> Result<()> {
    let code = refusal.code().name();
    run.ending = Some(Ending {
        code: Some(code.to_owned()),
        message: Some(refusal.message().to_owned()),
        ..Ending::default()
    });
    step_run(tx, before, run, Edge::Withdraw, Some(format!("not offered: {code}"))).map(drop)
}

/// Marks a run as offered in this session; none when it has moved on meanwhile.
fn offer(tx: &mut Tx, before: &Versioned<Run>, epoch: u64) -> Result<Option<Run>> {
    let mut run = before.value.clone();
    let (now, from) = (tx.now(), run.state);
    if !matches!(from, State::Queued | State::Offered)
        || run.cancel_requested_at.is_some()
        || run.delivery.attempts >= MAX_ATTEMPTS
    {
        return Ok(None);
    }
    run.delivery.epoch = Some(epoch);
    run.delivery.attempts += 1;
    run.delivery.offered_at = Some(now);
    if from == State::Queued {
        step_run(tx, before, &mut run, Edge::Offer, None)?;
    } else {
        crate::work::run::event(tx, &run, from, from, now, Some("offered again".into()))?;
        tx.update(before, &run)?;
    }
    Ok(Some(run))
}
