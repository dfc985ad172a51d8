//! Authenticating agents, opening sessions, and moving frames.

use std::sync::Arc;

use super::{
    Listening, Session,
    known::{Found, KnownDevice},
    reports::{recorded, run_of, told},
};
use crate::{
    Fleet,
    devices::{
        Device, DeviceId,
        device::{DEVICE_DISABLED, DEVICE_REVOKED, pending_error},
        presence::{BEAT_INTERVAL, DeviceBeat},
    },
    kernel::{Class, Code, Error, PublicKey, Result, Timestamp},
    protocol::{
        AgentFrame, Announce, Assertion, AssertionError, Beat, Bye, Cancel, Hello, KeyAnswer, KeyRequest,
        ManifestAnswer, ManifestRequest, PROTOCOL, PROTOCOL_MIN, Proof, ServerFrame, Want, Welcome, WelcomeBody, agree,
    },
    work::{
        RunId,
        delivery::{Answer, Ask, Told},
        desired::MANIFEST_NOT_FOUND,
    },
};

/// The assertion proves nothing.
pub const ASSERTION_INVALID: Code = Code::new("assertion.invalid", Class::Unauthenticated);
/// The device's clock is off, or the assertion is old. The authorities' answer tells the time, signed.
pub const ASSERTION_STALE: Code = Code::new("assertion.stale", Class::Unauthenticated);
/// The session key does not count here, or not for this request: the server has restarted, its time is over, the proof was
/// used. Sign the request.
pub const PROOF_INVALID: Code = Code::new("proof.invalid", Class::Unauthenticated);
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
    pub name: Arc<str>,
    /// The device key, where the request was signed with it.
    pub(super) signed_by: Option<PublicKey>,
}

/// Serves agents.
#[derive(Debug)]
pub struct LinkService<'a> {
    pub(super) fleet: &'a Fleet,
}

