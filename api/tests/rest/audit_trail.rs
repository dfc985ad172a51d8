//! No change without its audit entry: every operation that names an audit action is called with success here, and exactly
//! that one entry appears.

use std::{collections::BTreeSet, sync::Arc};

use fleet_core::{
    access::{Actor, Context, Origin, Outcome, Role, audit::AuditFilter},
    kernel::PageRequest,
};
use serde_json::{Value, json};

use super::{
    operations::operations,
    support::{Answer, App, Call, PASSWORD},
};

/// What leaves no audit entry: facts that devices report and certificates that they are issued, which are the device's own
/// timeline; and questions that are put by POST.
const FACTS: [&str; 10] = [
    "certify_device",
    "check_disk_passphrase_token",
    "exchange_frames",
    "get_own_manifest",
    "receive_report",
    "get_standing",
    "learn_authorities",
    "check_device_group_query",
    "preview_schedule",
    "check_window",
];

/// Calls operations and looks at the audit before and after.
struct Walk<'a> {
    app: &'a App,
    reader: Context,
    done: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    fn new(app: &'a App) -> Self {
        let actor = Actor::System {
            part: "test".to_owned(),
        };
        let grants = Role::Admin.grants(app.fleet.permissions());
        Self {
            app,
            reader: Context::new(actor, Origin::default(), Arc::new(grants)),
            done: BTreeSet::new(),
        }
    }

    async fn entries(&self) -> u64 {
        self.app.fleet.audit().chain(&self.reader).await.unwrap().entries
    }

    /// Makes the call, which must succeed and leave exactly the entry that the document promises.
    async fn step(&mut self, id: &str, call: Call<'_>) -> Answer {
        let operation = operations().into_iter().find(|operation| operation.id == id).unwrap();
        let promised = operation.audit.unwrap_or_else(|| panic!("{id} names no audit action"));
        let before = self.entries().await;
        let answer = call.header("x-request-id", &format!("step-{id}")).send().await;
        assert!((200..300).contains(&answer.status), "{id}: {}", answer.text);
        assert_eq!(self.entries().await, before + 1, "{id}: one call, one entry");
        let page = PageRequest::new(Some(1), None).unwrap();
        let filter = AuditFilter::default();
        let newest = self.app.fleet.audit().list(&self.reader, &filter, &page).await.unwrap();
        let entry = &newest.items[0];
        assert_eq!((&*entry.action, entry.outcome), (&*promised, Outcome::Done), "{id}");
        assert_eq!(entry.origin.request_id, Some(format!("step-{id}")));
        // The newest is told by its time: every call has its own.
        self.app.advance(1);
        self.done.insert(id.to_owned());
        answer
    }
}

#[test]
fn every_change_names_its_audit_action() {
    let silent: Vec<_> = operations()
        .into_iter()
        .filter(|operation| operation.method != "GET" && operation.audit.is_none())
        .map(|operation| operation.id)
        .collect();
    assert_eq!(silent, FACTS);
}

#[tokio::test]
async fn every_change_leaves_the_entry_that_the_document_promises() {
    let app = &App::new().await;
    let mut walk = Walk::new(app);

    let claim = json!({"token": app.bootstrap_token().await, "name": "ada", "password": PASSWORD});
    app.advance(1);
    walk.step("claim_bootstrap", app.post("/api/v1/bootstrap").body(&claim))
        .await;
    let login = json!({"name": "ada", "password": PASSWORD});
    let session = walk
        .step("create_session", app.post("/api/v1/sessions").body(&login))
        .await;
    let admin = &session.str("/token");

    people(&mut walk, app, admin).await;
    devices(&mut walk, app, admin).await;
    escrow(&mut walk, app, admin).await;
    authorities(&mut walk, app, admin).await;
    // A key signs for a day at least.
    app.advance(86_400);
    let admin = &app.sign_in("ada").await;
    app.advance(1);
    let rotate = app.post("/api/v1/dispatch-key/rotate").token(admin);
    walk.step("rotate_dispatch_key", rotate).await;
    releases(&mut walk, app, admin).await;
    storage(&mut walk, app, admin).await;

    let leaving = app.sign_in("ada").await;
    app.advance(1);
    walk.step(
        "delete_current_session",
        app.delete("/api/v1/sessions/current").token(&leaving),
    )
    .await;

    let promised: BTreeSet<_> = operations()
        .into_iter()
        .filter(|operation| operation.audit.is_some())
        .map(|operation| operation.id)
        .collect();
    assert_eq!(walk.done, promised, "an operation that is not called here");
}

