//! A run's output, in the journal and as it is sent.

use fleet_core::{
    kernel::EntityId as _,
    protocol::{OutputChunk, OutputStream},
    work::RunId,
};
use serde::{Deserialize, Serialize};

use crate::journal::{Pending, Record};

/// A chunk in the journal.
#[derive(Serialize, Deserialize)]
struct StoredChunk {
    stream: OutputStream,
    text: String,
}

/// A piece of output as it is written down.
pub(super) fn record(run: RunId, sequence: u32, stream: OutputStream, text: String) -> Record {
    Record::Output {
        run: run.uuid(),
        sequence: u64::from(sequence),
        body: serde_json::to_value(StoredChunk { stream, text }).unwrap_or_default(),
    }
}

/// What is written down in the place of output that the journal did not take.
pub(super) fn remark(run: RunId, sequence: u32, bytes: u64) -> Record {
    let text = format!("[{bytes} bytes of output were lost: the device's journal did not take them]\n");
    record(run, sequence, OutputStream::Agent, text)
}

/// A piece of output as it is sent. What was lost is announced in its place.
pub(super) fn chunk(pending: Pending) -> OutputChunk {
    match pending {
        Pending::Chunk { sequence, body } => {
            let sequence = u32::try_from(sequence).unwrap_or(u32::MAX);
            match serde_json::from_value::<StoredChunk>(body) {
                Ok(stored) => OutputChunk {
                    sequence,
                    stream: stored.stream,
                    text: stored.text,
                },
                Err(_) => OutputChunk {
                    sequence,
                    stream: OutputStream::Agent,
                    text: "[output that the agent could not read back]\n".into(),
                },
            }
        }
        Pending::Lost { before, bytes, .. } => OutputChunk {
            sequence: u32::try_from(before.saturating_sub(1)).unwrap_or(u32::MAX),
            stream: OutputStream::Agent,
            text: format!("[about {bytes} bytes of output were lost: the agent's spool was full]\n"),
        },
    }
}
