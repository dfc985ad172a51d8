//! Devices that wait for an operator, and machines that come back.

use super::*;
use crate::{
    devices::{
        DeviceId, DeviceView, KNOWN_MACHINE, KnownMachine, Presence,
        device::{Approval, ApproveAs, DEVICE_NOT_PENDING, DEVICE_PENDING, DeviceFilter, DeviceOrder, Pending},
    },
    kernel::{Result, SigningKey},
    protocol::{Standing, StandingRequest},
    work::batch::{BatchRequest, Targets},
};

const KNOWN: Approval = Approval {
    approve_as: ApproveAs::Known,
};

async fn show(test: &TestFleet, id: DeviceId) -> DeviceView {
    test.fleet.devices().show(&test.admin(), id).await.unwrap()
}

/// How a device stands, as its agent would be told.
async fn standing(test: &TestFleet, device: DeviceId, key: &SigningKey) -> (Standing, DeviceId) {
    let request = StandingRequest::sign(device, key, "nonce".into());
    let answer = test.fleet.link().standing(&request).await.unwrap();
    assert!(answer.verify(&test.fleet.keys().identity().public(), &request));
    (answer.body.standing, answer.body.device)
}

async fn waiting(test: &TestFleet) -> (DeviceId, SigningKey, EnrolmentSecret) {
    let secret = test
        .token(NewEnrolmentToken {
            approval: Some(true),
            ..uses(9)
        })
        .await;
    let key = test.key();
    let enrolled = test.enrol_as(&secret, &key, "new", Some("m1")).await.unwrap();
    assert!(enrolled.pending);
    (enrolled.device_id, key, secret)
}

async fn set(test: &TestFleet, name: &str, value: serde_json::Value) {
    test.fleet
        .settings()
        .set(&test.admin(), name, &value, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_device_that_waits_is_shown_and_can_do_nothing() {
    let test = TestFleet::new().await;
    let (id, key, secret) = waiting(&test).await;
    let view = show(&test, id).await;
    assert_eq!(
        (view.pending, view.summary.presence),
        (Some(Pending::New), Presence::Pending)
    );
    let filter = DeviceFilter {
        presence: Some(Presence::Pending),
        ..DeviceFilter::default()
    };
    let page = PageRequest::default();
    let found = test
        .fleet
        .devices()
        .list(&test.admin(), &filter, DeviceOrder::default(), &page)
        .await;
    assert_eq!(found.unwrap().items.len(), 1);
    let counts = test.fleet.devices().counts(&test.admin()).await.unwrap();
    assert_eq!((counts.devices, counts.pending, counts.never), (1, 1, 0));
    let refused = test.fleet.devices().of_agent(id).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.retry_after_seconds()),
        (DEVICE_PENDING, Some(20))
    );
    let request = BatchRequest {
        targets: Targets::devices(vec![id]),
        ..batch()
    };
    fails(
        test.fleet.batches().create(&test.admin(), &request, None).await,
        DEVICE_PENDING,
    );
    assert_eq!(standing(&test, id, &key).await, (Standing::Pending, id));
    let again = test.enrol_as(&secret, &key, "new", Some("m1")).await.unwrap();
    assert_eq!((again.device_id, again.known, again.pending), (id, true, true));
}

fn batch() -> BatchRequest {
    serde_json::from_value(serde_json::json!({
        "operation": "shell", "params": {"script": "true"}, "targets": {"devices": []}
    }))
    .unwrap()
}

#[tokio::test]
async fn an_approved_device_is_one_like_all_others() {
    let test = TestFleet::new().await;
    let (id, key, _) = waiting(&test).await;
    test.advance(1);
    let view = test
        .fleet
        .devices()
        .approve(&test.admin(), id, Approval::default())
        .await
        .unwrap();
    assert_eq!((view.pending, view.summary.presence), (None, Presence::Never));
    assert_eq!(view.machine_id.as_deref(), Some("m1"));
    assert!(test.fleet.devices().of_agent(id).await.is_ok());
    assert_eq!(standing(&test, id, &key).await, (Standing::Admitted, id));
    let entry = test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.subject.unwrap().id),
        ("device.approve", id.uuid())
    );
    let again = test
        .fleet
        .devices()
        .approve(&test.admin(), id, Approval::default())
        .await;
    fails(again, DEVICE_NOT_PENDING);
    fails(test.fleet.devices().reject(&test.admin(), id).await, DEVICE_NOT_PENDING);
}

#[tokio::test]
async fn a_rejected_device_is_told_so_and_nobody_else_is() {
    let test = TestFleet::new().await;
    let (id, key, _) = waiting(&test).await;
    test.fleet.devices().reject(&test.admin(), id).await.unwrap();
    assert_eq!(devices(&test).await, 0);
    assert_eq!(standing(&test, id, &key).await.0, Standing::Rejected);
    assert_eq!(standing(&test, id, &test.key()).await.0, Standing::Unknown);
    assert!(test.actions().await.contains(&"device.reject".to_owned()));
}

