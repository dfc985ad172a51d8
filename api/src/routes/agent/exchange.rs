//! Frames by polling.

use std::time::Duration;

use axum::extract::State;
use fleet_core::{
    Fleet,
    link::{LinkedDevice, SESSION_UNKNOWN, Session},
    protocol::{AgentFrame, Exchange, ExchangeAnswer, MAX_FRAMES, ServerFrame},
};
use tokio::time::Instant;

use super::identity::FromSession;
use crate::{
    extract::{Json, parse_json},
    problem::{ApiError, ApiResult},
};

/// The longest that an answer is held back, in seconds.
const MAX_WAIT: u32 = 30;

/// Exchange frames with an agent that polls.
///
/// Frames in, frames out. The first frame of a session is `hello`, and then no `epoch` is given. While there is nothing to
/// say, the answer is held back for as long as the agent allows.
#[utoipa::path(post, path = "/agent/v1/exchange", operation_id = "exchange_frames", tag = "agent",
    request_body(content = String, description = "An exchange, in the protocol's own shapes", content_type = "application/json", example = json!({"epoch": 1, "frames": [{"type": "beat", "gauges": {}}], "wait_seconds": 20})),
    responses((status = 200, description = "What there is to say", body = String, content_type = "application/json")),
    security(()), extensions(("x-fleet-permission" = json!("device"))))]
pub(super) async fn exchange_frames(
    State(fleet): State<Fleet>,
    FromSession(from): FromSession,
) -> ApiResult<Json<ExchangeAnswer>> {
    let exchange: Exchange = parse_json(&from.body)?;
    if exchange.frames.len() > MAX_FRAMES {
        return Err(ApiError::invalid("/frames", format!("at most {MAX_FRAMES} frames")));
    }
    let answer = take(&fleet, &from.device, exchange)
        .await
        // The session is over; the agent reads it as it reads every other end of a session.
        .unwrap_or_else(|error| ExchangeAnswer {
            frames: vec![fleet.link().bye(&error)],
            key: None,
        });
    Ok(Json(answer))
}

async fn take(fleet: &Fleet, device: &LinkedDevice, exchange: Exchange) -> fleet_core::kernel::Result<ExchangeAnswer> {
    let link = fleet.link();
    let mut in_order = exchange.frames.into_iter();
    let (session, mut frames) = match exchange.epoch {
        Some(epoch) => (link.resume(device, epoch)?, Vec::new()),
        None => match in_order.next() {
            Some(AgentFrame::Hello(hello)) => {
                let (session, welcome) = Box::pin(link.open(device, hello)).await?;
                (session, vec![ServerFrame::Welcome(Box::new(welcome))])
            }
            _ => return Err(SESSION_UNKNOWN.error("a session begins with hello")),
        },
    };
    let mut wait = Duration::from_secs(u64::from(exchange.wait_seconds.min(MAX_WAIT)));
    let received = link.receive(&session, in_order.collect()).await?;
    if frames.is_empty() {
        frames = received;
    } else {
        frames.extend(received);
    }
    let key = exchange.key.and_then(|request| link.agree(device, &session, &request));
    if key.is_some() {
        // It is an answer too, and its time is running.
        wait = Duration::ZERO;
    }
    wait_for_pending(fleet, &session, &mut frames, Instant::now() + wait).await?;
    Ok(ExchangeAnswer { frames, key })
}

async fn wait_for_pending(
    fleet: &Fleet,
    session: &Session,
    answers: &mut Vec<ServerFrame>,
    deadline: Instant,
) -> fleet_core::kernel::Result<()> {
    if deadline <= Instant::now() {
        answers.extend(fleet.link().pending(session).await?);
        return Ok(());
    }
    // Subscribing comes before the first look, so that nothing falls between.
    let mut signal = fleet.device_signals().subscribe(session.device);
    loop {
        answers.extend(fleet.link().pending(session).await?);
        let left = deadline.saturating_duration_since(Instant::now());
        if !answers.is_empty() || left.is_zero() {
            return Ok(());
        }
        signal.wait(left).await;
    }
}
