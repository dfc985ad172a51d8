//! Goes on with rollouts, step by step, each a commit of its own.

use super::{
    Phase, ROLLOUT_ADVANCE, Rollout, RolloutOrder,
    rules::{Halt, Next, Standing},
    standing::{failed, of_all, of_wave},
    words::{MAX_NAMED, reason},
};
use crate::{
    Fleet,
    access::Context,
    devices::DeviceId,
    kernel::{MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Direction, Evidence, Filter, Query, Reader, Tx, Value, Versioned},
    work::{
        Batch, BatchId,
        batch::{LetIn, Release, existing, wake},
        run::{Run, RunId},
        windows::WindowSet,
    },
};

/// Devices that have their turn in one commit, and that windows are asked for together.
const STEP: usize = 500;
/// Steps of one look, which goes on at the next one where it ended: enough for the largest batch.
const MAX_STEPS: usize = 64;

/// Goes on with the rollouts whose time has come. Where none is open, that is one look at an index.
pub(crate) async fn advance_due(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.rollouts");
    let mut page = PageRequest::new(Some(MAX_LIMIT), None)?;
    // Windows that were changed may let go what they held.
    let mut asks_again = None;
    loop {
        let found = fleet.store().reader().await?.list(&open(), &page).await?;
        for rollout in found.items {
            let now = fleet.clock().now();
            let is_back = matches!(rollout.phase, Phase::Watching { since, .. } if now < since);
            if rollout.look_at().is_none_or(|at| at > now) && !is_back {
                continue;
            }
            let again = match asks_again {
                Some(again) => again,
                None => *asks_again.insert(windows_changed(&fleet).await?),
            };
            if let Err(error) = fleet.rollouts_at_work().advance(&context, rollout.id, again).await {
                // The next tick tries again; the others need not wait for it.
                tracing::warn!(batch = %rollout.id, error = error.log(), "its rollout did not go on");
            }
        }
        match found.next {
            Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
            None => return Ok(()),
        }
    }
}

async fn windows_changed(fleet: &Fleet) -> Result<bool> {
    let print = fleet.windows().all().await?.fingerprint();
    Ok(fleet.rollout_windows_seen().replace(print) != Some(print))
}

/// Rollouts for which nobody waits, whenever they are looked after next.
pub(in crate::work) fn open() -> Query<Rollout> {
    let any = Filter::Range(Rollout::LOOK_AT.name(), Some(Value::Int(i64::MIN)), None);
    Query::all().filter(any).order(Rollout::LOOK_AT, Direction::Ascending)
}

/// Goes on with rollouts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rollouts<'a> {
    pub(crate) release: Release<'a>,
}

/// What a step came to.
#[derive(Debug, Default)]
struct Stepped {
    moved: Vec<(RunId, DeviceId)>,
    goes_on: bool,
    /// How many of those that are held were asked and are held still, since this look began.
    asked: usize,
}

