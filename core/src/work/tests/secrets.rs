//! Secrets of work, from the request to the device.

use futures::TryStreamExt as _;
use serde_json::{Value as Json, json};

use super::Work;
use crate::{
    Fleet,
    kernel::{Class, EntityId as _, MasterKey, PageRequest, SeededRandom},
    protocol::{ManifestRequest, needed_secrets},
    store::{Query, Record},
    work::{
        BatchRequest, Run, State,
        batch::{BatchRetry, batch_id_for_key},
        desired::{
            DesiredState, Mode, Source, Target,
            actions::{ActionChange, ActionView, NewAction},
            assignments::NewAssignment,
        },
        plans::{NewPlan, PlanChange},
        secrets::{MASK, OperationSecret, SECRET_GONE, UNREFERENCED_LIFE},
    },
};

const SECRET: &str = "correct horse battery staple";
const WEEK: u64 = UNREFERENCED_LIFE.as_secs();

impl Work {
    fn secretly(&self, value: &str) -> BatchRequest {
        BatchRequest {
            params: script(value).into(),
            ..self.request("true")
        }
    }

    /// Everything that is stored, as text.
    pub(super) async fn all_that_is_stored(&self) -> String {
        let view = self.test.fleet.store().backend().view().await.unwrap();
        let records: Vec<Record> = view.export().try_collect().await.unwrap();
        let bodies = records.iter().map(|record| match record {
            Record::Doc(doc) => String::from_utf8_lossy(&doc.body),
            Record::Latest(latest) => String::from_utf8_lossy(&latest.body),
            Record::Row(_, row) => String::from_utf8_lossy(&row.row.body),
            Record::End { .. } => "".into(),
        });
        let all: String = bodies.collect();
        assert!(all.contains("$secret"), "what is looked through is text");
        all
    }

    async fn secrets(&self) -> usize {
        let mut reader = self.test.fleet.store().reader().await.unwrap();
        let query = Query::<OperationSecret>::all();
        reader.list(&query, &PageRequest::default()).await.unwrap().items.len()
    }

    pub(super) async fn clean(&self) {
        let job = self.test.fleet.jobs().iter().find(|job| job.name == "work.secrets");
        (job.unwrap().tick)(self.test.fleet.clone()).await.unwrap();
    }

    /// Looks, waits for the time that a secret stays, and looks again.
    async fn clean_for_good(&self) -> usize {
        self.clean().await;
        self.advance(WEEK);
        self.clean().await;
        self.secrets().await
    }

    async fn action(&self, secret: &str) -> ActionView {
        let new = NewAction {
            name: "Token".into(),
            description: String::new(),
            operation: "shell".into(),
            params: script(secret).into(),
            state: DesiredState::Present,
            timeout_seconds: None,
            rhythm: None,
        };
        let desired = self.test.fleet.desired();
        desired.actions().create(&self.test.admin(), &new).await.unwrap()
    }

    async fn change_action(&self, action: &ActionView, params: Json) -> ActionView {
        let change = ActionChange {
            params: Some(params.into()),
            ..ActionChange::default()
        };
        let desired = self.test.fleet.desired();
        let (actions, admin) = (desired.actions(), self.test.admin());
        actions.set(&admin, action.id, None, &change).await.unwrap()
    }

    /// What the device is given by its manifest: its digest, and the secret.
    async fn delivered(&self) -> (String, String) {
        let manifests = self.test.fleet.desired().manifests();
        manifests.keep_current().await.unwrap();
        let request = ManifestRequest {
            nonce: "n".into(),
            have: None,
        };
        let answer = manifests.of_agent(self.device, &request, &self.dispatch).await.unwrap();
        assert!(answer.verify(&self.dispatch.public(), self.device, "n"));
        let groups = crate::protocol::assemble(&[], &answer).unwrap();
        let secrets = needed_secrets(
            &groups,
            &answer.parts.reverts,
            &Default::default(),
            &answer.parts.secrets,
        )
        .unwrap();
        let params = groups[0].occurrences[0].params.resolve(&secrets).unwrap().params;
        let value = params["secret_env"]["TOKEN"].as_str().unwrap_or_default().to_owned();
        (answer.body.digest, value)
    }
}

fn script(value: &str) -> Json {
    json!({"script": "true", "secret_env": {"TOKEN": value}})
}

fn new_plan(work: &Work) -> NewPlan {
    serde_json::from_value(json!({
        "name": "Nightly", "operation": "shell", "params": script(SECRET), "targets": {"devices": [work.device]},
    }))
    .unwrap()
}

