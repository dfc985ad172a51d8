//! The runs of one agent: accepted once, executed in thought, told until the server has stored their end.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fleet_core::{
    kernel::Timestamp,
    protocol::{
        Accepted, AgentFrame, Finished, Offer, Output, OutputChunk, OutputStream, Recorded, Refused, RunResult,
        Started, WelcomeBody,
    },
    work::RunId,
};
use tokio::time::Instant;

use super::{agent::Agent, dice::Dice, tally::Tally};

/// What a device prints.
const OUTPUT: &str = "6.1.0-37-amd64\n";
/// Runs that an agent holds at once, as a real one.
const MOST: usize = 64;

#[derive(Debug)]
struct Work {
    run: RunId,
    started_at: Timestamp,
    ends_at: Instant,
    fails: bool,
    /// What this session has told.
    told_start: bool,
    told_end: bool,
    /// Whether the server has stored the acceptance.
    accepted: bool,
}

/// The runs of one agent whose end is not stored.
#[derive(Debug, Default)]
pub struct Works(Vec<Work>);

impl Works {
    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A new session hears everything anew.
    pub fn begin_session(&mut self) {
        for work in &mut self.0 {
            (work.told_start, work.told_end) = (false, false);
        }
    }

    /// Takes an offer; what to answer at once, if it is refused.
    pub fn offer(
        &mut self,
        offer: &Offer,
        agent: &Agent,
        session: &WelcomeBody,
        takes: Duration,
        fails: bool,
        tally: &Tally,
    ) -> Option<AgentFrame> {
        let run = offer.body.run;
        if let Err(error) = offer.verify(&session.dispatch_key, agent.device, session.epoch, agent.now()) {
            tally.refused_offers.fetch_add(1, Relaxed);
            return Some(AgentFrame::Refused(Refused {
                run,
                code: error.code().into(),
                message: error.to_string(),
            }));
        }
        if self.0.iter().any(|work| work.run == run) {
            return None;
        }
        if self.0.len() >= MOST {
            tally.refused_offers.fetch_add(1, Relaxed);
            return Some(AgentFrame::Refused(Refused {
                run,
                code: "agent.busy".into(),
                message: "as many runs as can be are here already".into(),
            }));
        }
        let now = Instant::now();
        tally.offers.fetch_add(1, Relaxed);
        tally.results_waiting.fetch_add(1, Relaxed);
        tally.runs().offered.push(now);
        self.0.push(Work {
            run,
            started_at: agent.now(),
            ends_at: now + takes,
            fails,
            told_start: false,
            told_end: false,
            accepted: false,
        });
        None
    }

    /// Ends a run at once; what to say of one that never came.
    pub fn cancel(&mut self, run: RunId, now: Timestamp) -> Option<AgentFrame> {
        match self.0.iter_mut().find(|work| work.run == run) {
            Some(work) => {
                work.ends_at = work.ends_at.min(Instant::now());
                None
            }
            None => Some(AgentFrame::Finished(Finished {
                run,
                result: RunResult::Cancelled,
                exit_code: None,
                signal: None,
                code: None,
                message: Some("withdrawn before it came to the device".into()),
                changed: None,
                summary: None,
                started_at: None,
                finished_at: now,
                chunks: 0,
                truncated_bytes: 0,
            })),
        }
    }

    /// When there is something to tell.
    pub fn due_at(&self) -> Option<Instant> {
        let at = |work: &Work| match (work.told_start, work.told_end) {
            (false, _) => Some(Instant::now()),
            (true, false) => Some(work.ends_at),
            (true, true) => None,
        };
        self.0.iter().filter_map(at).min()
    }

    /// What is to be told now: of each run its acceptance and its start, then its output and its end.
    pub fn due(&mut self, agent: &Agent) -> Vec<AgentFrame> {
        let now = Instant::now();
        let mut frames = Vec::new();
        for work in &mut self.0 {
            let run = work.run;
            if !work.told_start {
                work.told_start = true;
                frames.push(AgentFrame::Accepted(Accepted { run }));
                frames.push(AgentFrame::Started(Started {
                    run,
                    at: work.started_at,
                }));
            }
            if !work.told_end && work.ends_at <= now {
                work.told_end = true;
                frames.push(AgentFrame::Output(Output {
                    run,
                    chunks: vec![OutputChunk {
                        sequence: 0,
                        stream: OutputStream::Stdout,
                        text: OUTPUT.into(),
                    }],
                }));
                frames.push(AgentFrame::Finished(Finished {
                    run,
                    result: match work.fails {
                        true => RunResult::Failed,
                        false => RunResult::Succeeded,
                    },
                    exit_code: Some(i32::from(work.fails)),
                    signal: None,
                    code: None,
                    message: None,
                    changed: None,
                    summary: None,
                    started_at: Some(work.started_at),
                    finished_at: agent.now(),
                    chunks: 1,
                    truncated_bytes: 0,
                }));
            }
        }
        frames
    }

