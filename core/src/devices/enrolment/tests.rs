use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::*;
use crate::{
    access::{Actor, DENIED, Origin, Outcome, Role},
    devices::{
        device::{DEVICE_DISABLED, DeviceChange},
        groups::{GROUP_NOT_FOUND, NewDeviceGroup},
        testing::{TestFleet, fails},
    },
    kernel::{Code, EntityId as _, INVALID, PageRequest},
};

mod approval;
mod limits;
mod pins;

fn uses(max_uses: u32) -> NewEnrolmentToken {
    NewEnrolmentToken {
        max_uses,
        ..NewEnrolmentToken::default()
    }
}

async fn devices(test: &TestFleet) -> u64 {
    test.fleet.devices().counts(&test.admin()).await.unwrap().devices
}

#[tokio::test]
async fn a_machine_becomes_a_device_with_the_tokens_labels_and_groups() {
    let test = TestFleet::new().await;
    let admin = test.admin();
    let mut groups = BTreeSet::new();
    for name in ["web", "gone"] {
        let new = NewDeviceGroup {
            query: None,
            name: name.into(),
            description: String::new(),
        };
        groups.insert(test.fleet.device_groups().create(&admin, &new).await.unwrap().id);
    }
    let new = NewEnrolmentToken {
        labels: [("site".to_owned(), "Bonn".to_owned())].into(),
        groups: groups.clone(),
        ..uses(2)
    };
    let (token, secret) = test.fleet.enrolment().create_token(&admin, &new).await.unwrap();
    let gone = *groups.last().unwrap();
    test.fleet.device_groups().delete(&admin, gone, None).await.unwrap();
    test.advance(5);
    let key = test.key();
    let enrolled = test.enrol_as(&secret, &key, "web-01", Some("abc")).await.unwrap();
    assert!(!enrolled.known);
    let device = test.fleet.devices().show(&admin, enrolled.device_id).await.unwrap();
    assert_eq!(device.summary.name, "web-01");
    assert_eq!(device.summary.labels, new.labels);
    assert_eq!(
        device.summary.groups,
        groups.into_iter().filter(|id| *id != gone).collect()
    );
    assert_eq!((device.public_key, device.enrolled_by), (key.public(), token.id));
    assert_eq!(device.machine_id.as_deref(), Some("abc"));
    let entry = test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.actor),
        ("device.enrolled", Actor::Anonymous)
    );
    assert_eq!(entry.subject.unwrap().id, enrolled.device_id.uuid());
    assert_eq!(entry.details["enrolment_token"], token.id.to_string());
    let token = test.fleet.enrolment().token(&admin, token.id).await.unwrap();
    assert_eq!((token.uses, token.state), (1, TokenState::Usable));
    assert_eq!(token.used_at, Some(device.summary.enrolled_at));
}

#[tokio::test]
async fn a_token_that_cannot_be_used_says_why() {
    async fn check(test: &TestFleet, secret: &EnrolmentSecret, code: Code) {
        test.advance(1);
        let (before, seq) = (devices(test).await, test.seq().await);
        fails(test.enrol_as(secret, &test.key(), "x", None).await, code);
        assert_eq!(
            (devices(test).await, test.seq().await),
            (before, seq + 1),
            "nothing is written but the account of it"
        );
        let entry = test.audit().await.remove(0);
        assert_eq!(
            (entry.action.as_str(), entry.outcome),
            ("enrolment.refused", Outcome::Refused)
        );
        assert_eq!(entry.details["reason"], code.name());
        assert_eq!(entry.details["hostname"], "x");
        assert_eq!(entry.subject.is_some(), code != TOKEN_UNKNOWN, "it names the token");
        assert!(!serde_json::to_string(&entry).unwrap().contains(&*secret.reveal()));
    }
    let test = TestFleet::new().await;
    let (enrolment, admin) = (test.fleet.enrolment(), test.admin());
    check(&test, &EnrolmentSecret::generate(&*test.random), TOKEN_UNKNOWN).await;

    let used = test.token(uses(1)).await;
    test.enrol_as(&used, &test.key(), "first", None).await.unwrap();
    check(&test, &used, TOKEN_USED).await;

    let (token, revoked) = enrolment.create_token(&admin, &uses(5)).await.unwrap();
    let view = enrolment.revoke_token(&admin, token.id).await.unwrap();
    assert_eq!(view.state, TokenState::Revoked);
    check(&test, &revoked, TOKEN_REVOKED).await;
    let seq = test.seq().await;
    enrolment.revoke_token(&admin, token.id).await.unwrap();
    assert_eq!(test.seq().await, seq);

    let expired = test.token(uses(1)).await;
    test.advance(24 * 60 * 60 - 1);
    let last_moment = test.token(uses(1)).await;
    assert!(test.enrol_as(&expired, &test.key(), "in time", None).await.is_ok());
    test.advance(24 * 60 * 60);
    check(&test, &last_moment, TOKEN_EXPIRED).await;
}

