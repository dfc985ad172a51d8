//! What devices answer about their runs: the answers of many, in one commit.

use std::collections::HashMap;

use super::{DeliveryService, Told, origin::originate};
use crate::{
    access::{Actor, Context},
    devices::DeviceId,
    gathering::{Urgency, together},
    kernel::{EntityId, Result, Timestamp},
    protocol::{Finished, Output, Refused},
    store::{Evidence, ROW_CONFLICT, Tx, Versioned},
    work::{
        Run, RunId, State,
        output::{append_chunks, bytes_of, store_chunks},
        run::{Edge, Step, move_run},
    },
};

/// What became of an answer. Only what failed for a passing reason is an error of the call; everything else is final, so that
/// the agent does not send it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is stored.
    Stored,
    /// It was stored before.
    Repeat,
    /// It is about a run that the device never had, or contradicts what is stored. The agent may forget it.
    Rejected,
}

/// What a device tells of one run.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub device: DeviceId,
    pub run: RunId,
    pub told: Vec<Told>,
}

/// A run while a commit is decided: as it was read, where it was there, and as the answers so far have moved it.
pub(super) struct Moving {
    pub before: Option<Versioned<Run>>,
    pub run: Run,
}

impl DeliveryService<'_> {
    /// The device has the run in its journal.
    pub async fn accepted(&self, device: DeviceId, run: RunId) -> Result<Answer> {
        self.tell_one(device, run, Told::Accepted).await
    }

    /// The device has begun the run. Its clock is not trusted beyond now.
    pub async fn started(&self, device: DeviceId, run: RunId, at: Timestamp) -> Result<Answer> {
        self.tell_one(device, run, Told::Started(at)).await
    }

    /// The device will never execute the run.
    pub async fn refused(&self, device: DeviceId, refused: Refused) -> Result<Answer> {
        self.tell_one(device, refused.run, Told::Refused(refused)).await
    }

    /// The run has ended.
    pub async fn finished(&self, device: DeviceId, finished: Finished) -> Result<Answer> {
        self.tell_one(device, finished.run, Told::Finished(finished)).await
    }

    async fn tell_one(&self, device: DeviceId, run: RunId, told: Told) -> Result<Answer> {
        let answers = self.tell(device, run, &[told]).await?;
        Ok(answers.first().copied().unwrap_or(Answer::Rejected))
    }

    /// Takes in what a device tells of a run, in order and in one commit; what became of each.
    pub async fn tell(&self, device: DeviceId, run: RunId, told: &[Told]) -> Result<Vec<Answer>> {
        let told = told.to_vec();
        let report = Report { device, run, told };
        match self.gather(report.clone()).await {
            // The device sent other bytes for a chunk that is stored: that one stays, and all others are stored.
            Err(error) if error.code() == ROW_CONFLICT => {
                for told in &report.told {
                    if let Told::Output(output) = told {
                        Box::pin(self.output(device, output)).await?;
                    }
                }
                let rest: Vec<_> = report
                    .told
                    .iter()
                    .filter(|told| told.edge().is_some())
                    .cloned()
                    .collect();
                let rest = Report {
                    told: rest,
                    ..report.clone()
                };
                let moved = Box::pin(self.gather(rest)).await?;
                let mut moved = moved.into_iter();
                let answer = |told: &Told| match told.edge() {
                    Some(_) => moved.next().unwrap_or(Answer::Rejected),
                    None => Answer::Stored,
                };
                Ok(report.told.iter().map(answer).collect())
            }
            outcome => outcome,
        }
    }

    /// That a device has its work is what people and further work wait for; what came of it is safe with the device until it is
    /// stored here.
    async fn gather(&self, report: Report) -> Result<Vec<Answer>> {
        let ends = |told: &Told| matches!(told, Told::Finished(_));
        let urgency = match report.told.iter().any(ends) {
            true => Urgency::CanWait,
            false => Urgency::Urgent,
        };
        let reports = &self.deliveries.reports;
        reports.ask_with(urgency, report, |reports| self.answer(reports)).await
    }

    /// Answers the reports of many devices.
    pub(super) async fn answer(&self, reports: Vec<Report>) -> Vec<Result<Vec<Answer>>> {
        together(reports, async |reports| self.answer_in_one_commit(&reports).await).await
    }

    async fn answer_in_one_commit(&self, reports: &[Report]) -> Result<Vec<Result<Vec<Answer>>>> {
        let mut ids: Vec<_> = reports.iter().map(|report| report.run).collect();
        ids.sort_unstable();
        ids.dedup();
        let ids = &ids;
        let context = Context::system("delivery");
        let answers = self
            .store
            .change(&context, Evidence::Observed, |mut tx| async move {
                let found = tx.reader().get_many::<Run>(ids).await?.into_iter().flatten();
                let mut runs: HashMap<_, _> = found
                    .map(|before| {
                        let run = before.value.clone();
                        (
                            run.id,
                            Moving {
                                before: Some(before),
                                run,
                            },
                        )
                    })
                    .collect();
                originate(&mut tx, reports, &mut runs).await?;
                let answers = reports
                    .iter()
                    .map(|report| self.take(&mut tx, runs.get_mut(&report.run), report))
                    .collect::<Result<Vec<_>>>()?;
                for Moving { before, run } in runs.values() {
                    match before {
                        Some(before) if before.value == *run => {}
                        Some(before) => drop(tx.update(before, run)?),
                        None => tx.create(run)?,
                    }
                }
                tx.commit().await?;
                Ok(answers)
            })
            .await?;
        for (report, answers) in reports.iter().zip(&answers) {
            self.stored(report, answers);
        }
        Ok(answers.into_iter().map(Ok).collect())
    }

    /// What is decided of one report.
    fn take(&self, tx: &mut Tx, moving: Option<&mut Moving>, report: &Report) -> Result<Vec<Answer>> {
        let (device, id) = (report.device, report.run);
        let Some(Moving { run, .. }) = moving.filter(|moving| moving.run.device == device) else {
            tracing::warn!(%device, run = %id, "an answer about a run that the device never had");
            return Ok(vec![Answer::Rejected; report.told.len()]);
        };
        let actor = Actor::Device {
            id: device.uuid(),
            name: String::new(),
        };
        let mut answers = Vec::with_capacity(report.told.len());
        for told in &report.told {
            let answer = match (told, told.edge()) {
                (Told::Output(output), _) if may_print(run.state) => {
                    if self.meter.has_room(run, bytes_of(&output.chunks)) {
                        append_chunks(run, &output.chunks, |at, n, chunk| {
                            tx.append(run.id.uuid(), at, n, chunk)
                        })?;
                    }
                    Answer::Stored
                }
                (_, None) => Answer::Rejected,
                (_, Some(edge)) => decide(run.state, edge),
            };
            match (answer, told.edge()) {
                (Answer::Stored, Some(edge)) => {
                    told.note(run, tx.now());
                    move_run(tx, run, &actor, edge, told.reason())?;
                }
                (Answer::Rejected, edge) => {
                    tracing::warn!(%device, run = %id, state = run.state.name(), ?edge, "an answer that contradicts what is stored");
                }
                _ => {}
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Wakes whoever waits for what is stored now.
    fn stored(&self, report: &Report, answers: &[Answer]) {
        let stored = || {
            let pairs = report.told.iter().zip(answers);
            pairs
                .filter(|(_, answer)| **answer == Answer::Stored)
                .map(|(told, _)| told)
        };
        for told in stored() {
            if let Told::Output(output) = told {
                self.meter.count(report.run, bytes_of(&output.chunks));
            }
        }
        if stored().next().is_some() {
            self.runs.signal(report.run);
        }
        if stored().any(|told| matches!(told.edge(), Some(Edge::Finish(_)))) {
            // The lane is free: the next run may go.
            self.devices.signal(report.device);
        }
    }

    /// Output of the run; returns the place after the last chunk that need not be sent again.
    pub async fn output(&self, device: DeviceId, output: &Output) -> Result<u32> {
        match self.store.get::<Run>(output.run).await? {
            Some(run) if run.device == device && may_print(run.state) => {
                let store = |chunks| store_chunks(self.store, self.meter, self.runs, &run.value, chunks);
                match store(&output.chunks).await {
                    // The device sent other bytes for a chunk that is stored: that one stays, and all others are stored.
                    Err(error) if error.code() == ROW_CONFLICT => {
                        tracing::warn!(%device, run = %output.run, "a chunk of output came again with other contents");
                        for chunk in output.chunks.chunks(1) {
                            match store(chunk).await {
                                Err(error) if error.code() == ROW_CONFLICT => {}
                                outcome => outcome?,
                            }
                        }
                    }
                    outcome => outcome?,
                }
            }
            _ => tracing::warn!(%device, run = %output.run, "output of a run that the device never had"),
        }
        Ok(output.after())
    }
}

/// Whether the device may have begun it.
fn may_print(state: State) -> bool {
    !matches!(
        state,
        State::Draft | State::AwaitingApproval | State::Scheduled | State::Queued
    )
}

fn decide(state: State, edge: Edge) -> Answer {
    match state.after(edge) {
        Step::To(_) => Answer::Stored,
        Step::Repeat => Answer::Repeat,
        Step::Illegal => Answer::Rejected,
    }
}
