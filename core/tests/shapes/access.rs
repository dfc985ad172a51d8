//! What `access` stores.

use std::collections::BTreeMap;

use fleet_core::{
    access::{
        Actor, AuditEntry, Outcome, Role, Subject,
        bootstrap::BootstrapToken,
        keys::{ApiKey, ApiKeySeen, KeyPurpose},
        server_keys::ServerKey,
        sessions::{LoginThrottle, Session, SessionSeen},
        users::User,
    },
    certificates::{AuthorityState, CertificateAuthority},
    kernel::{MasterKey, Sealer, SeededRandom},
    protocol::Handover,
};
use serde_json::json;

use crate::{
    sample::{Sample, document, latest, row, show},
    values::{at, id, key, origin, read, user, uuid},
};

pub fn samples() -> Vec<Sample> {
    let random = SeededRandom::new(9);
    let sealer = Sealer::new(MasterKey::generate(&random));
    let hash = |digit: &str| read(json!(digit.repeat(64)));
    vec![
        document(
            "somebody who signed in",
            &User {
                id: id(1),
                name: "ann".into(),
                display_name: "Ann Example".into(),
                role: Role::Admin,
                disabled: false,
                password_hash: Some(read(json!(
                    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                ))),
                created_at: at(0),
                password_changed_at: Some(at(1)),
                session_version: 2,
            },
        ),
        document(
            "without a password",
            &User {
                id: id(2),
                name: "ben@example.org".into(),
                display_name: "Ben".into(),
                role: Role::Viewer,
                disabled: true,
                password_hash: None,
                created_at: at(0),
                password_changed_at: None,
                session_version: 0,
            },
        ),
        document(
            "of a browser",
            &Session {
                id: id(3),
                user: id(1),
                token_hash: hash("a"),
                user_version: 2,
                created_at: at(2),
                address: Some("192.0.2.7".into()),
                user_agent: Some("Mozilla/5.0".into()),
            },
        ),
        document(
            "locked",
            &LoginThrottle {
                id: id(1),
                failures: 5,
                last_failure_at: at(3),
                locked_until: Some(at(63)),
            },
        ),
        document(
            "with an end",
            &ApiKey {
                id: id(4),
                name: "backup script".into(),
                owner: id(1),
                token_hash: hash("b"),
                prefix: "flk1_AbCdEf".into(),
                role: Role::Operator,
                purpose: KeyPurpose::Calendar,
                created_at: at(4),
                expires_at: Some(at(86_400)),
            },
        ),
        document(
            "while there is no user",
            &BootstrapToken {
                id: id(5),
                token_hash: hash("c"),
                created_at: at(0),
            },
        ),
        document(
            "that signs",
            &ServerKey {
                id: id(6),
                name: "identity".into(),
                sealed: sealer.seal("server_key/6/identity", &[7; 32], &random).unwrap(),
                public_key: Some(key(100).public()),
                created_at: at(0),
                handovers: vec![Handover::sign(&key(99), key(100).public(), at(0)).unwrap()],
            },
        ),
        document(
            "that hashes",
            &ServerKey {
                id: id(7),
                name: "session".into(),
                sealed: sealer.seal("server_key/7/session", &[8; 32], &random).unwrap(),
                public_key: None,
                created_at: at(0),
                handovers: Vec::new(),
            },
        ),
        document(
            "that issues",
            &CertificateAuthority {
                id: id(30),
                state: AuthorityState::Issuing,
                since: at(0),
                certificate: "MIIBAA==".into(),
                sealed: sealer.seal("certificate_authority/30/key", &[9; 32], &random).unwrap(),
                not_before: at(0),
                not_after: at(315_360_000),
            },
        ),
        row(
            "of a user",
            &AuditEntry {
                id: uuid(8),
                at: at(5),
                actor: user(),
                origin: origin(),
                action: "device.update".into(),
                outcome: Outcome::Done,
                subject: Some(Subject {
                    kind: "device".into(),
                    id: uuid(10),
                    name: "web-01".into(),
                }),
                changed: vec!["name".into()],
                details: BTreeMap::from([("devices".into(), json!(1))]),
            },
        ),
        row(
            "of nobody",
            &AuditEntry {
                id: uuid(9),
                at: at(6),
                actor: Actor::Anonymous,
                origin: Default::default(),
                action: "auth.login.refuse".into(),
                outcome: Outcome::Refused,
                subject: None,
                changed: Vec::new(),
                details: BTreeMap::new(),
            },
        ),
        row(
            "of the server",
            &AuditEntry {
                id: uuid(10),
                at: at(0),
                actor: Actor::System { part: "setup".into() },
                origin: Default::default(),
                action: "server_key.create".into(),
                outcome: Outcome::Done,
                subject: None,
                changed: Vec::new(),
                details: BTreeMap::from([("keys".into(), json!(["identity", "dispatch", "session"]))]),
            },
        ),
        latest("of a browser", &SessionSeen { at: at(7) }),
        latest(
            "of a script",
            &ApiKeySeen {
                at: at(8),
                address: Some("2001:db8::7".into()),
            },
        ),
    ]
}

#[test]
fn what_is_stored_of_people_and_their_doings() {
    insta::assert_snapshot!(show(&samples()));
}
