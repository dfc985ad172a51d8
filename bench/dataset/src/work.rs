//! Work: batches and a plan, their runs, how those moved and what they printed.

use std::time::Duration;

use fleet_core::{
    access::Actor,
    devices::{DeviceId, inventory::ContentHash},
    kernel::{EntityId as _, MasterKey, Sealer, SeededRandom, Timestamp},
    protocol::OutputStream,
    store::Result,
    work::{
        Approval, Batch, BatchId, Plan, PlanId, Priority, Run, RunId, State, StoredParams,
        approvals::{Decision, Verdict},
        batch::{AskedTargets, BatchTargets, Cause, PlannedTargets},
        output::Chunk,
        plans::{PlanOccasion, PlanOutcome, PlanProgress},
        rollouts::{FailureLimit, Phase, Rollout, RolloutOrder, RolloutPolicy, RolloutWave, Wave},
        run::{Delivery, Ending, RunEvent},
        schedule::{MissedRuns, Schedule},
        secrets::{OperationSecret, OperationSecretId},
        windows::{Outside, Window, WindowKind, WindowScope, WindowTimes},
    },
};
use serde_json::{Value as Json, json};

use crate::{
    Dataset,
    dice::Dice,
    people::{audit, somebody},
    writer::Writer,
};

const MINUTE: Duration = Duration::from_secs(60);
/// How runs ended, as often as they stand here.
const ENDINGS: [State; 20] = [
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::Succeeded,
    State::SucceededWithIssues,
    State::Failed,
    State::Failed,
    State::TimedOut,
    State::Cancelled,
    State::Expired,
    State::Lost,
    State::Indeterminate,
    State::NotApplicable,
];
/// Where the runs of the newest batch stand.
const UNDER_WAY: [State; 4] = [State::Queued, State::Offered, State::Accepted, State::Running];
const SCRIPTS: [&str; 4] = [
    "uname -a",
    "systemctl is-system-running",
    "df -h / | tail -n 1",
    "set -eu\napt-get update -q\napt-get -q -y --with-new-pkgs upgrade\n",
];

/// The states that a run went through to the last, queued first.
fn path(to: State) -> &'static [State] {
    use State::{Accepted, Cancelled, Expired, Lost, Offered, Queued, Running};
    match to {
        Queued => &[Queued],
        Cancelled => &[Queued, Cancelled],
        Expired => &[Queued, Expired],
        Offered => &[Queued, Offered],
        Lost => &[Queued, Offered, Lost],
        Accepted => &[Queued, Offered, Accepted],
        _ => &[Queued, Offered, Accepted, Running],
    }
}

/// A tenth first, and then the rest.
fn rings() -> RolloutPolicy {
    RolloutPolicy {
        waves: vec![Wave::Percent { percent: 10 }],
        max_failures: Some(FailureLimit::Percent { percent: 5 }),
        watch_seconds: 600,
        ..RolloutPolicy::default()
    }
}

/// The rollout of a batch whose last wave is under way.
fn rollout(batch: &Batch) -> Rollout {
    let all = u32::try_from(batch.runs).unwrap_or(u32::MAX);
    let (first, policy) = (all.div_ceil(10), rings());
    let mut waves = vec![RolloutWave {
        devices: first,
        chosen: policy.waves.first().cloned(),
    }];
    if all > first {
        waves.push(RolloutWave {
            devices: all - first,
            chosen: None,
        });
    }
    Rollout {
        id: batch.id,
        operation: batch.operation.clone(),
        policy,
        wave: u32::try_from(waves.len()).unwrap_or(1) - 1,
        waves,
        wave_began_at: batch.created_at,
        phase: Phase::Rolling,
        paused_by: None,
        admitted: all,
        held: Vec::new(),
        held_until: None,
        failed_before: 0,
        unwell: 0,
        forgiven: 0,
        excused: false,
        holds_back: false,
        takes_back: false,
        created_at: batch.created_at,
    }
}

