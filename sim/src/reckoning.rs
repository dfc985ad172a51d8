//! Once all trouble is over: does everybody come back, has everything ended, does what is stored agree with what happened?

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fleet_core::{
    Fleet,
    access::{Actor, Context, audit::AuditFilter},
    devices::{DeviceSummary, Presence},
    kernel::{Clock as _, EntityId as _, PageRequest, PageToken, Result},
    protocol::{OutputStream, RunResult},
    store::{LaneQuery, LaneRow, StoredRow},
    work::{Batch, Rollout, Run, RunId, State, output::Chunk, rollouts::Phase, run::RunEvent},
};
use tokio::time::Instant;

use crate::{
    agent::{Agent, Crash},
    executor::{ENDLESS, SHORT},
    faults::Healing,
    judge::{Invariant, OFFLINE_AFTER},
    world::World,
};

/// What the sweep grants beyond a deadline, and how long the next sweep may take.
const GRACE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(15);
/// How long devices may take to come back: the longest back-off, what they were told to stay away, and silences to be noticed.
const COMING_BACK: Duration = Duration::from_secs(300);
/// Silences are noticed by then.
const SILENCES_NOTICED: Duration = Duration::from_secs(120);
/// Who is connected is heard of so often.
const HEARD: Duration = Duration::from_secs(35);
/// How far a journal may pass its bound: by the results of runs that were begun before.
const SPOOL_SLACK: u64 = 24 << 10;
/// What is scheduled has begun and ended, or expired, so long after nobody holds it any more.
const SCHEDULED: Duration = Duration::from_secs(3_600);
/// What may lie between the end of an execution and its record, where the agent crashed: a disk that is full for five minutes, and the pause
/// until it is tried again.
const UNRECORDED: Duration = Duration::from_secs(331);