#[tokio::test]
async fn a_secret_reaches_its_device_and_nobody_else() {
    let work = Work::new().await;
    let request = BatchRequest {
        approvals: None,
        ..work.secretly(SECRET)
    };
    let batch = work.create(&request).await.unwrap();
    assert_eq!(batch.params["secret_env"]["TOKEN"], MASK);
    let run = work.only_run_of(batch.id).await;
    assert_eq!(run.params["secret_env"]["TOKEN"], MASK);
    let offer = &work.pending(1).await.offers[0].body;
    assert_eq!(offer.params["secret_env"]["TOKEN"], SECRET);
    assert_eq!(offer.secrets, ["/secret_env/TOKEN"]);
    assert!(!format!("{offer:?} {request:?}").contains(SECRET));

    let plans = work.test.fleet.plans();
    let plan = plans.create(&work.test.admin(), &new_plan(&work)).await.unwrap();
    assert_eq!(plan.params["secret_env"]["TOKEN"], MASK);
    assert_eq!(work.action(SECRET).await.params["secret_env"]["TOKEN"], MASK);
    assert!(!work.all_that_is_stored().await.contains(SECRET));
}

#[tokio::test]
async fn who_has_to_agree_does_not_see_it_either() {
    let work = Work::new().await;
    let request = BatchRequest {
        approvals: Some(1),
        ..work.secretly(SECRET)
    };
    let batch = work.create(&request).await.unwrap();
    let approvals = work.test.fleet.approvals();
    let shown = approvals
        .show(&work.test.admin(), batch.approval.unwrap())
        .await
        .unwrap();
    assert_eq!(shown.params["secret_env"]["TOKEN"], MASK);
    assert!(!work.all_that_is_stored().await.contains(SECRET));
    // As long as somebody may agree it is there.
    assert_eq!(work.clean_for_good().await, 1);
}

#[tokio::test]
async fn a_key_knows_another_secret_for_another_request() {
    let work = Work::new().await;
    let (batches, admin) = (work.test.fleet.batches(), work.test.admin());
    let key = Some(batch_id_for_key(admin.actor(), "/batches", "k"));
    let first = batches.create(&admin, &work.secretly(SECRET), key).await.unwrap();
    let again = batches.create(&admin, &work.secretly(SECRET), key).await.unwrap();
    assert_eq!(first.id, again.id);
    assert_eq!(work.secrets().await, 1, "a repeat leaves nothing behind");
    let other = batches.create(&admin, &work.secretly("another secret"), key).await;
    assert_eq!(other.unwrap_err().class(), Class::Conflict);
}

#[tokio::test]
async fn a_plan_keeps_its_secret_through_changes_and_gives_it_to_its_work() {
    let work = Work::new().await;
    let (plans, admin) = (work.test.fleet.plans(), work.test.admin());
    let plan = plans.create(&admin, &new_plan(&work)).await.unwrap();
    for params in [
        json!({"script": "id"}),
        json!({"script": "id", "secret_env": {"TOKEN": MASK}}),
        script(SECRET),
    ] {
        let change = PlanChange {
            params: Some(params.into()),
            ..PlanChange::default()
        };
        plans.set(&admin, plan.id, None, &change).await.unwrap();
        let batch = plans.start(&admin, plan.id, None).await.unwrap();
        let offered = &work.pending(1).await.offers[0].body;
        assert_eq!(offered.params["secret_env"]["TOKEN"], SECRET);
        let run = work.only_run_of(batch.id).await.id;
        work.test.fleet.runs().cancel(&admin, run).await.unwrap();
        let done = work.finished(run, crate::protocol::RunResult::Cancelled);
        work.test.fleet.delivery().finished(work.device, done).await.unwrap();
    }
    assert_eq!(work.secrets().await, 1);
    let foreign = PlanChange {
        params: Some(json!({"script": "id", "secret_env": {"TOKEN": {"$secret": plan.id.to_string()}}}).into()),
        ..PlanChange::default()
    };
    let refused = plans.set(&admin, plan.id, None, &foreign).await.unwrap_err();
    assert_eq!(refused.code().name(), "operation.secret_reference");
}

