//! Work that begins only when others agree.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    access::{Actor, Context, Origin, Role},
    devices::testing::fails,
    work::{
        APPROVALS_FOR, APPROVALS_NEEDED, ApprovalId, ApprovalView,
        approvals::{
            APPROVAL_CLOSED, APPROVAL_NOT_A_PERSON, APPROVAL_NOT_FOUND, APPROVAL_OWN, APPROVAL_REPEATED,
            ApprovalFilter, ApprovalStanding, Comment,
        },
        batch::release_due,
    },
};

/// The user of this number, by session or by a key of theirs.
pub(super) fn user(work: &Work, n: u128, role: Role) -> Context {
    let grants = role.grants(work.test.fleet.permissions());
    let actor = Actor::User {
        id: Uuid::from_u128(n),
        name: format!("user-{n}"),
    };
    Context::new(actor, Origin::default(), Arc::new(grants))
}

fn key_of(work: &Work, n: u128) -> Context {
    let grants = Role::Admin.grants(work.test.fleet.permissions());
    let actor = Actor::Key {
        id: Uuid::from_u128(1_000 + n),
        name: "deploy".into(),
    };
    Context::new(actor, Origin::default(), Arc::new(grants)).on_behalf_of(Uuid::from_u128(n))
}

impl Work {
    async fn asked_by(&self, context: &Context, approvals: Option<u32>) -> (BatchId, Option<ApprovalId>) {
        let request = BatchRequest {
            approvals,
            ..self.request("reboot")
        };
        let batch = self.test.fleet.batches().create(context, &request, None).await.unwrap();
        (batch.id, batch.approval)
    }

    /// Work that the first user asked for, which needs so many.
    async fn asked(&self, approvals: u32) -> (BatchId, ApprovalId) {
        let (batch, approval) = self.asked_by(&user(self, 1, Role::Operator), Some(approvals)).await;
        (batch, approval.unwrap())
    }

    pub(super) async fn approve(&self, context: &Context, id: ApprovalId) -> Result<ApprovalView> {
        self.test
            .fleet
            .approvals()
            .approve(context, id, &Comment::default())
            .await
    }

    pub(super) async fn reject(&self, context: &Context, id: ApprovalId) -> Result<ApprovalView> {
        let comment = Comment {
            comment: Some("not today".into()),
        };
        self.test.fleet.approvals().reject(context, id, &comment).await
    }

