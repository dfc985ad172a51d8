//! A record as bytes: `length u32 | CRC-32 u32 | canonical JSON`.
//!
//! Two properties make damage provable. The length stays below 2^24, so its last byte is zero; canonical JSON never holds
//! a zero byte. Hence no text inside a record can pass for the start of another, and a file that ends in zero bytes
//! ends in blocks that were never written.

use fleet_core::kernel::{Result, Timestamp, canonical};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::JOURNAL_INVALID;

/// The largest record, in bytes of JSON.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// Length and checksum.
pub(super) const FRAME_HEADER: usize = 8;
/// The format that this code writes.
pub(super) const FORMAT: u32 = 1;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Class {
    /// First in every file: its format.
    Header,
    Receipt,
    Started,
    Output,
    Result,
    OutputAcknowledged,
    ResultAcknowledged,
    /// Output that is gone: dropped for room, or damaged.
    Lost,
    /// Written by a later version of the same format; passed over.
    #[serde(other)]
    Unknown,
}

/// A record without its body: all that the index needs. The body is written from here but read only on demand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub class: Class,
    #[serde(default)]
    pub run: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// How many starts a rewritten `Started` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<u32>,
    /// Of a rewritten `Started`: the start is assumed, because a damaged place may have held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Of a loss: its first sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Of a loss or acknowledgement: the first sequence number after it. Of a result: where the output ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Of a loss: bytes of the dropped records, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

impl Head {
    pub fn new(class: Class, run: Uuid) -> Self {
        Self {
            class,
            run,
            v: None,
            at: None,
            expires_at: None,
            idempotent: None,
            starts: None,
            doubtful: None,
            sequence: None,
            from: None,
            before: None,
            bytes: None,
            body: None,
        }
    }

    /// The record that opens a file.
    pub fn header() -> Self {
        Self {
            v: Some(FORMAT),
            ..Self::new(Class::Header, Uuid::nil())
        }
    }

    /// Appends the record's bytes to `out`; answers how many.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<u32> {
        let json = canonical::to_vec(self).map_err(|error| {
            JOURNAL_INVALID
                .error(format!("the record cannot be written: {error}"))
                .caused_by(error)
        })?;
        if json.len() > MAX_RECORD_BYTES {
            return Err(JOURNAL_INVALID.error(format!(
                "the record is {} bytes large; at most {MAX_RECORD_BYTES} are allowed",
                json.len()
            )));
        }
        // Bounded by MAX_RECORD_BYTES just above.
        let length = json.len() as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&checksum(length, &json).to_le_bytes());
        out.extend_from_slice(&json);
        Ok(length + FRAME_HEADER as u32)
    }
}

#[derive(Deserialize)]
struct Body {
    body: Value,
}

/// The body inside a record's JSON; nothing when there is none.
pub(super) fn body_of(json: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Body>(json).ok().map(|record| record.body)
}

pub(super) fn checksum(length: u32, json: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_le_bytes());
    crc.update(json);
    crc.finalize()
}

/// The length that a frame's first bytes claim, when a record may have it.
pub(super) fn plausible_length(frame: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(frame.first_chunk::<4>().copied()?) as usize;
    (2..=MAX_RECORD_BYTES).contains(&length).then_some(length)
}

/// The record in a whole frame, when every byte of it is proved.
pub(super) fn decode(frame: &[u8]) -> Option<Head> {
    let length = plausible_length(frame)?;
    let (header, json) = frame.split_at_checked(FRAME_HEADER)?;
    let sum = u32::from_le_bytes(header.last_chunk::<4>().copied()?);
    if json.len() != length || checksum(length as u32, json) != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}
