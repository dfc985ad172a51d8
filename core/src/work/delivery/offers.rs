//! What devices are to do: the offers of many, decided on one view and made durable by one commit.

use std::collections::HashMap;

use super::{DeliveryService, rules::choose};
use crate::{
    access::Context,
    devices::{
        Device, DeviceId,
        device::{check_not_kept_out, of_agent_in},
    },
    kernel::{Class, EntityId, Error, MAX_LIMIT, PageRequest, Result, Timestamp},
    protocol::ManifestMark,
    store::{Direction, Evidence, Query, Reader, Tx, Versioned},
    work::{
        Run, RunId, State,
        desired::Manifest,
        run::{Edge, Ending, Step, event, step_run},
        secrets::SECRET_GONE,
    },
};

/// Who offers, in the events of runs.
const DELIVERY: &str = "delivery";
/// The most open runs of a device that are looked at in one go.
const MAX_OPEN: usize = 100;
/// States in which a run is with its device.
const WITH_DEVICE: [State; 3] = [State::Offered, State::Accepted, State::Running];
/// How many times the edge of being offered again may be repeated.
const MAX_ATTEMPTS: u32 = 1_000;

/// A device that asks what it is to do, in a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub device: DeviceId,
    pub epoch: u64,
    /// Whether it is known that the device is there and not kept out.
    pub is_known: bool,
    /// Whether what was offered in this very session may not have been sent.
    pub in_doubt: bool,
}

/// What is due for a device.
#[derive(Debug)]
pub(crate) struct Due {
    /// The device as of then, unless it was known.
    pub device: Option<Versioned<Device>>,
    /// Runs that are offered to it now, in due order.
    pub offered: Vec<Run>,
    /// Runs to stop.
    pub cancels: Vec<RunId>,
    /// Whether it has no open run: then nothing becomes due before one of its runs is written, or its manifest.
    pub is_idle: bool,
    /// What its manifest is called; none where it has none.
    pub manifest: Option<ManifestMark>,
}

/// What became of the runs that were chosen for offering.
#[derive(Default)]
struct Offered {
    offered: Vec<Run>,
    refused: Vec<Run>,
}

