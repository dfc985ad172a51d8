//! Work that looks first, and is done for real once somebody agreed to what it would change.

mod ends;
mod many;
mod terms;

use serde_json::{Value as Json, json};

use super::{approvals::user, *};
use crate::{
    access::{Context, Role},
    devices::testing::fails,
    work::{
        ApprovalView,
        approvals::{ApprovalFilter, ApprovalStanding},
        batch::{BatchTargets, Cause},
        promotions::{DryRunOutcome, PromotionStanding, PromotionView, settle_due},
    },
};

/// How the dry run of a device ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    WouldChange,
    Unchanged,
    Unknown,
    NotConcerned,
    Fails,
}

use Look::{Fails, NotConcerned, Unchanged, Unknown, WouldChange};

/// A file on some devices, which the first user asks for and which looks first.
pub(super) struct Looking {
    pub(super) work: Work,
    pub(super) devices: Vec<DeviceId>,
    pub(super) batch: BatchView,
}

impl Looking {
    async fn new(devices: usize) -> Self {
        Self::with(devices, |_, _| {}).await
    }

    async fn with(count: usize, change: impl FnOnce(&mut BatchRequest, &Work)) -> Self {
        let work = Work::new().await;
        let devices = work.test.devices(count).await;
        let mut request = work.file(&devices);
        change(&mut request, &work);
        let batch = work.test.fleet.batches().create(&asks(&work), &request, None).await;
        Self {
            batch: batch.unwrap(),
            work,
            devices,
        }
    }

    /// The dry run of a device ends like that.
    async fn end(&self, place: usize, look: Look) {
        let run = self.work.run_on(self.batch.id, self.devices[place]).await;
        let (result, changed) = match look {
            WouldChange => (RunResult::Succeeded, Some(true)),
            Unchanged => (RunResult::Succeeded, Some(false)),
            Unknown => (RunResult::SucceededWithIssues, None),
            NotConcerned => (RunResult::NotApplicable, None),
            Fails => (RunResult::Failed, Some(true)),
        };
        self.work.finish(&run, result, changed).await;
    }

    /// All dry runs end, and it is looked after them.
    async fn looked(self, looks: &[Look]) -> Self {
        for (place, look) in looks.iter().enumerate() {
            self.end(place, *look).await;
        }
        self.tick(0).await;
        self
    }

    async fn tick(&self, seconds: u64) {
        self.work.advance(seconds);
        settle_due(self.work.test.fleet.clone()).await.unwrap();
    }

    async fn shown(&self) -> BatchView {
        let batches = self.work.test.fleet.batches();
        batches.show(&self.work.test.admin(), self.batch.id).await.unwrap()
    }

    async fn promotion(&self) -> PromotionView {
        self.shown().await.promotion.unwrap()
    }

    async fn approval(&self) -> ApprovalView {
        let id = self.promotion().await.approval.unwrap();
        let approvals = self.work.test.fleet.approvals();
        approvals.show(&self.work.test.admin(), id).await.unwrap()
    }

    async fn approve(&self, context: &Context) -> Result<ApprovalView> {
        let id = self.promotion().await.approval.unwrap();
        self.work.approve(context, id).await
    }

    /// The work that is done for real.
    async fn real(&self) -> BatchView {
        let id = self.promotion().await.promoted_to.unwrap();
        let batches = self.work.test.fleet.batches();
        batches.show(&self.work.test.admin(), id).await.unwrap()
    }

    /// It has ended like that, nothing of it is left, and nothing was done for real.
    async fn check_ended(&self, standing: PromotionStanding) {
        let promotion = self.promotion().await;
        assert_eq!((promotion.standing, promotion.promoted_to), (standing, None));
        assert_eq!(self.work.count::<BatchTargets>().await, 0);
        assert_eq!(self.work.count::<super::super::Batch>().await, 1);
        assert_eq!(self.work.open_approvals().await, 0);
        let events = self.work.test.seq().await;
        self.tick(86_400 * 31).await;
        assert_eq!(self.work.test.seq().await, events, "nothing is left to look after");
    }
}

/// Whoever asks for the work.
fn asks(work: &Work) -> Context {
    user(work, 1, Role::Operator)
}

