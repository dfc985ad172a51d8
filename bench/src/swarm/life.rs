//! The life of an agent: session after session, with the pauses of a real agent between them.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base64::Engine as _;
use fleet_agent_lib::backoff::{Backoff, BackoffLimits};
use fleet_core::{
    devices::inventory::SectionReport,
    kernel::{SystemRandom, random_bytes},
    protocol::{AgentFrame, Announce, Beat, Hello, PROTOCOL, PROTOCOL_MIN, ServerFrame, Welcome, WelcomeBody},
};
use tokio::{sync::watch, time::Instant};

use super::{
    agent::{Agent, gauges},
    dice::Dice,
    poll, report,
    shared::{Phase, Swarm},
    socket,
    tally::Attempts,
    trouble::Trouble,
    work::{Works, fails},
};

/// A session that lived this long has proved that the link works.
const PROVEN: Duration = Duration::from_secs(30);
/// How long an agent is away whose connection broke by chance, at most.
const AWAY: Duration = Duration::from_secs(10);

/// Why a session ended.
#[derive(Debug)]
pub enum End {
    /// Everything is over.
    Over,
    /// Its network was away.
    Churn,
    /// Something went wrong.
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What an agent remembers from session to session.
pub struct Life {
    pub swarm: Arc<Swarm>,
    pub agent: Arc<Agent>,
    pub works: Works,
    pub dice: Dice,
    pub phase: watch::Receiver<Phase>,
    attempts: Attempts,
    /// The return that it has been counted for.
    generation: u64,
}

/// Lives until everything is over.
pub async fn live(swarm: Arc<Swarm>, agent: Arc<Agent>) {
    let mut life = Life {
        dice: Dice::of(swarm.arguments.seed ^ 0x5eed, agent.n),
        phase: swarm.phase.subscribe(),
        works: Works::default(),
        attempts: Attempts::default(),
        generation: 0,
        swarm,
        agent,
    };
    let mut backoff = Backoff::new(BackoffLimits::default());
    while !life.is_over() {
        life.begin_attempt();
        let begun = Instant::now();
        let end = match life.swarm.arguments.poll {
            true => poll::session(&mut life).await,
            false => socket::session(&mut life).await,
        };
        if begun.elapsed() >= PROVEN {
            backoff.proved();
        }
        let pause = match end {
            End::Over => return,
            End::Churn => AWAY.mul_f64(life.dice.share()),
            End::Trouble(trouble) => {
                life.after(&trouble).await;
                if let Trouble::Refused {
                    retry_after: Some(wait),
                    ..
                } = &trouble
                {
                    backoff.hint(*wait);
                }
                backoff.next_delay(&life.swarm.random)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = life.phase.wait_for(|phase| *phase == Phase::Over) => return,
        }
    }
}

impl Life {
    fn is_over(&self) -> bool {
        *self.phase.borrow() == Phase::Over
    }

    /// Whether beats, and all else that is new, goes on.
    pub fn goes_on(&self) -> bool {
        *self.phase.borrow() == Phase::On
    }

    fn begin_attempt(&mut self) {
        let attempts = self.attempts.note(Instant::now());
        self.swarm.tally.most_attempts.fetch_max(attempts, Relaxed);
    }

    async fn after(&self, trouble: &Trouble) {
        self.swarm.tally.trouble(&trouble.counted_as());
        if let Err(trouble) = Box::pin(self.agent.mend(&self.swarm, trouble)).await {
            self.swarm.tally.trouble(&trouble.counted_as());
        }
    }

    /// A hello, and the nonce in it.
    pub fn hello(&self) -> (AgentFrame, String) {
        let nonce = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random_bytes::<16>(&SystemRandom));
        let hello = Hello {
            nonce: nonce.clone(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            operations: vec!["shell".into(), "inventory.refresh".into()],
            manifest: None,
        };
        (AgentFrame::Hello(hello), nonce)
    }

    /// Takes the answer to a hello, from the pinned server only.
    pub fn welcome(&mut self, frame: ServerFrame, nonce: &str) -> Result<Box<Welcome>, Trouble> {
        let welcome = match frame {
            ServerFrame::Welcome(welcome) => welcome,
            ServerFrame::Bye(bye) => return Err(bye.into()),
            _ => return Err(Trouble::Untrusted("it did not begin with a welcome")),
        };
        if !welcome.verify(&self.swarm.target.identity, nonce) || welcome.body.device != self.agent.device {
            return Err(Trouble::Untrusted("the welcome is not signed by the pinned server"));
        }
        self.agent.learn(welcome.body.time);
        self.works.begin_session();
        self.swarm.tally.opened.fetch_add(1, Relaxed);
        Ok(welcome)
    }

    /// The next beat.
    pub fn beat(&mut self) -> AgentFrame {
        self.swarm.tally.waiting.fetch_add(1, Relaxed);
        AgentFrame::Beat(Beat {
            gauges: gauges(self.agent.n, &mut self.dice),
        })
    }

    /// A beat was acknowledged.
    pub fn acknowledged(&mut self, sent: Instant) {
        let tally = &self.swarm.tally;
        tally.waiting.fetch_sub(1, Relaxed);
        tally.beat(sent.elapsed());
        let generation = self.swarm.generation.load(Relaxed);
        if self.generation != generation {
            self.generation = generation;
            tally.back.fetch_add(1, Relaxed);
        }
    }

    /// So many beats will never be acknowledged.
    pub fn unacknowledged(&self, beats: usize) {
        let tally = &self.swarm.tally;
        tally.waiting.fetch_sub(i64::try_from(beats).unwrap_or(0), Relaxed);
        let counter = match self.swarm.storming.load(Relaxed) {
            true => &tally.interrupted_beats,
            false => &tally.lost_beats,
        };
        counter.fetch_add(beats as u64, Relaxed);
    }

    /// The hashes of the inventory, for a session to begin with.
    pub fn announcement(&self) -> Option<AgentFrame> {
        // Collected once, as a device does whose inventory does not change.
        let announce = self.agent.announcement.get_or_init(|| self.collect());
        announce.clone().map(AgentFrame::Announce)
    }

    fn collect(&self) -> Option<Announce> {
        let dataset = self.swarm.dataset.as_ref()?;
        let reports = dataset.reports(usize::try_from(self.agent.n).ok()?).ok()?;
        let hash = |report: &SectionReport| (report.section.name().to_owned(), report.hash.to_string());
        Some(Announce {
            sections: reports.iter().map(hash).collect(),
        })
    }

    /// Takes a frame that is no beat's acknowledgement; what to answer at once.
    pub fn take(&mut self, frame: ServerFrame, session: &WelcomeBody) -> Result<Option<AgentFrame>, End> {
        let options = &self.swarm.arguments;
        Ok(match frame {
            ServerFrame::Offer(offer) => {
                let takes = Duration::from_millis(options.work_millis);
                let fails = fails(&mut self.dice, options.failures);
                self.works
                    .offer(&offer, &self.agent, session, takes, fails, &self.swarm.tally)
            }
            ServerFrame::Cancel(cancel) => self.works.cancel(cancel.run, self.agent.now()),
            ServerFrame::Recorded(recorded) => {
                self.works.recorded(&recorded, &self.swarm.tally);
                None
            }
            ServerFrame::Want(want) => {
                tokio::spawn(report::send(self.swarm.clone(), self.agent.clone(), want));
                None
            }
            ServerFrame::Bye(bye) => return Err(End::Trouble(bye.into())),
            ServerFrame::Welcome(_) => return Err(End::Trouble(Trouble::Untrusted("a second welcome"))),
            // These devices keep nothing.
            ServerFrame::Beat { .. } | ServerFrame::Manifest(_) | ServerFrame::Unknown => None,
        })
    }
}
