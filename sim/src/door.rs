//! The server's process, and the door before it: the routes of the API without a port. What goes in and out is seen here, and here is
//! where planted faults lie.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::ws::{Message, Utf8Bytes},
    http::Request,
};
use fleet_agent_lib::link::{LinkError, Post, Reply};
use fleet_api::{ApiConfig, agents_router, serve_agent};
use fleet_core::{
    Fleet,
    devices::DeviceId,
    kernel::{Class, Clock as _, MasterKey, SeededRandom},
    link::LinkedDevice,
    protocol::{AgentFrame, Assertion, Exchange, ExchangeAnswer, ServerFrame},
    settings::Override,
    store::Backend,
    work::APPROVAL_SECONDS,
};
use futures::{Sink, Stream};
use tokio::{sync::oneshot, task::JoinSet};
use tower::ServiceExt as _;

use crate::{
    judge::{Invariant, Judge},
    lies::{self, Inbound},
    network::Ends,
    plant::Plant,
    store::SimStore,
};

/// How a beat begins, and the answer to it.
const BEAT: &str = "{\"type\":\"beat\"";
/// The largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;

/// A server that is started and crashes.
#[derive(Debug)]
pub struct Door {
    /// Its store, which stays.
    pub store: Arc<SimStore>,
    /// Who watches.
    pub judge: Arc<Judge>,
    plant: Option<Plant>,
    seed: u64,
    starts: Mutex<u64>,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    fleet: Fleet,
    router: Router,
    tasks: JoinSet<()>,
}

impl Door {
    /// A server that was not started yet.
    pub fn new(seed: u64, store: Arc<SimStore>, judge: Arc<Judge>, plant: Option<Plant>) -> Arc<Self> {
        Arc::new(Self {
            store,
            judge,
            plant,
            seed,
            starts: Mutex::new(0),
            process: Mutex::new(None),
        })
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the server over its store.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn start(&self) -> fleet_core::kernel::Result<()> {
        let starts = {
            let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
            *starts += 1;
            *starts
        };
        // It listens from some moment of its start on.
        self.judge.server_began();
        let master = MasterKey::generate(&SeededRandom::new(self.seed));
        let fleet = Fleet::builder(self.store.clone() as Arc<dyn Backend>, master)
            .clock(self.judge.clock.clone())
            .random(Arc::new(SeededRandom::new(self.seed ^ (starts << 40))))
            // The shortest that may be: days of waiting would only be simulated.
            .settings([(APPROVAL_SECONDS.name().into(), vec![Override::Flag("300".into())])].into())
            .open()
            .await?;
        self.judge.trace.say(format_args!("the server is started ({starts})"));
        let router = agents_router(fleet.clone(), ApiConfig::default());
        let mut tasks = JoinSet::new();
        let jobs = fleet.clone();
        tasks.spawn(async move { jobs.run(std::future::pending()).await });
        *self.process() = Some(Process { fleet, router, tasks });
        Ok(())
    }

    /// The server is gone in the middle of whatever it does.
    pub async fn crash(&self) {
        let process = self.process().take();
        if let Some(mut process) = process {
            self.judge.trace.say("the server crashes");
            process.tasks.shutdown().await;
        }
    }

    /// The fleet, while the server runs.
    pub fn fleet(&self) -> Option<Fleet> {
        self.process().as_ref().map(|process| process.fleet.clone())
    }

    /// Does something as part of the server: it ends with it.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        match &mut *self.process() {
            Some(process) => {
                while process.tasks.try_join_next().is_some() {}
                process.tasks.spawn(work);
                true
            }
            None => false,
        }
    }

    /// A planted fault: it is there, and lets nobody in.
    fn is_shut(&self) -> bool {
        let starts = *self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        self.plant == Some(Plant::ShutAfterRestart) && starts > 1
    }

    /// A request; no answer when the server is not there, or not any more.
    pub async fn post(self: &Arc<Self>, post: Post) -> Option<Reply> {
        let (fleet, router) = {
            let process = self.process();
            let process = process.as_ref().filter(|_| !self.is_shut())?;
            (process.fleet.clone(), process.router.clone())
        };
        let (answer, answered) = oneshot::channel();
        let door = self.clone();
        // The server goes on with what it has begun, whoever waits for it.
        self.spawn(async move {
            let reply = door.answer(&fleet, router, post).await;
            let _ = answer.send(reply);
        });
        answered.await.ok().flatten()
    }

    async fn answer(&self, fleet: &Fleet, router: Router, post: Post) -> Option<Reply> {
        let device = device_of(&post);
        let (post_path, mut request) = (post.path.clone(), Request::post(&post.path));
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let exchange: Option<(DeviceId, Exchange)> = device.zip(serde_json::from_slice(&post.body).ok());
        let late = exchange
            .as_ref()
            .and_then(|(device, exchange)| Some(exchange.epoch? < self.judge.epoch(*device)))
            .unwrap_or(false);
        let response = router.oneshot(request.body(Body::from(post.body)).ok()?).await.ok()?;
        let status = response.status().as_u16();
        if status == 500 {
            self.judge.violate(Invariant::NobodyPanics, "a request failed inside");
        }
        let retry_after_seconds = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = axum::body::to_bytes(response.into_body(), MAX_ANSWER).await.ok()?;
        if status >= 400 {
            self.judge
                .trace
                .say(format_args!("a request to {} is refused: {status}", post_path));
        }
        if let Ok(text) = std::str::from_utf8(&body) {
            self.judge.check_told(device, text);
        }
        if let Some((device, _)) = exchange
            && let Ok(answer) = serde_json::from_slice::<ExchangeAnswer>(&body)
        {
            for frame in &answer.frames {
                self.judge.server_says(fleet, device, frame, late);
            }
        }
        Some(Reply {
            status,
            retry_after_seconds,
            body,
        })
    }

    /// A socket.
    ///
    /// # Errors
    /// When the server is not there, or refuses.
    pub async fn socket(
        self: &Arc<Self>,
        path: &str,
        assertion: &str,
        ends: Ends<AgentFrame>,
    ) -> Result<(), LinkError> {
        let gone = || LinkError::Unreachable("connection refused".into());
        let fleet = self.fleet().filter(|_| !self.is_shut()).ok_or_else(gone)?;
        let device = match fleet.link().authenticate(assertion, "GET", path, &[]).await {
            Ok(device) => device,
            Err(error) if matches!(error.class(), Class::Internal | Class::Unavailable) => return Err(gone()),
            Err(error) => {
                self.judge
                    .trace
                    .say(format_args!("a socket is refused: {}", error.code().name()));
                return Err(LinkError::Refused {
                    status: 401,
                    code: error.code().name().to_owned(),
                    message: error.message().to_owned(),
                    retry_after_seconds: None,
                });
            }
        };
        let socket = ServerSocket {
            door: self.clone(),
            fleet: fleet.clone(),
            device: device.clone(),
            epoch: 0,
            late: AtomicBool::new(false),
            ends,
        };
        let (door, id) = (self.clone(), device.id);
        let served = self.spawn(async move {
            serve_agent(fleet.clone(), device, false, socket).await;
            lies::at_disconnect(door.plant, &fleet, id).await;
        });
        if served { Ok(()) } else { Err(gone()) }
    }

    /// The server's clock.
    pub fn now(&self) -> fleet_core::kernel::Timestamp {
        self.judge.clock.now()
    }
}