#[tokio::test]
async fn another_secret_is_another_manifest_and_the_same_is_the_same() {
    let work = Work::new().await;
    let action = work.action(SECRET).await;
    let new = NewAssignment {
        source: Source::Action(action.id),
        target: Target::Device(work.device),
        mode: Mode::Required,
        order: 0,
    };
    let desired = work.test.fleet.desired();
    desired.assignments().create(&work.test.admin(), &[new]).await.unwrap();
    let first = work.delivered().await;
    assert_eq!(first.1, SECRET);

    let kept = work.change_action(&action, script(MASK)).await;
    assert_eq!(kept.generation, 1);
    assert_eq!(work.delivered().await, first);

    let changed = work.change_action(&action, script("another secret")).await;
    assert_eq!(changed.generation, 2);
    let second = work.delivered().await;
    assert_eq!(second.1, "another secret");
    assert_ne!(second.0, first.0);

    let shown = desired.manifests().show(&work.test.admin(), work.device).await.unwrap();
    assert_eq!(
        shown.groups[0].occurrences[0].params.shown()["secret_env"]["TOKEN"],
        MASK
    );
    assert!(!format!("{:?}", shown.groups).contains("$secret"));
    let stored = work.all_that_is_stored().await;
    assert!(!stored.contains(SECRET) && !stored.contains("another secret"));
    // The former content is kept for thirty days, and what it refers to.
    assert_eq!(work.clean_for_good().await, 2);
    work.advance(30 * 86_400);
    desired.manifests().remove_idle().await.unwrap();
    assert_eq!(work.clean_for_good().await, 1);
}

#[tokio::test]
async fn what_nothing_refers_to_goes_after_seven_days_and_nothing_else() {
    let work = Work::new().await;
    let batch = work.create(&work.secretly(SECRET)).await.unwrap();
    work.pending(1).await;
    let run = work.only_run_of(batch.id).await.id;
    work.advance(60);
    work.clean().await;
    let done = work.finished(run, crate::protocol::RunResult::Failed);
    work.test.fleet.delivery().finished(work.device, done).await.unwrap();
    assert_eq!(work.state(run).await, State::Failed);
    work.clean().await;
    work.advance(WEEK - 1);
    work.clean().await;
    assert_eq!(work.secrets().await, 1);

    // Tried again at the last moment: it is needed again, though it was noted as unneeded.
    let retry = BatchRetry::default();
    let (batches, admin) = (work.test.fleet.batches(), work.test.admin());
    let again = batches.retry(&admin, batch.id, &retry, None).await.unwrap();
    work.advance(10);
    work.clean().await;
    assert_eq!(
        work.pending(2).await.offers[0].body.params["secret_env"]["TOKEN"],
        SECRET
    );
    let run = work.only_run_of(again.id).await.id;
    let done = work.finished(run, crate::protocol::RunResult::Failed);
    work.test.fleet.delivery().finished(work.device, done).await.unwrap();
    assert_eq!(work.clean_for_good().await, 0);

    let late = batches.retry(&admin, again.id, &retry, None).await;
    assert_eq!(late.unwrap_err().code(), SECRET_GONE);
}

#[tokio::test]
async fn a_run_whose_secret_does_not_open_ends_and_holds_up_nothing() {
    let work = Work::new().await;
    let batch = work.create(&work.secretly(SECRET)).await.unwrap();
    let fleet: &Fleet = &work.test.fleet;
    let sealed = crate::kernel::Sealer::new(MasterKey::generate(&SeededRandom::new(99)));
    let admin = work.test.admin();
    // As if another master key had sealed it.
    let secret = {
        let mut reader = fleet.store().reader().await.unwrap();
        reader.first(&Query::<OperationSecret>::all()).await.unwrap().unwrap()
    };
    let (secret, sealed) = (&secret, &sealed);
    let evidence = crate::store::Evidence::Audit(super::super::secrets::SECRETS_CLEAN);
    fleet
        .store()
        .change(&admin, evidence, |mut tx| async move {
            let mut other = secret.value.clone();
            let owner = format!("operation_secret/{}", other.id);
            other.sealed = sealed.seal(&owner, b"x", &SeededRandom::new(1)).unwrap();
            tx.update(secret, &other)?;
            tx.commit().await
        })
        .await
        .unwrap();
    let behind = work.create(&work.request("uname")).await.unwrap();
    assert!(work.pending(1).await.offers.is_empty());
    let offers = work.pending(1).await.offers;
    let run = work.only_run_of(batch.id).await;
    assert_eq!(run.ending.unwrap().code.as_deref(), Some("operation.secret_gone"));
    assert_eq!(offers[0].body.run, work.only_run_of(behind.id).await.id);
    let run: Run = fleet.store().get(run.id).await.unwrap().unwrap().value;
    assert_eq!(run.params.secret_ids()[0].uuid(), secret.id.uuid());
}