async fn escrow(walk: &mut Walk<'_>, app: &App, admin: &str) {
    let device = app.device(admin, "mail-1").await;
    app.advance(1);
    let secret = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";
    let about = json!({"nonce": "n", "kind": "local_password", "subject": "ana"});
    let mut deposit = about.clone();
    deposit["id"] = secret.into();
    deposit["source"] = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42".into();
    deposit["reason"] = "initial".into();
    deposit["secret"] = "kR7vTz2mQx9bLw4nHs6d".into();
    let conclude = json!({"nonce": "n", "id": secret, "conclusion": "in_use"});
    for (step, verb, body) in [
        ("deposit_secret", "deposit", &deposit),
        ("conclude_secret", "conclude", &conclude),
        ("get_current_secrets", "current", &about),
    ] {
        let call = app.post(&format!("/agent/v1/escrow/{verb}")).body(body).device(&device);
        walk.step(step, call).await;
    }
    let path = format!("/api/v1/devices/{}/disk-passphrase-tokens", device.id);
    let make = app.post(&path).token(admin).body(&json!({}));
    let made = walk.step("create_disk_passphrase_token", make).await;
    let disk = "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00";
    let using = json!({"nonce": "n", "token": made.str("/token"), "disk": disk});
    let telling = json!({"nonce": "n", "disk": disk, "key": "tpm2"});
    for (step, path, body) in [
        ("use_disk_passphrase_token", "disk-passphrase-tokens/use", &using),
        ("tell_disk_key", "disk-keys/tell", &telling),
    ] {
        let call = app.post(&format!("/agent/v1/{path}")).body(body).device(&device);
        walk.step(step, call).await;
    }
    let reveal = app.post(&format!("/api/v1/escrowed-secrets/{secret}/reveal"));
    let revealed = walk.step("reveal_escrowed_secret", reveal.token(admin)).await;
    assert_eq!(revealed.str("/secret"), "kR7vTz2mQx9bLw4nHs6d");
    assert_eq!(revealed.header("cache-control"), Some("no-store"));
}

async fn authorities(walk: &mut Walk<'_>, app: &App, admin: &str) {
    let path = "/api/v1/certificate-authorities";
    let former = app.get(path).token(admin).send().await.expect(200).str("/items/0/id");
    let next = walk
        .step(
            "create_certificate_authority",
            app.post(path).token(admin).body(&json!({})),
        )
        .await
        .str("/id");
    let promote = app.post(&format!("{path}/{next}/promote")).token(admin);
    walk.step("promote_certificate_authority", promote).await;
    let delete = app.delete(&format!("{path}/{former}")).token(admin);
    walk.step("delete_certificate_authority", delete).await;
}

async fn releases(walk: &mut Walk<'_>, app: &App, admin: &str) {
    let path = "/api/v1/agent-releases";
    let upload = app
        .post(&format!("{path}?version=1.4.0&platform=linux-x86_64"))
        .token(admin)
        .bytes(b"program".to_vec());
    let made = walk.step("create_agent_release", upload).await.str("/id");
    let withdraw = app.post(&format!("{path}/{made}/withdraw")).token(admin);
    walk.step("withdraw_agent_release", withdraw).await;
    let upload = app.post("/api/v1/blobs").token(admin).bytes(b"content".to_vec());
    walk.step("create_blob", upload).await;
}

