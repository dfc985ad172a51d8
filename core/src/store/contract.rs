//! The contract: all that a backend implements.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use uuid::Uuid;

use super::{
    Digest, DocPage, Filter, Find, Finding, IndexedValues, Link, ReadRows, RecordKey, Relocate, Result, RowCursor,
    Schema, Value, group::Place,
};

/// A place in commit order; rises by one with each commit that changes something.
pub type Seq = u64;
/// The revision of one document; 1 when created. A document that is deleted and created again begins at 1.
pub type Rev = u64;
/// A declared kind, lane, set of latest values or column.
pub type Name = &'static str;

/// Names a document, or a latest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The kind of document, or the set of latest values.
    pub kind: Name,
    /// Its id.
    pub id: Uuid,
}

impl Key {
    /// Names a document.
    pub const fn new(kind: Name, id: Uuid) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    /// Its name.
    pub key: Key,
    /// How often it was written since it was created.
    pub rev: Rev,
    /// The commit that wrote it last.
    pub seq: Seq,
    /// Canonical JSON, byte for byte as it was written.
    pub body: Bytes,
}

/// What a write demands of the document as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Nothing.
    Any,
    /// That there is none.
    Absent,
    /// That there is one.
    Present,
    /// That it is at this revision.
    Rev(Rev),
}

impl Expect {
    /// Whether a document at `found` meets the demand.
    pub fn holds(self, found: Option<Rev>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Rev(rev) => found == Some(rev),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Absent => f.write_str("nothing"),
            Self::Present => f.write_str("a document"),
            Self::Rev(rev) => write!(f, "revision {rev}"),
        }
    }
}

/// One write of a batch. A batch writes each key at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces a document.
    Put {
        /// Its name.
        key: Key,
        /// What it must be now.
        expect: Expect,
        /// Canonical JSON.
        body: Bytes,
        /// Its index values, as the kind's indexer computes them from the body.
        index: IndexedValues,
    },
    /// Removes a document. Removing one that is not there is no error under [`Expect::Any`], and no change.
    Delete {
        /// Its name.
        key: Key,
        /// What it must be now.
        expect: Expect,
    },
    /// Changes nothing and only fails the batch: the guard against write skew.
    Check {
        /// Its name.
        key: Key,
        /// What it must be now.
        expect: Expect,
    },
    /// Removes a latest value, as when its device is deleted. Makes no feed entry of its own.
    DropLatest {
        /// Its name.
        key: Key,
    },
}

impl Write {
    /// What the write names.
    pub fn key(&self) -> Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Check { key, .. } | Self::DropLatest { key } => {
                *key
            }
        }
    }
}

/// A row of a lane, named by stream, time and number. Its time comes from its sender, never from arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What the row belongs to: a device, a run, a batch.
    pub stream: Uuid,
    /// Microseconds since 1970.
    pub at: i64,
    /// Tells rows of one time apart.
    pub n: u32,
    /// Canonical JSON.
    pub body: Bytes,
    /// One value per declared column.
    pub index: Vec<Value>,
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The row.
    pub row: Row,
    /// Its link, in a chained lane.
    pub link: Option<Link>,
}

/// A latest value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Its name.
    pub key: Key,
    /// Canonical JSON.
    pub body: Bytes,
}

/// A unit of change: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Makes the commit idempotent: a repeated id with the same contents returns the first answer. That holds for a batch
    /// that changed nothing too (its id is remembered with the place that it answered), since a late repeat of it could
    /// change something by now. A batch that failed is not remembered.
    pub id: Uuid,
    /// Changes to documents.
    pub writes: Vec<Write>,
    /// Rows to append. An identical row that is there already, or earlier in the batch, is skipped; a differing one fails
    /// the batch. Rows are identical when their bodies are: index values follow from the body.
    pub rows: Vec<(Name, Row)>,
}

