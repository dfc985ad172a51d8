//! The network between one device and the server: slow, lossy, cut, silent, and sometimes wrong about the order of things.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use fleet_agent_lib::link::{Carrier, LinkError, Post, Reply, Transport, TransportKind};
use fleet_core::protocol::{AgentFrame, ServerFrame};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{dice::Dice, door::Door, judge::Judge, plant::Plant};

/// What new connections meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Road {
    /// They get through.
    #[default]
    Open,
    /// They are refused at once.
    Refusing,
    /// Nobody answers.
    Silent,
    /// Somebody answers that the server has too much to do, and for how many seconds it wants to be left alone.
    Busy(u32),
}

/// What becomes of a connection that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Messages pass.
    Passes,
    /// Both sides see the end.
    Cut,
    /// Messages vanish, and nobody is told.
    Silent,
    /// Messages wait until then.
    Waits(Instant),
}

/// How often, out of a thousand, something happens to a message or request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// It is lost.
    pub lost: u32,
    /// It arrives twice.
    pub twice: u32,
    /// It is overtaken by those behind it.
    pub overtaken: u32,
    /// It takes seconds.
    pub slow: u32,
}

/// The network of one device.
#[derive(Debug)]
pub struct Link {
    /// Which device.
    pub agent: usize,
    dice: Dice,
    judge: Arc<Judge>,
    plant: Option<Plant>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    road: Road,
    rates: Rates,
    sockets: Vec<[watch::Sender<Fate>; 2]>,
}

impl Link {
    /// A good network.
    pub fn new(seed: u64, agent: usize, judge: Arc<Judge>, plant: Option<Plant>) -> Arc<Self> {
        Arc::new(Self {
            agent,
            dice: Dice::new(seed, &format!("network {agent}")),
            judge,
            plant,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What new connections meet from now on.
    pub fn set_road(&self, road: Road) {
        self.state().road = road;
    }

    /// What happens to messages from now on.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// What becomes of the connections that are open: of what the device sends, and of what it is sent.
    pub fn set_fate(&self, up: Fate, down: Fate) {
        let mut state = self.state();
        state.sockets.retain(|[up, _]| up.receiver_count() > 0);
        for [of_up, of_down] in &state.sockets {
            of_up.send_replace(up);
            of_down.send_replace(down);
        }
    }

    fn rates(&self) -> Rates {
        self.state().rates
    }

    fn happens(&self, rate: u32, name: &str) -> bool {
        let happens = rate > 0 && self.dice.chance(rate);
        if happens {
            self.judge.cover().fault(name);
        }
        happens
    }

    fn latency(&self, rates: Rates) -> Duration {
        if self.happens(rates.slow, "message slow") {
            self.dice.time(Duration::from_secs(1), Duration::from_secs(40))
        } else {
            self.dice.time(Duration::from_millis(1), Duration::from_millis(300))
        }
    }

    /// What a new connection meets, after the time that it takes to find out.
    async fn meet(&self) -> Result<(), LinkError> {
        self.judge.tries(self.agent);
        let road = self.state().road;
        match road {
            Road::Open => Ok(()),
            Road::Refusing => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Err(LinkError::Unreachable("connection refused".into()))
            }
            Road::Silent => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                Err(LinkError::Unreachable("no answer".into()))
            }
            Road::Busy(seconds) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                self.judge
                    .told_to_stay_away(self.agent, Duration::from_secs(u64::from(seconds)));
                Err(LinkError::Refused {
                    status: 503,
                    code: "server.overloaded".into(),
                    message: "the server has as much to do as it can".into(),
                    retry_after_seconds: Some(seconds).filter(|_| self.plant != Some(Plant::RetryTimeIgnored)),
                })
            }
        }
    }

    /// A connection: what the device has of it, and what the server has.
    fn socket(self: &Arc<Self>) -> (Ends<ServerFrame>, Ends<AgentFrame>) {
        let fates = [watch::Sender::new(Fate::Passes), watch::Sender::new(Fate::Passes)];
        let (agent_out, up) = mpsc::unbounded_channel();
        let (server_out, down) = mpsc::unbounded_channel();
        let (to_server, server_in) = mpsc::unbounded_channel();
        let (to_agent, agent_in) = mpsc::unbounded_channel();
        tokio::spawn(pump(self.clone(), fates[0].subscribe(), up, to_server));
        tokio::spawn(pump(self.clone(), fates[1].subscribe(), down, to_agent));
        self.state().sockets.push(fates);
        let agent = Ends {
            out: agent_out,
            incoming: agent_in,
            from: std::marker::PhantomData,
        };
        let server = Ends {
            out: server_out,
            incoming: server_in,
            from: std::marker::PhantomData,
        };
        (agent, server)
    }
}

/// How frames of output begin. They rely on the order that a stream keeps; everything else must be right in any order.
const OUTPUT: &str = "{\"type\":\"output\"";

/// One side of a connection, and what it receives.
#[derive(Debug)]
pub struct Ends<From> {
    /// Where it sends.
    pub out: mpsc::UnboundedSender<String>,
    /// What it receives.
    pub incoming: mpsc::UnboundedReceiver<String>,
    from: std::marker::PhantomData<fn() -> From>,
}

impl<From> Ends<From> {
    /// What is left instead is not connected to anything.
    pub fn take(&mut self) -> Self {
        let (out, incoming) = (mpsc::unbounded_channel().0, mpsc::unbounded_channel().1);
        let unconnected = Self {
            out,
            incoming,
            from: std::marker::PhantomData,
        };
        std::mem::replace(self, unconnected)
    }
}

