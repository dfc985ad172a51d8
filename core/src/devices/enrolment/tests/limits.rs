//! Quotas, addresses, and floods of refusals.

use super::*;

async fn from(test: &TestFleet, secret: &EnrolmentSecret, address: Option<&str>) -> crate::kernel::Result<Enrolled> {
    let request = EnrolRequest::prove(secret.clone(), &test.key(), [9; 32], Machine::default());
    let origin = Origin {
        address: address.map(str::to_owned),
        request_id: None,
    };
    test.fleet.enrolment().enrol(&request, origin).await
}

#[tokio::test]
async fn a_daily_quota_begins_anew_at_midnight_utc() {
    let test = TestFleet::new().await;
    // The clock stands at 08:00 UTC.
    let (token, secret) = test
        .fleet
        .enrolment()
        .create_token(
            &test.admin(),
            &NewEnrolmentToken {
                daily_uses: Some(2),
                expires_in_seconds: 30 * 86_400,
                ..uses(5)
            },
        )
        .await
        .unwrap();
    let enrolled = async || test.enrol_as(&secret, &test.key(), "x", None).await;
    enrolled().await.unwrap();
    enrolled().await.unwrap();
    let refused = enrolled().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.retry_after_seconds()),
        (QUOTA_REACHED, Some(16 * 3_600))
    );
    test.advance(16 * 3_600 - 1);
    fails(enrolled().await, QUOTA_REACHED);
    test.advance(1);
    let shown = async || test.fleet.enrolment().token(&test.admin(), token.id).await.unwrap();
    assert_eq!((shown().await.uses_today, shown().await.uses), (0, 2));
    enrolled().await.unwrap();
    assert_eq!((shown().await.uses_today, shown().await.uses), (1, 3));
    enrolled().await.unwrap();
    test.advance(86_400);
    enrolled().await.unwrap();
    test.advance(86_400);
    fails(enrolled().await, TOKEN_USED);
}

#[tokio::test]
async fn a_repeat_costs_no_quota() {
    let test = TestFleet::new().await;
    let secret = test
        .token(NewEnrolmentToken {
            daily_uses: Some(1),
            ..uses(5)
        })
        .await;
    let key = test.key();
    let first = test.enrol_as(&secret, &key, "x", None).await.unwrap();
    let again = test.enrol_as(&secret, &key, "x", None).await.unwrap();
    assert_eq!((again.device_id, again.known), (first.device_id, true));
}

#[tokio::test]
async fn a_token_with_networks_enrols_from_nowhere_else() {
    let test = TestFleet::new().await;
    let secret = test
        .token(NewEnrolmentToken {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            ..uses(9)
        })
        .await;
    for address in ["10.200.1.2", "::ffff:10.0.0.1", "2001:db8::7"] {
        from(&test, &secret, Some(address)).await.unwrap();
    }
    for address in [
        Some("11.0.0.1"),
        Some("2001:db8::8"),
        Some("10.0.0.1.example.org"),
        Some(""),
        None,
    ] {
        fails(from(&test, &secret, address).await, ADDRESS_REFUSED);
    }
    let entry = test
        .audit()
        .await
        .into_iter()
        .find(|entry| entry.origin.address.as_deref() == Some("11.0.0.1"));
    assert_eq!(entry.unwrap().details["reason"], "enrolment.address_refused");
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_fill_the_audit_and_hides_no_other_refusal() {
    let test = TestFleet::new().await;
    let used = test.token(uses(1)).await;
    test.enrol_as(&used, &test.key(), "x", None).await.unwrap();
    let refusals = async || {
        test.actions()
            .await
            .iter()
            .filter(|name| *name == "enrolment.refused")
            .count()
    };
    for _ in 0..200 {
        let stranger = EnrolmentSecret::generate(&*test.random);
        fails(from(&test, &stranger, None).await, TOKEN_UNKNOWN);
    }
    assert_eq!(refusals().await, 30);
    fails(from(&test, &used, None).await, TOKEN_USED);
    assert_eq!(refusals().await, 31);
    test.advance(60);
    fails(
        from(&test, &EnrolmentSecret::generate(&*test.random), None).await,
        TOKEN_UNKNOWN,
    );
    assert_eq!(test.audit().await[0].details["left_out_before"], 170);
}

#[tokio::test]
async fn limits_that_allow_nothing_or_too_much_are_refused() {
    let test = TestFleet::new().await;
    for bad in [
        NewEnrolmentToken {
            daily_uses: Some(0),
            ..uses(1)
        },
        NewEnrolmentToken {
            daily_uses: Some(100_001),
            ..uses(1)
        },
        NewEnrolmentToken {
            networks: vec!["10.0.0.0/8".parse().unwrap(); 65],
            ..uses(1)
        },
    ] {
        fails(test.fleet.enrolment().create_token(&test.admin(), &bad).await, INVALID);
    }
}
