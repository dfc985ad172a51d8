//! PINs: one machine, ten minutes, ten wrong tries.

use super::*;
use crate::kernel::Result;

async fn pin(test: &TestFleet) -> Pin {
    let new = NewEnrolmentPin::default();
    test.fleet.enrolment().create_pin(&test.admin(), &new).await.unwrap().1
}

async fn redeem(test: &TestFleet, pin: &str) -> Result<EnrolmentSecret> {
    test.fleet.enrolment().redeem_pin(pin, Origin::default()).await
}

/// A PIN that is none of these.
fn other(pins: &[&Pin], n: u32) -> String {
    let wrong = (n..).map(|n| format!("{n:06}"));
    wrong
        .into_iter()
        .find(|wrong| pins.iter().all(|pin| pin.reveal() != wrong))
        .unwrap()
}

#[tokio::test]
async fn a_pin_is_worth_one_machine() {
    let test = TestFleet::new().await;
    let pin = pin(&test).await;
    let typed = format!(" {}-{} ", &pin.reveal()[..3], &pin.reveal()[3..]);
    let secret = redeem(&test, &typed).await.unwrap();
    fails(redeem(&test, pin.reveal()).await, PIN_WRONG);
    test.enrol_as(&secret, &test.key(), "cellar", None).await.unwrap();
    fails(test.enrol_as(&secret, &test.key(), "attic", None).await, TOKEN_USED);
    let actions = test.actions().await;
    for action in ["enrolment_token.create", "enrolment_pin.redeem", "device.enrolled"] {
        assert!(actions.iter().any(|known| known == action), "{action}");
    }
}

#[tokio::test]
async fn a_pin_lives_for_ten_minutes_and_its_token_no_longer() {
    let test = TestFleet::new().await;
    let (early, late) = (pin(&test).await, pin(&test).await);
    test.advance(599);
    let secret = redeem(&test, early.reveal()).await.unwrap();
    test.advance(1);
    fails(redeem(&test, late.reveal()).await, PIN_WRONG);
    fails(test.enrol_as(&secret, &test.key(), "x", None).await, TOKEN_EXPIRED);
}

#[tokio::test]
async fn after_ten_wrong_tries_the_right_one_is_wrong_too() {
    let test = TestFleet::new().await;
    let (one, two) = (pin(&test).await, pin(&test).await);
    for n in 0..9 {
        fails(redeem(&test, &other(&[&one, &two], n * 10)).await, PIN_WRONG);
    }
    redeem(&test, one.reveal()).await.unwrap();
    fails(redeem(&test, &other(&[&one, &two], 500)).await, PIN_WRONG);
    fails(redeem(&test, two.reveal()).await, PIN_WRONG);
    // A new one is not burdened with the past, and guessing at nothing costs nothing.
    let seq = test.seq().await;
    fails(redeem(&test, &other(&[], 1)).await, PIN_WRONG);
    assert_eq!(test.seq().await, seq);
    redeem(&test, pin(&test).await.reveal()).await.unwrap();
}

#[tokio::test]
async fn wrong_tries_are_in_the_audit_without_what_was_typed() {
    let test = TestFleet::new().await;
    let made = pin(&test).await;
    test.advance(1);
    let wrong = other(&[&made], 654_321);
    fails(redeem(&test, &wrong).await, PIN_WRONG);
    let entry = test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.outcome),
        ("enrolment.refused", Outcome::Refused)
    );
    assert_eq!(entry.details["wrong_tries"], 1);
    assert!(!serde_json::to_string(&entry.details).unwrap().contains(&wrong));
    for text in ["", "12345", "1234567", "12345a", "١٢٣٤٥٦", &"1".repeat(1_000)] {
        let seq = test.seq().await;
        fails(redeem(&test, text).await, PIN_WRONG);
        assert_eq!(test.seq().await, seq, "{text} is no guess");
    }
}

#[tokio::test]
async fn five_pins_can_be_used_at_once() {
    let test = TestFleet::new().await;
    let mut pins = Vec::new();
    for _ in 0..5 {
        pins.push(pin(&test).await);
        test.advance(10);
    }
    let sixth = async || {
        test.fleet
            .enrolment()
            .create_pin(&test.admin(), &NewEnrolmentPin::default())
            .await
    };
    let refused = sixth().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.retry_after_seconds()),
        (PINS_ALL_TAKEN, Some(551))
    );
    redeem(&test, pins[2].reveal()).await.unwrap();
    sixth().await.unwrap();
    test.advance(600);
    sixth().await.unwrap();
}

#[tokio::test]
async fn a_pin_keeps_to_its_networks_and_ends_with_its_token() {
    let test = TestFleet::new().await;
    let new = NewEnrolmentPin {
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        ..NewEnrolmentPin::default()
    };
    let (token, pin) = test.fleet.enrolment().create_pin(&test.admin(), &new).await.unwrap();
    fails(redeem(&test, pin.reveal()).await, ADDRESS_REFUSED);
    test.fleet
        .enrolment()
        .revoke_token(&test.admin(), token.id)
        .await
        .unwrap();
    fails(redeem(&test, pin.reveal()).await, TOKEN_REVOKED);
    fails(
        test.fleet
            .enrolment()
            .create_pin(&test.role(Role::Viewer), &new)
            .await
            .map(drop),
        DENIED,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_with_the_same_pin_one_wins() {
    let test = TestFleet::new().await;
    let pin = pin(&test).await;
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let (fleet, pin) = (test.fleet.clone(), pin.clone());
            tokio::spawn(async move { fleet.enrolment().redeem_pin(pin.reveal(), Origin::default()).await })
        })
        .collect();
    let mut won = 0;
    for task in racing {
        won += u32::from(task.await.unwrap().is_ok());
    }
    assert_eq!(won, 1);
}
