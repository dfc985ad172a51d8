//! Frames by WebSocket.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{
        FromRequestParts as _, Request, State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes},
    },
    response::Response,
};
use fleet_core::{
    Fleet,
    kernel::{Class, Code, Error, Result},
    link::{LinkedDevice, Session},
    protocol::{AgentFrame, MAX_FRAME, ServerFrame},
};
use futures::{
    FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::time::{Instant, timeout};

use super::identity::{Head, authenticate};
use crate::{
    problem::{ApiError, ApiResult},
    state::ApiState,
};

/// A frame that cannot be read ends the session.
const FRAME_INVALID: Code = Code::new("link.frame_invalid", Class::Invalid);
/// An agent that says nothing for this long is gone: three beats.
const SILENCE: Duration = Duration::from_secs(95);
/// How long a frame may take to be written.
const WRITE: Duration = Duration::from_secs(20);
/// Frames that are taken together at most; each may have 64 KiB.
const TOGETHER: usize = 8;
/// How long an agent may take to say hello.
const HELLO: Duration = Duration::from_secs(20);
/// Whether the certificate of a connection has ended is looked at this often.
const CERTIFICATE: Duration = Duration::from_secs(60);
/// What is due is looked for this often even without a signal.
const LOOK: Duration = Duration::from_secs(300);

/// Open the link of an agent, as a WebSocket.
///
/// One frame, one text message. The session begins with `hello`.
#[utoipa::path(get, path = "/agent/v1/link", operation_id = "open_link", tag = "agent",
    responses((status = 101, description = "The socket is open")),
    security(()), extensions(("x-fleet-permission" = json!("device")), ("x-fleet-websocket" = json!("AgentFrame"))))]
pub(super) async fn open_link(State(state): State<ApiState>, request: Request) -> ApiResult<Response> {
    let (mut parts, _) = request.into_parts();
    let head = Head::of(&parts);
    let device = authenticate(&head, &[], &state).await?;
    let certified = head.is_certified();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &state)
        .await
        .map_err(|rejection| {
            ApiError::new(
                FRAME_INVALID,
                format!("this route is a WebSocket: {}", rejection.body_text()),
            )
        })?;
    // The defaults hold 128 KiB for each connection; frames are small and connections many.
    let upgrade = upgrade
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .max_write_buffer_size(4 * MAX_FRAME)
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME);
    Ok(upgrade
        .on_upgrade(move |socket| serve_agent(state.fleet, device, certified, socket))
        .map(Body::new))
}

/// What carries the messages of a socket.
pub trait Messages:
    Stream<Item = std::result::Result<Message, axum::Error>> + Sink<Message, Error = axum::Error> + Send + Unpin
{
}

impl<S> Messages for S where
    S: Stream<Item = std::result::Result<Message, axum::Error>> + Sink<Message, Error = axum::Error> + Send + Unpin
{
}

/// Serves the socket of a device that has proved itself (`certified`: by its certificate) until it ends.
pub async fn serve_agent(fleet: Fleet, device: LinkedDevice, certified: bool, socket: impl Messages) {
    let (mut out, mut incoming) = socket.split();
    let session = match timeout(HELLO, hello(&fleet, &device, &mut incoming, &mut out)).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => return end(&fleet, &mut out, &error).await,
        Err(_) => return,
    };
    tracing::info!(device = %session.device, name = &*session.name, epoch = session.epoch, "agent connected");
    let ended = tokio::select! {
        biased;
        ended = converse(&fleet, &session, &mut incoming, &mut out) => ended,
        over = certificate_over(&fleet, &session), if certified => Err(over),
    };
    fleet.sessions().close(&session);
    if let Err(error) = ended {
        tracing::info!(device = %session.device, epoch = session.epoch, reason = error.message(), "agent disconnected");
        end(&fleet, &mut out, &error).await;
    }
}

type Outgoing<S> = SplitSink<S, Message>;
type Incoming<S> = SplitStream<S>;

