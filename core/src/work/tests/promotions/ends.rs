//! Dry runs after which nothing is done for real, and whose secrets and questions go with them.

use super::*;
use crate::{
    store::Query,
    work::{
        Run,
        approvals::APPROVAL_CLOSED,
        promotions::NOTHING_TO_PROMOTE,
        secrets::{OperationSecret, UNREFERENCED_LIFE},
    },
};

#[tokio::test]
async fn where_nothing_would_change_nobody_is_asked() {
    for looks in [[Unchanged, Unchanged], [Fails, NotConcerned], [Unknown, Fails]] {
        let looking = Looking::new(2).await.looked(&looks).await;
        assert_eq!(looking.promotion().await.approval, None);
        looking.check_ended(PromotionStanding::NothingToPromote).await;
    }
}

#[tokio::test]
async fn who_refuses_ends_it_and_who_asked_may_take_it_back() {
    for number in [1, 2] {
        let looking = Looking::new(1).await.looked(&[WouldChange]).await;
        let approval = looking.approval().await.id;
        let refuses = user(&looking.work, number, Role::Operator);
        looking.work.reject(&refuses, approval).await.unwrap();
        assert_eq!(looking.approval().await.standing, ApprovalStanding::Rejected);
        looking.check_ended(PromotionStanding::Rejected).await;
        fails(looking.approve(&agrees(&looking.work)).await, APPROVAL_CLOSED);
    }
}

#[tokio::test]
async fn what_nobody_decides_in_time_expires_for_good() {
    let looking = Looking::new(1).await.looked(&[WouldChange]).await;
    looking.tick(86_399).await;
    assert_eq!(looking.promotion().await.standing, PromotionStanding::AwaitingApproval);
    looking.tick(1).await;
    looking.check_ended(PromotionStanding::Expired).await;
    // Whoever sets the clock back brings nothing back.
    looking.work.test.set_back(86_400 * 32);
    fails(looking.approve(&agrees(&looking.work)).await, APPROVAL_CLOSED);
}

#[tokio::test]
async fn what_is_stopped_while_it_looks_is_not_done_for_real() {
    let looking = Looking::new(2).await;
    looking.end(0, WouldChange).await;
    let batches = looking.work.test.fleet.batches();
    batches.cancel(&asks(&looking.work), looking.batch.id).await.unwrap();
    looking.check_ended(PromotionStanding::Stopped).await;
}

#[tokio::test]
async fn what_is_stopped_before_anybody_decides_cannot_be_agreed_to() {
    let looking = Looking::new(1).await.looked(&[WouldChange]).await;
    let batches = looking.work.test.fleet.batches();
    batches.cancel(&asks(&looking.work), looking.batch.id).await.unwrap();
    assert_eq!(looking.approval().await.standing, ApprovalStanding::Stopped);
    looking.check_ended(PromotionStanding::Stopped).await;
    fails(looking.approve(&agrees(&looking.work)).await, APPROVAL_CLOSED);
}

#[tokio::test]
async fn what_was_agreed_to_is_stopped_by_itself() {
    let looking = Looking::new(1).await.looked(&[WouldChange]).await;
    looking.approve(&agrees(&looking.work)).await.unwrap();
    let (batches, asks) = (looking.work.test.fleet.batches(), asks(&looking.work));
    let dry = batches.cancel(&asks, looking.batch.id).await.unwrap();
    assert_eq!(dry.cancelled_at, None, "it has ended");
    assert_eq!(dry.promotion.unwrap().standing, PromotionStanding::Promoted);
    let real = looking.real().await.id;
    batches.cancel(&asks, real).await.unwrap();
    assert_eq!(looking.work.states_of(real).await, ["cancelled 1"]);
}

#[tokio::test]
async fn devices_that_are_gone_are_left_out() {
    let looking = Looking::new(2).await.looked(&[WouldChange, WouldChange]).await;
    let (fleet, admin) = (&looking.work.test.fleet, looking.work.test.admin());
    fleet.devices().delete(&admin, looking.devices[0], None).await.unwrap();
    looking.approve(&agrees(&looking.work)).await.unwrap();
    assert_eq!(looking.real().await.runs, 1);

    let looking = Looking::new(1).await.looked(&[WouldChange]).await;
    let (fleet, admin) = (&looking.work.test.fleet, looking.work.test.admin());
    fleet.devices().delete(&admin, looking.devices[0], None).await.unwrap();
    fails(looking.approve(&agrees(&looking.work)).await, NOTHING_TO_PROMOTE);
    looking.tick(86_400).await;
    looking.check_ended(PromotionStanding::Expired).await;
}

/// A script with a secret, which looks first.
async fn secretly() -> Looking {
    Looking::with(1, |request, _| {
        request.operation = "shell".into();
        let params = json!({"script": "deploy", "check_script": "deployed", "secret_env": {"TOKEN": "s3cret-value"}});
        request.params = params.into();
    })
    .await
}

/// How many secrets are there after some weeks, each looked after as often as it takes.
async fn secrets_after_weeks(looking: &Looking) -> usize {
    for _ in 0..3 {
        looking.work.advance(UNREFERENCED_LIFE.as_secs());
        looking.work.clean().await;
    }
    let mut reader = looking.work.test.fleet.store().reader().await.unwrap();
    let query = Query::<OperationSecret>::all();
    reader.list(&query, &PageRequest::default()).await.unwrap().items.len()
}

#[tokio::test]
async fn secrets_stay_until_it_can_no_longer_be_done_for_real() {
    let looking = secretly().await;
    looking.work.set("work.approval_seconds", json!(30 * 86_400)).await;
    looking.end(0, WouldChange).await;
    // Nobody has looked yet whether it has ended.
    assert_eq!(secrets_after_weeks(&looking).await, 1);
    looking.tick(0).await;
    assert_eq!(secrets_after_weeks(&looking).await, 1);
    assert_eq!(looking.approval().await.params["secret_env"]["TOKEN"], "********");
    looking.approve(&agrees(&looking.work)).await.unwrap();
    let real = looking.real().await.id;
    let delivery = looking.work.test.fleet.delivery();
    let pending = delivery
        .pending(looking.devices[0], 2, &looking.work.dispatch)
        .await
        .unwrap();
    assert_eq!(pending.offers[0].body.params["secret_env"]["TOKEN"], "s3cret-value");
    assert_eq!(pending.offers[0].body.params.get("dry_run"), None);
    let stored: Run = {
        let run = looking.work.only_run_of(real).await.id;
        looking.work.test.fleet.store().get(run).await.unwrap().unwrap().value
    };
    assert_eq!(stored.params.secret_ids().len(), 1);
    assert!(!looking.work.all_that_is_stored().await.contains("s3cret-value"));
}

#[tokio::test]
async fn secrets_go_with_what_is_not_done() {
    let looking = secretly().await.looked(&[Unchanged]).await;
    assert_eq!(secrets_after_weeks(&looking).await, 0);
    let looking = secretly().await.looked(&[WouldChange]).await;
    looking
        .work
        .reject(&agrees(&looking.work), looking.approval().await.id)
        .await
        .unwrap();
    assert_eq!(secrets_after_weeks(&looking).await, 0);
    let looking = secretly().await.looked(&[WouldChange]).await;
    looking.tick(86_400).await;
    assert_eq!(secrets_after_weeks(&looking).await, 0);
}
