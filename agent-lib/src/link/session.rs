//! One session, from `hello` to its end.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet_core::{
    kernel::{Randomness, random_bytes},
    protocol::{
        AgentFrame, Announce, Applied, Beat, Bye, Hello, Offer, PROTOCOL, PROTOCOL_MIN, Refused, Reverted, ServerFrame,
        WelcomeBody,
    },
};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::{Admission, Admitted, Http, LinkError, Transport, pin};
use crate::{
    clock::ServerClock,
    desired::Keeper,
    reports::Reports,
    runs::{Runs, Sent, Taken},
};

/// How long the server may take to say welcome.
const WELCOME: Duration = Duration::from_secs(30);
/// How long after a beat the server's answer may take.
const BEAT_ANSWER: Duration = Duration::from_secs(15);
/// The bounds of the beat that a server may ask for, in seconds.
const BEAT: std::ops::RangeInclusive<u32> = 1..=3_600;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The connection broke or the server went silent.
    Broken(LinkError),
    /// The server ended it.
    Bye(Bye),
    /// The agent itself has a problem, in words for its log.
    Local(String),
}

/// One session.
#[derive(Debug)]
pub struct Session<'a> {
    http: &'a Http,
    clock: &'a ServerClock,
    random: &'a dyn Randomness,
    runs: &'a Runs,
    reports: &'a Arc<Reports>,
    keeper: &'a Keeper,
    welcome: WelcomeBody,
    admission: Admission,
    sent: Sent,
    /// What was told of the manifest last.
    applied: Option<Applied>,
    reverted: Vec<Uuid>,
}

