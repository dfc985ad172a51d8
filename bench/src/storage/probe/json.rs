//! Lines at the end of a file; each group is one write and one `fdatasync`. The bytes are those that our store writes.
//!
//! A file of lines answers nothing. What the other engines bring along is here in memory, as it has to be upon any such file: bodies
//! by id, rows in their order, both by each of the columns that are written, and all of it as of a commit, for whoever reads while
//! the next is written. So the maps are of the kind whose copies share what they hold, and after each group there is a copy.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use fleet_core::{
    access::AuditEntry,
    devices::{DeviceLink, DeviceState},
    store::{Entity as _, LaneRow as _, LatestValue as _, Value},
    work::output::Chunk,
};
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use super::{Engine, Pair, What};

/// Where the checksum of a line stands, and where what it covers begins.
const DIGITS: std::ops::Range<usize> = 8..16;
const COVERED: usize = 17;

/// The place of a row: time, stream, number.
type Place = (i64, Uuid, u32);

/// A file of lines.
pub struct JsonProbe {
    file: Arc<File>,
    what: What,
    /// The number of the next line.
    next: u64,
    held: Held,
    /// As of the last group.
    shown: Mutex<Held>,
}

/// What is held in memory.
#[derive(Clone, Default)]
struct Held {
    bodies: OrdMap<Uuid, Arc<(Bytes, Vec<Value>)>>,
    /// By column.
    keys: Vec<OrdSet<(Arc<Value>, Uuid)>>,
    rows: OrdMap<Place, Bytes>,
    /// By column.
    columns: Vec<OrdSet<(Arc<Value>, Place)>>,
}

impl Held {
    fn store(&mut self, pair: &Pair) {
        let Pair { id, stream, at, n, .. } = *pair;
        let old = self.bodies.insert(id, Arc::new((pair.body.clone(), pair.keys.clone())));
        self.keys.resize_with(pair.keys.len(), OrdSet::new);
        for (column, (entries, key)) in self.keys.iter_mut().zip(&pair.keys).enumerate() {
            let was = old.as_ref().and_then(|old| old.1.get(column));
            if was != Some(key) {
                was.map(|was| entries.remove(&(Arc::new(was.clone()), id)));
                entries.insert((Arc::new(key.clone()), id));
            }
        }
        self.rows.insert((at, stream, n), pair.row.clone());
        self.columns.resize_with(pair.columns.len(), OrdSet::new);
        for (entries, value) in self.columns.iter_mut().zip(&pair.columns) {
            entries.insert((Arc::new(value.clone()), (at, stream, n)));
        }
    }
}

impl JsonProbe {
    pub fn open(path: &Path, what: What) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file: Arc::new(file),
            what,
            next: 1,
            held: Held::default(),
            shown: Mutex::default(),
        })
    }

    fn line(&self, lines: &mut Vec<u8>, pair: &Pair, number: u64) -> Result<()> {
        let (synced, begin) = (self.next - 1, lines.len());
        write!(lines, r#"{{"crc":"00000000","n":{number},"synced":{synced},"op":{{"#)?;
        let lane = match self.what {
            What::Heartbeats => {
                let set = DeviceState::SET;
                write!(
                    lines,
                    r#""ingest":{{"latest":[{{"set":"{set}","id":"{}","body":"#,
                    pair.id
                )?;
                lines.extend_from_slice(&pair.body);
                lines.extend_from_slice(b"}]");
                Chunk::LANE
            }
            What::Commits => {
                // A batch has the id of its row, and a place in commit order: each adds one row to the chain of the lane.
                let (batch, kind, lane, before) = (pair.stream, DeviceLink::KIND, AuditEntry::LANE, number - 1);
                write!(
                    lines,
                    r#""commit":{{"batch":"{batch}","seq":{number},"chains":{{"{lane}":{before}}},"writes":[{{"put":{{"kind":"{kind}","#
                )?;
                write!(lines, r#""id":"{}","expect":"any","body":"#, pair.id)?;
                lines.extend_from_slice(&pair.body);
                lines.extend_from_slice(b"}}]");
                AuditEntry::LANE
            }
        };
        let Pair { stream, at, n, .. } = pair;
        write!(
            lines,
            r#","rows":[{{"lane":"{lane}","stream":"{stream}","at":{at},"n":{n},"body":"#
        )?;
        lines.extend_from_slice(&pair.row);
        lines.extend_from_slice(b"}]}}}");
        let line = &mut lines[begin..];
        let checksum = crc32fast::hash(&line[COVERED..]).to_be_bytes();
        hex::encode_to_slice(checksum, &mut line[DIGITS])?;
        lines.push(b'\n');
        Ok(())
    }
}

#[async_trait]
impl Engine for JsonProbe {
    async fn store(&mut self, group: &[Pair]) -> Result<()> {
        let mut lines = Vec::with_capacity(group.len() * 1_024);
        for (number, pair) in (self.next..).zip(group) {
            self.line(&mut lines, pair, number)?;
            self.held.store(pair);
        }
        self.next += group.len() as u64;
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || {
            (&*file).write_all(&lines)?;
            file.sync_data()
        })
        .await??;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = self.held.clone();
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
