//! Windows and schedules over HTTP.

use serde_json::{Value, json};

use super::support::App;

const PATH: &str = "/api/v1/windows";

fn nights() -> Value {
    json!({"name": "Nights", "kind": "maintenance", "scope": {"all": true},
        "when": {"type": "recurring", "cron": "0 3 * * *", "zone": "europe/berlin", "duration_seconds": 7_200}})
}

#[tokio::test]
async fn a_window_is_made_changed_asked_and_deleted() {
    let (app, admin) = App::with_admin().await;
    let made = app.post(PATH).token(&admin).body(&nights()).send().await.expect(201);
    assert_eq!(made.header("etag"), Some("\"1\""));
    assert_eq!(made.str("/in_words"), "every day at 03:00 Europe/Berlin, for 2 hours");
    assert_eq!(made.json()["outside"], json!({"policy": "gate"}));
    let path = format!("{PATH}/{}", made.str("/id"));

    let change = json!({"outside": {"policy": "postpone", "give_up_after_seconds": 3_600}});
    let patch = || app.patch(&path).token(&admin).body(&change);
    assert_eq!(patch().send().await.code(), "request.precondition_required");
    let changed = patch().header("if-match", "\"1\"").send().await.expect(200);
    assert_eq!(changed.header("etag"), Some("\"2\""));
    let stale = patch().header("if-match", "\"1\"").send().await;
    assert_eq!(stale.code(), "request.precondition_failed");

    let device = app.device(&admin, "web-1").await;
    let question = json!({"device": device.id, "operation": "shell", "at": "2027-06-01T12:00:00Z"});
    let check = app.post(&format!("{PATH}/check")).token(&admin).body(&question);
    let decision = check.send().await.expect(200).json();
    assert_eq!(
        decision["standing"],
        json!({"state": "closed", "until": "2027-06-02T01:00:00.000000Z"})
    );
    assert_eq!(
        decision["handling"],
        json!({"action": "wait_at_most", "give_up_after_seconds": 3_600})
    );
    assert_eq!(decision["windows"][0]["name"], "Nights");

    app.delete(&path).token(&admin).send().await.expect(204);
    assert_eq!(app.get(&path).token(&admin).send().await.code(), "window.not_found");
}

#[tokio::test]
async fn occurrences_are_a_list_and_a_calendar() {
    let (app, admin) = App::with_admin().await;
    app.post(PATH).token(&admin).body(&nights()).send().await.expect(201);
    let range = "from=2027-03-27T12:00:00Z&to=2027-03-30T12:00:00Z";
    let get = |path: String| app.get(&path).token(&admin).send();
    let list = get(format!("{PATH}/occurrences?{range}&limit=2")).await.expect(200);
    let starts = |list: &Value| -> Vec<Value> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["starts_at"].clone()).collect()
    };
    // The clock of Berlin goes forward in between.
    assert_eq!(
        starts(&list.json()),
        ["2027-03-28T01:00:00.000000Z", "2027-03-29T01:00:00.000000Z"]
    );
    let next = list.str("/next");
    let rest = get(format!("{PATH}/occurrences?{range}&limit=2&page_token={next}")).await;
    assert_eq!(starts(&rest.expect(200).json()), ["2027-03-30T01:00:00.000000Z"]);

    let calendar = get(format!("{PATH}/calendar.ics?{range}")).await.expect(200);
    assert_eq!(calendar.header("content-type"), Some("text/calendar; charset=utf-8"));
    assert!(calendar.text.starts_with("BEGIN:VCALENDAR\r\n"));
    assert!(calendar.text.contains("DTSTART:20270329T010000Z\r\n"));
    let far = get(format!(
        "{PATH}/calendar.ics?from=2027-01-01T00:00:00Z&to=2029-01-01T00:00:00Z"
    ))
    .await;
    far.refused_at(400, "request.invalid", "to");
}

