//! Goes on without what is damaged: damaged lines are set aside, and what is left is a store again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use fleet_core::store::{Batch, Error, Phase, Result, Seq, Standing};

use crate::{
    error::{again, unavailable},
    files::{Files, RealFiles, write_all},
    journal::{SegmentLines, scan, scan_leniently},
    layout::{DAMAGED, JOURNAL, MANIFEST, UNFINISHED, above, segment, segment_first},
    line,
    manifest::{Listed, Manifest},
    place::Place,
    records::{CommitRecord, JournalRecord, Operation},
    snapshot::{damage, remove_unlisted},
    writer::standing_after,
};

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// What is lost, for people: each with its file, and the line where that is known.
    pub lost: Vec<String>,
    /// Lines that were set aside; they are in the folder [`Repair::aside`].
    pub lines: u64,
    /// Where the lines were set aside, under the names of their files; none when nothing was damaged.
    pub aside: Option<PathBuf>,
    /// Whether the account of it was committed.
    pub recorded: bool,
}

/// Repairs the store in a folder that no process has open.
///
/// Damaged lines are copied to a new folder below `damaged/`, and the store goes on without them: documents, rows and values whose
/// lines are damaged are as if they had never been written, and what lost lines of the journal did has not happened (a later write
/// of the same document stands). A torn end of the journal is no damage and is left as it is. Blocks; nothing is changed when
/// nothing is damaged.
///
/// Rows of chained lanes that are lost stay visible for good: the chain is linked over their numbers, which `check` tells as
/// [`Severity::Known`](fleet_core::store::Severity::Known) in this store and in every copy of it. The numbers are exact, but for
/// lines that are lost after the last commit of the journal that lengthened the chain: each of them counts as one row.
///
/// `account` makes a batch of the report, which is committed with the repair, in one step: its rows are the account of what was
/// done. It is left out in a store that is being filled, where what is lost comes again. Nothing is demanded of it: its writes
/// should have none.
///
/// Fails with [`Error::Refused`] when another process has the folder or it is no store, and with [`Error::Corrupt`] when its
/// manifest is damaged: then only a backup helps. An error of `account` leaves the store as it was.
pub fn repair(path: impl AsRef<Path>, account: impl FnOnce(&Repair) -> Result<Option<Batch>>) -> Result<Repair> {
    repair_on(Arc::new(RealFiles), path, account)
}

/// Repairs a store on another file system than the machine's own; see [`repair`].
pub fn repair_on(
    files: Arc<dyn Files>,
    path: impl AsRef<Path>,
    account: impl FnOnce(&Repair) -> Result<Option<Batch>>,
) -> Result<Repair> {
    let root = std::path::absolute(path.as_ref()).map_err(|error| Error::Unavailable(Box::new(error)))?;
    let exists = files
        .list(&root)
        .is_ok_and(|names| names.iter().any(|name| name == MANIFEST));
    if !exists {
        return Err(Error::Refused(format!("{} is not a store of fleet", root.display())));
    }
    let mut place = Place::take(Arc::clone(&files), &root)?;
    let mut work = Work {
        files: &*files,
        root: &root,
        report: Repair::default(),
        aside: BTreeMap::new(),
    };
    let done = work.repair(account);
    let report = work.report;
    place.release();
    done.map(|()| report)
}

struct Work<'f> {
    files: &'f dyn Files,
    root: &'f Path,
    report: Repair,
    /// What is set aside, by the name of the file that it comes from.
    aside: BTreeMap<String, Vec<u8>>,
}

/// A file of the snapshot to be written anew.
struct Mended {
    position: usize,
    bytes: Vec<u8>,
}