impl<'a> LinkService<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet }
    }

    /// Who sent a request: the device whose key signed its assertion, for this request, now, for the first time.
    pub async fn authenticate(&self, assertion: &str, method: &str, path: &str, body: &[u8]) -> Result<LinkedDevice> {
        let assertion = Assertion::parse(assertion).map_err(refuse)?;
        let device = self.device(assertion.claims.device).await?;
        let now = self.fleet.clock().now();
        assertion
            .verify(&device.verifier, now, method, path, body)
            .map_err(refuse)?;
        // After the signature: nobody else can use up a device's nonces.
        self.fleet
            .replay_guard()
            .admit(&assertion.claims, now)
            .map_err(refuse)?;
        linked(&device, Some(device.key))
    }

    /// Who sent an exchange: the device that agreed on a session key and made this proof with it, for this request, for the
    /// first time. Whatever is wrong with the proof is one error, after which the agent signs.
    pub async fn authenticate_exchange(
        &self,
        proof: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<LinkedDevice> {
        let refused = || PROOF_INVALID.error("this proof does not count here; sign the request with the device's key");
        let proof = Proof::parse(proof).ok_or_else(refused)?;
        let keys = self.fleet.session_keys();
        let now = self.fleet.clock().now();
        let agreed = keys.admit(&proof, now, method, path, body).ok_or_else(refused)?;
        let device = self.device(proof.device).await?;
        // Agreed on by a key that was the device's then, in a session that has ended.
        if device.key != agreed.device_key || self.fleet.sessions().epoch(device.id) != Some(agreed.epoch) {
            keys.forget(proof.device);
            return Err(refused());
        }
        linked(&device, None)
    }

    /// Agrees on a session key, in the session of a request that was signed. None when it was not: a session key must not
    /// prolong itself. None too for a request that would leave no secret.
    pub fn agree(&self, device: &LinkedDevice, session: &Session, request: &KeyRequest) -> Option<KeyAnswer> {
        let device_key = device.signed_by?;
        let identity = self.fleet.keys().identity();
        let (key, answer) = agree(request, session.device, session.epoch, identity, self.fleet.random())?;
        let now = self.fleet.clock().now();
        self.fleet.session_keys().agree(session, device_key, key, now);
        Some(answer)
    }

    /// A device as it proves itself, from memory where that is fresh.
    pub(super) async fn device(&self, id: DeviceId) -> Result<Arc<KnownDevice>> {
        let (known, now) = (self.fleet.known_devices(), self.fleet.clock().now());
        match known.find(id, now) {
            Some(device) => Ok(device),
            // What is seldom is on the heap: a future is as large as the largest of its branches, and is moved about.
            None => Box::pin(self.read_device(id, now)).await,
        }
    }

    async fn read_device(&self, id: DeviceId, now: Timestamp) -> Result<Arc<KnownDevice>> {
        let known = self.fleet.known_devices();
        let ticket = known.ticket(id);
        let device = match self.fleet.store().get::<Device>(id).await? {
            Some(device) => device,
            // Deleted, or enrolled after the time that this server was set back to.
            None => self.fleet.devices().of_agent(id).await?,
        };
        let device = Arc::new(KnownDevice::from(&device.value));
        known.remember(ticket, device.clone(), None, now);
        Ok(device)
    }

    /// Refuses a device where more come at once than the server takes in, before anything is done for it. The error says when it may
    /// come again.
    pub fn check_admission(&self) -> Result<()> {
        let fleet = self.fleet;
        fleet.admission().check(fleet.clock().now(), fleet.random())
    }

    /// Opens a session. It replaces every older one of the device, here and on other servers. Where more devices come at once
    /// than the server takes in, it waits for its turn, or is refused with the time to come again.
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
            || hello.manifest.as_ref().is_some_and(|digest| digest.len() > 64)
        {
            return Err(Error::invalid_field("/hello", "a text is too long"));
        }
        let (clock, random) = (self.fleet.clock(), self.fleet.random());
        let turn = self.fleet.admission().enter(clock, random).await?;
        let epoch = self.fleet.presence().next_epoch(device.id, self.fleet.server()).await?;
        drop(turn);
        let dispatch = self.fleet.keys().dispatch();
        let session = Session {
            device: device.id,
            name: device.name.clone(),
            epoch,
            agent_version: hello.agent_version.into(),
            dispatch: dispatch.public,
        };
        let manifest = hello.manifest.unwrap_or_default();
        self.fleet.known_devices().compare(device.id, &manifest);
        self.fleet.sessions().open(&session, manifest);
        self.fleet.session_keys().forget(device.id);
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
            dispatch_key: dispatch.public,
        };
        let mut welcome = Welcome::sign(body, self.fleet.keys().identity()).map_err(Error::internal)?;
        welcome.handovers.clone_from(&dispatch.handovers);
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
        let mut frames = frames.into_iter().peekable();
        while let Some(frame) = frames.next() {
            if !self.fleet.sessions().is_current(session) {
                return Err(SESSION_UNKNOWN.error("a newer session of this device has begun"));
            }
            if let AgentFrame::Beat(beat) = frame {
                answers.push(self.beat(session, beat).await?);
                continue;
            }
            match run_of(&frame) {
                Some(run) => {
                    // What came together is stored together.
                    let rest = std::iter::from_fn(|| frames.next_if(|next| run_of(next) == Some(run)));
                    let told: Vec<_> = std::iter::once(frame).chain(rest).filter_map(told).collect();
                    answers.extend(Box::pin(self.take_report(session.device, run, &told)).await?);
                }
                None => answers.extend(Box::pin(self.take(session, frame)).await?),
            }
        }
        Ok(answers)
    }

    async fn beat(&self, session: &Session, beat: Beat) -> Result<ServerFrame> {
        let beat = DeviceBeat {
            epoch: session.epoch,
            agent_version: session.agent_version.to_string(),
            gauges: beat.gauges,
        };
        let time = self.fleet.presence().beat(session.device, beat).await?;
        Ok(ServerFrame::Beat { time })
    }

    /// What a device tells of one run, which came together.
    async fn take_report(&self, device: DeviceId, run: RunId, told: &[Told]) -> Result<Vec<ServerFrame>> {
        let delivery = self.fleet.delivery();
        let answers = if told.iter().all(|told| matches!(told, Told::Output(_))) {
            // Nothing moves: it needs no commit.
            for told in told {
                if let Told::Output(output) = told {
                    delivery.output(device, output).await?;
                }
            }
            vec![Answer::Stored; told.len()]
        } else {
            delivery.tell(device, run, told).await?
        };
        let said = told.iter().zip(answers);
        Ok(said
            .map(|(told, answer)| ServerFrame::Recorded(recorded(run, told, answer)))
            .collect())
    }

    async fn take(&self, session: &Session, frame: AgentFrame) -> Result<Option<ServerFrame>> {
        let device = session.device;
        let delivery = self.fleet.delivery();
        Ok(match frame {
            AgentFrame::Hello(_) => {
                return Err(Error::invalid_field(
                    "/frames",
                    "hello opens a session; it is not sent within one",
                ));
            }
            AgentFrame::Beat(beat) => Some(self.beat(session, beat).await?),
            AgentFrame::Announce(Announce { sections }) => {
                let wanted = self.fleet.inventory().wanted(device, &sections).await?;
                let sections: Vec<_> = wanted.into_iter().map(|section| section.name().to_owned()).collect();
                (!sections.is_empty()).then_some(ServerFrame::Want(Want {
                    sections,
                    refresh: false,
                }))
            }
            AgentFrame::Output(output) => {
                delivery.output(device, &output).await?;
                let (run, told) = (output.run, Told::Output(output));
                Some(ServerFrame::Recorded(recorded(run, &told, Answer::Stored)))
            }
            AgentFrame::Applied(applied) => {
                self.fleet.desired().manifests().note_applied(device, applied).await?;
                None
            }
            AgentFrame::Reverted(reverted) => {
                let manifests = self.fleet.desired().manifests();
                match manifests.confirm_reverts(device, &reverted.occurrences).await {
                    // It was taken away meanwhile: nothing is left to be told.
                    Err(error) if error.code() == MANIFEST_NOT_FOUND => {}
                    outcome => outcome?,
                }
                None
            }
            AgentFrame::Accepted(_)
            | AgentFrame::Originated(_)
            | AgentFrame::Started(_)
            | AgentFrame::Refused(_)
            | AgentFrame::Finished(_) => None,
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
        let (known, now) = (self.fleet.known_devices(), self.fleet.clock().now());
        let mut frames = self.handed(session, known.is_let_in(session.device, now)).await?;
        // Whoever claimed it wakes the session when that is over.
        if !known.is_claimed(session.device) && !known.is_settled(session.device, session.epoch, now) {
            frames.extend(Box::pin(self.read_pending(session, now)).await?);
        }
        Ok(frames)
    }

    /// What a device shall be, signed with the key that signs its work.
    pub async fn manifest(&self, device: &LinkedDevice, request: &ManifestRequest) -> Result<ManifestAnswer> {
        let dispatch = self.fleet.keys().dispatch();
        let manifests = self.fleet.desired().manifests();
        manifests.of_agent(device.id, request, &dispatch.key).await
    }

    /// As long as what this returns lives, work may be handed to the session as it is made: it must be asked for what is
    /// [pending](Self::pending) whenever its device is signalled.
    pub fn listen<'s>(&self, session: &'s Session) -> Listening<'s>
    where
        'a: 's,
    {
        Listening::begin(self.fleet.inboxes(), session)
    }

    /// What was handed to the session, signed. Where it is not known that the device is still let in, nothing: the look finds it.
    async fn handed(&self, session: &Session, is_let_in: bool) -> Result<Vec<ServerFrame>> {
        let inboxes = self.fleet.inboxes();
        let Some(run) = inboxes.take(session) else {
            return Ok(Vec::new());
        };
        if !is_let_in {
            inboxes.doubt(session.device);
            return Ok(Vec::new());
        }
        let dispatch = self.fleet.keys().dispatch();
        if dispatch.public != session.dispatch {
            return Err(key_changed());
        }
        let delivery = self.fleet.delivery();
        // Boxed: what is handed is rare, and each beat of an idle session carries this future.
        match Box::pin(delivery.sign(*run, session.device, session.epoch, &dispatch.key)).await {
            Ok(offer) => Ok(vec![ServerFrame::Offer(Box::new(offer))]),
            Err(error) => {
                inboxes.doubt(session.device);
                Err(error)
            }
        }
    }

    async fn read_pending(&self, session: &Session, now: Timestamp) -> Result<Vec<ServerFrame>> {
        let dispatch = self.fleet.keys().dispatch();
        if dispatch.public != session.dispatch {
            // Found within minutes: nothing is remembered for longer. So not all devices come back at once.
            return Ok(vec![bye(&key_changed())]);
        }
        let known = self.fleet.known_devices();
        let ticket = known.ticket(session.device);
        let delivery = self.fleet.delivery();
        let ask = Ask {
            device: session.device,
            epoch: session.epoch,
            is_known: known.is_let_in(session.device, now),
            in_doubt: self.fleet.inboxes().is_in_doubt(session),
        };
        let due = match delivery.due(ask).await {
            Ok(due) => due,
            Err(error) if matches!(error.class(), Class::Internal | Class::Unavailable) => return Err(error),
            // Deleted, disabled, or enrolled after the time that this server was set back to.
            Err(error) => return Ok(vec![bye(&error)]),
        };
        let manifest = due.manifest.clone().unwrap_or_default();
        let found = Found {
            is_idle: due.is_idle,
            manifest: &manifest.digest,
        };
        match &due.device {
            Some(device) => known.remember(ticket, Arc::new(KnownDevice::from(&device.value)), Some(found), now),
            None => known.note(ticket, found),
        }
        if ask.in_doubt && !due.offered.is_empty() {
            self.fleet.inboxes().settle(session);
        }
        let is_news = self.fleet.sessions().tell_manifest(session, &manifest.digest);
        let pending = delivery
            .sign_all(due, session.device, session.epoch, &dispatch.key)
            .await?;
        let offers = pending
            .offers
            .into_iter()
            .map(|offer| ServerFrame::Offer(Box::new(offer)));
        let cancels = pending
            .cancels
            .into_iter()
            .map(|run| ServerFrame::Cancel(Cancel { run }));
        let manifest = is_news.then_some(ServerFrame::Manifest(manifest));
        Ok(offers.chain(cancels).chain(manifest).collect())
    }
}

/// The end of a session, for a reason.
pub(crate) fn bye(error: &Error) -> ServerFrame {
    ServerFrame::Bye(Bye {
        code: error.code().name().to_owned(),
        message: error.message().to_owned(),
        retry_after_seconds: error
            .retry_after_seconds()
            .and_then(|seconds| u32::try_from(seconds).ok()),
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

fn key_changed() -> Error {
    SESSION_UNKNOWN.error("work is signed with another key from now on; say hello again")
}

fn refuse(error: AssertionError) -> Error {
    let code = if error == AssertionError::Stale {
        ASSERTION_STALE
    } else {
        ASSERTION_INVALID
    };
    code.error(error.to_string())
}

/// A device that has proved itself, unless it is kept out.
pub(super) fn linked(device: &KnownDevice, signed_by: Option<PublicKey>) -> Result<LinkedDevice> {
    if device.disabled {
        return Err(DEVICE_DISABLED.error("this device was disabled by an operator"));
    }
    if device.pending {
        return Err(pending_error());
    }
    if device.revoked {
        return Err(DEVICE_REVOKED.error("the key of this device was revoked; enrol it again"));
    }
    Ok(LinkedDevice {
        id: device.id,
        name: device.name.clone(),
        signed_by,
    })
}