/// Whom a request is from, as its proof says.
fn device_of(post: &Post) -> Option<DeviceId> {
    use fleet_core::protocol::{ASSERTION_HEADER, PROOF_HEADER, Proof};
    post.headers.iter().find_map(|(name, value)| match *name {
        ASSERTION_HEADER => Assertion::parse(value).ok().map(|assertion| assertion.claims.device),
        PROOF_HEADER => Proof::parse(value).map(|proof| proof.device),
        _ => None,
    })
}

/// The server's side of a socket.
struct ServerSocket {
    door: Arc<Door>,
    fleet: Fleet,
    device: LinkedDevice,
    epoch: u64,
    /// Something came by it after a newer connection was welcomed.
    late: AtomicBool,
    ends: Ends<AgentFrame>,
}

impl ServerSocket {
    /// What the server, or a lie in its name, says.
    fn say(&mut self, text: String) {
        let late = self.late.load(Ordering::Relaxed);
        self.door.judge.check_told(Some(self.device.id), &text);
        // Most of what is said, and nothing to look into.
        if text.starts_with(BEAT) && !late {
            self.door.judge.beat_taken(self.device.id);
            let _ = self.ends.out.send(text);
            return;
        }
        let frame = match serde_json::from_str(&text) {
            Ok(frame) => frame,
            Err(_) => ServerFrame::Unknown,
        };
        if let ServerFrame::Welcome(welcome) = &frame {
            self.epoch = welcome.body.epoch;
        }
        for frame in lies::outbound(self.door.plant, &self.fleet, self.door.now(), frame) {
            self.door.judge.server_says(&self.fleet, self.device.id, &frame, late);
            if let Ok(text) = serde_json::to_string(&frame) {
                let _ = self.ends.out.send(text);
            }
        }
    }
}

impl Drop for ServerSocket {
    /// A planted fault: what still comes is answered, though the server has done with it.
    fn drop(&mut self) {
        if !lies::goes_on(self.door.plant) || self.epoch == 0 {
            return;
        }
        let (door, fleet, device, epoch) = (self.door.clone(), self.fleet.clone(), self.device.id, self.epoch);
        let mut ends = self.ends.take();
        self.door.spawn(async move {
            while let Some(text) = ends.incoming.recv().await {
                if text.starts_with(BEAT) {
                    let beat = ServerFrame::Beat { time: door.now() };
                    door.judge
                        .server_says(&fleet, device, &beat, epoch < door.judge.epoch(device));
                }
            }
        });
    }
}

impl Stream for ServerSocket {
    type Item = Result<Message, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(text) = std::task::ready!(self.ends.incoming.poll_recv(context)) else {
                return Poll::Ready(None);
            };
            let newest = self.door.judge.epoch(self.device.id);
            if self.epoch > 0 && self.epoch < newest {
                self.late.store(true, Ordering::Relaxed);
            }
            match lies::inbound(self.door.plant, &self.fleet, &text) {
                Inbound::Pass => return Poll::Ready(Some(Ok(Message::Text(Utf8Bytes::from(text))))),
                Inbound::Instead(text) => return Poll::Ready(Some(Ok(Message::Text(Utf8Bytes::from(text))))),
                Inbound::Swallow(answers) => {
                    for answer in answers {
                        if let Ok(text) = serde_json::to_string(&answer) {
                            self.say(text);
                        }
                    }
                }
            }
        }
    }
}

impl Sink<Message> for ServerSocket {
    type Error = axum::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), axum::Error> {
        if let Message::Text(text) = message {
            self.say(text.to_string());
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        let closed = self.ends.out.is_closed();
        Poll::Ready(if closed { Err(axum::Error::new(Closed)) } else { Ok(()) })
    }
}

/// The other side is gone.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is closed")
    }
}

impl std::error::Error for Closed {}
