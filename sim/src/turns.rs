//! Work that does not begin at once: later, spread, when others have agreed, wave by wave, outside of blackouts; and people who change
//! their minds about it.

use std::time::Duration;

use fleet_core::{
    Fleet,
    access::Context,
    kernel::{Clock as _, EntityId as _, PageRequest, Timestamp, named_uuid},
    work::{
        Batch, BatchRequest, Run,
        approvals::{Approval, ApprovalFilter, ApprovalView, Comment, Verdict},
        batch::NewRetry,
        operations::{refresh, shell},
        rollouts::{NewFailureLimit, NewRollout, NewWave, Phase, RolloutAbort, RolloutFilter},
        windows::{NewOutside, NewWindow, NewWindowScope, NewWindowTimes, WindowId, WindowKind},
    },
};
use tokio::time::Instant;

use crate::{door::Door, judge::Judge, world::World};

/// How long people try to leave nothing behind that holds work.
const TIDYING: Duration = Duration::from_secs(900);
/// What a clock may be off, and a commit be under way.
pub const SLACK: Duration = Duration::from_secs(15);

/// A blackout that people know to be there.
#[derive(Clone, Copy, Debug)]
pub struct Blackout {
    id: WindowId,
    starts_at: Timestamp,
    ends_at: Timestamp,
}

impl Blackout {
    /// Whether it has lasted for a while at this time, and lasts on.
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.starts_at.plus(SLACK) <= now && now < self.ends_at
    }
}

/// How what follows a dry run was asked to begin.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Not before this time.
    pub start_at: Option<Timestamp>,
    /// From wave to wave.
    pub in_waves: bool,
}

/// Somebody else than who asks for work.
fn supervisor() -> Context {
    Context::system("supervisor").on_behalf_of(named_uuid("sim", "supervisor"))
}

impl World {
    /// Has some of what people ask for begin in another way than at once.
    pub(crate) fn in_its_turn(&self, request: BatchRequest) -> BatchRequest {
        let (dice, now) = (&self.people, self.judge.clock.now());
        let later = Some(now.plus(dice.time(Duration::from_secs(5), Duration::from_secs(180))));
        let drawn = dice.below(13);
        let is_looked_at = drawn >= 10 && request.operation == shell::NAME;
        // What comes after a dry run begins in any of the other ways.
        let also = |per_mille| is_looked_at && self.looks.chance(per_mille);
        let is_agreed = drawn == 2 || drawn == 3 || also(200);
        let is_in_waves = drawn == 4 || drawn == 5 || also(400);
        let is_tried_again = request.operation == refresh::NAME && !is_in_waves && dice.chance(400);
        BatchRequest {
            start_at: later.filter(|_| drawn == 0 || also(400) || (!is_looked_at && is_agreed && dice.chance(300))),
            ignore_windows: match drawn {
                0 => dice.chance(300).then_some(true),
                1 | 4 => Some(false),
                _ if also(300) => Some(true),
                _ => None,
            },
            spread_seconds: match drawn {
                1 => dice.below(90) as u32,
                _ => 0,
            },
            approvals: is_agreed.then_some(1),
            rollout: is_in_waves.then(|| self.waves()),
            dry_run_first: is_looked_at,
            retry: is_tried_again.then(|| NewRetry {
                attempts: 1 + dice.below(2) as u32,
                delay_seconds: dice.below(40) as u32,
                max_delay_seconds: None,
                on: Vec::new(),
            }),
            ..request
        }
    }

    fn waves(&self) -> NewRollout {
        let dice = &self.people;
        NewRollout {
            waves: vec![NewWave::Count { devices: 1 }],
            max_parallel: dice.chance(500).then_some(1),
            max_failures: dice.chance(300).then_some(NewFailureLimit::Count { failures: 0 }),
            watch_seconds: if dice.chance(300) { 30 } else { 0 },
            by_hand: dice.chance(200),
            ignore_offline: dice.chance(500),
        }
    }

