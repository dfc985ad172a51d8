use std::{future::Future, sync::Arc, time::Duration};

use axum::body::BodyDataStream;
use fleet_api::{ApiConfig, live::LiveFeed, router_with_live_events};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::support::App;

const PATH: &str = "/api/v1/events";

/// A server with live events that nobody drives yet, and its administrator.
async fn server() -> (App, String, Arc<LiveFeed>) {
    let (mut app, admin) = App::with_admin().await;
    let config = ApiConfig {
        public_url: "http://127.0.0.1:8080".to_owned(),
        ..ApiConfig::default()
    };
    let (router, live) = router_with_live_events(app.fleet.clone(), config);
    app.router = router;
    (app, admin, live)
}

/// Does `work` while the feed is driven.
async fn driven<T>(app: &App, live: &LiveFeed, work: impl Future<Output = T>) -> T {
    tokio::select! {
        () = live.drive(&app.fleet) => panic!("the feed ended"),
        done = work => done,
    }
}

/// An open stream.
struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    /// Opens a stream, as soon as the feed is followed.
    async fn open(app: &App, token: &str, last: Option<&str>) -> Self {
        loop {
            let mut call = app.get(PATH).token(token);
            if let Some(last) = last {
                call = call.header("last-event-id", last);
            }
            let response = call.response().await;
            if response.status().as_u16() == 200 {
                assert_eq!(response.headers()["content-type"], "text/event-stream");
                let mut events = Self {
                    body: response.into_body().into_data_stream(),
                    text: String::new(),
                };
                assert_eq!(events.next().await.unwrap()["type"], "ready");
                return events;
            }
            assert_eq!(response.status().as_u16(), 503);
            tokio::task::yield_now().await;
        }
    }

    /// The next event; none when the stream has ended.
    async fn next(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(Duration::from_secs(60), self.read()).await;
        next.expect("an event within a minute")
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event
                    .lines()
                    .find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
                self.text = rest.to_owned();
                match data {
                    Some(data) => return Some(serde_json::from_str(&data).unwrap()),
                    // A comment, which keeps the connection.
                    None => continue,
                }
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

async fn rename(app: &App, token: &str, device: &str, name: &str) {
    let path = format!("/api/v1/devices/{device}");
    let body = json!({ "name": name });
    let call = app.patch(&path).token(token).header("if-match", "*").body(&body);
    call.send().await.expect(200);
}

#[tokio::test]
async fn everybody_is_told_what_they_may_see() {
    let (app, admin, live) = server().await;
    let viewer = app.user(&admin, "vera", "viewer").await;
    let device = app.device(&admin, "web").await;
    let id = device.id.to_string();
    driven(&app, &live, async {
        let mut admins = Events::open(&app, &admin, None).await;
        let mut viewers = Events::open(&app, &viewer, None).await;
        let token = app.post("/api/v1/enrolment-tokens").token(&admin).body(&json!({}));
        let token = token.send().await.expect(201).str("/id");
        rename(&app, &admin, &id, "front").await;
        let renamed = json!({"type": "changed", "resource": "devices", "id": id, "revision": 2});
        assert_eq!(
            admins.next().await.unwrap(),
            json!({"type": "changed", "resource": "enrolment-tokens", "id": token, "revision": 1})
        );
        assert_eq!(admins.next().await.unwrap(), renamed);
        assert_eq!(viewers.next().await.unwrap(), renamed);

        let batch = json!({"operation": "inventory.refresh", "params": {}, "targets": {"devices": [id]}});
        let batch = app
            .post("/api/v1/batches")
            .token(&admin)
            .body(&batch)
            .send()
            .await
            .expect(201);
        let batch = batch.json()["id"].clone();
        let (one, other) = (viewers.next().await.unwrap(), viewers.next().await.unwrap());
        let (of_batch, of_run) = if one["resource"] == "batches" {
            (one, other)
        } else {
            (other, one)
        };
        let expected = json!({"type": "changed", "resource": "batches", "id": batch, "revision": 1});
        assert_eq!(of_batch, expected);
        assert_eq!(
            (&of_run["type"], &of_run["resource"]),
            (&json!("changed"), &json!("runs"))
        );

        let path = format!("/api/v1/devices/{id}");
        app.delete(&path).token(&admin).send().await.expect(204);
        let removed = json!({"type": "removed", "resource": "devices", "id": id});
        assert_eq!(viewers.next().await.unwrap(), removed);
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_what_its_owner_may_do_changes() {
    let (app, admin, live) = server().await;
    let viewer = app.user(&admin, "vera", "viewer").await;
    let me = app.get("/api/v1/me").token(&viewer).send().await.expect(200).json();
    let id = me
        .pointer("/user/id")
        .or(me.get("id"))
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    driven(&app, &live, async {
        let mut admins = Events::open(&app, &admin, None).await;
        let mut viewers = Events::open(&app, &viewer, None).await;
        let path = format!("/api/v1/users/{id}");
        let change = json!({"role": "operator"});
        let call = app.patch(&path).token(&admin).header("if-match", "*").body(&change);
        call.send().await.expect(200);
        assert_eq!(viewers.next().await, None);
        assert_eq!(admins.next().await.unwrap()["resource"], "users");

        let mut again = Events::open(&app, &viewer, None).await;
        app.delete("/api/v1/sessions/current")
            .token(&viewer)
            .send()
            .await
            .expect(204);
        assert_eq!(again.next().await, None);
        let answer = app.get(PATH).token(&viewer).send().await;
        assert_eq!(answer.status, 401);
    })
    .await;
}

#[tokio::test]
async fn who_comes_back_is_told_what_it_missed_or_to_read_again() {
    let (app, admin, live) = server().await;
    let id = app.device(&admin, "web").await.id.to_string();
    driven(&app, &live, async {
        let seen = app.fleet.store().reader().await.unwrap().seq();
        let mut listening = Events::open(&app, &admin, None).await;
        rename(&app, &admin, &id, "front").await;
        listening.next().await.unwrap();
        let mut returning = Events::open(&app, &admin, Some(&seen.to_string())).await;
        assert_eq!(returning.next().await.unwrap()["revision"], 2);
        for strange in ["0", "999999", "yesterday"] {
            let mut lost = Events::open(&app, &admin, Some(strange)).await;
            let expected = json!({"type": "resync", "reason": "expired"});
            assert_eq!(lost.next().await.unwrap(), expected, "{strange}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_was_compacted_or_driven_anew_means_reading_again() {
    let (app, admin, live) = server().await;
    let id = app.device(&admin, "web").await.id.to_string();
    let gap = json!({"type": "resync", "reason": "gap"});
    let mut events = driven(&app, &live, Events::open(&app, &admin, None)).await;
    // Nobody drives: this is missed.
    rename(&app, &admin, &id, "one").await;
    driven(&app, &live, async {
        assert_eq!(events.next().await.unwrap(), gap);
        rename(&app, &admin, &id, "two").await;
        assert_eq!(events.next().await.unwrap()["revision"], 3);
    })
    .await;

    let mut driving = Box::pin(live.drive(&app.fleet));
    let mut next = async |events: &mut Events| {
        tokio::select! {
            () = &mut driving => panic!("the feed ended"),
            event = events.next() => event.unwrap(),
        }
    };
    assert_eq!(next(&mut events).await, gap);
    // The driver rests while the feed is cut off behind it.
    for name in ["three", "four"] {
        rename(&app, &admin, &id, name).await;
    }
    let newest = app.fleet.store().reader().await.unwrap().seq();
    app.fleet.store().backend().compact(newest).await.unwrap();
    rename(&app, &admin, &id, "five").await;
    assert_eq!(next(&mut events).await, gap);
    assert_eq!(next(&mut events).await["revision"], 6);
}

#[tokio::test]
async fn streams_are_bounded_and_wait_for_the_feed() {
    let (app, admin, live) = server().await;
    let answer = app.get(PATH).token(&admin).send().await;
    answer.refused(503, "server.not_ready");
    let answer = app.get(&format!("{PATH}?topic=devices")).token(&admin).send().await;
    answer.refused_at(400, "request.parameter_unknown", "topic");
    driven(&app, &live, async {
        let mut open = Vec::new();
        for _ in 0..8 {
            open.push(Events::open(&app, &admin, None).await);
        }
        let answer = app.get(PATH).token(&admin).send().await;
        answer.refused(429, "live.too_many_streams");
        open.pop();
        open.push(Events::open(&app, &admin, None).await);
        live.close();
        for mut events in open {
            assert_eq!(events.next().await, None);
        }
        let answer = app.get(PATH).token(&admin).send().await;
        answer.refused(503, "server.not_ready");
    })
    .await;
}