async fn storage(walk: &mut Walk<'_>, app: &App, admin: &str) {
    let post = |path: &str| app.post(path).token(admin);
    walk.step("check_storage", post("/api/v1/storage/check")).await;
    assert!(app.fleet.storage().work().await, "the check waits to be done");
    walk.step("create_storage_backup", post("/api/v1/storage/backups"))
        .await;
    app.advance(1);
    assert!(app.fleet.storage().work().await, "the backup waits to be made");
    app.advance(1);

    let to = json!({"to": "memory:new"});
    walk.step("plan_storage_move", post("/api/v1/storage/plan").body(&to))
        .await;
    let begin = async |walk: &mut Walk<'_>| {
        let begun = walk
            .step("start_storage_move", post("/api/v1/storage/moves").body(&to))
            .await;
        format!("/api/v1/storage/moves/{}", begun.str("/id"))
    };
    let check = async |path: &str, state: &str| {
        assert!(app.fleet.storage().work().await, "the move waits to be made");
        app.advance(1);
        let shown = app.get(path).token(admin).send().await;
        assert_eq!(shown.str("/state"), state, "{}", shown.text);
    };
    let path = begin(walk).await;
    walk.step("cancel_storage_move", post(&format!("{path}/cancel"))).await;
    check(&path, "cancelled").await;
    let path = begin(walk).await;
    check(&path, "done").await;
    let back = walk.step("move_storage_back", post(&format!("{path}/back"))).await;
    check(&format!("/api/v1/storage/moves/{}", back.str("/id")), "done").await;
}

async fn people(walk: &mut Walk<'_>, app: &App, admin: &str) {
    let post = |path: &str, body: &Value| app.post(path).token(admin).body(body);

    let new = json!({"name": "grace", "role": "viewer", "password": PASSWORD});
    let grace = walk.step("create_user", post("/api/v1/users", &new)).await.str("/id");
    let path = format!("/api/v1/users/{grace}");
    let change = app
        .patch(&path)
        .token(admin)
        .header("if-match", "*")
        .body(&json!({"role": "operator"}));
    walk.step("update_user", change).await;
    let password = app
        .put(&format!("{path}/password"))
        .token(admin)
        .body(&json!({"password": "set by ada for her"}));
    walk.step("set_user_password", password).await;
    walk.step("delete_user", app.delete(&path).token(admin)).await;

    let key = walk
        .step(
            "create_key",
            post("/api/v1/keys", &json!({"name": "report", "role": "viewer"})),
        )
        .await;
    let path = format!("/api/v1/keys/{}", key.str("/id"));
    walk.step("delete_key", app.delete(&path).token(admin)).await;

    let other = app.sign_in("ada").await;
    let other = app.get("/api/v1/me").token(&other).send().await.str("/session");
    app.advance(1);
    walk.step(
        "delete_session",
        app.delete(&format!("/api/v1/sessions/{other}")).token(admin),
    )
    .await;

    let path = "/api/v1/settings/access.session_idle_seconds";
    walk.step("set_setting", app.put(path).token(admin).body(&json!({"value": 3_600})))
        .await;
    walk.step("unset_setting", app.delete(path).token(admin)).await;

    let body = json!({"current": PASSWORD, "new": "quite another sesame"});
    walk.step(
        "set_own_password",
        app.put("/api/v1/me/password").token(admin).body(&body),
    )
    .await;
    // And back, for whoever signs in next.
    let body = json!({"current": "quite another sesame", "new": PASSWORD});
    app.put("/api/v1/me/password")
        .token(admin)
        .body(&body)
        .send()
        .await
        .expect(204);
    app.advance(1);
}