impl DeliveryService<'_> {
    /// What is due for many devices.
    pub(super) async fn offer(&self, asks: Vec<Ask>) -> Vec<Result<Due>> {
        crate::gathering::together(asks, async |asks| self.offer_in_one_commit(&asks).await).await
    }

    async fn offer_in_one_commit(&self, asks: &[Ask]) -> Result<Vec<Result<Due>>> {
        let mut reader = self.store.reader().await?;
        let devices = devices(asks, &mut reader).await?;
        let there = asks.iter().zip(&devices).filter(|(_, device)| device.is_ok());
        let there: Vec<_> = there.map(|(ask, _)| ask.device).collect();
        let mut open = open_runs(&there, &mut reader).await?;
        let mut manifests = manifests(&there, &mut reader).await?;
        let now = self.store.clock().now();
        let (mut dues, mut chosen) = (Vec::with_capacity(asks.len()), Vec::new());
        for (ask, device) in asks.iter().zip(devices) {
            dues.push(device.map(|device| {
                // Of two sessions of a device that ask at once one is over: the other hears all.
                let runs = open.remove(&ask.device);
                let mut due = Due {
                    device,
                    offered: Vec::new(),
                    cancels: Vec::new(),
                    is_idle: runs.as_ref().is_some_and(Vec::is_empty),
                    manifest: manifests.remove(&ask.device),
                };
                let runs = runs.unwrap_or_default();
                let refs: Vec<_> = runs.iter().map(|run| &run.value).collect();
                let cancelled = |run: &&&Run| run.state.is_with_device() && run.cancel_requested_at.is_some();
                due.cancels = refs.iter().filter(cancelled).map(|run| run.id).collect();
                let places = choose(&refs, self.operations, (!ask.in_doubt).then_some(ask.epoch), now);
                let runs = runs.into_iter().enumerate();
                let taken = runs.filter(|(place, _)| places.contains(place));
                chosen.extend(taken.map(|(_, run)| (ask.epoch, run)));
                due
            }));
        }
        if chosen.is_empty() {
            return Ok(dues);
        }
        let Offered { offered, refused } = self.commit(reader, chosen).await?;
        for run in refused {
            self.runs.signal(run.id);
            // What waited behind it may go.
            self.devices.signal(run.device);
        }
        let mut by_device: HashMap<_, Vec<_>> = HashMap::new();
        for run in offered {
            by_device.entry(run.device).or_default().push(run);
        }
        for (ask, due) in asks.iter().zip(&mut dues) {
            if let Ok(due) = due {
                due.offered = by_device.remove(&ask.device).unwrap_or_default();
            }
        }
        Ok(dues)
    }

    /// Offers runs, each in the session of this number, as far as they still are to be offered.
    async fn commit(&self, reader: Reader, chosen: Vec<(u64, Versioned<Run>)>) -> Result<Offered> {
        let places: &Vec<_> = &chosen.iter().map(|(epoch, run)| (*epoch, run.id)).collect();
        // As they were read: who was faster makes the first try fail, and the next one reads anew.
        let mut known = Some(chosen.into_iter().map(|(_, run)| Some(run)).collect::<Vec<_>>());
        let context = Context::system(DELIVERY);
        let decide = |mut tx: Tx| {
            let known = known.take();
            async move {
                let runs = match known {
                    Some(runs) => runs,
                    None => {
                        let ids: Vec<_> = places.iter().map(|(_, run)| *run).collect();
                        tx.reader().get_many::<Run>(&ids).await?
                    }
                };
                let mut outcome = Offered::default();
                for ((epoch, _), before) in places.iter().zip(runs) {
                    let Some(before) = before else { continue };
                    if let Some(refusal) = self.refusal(&mut tx, &before).await? {
                        outcome.refused.push(refuse(&mut tx, &before, &refusal)?);
                    } else if let Some(run) = offer(&mut tx, &before, *epoch)? {
                        outcome.offered.push(run);
                    }
                }
                tx.commit().await?;
                Ok(outcome)
            }
        };
        self.store.change_on(reader, &context, Evidence::Observed, decide).await
    }

    /// Why a run is not offered after all: something keeps its kind from the device by now. What was offered already may be
    /// under way, and is offered again as it was.
    async fn refusal(&self, tx: &mut Tx, run: &Run) -> Result<Option<Error>> {
        if run.state != State::Queued {
            return Ok(None);
        }
        let secrets = run.params.secret_ids();
        if !secrets.is_empty()
            && let Err(refusal) = self.vault.open(tx.reader(), &secrets).await
        {
            return match refusal.code() == SECRET_GONE {
                true => Ok(Some(refusal)),
                false => Err(refusal),
            };
        }
        if !self.operations.has_gate(&run.operation) {
            return Ok(None);
        }
        let device = tx.get::<Device>(run.device).await?;
        let checked = device.map(|device| self.operations.check_gates(&run.operation, self.settings, &device));
        Ok(checked.and_then(Result::err))
    }
}

/// The devices that ask, as far as they are not known; an error each for those that are gone or kept out.
async fn devices(asks: &[Ask], reader: &mut Reader) -> Result<Vec<Result<Option<Versioned<Device>>>>> {
    let unknown = asks.iter().filter(|ask| !ask.is_known);
    let ids: Vec<_> = unknown.map(|ask| ask.device).collect();
    let mut read = match ids.is_empty() {
        true => Vec::new(),
        false => reader.get_many::<Device>(&ids).await?,
    }
    .into_iter();
    let mut devices = Vec::with_capacity(asks.len());
    for ask in asks {
        if ask.is_known {
            devices.push(Ok(None));
            continue;
        }
        devices.push(match read.next().flatten() {
            Some(device) => check_not_kept_out(&device).map(|()| Some(device)),
            None => match of_agent_in(reader, ask.device).await {
                Err(error) if matches!(error.class(), Class::Internal | Class::Unavailable) => return Err(error),
                outcome => outcome.map(Some),
            },
        });
    }
    Ok(devices)
}

