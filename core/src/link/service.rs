//! Authenticating agents, opening sessions, and moving frames.

use super::Session;
use crate::{
    Fleet,
    devices::{
        Device, DeviceId,
        device::{DEVICE_DISABLED, of_agent_in},
        presence::{BEAT_INTERVAL, DeviceBeat},
    },
    kernel::{Class, Code, Error, Result},
    protocol::{
        AgentFrame, Announce, Assertion, AssertionError, Bye, Cancel, Hello, PROTOCOL, PROTOCOL_MIN, Recorded,
        ServerFrame, Want, Welcome, WelcomeBody,
    },
    work::{RunId, delivery::Answer},
};

/// The assertion proves nothing.
pub const ASSERTION_INVALID: Code = Code::new("assertion.invalid", Class::Unauthenticated);
/// The device's clock is off, or the assertion is old; the answer's `Date` says what time it is.
pub const ASSERTION_STALE: Code = Code::new("assertion.stale", Class::Unauthenticated);
/// Agent and server have no version of the protocol in common.
pub const PROTOCOL_UNSUPPORTED: Code = Code::new("link.protocol_unsupported", Class::Invalid);
/// There is no such session here: it was replaced, or the server has restarted. Say hello again.
pub const SESSION_UNKNOWN: Code = Code::new("link.session_unknown", Class::Conflict);

/// A device that has proved its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
}

/// Serves agents.
#[derive(Debug)]
pub struct LinkService<'a> {
    fleet: &'a Fleet,
}

