//! A session by polling: each exchange has a short connection of its own.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fleet_core::{
    kernel::SystemRandom,
    protocol::{
        ASSERTION_HEADER, AgentFrame, Exchange, ExchangeAnswer, KeyAgreement, PROOF_HEADER, ServerFrame, SessionKey,
        WelcomeBody,
    },
};
use tokio::time::{Instant, sleep_until};

use super::{
    agent::request_on,
    connection::post,
    life::{End, Life},
    shared::Phase,
    trouble::Trouble,
};

const PATH: &str = "/agent/v1/exchange";
/// The time between two exchanges while work is under way.
const QUICK: Duration = Duration::from_millis(500);

/// A session key that was agreed on.
struct Held {
    key: SessionKey,
    /// The last counter that was used.
    counter: u64,
    /// From then on an exchange is signed and asks for the next one.
    renew_at: Instant,
}

/// Says hello, and lives until the session ends.
pub async fn session(life: &mut Life) -> End {
    let welcome = match Box::pin(open(life)).await {
        Ok(welcome) => welcome,
        Err(trouble) => return End::Trouble(trouble),
    };
    life.swarm.tally.sessions.fetch_add(1, Relaxed);
    let Err(end) = go_on(life, &welcome).await;
    life.swarm.tally.sessions.fetch_sub(1, Relaxed);
    end
}

async fn open(life: &mut Life) -> Result<WelcomeBody, Trouble> {
    let (hello, nonce) = life.hello();
    let exchange = Exchange {
        epoch: None,
        frames: vec![hello],
        wait_seconds: 0,
        key: None,
    };
    let answer = signed(life, &exchange).await?;
    let first = answer.frames.into_iter().next();
    let first = first.ok_or(Trouble::Untrusted("it did not begin with a welcome"))?;
    Ok(life.welcome(first, &nonce)?.body)
}

async fn go_on(life: &mut Life, session: &WelcomeBody) -> Result<std::convert::Infallible, End> {
    let churn = life
        .dice
        .until(life.swarm.arguments.churn)
        .map(|after| Instant::now() + after);
    let mut held = None;
    // The first beat follows the hello at once.
    let mut next = Instant::now();
    let mut quick: Option<Instant> = None;
    let mut answers: Vec<AgentFrame> = life.announcement().into_iter().collect();
    loop {
        let on = life.goes_on();
        let wake = [on.then_some(next), churn.filter(|_| on), life.works.due_at(), quick];
        match wake.into_iter().flatten().min() {
            Some(wake) => tokio::select! {
                () = sleep_until(wake) => {}
                _ = life.phase.changed() => {}
            },
            None => drop(life.phase.changed().await),
        }
        if *life.phase.borrow() == Phase::Over {
            return Err(End::Over);
        }
        let (now, on) = (Instant::now(), life.goes_on());
        if on && churn.is_some_and(|at| at <= now) && life.works.is_empty() {
            return Err(End::Churn);
        }
        let beats = on && now >= next;
        let mut frames = std::mem::take(&mut answers);
        frames.extend(life.works.due(&life.agent));
        if !beats && frames.is_empty() && quick.is_none_or(|at| at > now) {
            continue;
        }
        if beats {
            next = life.agent.next_beat(&life.swarm);
            frames.insert(0, life.beat());
        }
        // The connection and all that is on it goes away between two exchanges.
        let sent = Instant::now();
        let answer = Box::pin(exchange(life, session.epoch, frames, &mut held)).await;
        let acknowledged = |frame: &ServerFrame| matches!(frame, ServerFrame::Beat { .. });
        let is_acknowledged = answer.as_ref().is_ok_and(|frames| frames.iter().any(acknowledged));
        match (beats, is_acknowledged) {
            (true, true) => life.acknowledged(sent),
            (true, false) => life.unacknowledged(1),
            (false, _) => {}
        }
        for frame in answer? {
            answers.extend(life.take(frame, session)?);
        }
        quick = (!life.works.is_empty() || !answers.is_empty()).then(|| Instant::now() + QUICK);
    }
}

/// Sends frames, proved by the session key where that counts.
async fn exchange(
    life: &mut Life,
    epoch: u64,
    frames: Vec<AgentFrame>,
    held: &mut Option<Held>,
) -> Result<Vec<ServerFrame>, Trouble> {
    let mut exchange = Exchange {
        epoch: Some(epoch),
        frames,
        wait_seconds: 0,
        key: None,
    };
    let certified = life.swarm.target.tls.is_some();
    if let Some(usable) = held.as_mut().filter(|held| Instant::now() < held.renew_at) {
        let body = serde_json::to_vec(&exchange)?;
        usable.counter += 1;
        let proof = usable.key.prove(life.agent.device, usable.counter, "POST", PATH, &body);
        match send(life, &body, Some((PROOF_HEADER, &proof))).await {
            // It took nothing: the server has restarted.
            Err(trouble) if trouble.name() == "proof.invalid" => *held = None,
            outcome => return Ok(outcome?.frames),
        }
    }
    if certified {
        let body = serde_json::to_vec(&exchange)?;
        return Ok(send(life, &body, None).await?.frames);
    }
    let agreement = KeyAgreement::begin(&SystemRandom);
    exchange.key = Some(agreement.request());
    let asked_at = Instant::now();
    let answer = signed(life, &exchange).await?;
    if let Some(key) = answer.key {
        let lifetime = Duration::from_secs(u64::from(key.body.lifetime_seconds));
        let key = agreement
            .finish(&key, &life.swarm.target.identity, life.agent.device, epoch)
            .ok_or(Trouble::Untrusted("the session key is not signed by the pinned server"))?;
        *held = Some(Held {
            key,
            counter: 0,
            renew_at: asked_at + lifetime.mul_f64(0.8),
        });
    }
    Ok(answer.frames)
}

/// Sends an exchange that is signed with the device's key; on the server's own TLS port its certificate is enough.
async fn signed(life: &Life, exchange: &Exchange) -> Result<ExchangeAnswer, Trouble> {
    let body = serde_json::to_vec(exchange)?;
    if life.swarm.target.tls.is_some() {
        return send(life, &body, None).await;
    }
    let assertion = life.agent.assertion("POST", PATH, &body);
    send(life, &body, Some((ASSERTION_HEADER, &assertion))).await
}

async fn send(life: &Life, body: &[u8], proof: Option<(&str, &str)>) -> Result<ExchangeAnswer, Trouble> {
    let mut connection = life.agent.connect(&life.swarm, true).await?;
    let headers: Vec<_> = proof.into_iter().collect();
    let answer = request_on(&mut connection, &post(PATH, "application/json", &headers, body)).await?;
    Ok(serde_json::from_slice(&answer.body)?)
}