/// What the manifests of devices are called.
async fn manifests(devices: &[DeviceId], reader: &mut Reader) -> Result<HashMap<DeviceId, ManifestMark>> {
    let found = reader.get_many::<Manifest>(devices).await?.into_iter().flatten();
    let mark = |found: Versioned<Manifest>| ManifestMark {
        version: found.version,
        digest: found.value.digest,
    };
    Ok(found.map(|found| (found.id, mark(found))).collect())
}

/// The open runs of devices, in due order.
async fn open_runs(devices: &[DeviceId], reader: &mut Reader) -> Result<HashMap<DeviceId, Vec<Versioned<Run>>>> {
    let mut open: HashMap<_, Vec<_>> = devices.iter().map(|device| (*device, Vec::new())).collect();
    let page = reader
        .list(&open_runs_of(devices), &PageRequest::new(Some(MAX_LIMIT), None)?)
        .await?;
    if page.next.is_none() {
        for run in page.items {
            open.entry(run.device).or_default().push(run);
        }
        return Ok(open);
    }
    // Somebody has very many.
    for device in devices {
        let page = PageRequest::new(Some(MAX_OPEN), None)?;
        let mut runs = Vec::new();
        // What it has counts, however urgent the others are that wait for it.
        for states in [&WITH_DEVICE[..], &[State::Queued]] {
            let states = Run::STATE.one_of(states.iter().map(|state| state.name()));
            let query = open_runs_of(&[*device]).filter(states);
            runs.extend(reader.list(&query, &page).await?.items);
        }
        open.insert(*device, runs);
    }
    Ok(open)
}

fn open_runs_of(devices: &[DeviceId]) -> Query<Run> {
    Query::all()
        .filter(Run::OPEN_ON.one_of(devices.iter().map(|device| device.uuid())))
        .order(Run::TURN_AT, Direction::Ascending)
}

/// Withdraws a run that its device is kept from.
fn refuse(tx: &mut Tx, before: &Versioned<Run>, refusal: &Error) -> Result<Run> {
    let (mut run, actor) = (before.value.clone(), tx.context().actor().clone());
    let code = refusal.code().name();
    run.ending = Some(Ending {
        code: Some(code.to_owned()),
        message: Some(refusal.message().to_owned()),
        ..Ending::default()
    });
    let reason = Some(format!("not offered: {code}"));
    step_run(tx, before, &mut run, &actor, Edge::Withdraw, reason)?;
    Ok(run)
}

/// Marks a run that is being made as offered in this session.
pub(crate) fn offer_first(tx: &mut Tx, run: &mut Run, epoch: u64) -> Result<()> {
    let from = run.state;
    note_offer(run, epoch, tx.now());
    if let Step::To(to) = run.step(Edge::Offer, tx.now()) {
        event(tx, run, Context::system(DELIVERY).actor(), from, to, None)?;
    }
    Ok(())
}

fn note_offer(run: &mut Run, epoch: u64, now: Timestamp) {
    run.delivery.epoch = Some(epoch);
    run.delivery.attempts += 1;
    run.delivery.offered_at = Some(now);
}

/// Marks a run as offered in this session; none when it has moved on meanwhile.
fn offer(tx: &mut Tx, before: &Versioned<Run>, epoch: u64) -> Result<Option<Run>> {
    let (mut run, actor) = (before.value.clone(), tx.context().actor().clone());
    let from = run.state;
    if !matches!(from, State::Queued | State::Offered)
        || run.cancel_requested_at.is_some()
        || (from == State::Queued && run.on_hold)
        || run.delivery.attempts >= MAX_ATTEMPTS
    {
        return Ok(None);
    }
    note_offer(&mut run, epoch, tx.now());
    if from == State::Queued {
        step_run(tx, before, &mut run, &actor, Edge::Offer, None)?;
    } else {
        event(tx, &run, &actor, from, from, Some("offered again".into()))?;
        tx.update(before, &run)?;
    }
    Ok(Some(run))
}