impl<'a> LinkService<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet }
    }

    /// Who sent a request: the device whose key signed its assertion, for this request, now, for the first time.
    pub async fn authenticate(&self, assertion: &str, method: &str, path: &str, body: &[u8]) -> Result<LinkedDevice> {
        let assertion = Assertion::parse(assertion).map_err(refuse)?;
        let id = assertion.claims.device;
        let device = match self.fleet.store().get::<Device>(id).await? {
            Some(device) => device,
            // Deleted, or enrolled after the time that this server was set back to.
            None => self.fleet.devices().of_agent(id).await?,
        };
        let now = self.fleet.clock().now();
        assertion
            .verify(&device.public_key, now, method, path, body)
            .map_err(refuse)?;
        // After the signature: nobody else can use up a device's nonces.
        self.fleet
            .replay_guard()
            .admit(&assertion.claims, now)
            .map_err(refuse)?;
        if device.disabled {
            return Err(disabled());
        }
        Ok(LinkedDevice {
            id: device.value.id,
            name: device.value.name,
        })
    }

    /// Opens a session. It replaces every older one of the device, here and on other servers.
    pub async fn open(&self, device: &LinkedDevice, hello: Hello) -> Result<(Session, Welcome)> {
        if hello.protocol_max < PROTOCOL_MIN || hello.protocol_min > PROTOCOL {
            return Err(PROTOCOL_UNSUPPORTED.error(format!(
                "this server speaks versions {PROTOCOL_MIN} to {PROTOCOL} of the protocol"
            )));
        }
        if hello.nonce.len() > 64
            || hello.agent_version.len() > 64
            || hello.nonce.contains('\0')
            || hello.agent_version.contains('\0')
        {
            return Err(Error::invalid_field("/hello", "a text is too long"));
        }
        let epoch = self.fleet.presence().next_epoch(device.id, self.fleet.server()).await?;
        let session = Session {
            device: device.id,
            name: device.name.clone(),
            epoch,
            agent_version: hello.agent_version,
        };
        self.fleet.sessions().open(&session);
        // An older session of this device wakes and notices that it is one.
        self.fleet.device_signals().signal(device.id);
        let body = WelcomeBody {
            nonce: hello.nonce,
            device: device.id,
            protocol: PROTOCOL.min(hello.protocol_max),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch,
            time: self.fleet.clock().now(),
            heartbeat_seconds: u32::try_from(BEAT_INTERVAL.as_secs()).unwrap_or(u32::MAX),
            poll_seconds: u32::try_from(BEAT_INTERVAL.as_secs()).unwrap_or(u32::MAX),
            dispatch_key: self.fleet.keys().dispatch().public(),
        };
        let welcome = Welcome::sign(body, self.fleet.keys().identity()).map_err(Error::internal)?;
        Ok((session, welcome))
    }

    /// The session that an exchange names.
    pub fn resume(&self, device: &LinkedDevice, epoch: u64) -> Result<Session> {
        self.fleet.sessions().find(device.id, epoch).ok_or_else(|| {
            SESSION_UNKNOWN.error("this session was replaced or the server has restarted; say hello again")
        })
    }

    /// Takes frames in, in order; returns what there is to say about them. An error means that the rest was not taken: the
    /// session ends, and the agent sends it again in the next.
    pub async fn receive(&self, session: &Session, frames: Vec<AgentFrame>) -> Result<Vec<ServerFrame>> {
        let mut answers = Vec::new();
        for frame in frames {
            if !self.fleet.sessions().is_current(session) {
                return Err(SESSION_UNKNOWN.error("a newer session of this device has begun"));
            }
            if let Some(answer) = self.take(session, frame).await? {
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    async fn take(&self, session: &Session, frame: AgentFrame) -> Result<Option<ServerFrame>> {
        let device = session.device;
        let delivery = self.fleet.delivery();
        let recorded = |run: RunId, answer: Answer| Recorded {
            run,
            chunks: 0,
            accepted: true,
            finished: answer == Answer::Rejected,
        };
        Ok(match frame {
            AgentFrame::Hello(_) => {
                return Err(Error::invalid_field(
                    "/frames",
                    "hello opens a session; it is not sent within one",
                ));
            }
            AgentFrame::Beat(beat) => {
                let beat = DeviceBeat {
                    epoch: session.epoch,
                    agent_version: session.agent_version.clone(),
                    gauges: beat.gauges,
                };
                let time = self.fleet.presence().beat(device, beat).await?;
                Some(ServerFrame::Beat { time })
            }
            AgentFrame::Announce(Announce { sections }) => {
                let wanted = self.fleet.inventory().wanted(device, &sections).await?;
                let sections: Vec<_> = wanted.into_iter().map(|section| section.name().to_owned()).collect();
                (!sections.is_empty()).then_some(ServerFrame::Want(Want {
                    sections,
                    refresh: false,
                }))
            }
            AgentFrame::Accepted(accepted) => {
                let answer = delivery.accepted(device, accepted.run).await?;
                Some(ServerFrame::Recorded(recorded(accepted.run, answer)))
            }
            AgentFrame::Started(started) => {
                let answer = delivery.started(device, started.run, started.at).await?;
                Some(ServerFrame::Recorded(recorded(started.run, answer)))
            }
            AgentFrame::Refused(refused) => {
                let run = refused.run;
                delivery.refused(device, refused).await?;
                Some(ServerFrame::Recorded(Recorded {
                    run,
                    chunks: 0,
                    accepted: true,
                    finished: true,
                }))
            }
            AgentFrame::Output(output) => {
                let run = output.run;
                let chunks = delivery.output(device, output).await?;
                Some(ServerFrame::Recorded(Recorded {
                    run,
                    chunks,
                    accepted: true,
                    finished: false,
                }))
            }
            AgentFrame::Finished(finished) => {
                let (run, chunks) = (finished.run, finished.chunks);
                delivery.finished(device, finished).await?;
                Some(ServerFrame::Recorded(Recorded {
                    run,
                    chunks,
                    accepted: true,
                    finished: true,
                }))
            }
            AgentFrame::Unknown => {
                tracing::debug!(%device, "a frame of an unknown kind");
                None
            }
        })
    }

    /// What is due to be sent: offers, committed before they are returned, and requests to stop. Ends with `bye` when the
    /// session is over.
    pub async fn pending(&self, session: &Session) -> Result<Vec<ServerFrame>> {
        if !self.fleet.sessions().is_current(session) {
            return Ok(vec![bye(
                &SESSION_UNKNOWN.error("a newer session of this device has begun")
            )]);
        }
        let mut reader = self.fleet.store().reader().await?;
        match of_agent_in(&mut reader, session.device).await {
            Ok(_) => {}
            Err(error) if matches!(error.class(), Class::Internal | Class::Unavailable) => return Err(error),
            // Deleted, disabled, or enrolled after the time that this server was set back to.
            Err(error) => return Ok(vec![bye(&error)]),
        }
        let pending = self
            .fleet
            .delivery()
            .pending_in(reader, session.device, session.epoch, self.fleet.keys().dispatch())
            .await?;
        let offers = pending
            .offers
            .into_iter()
            .map(|offer| ServerFrame::Offer(Box::new(offer)));
        let cancels = pending
            .cancels
            .into_iter()
            .map(|run| ServerFrame::Cancel(Cancel { run }));
        Ok(offers.chain(cancels).collect())
    }
}

/// The end of a session, for a reason.
pub(crate) fn bye(error: &Error) -> ServerFrame {
    ServerFrame::Bye(Bye {
        code: error.code().name().to_owned(),
        message: error.message().to_owned(),
        retry_after_seconds: None,
    })
}

impl LinkService<'_> {
    /// The frame that ends a session because of an error; the log gets the cause.
    pub fn bye(&self, error: &Error) -> ServerFrame {
        if matches!(error.class(), Class::Internal | Class::Unavailable) {
            tracing::error!(error = error.log(), "a session ended");
        }
        bye(error)
    }
}

fn refuse(error: AssertionError) -> Error {
    let code = if error == AssertionError::Stale {
        ASSERTION_STALE
    } else {
        ASSERTION_INVALID
    };
    code.error(error.to_string())
}

fn disabled() -> Error {
    DEVICE_DISABLED.error("this device was disabled by an operator")
}
