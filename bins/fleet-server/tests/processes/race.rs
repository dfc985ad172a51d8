//! Agents that race for the last uses of a token, on a real store.

use std::sync::Arc;

use fleet_bins_common::storage::{Purpose, open};
use fleet_core::{
    Fleet,
    access::{Context, Origin},
    devices::enrolment::{EnrolRequest, Machine, NewEnrolmentToken, TOKEN_USED},
    kernel::{MasterKey, SigningKey, SystemClock, SystemRandom, random_bytes},
};

const RACERS: usize = 12;

/// Two servers on one store where it allows that, and as many agents as tasks: exactly as many win as the token has uses.
pub(crate) async fn check_as_many_win_as_there_are_uses(uri: &str, servers: usize) {
    let (system, key) = (Context::system("test"), MasterKey::generate(&SystemRandom).to_text());
    let mut fleets = Vec::new();
    for _ in 0..servers {
        let store = open(&uri.parse().unwrap(), Purpose::Serve, Arc::new(SystemClock))
            .await
            .unwrap();
        let key = MasterKey::from_text(&key).unwrap();
        fleets.push(Fleet::builder(store.backend, key).open().await.unwrap());
    }
    for max_uses in [1, 3] {
        let new = NewEnrolmentToken {
            max_uses,
            ..NewEnrolmentToken::default()
        };
        let before = fleets[0].devices().counts(&system).await.unwrap().devices;
        let (token, secret) = fleets[0].enrolment().create_token(&system, &new).await.unwrap();
        let racing: Vec<_> = (0..RACERS)
            .map(|n| {
                let fleet = fleets[n % servers].clone();
                let machine = Machine {
                    hostname: format!("racer {n}"),
                    ..Machine::default()
                };
                let nonce = random_bytes(&SystemRandom);
                let request = EnrolRequest::prove(secret.clone(), &SigningKey::generate(&SystemRandom), nonce, machine);
                tokio::spawn(async move { fleet.enrolment().enrol(&request, Origin::default()).await })
            })
            .collect();
        let mut won = 0;
        for task in racing {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert_eq!(error.code(), TOKEN_USED, "{}", error.log()),
            }
        }
        let after = fleets[0].devices().counts(&system).await.unwrap().devices;
        assert_eq!((won, after - before), (max_uses, u64::from(max_uses)));
        let token = fleets[0].enrolment().token(&system, token.id).await.unwrap();
        assert_eq!((token.uses, token.uses_today), (max_uses, max_uses));
    }
    for fleet in fleets {
        fleet.close().await.unwrap();
    }
}
