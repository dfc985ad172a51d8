//! What is too large for parameters: uploaded by people, fetched by devices.

use serde_json::json;

use super::support::App;

const PATH: &str = "/api/v1/blobs";
const MOST: usize = 10 << 20;

#[tokio::test]
async fn a_content_is_uploaded_named_by_parameters_and_fetched_by_a_device() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await;
    let content = vec![b'x'; MOST];
    let blob = app
        .post(PATH)
        .token(&admin)
        .bytes(content.clone())
        .send()
        .await
        .expect(201);
    assert_eq!(blob.json()["size_bytes"], MOST);
    let digest = blob.str("/digest");

    let params = json!({"path": "/opt/film", "content_blob": digest});
    let batch = json!({"operation": "file", "params": params, "targets": {"devices": [device.id]}});
    app.post("/api/v1/batches")
        .token(&admin)
        .body(&batch)
        .send()
        .await
        .expect(201);
    let path = format!("/agent/v1/blobs/{digest}");
    let fetched = app.get(&path).device(&device).send().await.expect(200);
    assert!(fetched.text.as_bytes() == content);
    assert_eq!(fetched.header("content-length"), Some(&*MOST.to_string()));
    app.get(&path)
        .token(&admin)
        .send()
        .await
        .refused(401, "assertion.invalid");
}

#[tokio::test]
async fn what_is_too_large_or_missing_is_refused() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await;
    let huge = app.post(PATH).token(&admin).bytes(vec![0; MOST + 1]).send().await;
    huge.refused(413, "blob.too_large");
    for digest in ["0".repeat(64), "0".repeat(63), "A".repeat(64)] {
        let fetched = app
            .get(&format!("/agent/v1/blobs/{digest}"))
            .device(&device)
            .send()
            .await;
        fetched.refused(404, "blob.not_found");
    }
    let params = json!({"path": "/opt/film", "content_blob": "0".repeat(64)});
    let batch = json!({"operation": "file", "params": params, "targets": {"devices": [device.id]}});
    let refused = app.post("/api/v1/batches").token(&admin).body(&batch).send().await;
    refused.refused(404, "blob.not_found");
}