#[tokio::test]
async fn the_setting_decides_where_the_token_does_not() {
    let test = TestFleet::new().await;
    let approval = |approval| NewEnrolmentToken { approval, ..uses(1) };
    let enrolled = async |new| {
        let secret = test.token(new).await;
        test.enrol_as(&secret, &test.key(), "x", None).await.unwrap().pending
    };
    assert!(!enrolled(approval(None)).await);
    set(&test, "devices.approval_required", true.into()).await;
    assert!(enrolled(approval(None)).await);
    assert!(!enrolled(approval(Some(false))).await);
    assert!(enrolled(approval(Some(true))).await);
}

#[tokio::test]
async fn who_may_not_write_devices_lets_nobody_in() {
    let test = TestFleet::new().await;
    let (id, _, _) = waiting(&test).await;
    let viewer = test.role(Role::Viewer);
    fails(
        test.fleet.devices().approve(&viewer, id, Approval::default()).await,
        DENIED,
    );
    fails(test.fleet.devices().reject(&viewer, id).await, DENIED);
}

/// A device with labels, and a machine that names its machine id with another key.
async fn claim(test: &TestFleet) -> (DeviceId, SigningKey, Enrolled, SigningKey) {
    let secret = test.token(uses(9)).await;
    let (old, new) = (test.key(), test.key());
    let known = test.enrol_as(&secret, &old, "web", Some("m1")).await.unwrap().device_id;
    let labels = [("kept".to_owned(), String::new())].into();
    test.fleet
        .devices()
        .set_labels(&test.admin(), &[known], &labels)
        .await
        .unwrap();
    test.advance(1);
    let claimant = test.enrol_as(&secret, &new, "claimant", Some("m1")).await.unwrap();
    (known, old, claimant, new)
}

#[tokio::test]
async fn a_machine_id_alone_makes_nobody_a_known_device() {
    let test = TestFleet::new().await;
    let (known, old, claimant, _) = claim(&test).await;
    assert!(claimant.pending && claimant.device_id != known);
    let view = show(&test, claimant.device_id).await;
    assert_eq!(
        (view.pending, view.duplicate_of),
        (Some(Pending::Duplicate), Some(known))
    );
    assert_eq!(
        (view.machine_id.as_deref(), view.claimed_machine_id.as_deref()),
        (None, Some("m1"))
    );
    assert_eq!(show(&test, known).await.public_key, old.public());
    let entry = test.audit().await.remove(0);
    assert_eq!(entry.details["duplicate_of"], known.to_string());
}

#[tokio::test]
async fn a_reinstalled_machine_is_let_in_as_the_device_that_it_was() {
    let test = TestFleet::new().await;
    let (known, old, claimant, new) = claim(&test).await;
    let view = test
        .fleet
        .devices()
        .approve(&test.admin(), claimant.device_id, KNOWN)
        .await
        .unwrap();
    assert_eq!((view.summary.id, view.public_key), (known, new.public()));
    assert_eq!(view.summary.labels.keys().collect::<Vec<_>>(), ["kept"]);
    assert_eq!((devices(&test).await, view.pending, view.duplicate_of), (1, None, None));
    assert_eq!(
        standing(&test, claimant.device_id, &new).await,
        (Standing::Admitted, known)
    );
    assert_eq!(standing(&test, known, &old).await.0, Standing::Replaced);
}

#[tokio::test]
async fn a_copy_is_let_in_as_a_device_of_its_own_and_stays_marked() {
    let test = TestFleet::new().await;
    let (known, _, claimant, _) = claim(&test).await;
    let approved = test
        .fleet
        .devices()
        .approve(&test.admin(), claimant.device_id, Approval::default())
        .await;
    let view = approved.unwrap();
    assert_eq!(
        (view.pending, view.duplicate_of, view.machine_id),
        (None, Some(known), None)
    );
    // A device that is not held as a duplicate is nobody else.
    let (other, _, _) = waiting(&TestFleet::new().await).await;
    assert!(test.fleet.devices().approve(&test.admin(), other, KNOWN).await.is_err());
}

#[tokio::test]
async fn a_copy_whose_original_is_gone_has_the_machine_id_to_itself() {
    let test = TestFleet::new().await;
    let (known, _, claimant, _) = claim(&test).await;
    test.fleet.devices().delete(&test.admin(), known, None).await.unwrap();
    fails(
        test.fleet
            .devices()
            .approve(&test.admin(), claimant.device_id, KNOWN)
            .await,
        INVALID,
    );
    let approved = test
        .fleet
        .devices()
        .approve(&test.admin(), claimant.device_id, Approval::default())
        .await;
    let view = approved.unwrap();
    assert_eq!((view.machine_id.as_deref(), view.duplicate_of), (Some("m1"), None));
}

