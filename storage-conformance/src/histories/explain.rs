//! Whether one order of commits explains everything.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::store::{Batch, Committed, Ingest, Record, Seq, View, memory::State};
use futures::TryStreamExt as _;
use uuid::Uuid;

use super::{Call, Look, What, client, refusal};
use crate::dsl::*;

/// The model at each place, and what is known of the moments.
struct History {
    /// Before and after the batches that changed nothing were answered there.
    states: Vec<(State, State)>,
    /// When the batch of each place was first asked for.
    begun: Vec<u64>,
    /// When which place was told to somebody.
    told: BTreeMap<u64, Seq>,
    /// When each batch was first asked for.
    first_begun: BTreeMap<Uuid, u64>,
}

pub(super) async fn explain(calls: &[Call], feeds: &[Vec<String>], exported: Option<&Record>) -> Result<(), String> {
    let history = replay(calls)?;
    for call in calls {
        match &call.what {
            What::Commit(batch, Ok(committed)) => history.check_place(call, batch, committed)?,
            What::Commit(batch, Err(refusal)) => history.check_refusal(call, batch, refusal)?,
            What::Look(look) => {
                history.check_look(call, look).await?;
                check_ingested(calls, call, look)?;
            }
            What::Ingest(..) => {}
        }
    }
    let Some((_, last)) = history.states.last() else {
        return Err("there is no history".to_owned());
    };
    let changes = last.changes(0, usize::MAX).map_err(|error| error.to_string())?;
    let expected: Vec<String> = changes.changes.iter().map(tell).collect();
    for feed in feeds {
        if *feed != expected {
            return Err(format!(
                "the feed is not that of the history\n  model: {expected:?}\nbackend: {feed:?}"
            ));
        }
    }
    check_export(calls, last.clone(), exported).await
}

/// Puts the commits in the order of their places, and lets the model answer them.
fn replay(calls: &[Call]) -> Result<History, String> {
    let mut first_begun: BTreeMap<Uuid, u64> = BTreeMap::new();
    let mut answered: BTreeMap<Seq, BTreeMap<Uuid, (&Batch, &Committed)>> = BTreeMap::new();
    let mut told: BTreeMap<u64, Seq> = BTreeMap::new();
    for call in calls {
        match &call.what {
            What::Commit(batch, answer) => {
                let begun = first_begun.entry(batch.id).or_insert(call.begun);
                *begun = call.begun.min(*begun);
                if let Ok(committed) = answer {
                    let before = answered
                        .entry(committed.seq)
                        .or_default()
                        .insert(batch.id, (batch, committed));
                    if before.is_some_and(|(_, before)| before != committed) {
                        return Err(format!("batch {} was answered {before:?} and {committed:?}", batch.id));
                    }
                    told.insert(call.ended, committed.seq);
                }
            }
            What::Look(look) => drop(told.insert(call.ended, look.seq)),
            What::Ingest(..) => {}
        }
    }
    let mut state = State::default();
    state.prepare(&schema()).map_err(|error| error.to_string())?;
    let empty = answer_unchanged(&state, answered.remove(&0).unwrap_or_default().into_values())
        .ok_or("a batch was answered with place 0, and changes something")?;
    let mut history = History {
        states: vec![(state, empty)],
        begun: vec![0],
        told,
        first_begun: BTreeMap::new(),
    };
    let mut place = 0;
    while let Some((seq, batches)) = answered.pop_first() {
        place += 1;
        if seq != place {
            return Err(format!(
                "nobody was given place {place}; the next is {seq}: {batches:?}"
            ));
        }
        let before = &history.states[history.states.len() - 1].1;
        // One of them made the place; the others found nothing to change there.
        let made = batches.keys().find_map(|id| {
            let (batch, committed) = batches[id];
            let mut state = before.clone();
            let answer = state.apply(batch).ok()?;
            let others = batches
                .iter()
                .filter(|(other, _)| *other != id)
                .map(|(_, other)| *other);
            let after = (answer == *committed)
                .then(|| answer_unchanged(&state, others))
                .flatten()?;
            Some((*id, state, after))
        });
        let Some((id, state, after)) = made else {
            let told: Vec<String> = batches
                .values()
                .map(|(batch, committed)| explained(before, batch, committed))
                .collect();
            return Err(format!("place {place} is explained by none of\n{}", told.join("\n")));
        };
        history.states.push((state, after));
        history.begun.push(first_begun[&id]);
    }
    history.first_begun = first_begun;
    Ok(history)
}

fn explained(before: &State, batch: &Batch, committed: &Committed) -> String {
    format!(
        "  {batch:?}\n    backend: {committed:?}\n      model: {:?}",
        before.clone().apply(batch)
    )
}

/// The state after batches that change nothing; none when one does, or is answered otherwise.
fn answer_unchanged<'b>(state: &State, batches: impl Iterator<Item = (&'b Batch, &'b Committed)>) -> Option<State> {
    let mut after = state.clone();
    for (batch, committed) in batches {
        let answer = after.apply(batch).ok()?;
        if answer != *committed {
            return None;
        }
    }
    let same = after.view().seq() == state.view().seq();
    same.then_some(after)
}

impl History {
    /// The places that may have been the newest during a call: at least what was told before it began, at most what had
    /// begun before it ended.
    fn window(&self, begun: u64, ended: u64) -> (Seq, Seq) {
        let least = self.told.range(..begun).map(|(_, seq)| *seq).max().unwrap_or(0);
        let most = self
            .begun
            .iter()
            .take_while(|made| **made < ended)
            .count()
            .saturating_sub(1);
        (least, most as Seq)
    }