async fn devices(walk: &mut Walk<'_>, app: &App, admin: &str) {
    let post = |path: &str, body: &Value| app.post(path).token(admin).body(body);

    let token = walk
        .step(
            "create_enrolment_token",
            post("/api/v1/enrolment-tokens", &json!({"name": "web"})),
        )
        .await;
    let path = format!("/api/v1/enrolment-tokens/{}", token.str("/id"));
    walk.step("delete_enrolment_token", app.delete(&path).token(admin))
        .await;

    let pin = walk
        .step("create_enrolment_pin", post("/api/v1/enrolment-pins", &json!({})))
        .await
        .str("/pin");
    walk.step("redeem_pin", app.post("/agent/v1/pin").body(&json!({"pin": pin})))
        .await;
    let secret = app.enrolment_secret(admin).await;
    let (_, request) = app.enrol_request(secret, "web-1");
    app.advance(1);
    let enrol = app
        .post("/agent/v1/enrol")
        .body(&serde_json::to_value(request).unwrap());
    let device = walk.step("enrol_device", enrol).await.str("/body/device");
    let path = format!("/api/v1/devices/{device}");
    let change = app
        .patch(&path)
        .token(admin)
        .header("if-match", "*")
        .body(&json!({"name": "web-01"}));
    walk.step("update_device", change).await;
    let labels = json!({"devices": [device], "set": {"site": "berlin"}, "remove": []});
    walk.step("label_devices", post("/api/v1/devices/labels", &labels))
        .await;

    let group = walk
        .step(
            "create_device_group",
            post("/api/v1/device-groups", &json!({"name": "Web"})),
        )
        .await;
    let group = format!("/api/v1/device-groups/{}", group.str("/id"));
    let change = app
        .patch(&group)
        .token(admin)
        .header("if-match", "*")
        .body(&json!({"name": "Webs"}));
    walk.step("update_device_group", change).await;
    let member = format!("{group}/devices/{device}");
    walk.step("add_group_device", app.put(&member).token(admin)).await;
    walk.step("remove_group_device", app.delete(&member).token(admin)).await;
    let change = app
        .patch(&group)
        .token(admin)
        .header("if-match", "*")
        .body(&json!({"query": "labels.site equals berlin"}));
    walk.step("update_device_group", change).await;
    let evaluate = app.post(&format!("{group}/evaluate")).token(admin);
    walk.step("evaluate_device_group", evaluate).await;
    walk.step("delete_device_group", app.delete(&group).token(admin)).await;

    let window = json!({"name": "Nights", "kind": "maintenance", "scope": {"all": true},
        "when": {"type": "recurring", "cron": "0 3 * * *", "zone": "UTC", "duration_seconds": 3600}});
    let window = walk.step("create_window", post("/api/v1/windows", &window)).await;
    let window = format!("/api/v1/windows/{}", window.str("/id"));
    let change = app
        .patch(&window)
        .token(admin)
        .header("if-match", "*")
        .body(&json!({"enabled": false}));
    walk.step("update_window", change).await;
    walk.step("delete_window", app.delete(&window).token(admin)).await;

    let action = json!({"name": "Motd", "operation": "shell", "params": {"script": "true"}});
    let action = walk
        .step("create_action", post("/api/v1/actions", &action))
        .await
        .str("/id");
    let set = json!({"name": "Base", "members": [action]});
    let set = walk
        .step("create_action_set", post("/api/v1/action-sets", &set))
        .await
        .str("/id");
    let definition = json!({"name": "Host", "members": [{"type": "action_set", "id": set}]});
    let definition = walk
        .step("create_definition", post("/api/v1/definitions", &definition))
        .await
        .str("/id");
    let assigned = json!({"assignments": [{"source": {"type": "definition", "id": definition},
        "target": {"type": "device", "id": device}, "mode": "available"}]});
    let made = walk
        .step("create_assignments", post("/api/v1/assignments", &assigned))
        .await;
    let chosen = json!({"source": {"type": "definition", "id": definition}, "selected": true});
    let selections = format!("/api/v1/devices/{device}/selections");
    walk.step("set_device_selection", app.put(&selections).token(admin).body(&chosen))
        .await;
    let me = app.get("/api/v1/me").token(admin).send().await.expect(200);
    let owners = format!("/api/v1/devices/{device}/owners");
    let owned = json!({"users": [me.str("/user/id")]});
    walk.step("set_device_owners", app.put(&owners).token(admin).body(&owned))
        .await;
    let assignment = format!("/api/v1/assignments/{}", made.str("/items/0/id"));
    for (id, path, change) in [
        ("update_assignment", assignment.clone(), json!({"mode": "required"})),
        (
            "update_definition",
            format!("/api/v1/definitions/{definition}"),
            json!({"name": "Hosts"}),
        ),
        (
            "update_action_set",
            format!("/api/v1/action-sets/{set}"),
            json!({"on_failure": "stop"}),
        ),
        (
            "update_action",
            format!("/api/v1/actions/{action}"),
            json!({"timeout_seconds": 60}),
        ),
    ] {
        let change = app.patch(&path).token(admin).header("if-match", "*").body(&change);
        walk.step(id, change).await;
    }
    walk.step("delete_assignment", app.delete(&assignment).token(admin))
        .await;
    for (id, path) in [
        ("delete_action", format!("/api/v1/actions/{action}?force=true")),
        ("delete_action_set", format!("/api/v1/action-sets/{set}?force=true")),
        ("delete_definition", format!("/api/v1/definitions/{definition}")),
    ] {
        walk.step(id, app.delete(&path).token(admin)).await;
    }

    let work = json!({"operation": "shell", "params": {"script": "true"}, "targets": {"devices": [device]}});
    let batch = walk
        .step("create_batch", post("/api/v1/batches", &work))
        .await
        .str("/id");
    let runs = app
        .get(&format!("/api/v1/runs?batch={batch}"))
        .token(admin)
        .send()
        .await
        .expect(200);
    let cancel = app
        .post(&format!("/api/v1/runs/{}/cancel", runs.str("/items/0/id")))
        .token(admin);
    walk.step("cancel_run", cancel).await;
    let again = post(
        &format!("/api/v1/batches/{batch}/retry"),
        &json!({"states": ["cancelled"]}),
    );
    let again = walk.step("retry_batch", again).await.str("/id");
    let again_alone = format!("/api/v1/runs/{}/retry", runs.str("/items/0/id"));
    walk.step("retry_run", app.post(&again_alone).token(admin)).await;
    let stop = app.post(&format!("/api/v1/batches/{again}/cancel")).token(admin);
    walk.step("cancel_batch", stop).await;
    let more = post(
        "/api/v1/batches",
        &json!({"operation": "shell", "params": {"script": "true"}, "targets": {"devices": [device]}}),
    );
    walk.step("create_batch", more).await;
    let stop_all = app.post(&format!("/api/v1/devices/{device}/runs/cancel")).token(admin);
    walk.step("cancel_device_runs", stop_all).await;

    let work =
        json!({"operation": "shell", "params": {"script": "true"}, "targets": {"devices": [device]}, "rollout": {}});
    let rolling = post("/api/v1/batches", &work).send().await.expect(201).str("/id");
    for (step, verb) in [
        ("pause_rollout", "pause"),
        ("resume_rollout", "resume"),
        ("abort_rollout", "abort"),
    ] {
        let path = format!("/api/v1/batches/{rolling}/rollout/{verb}");
        app.advance(1);
        walk.step(step, post(&path, &json!({}))).await;
    }

    let plan = json!({"name": "Nightly", "operation": "shell", "params": {"script": "true"}, "targets": {"all": true}, "ignore_windows": true,
        "schedule": {"type": "cron", "cron": "0 3 * * *", "zone": "UTC"}});
    let plan = walk.step("create_plan", post("/api/v1/plans", &plan)).await;
    let plan = format!("/api/v1/plans/{}", plan.str("/id"));
    let change = app
        .patch(&plan)
        .token(admin)
        .header("if-match", "*")
        .body(&json!({"schedule": null}));
    walk.step("update_plan", change).await;
    let start = app.post(&format!("{plan}/start")).token(admin);
    walk.step("start_plan", start).await;
    walk.step("delete_plan", app.delete(&plan).token(admin)).await;

    let other = app.user(admin, "otto", "operator").await;
    app.advance(1);
    let asked = json!({"operation": "shell", "params": {"script": "true"}, "targets": {"all": true}, "approvals": 1});
    for (step, verb) in [("approve_work", "approve"), ("reject_work", "reject")] {
        let batch = post("/api/v1/batches", &asked).send().await.expect(201);
        app.advance(1);
        let path = format!("/api/v1/approvals/{}/{verb}", batch.str("/approval"));
        walk.step(step, app.post(&path).token(&other).body(&json!({}))).await;
    }

    for (step, body) in [("approve_device", Some(json!({}))), ("reject_device", None)] {
        let waiting = app.pending_device(admin).await;
        app.advance(1);
        let call = app.post(&format!(
            "/api/v1/devices/{waiting}/{}",
            &step[..step.len() - "_device".len()]
        ));
        let call = call.token(admin);
        walk.step(step, if let Some(body) = &body { call.body(body) } else { call })
            .await;
    }
    walk.step("revoke_device", app.post(&format!("{path}/revoke")).token(admin))
        .await;
    walk.step("delete_device", app.delete(&path).token(admin)).await;
}