/// Whoever agrees to it.
fn agrees(work: &Work) -> Context {
    user(work, 2, Role::Operator)
}

impl Work {
    fn file(&self, devices: &[DeviceId]) -> BatchRequest {
        BatchRequest {
            operation: "file".into(),
            params: file("Welcome\n").into(),
            targets: Targets::devices(devices.to_vec()),
            timeout_seconds: Some(77),
            dry_run_first: true,
            ..BatchRequest::default()
        }
    }

    /// The run of a batch on a device.
    pub(super) async fn run_on(&self, batch: BatchId, device: DeviceId) -> RunView {
        let filter = RunFilter {
            batch: Some(batch),
            device: Some(device),
            ..RunFilter::default()
        };
        let runs = self.test.fleet.runs();
        let page = runs.list(&self.test.admin(), &filter, &PageRequest::default()).await;
        page.unwrap().items.remove(0)
    }

    /// A device comes for its work, and a run of it ends like that.
    async fn finish(&self, run: &RunView, result: RunResult, changed: Option<bool>) {
        let delivery = self.test.fleet.delivery();
        delivery.pending(run.device, 1, &self.dispatch).await.unwrap();
        let finished = Finished {
            changed,
            summary: None,
            ..self.finished(run.id, result)
        };
        delivery.finished(run.device, finished).await.unwrap();
    }

    async fn count<T: crate::store::Entity>(&self) -> u64 {
        let mut reader = self.test.fleet.store().reader().await.unwrap();
        reader.count::<T>(&crate::store::Filter::All).await.unwrap()
    }

    async fn open_approvals(&self) -> usize {
        let (approvals, open) = (self.test.fleet.approvals(), ApprovalFilter { open: true });
        let page = approvals.list(&self.test.admin(), &open, &PageRequest::default()).await;
        page.unwrap().items.len()
    }
}

fn file(content: &str) -> Json {
    json!({"path": "/etc/motd", "content": content})
}

