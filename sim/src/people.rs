//! People ask for work, and change their minds.

use std::time::Duration;

use fleet_core::{
    access::Context,
    kernel::{Clock as _, PageRequest},
    work::{BatchId, BatchRequest, RunFilter, RunId, batch::Targets},
};

use crate::{
    executor::{ENDLESS, SHORT},
    judge::short,
    turns::Terms,
    world::World,
};

impl World {
    /// The time until somebody wants something.
    pub(crate) fn pause(&self) -> Duration {
        self.people.seconds(5, 150)
    }

    /// Somebody wants something.
    pub(crate) async fn ask(&mut self) {
        let cancels = !self.runs.is_empty() && self.people.chance(250);
        let drawn = self.people.number();
        if self.door.fleet().is_none() {
            return;
        }
        self.plan().await;
        if cancels {
            let recent = self.runs.len().min(6);
            let run = self.runs[self.runs.len() - 1 - (drawn as usize % recent)];
            self.cancel(run).await;
            return;
        }
        if self.people.chance(200) {
            self.assign().await;
            return;
        }
        if self.people.chance(250) {
            self.oversee().await;
            return;
        }
        let several = self.people.chance(300);
        let first = self.people.place(self.agents.len());
        let agents: Vec<usize> = if several {
            (0..self.agents.len()).collect()
        } else {
            vec![first]
        };
        let dice = &self.people;
        let shared = dice.chance(350);
        let burst = if shared && dice.chance(200) { 8 } else { 1 };
        let (operation, params) = if shared {
            ("inventory.refresh", serde_json::json!({}))
        } else {
            let script = match dice.below(10) {
                0 => ENDLESS,
                1..=3 => SHORT,
                _ => "something",
            };
            ("shell", serde_json::json!({"script": script}))
        };
        let timeout = dice.time(Duration::from_secs(5), Duration::from_secs(240)).as_secs() as u32;
        let expires = match dice.time(Duration::from_secs(20), Duration::from_secs(600)).as_secs() as u32 {
            // Who is offline is skipped.
            drawn if drawn % 8 == 3 => 0,
            drawn => drawn,
        };
        let params = self.with_secret(params);
        for _ in 0..burst {
            let request = self.work(&agents, operation, params.clone(), timeout.max(1), expires);
            self.ask_for(&agents, self.in_its_turn(request)).await;
        }
    }

    /// Asks for work on devices, and again while the answer is lost; the runs that it made.
    pub(crate) async fn request(
        &mut self,
        agents: &[usize],
        operation: &str,
        params: serde_json::Value,
        timeout: u32,
        expires: u32,
    ) -> Vec<RunId> {
        let request = self.work(agents, operation, params, timeout, expires);
        self.ask_for(agents, request).await
    }

    pub(crate) fn work(
        &self,
        agents: &[usize],
        operation: &str,
        params: serde_json::Value,
        timeout: u32,
        expires: u32,
    ) -> BatchRequest {
        BatchRequest {
            operation: operation.to_owned(),
            params: params.into(),
            targets: Targets::devices(agents.iter().map(|index| self.agents[*index].device).collect()),
            timeout_seconds: Some(timeout),
            expires_in_seconds: Some(expires),
            confirm_devices: Some(agents.len() as u64),
            ..BatchRequest::default()
        }
    }

    pub(crate) async fn ask_for(&mut self, agents: &[usize], request: BatchRequest) -> Vec<RunId> {
        let Some(fleet) = self.door.fleet() else {
            return Vec::new();
        };
        let context = Context::system("people");
        // A repeat with the same key is the same batch.
        let key = BatchId::new(self.judge.clock.now(), fleet.random());
        for _ in 0..5 {
            let Ok(batch) = fleet.batches().create(&context, &request, Some(key)).await else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let filter = RunFilter {
                batch: Some(batch.id),
                ..RunFilter::default()
            };
            let Ok(page) = fleet.runs().list(&context, &filter, &PageRequest::default()).await else {
                continue;
            };
            for said in [serde_json::to_string(&batch), serde_json::to_string(&page.items)]
                .into_iter()
                .flatten()
            {
                self.judge.check_told(None, &said);
            }
            let runs: Vec<_> = page.items.iter().map(|run| run.id).collect();
            let names: Vec<_> = runs.iter().map(short).collect();
            self.judge.trace.say(format_args!(
                "asked: {} on {agents:?}, {:?} s, until {:?} s, from {:?}, agreed by {:?}, in waves {}: {}",
                request.operation,
                request.timeout_seconds,
                request.expires_in_seconds,
                request.start_at,
                request.approvals,
                request.rollout.is_some(),
                names.join(" ")
            ));
            if request.dry_run_first {
                let terms = Terms {
                    start_at: request.start_at,
                    in_waves: request.rollout.is_some(),
                };
                self.judge.terms().insert(batch.id, terms);
            }
            self.batches += 1;
            self.asked.push(batch.id);
            self.runs.extend(&runs);
            return runs;
        }
        Vec::new()
    }

    /// Asks to stop a run.
    pub(crate) async fn cancel(&mut self, run: RunId) {
        let Some(fleet) = self.door.fleet() else { return };
        self.judge.trace.say(format_args!("asked to stop {}", short(run)));
        if fleet.runs().cancel(&Context::system("people"), run).await.is_ok() {
            self.cancels += 1;
        }
    }
}
