//! The bare server that ours is compared with: the same runtime, HTTP stack, bytes, sync and limit of a group, and nothing of
//! the domain. A beat is read, one row is written, and it is acknowledged after the group's COMMIT.

pub mod fanout;
mod writer;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        Query, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use fleet_core::kernel::{Clock as _, SystemClock};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime};
use uuid::Uuid;

use writer::Writer;

/// Starts the probe.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder of its database.
    #[arg(long)]
    data: PathBuf,
}

/// Serves until it is asked to stop.
pub fn run(arguments: &Arguments) -> Result<()> {
    // As the server's own.
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (writer, work) = Writer::open(&arguments.data.join("probe.db")).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        let work = tokio::spawn(work);
        let served = axum::serve(listener, router(writer)).with_graceful_shutdown(asked_to_stop());
        served.await?;
        let counts = work.await?.context("the probe's database failed")?;
        eprintln!("transactions={} works={}", counts.transactions, counts.works);
        Ok(())
    })
}

/// The probe in this process, for a test.
#[cfg(test)]
pub struct Background {
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    work: tokio::task::JoinHandle<Result<writer::Counts>>,
}

#[cfg(test)]
impl Background {
    /// How many rows were written.
    pub async fn stop(self) -> Result<u64> {
        let _ = self.stop.send(());
        self.served.await??;
        Ok(self.work.await??.works)
    }
}

/// Starts the probe in this process.
#[cfg(test)]
pub async fn in_background(folder: &std::path::Path) -> Result<(std::net::SocketAddr, Background)> {
    let (writer, work) = Writer::open(&folder.join("probe.db")).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, work) = (listener.local_addr()?, tokio::spawn(work));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let served = axum::serve(listener, router(writer)).with_graceful_shutdown(async { drop(stopped.await) });
    let served = tokio::spawn(served.into_future());
    Ok((address, Background { stop, served, work }))
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        terminate.recv().await;
    }
}

fn router(writer: Writer) -> Router {
    let writer = Arc::new(writer);
    let beats = Router::new().route("/beat", post(beat)).route("/link", get(link));
    beats.with_state(writer.clone()).merge(fanout::router(writer))
}

/// A beat by request. Reading it all is part of the work.
#[derive(Deserialize)]
struct Beat {
    id: Uuid,
    #[serde(rename = "type")]
    _type: IgnoredAny,
    #[serde(rename = "gauges")]
    _gauges: IgnoredAny,
}

async fn beat(State(writer): State<Arc<Writer>>, body: Bytes) -> Result<Json<Value>, StatusCode> {
    let beat: Beat = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if !writer.write(beat.id, body).await {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(Json(json!({"frames": [acknowledgement()]})))
}

/// What our server says to a beat.
fn acknowledgement() -> Value {
    json!({"type": "beat", "time": SystemClock.now().to_string()})
}

#[derive(Deserialize)]
struct Who {
    id: Uuid,
}

async fn link(State(writer): State<Arc<Writer>>, Query(who): Query<Who>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .on_upgrade(move |socket| converse(writer, who.id, socket))
}

async fn converse(writer: Arc<Writer>, id: Uuid, mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(text) = message else { continue };
        if serde_json::from_str::<IgnoredAny>(&text).is_err() {
            return;
        }
        // A frame does not say whose it is and when it came; a row does.
        let row = format!(r#"{{"seen_at":"{}","v":1,"beat":{text}}}"#, SystemClock.now());
        if !writer.write(id, row.into()).await {
            return;
        }
        let answer = acknowledgement().to_string();
        if socket.send(Message::Text(answer.into())).await.is_err() {
            return;
        }
    }
}