impl Rollouts<'_> {
    /// Goes on with a rollout until it waits for something. `asks_again`: windows were changed since they were asked.
    pub(crate) async fn advance(&self, context: &Context, id: BatchId, asks_again: bool) -> Result<()> {
        let mut reader = self.release.store.reader().await?;
        let batch = existing(&mut reader, id).await?;
        drop(reader);
        let windows = &self.release.windows(&batch).await?;
        let mut asked = (!asks_again).then_some(usize::MAX);
        for _ in 0..MAX_STEPS {
            let Some(rollout) = self.release.store.get::<Rollout>(id).await? else {
                break;
            };
            if rollout.takes_back {
                self.take_back(context, id).await?;
                break;
            }
            if rollout.has_to_settle() {
                self.settle(context, id).await?;
                continue;
            }
            if rollout.is_held() || rollout.phase.is_over() {
                break;
            }
            let from = asked.unwrap_or(0);
            let stepped = self
                .release
                .store
                .change(context, Evidence::Observed, |tx| {
                    self.step(tx, context, id, windows, from)
                })
                .await?;
            wake(self.release.devices, self.release.runs, stepped.moved);
            asked = Some(stepped.asked);
            if !stepped.goes_on {
                break;
            }
        }
        Ok(())
    }

    async fn step(
        &self,
        mut tx: Tx,
        context: &Context,
        id: BatchId,
        windows: &WindowSet,
        asked: usize,
    ) -> Result<Stepped> {
        let batch = existing(tx.reader(), id).await?;
        let Some(before) = tx.get::<Rollout>(id).await? else {
            return Ok(Stepped::default());
        };
        let mut rollout = before.value.clone();
        if rollout.is_held() || rollout.phase.is_over() {
            return Ok(Stepped::default());
        }
        let now = tx.now();
        let mut stepped = Stepped {
            asked,
            ..Stepped::default()
        };
        let (all, offline) = of_all(tx.reader(), &rollout).await?;
        let from = match rollout.held_until {
            // Their time has come, for all of them.
            Some(until) if until <= now && asked == usize::MAX => 0,
            _ => asked,
        };
        let wave = match rollout.may_be_over(all) {
            true => Some(of_wave(tx.reader(), &batch, &rollout, &offline, now).await?),
            false => None,
        };
        let (wave, unwell) = wave.unzip();
        let next = rollout.next(all, wave, now);
        // What halts it goes first.
        let may_ask = rollout.phase == Phase::Rolling && matches!(next, Next::Admit(_) | Next::Stay);
        if may_ask && from < rollout.held.len() && rollout.room(all) > 0 {
            self.ask_again(&mut tx, (&batch, all), &mut rollout, windows, from, &mut stepped)
                .await?;
        } else {
            match next {
                Next::Stay => {}
                Next::Admit(room) => {
                    self.admit(&mut tx, &batch, &mut rollout, windows, room, &mut stepped)
                        .await?;
                }
                Next::Halt(halt) => {
                    rollout.phase = halted(tx.reader(), &rollout, halt, unwell.unwrap_or_default()).await?;
                    if let Halt::Unwell(unwell) = halt {
                        rollout.unwell += unwell;
                    }
                    stepped.goes_on = true;
                }
                Next::Enter(phase) => {
                    rollout.unwell += wave.map_or(0, |wave| wave.unwell);
                    if matches!(rollout.phase, Phase::Pending { .. }) {
                        rollout.wave_began_at = now;
                    }
                    rollout.phase = phase;
                    stepped.goes_on = true;
                }
                Next::Proceed => {
                    rollout.unwell += wave.map_or(0, |wave| wave.unwell);
                    rollout.begin_next_wave(all, now);
                    stepped.goes_on = true;
                }
            }
        }
        if rollout.phase.is_over() {
            tx.remove::<RolloutOrder>(id);
        }
        let is_another = (&before.phase, before.wave) != (&rollout.phase, rollout.wave);
        let is_changed = tx.update(&before, &rollout)?;
        // What runs do is told by their own events.
        if is_another || (is_changed && stepped.moved.is_empty()) {
            tx.subject::<Batch>(id, batch.operation.clone());
            tx.detail("wave", rollout.wave + 1);
            tx.detail("phase", rollout.phase.name());
            tx.account(context, ROLLOUT_ADVANCE)?;
        }
        tx.commit().await?;
        Ok(stepped)
    }

    /// Gives the next devices of the wave their turn, until as many runs begin as there is room for.
    async fn admit(
        &self,
        tx: &mut Tx,
        batch: &Batch,
        rollout: &mut Rollout,
        windows: &WindowSet,
        room: u32,
        stepped: &mut Stepped,
    ) -> Result<()> {
        let left = rollout.places().end.saturating_sub(rollout.admitted as usize);
        let places = rollout.admitted as usize..rollout.admitted as usize + left.min(STEP);
        let asked = places.len();
        let runs = self.runs_at(tx.reader(), batch, places).await?;
        // A run that is not there yet ends the step: nobody has their turn before those in front of them.
        let runs: Vec<_> = runs.into_iter().map_while(|run| run).collect();
        let answers = self
            .release
            .let_in(tx, batch, rollout.wave_began_at, windows, &runs, room)
            .await?;
        let mut is_full = false;
        for (run, answer) in runs.iter().zip(answers) {
            match answer {
                LetIn::Goes => stepped.moved.push((run.id, run.device)),
                LetIn::Gone => {}
                LetIn::Waits(until) => {
                    rollout.held.push(rollout.admitted);
                    rollout.held_until = Some(rollout.held_until.map_or(until, |first| first.min(until)));
                }
                LetIn::Full => {
                    is_full = true;
                    break;
                }
            }
            rollout.admitted += 1;
        }
        stepped.goes_on = runs.len() == asked && !is_full;
        // They were asked just now.
        stepped.asked = usize::MAX;
        Ok(())
    }

    /// Asks windows again for what had its turn and was held by one, from a place on.
    async fn ask_again(
        &self,
        tx: &mut Tx,
        (batch, all): (&Batch, Standing),
        rollout: &mut Rollout,
        windows: &WindowSet,
        from: usize,
        stepped: &mut Stepped,
    ) -> Result<()> {
        let to = rollout.held.len().min(from.saturating_add(STEP));
        let places = rollout.held.get(from..to).unwrap_or_default().to_vec();
        let order = tx.get::<RolloutOrder>(rollout.id).await?;
        let devices = order.as_ref().map(|order| order.devices.as_slice()).unwrap_or_default();
        let ids = places.iter().filter_map(|place| devices.get(*place as usize));
        let ids: Vec<_> = ids.map(|device| batch.run_on(*device)).collect();
        let found = tx.reader().get_many::<Run>(&ids).await?;
        let runs: Vec<_> = found.into_iter().flatten().collect();
        let room = rollout.room(all);
        let answers = self
            .release
            .let_in(tx, batch, rollout.wave_began_at, windows, &runs, room)
            .await?;
        let (mut still, mut first) = (Vec::new(), None::<Timestamp>);
        for ((place, run), answer) in places.iter().zip(&runs).zip(answers) {
            let until = match answer {
                LetIn::Goes => {
                    stepped.moved.push((run.id, run.device));
                    continue;
                }
                LetIn::Gone => continue,
                LetIn::Waits(until) => until,
                LetIn::Full => tx.now(),
            };
            still.push(*place);
            first = Some(first.map_or(until, |first| first.min(until)));
        }
        stepped.asked = from + still.len();
        rollout.held.splice(from..to, still);
        rollout.held_until = match from {
            0 => first,
            // As the steps before it found.
            _ => rollout.held_until.into_iter().chain(first).min(),
        };
        stepped.goes_on = true;
        if stepped.asked >= rollout.held.len() {
            stepped.asked = usize::MAX;
        }
        Ok(())
    }

    /// The runs at these places of the order.
    async fn runs_at(
        &self,
        reader: &mut Reader,
        batch: &Batch,
        places: std::ops::Range<usize>,
    ) -> Result<Vec<Option<Versioned<Run>>>> {
        let order = reader.get::<RolloutOrder>(batch.id).await?;
        let devices = order.as_ref().and_then(|order| order.devices.get(places));
        let ids: Vec<_> = devices
            .unwrap_or_default()
            .iter()
            .map(|device| batch.run_on(*device))
            .collect();
        reader.get_many::<Run>(&ids).await
    }
}

async fn halted(reader: &mut Reader, rollout: &Rollout, halt: Halt, unwell: Vec<String>) -> Result<Phase> {
    let (named, count) = match halt {
        Halt::Unwell(count) => (unwell, count),
        Halt::Failures(count, _) => (name_failed(reader, rollout).await?, count),
        Halt::NoSuccess => (name_failed(reader, rollout).await?, 0),
    };
    Ok(Phase::Halted {
        reason: reason(rollout, halt, &named, count),
        watched: matches!(halt, Halt::Unwell(_)),
    })
}

async fn name_failed(reader: &mut Reader, rollout: &Rollout) -> Result<Vec<String>> {
    let runs = failed(reader, rollout, MAX_NAMED).await?;
    let name = |run: Run| format!("{} ({})", run.device_name, run.state.name().replace('_', " "));
    Ok(runs.into_iter().map(name).collect())
}