/// Carries messages one way, until one side or the connection is gone.
async fn pump(
    link: Arc<Link>,
    mut fate: watch::Receiver<Fate>,
    mut from: mpsc::UnboundedReceiver<String>,
    to: mpsc::UnboundedSender<String>,
) {
    let mut under_way: BTreeMap<(Instant, u64), Option<String>> = BTreeMap::new();
    let (mut number, mut last, mut open) = (0_u64, Instant::now(), true);
    let (mut lost, mut doomed) = (false, None);
    loop {
        let now = *fate.borrow_and_update();
        let not_before = match now {
            Fate::Cut => return,
            Fate::Silent => {
                // Whoever holds the ends hears nothing, not even that it is over.
                under_way.clear();
                while *fate.borrow_and_update() != Fate::Cut {
                    if fate.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                }
                return;
            }
            Fate::Passes => None,
            Fate::Waits(until) => Some(until),
        };
        let next = under_way
            .keys()
            .next()
            .map(|(at, _)| not_before.map_or(*at, |until| until.max(*at)));
        tokio::select! {
            biased;
            changed = fate.changed() => if changed.is_err() { return },
            message = from.recv(), if open => {
                let rates = link.rates();
                open = message.is_some();
                let at = Instant::now() + link.latency(rates);
                number += 1;
                if message.is_some() && link.happens(rates.lost, "message lost") {
                    // What comes after it is lost too, as far as a stream of bytes goes: that is how connections lose things.
                    lost = true;
                }
                if lost {
                    doomed = doomed.or(Some(at + link.dice.time(Duration::from_secs(1), Duration::from_secs(120))));
                    continue;
                }
                let is_output = message.as_ref().is_some_and(|message| message.starts_with(OUTPUT));
                if message.is_some() && !is_output && link.happens(rates.overtaken, "message overtaken") {
                    // Later than everything before it: what is overtaken does not itself overtake.
                    let late = last.max(at) + link.dice.time(Duration::from_millis(10), Duration::from_secs(10));
                    under_way.insert((late, number), message);
                    continue;
                }
                last = last.max(at);
                if message.is_some() && link.happens(rates.twice, "message twice") {
                    under_way.insert((last, number), message.clone());
                    number += 1;
                }
                under_way.insert((last, number), message);
            }
            () = tokio::time::sleep_until(doomed.unwrap_or_else(Instant::now)), if doomed.is_some() => return,
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                // The end of what is sent ends it here too.
                let message = under_way.pop_first().and_then(|(_, message)| message);
                if message.is_none_or(|message| to.send(message).is_err()) {
                    return;
                }
            }
        }
    }
}

/// What carries the requests of one device.
#[derive(Debug)]
pub struct Wire {
    /// Its network.
    pub link: Arc<Link>,
    /// The server.
    pub door: Arc<Door>,
}

#[async_trait]
impl Carrier for Wire {
    async fn post(&self, post: Post) -> Result<Reply, LinkError> {
        let link = &self.link;
        link.meet().await?;
        let rates = link.rates();
        tokio::time::sleep(link.latency(rates)).await;
        if link.happens(rates.lost, "request lost") {
            return std::future::pending().await;
        }
        if link.happens(rates.twice, "request twice") {
            let (door, again, later) = (self.door.clone(), post.clone(), link.latency(rates));
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                let _ = door.post(again).await;
            });
        }
        let answer = self.door.post(post).await;
        if answer.is_some() && link.happens(rates.lost, "answer lost") {
            return std::future::pending().await;
        }
        tokio::time::sleep(link.latency(rates)).await;
        // The road may have been closed while the server thought.
        match link.state().road {
            Road::Silent => {}
            Road::Refusing => return Err(LinkError::Unreachable("connection reset".into())),
            Road::Open | Road::Busy(_) => {
                return answer.ok_or_else(|| LinkError::Unreachable("connection refused".into()));
            }
        }
        std::future::pending().await
    }

    async fn socket(&self, path: &str, assertion: &str) -> Result<Box<dyn Transport>, LinkError> {
        let link = &self.link;
        link.meet().await?;
        tokio::time::sleep(link.latency(link.rates())).await;
        let (agent, server) = link.socket();
        self.door.socket(path, assertion, server).await?;
        Ok(Box::new(SimSocket(agent)))
    }
}

/// The device's side of a socket.
#[derive(Debug)]
struct SimSocket(Ends<ServerFrame>);

#[async_trait]
impl Transport for SimSocket {
    fn kind(&self) -> TransportKind {
        TransportKind::Socket
    }

    async fn send(&mut self, frames: Vec<AgentFrame>) -> Result<(), LinkError> {
        for frame in frames {
            let text = serde_json::to_string(&frame).map_err(|error| LinkError::Untrusted(error.to_string()))?;
            self.0
                .out
                .send(text)
                .map_err(|_| LinkError::Unreachable("the connection broke".into()))?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<ServerFrame>, LinkError> {
        match self.0.incoming.recv().await {
            Some(text) => serde_json::from_str(&text)
                .map(|frame| vec![frame])
                .map_err(|error| LinkError::Untrusted(error.to_string())),
            None => Err(LinkError::Unreachable("the server closed the connection".into())),
        }
    }

    fn opened(&mut self, _epoch: u64) {}

    fn busy(&mut self, _busy: bool) {}

    async fn close(&mut self) {}
}