impl Batch {
    /// What identifies the contents, to tell a repeat from a reuse of the id.
    pub fn fingerprint(&self) -> [u8; 16] {
        /// Small parts are gathered: the hasher is quick with many bytes at a time.
        const GATHERED: usize = 1_024;
        let mut hasher = blake3::Hasher::new();
        let mut gathered = Vec::with_capacity(GATHERED);
        let mut part = |bytes: &[u8]| {
            if gathered.len() + 8 + bytes.len() > GATHERED {
                hasher.update(&gathered);
                gathered.clear();
            }
            gathered.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            gathered.extend_from_slice(bytes);
        };
        for write in &self.writes {
            let (tag, expect, body): (&[u8], Option<Expect>, &[u8]) = match write {
                Write::Put { expect, body, .. } => (b"put", Some(*expect), body),
                Write::Delete { expect, .. } => (b"delete", Some(*expect), &[]),
                Write::Check { expect, .. } => (b"check", Some(*expect), &[]),
                Write::DropLatest { .. } => (b"drop", None, &[]),
            };
            part(tag);
            part(write.key().kind.as_bytes());
            part(write.key().id.as_bytes());
            match expect {
                None => part(b""),
                // The common case, as it is displayed.
                Some(Expect::Any) => part(b"anything"),
                Some(expect) => part(expect.to_string().as_bytes()),
            }
            part(body);
        }
        for (lane, row) in &self.rows {
            part(lane.as_bytes());
            part(row.stream.as_bytes());
            part(&row.at.to_le_bytes());
            part(&row.n.to_le_bytes());
            part(&row.body);
        }
        hasher.update(&gathered);
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        fingerprint
    }
}

/// What rows and latest values are called.
fn named<'w>(rows: &'w [(Name, Row)]) -> impl Iterator<Item = RecordKey> + 'w {
    rows.iter().map(|(lane, row)| RecordKey::Row(Place::of(lane, row)))
}

impl Batch {
    /// What the batch may change: a superset of what it does change.
    pub fn record_keys(&self) -> impl Iterator<Item = RecordKey> + '_ {
        let writes = self.writes.iter().filter_map(|write| match write {
            Write::Put { key, .. } | Write::Delete { key, .. } => Some(RecordKey::Doc(*key)),
            Write::DropLatest { key } => Some(RecordKey::Latest(*key)),
            Write::Check { .. } => None,
        });
        writes.chain(named(&self.rows))
    }
}

impl Ingest {
    /// What it may change: a superset of what it does change.
    pub fn record_keys(&self) -> impl Iterator<Item = RecordKey> + '_ {
        let latest = self.latest.iter().map(|latest| RecordKey::Latest(latest.key));
        latest.chain(named(&self.rows))
    }
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in commit order. A batch that changes nothing (checks, deletes of nothing, repeated rows) takes no place
    /// and answers with the newest one. A put always changes something, also with an unchanged body; so does dropping a
    /// latest value that is there.
    pub seq: Seq,
    /// For each write (checks too), the document's revision afterwards; none where there is no document, and for latest
    /// values.
    pub revs: Vec<Option<Rev>>,
}

/// Writes of the hot path. All of them or nothing; no revision, no place in commit order, no feed entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingest {
    /// Replace what is there; within one call and between calls the later wins.
    pub latest: Vec<Latest>,
    /// Rows to append, as in a batch.
    pub rows: Vec<(Name, Row)>,
}

/// What a commit touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// A document was written or removed.
    Document {
        /// Its name.
        key: Key,
        /// Its revision afterwards; when it was removed, the last one it had.
        rev: Rev,
        /// Whether it was removed.
        deleted: bool,
    },
    /// New rows were appended to a stream.
    Stream {
        /// The lane.
        lane: Name,
        /// The stream.
        stream: Uuid,
    },
}

/// One entry of the feed. The entries of one commit follow each other: documents in the order of the batch, then streams
/// in the order of their first new row, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The commit.
    pub seq: Seq,
    /// What it touched.
    pub touched: Touched,
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage {
    /// The rows, in the direction asked for.
    pub rows: Vec<StoredRow>,
    /// Continues the reading; none at its end, also when the last page is full.
    pub next: Option<RowCursor>,
}

