//! Who may do what: every operation of the document for every kind of caller, against the reviewed table in
//! `docs/security/access-matrix.toml`; and the table against the permissions of the roles.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::{access::Role, protocol::ASSERTION_HEADER};
use serde_json::json;

use super::{
    operations::{Operation, operations},
    support::{App, Call, Device, PASSWORD},
};

const TABLE: &str = include_str!("../../../docs/security/access-matrix.toml");

const CALLERS: [&str; 6] = ["admin", "operator", "viewer", "key", "nobody", "device"];

type Row = BTreeSet<String>;

fn table() -> BTreeMap<String, Row> {
    let parsed: BTreeMap<String, BTreeMap<String, Row>> = toml::from_str(TABLE).unwrap();
    assert_eq!(parsed.keys().collect::<Vec<_>>(), ["operations"]);
    let rows = parsed["operations"].clone();
    for (id, row) in &rows {
        for caller in row {
            assert!(CALLERS.contains(&caller.as_str()), "{id}: {caller} is no caller");
        }
    }
    rows
}

/// How a caller shows who they are.
enum Proof {
    Nothing,
    Token(String),
    Key(Box<Device>),
}

struct Callers {
    app: App,
    proofs: Vec<(&'static str, Proof)>,
}

impl Callers {
    async fn new() -> Self {
        let (app, admin) = App::with_admin().await;
        let operator = app.user(&admin, "olga", "operator").await;
        let viewer = app.user(&admin, "victor", "viewer").await;
        // Its owner may do everything, the key only what a viewer may.
        let (key, _) = app.key(&admin, "viewer").await;
        let device = app.device(&admin, "web-1").await;
        let proofs = vec![
            ("admin", Proof::Token(admin)),
            ("operator", Proof::Token(operator)),
            ("viewer", Proof::Token(viewer)),
            ("key", Proof::Token(key)),
            ("nobody", Proof::Nothing),
            ("device", Proof::Key(Box::new(device))),
        ];
        assert_eq!(proofs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), CALLERS);
        Self { app, proofs }
    }

    fn call(&self, operation: &Operation) -> Call<'_> {
        let mut call = self.app.call(&operation.method, &operation.path);
        for (name, value) in &operation.headers {
            call = call.header(name, value);
        }
        match (&*operation.id, &operation.body) {
            // The one public operation that judges its body by who is named in it.
            ("create_session", _) => call.body(&json!({"name": "ada", "password": PASSWORD})),
            (_, Some(body)) => call.body(body),
            (_, None) => call,
        }
    }

    /// Who gets past the doors of an operation.
    async fn admitted(&self, operation: &Operation) -> Row {
        let mut admitted = Row::new();
        for (n, (name, proof)) in self.proofs.iter().enumerate() {
            // Each from an address of its own: what anybody may try is bounded by address.
            let call = self.call(operation).from(&format!("192.0.2.{}", n + 1));
            let call = match proof {
                Proof::Nothing => call,
                Proof::Token(token) => call.token(token),
                Proof::Key(device) => call.device(device),
            };
            let status = call.status().await;
            // Nobody feeds live events here: whoever is let in hears that they are not ready.
            let is_expected = status < 500 && status != 429 || (operation.id == "stream_events" && status == 503);
            assert!(is_expected, "{} by {name}: {status}", operation.id);
            if !matches!(status, 401 | 403) {
                admitted.insert((*name).to_owned());
            }
        }
        admitted
    }
}

#[test]
fn every_operation_has_a_row_and_every_row_an_operation() {
    let rows: BTreeSet<_> = table().into_keys().collect();
    let known: BTreeSet<_> = operations().into_iter().map(|operation| operation.id).collect();
    let missing: Vec<_> = known.difference(&rows).collect();
    let surplus: Vec<_> = rows.difference(&known).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "docs/security/access-matrix.toml lacks {missing:?} and has rows of nothing: {surplus:?}"
    );
}

#[tokio::test]
async fn every_operation_admits_exactly_whom_the_table_says() {
    let callers = Callers::new().await;
    let table = table();
    let mut operations = operations();
    // Who has signed out asks nothing more.
    operations.sort_by_key(|operation| operation.id == "delete_current_session");
    let mut wrong = Vec::new();
    for operation in &operations {
        let expected = &table[&operation.id];
        let admitted = callers.admitted(operation).await;
        if admitted != *expected {
            wrong.push(format!(
                "{} {}: the table admits {expected:?}, the server {admitted:?}",
                operation.method, operation.pattern
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_table_agrees_with_the_permissions_of_the_roles() {
    let app = App::new().await;
    let table = table();
    let row = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Row>();
    for operation in operations() {
        let got = &table[&operation.id];
        let mut allowed = vec![match &*operation.permission {
            "public" => row(&CALLERS),
            "device" => row(&["device"]),
            // Opened by a secret in the body, whoever sends it.
            "bootstrap-token" | "enrolment-token" | "device-key" => row(&[]),
            "signed-in" => row(&["admin", "operator", "viewer", "key"]),
            permission => {
                let kind = operation.body.as_ref().and_then(|body| body["operation"].as_str());
                let permission = permission.replace("{operation}", kind.unwrap_or_default());
                let entry = app
                    .fleet
                    .permissions()
                    .iter()
                    .find(|entry| entry.permission.name() == permission);
                match entry.map(|entry| entry.least) {
                    None => panic!("{}: no module declares {permission}", operation.id),
                    Some(Role::Admin) => row(&["admin"]),
                    Some(Role::Operator) => row(&["admin", "operator"]),
                    Some(Role::Viewer) => row(&["admin", "operator", "viewer", "key"]),
                }
            }
        }];
        if operation.permission == "signed-in" {
            // People manage themselves; a key does not manage its owner.
            allowed.push(row(&["admin", "operator", "viewer"]));
        }
        assert!(
            allowed.contains(got),
            "{} ({}): {got:?}",
            operation.id,
            operation.permission
        );
    }
}

#[tokio::test]
async fn the_proof_of_one_side_does_not_open_the_other() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await;
    let exchange = json!({"wait_seconds": 0, "frames": []});
    let agent_routes = [
        ("GET", "/agent/v1/link"),
        ("POST", "/agent/v1/exchange"),
        ("POST", "/agent/v1/reports/packages"),
    ];
    for (method, path) in agent_routes {
        // As a bearer token, and in the place of an assertion.
        let call = app.call(method, path).body(&exchange).token(&admin);
        call.send().await.refused(401, "assertion.invalid");
        let call = app.call(method, path).body(&exchange).header(ASSERTION_HEADER, &admin);
        call.send().await.refused(401, "assertion.invalid");
    }
    let proved = app.get("/api/v1/me").device(&device);
    proved.send().await.refused(401, "auth.required");
    let now = fleet_core::kernel::Clock::now(&*app.clock);
    let assertion =
        fleet_core::protocol::Assertion::sign(&device.key, device.id, now, &*app.random, "GET", "/api/v1/me", b"");
    let call = app.get("/api/v1/me").token(&assertion);
    call.send().await.refused(401, "auth.required");
}