impl Work<'_> {
    fn repair(&mut self, account: impl FnOnce(&Repair) -> Result<Option<Batch>>) -> Result<()> {
        let Some(mut manifest) = Manifest::read(self.files, self.root)? else {
            return Err(Error::Refused(format!(
                "{} is not a store of fleet",
                self.root.display()
            )));
        };
        let mut mended = Vec::new();
        let mut missing = Vec::new();
        for (position, listed) in manifest.files.iter().enumerate() {
            match self.read(&listed.file)? {
                None => {
                    let Listed { part, file, lines, .. } = listed;
                    self.report
                        .lost
                        .push(format!("{file}: the file is missing; {part} had {lines} lines"));
                    missing.push(position);
                }
                Some(bytes) if damage(&bytes, listed).is_some() => {
                    let bytes = self.good_lines(listed, &bytes);
                    mended.push(Mended { position, bytes });
                }
                Some(_) => {}
            }
        }
        let (segments, torn) = match scan(self.files, self.root, manifest.journal) {
            Ok(_) if mended.is_empty() && missing.is_empty() => return Ok(()),
            Ok(scanned) => (scanned.segments, true),
            Err(Error::Corrupt(_)) => (scan_leniently(self.files, self.root, manifest.journal)?, false),
            Err(error) => return Err(again(&error)),
        };
        let mut journal = self.mended_journal(&segments, &manifest, torn)?;
        self.set_aside()?;
        if !matches!(journal.standing.phase, Phase::Filling(_))
            && let Some(batch) = account(&self.report)?
        {
            // Behind all places in commit order that anybody was answered with.
            let seq = journal.seq + journal.lost + 1;
            journal.put(Operation::Commit(CommitRecord::of(&batch, seq, &[])))?;
            self.report.recorded = true;
        }
        // New files beside the old ones, under the number of a checkpoint of their own; the manifest is the switch.
        manifest.checkpoint += 1;
        for Mended { position, bytes } in mended {
            let Some(listed) = manifest.files.get_mut(position) else {
                continue;
            };
            listed.file = listed.part.file(manifest.checkpoint);
            listed.lines = line::split(&bytes).count() as u64;
            listed.bytes = bytes.len() as u64;
            listed.blake3 = *blake3::hash(&bytes).as_bytes();
            self.write(&listed.file, &bytes)?;
        }
        let mut position = 0;
        manifest.files.retain(|_| {
            position += 1;
            !missing.contains(&(position - 1))
        });
        // Behind all numbers that were ever used, so that no old segment counts any more.
        manifest.journal = journal.first;
        self.write_whole(&format!("{JOURNAL}/{}", segment(journal.first)), &journal.bytes)?;
        manifest
            .write(self.files, self.root)
            .map_err(crate::manifest::Switch::error)?;
        remove_unlisted(self.files, self.root, &manifest);
        Ok(())
    }

    fn read(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(file);
        match self.files.read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable("read", &path, &error)),
        }
    }

    /// The lines of a damaged file that are as they were written; the others are set aside.
    fn good_lines(&mut self, listed: &Listed, bytes: &[u8]) -> Vec<u8> {
        let mut good = Vec::with_capacity(bytes.len());
        let mut count = 0_u64;
        for ((text, ended), number) in line::split(bytes).zip(1..) {
            if ended && line::rest(text).is_some() {
                good.extend_from_slice(text);
                good.push(b'\n');
                count += 1;
            } else {
                self.lose(&listed.file, number, text);
            }
        }
        if count < listed.lines {
            let (file, part, gone) = (&listed.file, &listed.part, listed.lines - count);
            self.report
                .lost
                .push(format!("{file}: {gone} of {} lines of {part} are gone", listed.lines));
        }
        good
    }

    fn lose(&mut self, file: &str, number: usize, text: &[u8]) {
        self.report.lost.push(format!("{file}: line {number} is damaged"));
        self.report.lines += 1;
        let aside = self.aside.entry(file.replace('/', "_")).or_default();
        aside.extend_from_slice(text);
        aside.push(b'\n');
    }

    /// The good lines in a new order of numbers, with a mark where lines are missing. `torn`: bad lines are a torn end, not damage.
    fn mended_journal(&mut self, segments: &[SegmentLines], manifest: &Manifest, torn: bool) -> Result<Mending> {
        let from = manifest.journal;
        // Behind all numbers that may ever have been used.
        let mut begin = from;
        let (mut whole, mut damaged) = (Vec::new(), 0);
        for segment in segments {
            let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
            let first = segment_first(&name).unwrap_or(from);
            begin = begin.max(first + segment.count() as u64);
            let last = segment.lines().last().map(|(_, text)| parse(text)).transpose()?;
            begin = begin.max(last.map_or(0, |last| last.n + 1));
            let begins = segment.lines().next().map(|(_, text)| parse(text)).transpose()?;
            if first != from && begins.is_some_and(|begins| matches!(begins.op, Operation::Lost { .. })) {
                // Left over by a repair that did not come to its end: what it holds stands in the others.
                continue;
            }
            let mut bad = 0;
            for (number, text) in segment.bad_lines().filter(|_| !torn) {
                self.lose(&format!("{JOURNAL}/{name}"), number, text);
                bad += 1;
            }
            damaged += bad;
            // Where a line of its own number for each of its lines would end.
            whole.push((segment, first + segment.lines().count() as u64 + bad));
        }
        let mut mending = Mending {
            first: begin + 1,
            bytes: Vec::new(),
            next: begin + 1,
            lost: 0,
            seq: manifest.seq,
            standing: manifest.standing.clone(),
        };
        // Also where only the snapshot lost something.
        mending.put(Operation::Lost { lines: 0 })?;
        let mut expected = from;
        for (segment, end) in whole {
            for (_, text) in segment.lines() {
                let record = parse(text)?;
                mending.lose(record.n.saturating_sub(expected))?;
                expected = record.n + 1;
                mending.put(record.op)?;
            }
            // Lines may be missing at the end too, where no later one says so.
            mending.lose(end.saturating_sub(expected))?;
            expected = expected.max(end);
        }
        if mending.lost > damaged {
            let gone = mending.lost - damaged;
            self.report.lost.push(format!("{JOURNAL}: {gone} lines are missing"));
        }
        if self.report.lost.is_empty() {
            let problem = "lines stand in another place than where they were written";
            self.report.lost.push(format!("{JOURNAL}: {problem}"));
        }
        Ok(mending)
    }

    fn set_aside(&mut self) -> Result<()> {
        if self.aside.is_empty() {
            return Ok(());
        }
        let before = self.files.list(&self.root.join(DAMAGED)).unwrap_or_default().len();
        let folder = self.root.join(DAMAGED).join((before + 1).to_string());
        for (name, bytes) in &self.aside {
            self.write(&format!("{DAMAGED}/{}/{name}", before + 1), bytes)?;
        }
        self.report.aside = Some(folder);
        Ok(())
    }

    /// Writes a file that is there as a whole or not at all: a repair that is broken off must not leave half a segment.
    fn write_whole(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let unfinished = format!("{file}{UNFINISHED}");
        self.write(&unfinished, bytes)?;
        let (from, to) = (self.root.join(unfinished), self.root.join(file));
        let named = self.files.rename(&from, &to);
        let named = named.and_then(|()| self.files.sync_folder(&above(&to)));
        named.map_err(|error| unavailable("write", &to, &error))
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(file);
        let folder = above(&path);
        let written = self.files.make_folder(&folder).and_then(|()| {
            self.files.sync_folder(&above(&folder))?;
            let mut out = self.files.create(&path)?;
            write_all(&mut *out, bytes)?;
            out.sync()?;
            self.files.sync_folder(&folder)
        });
        written.map_err(|error| unavailable("write", &path, &error))
    }
}

