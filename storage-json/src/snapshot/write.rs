//! Writes a snapshot: new files beside those that count, then the manifest, then away with what it no longer names.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fleet_core::store::{Error, Result, memory::State};
use serde::Serialize;

use super::Dirty;
use crate::{
    error::unavailable,
    files::{Files, OpenFile, write_all},
    layout::{
        FOLDERS, JOURNAL, LANES, LINES, MANIFEST_NEXT, Part, UNFINISHED, above, block_bounds, day_bounds, segment_first,
    },
    line,
    manifest::{Listed, Manifest, Switch},
    records::{BatchRecord, FeedRecord, LeaseRecord, Text},
};

/// Bytes that are written at once.
const BUFFER: usize = 1024 * 1024;

/// Tells a checkpoint under way that nobody waits for it any more.
pub(crate) type Cancel = Arc<AtomicBool>;

/// A checkpoint to be made.
pub(crate) struct Checkpoint {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) root: PathBuf,
    /// What is to be stored.
    pub(crate) state: State,
    /// The parts in which it differs from what is stored.
    pub(crate) dirty: Dirty,
    /// What is stored.
    pub(crate) manifest: Manifest,
    /// The number of the attempt: files of a failed one are never taken for those of a later one.
    pub(crate) number: u64,
    /// The first line of the journal that `state` does not hold.
    pub(crate) journal: u64,
    /// Held while files change that the manifest names.
    pub(crate) switch: Arc<Mutex<()>>,
    pub(crate) cancel: Cancel,
}

impl Checkpoint {
    /// Makes it; returns the manifest that counts from now on.
    pub(crate) fn make(self) -> Result<Manifest, Switch> {
        let mut next = self.write_parts().map_err(Switch::Before)?;
        let held = self.switch.lock().unwrap_or_else(PoisonError::into_inner);
        next.write(&*self.files, &self.root)?;
        remove_unlisted(&*self.files, &self.root, &next);
        drop(held);
        Ok(next)
    }

    fn write_parts(&self) -> Result<Manifest> {
        let parts = self.dirty.parts();
        let mut next = self.manifest.clone();
        next.files.retain(|listed| !parts.contains(&listed.part));
        next.checkpoint = self.number;
        next.seq = self.state.seq();
        next.floor = self.state.floor();
        next.journal = self.journal;
        next.standing = self.state.standing().clone();
        let chains = self.state.chains();
        next.chains = chains.map(|(lane, number)| (lane.to_owned(), number)).collect();
        let mut folders = BTreeSet::new();
        for part in parts {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Unavailable("the store is being closed".into()));
            }
            let file = part.file(self.number);
            let path = self.root.join(&file);
            let folder = above(&path);
            let mut out = Out::new(&*self.files, &path);
            let written = put_part(&mut out, &self.state, &part)?;
            if written {
                let (lines, bytes, blake3) = out.finish()?;
                folders.insert(folder);
                next.files.push(Listed {
                    part,
                    file,
                    lines,
                    bytes,
                    blake3,
                });
            }
        }
        next.files.sort_by(|one, other| one.part.cmp(&other.part));
        for folder in folders {
            let synced = self.files.sync_folder(&folder);
            synced.map_err(|error| unavailable("synchronise", &folder, &error))?;
        }
        Ok(next)
    }
}

/// Writes all lines of a part; says whether there were any.
fn put_part(out: &mut Out<'_>, state: &State, part: &Part) -> Result<bool> {
    match part {
        Part::Kind(kind) => {
            let docs = state.docs(kind)?;
            for doc in docs {
                out.text(|text| text.doc(&doc))?;
            }
        }
        Part::Latest(set) => {
            let set = state.schema().latest(set)?.name;
            for latest in state.latest_values(set)? {
                out.text(|text| text.latest(&latest))?;
            }
        }
        Part::Rows { lane, day } => {
            let (first, last) = day_bounds(*day);
            for stored in state.rows_within(lane, first..=last)? {
                out.text(|text| text.stored_row(stored))?;
            }
        }
        Part::Feed(block) => {
            let (first, last) = block_bounds(*block);
            for (seq, touched) in state.feed_within(first..=last) {
                out.put(&FeedRecord::of(seq, touched))?;
            }
        }
        Part::Batches(block) => {
            let (first, last) = block_bounds(*block);
            for (id, remembered) in state.answered_within(first..=last) {
                out.put(&BatchRecord::of(id, remembered))?;
            }
        }
        Part::Leases => {
            for lease in state.leases() {
                out.put(&LeaseRecord::of(lease))?;
            }
        }
    }
    Ok(out.lines > 0)
}

