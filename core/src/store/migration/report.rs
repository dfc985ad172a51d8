//! What a move tells: plans, reports, differences. All of it can be serialised, and none of it holds a secret.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{Problem, Stage};
use crate::store::{Digest, Info, Name, RecordKey, Seq, Standing};

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Where the data is.
    Source,
    /// Where it goes.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// What kind of thing a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A kind of documents.
    Documents,
    /// A set of latest values.
    Latest,
    /// A lane of rows.
    Rows,
}

impl Class {
    pub(super) fn of(key: &RecordKey) -> Self {
        match key {
            RecordKey::Doc(_) => Self::Documents,
            RecordKey::Latest(_) => Self::Latest,
            RecordKey::Row(_) => Self::Rows,
        }
    }
}

/// What is held under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What it is.
    pub class: Class,
    /// The kind, set or lane.
    pub name: Name,
    /// How many records.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// BLAKE3 over them, framed as in an export; place 0 at its end.
    #[serde(serialize_with = "hexadecimal")]
    pub digest: Digest,
}

fn hexadecimal<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn optional_millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => millis(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// All that a store holds, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Where commit order stands.
    pub seq: Seq,
    /// How many records.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// The digest of an export.
    #[serde(serialize_with = "hexadecimal")]
    pub digest: Digest,
    /// By name, in the order of an export.
    pub names: Vec<Count>,
}

/// How a record differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The target does not have it.
    Missing,
    /// The source does not have it.
    Surplus,
    /// Both have it, and not alike.
    Unlike,
}

/// Where two stores differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The first record that does; none when only commit order does.
    #[serde(serialize_with = "shown")]
    pub key: Option<RecordKey>,
    /// How.
    pub kind: Kind,
    /// How many records do.
    pub records: u64,
    /// Where commit order stands in the source.
    pub source_seq: Seq,
    /// Where commit order stands in the target.
    pub target_seq: Seq,
}

fn shown<S: Serializer>(key: &Option<RecordKey>, serializer: S) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => serializer.collect_str(key),
        None => serializer.serialize_none(),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(key) = &self.key else {
            return write!(
                f,
                "commit order stands at {} in the source and at {} in the target",
                self.source_seq, self.target_seq
            );
        };
        let how = match self.kind {
            Kind::Missing => "is missing in the target",
            Kind::Surplus => "is in the target only",
            Kind::Unlike => "differs",
        };
        write!(f, "{key} {how}, the first of {} records", self.records)
    }
}

/// A store, as a move sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Backend and place, without secrets; what the other store remembers it by.
    pub name: String,
    /// The backend.
    pub backend: Name,
    /// The version of its format.
    pub format: u32,
    /// Whether what it acknowledges survives a loss of power.
    pub durable: bool,
    /// Whether several processes may use it at once.
    pub shared: bool,
    /// What it is for.
    pub standing: Standing,
    /// Where commit order stands; none when it could not be read.
    pub seq: Option<Seq>,
}

impl Facts {
    pub(super) fn new(info: &Info, standing: Standing, seq: Option<Seq>) -> Self {
        Self {
            name: store_name(info),
            backend: info.backend,
            format: info.format,
            durable: info.durable,
            shared: info.shared,
            standing,
            seq,
        }
    }
}

/// What a store is called in the marks of a move.
pub(super) fn store_name(info: &Info) -> String {
    if info.location.contains("://") || info.location == info.backend {
        info.location.clone()
    } else {
        format!("{}:{}", info.backend, info.location)
    }
}

/// How far a pair of stores is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Where the data is, or was.
    pub source: Facts,
    /// Where it goes, or is.
    pub target: Facts,
    /// How far they are with each other; none when there is a problem.
    pub stage: Option<Stage>,
    /// Why nothing can be done with this pair.
    pub problems: Vec<Problem>,
}

/// What a move would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The pair; its problems stand in the way.
    #[serde(flatten)]
    pub status: Status,
    /// What the source holds; none when it cannot be read.
    pub contents: Option<Contents>,
}

impl Plan {
    /// Whether nothing stands in the way.
    pub fn is_possible(&self) -> bool {
        self.status.problems.is_empty()
    }
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Records that the target did not have.
    pub added: u64,
    /// Records that it had otherwise.
    pub replaced: u64,
    /// Records that the source does not have.
    pub removed: u64,
    /// Records that were there.
    pub equal: u64,
    /// Bytes of the bodies that were written.
    pub bytes: u64,
    /// Records that gave up a unique value for another and were written again.
    pub displaced: u64,
}

impl Copied {
    /// Records that were written or removed.
    pub fn changes(&self) -> u64 {
        self.added + self.replaced + self.removed
    }

    pub(super) fn add(&mut self, other: Self) {
        self.added += other.added;
        self.replaced += other.replaced;
        self.removed += other.removed;
        self.equal += other.equal;
        self.bytes += other.bytes;
        self.displaced += other.displaced;
    }
}

/// How a move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The data was moved, and the target serves it.
    Moved,
    /// It had been before.
    AlreadyMoved,
}

/// What a move did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The move, as both stores remember it.
    pub id: Uuid,
    /// Where the data was.
    pub source: String,
    /// Where it is.
    pub target: String,
    /// Whether writers went on meanwhile.
    pub online: bool,
    /// Whether an interrupted move was finished.
    pub resumed: bool,
    /// What was copied, by this call.
    pub copied: Copied,
    /// What both hold: compared record by record, when both stood still; for an online move, before the switch-over.
    pub contents: Option<Contents>,
    /// Passes that carried what was written meanwhile.
    pub passes: u32,
    /// How often the source was frozen until it went quickly enough.
    pub attempts: u32,
    /// Copying, catching up included.
    #[serde(rename = "copying_ms", serialize_with = "millis")]
    pub copying: Duration,
    /// Reading back and comparing.
    #[serde(rename = "verifying_ms", serialize_with = "millis")]
    pub verifying: Duration,
    /// The target's own check; none when it was left out.
    #[serde(rename = "checking_ms", serialize_with = "optional_millis")]
    pub checking: Option<Duration>,
    /// From the freeze of the source until the target served.
    #[serde(rename = "pause_ms", serialize_with = "optional_millis")]
    pub pause: Option<Duration>,
}

/// What a comparison of two stores found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// What the source holds.
    pub source: Contents,
    /// What the target holds.
    pub target: Contents,
    /// Where they differ; none when they hold the same.
    pub difference: Option<Difference>,
}

impl Verification {
    /// Whether both hold the same.
    pub fn is_equal(&self) -> bool {
        self.difference.is_none()
    }
}
