//! The output of a run, live; and the server's live events.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    Client, Exit, Failure, Result,
    sse::{Event, Parser},
};

/// Connections in a row that brought nothing new before we give up.
const FRUITLESS: u32 = 8;
/// A connection that lasted this long was of use, even if the run was silent: a proxy may have ended it.
const OF_USE: Duration = Duration::from_secs(10);
/// The pause after the first of them; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A piece of a run's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its place among the pieces of the run, from 0.
    pub sequence: u64,
    /// Where it came from: `stdout`, `stderr`, `agent`, or something newer.
    pub stream: String,
    /// The text.
    pub text: String,
}

impl Chunk {
    /// Reads a chunk from the server's JSON.
    pub fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            sequence: value["sequence"].as_u64()?,
            stream: value["stream"].as_str()?.to_owned(),
            text: value["text"].as_str()?.to_owned(),
        })
    }
}

/// Reads events until `take` says that it has enough. Gives back whether it did; the stream may also end by itself.
async fn read(
    client: &Client,
    path: &[&str],
    last: Option<&str>,
    mut take: impl FnMut(Event) -> Result<bool>,
) -> Result<bool> {
    let mut response = client.stream(path, last).await?;
    let mut parser = Parser::default();
    let mut events = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|error| client.unreachable(&error))? {
        let fits = parser.push(&bytes, &mut events);
        for event in events.drain(..) {
            if take(event)? {
                return Ok(true);
            }
        }
        fits.map_err(|_| Failure::unexpected("the server sends an event that is longer than any of ours"))?;
    }
    Ok(false)
}

/// Hands every chunk of a run to `sink`, once and in order, until the run has ended; gives back the run. A connection that breaks is
/// made again, from where it broke.
pub async fn follow(client: &Client, run: &str, mut sink: impl FnMut(Chunk) -> Result<()>) -> Result<Value> {
    let path = ["runs", run, "output", "stream"];
    let (mut next, mut ended) = (0_u64, None);
    let (mut fruitless, mut pause) = (0, FIRST_PAUSE);
    loop {
        let (before, begun) = (next, Instant::now());
        let last = next.checked_sub(1).map(|last| last.to_string());
        let result = read(client, &path, last.as_deref(), |event| {
            let value: Value = serde_json::from_str(&event.data)
                .map_err(|error| Failure::unexpected(format!("an event is not JSON: {error}")))?;
            match &*event.kind {
                "chunk" => {
                    let chunk = Chunk::from_json(&value)
                        .ok_or_else(|| Failure::unexpected("a piece of output is not as it should be"))?;
                    // A server may repeat what we have.
                    if chunk.sequence >= next {
                        next = chunk.sequence + 1;
                        sink(chunk)?;
                    }
                }
                "ended" => {
                    ended = Some(value);
                    return Ok(true);
                }
                _ => {}
            }
            Ok(false)
        })
        .await;
        if let Some(run) = ended.take() {
            return Ok(run);
        }
        match result {
            Err(failure) if failure.exit() != Exit::Unreachable => return Err(failure),
            result => {
                let was_of_use = next > before || begun.elapsed() >= OF_USE;
                (fruitless, pause) = if was_of_use {
                    (0, FIRST_PAUSE)
                } else {
                    (fruitless + 1, pause * 2)
                };
                if fruitless >= FRUITLESS {
                    let failure = result.err().unwrap_or_else(|| {
                        Failure::unreachable(format!("{} ends the stream again and again", client.url()))
                    });
                    return Err(failure.hint(format!(
                        "the run goes on without us; `fleet runs output --follow {run}` looks again"
                    )));
                }
                tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
            }
        }
    }
}

/// Hands every live event of the server to `sink`, for as long as the connection lasts.
pub async fn events(client: &Client, mut sink: impl FnMut(Event) -> Result<()>) -> Result<()> {
    read(client, &["events"], None, |event| sink(event).map(|()| false))
        .await
        .map(drop)
}