/// One record of an export. Order: documents by kind and id; latest values by set and id; rows by lane, stream, time and
/// number; one `End`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A document.
    Doc(Doc),
    /// A latest value.
    Latest(Latest),
    /// A row of a lane. Its index values follow from its body: they are left out, and computed where the row is stored.
    Row(Name, StoredRow),
    /// The end: what came before, in one digest.
    End {
        /// Where commit order stands.
        seq: Seq,
        /// How many records came before.
        count: u64,
        /// The digest over them.
        digest: Digest,
    },
}

/// What a backend says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name, such as `sqlite`.
    pub backend: Name,
    /// The version of its format on disk.
    pub format: u32,
    /// Where the data is, without secrets.
    pub location: String,
    /// Whether what it acknowledges survives a loss of power.
    pub durable: bool,
    /// Whether several processes may use it at once.
    pub shared: bool,
}

/// What preparing a schema changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaReport {
    /// Kinds, lanes and latest values that were not there before.
    pub created: Vec<String>,
    /// Columns that were added and filled, as `kind.column`.
    pub filled: Vec<String>,
}

/// Bytes that a store takes where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// All of it, with indexes, history and logs; none for a store that is on no disk.
    pub bytes: Option<u64>,
    /// By kind, lane and set of latest values, where the engine knows it without reading what is stored. Not all of the whole:
    /// history and logs belong to none of them.
    pub names: Vec<(Name, u64)>,
}

/// All that a backend implements. Everything typed stands on top of it, once.
///
/// Rules that hold for every method: calls are checked against the schema first ([`Schema::check_batch`],
/// [`super::check_find`], …) and fail with [`super::Error::Invalid`] or [`super::Error::NoIndex`] before anything is
/// touched; a dropped future leaves either the whole write or none of it; concurrent writes are grouped so that they share
/// one synchronisation with the disk.
///
/// When several things are wrong with one batch, the first of these is the answer: `Invalid`, `BatchReused`, `Conflict`
/// (of the first write that fails), `Taken`, `RowConflict`. A unique column is judged by what the store would hold after the
/// batch, whatever the order of its writes: a value may be freed and taken, or swapped, in one batch.
#[async_trait]
pub trait Backend: Relocate + fmt::Debug + Send + Sync + 'static {
    /// What it is.
    fn info(&self) -> Info;

    /// Creates or extends what the schema needs; filling a new column is resumable. Called once before anything else;
    /// calling it again with the same schema changes nothing. Kinds, lanes and sets that are stored and not in the schema
    /// make it fail with [`super::Error::Refused`] (a newer version wrote them), as does a store that is not serving when
    /// something would have to change ([`super::Error::NotServing`]); a column that is not declared any more is
    /// forgotten. Fails with [`super::Error::Corrupt`] when an indexer refuses a stored body, and with
    /// [`super::Error::Taken`] when a new unique column would clash.
    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport>;

    /// What [`Backend::prepare`] of this schema would report, and changes nothing; before the store is prepared, too. Columns of
    /// which the filling was broken off are among those to be filled. Fails with [`super::Error::Refused`] as `prepare` does;
    /// what shows only while columns are filled does not show here.
    async fn pending(&self, schema: &Schema) -> Result<SchemaReport>;

    /// A consistent view of the newest commit. It is short-lived: a backend may end one that is held over a minute
    /// ([`View::renew`]).
    async fn view(&self) -> Result<Box<dyn View>>;

    /// All or nothing, durable on return. Never lingers.
    async fn commit(&self, batch: Batch) -> Result<Committed>;

    /// The hot path. All or nothing, durable on return; may linger a moment (20 ms by default, or 512 items) to share the
    /// synchronisation with others.
    async fn ingest(&self, ingest: Ingest) -> Result<()>;

    /// Removes the rows of a lane before a time, in slices; returns how many. [`super::Error::Invalid`] for a chained lane, whatever
    /// the store is for and whether it is tracked or not ([`Schema::check_trim`]).
    /// No feed entry, no place in commit order. A row that was trimmed may be appended again.
    async fn trim(&self, lane: Name, before: i64) -> Result<u64>;

    /// The changes after a place in commit order: those that are there, then those to come, in commit order, without gap or
    /// repeat. The first item is [`super::Error::Compacted`], with the newest place that is forgotten, when the feed no longer
    /// reaches back; so is the last item of a stream that a compaction overtook. `after` may lie ahead of the newest commit.
    /// A stream ends when the store is closed, and when the store is frozen, behind the last commit.
    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>>;

    /// Forgets feed entries and batch ids of commits up to and including `upto` (at most the newest); returns how many
    /// places in commit order that newly were. Changes after `upto` itself can still be followed.
    async fn compact(&self, upto: Seq) -> Result<u64>;

    /// Takes or renews a named lease. Returns a fencing number while `holder` has it: the same number on renewal, a greater
    /// one for each new holder, after a lapse and after it was given up. A `ttl` of zero gives it up, if `holder` has it, and
    /// returns none. It has lapsed when the clock shows its end. A name is 1 to [`super::limits::TEXT`] bytes without U+0000.
    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>>;

    /// How much room it takes. Quick: it reads nothing of what is stored.
    async fn footprint(&self) -> Result<Footprint>;

    /// Looks for damage: the engine's own check, then index values against bodies, then chains ([`super::ChainWalk`]).
    async fn check(&self) -> Result<Vec<Finding>>;

    /// Finishes what was accepted and closes. Later calls fail with [`super::Error::Unavailable`]; closing again is no error.
    async fn close(&self) -> Result<()>;
}