    pub(super) async fn set(&self, name: &str, value: serde_json::Value) {
        let settings = self.test.fleet.settings();
        settings.set(&self.test.admin(), name, &value, None).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_begins_before_somebody_else_agrees() {
    let work = Work::new().await;
    let (batch, approval) = work.asked(1).await;
    assert_eq!(work.states_of(batch).await, ["awaiting_approval 1"]);
    assert!(work.pending(1).await.offers.is_empty());
    work.advance(60);
    let audited = work.test.actions().await.len();
    let agreed = work.approve(&user(&work, 2, Role::Operator), approval).await.unwrap();
    assert_eq!(
        (agreed.standing, agreed.decisions.len()),
        (ApprovalStanding::Approved, 1)
    );
    assert_eq!(work.test.actions().await[audited..], ["approval.approve"]);
    let run = work.only_run_of(batch).await;
    assert_eq!(
        work.moves(run.id).await,
        ["awaiting_approval>scheduled", "scheduled>queued"]
    );
    assert_eq!(run.expires_at, work.now().plus(HOUR), "its device has all of its time");
    assert_eq!(work.pending(1).await.offers.len(), 1);
}

#[tokio::test]
async fn whoever_asked_cannot_agree_whichever_way_they_come() {
    let work = Work::new().await;
    let (by_session, by_key) = (user(&work, 1, Role::Admin), key_of(&work, 1));
    for (asked, agrees) in [
        (&by_session, &by_session),
        (&by_session, &by_key),
        (&by_key, &by_session),
        (&by_key, &by_key),
    ] {
        let (_, approval) = work.asked_by(asked, Some(1)).await;
        fails(work.approve(agrees, approval.unwrap()).await, APPROVAL_OWN);
    }
    let (_, approval) = work.asked(1).await;
    fails(
        work.approve(&Context::system("robot"), approval).await,
        APPROVAL_NOT_A_PERSON,
    );
    let viewer = user(&work, 3, Role::Viewer);
    fails(work.approve(&viewer, approval).await, crate::access::DENIED);
    let stranger = ApprovalId::new(work.now(), &crate::kernel::SeededRandom::new(4));
    fails(work.approve(&by_session, stranger).await, APPROVAL_NOT_FOUND);
}

#[tokio::test]
async fn as_many_different_people_agree_as_were_asked_for() {
    let work = Work::new().await;
    let (batch, approval) = work.asked(2).await;
    let second = user(&work, 2, Role::Operator);
    let open = work.approve(&second, approval).await.unwrap();
    assert_eq!((open.standing, open.needed), (ApprovalStanding::Open, 2));
    assert_eq!(work.states_of(batch).await, ["awaiting_approval 1"]);
    fails(work.approve(&second, approval).await, APPROVAL_REPEATED);
    fails(work.approve(&key_of(&work, 2), approval).await, APPROVAL_REPEATED);
    work.approve(&user(&work, 3, Role::Operator), approval).await.unwrap();
    assert_eq!(work.states_of(batch).await, ["queued 1"]);
    fails(
        work.approve(&user(&work, 4, Role::Operator), approval).await,
        APPROVAL_CLOSED,
    );
}

#[tokio::test]
async fn one_refusal_stops_it() {
    let work = Work::new().await;
    let (batch, approval) = work.asked(3).await;
    let second = user(&work, 2, Role::Operator);
    work.approve(&second, approval).await.unwrap();
    // Who changes their mind is heard.
    let refused = work.reject(&second, approval).await.unwrap();
    assert_eq!(
        (refused.standing, refused.decisions.len()),
        (ApprovalStanding::Rejected, 1)
    );
    assert_eq!(work.states_of(batch).await, ["cancelled 1"]);
    fails(
        work.approve(&user(&work, 3, Role::Operator), approval).await,
        APPROVAL_CLOSED,
    );
    let (batch, approval) = work.asked(1).await;
    // Whoever asked may take it back.
    work.reject(&user(&work, 1, Role::Operator), approval).await.unwrap();
    assert_eq!(work.states_of(batch).await, ["cancelled 1"]);
}

#[tokio::test]
async fn what_nobody_agrees_to_in_time_expires() {
    let work = Work::new().await;
    work.set("work.approval_seconds", json!(600)).await;
    let (batch, approval) = work.asked(1).await;
    work.advance(601);
    fails(
        work.approve(&user(&work, 2, Role::Operator), approval).await,
        APPROVAL_CLOSED,
    );
    work.sweep().await;
    assert_eq!(work.states_of(batch).await, ["expired 1"]);
    let shown = work
        .test
        .fleet
        .approvals()
        .show(&work.test.admin(), approval)
        .await
        .unwrap();
    assert_eq!(shown.standing, ApprovalStanding::Expired);
}

#[tokio::test]
async fn work_that_was_stopped_cannot_be_agreed_to() {
    let work = Work::new().await;
    let (batch, approval) = work.asked(1).await;
    work.test
        .fleet
        .batches()
        .cancel(&work.test.admin(), batch)
        .await
        .unwrap();
    fails(
        work.approve(&user(&work, 2, Role::Operator), approval).await,
        APPROVAL_CLOSED,
    );
}

#[tokio::test]
async fn what_is_agreed_to_waits_for_its_time() {
    let work = Work::new().await;
    let asks = user(&work, 1, Role::Operator);
    let request = BatchRequest {
        approvals: Some(1),
        start_at: Some(work.now().plus(HOUR)),
        ..work.request("reboot")
    };
    let batch = work.test.fleet.batches().create(&asks, &request, None).await.unwrap();
    work.advance(60);
    let agrees = user(&work, 2, Role::Operator);
    work.approve(&agrees, batch.approval.unwrap()).await.unwrap();
    assert!(work.pending(1).await.offers.is_empty());
    work.advance(3_540);
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, ["queued 1"]);
}

#[tokio::test]
async fn what_is_agreed_to_in_time_may_begin_long_after_nobody_could_agree_any_more() {
    let work = Work::new().await;
    work.set("work.approval_seconds", json!(600)).await;
    let asks = user(&work, 1, Role::Operator);
    let request = BatchRequest {
        approvals: Some(1),
        start_at: Some(work.now().plus(HOUR)),
        ..work.request("reboot")
    };
    let batch = work.test.fleet.batches().create(&asks, &request, None).await.unwrap();
    work.advance(60);
    let agrees = user(&work, 2, Role::Operator);
    work.approve(&agrees, batch.approval.unwrap()).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, ["scheduled 1"]);
    work.advance(1_800);
    release_due(work.test.fleet.clone()).await.unwrap();
    work.sweep().await;
    assert_eq!(work.states_of(batch.id).await, ["scheduled 1"]);
    work.advance(1_740);
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, ["queued 1"]);
}