#[tokio::test]
async fn a_proof_holds_for_one_key_one_token_and_one_nonce() {
    let test = TestFleet::new().await;
    let secret = test.token(uses(1)).await;
    let other = test.token(uses(1)).await;
    let key = test.key();
    let good = EnrolRequest::prove(secret, &key, [1; 32], Machine::default());
    for bad in [
        EnrolRequest {
            nonce: [2; 32],
            ..good.clone()
        },
        EnrolRequest {
            secret: other,
            ..good.clone()
        },
        EnrolRequest {
            public_key: test.key().public(),
            ..good.clone()
        },
        EnrolRequest {
            proof: key.sign("fleet other", b""),
            ..good.clone()
        },
    ] {
        fails(
            test.fleet.enrolment().enrol(&bad, Origin::default()).await,
            PROOF_INVALID,
        );
    }
    assert_eq!(devices(&test).await, 0);
    let enrolled = test.fleet.enrolment().enrol(&good, Origin::default()).await.unwrap();
    assert_eq!(enrolled.name, "unnamed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_agents_that_race_for_the_last_uses_exactly_as_many_win() {
    for (max_uses, driven) in [(1, false), (3, false), (1, true), (3, true)] {
        let test = TestFleet::new().await;
        let _drivers = drivers(&test, driven).await;
        let secret = test.token(uses(max_uses)).await;
        let racing: Vec<_> = (0..16)
            .map(|n| {
                let (fleet, key) = (test.fleet.clone(), test.key());
                let machine = Machine {
                    hostname: format!("racer {n}"),
                    ..Machine::default()
                };
                let request = EnrolRequest::prove(secret.clone(), &key, [n; 32], machine);
                tokio::spawn(async move { fleet.enrolment().enrol(&request, Origin::default()).await })
            })
            .collect();
        let mut won = 0;
        for task in racing {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert_eq!(error.code(), TOKEN_USED),
            }
        }
        assert_eq!((won, devices(&test).await), (max_uses, u64::from(max_uses)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_machine_that_asks_many_times_at_once_is_one_device() {
    for driven in [false, true] {
        ask_many_times(driven).await;
    }
}

async fn ask_many_times(driven: bool) {
    let test = TestFleet::new().await;
    let _drivers = drivers(&test, driven).await;
    let secret = test.token(uses(100)).await;
    let key = test.key();
    let asking: Vec<_> = (0..16)
        .map(|n| {
            // Half of them with one key, half with keys of their own, as copies of a disk have after their first start.
            let (fleet, key) = (test.fleet.clone(), if n % 2 == 0 { key.clone() } else { test.key() });
            let machine = Machine {
                hostname: "twin".into(),
                machine_id: Some("m1".into()),
                agent_version: "1".into(),
            };
            let request = EnrolRequest::prove(secret.clone(), &key, [n; 32], machine);
            tokio::spawn(async move { (n % 2, fleet.enrolment().enrol(&request, Origin::default()).await) })
        })
        .collect();
    let (mut one, mut all, mut waiting) = (BTreeSet::new(), BTreeSet::new(), 0);
    for task in asking {
        let (rest, enrolled) = task.await.unwrap();
        let enrolled = enrolled.unwrap();
        if rest == 0 {
            one.insert(enrolled.device_id);
        }
        if all.insert(enrolled.device_id) && enrolled.pending {
            waiting += 1;
        }
    }
    // Whoever came first has the machine id; each other key is somebody whom an operator has to look at.
    assert_eq!((one.len(), all.len(), waiting), (1, 9, 8));
}

/// Somebody who works off enrolments together, or nobody.
async fn drivers(test: &TestFleet, driven: bool) -> JoinSet<()> {
    let mut drivers = JoinSet::new();
    if driven {
        let fleet = test.fleet.clone();
        drivers.spawn(async move { fleet.enrolment().drive().await });
        tokio::task::yield_now().await;
    }
    drivers
}

#[tokio::test]
async fn machines_that_come_at_once_share_a_commit_and_each_is_accounted_for() {
    let test = TestFleet::new().await;
    let _drivers = drivers(&test, true).await;
    let (used, unused) = (test.token(uses(3)).await, test.token(uses(100)).await);
    let requests: Vec<_> = (0..30)
        .map(|n: u8| {
            // Six have a token with three uses; two of the others are one machine.
            let secret = if n < 6 { &used } else { &unused };
            let machine = Machine {
                hostname: format!("machine {n}"),
                machine_id: (n >= 28).then(|| "twins".into()),
                agent_version: "1".into(),
            };
            EnrolRequest::prove(secret.clone(), &test.key(), [n; 32], machine)
        })
        .collect();
    let before = test.fleet.store().reader().await.unwrap().seq();
    let enrolment = test.fleet.enrolment();
    let asks = requests.iter().enumerate().map(|(n, request)| {
        let address = Some(format!("192.0.2.{n}"));
        let origin = Origin {
            address,
            ..Origin::default()
        };
        enrolment.enrol(request, origin)
    });
    let outcomes = futures::future::join_all(asks).await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(
        refused.iter().map(|error| error.code()).collect::<Vec<_>>(),
        [TOKEN_USED; 3]
    );
    assert_eq!(
        outcomes.iter().flatten().filter(|enrolled| enrolled.pending).count(),
        1,
        "one of the twins waits"
    );
    let commits = test.fleet.store().reader().await.unwrap().seq() - before;
    assert_eq!(
        commits,
        2 + 3,
        "all at once, then the second twin; and each refusal in the audit"
    );
    let entries = test.audit().await;
    let mut accounted: Vec<_> = entries
        .iter()
        .filter(|entry| entry.action == DEVICE_ENROLLED.name())
        .map(|entry| {
            let enrolled = outcomes.iter().flatten().find(|enrolled| {
                entry
                    .subject
                    .as_ref()
                    .is_some_and(|subject| subject.id == enrolled.device_id.uuid())
            });
            let address = entry.origin.address.clone().unwrap();
            assert_eq!(
                enrolled.unwrap().name,
                format!("machine {}", address.rsplit_once('.').unwrap().1)
            );
            assert_eq!(entry.actor, Actor::Anonymous);
            entry.id
        })
        .collect();
    accounted.sort_unstable();
    accounted.dedup();
    assert_eq!(accounted.len(), 27, "each in an entry of its own");
}

#[tokio::test]
async fn a_lost_answer_is_harmless() {
    let test = TestFleet::new().await;
    let secret = test.token(uses(1)).await;
    let key = test.key();
    let first = test.enrol_as(&secret, &key, "web", Some("m1")).await.unwrap();
    test.advance(2 * 24 * 60 * 60);
    let seq = test.seq().await;
    let again = test.enrol_as(&secret, &key, "web", Some("m1")).await.unwrap();
    assert_eq!((again.device_id, again.known), (first.device_id, true));
    assert_eq!(test.seq().await, seq, "a repeat uses nothing and writes nothing");
}

#[tokio::test]
async fn a_known_key_with_another_token_counts_a_use_and_stays_the_device() {
    let test = TestFleet::new().await;
    let key = test.key();
    let first = test
        .enrol_as(&test.token(uses(1)).await, &key, "web", None)
        .await
        .unwrap();
    let (token, secret) = test
        .fleet
        .enrolment()
        .create_token(&test.admin(), &uses(1))
        .await
        .unwrap();
    let again = test.enrol_as(&secret, &key, "web", Some("m9")).await.unwrap();
    assert_eq!(again.device_id, first.device_id);
    let token = test.fleet.enrolment().token(&test.admin(), token.id).await.unwrap();
    assert_eq!((token.uses, token.state), (1, TokenState::Used));
}

#[tokio::test]
async fn a_copied_disk_is_not_two_machines_with_one_key() {
    let test = TestFleet::new().await;
    let (secret, key) = (test.token(uses(5)).await, test.key());
    test.enrol_as(&secret, &key, "original", Some("m1")).await.unwrap();
    fails(test.enrol_as(&secret, &key, "copy", Some("m2")).await, KEY_IN_USE);
}

#[tokio::test]
async fn a_disabled_device_does_not_come_back_by_enrolling() {
    let test = TestFleet::new().await;
    let (secret, key) = (test.token(uses(5)).await, test.key());
    let id = test.enrol_as(&secret, &key, "bad", Some("m1")).await.unwrap().device_id;
    let disable = DeviceChange {
        disabled: Some(true),
        ..DeviceChange::default()
    };
    test.fleet
        .devices()
        .set(&test.admin(), id, None, &disable)
        .await
        .unwrap();
    fails(test.enrol_as(&secret, &key, "bad", Some("m1")).await, DEVICE_DISABLED);
    fails(
        test.enrol_as(&secret, &test.key(), "bad", Some("m1")).await,
        DEVICE_DISABLED,
    );
}

#[tokio::test]
async fn what_a_machine_says_of_itself_is_made_fit_or_refused() {
    let test = TestFleet::new().await;
    let secret = test.token(uses(5)).await;
    let hostile = format!("  a\0b\x1b{}", "x".repeat(100_000));
    let enrolled = test.enrol_as(&secret, &test.key(), &hostile, Some("  ")).await.unwrap();
    assert!(enrolled.name.len() <= 253 && enrolled.name.starts_with("a\u{fffd}b"));
    for bad in ["a b", "ä", "a\0", &"x".repeat(65)] {
        fails(test.enrol_as(&secret, &test.key(), "x", Some(bad)).await, INVALID);
    }
    let json = serde_json::json!({"secret": "x", "nonce": "y"});
    assert!(serde_json::from_value::<EnrolRequest>(json).is_err());
}

#[tokio::test]
async fn lists_show_newest_first_and_never_the_secret() {
    let test = TestFleet::new().await;
    let (enrolment, admin) = (test.fleet.enrolment(), test.admin());
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(enrolment.create_token(&admin, &uses(1)).await.unwrap());
        test.advance(60);
    }
    test.enrol_as(&made[0].1, &test.key(), "x", None).await.unwrap();
    let filter = TokenFilter::default();
    let page = enrolment.tokens(&admin, filter, &PageRequest::default()).await.unwrap();
    let ids: Vec<_> = page.items.iter().map(|token| token.id).collect();
    assert_eq!(ids, [made[2].0.id, made[1].0.id, made[0].0.id]);
    let usable = TokenFilter { usable: true };
    let page = enrolment.tokens(&admin, usable, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items.len(), 2);
    let shown = serde_json::to_string(&page.items).unwrap();
    for (token, secret) in &made[1..] {
        let text = secret.reveal();
        assert!(shown.contains(&token.prefix) && text.starts_with(&token.prefix));
        assert!(!shown.contains(&text[token.prefix.len()..]));
        assert!(!shown.contains(&hex::encode(secret.hash())));
    }
}

#[tokio::test]
async fn tokens_are_bounded_and_name_existing_groups() {
    let test = TestFleet::new().await;
    let (enrolment, admin) = (test.fleet.enrolment(), test.admin());
    let new = NewEnrolmentToken::default;
    let life = |expires_in_seconds| NewEnrolmentToken {
        expires_in_seconds,
        ..new()
    };
    for bad in [
        uses(0),
        uses(100_001),
        life(59),
        life(366 * 24 * 60 * 60),
        life(u64::MAX),
        NewEnrolmentToken {
            description: "x".repeat(2_001),
            ..new()
        },
    ] {
        fails(enrolment.create_token(&admin, &bad).await, INVALID);
    }
    let group = crate::devices::DeviceGroupId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    let bad = NewEnrolmentToken {
        groups: [group].into(),
        ..new()
    };
    fails(enrolment.create_token(&admin, &bad).await, GROUP_NOT_FOUND);
}

#[tokio::test]
async fn each_use_case_asks_for_its_permission() {
    let test = TestFleet::new().await;
    let enrolment = test.fleet.enrolment();
    let viewer = test.role(Role::Viewer);
    let (token, _) = enrolment
        .create_token(&test.role(Role::Operator), &uses(1))
        .await
        .unwrap();
    fails(enrolment.create_token(&viewer, &uses(1)).await, DENIED);
    fails(
        enrolment
            .tokens(&viewer, TokenFilter::default(), &PageRequest::default())
            .await,
        DENIED,
    );
    fails(enrolment.token(&viewer, token.id).await, DENIED);
    fails(enrolment.revoke_token(&viewer, token.id).await, DENIED);
}