    /// Somebody looks after what waits.
    pub(crate) async fn oversee(&mut self) {
        let Some(fleet) = self.door.fleet() else { return };
        match self.people.below(10) {
            0..4 => self.decide(&fleet, |_| true).await,
            4 | 5 => self.forbid(&fleet).await,
            6 => drop(self.permit(&fleet).await),
            7 | 8 => self.steer(&fleet).await,
            _ => self.stop_all(&fleet).await,
        }
    }

    /// Agrees to work of those that are meant, or refuses it.
    pub(crate) async fn decide(&self, fleet: &Fleet, is_meant: fn(&ApprovalView) -> bool) {
        let (approvals, context) = (fleet.approvals(), supervisor());
        let open = ApprovalFilter { open: true };
        let Ok(page) = approvals.list(&context, &open, &PageRequest::default()).await else {
            return;
        };
        for approval in page.items.into_iter().filter(is_meant) {
            let agrees = self.people.chance(750);
            let decided = match agrees {
                true => approvals.approve(&context, approval.id, &Comment::default()).await,
                false => approvals.reject(&context, approval.id, &Comment::default()).await,
            };
            let outcome = decided.map(|decided| decided.standing);
            self.judge
                .trace
                .say(format_args!("{} is decided: {agrees}: {outcome:?}", approval.id));
        }
    }

    /// Announces a blackout.
    async fn forbid(&mut self, fleet: &Fleet) {
        self.actions += 1;
        let starts_at = fleet.clock().now().plus(self.people.seconds(5, 60));
        let ends_at = starts_at.plus(self.people.seconds(30, 240));
        let outside = match self.people.below(4) {
            0 => NewOutside::Allow,
            1 => NewOutside::Postpone {
                give_up_after_seconds: 120,
            },
            _ => NewOutside::Gate,
        };
        let new = NewWindow {
            name: format!("blackout {}", self.actions),
            description: String::new(),
            enabled: true,
            kind: WindowKind::Blackout,
            scope: NewWindowScope {
                all: true,
                ..NewWindowScope::default()
            },
            when: NewWindowTimes::Once { starts_at, ends_at },
            outside,
            operations: Vec::new(),
        };
        let Ok(window) = fleet.windows().create(&Context::system("people"), &new).await else {
            return;
        };
        self.judge.trace.say(format_args!(
            "a blackout from {starts_at} to {ends_at}, outside {outside:?}"
        ));
        if outside != NewOutside::Allow {
            self.judge.blackouts().push(Blackout {
                id: window.id,
                starts_at,
                ends_at,
            });
        }
    }

    /// Takes back all blackouts; whether there are none left.
    async fn permit(&self, fleet: &Fleet) -> bool {
        let (windows, context) = (fleet.windows(), Context::system("people"));
        let Ok(page) = windows.list(&context, None, &PageRequest::default()).await else {
            return false;
        };
        let mut is_all = page.next.is_none();
        for window in page.items {
            // Nobody relies on it from now on, whatever comes of this.
            self.judge.blackouts().retain(|known| known.id != window.id);
            is_all &= windows.delete(&context, window.id, None).await.is_ok();
        }
        is_all
    }

    /// Holds a rollout, lets one go on, or gives one up.
    async fn steer(&self, fleet: &Fleet) {
        let (rollouts, context) = (fleet.rollouts(), Context::system("people"));
        let open = RolloutFilter { open: true };
        let Ok(page) = rollouts.list(&context, &open, &PageRequest::default()).await else {
            return;
        };
        for rollout in page.items {
            let how = RolloutAbort {
                stop_running: self.people.chance(500),
            };
            let (what, steered) = match self.people.below(5) {
                0 => ("held", rollouts.pause(&context, rollout.batch).await),
                1 => ("given up", rollouts.abort(&context, rollout.batch, &how).await),
                2..4 => ("let go on", rollouts.resume(&context, rollout.batch).await),
                _ => continue,
            };
            let outcome = steered.map(|steered| steered.phase);
            self.judge
                .trace
                .say(format_args!("the rollout of {} is {what}: {outcome:?}", rollout.batch));
        }
    }