#[tokio::test]
async fn what_would_change_is_agreed_to_and_done_there_and_nowhere_else() {
    let looking = Looking::new(6).await;
    assert_eq!(looking.batch.params["dry_run"], true);
    assert_eq!(looking.work.states_of(looking.batch.id).await, ["queued 6"]);
    for (place, look) in [WouldChange, Unchanged, Unknown, NotConcerned, Fails]
        .into_iter()
        .enumerate()
    {
        looking.end(place, look).await;
        looking.tick(5).await;
        assert_eq!(looking.promotion().await.standing, PromotionStanding::Looking);
    }
    let looking = looking.looked(&[]).await;
    looking.end(5, WouldChange).await;
    looking.tick(5).await;

    let promotion = looking.promotion().await;
    let outcome = DryRunOutcome {
        would_change: 2,
        unchanged: 1,
        unknown: 1,
        not_concerned: 1,
        failed: 1,
    };
    assert_eq!(promotion.standing, PromotionStanding::AwaitingApproval);
    assert_eq!(promotion.outcome, Some(outcome));
    let approval = looking.approval().await;
    assert_eq!((approval.dry_run, approval.runs), (Some(outcome), 2));
    assert_eq!((approval.standing, approval.needed), (ApprovalStanding::Open, 1));
    assert_eq!(approval.params, file("Welcome\n"));

    let approved = looking.approve(&agrees(&looking.work)).await.unwrap();
    assert_eq!(approved.standing, ApprovalStanding::Approved);
    let real = looking.real().await;
    assert_eq!(looking.promotion().await.standing, PromotionStanding::Promoted);
    assert_eq!(
        (real.cause, real.promoted_from),
        (Cause::Promotion, Some(looking.batch.id))
    );
    assert_eq!((real.params.clone(), real.runs), (file("Welcome\n"), 2));
    assert_eq!((real.approval, real.promotion.clone()), (None, None));
    assert_eq!(
        real.created_by, looking.batch.created_by,
        "whoever asked answers for it"
    );
    assert_eq!(looking.work.states_of(real.id).await, ["queued 2"]);
    for place in [0, 5] {
        let run = looking.work.run_on(real.id, looking.devices[place]).await;
        assert_eq!((run.params.clone(), run.timeout_seconds), (file("Welcome\n"), 77));
    }
    assert_eq!(looking.work.count::<BatchTargets>().await, 0);
    let actions = looking.work.test.actions().await;
    let count = |name: &str| actions.iter().filter(|action| *action == name).count();
    assert_eq!(
        (
            count("batch.create"),
            count("batch.promotion_settle"),
            count("approval.approve")
        ),
        (1, 1, 1)
    );
    let entries = looking.work.test.audit().await;
    let entry = entries.iter().find(|entry| entry.action == "approval.approve").unwrap();
    assert_eq!(entry.details["promoted_to"], json!(real.id));
    assert_eq!(entry.details["runs"], 2);
    assert_eq!(entry.details["runs_digest"].as_str().unwrap().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_as_soon_as_the_last_dry_run_has_ended() {
    let looking = Looking::new(2).await;
    looking.end(0, WouldChange).await;
    looking.end(1, Unchanged).await;
    // Sooner than anything would be looked for.
    let fleet = &looking.work.test.fleet;
    let drive = crate::work::bell::drive(fleet, fleet.run_bell());
    let driven = tokio::time::timeout(Duration::from_secs(4), drive).await;
    assert!(driven.is_err(), "it follows until it is dropped");
    assert_eq!(looking.promotion().await.standing, PromotionStanding::AwaitingApproval);
}

#[tokio::test]
async fn it_is_done_once_however_many_agree_at_once_and_however_often() {
    let looking = Looking::new(2).await.looked(&[WouldChange, WouldChange]).await;
    let (one, other) = (
        user(&looking.work, 2, Role::Operator),
        user(&looking.work, 3, Role::Operator),
    );
    let (first, second) = tokio::join!(looking.approve(&one), looking.approve(&other));
    assert!(first.is_ok() != second.is_ok());
    for again in [first, second].into_iter().filter(Result::is_err) {
        fails(again, crate::work::approvals::APPROVAL_CLOSED);
    }
    fails(looking.approve(&one).await, crate::work::approvals::APPROVAL_CLOSED);
    assert_eq!(looking.work.count::<super::super::Batch>().await, 2);
    assert_eq!(looking.work.count::<Run>().await, 4);
}

#[tokio::test]
async fn what_is_heard_of_a_lost_device_afterwards_changes_nothing() {
    let looking = Looking::new(2).await;
    looking.end(0, WouldChange).await;
    let run = looking.work.run_on(looking.batch.id, looking.devices[1]).await;
    let delivery = looking.work.test.fleet.delivery();
    delivery.pending(run.device, 1, &looking.work.dispatch).await.unwrap();
    looking.work.advance(2 * 86_400);
    looking.work.sweep().await;
    assert_eq!(looking.work.state(run.id).await, State::Lost);
    looking.tick(0).await;
    looking.work.finish(&run, RunResult::Succeeded, Some(true)).await;
    assert_eq!(looking.work.state(run.id).await, State::Succeeded);
    looking.approve(&agrees(&looking.work)).await.unwrap();
    let real = looking.real().await;
    assert_eq!(real.runs, 1);
    assert_eq!(looking.work.only_run_of(real.id).await.device, looking.devices[0]);
}

#[tokio::test]
async fn a_dry_run_that_is_tried_again_asks_anew() {
    let looking = Looking::new(2).await.looked(&[Unchanged, Fails]).await;
    assert_eq!(looking.promotion().await.standing, PromotionStanding::NothingToPromote);
    let (fleet, asks) = (&looking.work.test.fleet, asks(&looking.work));
    let again = fleet
        .batches()
        .retry(&asks, looking.batch.id, &Default::default(), None)
        .await
        .unwrap();
    assert_eq!(again.promotion.as_ref().unwrap().standing, PromotionStanding::Looking);
    let looking = Looking {
        batch: again,
        ..looking
    };
    looking.end(1, WouldChange).await;
    looking.tick(0).await;
    looking.approve(&agrees(&looking.work)).await.unwrap();
    assert_eq!(looking.real().await.runs, 1);
}
