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
    protocol::{AgentFrame, MAX_FRAME, ServerFrame, Welcome},
};
use futures::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};

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

/// What a socket reads and writes at once. The first is kept for each connection; larger frames take several steps.
const BUFFER: usize = 1024;

/// Open the link of an agent, as a WebSocket.
///
/// One frame, one text message. The session begins with `hello`.
#[utoipa::path(get, path = "/agent/v1/link", operation_id = "open_link", tag = "agent",
    responses((status = 101, description = "The socket is open")),
    security(()), extensions(("x-fleet-permission" = json!("device")), ("x-fleet-websocket" = json!("AgentFrame"))))]
pub(super) async fn open_link(State(state): State<ApiState>, request: Request) -> ApiResult<Response> {
    let (mut parts, _) = request.into_parts();
    let head = Head::of(&parts);
    // Before the upgrade, and before anything is read: a refusal costs one answer.
    state.fleet.link().check_admission()?;
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
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
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
///
/// There are thousands of these, and they wait: what is needed for moments only is on the heap for just so long.
pub fn serve_agent(
    fleet: Fleet,
    device: LinkedDevice,
    certified: bool,
    socket: impl Messages,
) -> impl Future<Output = ()> + Send {
    let mut socket = Box::new(socket);
    async move {
        let (session, welcome) = match Box::pin(timeout(HELLO, hello(&fleet, device, &mut *socket))).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Box::pin(end(&fleet, &mut *socket, &error)).await,
            Err(_) => return,
        };
        // From here on the session is open, however this ends.
        let ended = match Box::pin(greet(&session, welcome, &mut *socket)).await {
            Ok(()) => converse(&fleet, &session, certified, &mut *socket).await,
            Err(error) => Err(error),
        };
        fleet.sessions().close(&session);
        if let Err(error) = ended {
            tracing::info!(device = %session.device, epoch = session.epoch, reason = error.message(), "agent disconnected");
            Box::pin(end(&fleet, &mut *socket, &error)).await;
        }
    }
}

async fn hello(fleet: &Fleet, device: LinkedDevice, socket: &mut impl Messages) -> Result<(Session, Welcome)> {
    match read(socket).await? {
        AgentFrame::Hello(hello) => fleet.link().open(&device, hello).await,
        _ => Err(FRAME_INVALID.error("a session begins with hello")),
    }
}

async fn greet(session: &Session, welcome: Welcome, socket: &mut impl Messages) -> Result<()> {
    write(socket, vec![ServerFrame::Welcome(Box::new(welcome))]).await?;
    tracing::info!(device = %session.device, name = &*session.name, epoch = session.epoch, "agent connected");
    Ok(())
}

/// When something is to be done although nothing is heard.
struct Due {
    /// The agent is gone.
    gone: Instant,
    /// What is due for it is looked for.
    look: Instant,
    /// Its certificate is looked at; without one never.
    certificate: Option<Instant>,
}

impl Due {
    fn next(&self) -> Instant {
        let next = self.gone.min(self.look);
        self.certificate.map_or(next, |certificate| next.min(certificate))
    }
}

async fn converse(fleet: &Fleet, session: &Session, certified: bool, socket: &mut impl Messages) -> Result<()> {
    let mut signal = fleet.device_signals().subscribe(session.device);
    // From here on each signal is followed by a look.
    let _listening = fleet.link().listen(session);
    if Box::pin(offer(fleet, session, socket)).await? {
        return Ok(());
    }
    let now = Instant::now();
    let mut due = Due {
        gone: now + SILENCE,
        look: now + LOOK,
        certificate: certified.then(|| now + CERTIFICATE),
    };
    // One timer for all, which is not set anew by each frame: when it ends too early it is set again.
    let timer = sleep_until(due.next());
    tokio::pin!(timer);
    loop {
        tokio::select! {
            // In this order, so that equal causes have equal effects. What is due is seldom.
            biased;
            () = signal.signalled() => due.look = Instant::now(),
            frame = read(socket) => {
                due.gone = Instant::now() + SILENCE;
                Box::pin(take(fleet, session, frame?, socket)).await?;
            }
            // Only where nothing is there to be read: it may have been us who were away.
            () = &mut timer => if due.gone <= Instant::now() {
                return Err(GONE.error("nothing heard for three beats"));
            }
        }
        // After each frame as well: whoever never stops sending is looked at all the same.
        let now = Instant::now();
        if due.look <= now {
            due.look = now + LOOK;
            if Box::pin(offer(fleet, session, socket)).await? {
                return Ok(());
            }
        }
        if due.certificate.is_some_and(|at| at <= now) {
            due.certificate = Some(now + CERTIFICATE);
            Box::pin(check_certified(fleet, session)).await?;
        }
        if timer.deadline() <= now {
            timer.as_mut().reset(due.next());
        }
    }
}

/// Sends what is due; whether the session is over.
async fn offer(fleet: &Fleet, session: &Session, socket: &mut impl Messages) -> Result<bool> {
    let frames = fleet.link().pending(session).await?;
    let over = frames.iter().any(|frame| matches!(frame, ServerFrame::Bye(_)));
    write(socket, frames).await?;
    if over {
        let _ = socket.close().await;
    }
    Ok(over)
}

/// Takes a frame, and those that came with it.
async fn take(fleet: &Fleet, session: &Session, first: AgentFrame, socket: &mut impl Messages) -> Result<()> {
    let (frames, broken) = together(first, socket);
    let answers = fleet.link().receive(session, frames).await?;
    write(socket, answers).await?;
    broken.map_or(Ok(()), Err)
}

/// Fails when the certificates of a device have ended although it is connected: it does not renew them.
async fn check_certified(fleet: &Fleet, session: &Session) -> Result<()> {
    match fleet.link().check_certified(session.device).await {
        Err(error) if !matches!(error.class(), Class::Internal | Class::Unavailable) => Err(error),
        _ => Ok(()),
    }
}

/// The other side is gone.
const GONE: Code = Code::new("link.gone", Class::Unavailable);

/// A frame and those that came with it, so that they can be stored together; and why there will be no more, if that is known.
fn together(first: AgentFrame, socket: &mut impl Messages) -> (Vec<AgentFrame>, Option<Error>) {
    let mut frames = vec![first];
    while frames.len() < TOGETHER {
        match read(socket).now_or_never() {
            None => break,
            Some(Ok(frame)) => frames.push(frame),
            Some(Err(error)) => return (frames, Some(error)),
        }
    }
    (frames, None)
}

/// The next frame. Pings are answered by the library.
async fn read(socket: &mut impl Messages) -> Result<AgentFrame> {
    loop {
        match socket.next().await {
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

async fn write(socket: &mut impl Messages, frames: Vec<ServerFrame>) -> Result<()> {
    if frames.is_empty() {
        return Ok(());
    }
    let send = async {
        for frame in frames {
            let text = serde_json::to_string(&frame).map_err(Error::internal)?;
            socket
                .feed(Message::Text(Utf8Bytes::from(text)))
                .await
                .map_err(|error| GONE.error("the connection broke").caused_by(error))?;
        }
        socket
            .flush()
            .await
            .map_err(|error| GONE.error("the connection broke").caused_by(error))
    };
    timeout(WRITE, send)
        .await
        .unwrap_or_else(|_| Err(GONE.error("the agent takes nothing any more")))
}

/// Says why, as far as the agent still listens.
async fn end(fleet: &Fleet, socket: &mut impl Messages, error: &Error) {
    if error.code() != GONE {
        let _ = write(socket, vec![fleet.link().bye(error)]).await;
    }
    let _ = timeout(Duration::from_secs(1), socket.close()).await;
}
