//! The life of work, from request to end, over the memory backend.

mod answers;
mod approvals;
mod attempts;
mod batches;
mod confirmations;
mod deadlines;
mod downloads;
mod forgetting;
mod gates;
mod heeding;
mod lists;
mod offline;
mod plans;
mod priorities;
mod promotions;
mod retries;
mod rollouts;
mod secrets;
mod spreading;
mod stops;
mod targets;
mod timing;
mod together;

use std::time::Duration;

use super::{
    BatchId, BatchRequest, BatchView, Run, RunId, RunView, State,
    batch::{NOT_CONFIRMED, Targets},
    delivery::Pending,
};
use crate::{
    devices::{DeviceId, testing::TestFleet},
    kernel::{PageRequest, Result, SigningKey, Timestamp},
    protocol::{Finished, Output, OutputChunk, OutputStream, RunResult},
    work::RunFilter,
};

/// A fleet with one device.
struct Work {
    test: TestFleet,
    device: DeviceId,
    dispatch: SigningKey,
}

impl Work {
    async fn new() -> Self {
        let test = TestFleet::new().await;
        let device = test.device("web-1").await;
        let dispatch = test.key();
        Self { test, device, dispatch }
    }

    fn request(&self, script: &str) -> BatchRequest {
        BatchRequest {
            operation: "shell".into(),
            params: serde_json::json!({"script": script}).into(),
            targets: Targets::devices(vec![self.device]),
            timeout_seconds: None,
            expires_in_seconds: None,
            ..BatchRequest::default()
        }
    }

    /// Asks for work, and means all of its devices.
    async fn create(&self, request: &BatchRequest) -> Result<BatchView> {
        let (batches, admin) = (self.test.fleet.batches(), self.test.admin());
        match batches.create(&admin, request, None).await {
            Err(refused) if refused.code() == NOT_CONFIRMED => {
                let confirmed = BatchRequest {
                    confirm_devices: refused.fields()[0].message.parse().ok(),
                    ..request.clone()
                };
                batches.create(&admin, &confirmed, None).await
            }
            made => made,
        }
    }

    /// Asks for one shell run and gives it back.
    async fn run(&self) -> RunId {
        let batch = self.create(&self.request("uname -a")).await.unwrap();
        let filter = RunFilter {
            batch: Some(batch.id),
            ..RunFilter::default()
        };
        let page = self
            .test
            .fleet
            .runs()
            .list(&self.test.admin(), &filter, &PageRequest::default())
            .await
            .unwrap();
        page.items[0].id
    }

    /// How many runs of a batch stand in each state, such as `queued 3`.
    async fn states_of(&self, batch: BatchId) -> Vec<String> {
        let shown = self.test.fleet.batches().show(&self.test.admin(), batch).await.unwrap();
        let mut states: Vec<_> = shown
            .states
            .iter()
            .map(|count| format!("{} {}", count.state.name(), count.runs))
            .collect();
        states.sort_unstable();
        states
    }

    async fn only_run_of(&self, batch: BatchId) -> RunView {
        let filter = RunFilter {
            batch: Some(batch),
            ..RunFilter::default()
        };
        let runs = self.test.fleet.runs();
        let page = runs.list(&self.test.admin(), &filter, &PageRequest::default()).await;
        page.unwrap().items.remove(0)
    }

    async fn pending(&self, epoch: u64) -> Pending {
        self.test
            .fleet
            .delivery()
            .pending(self.device, epoch, &self.dispatch)
            .await
            .unwrap()
    }

    async fn show(&self, run: RunId) -> RunView {
        self.test.fleet.runs().show(&self.test.admin(), run).await.unwrap().0
    }

    async fn state(&self, run: RunId) -> State {
        self.show(run).await.state
    }

    /// A run in this state, as devices and the clock would bring it there.
    async fn run_in(&self, state: State) -> RunId {
        let run = self.run().await;
        let delivery = self.test.fleet.delivery();
        if state != State::Queued {
            self.pending(1).await;
        }
        if matches!(state, State::Accepted | State::Running | State::Succeeded) {
            delivery.accepted(self.device, run).await.unwrap();
        }
        if matches!(state, State::Running | State::Succeeded) {
            delivery.started(self.device, run, self.now()).await.unwrap();
        }
        if state == State::Succeeded {
            delivery
                .finished(self.device, self.finished(run, RunResult::Succeeded))
                .await
                .unwrap();
        }
        assert_eq!(self.state(run).await, state);
        run
    }

    fn now(&self) -> Timestamp {
        self.test.fleet.clock().now()
    }

    fn finished(&self, run: RunId, result: RunResult) -> Finished {
        Finished {
            run,
            result,
            exit_code: Some(0),
            signal: None,
            code: None,
            message: None,
            changed: None,
            summary: None,
            started_at: None,
            finished_at: self.now(),
            chunks: 0,
            truncated_bytes: 0,
        }
    }

    async fn sweep(&self) {
        super::delivery::sweep(self.test.fleet.clone()).await.unwrap();
    }

    fn advance(&self, seconds: u64) {
        self.test.advance(seconds);
    }

    /// The moves of a run, as `from>to`.
    async fn moves(&self, run: RunId) -> Vec<String> {
        let page = self
            .test
            .fleet
            .runs()
            .events(&self.test.admin(), run, &PageRequest::default())
            .await
            .unwrap();
        page.items
            .iter()
            .map(|event| format!("{}>{}", event.from.name(), event.to.name()))
            .collect()
    }
}

fn chunk(sequence: u32, text: &str) -> OutputChunk {
    OutputChunk {
        sequence,
        stream: OutputStream::Stdout,
        text: text.into(),
    }
}

fn output(run: RunId, chunks: Vec<OutputChunk>) -> Output {
    Output { run, chunks }
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn every_stored_run_reads_back_as_it_is() {
    let work = Work::new().await;
    let run = work.run_in(State::Running).await;
    let stored = work.test.fleet.store().get::<Run>(run).await.unwrap().unwrap();
    assert_eq!(
        stored.value.attention_at(),
        Some(work.now().plus(Duration::from_secs(360)))
    );
    assert!(stored.value.expires_at == work.now().plus(HOUR));
}