impl Dataset {
    pub(crate) async fn write_batch(&self, writer: &mut Writer<'_>, n: usize) -> Result<()> {
        let mut dice = Dice::new(self.seed, "batch", n as u64);
        let back = MINUTE * u32::try_from((self.size.batches - n) * 40_000 / self.size.batches).unwrap_or(0);
        let at = self.now().minus(back);
        let actor = somebody(self, &mut dice);
        let (operation, params) = match dice.percent(80) {
            true => (
                "shell",
                json!({"interpreter": "/bin/sh", "script": dice.pick(&SCRIPTS)}),
            ),
            false => ("inventory.refresh", json!({})),
        };
        let first = dice.below(self.size.devices);
        let targets: Vec<usize> = (0..self.size.runs_per_batch)
            .map(|target| (first + target) % self.size.devices)
            .collect();
        let id: BatchId = dice.id(at);
        let mut devices: Vec<DeviceId> = targets.iter().map(|device| self.device_id(*device)).collect();
        let mut runs = Vec::with_capacity(16 * targets.len());
        for (device, target) in devices.iter().zip(&targets) {
            let run = self.run((n, *target), (id, *device), (operation, &params), at);
            runs.extend_from_slice(run.id.uuid().as_bytes());
            self.write_run(writer, &run, &mut dice).await?;
        }
        devices.sort_unstable();
        // Every tenth was agreed to by somebody.
        let approval = n.is_multiple_of(10).then(|| {
            let agreed = somebody(self, &mut dice);
            Approval {
                id: dice.id(at),
                batch: id,
                operation: operation.into(),
                params: StoredParams::without_secrets(params.clone()),
                runs: targets.len() as u64,
                dry_run: None,
                requested_by: actor.clone(),
                requester: actor.id(),
                requester_may_agree: false,
                needed: 1,
                decisions: vec![Decision {
                    user: agreed.id().unwrap_or_default(),
                    by: agreed,
                    verdict: Verdict::Approved,
                    comment: None,
                    at: at.plus(MINUTE),
                }],
                decided_at: Some(at.plus(MINUTE)),
                stopped_at: None,
                created_at: at,
                expires_at: at.plus(MINUTE * 60 * 24),
            }
        });
        let batch = Batch {
            id,
            // Every fifth was made by a plan.
            cause: if n.is_multiple_of(5) {
                Cause::Schedule
            } else {
                Cause::Manual
            },
            plan: n.is_multiple_of(5).then(|| self.plan_id()),
            targets: AskedTargets {
                named: targets.len() as u64,
                ..AskedTargets::default()
            },
            action: None,
            operation: operation.into(),
            params: StoredParams::without_secrets(params.clone()),
            timeout_seconds: 300,
            expiry_seconds: 3_600,
            expires_at: at.plus(MINUTE * 60),
            runs: targets.len() as u64,
            start_at: None,
            spread_seconds: 0,
            priority: Priority::Normal,
            ignores_windows: true,
            rolls_out: n + 1 == self.size.batches,
            approval: approval.as_ref().map(|approval| approval.id),
            approvals: approval.as_ref().map_or(0, |approval| approval.needed),
            retry_of: None,
            attempt: 1,
            retry: None,
            retrying_since: None,
            retry_at: None,
            retried_by: None,
            promotion: None,
            promoted_from: None,
            expanding_since: None,
            release_at: None,
            cancelled_at: None,
            cancelling_since: None,
            runs_digest: ContentHash::of_bytes(&runs).to_string(),
            request_digest: dice.hex::<32>(),
            created_by: actor.clone(),
            created_at: at,
        };
        writer.put(&batch).await?;
        if let Some(approval) = &approval {
            writer.put(approval).await?;
        }
        if n == 0 {
            self.write_plan(writer, (operation, params), &actor, at, id).await?;
            let window = Window {
                id: dice.id(at),
                name: "Sunday night".into(),
                description: "When nobody works".into(),
                enabled: true,
                kind: WindowKind::Maintenance,
                scope: WindowScope {
                    devices: devices.iter().take(100).copied().collect(),
                    ..WindowScope::default()
                },
                when: WindowTimes::Recurring {
                    cron: "0 3 * * sun".into(),
                    zone: "Europe/Berlin".into(),
                    duration_seconds: 7_200,
                },
                outside: Outside::Gate,
                operations: Default::default(),
                created_at: at,
                updated_at: at,
            };
            writer.put(&window).await?;
        }
        if n + 1 == self.size.batches {
            // As if its maker was interrupted when all runs were there, and only this was left to be tidied up.
            let order = RolloutOrder {
                id,
                devices: devices.clone(),
            };
            writer.put(&order).await?;
            writer.put(&rollout(&batch)).await?;
            writer.put(&BatchTargets { id, devices }).await?;
        }
        let mut entry = audit::<Batch>(actor, at, "batch.create", (id, operation), &mut dice);
        entry.details.insert("runs".into(), batch.runs.into());
        entry.details.insert("runs_digest".into(), batch.runs_digest.into());
        entry
            .details
            .insert("request_digest".into(), batch.request_digest.into());
        writer.append(entry.id, at, 0, &entry).await
    }

    fn plan_id(&self) -> PlanId {
        Dice::new(self.seed, "plan", 0).id(self.now().minus(MINUTE * 60 * 24 * 30))
    }

    /// A secret that the plan refers to.
    async fn write_secret(&self, writer: &mut Writer<'_>, at: Timestamp) -> Result<OperationSecretId> {
        let random = SeededRandom::new(self.seed);
        let sealer = Sealer::new(MasterKey::generate(&random));
        let id = Dice::new(self.seed, "secret", 0).id::<OperationSecretId>(at);
        let sealed = sealer.seal(&format!("operation_secret/{id}"), b"s3cret", &random);
        let secret = OperationSecret {
            id,
            sealed: sealed.map_err(|error| fleet_core::store::Error::Unavailable(error.into()))?,
            created_at: at,
            unreferenced_since: None,
        };
        writer.put(&secret).await?;
        Ok(id)
    }