#[tokio::test]
async fn the_setting_says_what_becomes_of_a_known_machine_with_a_new_key() {
    for (rule, pending, replaced) in [
        ("hold", true, false),
        ("replace", false, true),
        ("separate", false, false),
    ] {
        let test = TestFleet::new().await;
        set(&test, KNOWN_MACHINE.name(), rule.into()).await;
        let (known, _, claimant, new) = claim(&test).await;
        assert_eq!(
            (claimant.pending, claimant.device_id == known),
            (pending, replaced),
            "{rule}"
        );
        let view = show(&test, claimant.device_id).await;
        assert_eq!(view.duplicate_of, (!replaced).then_some(known), "{rule}");
        assert_eq!(view.public_key, new.public());
        let action = if replaced { "device.rekeyed" } else { "device.enrolled" };
        assert_eq!(test.audit().await[0].action, action);
    }
    assert_eq!(KNOWN_MACHINE.default_value(), KnownMachine::Hold);
}

async fn enrol_again(
    test: &TestFleet,
    former: (DeviceId, &SigningKey),
    machine_id: Option<&str>,
    new: &SigningKey,
) -> Result<Enrolled> {
    let secret = test.token(uses(1)).await;
    let machine = Machine {
        hostname: "again".into(),
        machine_id: machine_id.map(str::to_owned),
        agent_version: "2".into(),
    };
    let request = EnrolRequest::prove(secret, new, [3; 32], machine).as_before(former.0, former.1);
    test.fleet.enrolment().enrol(&request, Origin::default()).await
}

#[tokio::test]
async fn a_machine_that_still_has_its_key_stays_the_device_that_it_was() {
    let test = TestFleet::new().await;
    for machine_id in [Some("m1"), None] {
        let (old, new) = (test.key(), test.key());
        let secret = test.token(uses(1)).await;
        let known = test.enrol_as(&secret, &old, "web", machine_id).await.unwrap().device_id;
        test.advance(1);
        let again = enrol_again(&test, (known, &old), machine_id, &new).await.unwrap();
        assert_eq!((again.device_id, again.known, again.pending), (known, true, false));
        let view = show(&test, known).await;
        assert_eq!((view.public_key, view.summary.name.as_str()), (new.public(), "web"));
        assert_eq!(test.audit().await[0].action, "device.rekeyed");
        test.fleet.devices().delete(&test.admin(), known, None).await.unwrap();
    }
}

#[tokio::test]
async fn another_key_is_no_proof_of_having_been_a_device() {
    let test = TestFleet::new().await;
    let (old, secret) = (test.key(), test.token(uses(9)).await);
    let known = test.enrol_as(&secret, &old, "web", Some("m1")).await.unwrap().device_id;
    let forged = enrol_again(&test, (known, &test.key()), Some("m1"), &test.key()).await;
    fails(forged, PROOF_INVALID);
    // A copied disk has the key, but another machine id.
    let copy = enrol_again(&test, (known, &old), Some("m2"), &test.key())
        .await
        .unwrap();
    assert_ne!(copy.device_id, known);
    // A device that is gone is nobody's past.
    test.fleet.devices().delete(&test.admin(), known, None).await.unwrap();
    let fresh = enrol_again(&test, (known, &old), Some("m1"), &test.key())
        .await
        .unwrap();
    assert!(fresh.device_id != known && !fresh.known);
}

#[tokio::test]
async fn a_device_whose_key_was_revoked_comes_back_by_its_machine_id_with_a_new_key_only() {
    let test = TestFleet::new().await;
    let (old, secret) = (test.key(), test.token(uses(9)).await);
    let known = test.enrol_as(&secret, &old, "web", Some("m1")).await.unwrap().device_id;
    test.fleet.devices().revoke(&test.admin(), known).await.unwrap();
    fails(
        test.enrol_as(&secret, &old, "web", Some("m1")).await,
        crate::devices::device::DEVICE_REVOKED,
    );
    // The revoked key proves nothing; that nobody else has the machine id does.
    let again = enrol_again(&test, (known, &old), Some("m1"), &test.key())
        .await
        .unwrap();
    assert_eq!((again.device_id, again.pending), (known, false));
    assert_eq!(show(&test, known).await.revoked_at, None);
}

#[tokio::test]
async fn a_deleted_device_is_told_so() {
    let test = TestFleet::new().await;
    let (key, secret) = (test.key(), test.token(uses(1)).await);
    let id = test.enrol_as(&secret, &key, "web", None).await.unwrap().device_id;
    assert_eq!(standing(&test, id, &key).await.0, Standing::Admitted);
    test.fleet.devices().revoke(&test.admin(), id).await.unwrap();
    assert_eq!(standing(&test, id, &key).await.0, Standing::KeptOut);
    test.fleet.devices().delete(&test.admin(), id, None).await.unwrap();
    assert_eq!(standing(&test, id, &key).await.0, Standing::Deleted);
    let never = DeviceId::new(test.clock_now(), &*test.random);
    assert_eq!(standing(&test, never, &key).await.0, Standing::Unknown);
}
