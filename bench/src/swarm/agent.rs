//! An agent: who it is, what it is like, and how it speaks for its device.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use fleet_core::{
    devices::DeviceId,
    kernel::{Clock as _, SigningKey, SystemClock, SystemRandom, Timestamp, random_bytes},
    protocol::{ASSERTION_HEADER, Announce, Assertion, CertificateAnswer, CertificateRequest, Gauges, TrustAnswer},
};
use serde::Deserialize;

use super::{
    connection::{Answer, Connection, post},
    dice::Dice,
    shared::Swarm,
    stream::Stream,
    trouble::Trouble,
};

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may take; as agents have it.
const OPEN: Duration = Duration::from_secs(20);

/// What an agent is like; all of it follows from the seed.
#[derive(Clone, Debug)]
pub struct Manner {
    /// When it beats within the time between two beats, from 0 to below 1.
    pub phase: f64,
    /// How far its clock is ahead, in microseconds.
    skew_micros: i64,
    /// How slow its network is.
    delay: Option<Duration>,
}

/// An agent that is enrolled.
#[derive(Debug)]
pub struct Agent {
    /// Its number.
    pub n: u64,
    /// The device that it is.
    pub device: DeviceId,
    /// Its key.
    pub key: SigningKey,
    /// What it is like.
    pub manner: Manner,
    /// Its newest certificate, as DER.
    certificate: Mutex<Option<Vec<u8>>>,
    /// What it adds to its clock, since the server told it the time.
    correction_micros: AtomicI64,
    /// The hashes of its inventory.
    pub announcement: OnceLock<Option<Announce>>,
}

/// What agents are refused with.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
}

impl Manner {
    /// That of an agent without any peculiarity.
    #[cfg(test)]
    pub fn ordinary() -> Self {
        Self {
            phase: 0.0,
            skew_micros: 0,
            delay: None,
        }
    }

    /// That of the `n`th agent.
    pub fn of(swarm: &Swarm, n: u64) -> Self {
        let options = &swarm.arguments;
        let mut dice = Dice::of(options.seed, n);
        let skew = (dice.share() * 2.0 - 1.0) * options.clock_skew as f64 * 1e6;
        Self {
            // The golden ratio spreads any number of agents evenly.
            phase: (n as f64 * 0.618_033_988_749_895).fract(),
            #[expect(clippy::cast_possible_truncation, reason = "at most ten years")]
            skew_micros: skew as i64,
            delay: dice
                .happens(options.slow)
                .then(|| Duration::from_millis(options.slow_millis)),
        }
    }
}

impl Agent {
    pub fn new(n: u64, device: DeviceId, key: SigningKey, manner: Manner) -> Self {
        Self {
            n,
            device,
            key,
            manner,
            certificate: Mutex::default(),
            correction_micros: AtomicI64::new(0),
            announcement: OnceLock::new(),
        }
    }

    /// The time by its clock, as corrected.
    pub fn now(&self) -> Timestamp {
        let off = self.manner.skew_micros + self.correction_micros.load(Relaxed);
        Timestamp::from_micros(SystemClock.now().as_micros().saturating_add(off))
    }

    /// Takes over what the server signed.
    pub fn learn(&self, time: Timestamp) {
        let off = time.as_micros() - SystemClock.now().as_micros() - self.manner.skew_micros;
        self.correction_micros.store(off, Relaxed);
    }

    /// The time of its next beat: each agent has its own places on one grid, so that beats are spread evenly whoever came when.
    pub fn next_beat(&self, swarm: &Swarm) -> tokio::time::Instant {
        let every = swarm.arguments.beat().as_secs_f64();
        let now = swarm.begun.elapsed().as_secs_f64();
        let phase = self.manner.phase * every;
        let turn = ((now - phase) / every).floor() + 1.0;
        swarm.begun + Duration::from_secs_f64((turn * every + phase).max(0.0))
    }

