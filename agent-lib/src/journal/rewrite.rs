//! Copying what still counts into a new file.

use std::io::{self, BufWriter, Write};

use fleet_core::kernel::Result;
use uuid::Uuid;

use super::{
    file::{unreadable, write_error},
    frame::{Class, Head},
    index::{Index, Item, Run},
    scan::{Location, read_record},
};
use crate::disk::DiskFile;

/// Writes to `new` all that `index` finds of use in `old`; answers its length and its index. The caller syncs it.
pub(super) fn copy_live(index: &Index, old: &dyn DiskFile, new: &dyn DiskFile) -> Result<(u64, Index)> {
    let mut writer = Rewriter {
        old,
        out: BufWriter::with_capacity(256 << 10, Appending { file: new, length: 0 }),
        length: 0,
        index: Index::default(),
        frame: Vec::new(),
    };
    writer.write_all(index)?;
    writer.out.flush().map_err(write_error)?;
    Ok((writer.length, writer.index))
}

/// The record of a loss.
pub(super) fn lost(run: Uuid, from: u64, before: u64, bytes: u64) -> Head {
    Head {
        from: Some(from),
        before: Some(before),
        bytes: Some(bytes),
        ..Head::new(Class::Lost, run)
    }
}

struct Rewriter<'a> {
    old: &'a dyn DiskFile,
    out: BufWriter<Appending<'a>>,
    length: u64,
    index: Index,
    frame: Vec<u8>,
}

/// Writes a file from its beginning.
struct Appending<'a> {
    file: &'a dyn DiskFile,
    length: u64,
}

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(self.length, bytes)?;
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Rewriter<'_> {
    fn write_all(&mut self, old: &Index) -> Result<()> {
        self.write(&Head::header())?;
        for (id, run) in old.in_order() {
            self.write_run(id, run)?;
        }
        Ok(())
    }

    fn write_run(&mut self, id: Uuid, run: &Run) -> Result<()> {
        if let Some(receipt) = run.receipt {
            self.copy(receipt.location)?;
        }
        if run.starts > 0 {
            self.write(&Head {
                at: run.started_at,
                starts: Some(run.starts),
                doubtful: run.doubtful.then_some(true),
                ..Head::new(Class::Started, id)
            })?;
        }
        if run.acknowledged > 0 {
            self.write(&Head {
                before: Some(run.acknowledged),
                ..Head::new(Class::OutputAcknowledged, id)
            })?;
        }
        for item in &run.pending {
            let (from, before, bytes) = match *item {
                Item::Lost { from, before, bytes } => (from, before, bytes),
                Item::Chunk { location, .. } if self.copy(location)? => continue,
                Item::Chunk { sequence, location } => (sequence, sequence + 1, u64::from(location.length)),
            };
            self.write(&lost(id, from, before, bytes))?;
        }
        if let Some(ending) = run.ending {
            self.copy(ending.location)?;
            if let Some(at) = ending.acknowledged_at {
                self.write(&Head {
                    at: Some(at),
                    ..Head::new(Class::ResultAcknowledged, id)
                })?;
            }
        }
        Ok(())
    }

    fn write(&mut self, head: &Head) -> Result<()> {
        self.frame.clear();
        head.encode(&mut self.frame)?;
        self.put(head)
    }

    /// Copies a record as it is; answers whether it could still be read. What could not is reported by the caller's item.
    fn copy(&mut self, location: Location) -> Result<bool> {
        let head = read_record(self.old, location.offset, &mut self.frame).map_err(unreadable)?;
        let Some(head) = head else {
            tracing::error!(offset = location.offset, "a record of the journal is damaged");
            return Ok(false);
        };
        self.put(&head)?;
        Ok(true)
    }

    fn put(&mut self, head: &Head) -> Result<()> {
        self.out.write_all(&self.frame).map_err(write_error)?;
        // A frame is at most 1 MiB and 8 bytes.
        let location = Location {
            offset: self.length,
            length: self.frame.len() as u32,
        };
        self.index.apply(head, location);
        self.length += u64::from(location.length);
        Ok(())
    }
}
