//! One command to everybody who is connected: a durable row for each, a signed text to each, and a durable row for each thing that comes
//! back. What our server does for the same, it does beside this.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    extract::{
        Query, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use fleet_core::kernel::SigningKey;
use futures::future::join_all;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Who, Writer};

/// Rows that one commit makes when the work is made, as ours.
const TOGETHER: usize = 500;
/// Orders that wait for a connection.
const QUEUE: usize = 4;
/// What signatures are for.
pub const TAG: &str = "bench fan-out v1";

/// The key that signs; both sides know it.
pub fn dispatch() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// What one agent is told, of about the size of our offer; its signature follows in a line of its own.
fn order(id: Uuid) -> String {
    let params = "x".repeat(64);
    format!(
        r#"{{"type":"offer","run":"{id}","device":"{id}","epoch":1,"kind":"shell","params":{{"script":"{params}"}},"expires_at":"2026-01-01T00:00:00.000000Z","timeout_seconds":30,"output_limit_bytes":65536,"idempotent":false,"exclusive":true}}"#
    )
}

#[derive(Debug)]
struct Fan {
    writer: Arc<Writer>,
    links: Mutex<Vec<(Uuid, mpsc::Sender<String>)>>,
}

pub(super) fn router(writer: Arc<Writer>) -> Router {
    let links = Mutex::default();
    Router::new()
        .route("/fan", get(link))
        .route("/command", post(command))
        .with_state(Arc::new(Fan { writer, links }))
}

async fn link(State(fan): State<Arc<Fan>>, Query(who): Query<Who>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .on_upgrade(move |socket| converse(fan, who.id, socket))
}

async fn converse(fan: Arc<Fan>, id: Uuid, mut socket: WebSocket) {
    let (sender, mut orders) = mpsc::channel(QUEUE);
    fan.links
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((id, sender));
    loop {
        let text = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => order,
                None => return,
            },
            message = socket.recv() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(_)) => continue,
                    _ => return,
                };
                let is_read = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                if !is_read || !fan.writer.write(id, text.into()).await {
                    return;
                }
                r#"{"type":"recorded"}"#.to_owned()
            }
        };
        if socket.send(Message::Text(text.into())).await.is_err() {
            return;
        }
    }
}

/// Answers when all of it is durable and on its way.
async fn command(State(fan): State<Arc<Fan>>) -> StatusCode {
    let links = fan.links.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let key = dispatch();
    for links in links.chunks(TOGETHER) {
        let orders: Vec<_> = links.iter().map(|(id, _)| order(*id)).collect();
        let writes = links
            .iter()
            .zip(&orders)
            .map(|((id, _), order)| fan.writer.write(*id, order.clone().into()));
        if join_all(writes).await.contains(&false) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        for ((_, link), order) in links.iter().zip(orders) {
            let signature = key.sign(TAG, order.as_bytes());
            // Whoever has gone is missed by whoever measures.
            let _ = link.try_send(format!("{order}\n{signature}"));
        }
    }
    StatusCode::NO_CONTENT
}