#[tokio::test]
async fn a_schedule_is_previewed_and_refused_by_name() {
    let (app, admin) = App::with_admin().await;
    let preview = |schedule: Value| {
        let body = json!({"schedule": schedule, "from": "2027-01-01T00:00:00Z", "count": 2});
        let (app, admin) = (&app, &admin);
        async move {
            let call = app.post("/api/v1/schedules/preview").token(admin).body(&body);
            call.send().await
        }
    };
    let weekly = preview(json!({"type": "cron", "cron": "0 3 * * 0", "zone": "Europe/Berlin"})).await;
    let weekly = weekly.expect(200).json();
    assert_eq!(weekly["description"], "every Sunday at 03:00 Europe/Berlin");
    assert_eq!(
        weekly["times"],
        json!(["2027-01-03T02:00:00.000000Z", "2027-01-10T02:00:00.000000Z"])
    );
    for (schedule, code, pointer) in [
        (
            json!({"type": "cron", "cron": "0 3 * *"}),
            "schedule.cron_invalid",
            "/schedule/cron",
        ),
        (
            json!({"type": "cron", "cron": "0 0 30 2 *"}),
            "schedule.never",
            "/schedule/cron",
        ),
        (
            json!({"type": "cron", "cron": "0 0 * * *", "zone": "Europe/Berlim"}),
            "schedule.zone_unknown",
            "/schedule/zone",
        ),
        (
            json!({"type": "once", "at": "2026-12-31T00:00:00Z"}),
            "schedule.never",
            "/schedule/at",
        ),
    ] {
        preview(schedule).await.refused_at(400, code, pointer);
    }
    let unknown = preview(json!({"type": "cron", "cron": "0 0 * * *", "every": "day"})).await;
    assert_eq!(unknown.code(), "request.invalid");
}

#[tokio::test]
async fn a_calendar_is_subscribed_to_by_its_address_alone() {
    let (app, admin) = App::with_admin().await;
    app.post(PATH).token(&admin).body(&nights()).send().await.expect(201);
    let plan = json!({"name": "Inventory", "operation": "inventory.refresh", "targets": {"all": true},
        "schedule": {"type": "cron", "cron": "0 2 * * *", "zone": "UTC"}});
    app.post("/api/v1/plans")
        .token(&admin)
        .body(&plan)
        .send()
        .await
        .expect(201);
    let new = json!({"name": "Calendar", "role": "viewer", "purpose": "calendar"});
    let made = app
        .post("/api/v1/keys")
        .token(&admin)
        .body(&new)
        .send()
        .await
        .expect(201);
    let (token, id) = (made.str("/token"), made.str("/id"));
    let calendar = format!("{PATH}/calendar.ics");
    let with = |token: &str| format!("{calendar}?token={token}");
    let read = app.get(&with(&token)).send().await.expect(200);
    assert!(read.text.contains("SUMMARY:Maintenance: Nights\r\n"), "{}", read.text);
    assert!(read.text.contains("SUMMARY:Plan: Inventory\r\n"), "{}", read.text);
    assert!(read.text.contains("CATEGORIES:PLAN\r\n"));
    assert!(!read.text.contains(&token));

    // It opens this one address, and no other key opens it that way.
    for path in [&calendar, PATH, "/api/v1/plans", "/api/v1/me", "/api/v1/devices"] {
        app.get(path).token(&token).send().await.refused(401, "auth.required");
    }
    for path in [
        format!("{PATH}?token={token}"),
        format!("{PATH}/occurrences?token={token}"),
    ] {
        assert_eq!(app.get(&path).send().await.status, 401, "{path}");
    }
    let (general, _) = app.key(&admin, "viewer").await;
    for wrong in [&*general, &*admin, "", "flk1_nothing"] {
        app.get(&with(wrong)).send().await.refused(401, "auth.required");
    }
    app.get(&calendar).token(&general).send().await.expect(200);
    // A wrong token is not made good by a header.
    app.get(&with(""))
        .token(&admin)
        .send()
        .await
        .refused(401, "auth.required");
    let path = format!("/api/v1/keys/{id}");
    assert_eq!(app.delete(&path).token(&admin).send().await.status, 204);
    app.get(&with(&token)).send().await.refused(401, "auth.required");
}
