//! Settings: a value, its source, and its revision.

use serde_json::{Value, json};

use super::support::App;

const KEY: &str = "/api/v1/settings/access.session_idle_seconds";

#[tokio::test]
async fn a_stored_value_holds_until_it_is_removed() {
    let (app, admin) = App::with_admin().await;
    let shown = |answer: &super::support::Answer| {
        let body = answer.json();
        (body["value"].clone(), body["source"].clone())
    };
    let before = app.get(KEY).token(&admin).send().await.expect(200);
    assert_eq!(shown(&before), (json!(86_400), json!("default")));
    let tag = before.header("etag").unwrap();

    let set = |tag: &str, value: Value| {
        app.put(KEY)
            .token(&admin)
            .header("if-match", tag)
            .body(&json!({"value": value}))
            .send()
    };
    let stored = set(tag, json!(3_600)).await.expect(200);
    assert_eq!(shown(&stored), (json!(3_600), json!("stored")));
    set(tag, json!(7_200)).await.refused(412, "request.precondition_failed");

    // It holds at once.
    app.advance(3_600);
    app.get(KEY)
        .token(&admin)
        .send()
        .await
        .refused(401, "auth.session_expired");
    let admin = app.sign_in("ada").await;
    let list = app
        .get("/api/v1/settings")
        .token(&admin)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(list["next"], json!(null));
    // What a list does not count it does not pretend to.
    let counted = app.get("/api/v1/settings?count=true").token(&admin).send().await;
    counted.refused_at(400, "request.parameter_unknown", "count");
    let reset = app.delete(KEY).token(&admin).send().await.expect(200);
    assert_eq!(shown(&reset), (json!(86_400), json!("default")));
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_with_the_reason() {
    let (app, admin) = App::with_admin().await;
    for value in [json!(1), json!("an hour"), json!(null), json!(-3_600)] {
        let call = app.put(KEY).token(&admin).body(&json!({"value": value}));
        call.send().await.refused_at(400, "setting.invalid", "/value");
    }
    let call = app
        .put("/api/v1/settings/no.such")
        .token(&admin)
        .body(&json!({"value": 1}));
    call.send().await.refused(404, "setting.not_found");
}