    fn check_place(&self, call: &Call, batch: &Batch, committed: &Committed) -> Result<(), String> {
        let (_, most) = self.window(call.begun, call.ended);
        if committed.seq > most {
            return Err(format!(
                "{committed:?} was answered before anybody had asked for place {}: {batch:?}",
                most + 1
            ));
        }
        // Also a batch that changed nothing answers with a place that was the newest after it began.
        let (least, _) = self.window(self.first_begun[&batch.id], u64::MAX);
        if least > committed.seq {
            return Err(format!(
                "{committed:?} was answered although {least} had been told: {batch:?}"
            ));
        }
        // What made a place was asked for when that place was not yet told to anybody.
        let made = usize::try_from(committed.seq)
            .ok()
            .and_then(|seq| self.begun.get(seq))
            .copied()
            .unwrap_or(0);
        let (least, _) = self.window(made, u64::MAX);
        if least > committed.seq || (least == committed.seq && committed.seq > 0) {
            return Err(format!(
                "place {} was made after {least} was told: {batch:?}",
                committed.seq
            ));
        }
        Ok(())
    }

    fn check_refusal(&self, call: &Call, batch: &Batch, told: &str) -> Result<(), String> {
        let (least, most) = self.window(call.begun, call.ended);
        let mut answers = BTreeSet::new();
        for seq in least..=most {
            let (before, after) = &self.states[seq as usize];
            for state in [before, after] {
                match state.clone().apply(batch) {
                    Err(error) if refusal(&error) == told => return Ok(()),
                    Err(error) => drop(answers.insert(refusal(&error))),
                    Ok(committed) => drop(answers.insert(format!("{committed:?}"))),
                }
            }
        }
        Err(format!(
            "at no place from {least} to {most} is {batch:?}\n    refused with: {told}\n  but answered: {answers:?}"
        ))
    }

    async fn check_look(&self, call: &Call, look: &Look) -> Result<(), String> {
        let (least, most) = self.window(call.begun, call.ended);
        if look.seq < least || look.seq > most {
            return Err(format!(
                "a view stands at {}, and must stand at {least} to {most}: {call:?}",
                look.seq
            ));
        }
        let mut model = self.states[look.seq as usize].0.view();
        let expected = client::answers(&mut model, look.questions).await;
        if expected != look.answers {
            return Err(format!(
                "the view at {} differs\n  model: {expected:?}\nbackend: {:?}",
                look.seq, look.answers
            ));
        }
        Ok(())
    }
}

/// Whether a view shows of what was ingested all that was acknowledged before it, and nothing that began after it.
fn check_ingested(calls: &[Call], call: &Call, look: &Look) -> Result<(), String> {
    let rows: BTreeSet<&str> = look.tape.split(' ').filter(|row| !row.is_empty()).collect();
    let mut known = 0;
    for other in calls {
        let What::Ingest(step, value) = &other.what else {
            continue;
        };
        let (_, row) = step.clone().into_row();
        let there = rows.contains(format!("{}@{}.{}", name(row.stream), row.at, row.n).as_str());
        known += usize::from(there);
        if (other.ended < call.begun && !there) || (other.begun > call.ended && there) {
            return Err(format!("a view shows {rows:?} at {call:?}, and not {other:?}"));
        }
        let shown = look
            .values
            .iter()
            .find(|(id, _)| *id == value.key.id)
            .map(|(_, body)| body);
        if shown == Some(&value.body) {
            if other.begun > call.ended {
                return Err(format!("a view shows what began after it: {other:?}"));
            }
            // Nothing newer had been acknowledged when the view was asked for.
            let newer =
                values_of(calls, value.key.id).find(|(newer, _)| newer.begun > other.ended && newer.ended < call.begun);
            if let Some((newer, _)) = newer {
                return Err(format!(
                    "a view shows {other:?}, although {newer:?} was acknowledged before"
                ));
            }
        }
        if shown.is_none() && other.ended < call.begun {
            return Err(format!("a view shows nothing of {other:?}"));
        }
    }
    if known == rows.len() {
        Ok(())
    } else {
        Err(format!("a view shows rows that nobody wrote: {rows:?}"))
    }
}

fn values_of(calls: &[Call], id: Uuid) -> impl Iterator<Item = (&Call, &fleet_core::store::Latest)> {
    calls.iter().filter_map(move |call| match &call.what {
        What::Ingest(_, value) if value.key.id == id => Some((call, value)),
        _ => None,
    })
}

/// Whether the model with what was ingested exports the same.
async fn check_export(calls: &[Call], mut model: State, exported: Option<&Record>) -> Result<(), String> {
    let last = calls.iter().rev().find_map(|call| match &call.what {
        What::Look(look) => Some(look),
        _ => None,
    });
    let mut all = Ingest::default();
    for call in calls {
        if let What::Ingest(step, value) = &call.what {
            all.rows.push(step.clone().into_row());
            // Which of two that were written at once is the later, only the backend knows; that it may be, was checked.
            if last.is_some_and(|look| look.values.contains(&(value.key.id, value.body.clone()))) {
                all.latest.push(value.clone());
            }
        }
    }
    model.ingest(&all).map_err(|error| error.to_string())?;
    let view: Box<dyn View> = Box::new(model.view());
    let records: Vec<Record> = view.export().try_collect().await.map_err(|error| error.to_string())?;
    if records.last() == exported {
        Ok(())
    } else {
        Err(format!("exports differ\n  model: {records:?}\nbackend: {exported:?}"))
    }
}
