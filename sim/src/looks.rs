//! Work that looks first: what is done for real after a dry run is what was looked at, where it would change something, and once.

use std::collections::BTreeSet;

use fleet_core::{
    Fleet,
    kernel::{EntityId as _, PageRequest, Result},
    protocol::RunResult,
    store::Query,
    work::{Batch, Run, RunId, promotions::PromotionStanding},
};

use crate::{door::Door, judge::Invariant, world::World};

/// Why a run that begins now is not what somebody agreed to after its dry run, if one came first.
pub fn not_looked_at(door: &Door, run: &Run) -> Option<String> {
    let batch: Batch = door.stored(run.batch?.uuid())?;
    let from = batch.promoted_from?;
    let Some(looked) = door.stored::<Batch>(from.uuid()) else {
        return Some(format!("its dry run {from} is not there"));
    };
    let dry = looked.run_on(run.device);
    let would_change = door.judge.executions(dry).iter().any(|execution| {
        let succeeded = matches!(
            execution.ended,
            Some((_, RunResult::Succeeded | RunResult::SucceededWithIssues))
        );
        succeeded && execution.changed == Some(true)
    });
    if !would_change {
        return Some(format!("its device did not say that {dry} would change something"));
    }
    let mut params = looked.params.shown();
    if let Some(members) = params.as_object_mut() {
        members.remove("dry_run");
    }
    (params != run.params.shown()).then(|| format!("it is not what {from} looked at"))
}

impl World {
    /// The runs of work that was done for real after a dry run.
    pub(crate) fn promoted(&self) -> Vec<RunId> {
        let mut runs = Vec::new();
        for asked in &self.asked {
            let looked: Option<Batch> = self.door.stored(asked.uuid());
            let promoted = looked.and_then(|looked| looked.promotion?.promoted_to);
            let Some(batch) = promoted.and_then(|id| self.door.stored::<Batch>(id.uuid())) else {
                continue;
            };
            let all = self.agents.iter().map(|agent| batch.run_on(agent.device));
            runs.extend(all.filter(|run| self.door.stored::<Run>(run.uuid()).is_some()));
        }
        runs
    }

    /// Each dry run that came first was done for real once at most, by the batch that it names, and none was forgotten.
    pub(crate) async fn looks_are_right(&self, fleet: &Fleet) -> Result<()> {
        let (mut token, mut seen) = (None, BTreeSet::new());
        loop {
            let page = PageRequest::new(Some(500), token)?;
            let found = fleet
                .store()
                .reader()
                .await?
                .list(&Query::<Batch>::all(), &page)
                .await?;
            for batch in found.items {
                let standing = batch.promotion.as_ref().map(|promotion| promotion.standing);
                if standing == Some(PromotionStanding::Looking) {
                    let why = format!("nobody was asked what follows the dry run {}", batch.id);
                    self.violate(Invariant::EveryRunEnds, why);
                }
                let Some(from) = batch.promoted_from else { continue };
                let looked: Option<Batch> = self.door.stored(from.uuid());
                let named = looked.and_then(|looked| looked.promotion?.promoted_to);
                if named != Some(batch.id) || !seen.insert(from) {
                    let why = format!("{} is done for real after {from}, which names {named:?}", batch.id);
                    self.violate(Invariant::OnlyWhatWasLookedAt, why);
                }
            }
            token = found.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }
}