    /// Stops all of a batch.
    async fn stop_all(&self, fleet: &Fleet) {
        let Some(recent) = self.asked.len().checked_sub(1) else {
            return;
        };
        let batch = self.asked[recent - self.people.place(recent.min(3) + 1)];
        let stopped = fleet.batches().cancel(&Context::system("people"), batch).await;
        self.judge
            .trace
            .say(format_args!("{batch} is stopped: {}", stopped.is_ok()));
    }

    /// Nothing holds work any more but its own time: no blackout, and no rollout. Those that wait for nobody are left to end by themselves
    /// for a while.
    pub(crate) async fn nothing_is_held(&self) {
        let deadline = Instant::now() + TIDYING;
        while Instant::now() < deadline + TIDYING {
            if let Some(fleet) = self.door.fleet()
                && self.permit(&fleet).await
                && give_up(&fleet, Instant::now() >= deadline).await
            {
                return;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

/// Gives up rollouts that wait for somebody, or all; whether none is open any more.
async fn give_up(fleet: &Fleet, all: bool) -> bool {
    let (rollouts, context) = (fleet.rollouts(), Context::system("people"));
    let open = RolloutFilter { open: true };
    let Ok(page) = rollouts.list(&context, &open, &PageRequest::default()).await else {
        return false;
    };
    let is_done = page.items.is_empty();
    for rollout in page.items {
        let waits = rollout.paused_by.is_some() || matches!(rollout.phase, Phase::Waiting | Phase::Halted { .. });
        if waits || all {
            let given_up = rollouts.abort(&context, rollout.batch, &RolloutAbort::default()).await;
            drop(given_up);
        }
    }
    is_done
}

/// Why a run that begins now does so before its turn, if it does.
pub fn too_early(door: &Door, run: &Run) -> Option<String> {
    let batch: Batch = door.stored(run.batch?.uuid())?;
    let looked: Option<Batch> = batch.promoted_from.and_then(|looked| door.stored(looked.uuid()));
    let terms = batch
        .promoted_from
        .and_then(|looked| door.judge.terms().get(&looked).copied());
    if terms.is_some_and(|terms| terms.in_waves && !batch.rolls_out) {
        return Some(format!("{} was to go from wave to wave", batch.id));
    }
    let asked = looked.and_then(|looked| looked.promotion?.approval);
    if let Some(approval) = batch.approval.or(asked) {
        let approval: Option<Approval> = door.stored(approval.uuid());
        let agreed = approval.as_ref().map_or(0, |approval| {
            let decisions = approval.decisions.iter();
            decisions.filter(|made| made.verdict == Verdict::Approved).count()
        });
        if approval.is_none_or(|approval| agreed < approval.needed as usize) {
            return Some(format!("{agreed} have agreed to {}", batch.id));
        }
    }
    if door.judge.clock_was_ever_set() {
        return None;
    }
    let now = door.judge.clock.now();
    let asked = terms.and_then(|terms| terms.start_at).or(batch.start_at);
    let start = asked.filter(|start| now.plus(SLACK) < *start)?;
    Some(format!("{} begins at {start}, and it is {now}", batch.id))
}

impl Judge {
    /// Why a run is not let go by the windows that people know, if so.
    pub fn held_by(&self, batch: &Batch, run: &Run) -> Option<String> {
        let is_heeded = !batch.ignores_windows && run.operation == "shell";
        if !is_heeded || self.clock_was_ever_set() {
            return None;
        }
        let now = self.clock.now();
        let lasting = self.blackouts().iter().copied().find(|known| known.lasts(now))?;
        Some(format!("a blackout lasts until {}, and it is {now}", lasting.ends_at))
    }
}
