//! Plans: people make, change, pause and remove them. Each of their times makes one batch at most, none before it and none that nobody
//! wants any more; what is found late is made up for or missed as was asked; and once all trouble is over their times are met.

use std::{collections::BTreeMap, time::Duration};

use fleet_core::{
    Fleet,
    access::Context,
    kernel::{Clock as _, EntityId as _, PageRequest, Result, Timestamp},
    store::{Batch as Commit, Entity, Query, Write},
    work::{
        Batch, BatchId, PlanId, RunId,
        batch::{Cause, Targets},
        operations::{refresh, shell},
        plans::{NewPlan, Plan, PlanChange, PlanOccasion, PlanOutcome, PlanProgress},
        schedule::{MissedRuns, NewMissedRuns, NewSchedule, Schedule},
    },
};
use tokio::time::Instant;

use crate::{
    dice::Dice,
    executor::SHORT,
    judge::{Invariant, Judge, short},
    store::SimStore,
    world::World,
};

/// The most plans that people have at a time.
const MOST: usize = 3;
/// How often they are, in minutes: divisors of an hour.
const EVERY: [u32; 3] = [1, 2, 10];
/// What is found so late at most counts as met.
const IN_TIME: Duration = Duration::from_secs(300);
/// How long a plan waits for a server at most: the lease of the one before has to lapse, and the store to answer.
const LOOKED_AFTER: Duration = Duration::from_secs(180);
/// A time that is no further in the past is about to be met.
const ABOUT_TO: Duration = Duration::from_secs(30);
/// A commit is under way for less than this.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// What people do with plans.
#[derive(Debug)]
pub struct Planner {
    dice: Dice,
    /// Whether they know plans at all.
    knows: bool,
    number: u64,
}

impl Planner {
    /// The plans of a seed.
    pub fn new(seed: u64) -> Self {
        let dice = Dice::new(seed, "plans");
        Self {
            knows: dice.chance(400),
            dice,
            number: 0,
        }
    }

    fn schedule(&self) -> NewSchedule {
        NewSchedule::Cron {
            cron: format!("*/{} * * * *", EVERY[self.dice.place(EVERY.len())]),
            zone: "UTC".into(),
        }
    }

    fn missed(&self) -> NewMissedRuns {
        match self.dice.chance(500) {
            true => NewMissedRuns::Skip,
            false => NewMissedRuns::RunOnce { within_seconds: 900 },
        }
    }
}

/// The times of plans that were settled, each with its batch.
#[derive(Debug, Default)]
pub struct Times(BTreeMap<(PlanId, Timestamp), BatchId>);

impl Times {
    /// The batches that were made.
    pub fn batches(&self) -> Vec<BatchId> {
        self.0.values().copied().collect()
    }

    /// A time's work was made; the other batch of the same time, if there is one.
    pub fn made(&mut self, plan: PlanId, due_at: Timestamp, batch: BatchId) -> Option<BatchId> {
        let other = self.0.insert((plan, due_at), batch);
        other.filter(|other| *other != batch)
    }
}

impl World {
    /// Somebody makes a plan, changes, pauses or removes one.
    pub(crate) async fn plan(&mut self) {
        if !self.planner.knows || !self.planner.dice.chance(500) {
            return;
        }
        let Some(fleet) = self.door.fleet() else { return };
        let (plans, context) = (fleet.plans(), Context::system("people"));
        let Ok(all) = plans.list(&context, None, &PageRequest::default()).await else {
            return;
        };
        let drawn = self.planner.dice.below(10);
        if all.items.is_empty() || (drawn < 4 && all.items.len() < MOST) {
            return self.make_plan(&fleet).await;
        }
        let plan = &all.items[self.planner.dice.place(all.items.len())];
        let mut change = PlanChange::default();
        match drawn {
            0..7 => change.enabled = Some(!plan.enabled),
            7 => change.schedule = Some(Some(self.planner.schedule())),
            8 => change.missed = Some(self.planner.missed()),
            _ => {
                let removed = plans.delete(&context, plan.id, None).await;
                let what = format_args!("plan {} is removed: {}", short(plan.id), removed.is_ok());
                return self.judge.trace.say(what);
            }
        }
        let changed = plans.set(&context, plan.id, None, &change).await;
        let what = changed.map(|plan| (plan.enabled, plan.in_words, plan.missed));
        self.judge
            .trace
            .say(format_args!("plan {} is changed: {what:?}", short(plan.id)));
    }

    async fn make_plan(&mut self, fleet: &Fleet) {
        self.planner.number += 1;
        let dice = &self.planner.dice;
        let (operation, params) = match dice.chance(500) {
            true => (refresh::NAME, serde_json::json!({})),
            false => (shell::NAME, serde_json::json!({"script": SHORT})),
        };
        let new = serde_json::json!({
            "name": format!("plan {}", self.planner.number),
            "operation": operation,
            "params": params,
            "targets": Targets::devices(self.agents.iter().map(|agent| agent.device).collect()),
            "timeout_seconds": 30,
            "ignore_windows": dice.chance(500),
            "schedule": self.planner.schedule(),
            "missed": self.planner.missed(),
        });
        let Ok(new) = serde_json::from_value::<NewPlan>(new) else {
            return self.violate(Invariant::NobodyPanics, "a plan is not what it was");
        };
        let made = fleet.plans().create(&Context::system("people"), &new).await;
        let made = made.map(|plan| (short(plan.id), plan.in_words));
        self.judge
            .trace
            .say(format_args!("planned: {operation}, {:?}: {made:?}", new.missed));
    }