impl World {
    /// Checks what must hold in the end.
    pub(crate) async fn reckon(&mut self) {
        // The start may have been refused for a moment.
        while self.door.fleet().is_none() {
            self.heal(Healing::Server).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.plans_keep_time().await;
        self.nothing_is_held().await;
        self.everything_is_caught_up().await;
        self.nothing_is_kept().await;
        self.nothing_is_tried_again().await;
        if let Some(fleet) = self.door.fleet() {
            self.decide(&fleet, |approval| approval.dry_run.is_some()).await;
        }
        // Whatever devices began by themselves is told of from now on like everything else.
        self.runs.extend(self.judge.own());
        self.runs.extend(self.planned());
        self.runs.extend(self.promoted());
        self.runs.extend(self.attempts());
        self.everything_ends().await;
        self.everybody_works().await;
        self.whoever_goes_is_missed().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(fleet) = self.door.fleet()
            && let Err(error) = self.books_are_right(&fleet).await
        {
            self.violate(
                Invariant::EverybodyComesBack,
                format_args!("the store cannot be read: {}", error.log()),
            );
        }
        self.secrets_last().await;
        for agent in &self.agents {
            let (largest, bound) = (agent.disk.largest(), agent.limits.file_bytes);
            if largest > bound + SPOOL_SLACK {
                self.violate(
                    Invariant::SpoolBounded,
                    format_args!("a journal of at most {bound} bytes had {largest}"),
                );
            }
        }
    }

    /// Waits for the last deadline.
    async fn everything_ends(&mut self) {
        let now = self.judge.clock.now();
        let mut until = Duration::ZERO;
        let own: BTreeSet<_> = self.judge.own().into_iter().collect();
        for run in self.runs.clone() {
            let Some(run) = self.door.stored::<Run>(run.uuid()) else {
                // What a device began by itself may still be under way.
                if !own.contains(&run) {
                    self.violate(Invariant::EveryRunEnds, format_args!("{run} is not there"));
                    return;
                }
                continue;
            };
            if !run.state.is_terminal() {
                let timeout = Duration::from_secs(u64::from(run.timeout_seconds));
                let last = match run.state {
                    // It may be offered until its end, accepted a grace later, and then has its time.
                    State::AwaitingApproval | State::Queued | State::Offered => {
                        run.expires_at.plus(GRACE + timeout + GRACE)
                    }
                    // Nothing else holds it any more when its own time has come, which is far away where the clock was set back since.
                    State::Scheduled => now.max(run.due_at).plus(SCHEDULED),
                    _ => run
                        .started_at
                        .max(run.delivery.receipt_at)
                        .unwrap_or(run.created_at)
                        .plus(timeout + timeout + GRACE),
                };
                until = until.max(last.since(now) + SWEEP * 2);
            }
        }
        let peace = Instant::now();
        tokio::time::sleep(SILENCES_NOTICED).await;
        while peace.elapsed() < until.max(COMING_BACK) && !self.is_settled() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        // A device may be busy with what the server has given up.
        let patience = Instant::now() + Duration::from_secs(600);
        while self.judge.is_executing() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        for run in self.runs.clone() {
            match self.door.stored::<Run>(run.uuid()) {
                None => self.violate(Invariant::NoResultLost, format_args!("nobody was told of {run}")),
                Some(run) if !run.state.is_terminal() => self.violate(
                    Invariant::EveryRunEnds,
                    format_args!("{} is still {}", run.id, run.state.name()),
                ),
                Some(_) => {}
            }
        }
    }

    /// Whether there is nothing left to wait for: everything has ended, and nobody is missing.
    fn is_settled(&self) -> bool {
        let is_there = |agent: &Agent| self.judge.is_heard_of(agent.device, HEARD);
        let has_ended = |run: &RunId| {
            let run = self.door.stored::<Run>(run.uuid());
            // The result of a lost one may still come.
            run.is_some_and(|run| run.state.is_terminal() && run.state != State::Lost)
        };
        self.agents.iter().all(is_there) && self.runs.iter().all(has_ended)
    }

    /// Each device does what it is asked to, and stops when it is asked to.
    async fn everybody_works(&mut self) {
        let script = |script: &str| serde_json::json!({"script": script});
        let began = Instant::now();
        let mut short = Vec::new();
        for index in 0..self.agents.len() {
            short.push(self.request(&[index], "shell", script(SHORT), 60, 120).await);
        }
        for (index, runs) in short.iter().enumerate() {
            let state = self.wait(runs, Duration::from_secs(120)).await;
            if !state.is_some_and(is_own_end) {
                let why = format!(
                    "device {index} did not do a short run: {state:?} after {:?}",
                    began.elapsed()
                );
                self.violate(Invariant::EverybodyComesBack, why);
            }
        }
        let mut endless = Vec::new();
        for index in 0..self.agents.len() {
            endless.push(self.request(&[index], "shell", script(ENDLESS), 3_600, 120).await);
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        for run in endless.iter().flatten() {
            self.cancel(*run).await;
        }
        for (index, runs) in endless.iter().enumerate() {
            let state = self.wait(runs, Duration::from_secs(60)).await;
            if state != Some(State::Cancelled) {
                let why = format!("device {index} was asked to stop a run a minute ago: {state:?}");
                self.violate(Invariant::CancelledInTime, why);
            }
        }
    }

    /// Waits for runs to end; the state of the last.
    pub(crate) async fn wait(&self, runs: &[RunId], patience: Duration) -> Option<State> {
        let deadline = Instant::now() + patience;
        loop {
            let states: Option<Vec<State>> = runs
                .iter()
                .map(|run| self.door.stored::<Run>(run.uuid()).map(|run| run.state))
                .collect();
            let states = states?;
            if Instant::now() >= deadline || states.iter().all(|state| state.is_terminal()) {
                return states.last().copied();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Everybody is shown as online; one goes, and is shown as offline.
    async fn whoever_goes_is_missed(&mut self) {
        for index in 0..self.agents.len() {
            self.check_shown(index, Presence::Online, Invariant::NoFalseOffline);
        }
        self.agents[0].crash(Crash::PowerLost).await;
        tokio::time::sleep(OFFLINE_AFTER + SWEEP).await;
        self.check_shown(0, Presence::Offline, Invariant::OfflineInTime);
        self.agents[0].start();
        tokio::time::sleep(Duration::from_secs(60)).await;
        self.check_shown(0, Presence::Online, Invariant::EverybodyComesBack);
    }

    fn check_shown(&self, index: usize, expected: Presence, invariant: Invariant) {
        let device = self.agents[index].device;
        let shown = self.door.stored::<DeviceSummary>(device.uuid());
        let presence = shown.map(|shown| shown.presence);
        if presence != Some(expected) {
            let why = format!("device {index} is shown as {presence:?}, and is {expected:?}");
            self.violate(invariant, why);
        }
    }

    /// The store agrees with what happened.
    async fn books_are_right(&self, fleet: &Fleet) -> Result<()> {
        let (mut requested, mut alone) = (0, 0);
        for run in &self.runs {
            let Some(run) = self.door.stored::<Run>(run.uuid()) else {
                continue;
            };
            self.judge.cover().end(run.state);
            let events = rows::<RunEvent>(fleet, run.id.uuid()).await?;
            let mut history = Vec::new();
            for event in &events {
                history.push(RunEvent::from_row(&event.row)?);
            }
            self.check_history(&run, &history);
            self.check_result(&run, &history);
            self.check_output(&run, &rows::<Chunk>(fleet, run.id.uuid()).await?)?;
            let is_stopped = run.cancel_requested_at.is_some();
            requested += u64::from(is_stopped);
            alone += u64::from(is_stopped && !self.is_stopped_as_a_whole(&run));
        }
        self.looks_are_right(fleet).await?;
        self.attempts_are_right();
        self.plans_are_right(fleet).await?;
        let asked = self.batches + self.judge.times().batches().len() as u64;
        let system = Context::system("people");
        for (action, least, most) in [("batch.create", asked, asked), ("run.cancel", alone, requested)] {
            let filter = AuditFilter {
                action: Some(action.to_owned()),
                ..AuditFilter::default()
            };
            let (mut found, mut token): (u64, Option<PageToken>) = (0, None);
            loop {
                let page = PageRequest::new(Some(500), token)?;
                let page = fleet.audit().list(&system, &filter, &page).await?;
                found += page.items.len() as u64;
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
            if !(least..=most).contains(&found) {
                self.violate(
                    Invariant::EveryChangeHasItsRow,
                    format_args!("{least} to {most} times {action} was done, and the audit says {found}"),
                );
            }
        }
        Ok(())
    }

    /// Whether a run was asked to stop with its batch, or as its rollout was given up.
    fn is_stopped_as_a_whole(&self, run: &Run) -> bool {
        let Some(batch) = run.batch else { return false };
        let is_cancelled = self
            .door
            .stored::<Batch>(batch.uuid())
            .is_some_and(|batch| batch.cancelled_at.is_some());
        let rollout = self.door.stored::<Rollout>(batch.uuid());
        is_cancelled || rollout.is_some_and(|rollout| rollout.phase == Phase::Aborted)
    }

    /// The events are one chain, by the table, from the beginning to where the run stands. Their times do not order them: the
    /// server's clock was set.
    fn check_history(&self, run: &Run, events: &[RunEvent]) {
        let mut next: BTreeMap<State, State> = BTreeMap::new();
        let mut offers = 0;
        for event in events {
            if event.to == State::Offered {
                offers += 1;
            }
            if event.from == event.to && matches!(event.to, State::Scheduled | State::Offered) {
                // It was held, or offered again.
                continue;
            }
            if next.insert(event.from, event.to).is_some() {
                let why = format!("{} left {} twice", run.id, event.from.name());
                return self.violate(Invariant::StatesMoveForward, why);
            }
        }
        let mut state = match run.origin {
            Some(_) => State::Draft,
            None => {
                let first = [State::AwaitingApproval, State::Scheduled, State::Queued];
                let first = first.into_iter().find(|state| next.contains_key(state));
                first.unwrap_or(run.state)
            }
        };
        while let Some(to) = next.remove(&state) {
            state = to;
        }
        if state != run.state || !next.is_empty() || offers != run.delivery.attempts {
            let why = format!(
                "{} is {} after {} offers; its events lead to {} by {offers} offers",
                run.id,
                run.state.name(),
                run.delivery.attempts,
                state.name()
            );
            self.violate(Invariant::StatesMoveForward, why);
        }
    }

    /// What the device did is what the server says.
    fn check_result(&self, run: &Run, events: &[RunEvent]) {
        let executions = self.judge.executions(run.id);
        let by_sweep = events
            .iter()
            .any(|event| event.to == run.state && matches!(event.actor, Actor::System { .. }));
        if by_sweep && run.state == State::TimedOut {
            return;
        }
        let is_right = match executions.last() {
            None => {
                let is_refusal = run.state == State::Failed && run.started_at.is_none();
                is_refusal || !is_own_end(run.state)
            }
            Some(execution) => {
                let crash = self.judge.crash_of(run.device, execution.boot);
                match (execution.ended, run.state) {
                    (Some((_, RunResult::Succeeded)), State::Succeeded)
                    | (Some((_, RunResult::SucceededWithIssues)), State::SucceededWithIssues)
                    | (Some((_, RunResult::NotApplicable)), State::NotApplicable)
                    | (Some((_, RunResult::Failed)), State::Failed)
                    | (Some((_, RunResult::TimedOut)), State::TimedOut)
                    | (Some((_, RunResult::Cancelled)), State::Cancelled)
                    | (None, State::Indeterminate) => true,
                    // It was interrupted, would have run again, and was stopped before that.
                    (None, State::Cancelled) => crash.is_some() && run.cancel_requested_at.is_some(),
                    (Some((ended, _)), State::Indeterminate | State::Cancelled) => {
                        let is_wanted = run.state == State::Indeterminate || run.cancel_requested_at.is_some();
                        is_wanted && crash.is_some_and(|crash| crash.saturating_sub(ended) <= UNRECORDED)
                    }
                    _ => false,
                }
            }
        };
        if !is_right {
            self.violate(
                Invariant::NoResultLost,
                format_args!("{} is {}, and its device has {executions:?}", run.id, run.state.name()),
            );
        }
    }

    /// All chunks are there, or a remark stands where some are not.
    fn check_output(&self, run: &Run, rows: &[StoredRow]) -> Result<()> {
        let Some(ending) = run.ending.as_ref().filter(|_| run.delivery.receipt_at.is_some()) else {
            return Ok(());
        };
        let mut expected = 0;
        for row in rows {
            let chunk = Chunk::from_row(&row.row)?;
            if row.row.n != expected && chunk.stream != OutputStream::Agent {
                break;
            }
            expected = row.row.n + 1;
        }
        if expected < ending.chunks {
            let places: Vec<_> = rows.iter().map(|row| row.row.n).collect();
            self.violate(
                Invariant::OutputWholeOrAnnounced,
                format_args!("{} printed {} chunks, and there are {places:?}", run.id, ending.chunks),
            );
        }
        Ok(())
    }
}

async fn rows<T: LaneRow>(fleet: &Fleet, stream: uuid::Uuid) -> Result<Vec<StoredRow>> {
    let mut reader = fleet.store().reader().await?;
    let (mut rows, mut token) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(Some(500), token)?;
        let (page, next) = reader
            .stored_rows(&LaneQuery::<T>::oldest_first().stream(stream), &page)
            .await?;
        rows.extend(page);
        token = next;
        if token.is_none() {
            return Ok(rows);
        }
    }
}

/// Whether a run came to the end of what it does.
fn is_own_end(state: State) -> bool {
    matches!(
        state,
        State::Succeeded | State::SucceededWithIssues | State::NotApplicable | State::Failed
    )
}