#[tokio::test]
async fn runs_of_many_devices_begin_with_the_agreement() {
    let work = Work::new().await;
    let devices = work.test.devices(1_100).await;
    let request = BatchRequest {
        targets: Targets::devices(devices),
        approvals: Some(1),
        confirm_devices: Some(1_100),
        ..work.request("reboot")
    };
    let asks = user(&work, 1, Role::Operator);
    let batch = work.test.fleet.batches().create(&asks, &request, None).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, ["awaiting_approval 1100"]);
    let agrees = user(&work, 2, Role::Operator);
    work.approve(&agrees, batch.approval.unwrap()).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, ["queued 1100"]);
}

#[tokio::test]
async fn settings_ask_for_approval_whatever_was_asked_for() {
    let work = Work::new().await;
    let asks = user(&work, 1, Role::Admin);
    let refresh = BatchRequest {
        operation: "inventory.refresh".into(),
        params: json!({}).into(),
        ..work.request("")
    };
    for (approvals_for, of_shell, of_refresh) in [
        ("nothing", false, false),
        ("risky", true, false),
        ("everything", true, true),
    ] {
        work.set(APPROVALS_FOR.name(), json!(approvals_for)).await;
        let (_, approval) = work.asked_by(&asks, None).await;
        assert_eq!(approval.is_some(), of_shell, "{approvals_for}");
        let batch = work.test.fleet.batches().create(&asks, &refresh, None).await.unwrap();
        assert_eq!(batch.approval.is_some(), of_refresh, "{approvals_for}");
    }
    work.set(APPROVALS_NEEDED.name(), json!(2)).await;
    let (_, approval) = work.asked_by(&asks, Some(1)).await;
    let shown = work
        .test
        .fleet
        .approvals()
        .show(&asks, approval.unwrap())
        .await
        .unwrap();
    assert_eq!(shown.needed, 2);
}

#[tokio::test]
async fn the_list_of_what_is_open_ends_with_what_expires_last() {
    let work = Work::new().await;
    let (_, first) = work.asked(1).await;
    work.advance(10);
    let (_, second) = work.asked(1).await;
    work.advance(10);
    let (_, decided) = work.asked(1).await;
    work.approve(&user(&work, 2, Role::Operator), decided).await.unwrap();
    let list = async |open| {
        let approvals = work.test.fleet.approvals();
        let filter = ApprovalFilter { open };
        let page = approvals
            .list(&work.test.admin(), &filter, &PageRequest::default())
            .await
            .unwrap();
        page.items.iter().map(|approval| approval.id).collect::<Vec<_>>()
    };
    assert_eq!(list(true).await, [first, second]);
    assert_eq!(list(false).await, [decided, second, first]);
}