    /// Takes over what the server has stored.
    pub fn recorded(&mut self, recorded: &Recorded, tally: &Tally) {
        let Some(place) = self.0.iter().position(|work| work.run == recorded.run) else {
            return;
        };
        let work = &mut self.0[place];
        if recorded.accepted && !work.accepted {
            work.accepted = true;
            tally.runs().accepted.push(Instant::now());
        }
        if recorded.finished && work.told_end {
            self.0.swap_remove(place);
            tally.runs().finished.push(Instant::now());
            tally.results_waiting.fetch_sub(1, Relaxed);
        }
    }
}

/// Whether the next run of an agent fails.
pub fn fails(dice: &mut Dice, percent: f64) -> bool {
    percent > 0.0 && dice.happens(percent)
}

#[cfg(test)]
mod tests {
    use fleet_core::{
        devices::DeviceId,
        kernel::{Clock as _, SeededRandom, SigningKey, SystemClock},
        protocol::OfferBody,
    };

    use super::*;
    use crate::swarm::agent::Manner;

    fn agent() -> Agent {
        let random = SeededRandom::new(1);
        let device = DeviceId::new(SystemClock.now(), &random);
        Agent::new(1, device, SigningKey::generate(&random), Manner::ordinary())
    }

    fn dispatch() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn session(agent: &Agent) -> WelcomeBody {
        WelcomeBody {
            nonce: String::new(),
            device: agent.device,
            protocol: 1,
            server_version: String::new(),
            epoch: 3,
            time: SystemClock.now(),
            heartbeat_seconds: 30,
            poll_seconds: 30,
            dispatch_key: dispatch().public(),
        }
    }

    fn offer(agent: &Agent, epoch: u64) -> Offer {
        let now = SystemClock.now();
        let body = OfferBody {
            run: RunId::new(now, &SeededRandom::new(9)),
            device: agent.device,
            epoch,
            kind: "shell".into(),
            secrets: Vec::new(),
            params: serde_json::json!({"script": "uname -r"}).into(),
            expires_at: now.plus(Duration::from_secs(60)),
            timeout_seconds: 30,
            output_limit_bytes: 1_000,
            idempotent: false,
            exclusive: true,
        };
        Offer::sign(body, &dispatch()).unwrap()
    }

    fn names(frames: &[AgentFrame]) -> Vec<String> {
        let name = |frame: &AgentFrame| {
            serde_json::to_value(frame).unwrap()["type"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        frames.iter().map(name).collect()
    }

    fn recorded(offer: &Offer, finished: bool) -> Recorded {
        Recorded {
            run: offer.body.run,
            chunks: 0,
            accepted: true,
            finished,
        }
    }

    #[test]
    fn a_run_is_told_in_order_and_again_in_the_next_session_until_its_end_is_stored() {
        let (agent, tally, mut works) = (agent(), Tally::default(), Works::default());
        let offer = offer(&agent, 3);
        let take = |works: &mut Works| works.offer(&offer, &agent, &session(&agent), Duration::ZERO, false, &tally);
        assert_eq!(take(&mut works), None);
        assert_eq!(take(&mut works), None, "a repeat is absorbed");
        let all = ["accepted", "started", "output", "finished"];
        assert_eq!(names(&works.due(&agent)), all);
        assert_eq!(works.due(&agent), []);
        works.recorded(&recorded(&offer, false), &tally);
        works.begin_session();
        assert_eq!(names(&works.due(&agent)), all);
        assert_eq!(tally.results_waiting.load(Relaxed), 1);
        works.recorded(&recorded(&offer, true), &tally);
        assert!(works.is_empty());
        assert_eq!(tally.results_waiting.load(Relaxed), 0);
        let runs = tally.runs();
        assert_eq!(
            (runs.offered.len(), runs.accepted.len(), runs.finished.len()),
            (1, 1, 1)
        );
    }

    #[test]
    fn a_void_offer_is_refused() {
        let (agent, tally, mut works) = (agent(), Tally::default(), Works::default());
        let void = offer(&agent, 2);
        let answer = works.offer(&void, &agent, &session(&agent), Duration::ZERO, false, &tally);
        assert!(matches!(answer, Some(AgentFrame::Refused(refused)) if refused.code == "offer.other_epoch"));
        assert!(works.is_empty());
    }
}
