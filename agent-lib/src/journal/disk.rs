//! Where a journal lies: a folder that it shares with nobody.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
};

use crate::state::StateDirectory;

/// A folder. What was written is there after a loss of power only once its file was synced, and a new name only once the folder was.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file for reading and writing, readable to its owner only; an empty one where there is none.
    ///
    /// # Errors
    /// When the disk does not give it.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it is not there, and others when the disk refuses.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name; what had that name is gone.
    ///
    /// # Errors
    /// When the disk refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// When the disk refuses.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + 'static {
    /// Its bytes.
    ///
    /// # Errors
    /// When the disk does not tell.
    fn length(&self) -> io::Result<u64>;

    /// Reads once, at most what fits `buffer`; 0 at the end.
    ///
    /// # Errors
    /// When the disk does not give it.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// When the disk refuses; some of the bytes may be there.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Makes contents and length durable.
    ///
    /// # Errors
    /// When the disk refuses; nobody knows then what is durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes all that is known of the file durable.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;
}

impl Disk for StateDirectory {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Box::new(options.open(self.path().join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path().join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path().join(from), self.path().join(to))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::hard_link(self.path().join(from), self.path().join(to))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.path())?.sync_all()
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
