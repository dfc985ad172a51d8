//! What every list promises.

use super::{
    operations::operations,
    support::{App, PASSWORD},
};

#[tokio::test]
async fn every_list_refuses_what_it_does_not_know() {
    let (app, admin) = App::with_admin().await;
    let lists: Vec<_> = operations()
        .into_iter()
        .filter(|operation| operation.id.starts_with("list_"))
        .collect();
    assert!(lists.len() > 15);
    for list in lists {
        let unknown = app
            .get(&format!("{}?no_such_filter=1", list.path))
            .token(&admin)
            .send()
            .await;
        assert_eq!(unknown.code(), "request.parameter_unknown", "{}", list.id);
        unknown.refused_at(400, "request.parameter_unknown", "no_such_filter");
        if list.query.iter().any(|name| name == "limit") {
            for limit in ["0", "501"] {
                let refused = app
                    .get(&format!("{}?limit={limit}", list.path))
                    .token(&admin)
                    .send()
                    .await;
                refused.refused_at(400, "page.limit_invalid", "limit");
            }
        }
    }
}

#[tokio::test]
async fn a_page_token_continues_its_own_question_only() {
    let (app, admin) = App::with_admin().await;
    for name in ["grace", "hedy", "joan"] {
        let new = serde_json::json!({"name": name, "role": "viewer"});
        app.post("/api/v1/users")
            .token(&admin)
            .body(&new)
            .send()
            .await
            .expect(201);
    }
    let get = |path: String| {
        let call = app.get(&path).token(&admin);
        call.send()
    };
    let first = get("/api/v1/users?role=viewer&limit=2".to_owned()).await.expect(200);
    let next = first.str("/next");
    let second = get(format!("/api/v1/users?role=viewer&limit=2&page_token={next}"))
        .await
        .expect(200)
        .json();
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert!(second["next"].is_null());
    for other in [
        "/api/v1/users?role=admin&page_token=",
        "/api/v1/users?page_token=",
        "/api/v1/keys?page_token=",
        "/api/v1/audit-entries?page_token=",
        "/api/v1/runs?page_token=",
    ] {
        get(format!("{other}{next}"))
            .await
            .refused_at(400, "page.token_invalid", "page_token");
    }
    get("/api/v1/users?page_token=damaged".to_owned())
        .await
        .refused_at(400, "page.token_invalid", "page_token");
}

#[tokio::test]
async fn the_audit_is_asked_by_actor_action_subject_and_time() {
    let (app, admin) = App::with_admin().await;
    let ada = app.get("/api/v1/me").token(&admin).send().await.str("/user/id");
    app.advance(60);
    let from = fleet_core::kernel::Clock::now(&*app.clock);
    let new = serde_json::json!({"name": "victor", "role": "viewer", "password": PASSWORD});
    app.post("/api/v1/users")
        .token(&admin)
        .body(&new)
        .send()
        .await
        .expect(201);
    app.advance(1);
    app.sign_in("victor").await;
    let actions = |query: String| {
        let (app, admin) = (&app, &admin);
        async move {
            let path = format!("/api/v1/audit-entries?{query}");
            let list = app.get(&path).token(admin).send().await.expect(200).json();
            let items = list["items"].as_array().unwrap().iter();
            items
                .map(|entry| entry["action"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(actions(format!("from={from}")).await, ["auth.login", "user.create"]);
    assert_eq!(actions(format!("from={from}&actor={ada}")).await, ["user.create"]);
    assert_eq!(actions("action=user.create".to_owned()).await, ["user.create"]);
    assert_eq!(
        actions(format!("to={from}&subject={ada}")).await,
        ["auth.login", "auth.bootstrap.claim"]
    );
    let refused = app
        .get("/api/v1/audit-entries?from=yesterday")
        .token(&admin)
        .send()
        .await;
    refused.refused_at(400, "request.invalid", "from");
}
