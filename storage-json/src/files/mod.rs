//! Every operation on files, behind one small trait: so that tests can put a disk below the store that fails, fills up and
//! forgets what was not synchronised.

mod real;

use std::{
    any::Any,
    fmt,
    io::{self, Cursor, Read},
    path::Path,
};

pub use real::RealFiles;

/// Keeps a lock until it is dropped.
pub type Guard = Box<dyn Any + Send + Sync>;

/// A file system. All calls block. What a call did is certain to survive a loss of power only after the file, and for its
/// name the folder that it stands in, was synchronised.
pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// Takes a lock file for this process, and makes it where it is missing; none when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Guard>>;

    /// Makes a folder and those above it, for this user only; one that is there is left as it is.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted; that the folder is missing is [`io::ErrorKind::NotFound`].
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Reads a file from its beginning, in parts.
    fn reader(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.read(path)?)))
    }

    /// Makes a file for this user only, or empties it.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;

    /// Opens a file that is there, to write at its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;

    /// Gives a file another name, in place of any file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Synchronises the names in a folder with the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that is open for writing at its end.
pub trait OpenFile: Send {
    /// Writes some of the bytes; returns how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Synchronises contents and length with the disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to a length.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// Writes all of the bytes.
pub(crate) fn write_all(file: &mut dyn OpenFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
