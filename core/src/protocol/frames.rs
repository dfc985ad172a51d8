//! Frames: the same for the socket and for polling.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Applied, KeyAnswer, KeyRequest, ManifestMark, Offer, Originated, Reverted, Welcome};
use crate::{kernel::Timestamp, work::RunId};

/// From the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentFrame {
    /// Opens a session.
    Hello(Hello),
    /// The agent lives.
    Beat(Beat),
    /// The hashes of the sections that the agent has collected.
    Announce(Announce),
    /// The run is in the agent's journal.
    Accepted(Accepted),
    /// The run is not accepted and never will be.
    Refused(Refused),
    /// The run has begun.
    Started(Started),
    /// Output of the run.
    Output(Output),
    /// The run has ended.
    Finished(Finished),
    /// A run that the agent has begun by itself, for its manifest.
    Originated(Originated),
    /// What became of its manifest.
    Applied(Applied),
    /// What its manifest says is to be taken back was taken back.
    Reverted(Reverted),
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The session is open.
    Welcome(Box<Welcome>),
    /// The server lives and has stored the beat.
    Beat {
        /// The server's time.
        time: Timestamp,
    },
    /// Work.
    Offer(Box<Offer>),
    /// Stop a run.
    Cancel(Cancel),
    /// What the agent sent about a run is stored; it need not be sent again.
    Recorded(Recorded),
    /// Sections that the server wants.
    Want(Want),
    /// What the device shall be, by its name: one that has another asks for it.
    Manifest(ManifestMark),
    /// The session ends.
    Bye(Bye),
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// 16 random bytes in base64url, to be signed by the server.
    pub nonce: String,
    /// The oldest version of the protocol that the agent speaks.
    pub protocol_min: u32,
    /// The newest.
    pub protocol_max: u32,
    /// The version of the agent.
    pub agent_version: String,
    /// The kinds of operation that it can execute.
    pub operations: Vec<String>,
    /// The digest of the manifest that it keeps; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

/// The agent lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// What changes all the time.
    pub gauges: Gauges,
}

/// What changes all the time. What could not be read is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gauges {
    // In the order that they are stored in: each heartbeat writes them.
    /// The load average of one minute, in hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub load_hundredths: Option<u32>,
    /// All memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub memory_total_bytes: Option<u64>,
    /// Memory that is not available to programs, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub memory_used_bytes: Option<u64>,
    /// Seconds since the device started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub uptime_seconds: Option<u64>,
}

/// The hashes of the sections that the agent has collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// BLAKE3 of each section's canonical body, in hexadecimal, by section.
    pub sections: BTreeMap<String, String>,
}

/// The run is in the agent's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The run.
    pub run: RunId,
}

/// The run is not accepted and never will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The run.
    pub run: RunId,
    /// A stable code, such as `offer.expired` or `policy.forbidden`.
    pub code: String,
    /// What people read.
    pub message: String,
}

/// The run has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// When, by the device's clock as corrected.
    pub at: Timestamp,
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The agent's own remarks, such as that output was cut.
    Agent,
}

impl OutputStream {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Agent => "agent",
        }
    }
}

/// Some output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChunk {
    /// Its place among the chunks of the run, from 0.
    pub sequence: u32,
    /// Where it came from.
    pub stream: OutputStream,
    /// The text; what is not UTF-8 is replaced.
    pub text: String,
}

/// Output of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The run.
    pub run: RunId,
    /// In order.
    pub chunks: Vec<OutputChunk>,
}

impl Output {
    /// The place after its last chunk.
    pub fn after(&self) -> u32 {
        let places = self.chunks.iter().map(|chunk| chunk.sequence.saturating_add(1));
        places.max().unwrap_or(0)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Result {
    /// It did what it should.
    Succeeded,
    /// It did what it should, with something to look at.
    SucceededWithIssues,
    /// It did not.
    Failed,
    /// The device has nothing that it is about; nothing was done.
    NotApplicable,
    /// It took too long and was stopped.
    TimedOut,
    /// It was stopped on request, or withdrawn before it began.
    Cancelled,
    /// The agent was interrupted while it ran; its effect is unknown.
    Indeterminate,
}

/// The run has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The run.
    pub run: RunId,
    /// How.
    pub result: Result,
    /// The exit code, where there is one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// A stable code, where it failed for a reason of the agent's.
    pub code: Option<String>,
    /// What people read about it.
    pub message: Option<String>,
    /// Whether it changed the device, or would have, in a dry run; nothing where the kind cannot tell, such as a plain script.
    pub changed: Option<bool>,
    /// What its kind reports beside that, if anything: an object of at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<serde_json::Value>,
    /// When it began, by the device's clock as corrected.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How many chunks of output there are.
    pub chunks: u32,
    /// How many bytes of output were cut.
    pub truncated_bytes: u64,
}

/// Stop a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The run.
    pub run: RunId,
}

/// What the agent sent about a run is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The run.
    pub run: RunId,
    /// Output is stored up to this chunk, exclusive.
    pub chunks: u32,
    /// The acceptance is stored.
    pub accepted: bool,
    /// The end is stored, or the server wants to hear no more of this run: the agent may forget it.
    pub finished: bool,
}

/// Sections that the server wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Their names; collected anew where `refresh` says so.
    pub sections: Vec<String>,
    /// Whether they are to be collected anew first.
    pub refresh: bool,
}

/// The session ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// A stable code: `link.superseded`, `link.restarting`, `link.protocol_unsupported`, `device.gone`, `link.frame_invalid`.
    pub code: String,
    /// What people read.
    pub message: String,
    /// Not to come back before this time, in seconds.
    pub retry_after_seconds: Option<u32>,
}

/// Frames of an agent that polls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// The session; none with a `hello`.
    pub epoch: Option<u64>,
    /// In order.
    pub frames: Vec<AgentFrame>,
    /// How long the server may hold the answer back while it has nothing to say, in seconds; at most 30.
    pub wait_seconds: u32,
    /// Asks for a session key. Only in a request that is proved with the device key; a server that does not know this member
    /// passes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRequest>,
}

/// The answer to an exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExchangeAnswer {
    /// In order.
    pub frames: Vec<ServerFrame>,
    /// The server's half of the session key that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyAnswer>,
}
