//! Work that is tried again by itself: only what does no harm when it is done twice, where it did not succeed, and as often as was asked.

use std::time::Duration;

use fleet_core::{
    access::Context,
    kernel::EntityId as _,
    work::{Batch, BatchId, Run, RunId, State, operations::refresh},
};

use crate::{door::Door, judge::Invariant, world::World};

/// Why a run that begins now is not to be tried again, if it is one that is.
pub fn not_to_be_tried_again(door: &Door, run: &Run) -> Option<String> {
    let batch: Batch = door.stored(run.batch?.uuid())?;
    let before = batch.retry_of?;
    if run.operation != refresh::NAME {
        return Some(format!("{} is tried again", run.operation));
    }
    let before: Batch = door.stored(before.uuid())?;
    let before = before.run_on(run.device);
    let has_succeeded = |state| {
        matches!(
            state,
            State::Succeeded | State::SucceededWithIssues | State::NotApplicable | State::Cancelled
        )
    };
    match door.stored::<Run>(before.uuid()) {
        None => Some(format!("its device never had {before}")),
        // Its late result may have landed after that was decided.
        Some(before) if has_succeeded(before.state) && !door.judge.was_lost(before.id) => {
            Some(format!("{} is {}", before.id, before.state.name()))
        }
        Some(_) => None,
    }
}

impl World {
    /// The batches of what was asked for and of all further attempts at it.
    fn chains(&self) -> Vec<Batch> {
        let mut all = Vec::new();
        for asked in &self.asked {
            let mut next: Option<BatchId> = Some(*asked);
            while let Some(batch) = next.and_then(|id| self.door.stored::<Batch>(id.uuid())) {
                next = batch.retried_by;
                all.push(batch);
            }
        }
        all
    }

    /// The runs of further attempts.
    pub(crate) fn attempts(&self) -> Vec<RunId> {
        let attempts = self.chains().into_iter().filter(|batch| batch.attempt > 1);
        let runs = attempts.flat_map(|batch| self.agents.iter().map(move |agent| batch.run_on(agent.device)));
        runs.filter(|run| self.door.stored::<Run>(run.uuid()).is_some())
            .collect()
    }

    /// People stop what would be tried again for much longer.
    pub(crate) async fn nothing_is_tried_again(&self) {
        let goes_on = |batch: &Batch| batch.retrying_since.is_some() || batch.retry_at.is_some();
        loop {
            let open: Vec<_> = self.chains().into_iter().filter(goes_on).collect();
            if open.is_empty() {
                return;
            }
            if let Some(fleet) = self.door.fleet() {
                for batch in open {
                    let stopped = fleet.batches().cancel(&Context::system("people"), batch.id).await;
                    drop(stopped);
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Each attempt follows the one before, and there are as many as were asked for at most.
    pub(crate) fn attempts_are_right(&self) {
        for batch in self.chains() {
            let Some(again) = batch.retried_by else { continue };
            let next: Option<Batch> = self.door.stored(again.uuid());
            let is_right = next.is_some_and(|next| {
                let may = next
                    .retry
                    .as_ref()
                    .is_some_and(|policy| next.attempt <= policy.attempts + 1);
                next.retry_of == Some(batch.id) && next.attempt == batch.attempt + 1 && may
            });
            if !is_right {
                let why = format!("{again} follows {}, attempt {}", batch.id, batch.attempt);
                self.violate(Invariant::OnlyFailuresAgain, why);
            }
        }
    }
}