impl<'a> Session<'a> {
    /// Says hello and checks the welcome.
    ///
    /// # Errors
    /// When the connection breaks, the server refuses, or the welcome is not signed by the pinned server.
    pub async fn open(
        transport: &mut dyn Transport,
        http: &'a Http,
        clock: &'a ServerClock,
        random: &'a dyn Randomness,
        runs: &'a Runs,
        reports: &'a Arc<Reports>,
        keeper: &'a Keeper,
    ) -> Result<Self, End> {
        let nonce = URL_SAFE_NO_PAD.encode(random_bytes::<16>(random));
        let hello = Hello {
            nonce: nonce.clone(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL,
            agent_version: crate::VERSION.to_owned(),
            operations: runs.kinds(),
            manifest: keeper.digest(),
        };
        transport
            .send(vec![AgentFrame::Hello(hello)])
            .await
            .map_err(End::Broken)?;
        let deadline = Instant::now() + WELCOME;
        let silent = || End::Broken(LinkError::Unreachable("no welcome in time".into()));
        let frames = tokio::time::timeout_at(deadline, transport.receive())
            .await
            .map_err(|_| silent())?
            .map_err(End::Broken)?;
        let mut frames = frames.into_iter();
        let welcome = match frames.next() {
            Some(ServerFrame::Welcome(welcome)) => welcome,
            Some(ServerFrame::Bye(bye)) => return Err(End::Bye(bye)),
            _ => {
                return Err(End::Broken(LinkError::Untrusted(
                    "it did not begin with a welcome".into(),
                )));
            }
        };
        if !welcome.verify(&http.identity().server, &nonce) || welcome.body.device != http.identity().device {
            return Err(End::Broken(LinkError::Untrusted(
                "the welcome is not signed by the server that this device was enrolled with".into(),
            )));
        }
        pin::check(http.state(), http.identity(), &welcome).map_err(End::Broken)?;
        transport.opened(welcome.body.epoch);
        clock.learn(welcome.body.time);
        tracing::info!(epoch = welcome.body.epoch, transport = ?transport.kind(), server = welcome.body.server_version, "session opened");
        let mut session = Self {
            http,
            clock,
            random,
            runs,
            reports,
            keeper,
            admission: Admission::new(welcome.body.dispatch_key, welcome.body.device, welcome.body.epoch),
            welcome: welcome.body,
            sent: Sent::default(),
            applied: None,
            reverted: Vec::new(),
        };
        for frame in frames {
            session.take(transport, frame).await?;
        }
        Ok(session)
    }

    /// What the server said of the session.
    pub(crate) fn welcome(&self) -> &WelcomeBody {
        &self.welcome
    }

    /// The time between two beats.
    fn beat_every(&self) -> Duration {
        Duration::from_secs(u64::from(
            self.welcome.heartbeat_seconds.clamp(*BEAT.start(), *BEAT.end()),
        ))
    }

    /// Lives until the session ends.
    pub async fn run(mut self, transport: &mut dyn Transport) -> End {
        match self.live(transport).await {
            Ok(never) => never,
            Err(end) => end,
        }
    }

    async fn live(&mut self, transport: &mut dyn Transport) -> Result<End, End> {
        let every = self.beat_every();
        // The first beat goes at once, the next ones at a phase of this device's own.
        let phase = every.mul_f64(f64::from(random_bytes::<1>(self.random)[0]) / 256.0);
        self.beat(transport).await?;
        let mut beats = tokio::time::interval_at(Instant::now() + phase, every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let patience = every + BEAT_ANSWER;
        let mut announced = None;
        loop {
            transport.busy(self.runs.is_busy());
            self.flush(transport).await?;
            let sections = self.reports.hashes();
            if !sections.is_empty() && announced.as_ref() != Some(&sections) {
                announced = Some(sections.clone());
                transport
                    .send(vec![AgentFrame::Announce(Announce { sections })])
                    .await
                    .map_err(End::Broken)?;
            }
            tokio::select! {
                // In this order, so that equal causes have equal effects. None can starve those below: beats are seldom, and what
                // is due is sent before each wait.
                biased;
                _ = beats.tick() => self.beat(transport).await?,
                frames = transport.receive() => {
                    heard = Instant::now();
                    for frame in frames.map_err(End::Broken)? {
                        self.take(transport, frame).await?;
                    }
                }
                () = self.runs.changed() => {}
                () = self.reports.changed() => {}
                () = self.keeper.changed() => {}
                () = tokio::time::sleep_until(heard + patience) => {
                    return Err(End::Broken(LinkError::Unreachable("the server went silent".into())));
                }
            }
        }
    }

    async fn beat(&self, transport: &mut dyn Transport) -> Result<(), End> {
        let beat = AgentFrame::Beat(Beat {
            gauges: crate::gauges::read(),
        });
        transport.send(vec![beat]).await.map_err(End::Broken)
    }

    async fn flush(&mut self, transport: &mut dyn Transport) -> Result<(), End> {
        let mut frames = self
            .runs
            .due(&mut self.sent)
            .await
            .map_err(|error| End::Local(error.log()))?;
        // After the runs: what was taken back vanishes from the manifest, and the server knows the run by it.
        frames.extend(self.applied());
        if frames.is_empty() {
            Ok(())
        } else {
            transport.send(frames).await.map_err(End::Broken)
        }
    }

    /// What is new of the manifest.
    fn applied(&mut self) -> Vec<AgentFrame> {
        let mut frames = Vec::new();
        let applied = self.keeper.applied();
        if applied != self.applied {
            frames.extend(applied.clone().map(AgentFrame::Applied));
            self.applied = applied;
        }
        let reverted = self.keeper.reverted();
        if reverted != self.reverted {
            self.reverted.clone_from(&reverted);
            if !reverted.is_empty() {
                let occurrences = reverted;
                frames.push(AgentFrame::Reverted(Reverted { occurrences }));
            }
        }
        frames
    }

    async fn take(&mut self, transport: &mut dyn Transport, frame: ServerFrame) -> Result<(), End> {
        match frame {
            // The server's clock was set, or somebody in between lies: what is signed decides.
            ServerFrame::Beat { time } if !self.clock.trim(time) => {
                tracing::info!(%time, "the server's time is another than it was; asking for it, signed");
                match self.http.learn_time().await {
                    // It goes for the session, too.
                    Err(error) if error.retry_after().is_some() => return Err(End::Broken(error)),
                    Err(error) => tracing::warn!(%error, "the server's time could not be learnt"),
                    Ok(()) => {}
                }
            }
            ServerFrame::Beat { .. } => {}
            ServerFrame::Offer(offer) => {
                if let Some(refused) = self.offer(*offer).await? {
                    tracing::warn!(run = %refused.run, code = refused.code, "an offer was refused");
                    transport
                        .send(vec![AgentFrame::Refused(refused)])
                        .await
                        .map_err(End::Broken)?;
                }
            }
            ServerFrame::Cancel(cancel) => {
                if let Some(frame) = self.runs.cancel(cancel.run) {
                    transport.send(vec![frame]).await.map_err(End::Broken)?;
                }
            }
            ServerFrame::Recorded(recorded) => self
                .runs
                .recorded(&recorded)
                .await
                .map_err(|error| End::Local(error.log()))?,
            ServerFrame::Manifest(mark) => self.keeper.requests().name(mark),
            ServerFrame::Want(want) => self.reports.wanted(self.http, want),
            ServerFrame::Bye(bye) => return Err(End::Bye(bye)),
            ServerFrame::Welcome(_) => return Err(End::Broken(LinkError::Untrusted("a second welcome".into()))),
            ServerFrame::Unknown => tracing::debug!("a frame of an unknown kind"),
        }
        Ok(())
    }

    /// Takes an offer, or says why not. What is not signed for this device, this session and this time is refused.
    async fn offer(&mut self, offer: Offer) -> Result<Option<Refused>, End> {
        let run = offer.body.run;
        match self.admission.admit(&offer, self.clock.at_least()) {
            Ok(Admitted::First) => {}
            Ok(Admitted::Repeat) => return Ok(None),
            Ok(Admitted::Full) => return Err(End::Local("so many offers came that a new session begins".into())),
            Err(error) if self.runs.holds(run) => {
                // Anybody may have made it. The answer would end the run for the server, and it goes on here.
                tracing::warn!(%run, %error, "a void offer of a run that is here");
                return Ok(None);
            }
            Err(error) => {
                return Ok(Some(Refused {
                    run,
                    code: error.code().into(),
                    message: error.to_string(),
                }));
            }
        }
        match self.runs.take(offer.body).await {
            Ok(Taken::Accepted) => Ok(None),
            Ok(Taken::Refused(refused)) => Ok(Some(refused)),
            Err(error) => Err(End::Local(error.log())),
        }
    }
}