    /// A new connection; on the server's own TLS port with its certificate, as far as it is asked for.
    pub async fn connect(&self, swarm: &Swarm, present: bool) -> Result<Connection, Trouble> {
        let tls = match &swarm.target.tls {
            Some((trust, name)) => {
                let certificate = self.certificate();
                let presented = certificate.as_deref().filter(|_| present).map(|der| (der, &self.key));
                let config = trust
                    .config(presented)
                    .map_err(|error| Trouble::Broken(error.to_string()))?;
                Some((config, name.clone()))
            }
            None => None,
        };
        let stream = tokio::time::timeout(OPEN, Stream::connect(swarm.target.address, self.n, tls))
            .await
            .map_err(|_| Trouble::Broken("no connection in time".into()))??;
        Ok(Connection::new(stream, self.manner.delay))
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The header value that proves its key for one request.
    pub fn assertion(&self, method: &str, path: &str, body: &[u8]) -> String {
        Assertion::sign(&self.key, self.device, self.now(), &SystemRandom, method, path, body)
    }

    /// Asks for its next certificate, over a connection without one.
    pub async fn certify(&self, swarm: &Swarm, connection: &mut Connection) -> Result<(), Trouble> {
        const PATH: &str = "/agent/v1/certificate";
        let nonce = nonce();
        let body = serde_json::to_vec(&CertificateRequest { nonce: nonce.clone() })?;
        let mut tries = 2;
        let answer = loop {
            tries -= 1;
            let assertion = self.assertion("POST", PATH, &body);
            let request = post(PATH, "application/json", &[(ASSERTION_HEADER, &assertion)], &body);
            match request_on(connection, &request).await {
                Err(trouble) if trouble.name() == "assertion.stale" && tries > 0 => {
                    let (_, time) = ask_whom_to_trust(swarm, connection).await?;
                    self.learn(time);
                }
                outcome => break outcome?,
            }
        };
        let answer: CertificateAnswer = serde_json::from_slice(&answer.body)?;
        if !answer.verify(&swarm.target.identity, &nonce, self.device) {
            return Err(Trouble::Untrusted("a certificate that the server did not sign"));
        }
        let der = STANDARD
            .decode(&answer.body.certificate)
            .map_err(|_| Trouble::Untrusted("a certificate that is none"))?;
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(der);
        Ok(())
    }

    /// Does what makes the next attempt succeed, where that can be done: learns the time, or asks for another certificate.
    pub async fn mend(&self, swarm: &Swarm, trouble: &Trouble) -> Result<(), Trouble> {
        if trouble.name() == "assertion.stale" {
            let mut connection = self.connect(swarm, false).await?;
            let (_, time) = ask_whom_to_trust(swarm, &mut connection).await?;
            self.learn(time);
        } else if trouble.is_about_certificate() && swarm.target.tls.is_some() {
            let mut connection = self.connect(swarm, false).await?;
            self.certify(swarm, &mut connection).await?;
        }
        Ok(())
    }
}

/// Random bytes of an agent.
pub fn nonce() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<16>(&SystemRandom))
}

/// Sends a request; its answer, or what it was refused with.
pub async fn request_on(connection: &mut Connection, request: &[u8]) -> Result<Answer, Trouble> {
    let exchange = async {
        connection.send(request).await?;
        connection.answer().await
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| Trouble::Broken("no answer in time".into()))??;
    accept(answer)
}

/// Refusals are trouble.
pub fn accept(answer: Answer) -> Result<Answer, Trouble> {
    if answer.status == 101 || (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    Err(Trouble::Refused {
        code: match problem.code.is_empty() {
            true => format!("http {}", answer.status),
            false => problem.code,
        },
        retry_after: answer.retry_after,
    })
}

/// The authorities and the time, as the pinned server signs them.
pub async fn ask_whom_to_trust(
    swarm: &Swarm,
    connection: &mut Connection,
) -> Result<(Vec<Vec<u8>>, Timestamp), Trouble> {
    let nonce = nonce();
    let body = serde_json::to_vec(&CertificateRequest { nonce: nonce.clone() })?;
    let request = post("/agent/v1/trust", "application/json", &[], &body);
    let answer = request_on(connection, &request).await?;
    let answer: TrustAnswer = serde_json::from_slice(&answer.body)?;
    if !answer.verify(&swarm.target.identity, &nonce) {
        return Err(Trouble::Untrusted("authorities that the server did not sign"));
    }
    let authorities: Option<Vec<_>> = answer
        .body
        .authorities
        .iter()
        .map(|der| STANDARD.decode(der).ok())
        .collect();
    let authorities = authorities.ok_or(Trouble::Untrusted("authorities that are none"))?;
    Ok((authorities, answer.body.time))
}

/// What the device says of itself with a beat.
pub fn gauges(n: u64, dice: &mut Dice) -> Gauges {
    let total = (1 << 30) << (n % 7);
    Gauges {
        uptime_seconds: Some(dice.next() % 8_640_000),
        load_hundredths: u32::try_from(dice.next() % 1_600).ok(),
        memory_total_bytes: Some(total),
        memory_used_bytes: Some(dice.next() % total),
    }
}