/// One place in commit order: pages, counts and exports taken from it agree with each other. Latest values and ingested rows
/// are those of the moment at which the view was taken.
#[async_trait]
pub trait View: Send {
    /// The newest commit that the view shows.
    fn seq(&self) -> Seq;

    /// The view may be held for its whole time once more, counted from now. For those who read a whole store from one view, and
    /// renew it as long as they get on; what an engine cannot clear away meanwhile piles up. Fails with
    /// [`super::Error::Unavailable`] when the view has ended.
    async fn renew(&mut self) -> Result<()>;

    /// The documents of these keys, in their order.
    async fn get(&mut self, keys: &[Key]) -> Result<Vec<Option<Doc>>>;

    /// The latest values of these keys, in their order.
    async fn latest(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>>;

    /// The latest values of a set by id, after `after`; `limit` is as for a page of documents.
    async fn latest_page(&mut self, set: Name, after: Option<Uuid>, limit: usize) -> Result<Vec<Latest>>;

    /// A page of documents.
    async fn find(&mut self, find: &Find) -> Result<DocPage>;

    /// How many documents match.
    async fn count(&mut self, kind: Name, filter: &Filter) -> Result<u64>;

    /// How many documents match, by value of a column, in the order of the values; null is a value of a single-valued
    /// column. A document counts once for each value that it has in a many-valued column.
    async fn tally(&mut self, kind: Name, filter: &Filter, by: Name) -> Result<Vec<(Value, u64)>>;

    /// A page of a lane.
    async fn rows(&mut self, read: &ReadRows) -> Result<RowPage>;

    /// The last link of a chained lane.
    async fn chain_head(&mut self, lane: Name) -> Result<Option<Link>>;

    /// The records after a key, in canonical order, documents, latest values and rows alike: at most `limit` of them (1 to
    /// [`super::limits::PAGE`]), and fewer when their bodies grow past some megabytes, but one at least; empty only at the end.
    /// Index values of rows are left out.
    async fn records(&mut self, after: Option<RecordKey>, limit: usize) -> Result<Vec<Record>>;

    /// The rows at these places, in their order; at most [`super::limits::KEYS`]. Index values are left out.
    async fn rows_at(&mut self, places: &[Place]) -> Result<Vec<Option<StoredRow>>>;
}
