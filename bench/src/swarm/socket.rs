//! A session over a WebSocket.

use std::{collections::VecDeque, sync::atomic::Ordering::Relaxed, time::Duration};

use fleet_core::protocol::{ASSERTION_HEADER, AgentFrame, ServerFrame, WelcomeBody};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    agent::accept,
    connection::{Connection, Message, upgrade},
    life::{End, Life},
    shared::Phase,
    trouble::Trouble,
};
use crate::generator::wire::frame;

const PATH: &str = "/agent/v1/link";
/// How long the server may take to open the socket, and then to say welcome.
const OPEN: Duration = Duration::from_secs(20);
const WELCOME: Duration = Duration::from_secs(30);
/// How long after a beat the server's answer may take.
const BEAT_ANSWER: Duration = Duration::from_secs(15);

/// An open socket.
struct Socket {
    connection: Connection,
    session: WelcomeBody,
    /// When the beats were sent that wait for their acknowledgement.
    waiting: VecDeque<Instant>,
}

/// Connects, and lives until the session ends.
pub async fn session(life: &mut Life) -> End {
    // What is seldom is on the heap, so that an agent which waits is small.
    let mut socket = match Box::pin(open(life)).await {
        Ok(socket) => socket,
        Err(trouble) => return End::Trouble(trouble),
    };
    life.swarm.tally.sessions.fetch_add(1, Relaxed);
    let Err(end) = converse(life, &mut socket).await;
    life.swarm.tally.sessions.fetch_sub(1, Relaxed);
    life.unacknowledged(socket.waiting.len());
    end
}

async fn open(life: &mut Life) -> Result<Socket, Trouble> {
    let mut connection = life.agent.connect(&life.swarm, true).await?;
    let request = match &life.swarm.target.tls {
        Some(_) => upgrade(PATH, None),
        None => upgrade(PATH, Some((ASSERTION_HEADER, &life.agent.assertion("GET", PATH, &[])))),
    };
    let opening = async {
        connection.send(&request).await?;
        accept(connection.answer().await?)
    };
    let answer = timeout(OPEN, opening).await.map_err(|_| silent())??;
    if answer.status != 101 {
        return Err(Trouble::Untrusted("no socket"));
    }
    let (hello, nonce) = life.hello();
    connection.send(&bytes(&[hello])?).await?;
    let welcome = timeout(WELCOME, text(&mut connection)).await.map_err(|_| silent())??;
    let welcome = life.welcome(welcome, &nonce)?;
    Ok(Socket {
        connection,
        session: welcome.body,
        waiting: VecDeque::new(),
    })
}

fn silent() -> Trouble {
    Trouble::Broken("no answer in time".into())
}

/// The next frame.
async fn text(connection: &mut Connection) -> Result<ServerFrame, Trouble> {
    loop {
        match connection.message().await? {
            Message::Text(text) => return Ok(serde_json::from_slice(&text)?),
            Message::Close => return Err(Trouble::Broken("the server closed the session".into())),
            Message::Other => {}
        }
    }
}

fn bytes(frames: &[AgentFrame]) -> Result<Vec<u8>, Trouble> {
    let mut all = Vec::new();
    for one in frames {
        let text = serde_json::to_vec(one)?;
        all.extend(frame(&text).map_err(|_| Trouble::Untrusted("a frame that is too long"))?);
    }
    Ok(all)
}

async fn converse(life: &mut Life, socket: &mut Socket) -> Result<std::convert::Infallible, End> {
    let churn = life
        .dice
        .until(life.swarm.arguments.churn)
        .map(|after| Instant::now() + after);
    let patience = life.swarm.arguments.beat() + BEAT_ANSWER;
    let mut heard = Instant::now();
    if life.goes_on() {
        beat(life, socket).await?;
        if let Some(announcement) = life.announcement() {
            socket.connection.send(&bytes(&[announcement])?).await?;
        }
    }
    let mut next = life.agent.next_beat(&life.swarm);
    loop {
        if life.works.due_at().is_some_and(|at| at <= Instant::now()) {
            let due = life.works.due(&life.agent);
            socket.connection.send(&bytes(&due)?).await?;
        }
        let on = life.goes_on();
        let silence = heard + patience;
        let wake = [
            Some(silence),
            on.then_some(next),
            churn.filter(|_| on),
            life.works.due_at(),
        ];
        let wake = wake.into_iter().flatten().min().unwrap_or(silence);
        tokio::select! {
            frame = text(&mut socket.connection) => {
                heard = Instant::now();
                take(life, socket, frame?).await?;
            }
            () = sleep_until(wake) => {
                let now = Instant::now();
                // In the end nothing is to be heard any more, but for what is waited for.
                if now >= silence && (on || !socket.waiting.is_empty()) {
                    return Err(Trouble::Broken("the server went silent".into()).into());
                }
                if now >= silence {
                    heard = now;
                }
                if on && churn.is_some_and(|at| at <= now) && socket.waiting.is_empty() && life.works.is_empty() {
                    return Err(End::Churn);
                }
                if on && now >= next {
                    next = life.agent.next_beat(&life.swarm);
                    beat(life, socket).await?;
                }
            }
            _ = life.phase.changed() => {
                if *life.phase.borrow() == Phase::Over {
                    return Err(End::Over);
                }
            }
        }
    }
}

async fn beat(life: &mut Life, socket: &mut Socket) -> Result<(), Trouble> {
    let beat = bytes(&[life.beat()])?;
    socket.waiting.push_back(Instant::now());
    socket.connection.send(&beat).await
}

async fn take(life: &mut Life, socket: &mut Socket, frame: ServerFrame) -> Result<(), End> {
    if let ServerFrame::Beat { .. } = frame {
        match socket.waiting.pop_front() {
            Some(sent) => life.acknowledged(sent),
            None => return Err(Trouble::Untrusted("an acknowledgement of no beat").into()),
        }
        return Ok(());
    }
    if let Some(answer) = life.take(frame, &socket.session)? {
        socket.connection.send(&bytes(&[answer])?).await?;
    }
    Ok(())
}
