//! A run's output as a file.

use fleet_core::{
    devices::DeviceId,
    kernel::SigningKey,
    protocol::{Finished, Output, OutputChunk, OutputStream, RunResult},
    work::RunId,
};
use serde_json::json;

use crate::{operations::NOTHING, support::App};

/// A run that printed on both streams, and has not ended.
async fn running(app: &App, admin: &str) -> (DeviceId, RunId) {
    let device = app.device(admin, "web").await.id;
    let body = json!({"operation": "shell", "params": {"script": "uname"}, "targets": {"devices": [device]}});
    app.post("/api/v1/batches")
        .token(admin)
        .body(&body)
        .send()
        .await
        .expect(201);
    let runs = app.get("/api/v1/runs").token(admin).send().await.expect(200);
    let run: RunId = runs.str("/items/0/id").parse().unwrap();
    let delivery = app.fleet.delivery();
    delivery
        .pending(device, 1, &SigningKey::from_bytes(&[7; 32]))
        .await
        .unwrap();
    delivery.accepted(device, run).await.unwrap();
    delivery.started(device, run, app.fleet.clock().now()).await.unwrap();
    let chunk = |sequence, stream, text: &str| OutputChunk {
        sequence,
        stream,
        text: text.into(),
    };
    let chunks = vec![
        chunk(0, OutputStream::Stdout, "Größe\n"),
        chunk(1, OutputStream::Stderr, "careful\n"),
    ];
    delivery.output(device, &Output { run, chunks }).await.unwrap();
    (device, run)
}

async fn end(app: &App, device: DeviceId, run: RunId) {
    let finished = Finished {
        run,
        result: RunResult::Succeeded,
        exit_code: Some(0),
        signal: None,
        code: None,
        message: None,
        changed: None,
        summary: None,
        started_at: None,
        finished_at: app.fleet.clock().now(),
        chunks: 2,
        truncated_bytes: 0,
    };
    app.fleet.delivery().finished(device, finished).await.unwrap();
}

#[tokio::test]
async fn output_is_a_file_of_text_or_of_lines() {
    let (app, admin) = App::with_admin().await;
    let (device, run) = running(&app, &admin).await;
    let check = async |target: &str, media: &str, extent: &str, file: &str, text: &str| {
        let path = format!("/api/v1/runs/{run}/output/{target}");
        let answer = app.get(&path).token(&admin).send().await.expect(200);
        assert_eq!(answer.header("content-type"), Some(media), "{target}");
        assert_eq!(answer.header("x-fleet-output"), Some(extent), "{target}");
        let disposition = format!("attachment; filename=\"{run}{file}\"");
        assert_eq!(answer.header("content-disposition"), Some(disposition.as_str()));
        assert_eq!(answer.text, text, "{target}");
    };
    let (plain, lines) = ("text/plain; charset=utf-8", "application/x-ndjson");
    check("text", plain, "so_far", ".txt", "Größe\ncareful\n").await;
    end(&app, device, run).await;
    check("text", plain, "complete", ".txt", "Größe\ncareful\n").await;
    check("text?stream=stderr", plain, "complete", "-stderr.txt", "careful\n").await;
    let (first, second) = (
        "{\"sequence\":0,\"stream\":\"stdout\",\"text\":\"Größe\\n\"}\n",
        "{\"sequence\":1,\"stream\":\"stderr\",\"text\":\"careful\\n\"}\n",
    );
    check("ndjson", lines, "complete", ".ndjson", &format!("{first}{second}")).await;
    check("ndjson?stream=stdout", lines, "complete", "-stdout.ndjson", first).await;
    check(
        "ndjson?stream=stdout&stream=agent",
        lines,
        "complete",
        "-stdout-agent.ndjson",
        first,
    )
    .await;
}

#[tokio::test]
async fn a_download_of_nothing_is_refused() {
    let (app, admin) = App::with_admin().await;
    for form in ["text", "ndjson"] {
        let path = format!("/api/v1/runs/{NOTHING}/output/{form}");
        let answer = app.get(&path).token(&admin).send().await;
        answer.refused(404, "run.not_found");
        let answer = app.get(&format!("{path}?stream=both")).token(&admin).send().await;
        answer.refused_at(400, "request.invalid", "stream");
    }
}