    /// The times of all plans are met; then people remove them, so that everything can end.
    pub(crate) async fn plans_keep_time(&self) {
        let deadline = Instant::now() + LOOKED_AFTER;
        while let Some(late) = self.who_is_late().await {
            if Instant::now() >= deadline {
                return self.violate(Invariant::PlansKeepTime, late);
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        while !self.is_without_plans().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What is wrong with a plan whose time has come and gone.
    async fn who_is_late(&self) -> Option<String> {
        let page = PageRequest::default();
        let (fleet, context) = (self.door.fleet()?, Context::system("people"));
        let all = fleet.plans().list(&context, None, &page).await.ok()?;
        let now = self.judge.clock.now();
        let late = |at: &Timestamp| at.plus(ABOUT_TO) < now;
        let mut late = all
            .items
            .into_iter()
            .filter(|plan| plan.next_at.as_ref().is_some_and(late));
        late.next()
            .map(|plan| format!("{} was to begin at {:?}, and it is {now}", plan.id, plan.next_at))
    }

    async fn is_without_plans(&self) -> bool {
        let Some(fleet) = self.door.fleet() else { return false };
        let (plans, context) = (fleet.plans(), Context::system("people"));
        let Ok(all) = plans.list(&context, None, &PageRequest::default()).await else {
            return false;
        };
        let is_done = all.items.is_empty();
        for plan in all.items {
            drop(plans.delete(&context, plan.id, None).await);
        }
        is_done
    }

    /// The runs that plans had made.
    pub(crate) fn planned(&self) -> Vec<RunId> {
        let batches = self.judge.times().batches().into_iter();
        let batches = batches.filter_map(|id| self.door.stored::<Batch>(id.uuid()));
        batches
            .flat_map(|batch| self.agents.iter().map(move |agent| batch.run_on(agent.device)))
            .filter(|run| self.door.stored::<fleet_core::work::Run>(run.uuid()).is_some())
            .collect()
    }

    /// No batch says that a plan's schedule made it but those of its times.
    pub(crate) async fn plans_are_right(&self, fleet: &Fleet) -> Result<()> {
        let made = self.judge.times().batches();
        let (mut token, mut found) = (None, 0);
        loop {
            let page = PageRequest::new(Some(500), token)?;
            let mut reader = fleet.store().reader().await?;
            let page = reader.list(&Query::<Batch>::all(), &page).await?;
            let of_plans = page.items.iter().filter(|batch| batch.cause == Cause::Schedule);
            found += of_plans.count();
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        if found != made.len() {
            let why = format!("plans made {found} batches, for {} of their times", made.len());
            self.violate(Invariant::PlansKeepTime, why);
        }
        Ok(())
    }
}

/// What a commit says of a plan.
#[derive(Debug)]
pub enum Planned {
    /// A time's work is made.
    Made(PlanId, Timestamp, BatchId),
    /// Something is wrong.
    Wrong(String),
}

/// Looks at what a commit is about to do with plans.
pub fn look(store: &SimStore, judge: &Judge, commit: &Commit) -> Vec<Planned> {
    let (mut seen, mut made) = (Vec::new(), Vec::new());
    for write in &commit.writes {
        let Write::Put { key, body, .. } = write else { continue };
        if key.kind == PlanProgress::KIND
            && let Ok(after) = serde_json::from_slice::<PlanProgress>(body)
            && let Some(before) = store.stored::<PlanProgress>(*key)
            && let Some(occasion) = after.last.clone().filter(|last| Some(last) != before.last.as_ref())
        {
            let rules = store
                .stored_as::<Plan>(key.id)
                .and_then(|plan| Rules::of(&plan, &before));
            let is_ahead = occasion.at > judge.clock.now() && !judge.clock_set_within(UNDER_WAY);
            let wrong = match rules {
                Some(_) if is_ahead => Some(format!("it was settled at {}, which is to come", occasion.at)),
                Some(rules) => rules.broken_by(&occasion),
                None => Some("its plan was removed, or its schedule does not count".to_owned()),
            };
            if let Some(wrong) = wrong {
                seen.push(Planned::Wrong(format!("{} of {}: {wrong}", occasion.due_at, after.id)));
            }
            if let PlanOutcome::Started { batch } = occasion.outcome {
                made.push(batch);
                seen.push(Planned::Made(after.id, occasion.due_at, batch));
            }
        }
    }
    for write in &commit.writes {
        let Write::Put { key, body, .. } = write else { continue };
        if key.kind == Batch::KIND
            && store.stored::<Batch>(*key).is_none()
            && let Ok(batch) = serde_json::from_slice::<Batch>(body)
            && batch.cause == Cause::Schedule
            && !made.contains(&batch.id)
        {
            let why = format!("{} was made for {:?}, at none of its times", batch.id, batch.plan);
            seen.push(Planned::Wrong(why));
        }
    }
    seen
}

/// The rules by which a time of a plan is settled.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// How often it is, in minutes.
    minutes: u32,
    missed: MissedRuns,
    /// Everything up to this time was settled before.
    settled_at: Timestamp,
}

impl Rules {
    /// Those of a plan whose schedule counts.
    fn of(plan: &Plan, before: &PlanProgress) -> Option<Self> {
        match plan.schedule.as_ref().filter(|_| plan.enabled)? {
            Schedule::Cron { cron, .. } => Some(Self {
                minutes: minutes(cron)?,
                missed: plan.missed,
                settled_at: before.settled_at,
            }),
            Schedule::Once { .. } => None,
        }
    }

    /// What is wrong with what became of a time, if anything is.
    fn broken_by(self, occasion: &PlanOccasion) -> Option<String> {
        let every = i64::from(self.minutes) * 60;
        let PlanOccasion { due_at, at, .. } = *occasion;
        let (due, settled) = (due_at.as_micros(), self.settled_at.as_micros());
        if due % (every * 1_000_000) != 0 || due <= settled {
            return Some(format!(
                "it is none of every {} minutes after {}",
                self.minutes, self.settled_at
            ));
        }
        if due_at > at {
            return Some(format!("it was settled at {at}, before its time"));
        }
        let late = at.since(due_at);
        if late >= Duration::from_secs(every.unsigned_abs()) {
            return Some(format!("it was not the last one at {at}"));
        }
        let latest = match self.missed {
            MissedRuns::Skip => IN_TIME,
            MissedRuns::RunOnce { within_seconds } => IN_TIME.max(Duration::from_secs(within_seconds.into())),
        };
        let is_made = match &occasion.outcome {
            PlanOutcome::Started { .. } => true,
            PlanOutcome::Missed => false,
            PlanOutcome::Refused { code, .. } => return Some(format!("it was refused: {code}")),
        };
        let passed = (due / 1_000_000).div_euclid(every) - (settled / 1_000_000).div_euclid(every);
        let missed = (passed - i64::from(is_made)).min(1_000);
        (is_made != (late <= latest) || i64::from(occasion.missed) != missed)
            .then_some(format!("{late:?} late, {passed} times after {settled}: {occasion:?}"))
    }
}

fn minutes(cron: &str) -> Option<u32> {
    cron.strip_prefix("*/")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds after an hour has begun.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    /// A plan of every ten minutes that makes up for a quarter of an hour, or for nothing, and whose times up to 30 s are settled: what
    /// becomes of the time at `due` when it is looked after at `seen`.
    #[track_caller]
    fn check(makes_up: bool, (due, seen): (i64, i64), missed: u32, outcome: PlanOutcome, is_right: bool) {
        let rules = Rules {
            minutes: 10,
            missed: match makes_up {
                true => MissedRuns::RunOnce { within_seconds: 900 },
                false => MissedRuns::Skip,
            },
            settled_at: at(30),
        };
        let occasion = PlanOccasion {
            due_at: at(due),
            at: at(seen),
            missed,
            outcome,
        };
        let broken = rules.broken_by(&occasion);
        assert_eq!(broken.is_none(), is_right, "{broken:?}");
    }

    fn started() -> PlanOutcome {
        PlanOutcome::Started {
            batch: BatchId::from_uuid(uuid::Uuid::nil()),
        }
    }

    #[test]
    fn a_time_is_met_when_it_has_come_and_is_one() {
        check(false, (600, 603), 0, started(), true);
        check(false, (600, 599), 0, started(), false);
        check(false, (601, 603), 0, started(), false);
        check(false, (0, 3), 0, started(), false);
    }

    #[test]
    fn what_is_found_late_is_made_up_for_or_missed_as_was_asked() {
        check(false, (600, 900), 0, started(), true);
        check(false, (600, 901), 0, started(), false);
        check(false, (600, 901), 1, PlanOutcome::Missed, true);
        check(true, (600, 901), 0, started(), true);
        check(true, (600, 901), 1, PlanOutcome::Missed, false);
    }

    #[test]
    fn however_many_passed_the_last_one_is_done_once_and_the_others_are_counted() {
        check(true, (1_800, 1_810), 2, started(), true);
        check(true, (1_800, 1_810), 0, started(), false);
        check(true, (1_200, 1_810), 1, started(), false);
        check(false, (1_800, 2_200), 3, PlanOutcome::Missed, true);
    }

    #[test]
    fn a_time_has_one_batch() {
        let (plan, mut times) = (PlanId::from_uuid(uuid::Uuid::nil()), Times::default());
        let batch = |n| BatchId::from_uuid(uuid::Uuid::from_u128(n));
        let made: Vec<_> = [(600, 1), (1_200, 2), (600, 1), (600, 3)]
            .into_iter()
            .map(|(due, n)| times.made(plan, at(due), batch(n)))
            .collect();
        assert_eq!(made, [None, None, None, Some(batch(1))]);
    }
}