    /// The plan that made every fifth batch.
    async fn write_plan(
        &self,
        writer: &mut Writer<'_>,
        (operation, mut params): (&str, Json),
        actor: &Actor,
        at: Timestamp,
        batch: BatchId,
    ) -> Result<()> {
        let secret = self.write_secret(writer, at).await?;
        params["secret_env"] = json!({"TOKEN": {"$secret": secret.to_string()}});
        let plan = Plan {
            id: self.plan_id(),
            name: "Every night".into(),
            description: "On all devices".into(),
            enabled: true,
            operation: operation.into(),
            params: StoredParams::without_secrets(params),
            targets: PlannedTargets {
                all: true,
                ..PlannedTargets::default()
            },
            timeout_seconds: Some(300),
            expires_in_seconds: None,
            ignore_windows: false,
            approvals: 0,
            spread_seconds: 1_800,
            priority: Priority::Low,
            dry_run_first: false,
            rollout: Some(rings()),
            retry: None,
            schedule: Some(Schedule::Cron {
                cron: "0 2 * * *".into(),
                zone: "Europe/Berlin".into(),
            }),
            missed: MissedRuns::Skip,
            changed_by: actor.clone(),
            owner: actor.id(),
            created_at: at,
            updated_at: at,
        };
        let progress = PlanProgress {
            id: plan.id,
            settled_at: at,
            next_at: Some(self.now().plus(MINUTE * 60)),
            last: Some(PlanOccasion {
                due_at: at,
                at,
                missed: 0,
                outcome: PlanOutcome::Started { batch },
            }),
        };
        writer.put(&plan).await?;
        writer.put(&progress).await
    }

    fn run(
        &self,
        (batch, device): (usize, usize),
        (batch_id, device_id): (BatchId, DeviceId),
        (operation, params): (&str, &Json),
        at: Timestamp,
    ) -> Run {
        let mut dice = Dice::new(self.seed, "run", (batch * self.size.devices + device) as u64);
        let newest = batch + 1 == self.size.batches;
        let state = *dice.pick(if newest { &UNDER_WAY[..] } else { &ENDINGS });
        let through = path(state);
        let reached = |wanted: State| through.contains(&wanted);
        let began = reached(State::Running);
        Run {
            id: dice.id::<RunId>(at),
            batch: Some(batch_id),
            origin: None,
            device: device_id,
            device_name: self.device(device).name,
            operation: operation.to_owned(),
            params: StoredParams::without_secrets(params.clone()),
            state,
            priority: Priority::Normal,
            due_at: at,
            delivery: Delivery {
                epoch: reached(State::Offered).then(|| 1 + dice.next() % 40),
                attempts: u32::from(reached(State::Offered)),
                offered_at: reached(State::Offered).then(|| at.plus(MINUTE)),
                receipt_at: reached(State::Accepted).then(|| at.plus(MINUTE * 2)),
            },
            created_at: at,
            expires_at: at.plus(MINUTE * 60),
            timeout_seconds: 300,
            output_limit_bytes: 4 << 20,
            started_at: began.then(|| at.plus(MINUTE * 3)),
            finished_at: state.is_terminal().then(|| at.plus(MINUTE * 4)),
            cancel_requested_at: (state == State::Cancelled).then(|| at.plus(MINUTE)),
            on_hold: false,
            ending: (began && state.is_terminal()).then(|| Ending {
                exit_code: Some(i32::from(state == State::Failed)),
                signal: (state == State::TimedOut).then_some(15),
                code: None,
                message: None,
                changed: None,
                summary: None,
                chunks: u32::try_from(self.size.chunks).unwrap_or(0),
                truncated_bytes: 0,
            }),
        }
    }

    async fn write_run(&self, writer: &mut Writer<'_>, run: &Run, dice: &mut Dice) -> Result<()> {
        writer.put(run).await?;
        let through = path(run.state);
        let last = (through.last() != Some(&run.state)).then_some(run.state);
        let states: Vec<State> = through.iter().copied().chain(last).collect();
        for (step, pair) in states.windows(2).enumerate() {
            let at = run.created_at.plus(MINUTE * u32::try_from(step + 1).unwrap_or(0));
            let by_device = matches!(pair[1], State::Accepted | State::Running) || pair[0] == State::Running;
            let event = RunEvent {
                run: run.id,
                device: run.device,
                batch: run.batch,
                from: pair[0],
                to: pair[1],
                at,
                actor: match by_device {
                    true => Actor::Device {
                        id: run.device.uuid(),
                        name: run.device_name.clone(),
                    },
                    false => Actor::System {
                        part: "work.sweep".into(),
                    },
                },
                reason: (pair[1] == State::Lost).then(|| "offered, never confirmed".into()),
            };
            writer.append(run.id.uuid(), at, 0, &event).await?;
        }
        for sequence in 0..if run.started_at.is_some() { self.size.chunks } else { 0 } {
            let chunk = Chunk {
                stream: if sequence % 2 == 0 {
                    OutputStream::Stdout
                } else {
                    OutputStream::Stderr
                },
                text: format!("{}: line {} of {}\n", run.device_name, sequence, dice.hex::<24>())
                    .repeat(1 + dice.below(20)),
            };
            let sequence = u32::try_from(sequence).unwrap_or(u32::MAX);
            writer.ingest(run.id.uuid(), run.created_at, sequence, &chunk).await?;
        }
        Ok(())
    }
}