async fn hello(
    fleet: &Fleet,
    device: &LinkedDevice,
    incoming: &mut Incoming<impl Messages>,
    out: &mut Outgoing<impl Messages>,
) -> Result<Session> {
    match read(incoming).await? {
        AgentFrame::Hello(hello) => {
            let (session, welcome) = fleet.link().open(device, hello).await?;
            write(out, vec![ServerFrame::Welcome(Box::new(welcome))]).await?;
            Ok(session)
        }
        _ => Err(FRAME_INVALID.error("a session begins with hello")),
    }
}

async fn converse(
    fleet: &Fleet,
    session: &Session,
    incoming: &mut Incoming<impl Messages>,
    out: &mut Outgoing<impl Messages>,
) -> Result<()> {
    let mut signal = fleet.device_signals().subscribe(session.device);
    let mut heard = Instant::now();
    let mut look = true;
    loop {
        if look {
            let frames = fleet.link().pending(session).await?;
            let over = frames.iter().any(|frame| matches!(frame, ServerFrame::Bye(_)));
            write(out, frames).await?;
            if over {
                let _ = out.close().await;
                return Ok(());
            }
        }
        tokio::select! {
            // In this order, so that equal causes have equal effects. What is due is seldom.
            biased;
            () = signal.wait(LOOK) => look = true,
            frame = read(incoming) => {
                heard = Instant::now();
                let (frames, broken) = together(frame?, incoming);
                let answers = fleet.link().receive(session, frames).await?;
                write(out, answers).await?;
                if let Some(error) = broken {
                    return Err(error);
                }
                look = false;
            }
            () = tokio::time::sleep_until(heard + SILENCE) => return Err(GONE.error("nothing heard for three beats")),
        }
    }
}

/// Returns when the certificates of a device have ended although it is connected: it does not renew them.
async fn certificate_over(fleet: &Fleet, session: &Session) -> Error {
    loop {
        tokio::time::sleep(CERTIFICATE).await;
        match fleet.link().check_certified(session.device).await {
            Err(error) if !matches!(error.class(), Class::Internal | Class::Unavailable) => return error,
            _ => {}
        }
    }
}

/// The other side is gone.
const GONE: Code = Code::new("link.gone", Class::Unavailable);

/// A frame and those that came with it, so that they can be stored together; and why there will be no more, if that is known.
fn together(first: AgentFrame, incoming: &mut Incoming<impl Messages>) -> (Vec<AgentFrame>, Option<Error>) {
    let mut frames = vec![first];
    while frames.len() < TOGETHER {
        match read(incoming).now_or_never() {
            None => break,
            Some(Ok(frame)) => frames.push(frame),
            Some(Err(error)) => return (frames, Some(error)),
        }
    }
    (frames, None)
}

/// The next frame. Pings are answered by the library.
async fn read(incoming: &mut Incoming<impl Messages>) -> Result<AgentFrame> {
    loop {
        match incoming.next().await {
            None | Some(Ok(Message::Close(_))) => return Err(GONE.error("the agent closed the connection")),
            Some(Err(error)) => return Err(GONE.error("the connection broke").caused_by(error)),
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text)
                    .map_err(|error| FRAME_INVALID.error("a frame could not be read").caused_by(error));
            }
            Some(Ok(Message::Binary(_))) => return Err(FRAME_INVALID.error("frames are text")),
            Some(Ok(_)) => {}
        }
    }
}

async fn write(out: &mut Outgoing<impl Messages>, frames: Vec<ServerFrame>) -> Result<()> {
    if frames.is_empty() {
        return Ok(());
    }
    let send = async {
        for frame in frames {
            let text = serde_json::to_string(&frame).map_err(Error::internal)?;
            out.feed(Message::Text(Utf8Bytes::from(text)))
                .await
                .map_err(|error| GONE.error("the connection broke").caused_by(error))?;
        }
        out.flush()
            .await
            .map_err(|error| GONE.error("the connection broke").caused_by(error))
    };
    timeout(WRITE, send)
        .await
        .unwrap_or_else(|_| Err(GONE.error("the agent takes nothing any more")))
}

/// Says why, as far as the agent still listens.
async fn end(fleet: &Fleet, out: &mut Outgoing<impl Messages>, error: &Error) {
    if error.code() != GONE {
        let _ = write(out, vec![fleet.link().bye(error)]).await;
    }
    let _ = timeout(Duration::from_secs(1), out.close()).await;
}