/// A journal that is written anew.
struct Mending {
    /// The number of its first line.
    first: u64,
    bytes: Vec<u8>,
    /// The number of the next line.
    next: u64,
    /// Lines that are lost.
    lost: u64,
    /// The newest place in commit order.
    seq: Seq,
    /// What the store is for.
    standing: Standing,
}

impl Mending {
    fn put(&mut self, op: Operation<'_>) -> Result<()> {
        match &op {
            Operation::Commit(commit) => self.seq = self.seq.max(commit.seq),
            Operation::Patch(patch) => self.seq = self.seq.max(patch.seq),
            // What led to a step may be lost: then it is not made.
            op => self.standing = standing_after(&self.standing, op).unwrap_or_else(|_| self.standing.clone()),
        }
        let record = JournalRecord {
            n: self.next,
            synced: self.first - 1,
            op,
        };
        self.next += 1;
        line::push(&mut self.bytes, &record).map_err(|error| Error::Unavailable(Box::new(error)))
    }

    /// Marks a place where lines are missing.
    fn lose(&mut self, lines: u64) -> Result<()> {
        if lines == 0 {
            return Ok(());
        }
        self.lost += lines;
        self.put(Operation::Lost { lines })
    }
}

fn parse(text: &[u8]) -> Result<JournalRecord<'_>> {
    line::parse(text)
        .map_err(|error| Error::Corrupt(format!("a line of the journal that is as it was written: {error}")))
}
