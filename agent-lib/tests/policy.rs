//! The local policy counts when a run begins, not only when it is offered.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use fleet_agent_lib::{
    clock::ServerClock,
    journal::{Journal, JournalWriter, Limits},
    policy::Policy,
    runs::{Cancellation, Ending, Execute, OutputSink, Runs, Sent, Taken},
    state::StateDirectory,
};
use fleet_core::{
    devices::DeviceId,
    kernel::{EntityId as _, ManualClock, Timestamp},
    protocol::{AgentFrame, OfferBody, RunResult},
    work::RunId,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Counts what it is asked to execute; ends at once, or never.
#[derive(Default)]
struct Counting {
    executed: AtomicUsize,
    hangs: bool,
}

#[async_trait::async_trait]
impl Execute for Counting {
    fn kinds(&self) -> Vec<String> {
        vec!["shell".into()]
    }

    async fn execute(&self, _: &OfferBody, _: OutputSink, _: Cancellation) -> Ending {
        self.executed.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ending::of(RunResult::Succeeded)
    }
}

fn offer(number: u128) -> OfferBody {
    OfferBody {
        run: RunId::from_uuid(Uuid::from_u128(number)),
        device: DeviceId::from_uuid(Uuid::nil()),
        epoch: 1,
        kind: "shell".into(),
        secrets: Vec::new(),
        params: serde_json::json!({"script": "true"}).into(),
        expires_at: NOW.plus(Duration::from_secs(3_600)),
        timeout_seconds: 60,
        output_limit_bytes: 1_000,
        idempotent: false,
        exclusive: true,
    }
}

/// An agent as it starts on a state directory, with this policy, and the thread of its journal.
async fn start(state: &Path, policy: &str, execute: Arc<Counting>) -> (Runs, JoinHandle<Journal>) {
    let clock = Arc::new(ServerClock::new(Arc::new(ManualClock::new(NOW))));
    let state = Arc::new(StateDirectory::open(state).unwrap());
    let (journal, recovered) = Journal::open(state, Limits::default(), NOW).unwrap();
    let (journal, thread) = JournalWriter::start(journal).unwrap();
    let policy = Policy::parse(policy, "root", jiff::tz::TimeZone::UTC).unwrap();
    // What is from before the restart waits for the server's time.
    clock.learn(NOW);
    let runs = Runs::recover(journal, recovered, clock, policy, execute).await.unwrap();
    (runs, thread)
}

/// Frames until one that ends this run.
async fn end_of(runs: &Runs, number: u128) -> (RunResult, Option<String>, Option<String>) {
    let mut sent = Sent::default();
    let found = async {
        loop {
            for frame in runs.due(&mut sent).await.unwrap() {
                if let AgentFrame::Finished(finished) = frame
                    && finished.run == offer(number).run
                {
                    return (finished.result, finished.code, finished.message);
                }
            }
            runs.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap()
}

#[tokio::test]
async fn an_offer_that_the_policy_forbids_is_refused_with_the_name_of_the_rule() {
    let folder = tempfile::tempdir().unwrap();
    let execute = Arc::new(Counting::default());
    let (runs, _thread) = start(folder.path(), "forbid_kinds = ['shell']", execute.clone()).await;
    let Taken::Refused(refused) = runs.take(offer(1)).await.unwrap() else {
        panic!("it was accepted")
    };
    assert_eq!(refused.code, "policy.forbidden");
    assert!(refused.message.contains("forbid_kinds"), "{}", refused.message);
    assert!(!runs.holds(offer(1).run) && execute.executed.load(Ordering::SeqCst) == 0);
}

#[test]
fn what_was_accepted_before_the_policy_forbade_it_does_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let hanging = Arc::new(Counting {
        hangs: true,
        ..Counting::default()
    });
    // On one thread: nothing of it goes on while it is dropped.
    let before = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let thread = before.block_on(async {
        let (runs, thread) = start(folder.path(), "", hanging.clone()).await;
        assert_eq!(runs.take(offer(1)).await.unwrap(), Taken::Accepted);
        while hanging.executed.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // It waits for the first to end.
        assert_eq!(runs.take(offer(2)).await.unwrap(), Taken::Accepted);
        assert!(runs.holds(offer(2).run));
        thread
    });
    // The agent dies, and whoever owns the device thinks again.
    drop(before);
    drop(thread.join().unwrap());
    let after = tokio::runtime::Runtime::new().unwrap();
    after.block_on(async {
        let execute = Arc::new(Counting::default());
        let (runs, _thread) = start(folder.path(), "forbid_kinds = ['shell']", execute.clone()).await;
        let (result, code, message) = end_of(&runs, 2).await;
        assert_eq!((result, code.as_deref()), (RunResult::Failed, Some("policy.forbidden")));
        assert!(message.unwrap().contains("forbid_kinds"));
        assert_eq!(end_of(&runs, 1).await.0, RunResult::Indeterminate);
        assert_eq!(execute.executed.load(Ordering::SeqCst), 0);
    });
}