/// A file under way; made with its first line, so that an empty part has none.
struct Out<'f> {
    files: &'f dyn Files,
    path: &'f Path,
    file: Option<Box<dyn OpenFile>>,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    lines: u64,
    bytes: u64,
}

impl<'f> Out<'f> {
    fn new(files: &'f dyn Files, path: &'f Path) -> Self {
        Self {
            files,
            path,
            file: None,
            buffer: Vec::new(),
            hasher: blake3::Hasher::new(),
            lines: 0,
            bytes: 0,
        }
    }

    fn put(&mut self, record: &impl Serialize) -> Result<()> {
        line::push(&mut self.buffer, record).map_err(|error| Error::Unavailable(Box::new(error)))?;
        self.added()
    }

    fn text(&mut self, write: impl FnOnce(&mut Text<'_>)) -> Result<()> {
        line::push_with(&mut self.buffer, |out| {
            write(&mut Text(out));
            Ok::<_, Error>(())
        })?;
        self.added()
    }

    fn added(&mut self) -> Result<()> {
        self.lines += 1;
        if self.buffer.len() >= BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.try_flush()
            .map_err(|error| unavailable("write", self.path, &error))
    }

    fn try_flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let folder = above(self.path);
                if matches!(self.files.list(&folder), Err(error) if error.kind() == io::ErrorKind::NotFound) {
                    self.files.make_folder(&folder)?;
                    self.files.sync_folder(&above(&folder))?;
                }
                self.file.insert(self.files.create(self.path)?)
            }
        };
        write_all(&mut **file, &self.buffer)?;
        self.hasher.update(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(u64, u64, [u8; 32])> {
        self.flush()?;
        if let Some(file) = &mut self.file {
            file.sync()
                .map_err(|error| unavailable("synchronise", self.path, &error))?;
        }
        Ok((self.lines, self.bytes, *self.hasher.finalize().as_bytes()))
    }
}

/// Removes the files of snapshots that do not count and the segments that the snapshot has made superfluous. The manifest on
/// the disk has to be this one for certain. What cannot be removed is left for the next time.
pub(crate) fn remove_unlisted(files: &dyn Files, root: &Path, manifest: &Manifest) {
    let listed: BTreeSet<&str> = manifest.files.iter().map(|listed| listed.file.as_str()).collect();
    let mut folders: Vec<String> = FOLDERS
        .iter()
        .filter(|folder| **folder != JOURNAL && **folder != LANES)
        .map(|folder| (*folder).to_owned())
        .collect();
    let lanes = files.list(&root.join(LANES)).unwrap_or_default();
    folders.extend(lanes.into_iter().map(|lane| format!("{LANES}/{lane}")));
    let mut garbage: Vec<PathBuf> = Vec::new();
    for folder in folders {
        for name in files.list(&root.join(&folder)).unwrap_or_default() {
            let file = format!("{folder}/{name}");
            if name.ends_with(LINES) && !listed.contains(file.as_str()) {
                garbage.push(root.join(file));
            }
        }
    }
    for name in files.list(&root.join(JOURNAL)).unwrap_or_default() {
        if name.ends_with(UNFINISHED) || segment_first(&name).is_some_and(|first| first < manifest.journal) {
            garbage.push(root.join(JOURNAL).join(name));
        }
    }
    for path in garbage {
        if let Err(error) = files.remove(&path) {
            tracing::warn!(path = %path.display(), %error, "a file that is no longer needed cannot be removed");
        }
    }
    // Left over by an attempt that did not come to its end; mostly there is none.
    let _ = files.remove(&root.join(MANIFEST_NEXT));
}
