//! The journal: one line for each thing that was accepted, in order, synchronised before anybody is answered.

mod scan;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fleet_core::store::{Error, Result};

pub(crate) use scan::{Place, Scanned, SegmentLines, scan, scan_leniently};

use crate::{
    error::{is_full, unavailable},
    files::{Files, OpenFile, write_all},
    layout::{JOURNAL, UNFINISHED, segment},
    line,
    records::Text,
};

/// The lines of one write.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// The number of the first.
    first: u64,
    count: u64,
}

impl Lines {
    /// Begins anew, with the line of this number. They are written when all lines before it are on the disk, and not before.
    pub(crate) fn begin(&mut self, first: u64) {
        self.bytes.clear();
        (self.first, self.count) = (first, 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The number of the line that follows.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.count
    }

    /// Adds a line whose operation is written by a function. After a failure the lines are as before.
    pub(crate) fn push<E>(&mut self, op: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let (n, synced) = (self.next(), self.first - 1);
        line::push_with(&mut self.bytes, |out| {
            let mut text = Text(out);
            text.raw(b"{\"n\":");
            text.number(n);
            text.raw(b",\"synced\":");
            text.number(synced);
            text.raw(b",\"op\":");
            op(out)?;
            out.push(b'}');
            Ok(())
        })?;
        self.count += 1;
        Ok(())
    }
}

/// The segment that is written to.
struct Segment {
    file: Box<dyn OpenFile>,
    length: u64,
}

/// The end of the journal.
pub(crate) struct Journal {
    files: Arc<dyn Files>,
    folder: PathBuf,
    segment: Option<Segment>,
    segment_bytes: u64,
    /// The number of the next line. All lines before it are on the disk.
    next: u64,
    /// Why nothing more is written, once something failed whose outcome nobody knows.
    stopped: Option<String>,
}

impl Journal {
    /// Goes on after line `next - 1`. `last` is the segment that is there already, without a torn end.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        root: &Path,
        segment_bytes: u64,
        next: u64,
        last: Option<(&Path, &[u8])>,
    ) -> Result<Self> {
        let folder = root.join(JOURNAL);
        let mut journal = Self {
            files,
            folder,
            segment: None,
            segment_bytes,
            next,
            stopped: None,
        };
        if let Some((path, bytes)) = last {
            let opened = journal.take_over(path, bytes);
            journal.segment = Some(opened.map_err(|error| unavailable("take over", path, &error))?);
        }
        Ok(journal)
    }

    /// Writes the segment anew and puts it in the place of the old one. What was read of it may never have reached the disk: the
    /// process before this one may have been killed before it synchronised, or its synchronisation may have failed, after which
    /// another one of the same pages succeeds and means nothing.
    fn take_over(&self, path: &Path, bytes: &[u8]) -> io::Result<Segment> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(UNFINISHED);
        let next = self.folder.join(name);
        let mut file = self.files.create(&next)?;
        write_all(&mut *file, bytes)?;
        file.sync()?;
        self.files.rename(&next, path)?;
        self.files.sync_folder(&self.folder)?;
        Ok(Segment {
            file,
            length: bytes.len() as u64,
        })
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Lets the next line begin a new segment.
    pub(crate) fn rotate(&mut self) {
        if self.segment.as_ref().is_some_and(|segment| segment.length > 0) {
            self.segment = None;
        }
    }

    /// Stops writing for good.
    pub(crate) fn stop(&mut self, why: &impl ToString) {
        self.stopped = Some(why.to_string());
    }

    /// Fails once the journal has stopped.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.stopped {
            None => Ok(()),
            Some(why) => Err(Error::Unavailable(
                format!("an earlier write failed and the store has to be opened again: {why}").into(),
            )),
        }
    }

    /// Writes the lines and synchronises them. [`Error::Unavailable`]: nothing of it is on the disk, now or later.
    /// [`Error::Unknown`]: some of it may be, and nothing more is written. A failed synchronisation is never tried again: the
    /// system may have dropped the pages and would say that all is well.
    pub(crate) fn write(&mut self, lines: &Lines) -> Result<()> {
        self.check()?;
        if lines.first != self.next {
            return Err(Error::Unavailable(
                format!("line {} of the journal is to follow, not {}", self.next, lines.first).into(),
            ));
        }
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.length >= self.segment_bytes)
        {
            self.segment = None;
        }
        if self.segment.is_none() {
            self.begin_segment()?;
        }
        let Some(segment) = &mut self.segment else {
            return Err(Error::Unavailable("the journal has no segment".into()));
        };
        if let Err(error) = write_all(&mut *segment.file, &lines.bytes) {
            // Whole lines may be among what was written: it is nothing only after the cut is on the disk.
            if is_full(&error) && cut_back(segment).is_ok() {
                return Err(Error::Unavailable(
                    format!("there is no room for it ({error}); free some space").into(),
                ));
            }
            return Err(self.failed(&error));
        }
        if let Err(error) = segment.file.sync() {
            return Err(self.failed(&error));
        }
        segment.length += lines.bytes.len() as u64;
        self.next += lines.count;
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<()> {
        let path = self.folder.join(segment(self.next));
        let file = self.files.create(&path);
        let file = file.map_err(|error| unavailable("make", &path, &error))?;
        if let Err(error) = self.files.sync_folder(&self.folder) {
            // Nothing was written, and nobody knows whether the name of the segment will last.
            self.stop(&error);
            return Err(unavailable("synchronise the folder of", &path, &error));
        }
        self.segment = Some(Segment { file, length: 0 });
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) -> Error {
        tracing::error!(%error, "the journal cannot be written; the store stops writing");
        self.stop(error);
        Error::Unknown(error.to_string().into())
    }
}

fn cut_back(segment: &mut Segment) -> io::Result<()> {
    segment.file.truncate(segment.length)?;
    segment.file.sync()
}
