//! Where the agent keeps what must outlive it: journal, manifest and progress, in a folder that it shares with nobody.

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

    /// Opens a file for reading; nothing where there is none.
    ///
    /// # Errors
    /// When the disk does not give it.
    fn find(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>>;

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

/// What a file has in it, at most so many bytes; nothing where there is none.
pub(crate) fn read(disk: &dyn Disk, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = disk.find(name)? else { return Ok(None) };
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(most)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(filled as u64, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

/// Gives a file other contents by way of another name, so that it has the ones or the others whenever the power goes.
pub(crate) fn replace(disk: &dyn Disk, new_name: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(new_name)?;
    file.cut(0)?;
    file.write(0, bytes)?;
    file.sync_all()?;
    disk.rename(new_name, name)?;
    disk.sync()
}

impl Disk for StateDirectory {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Box::new(options.open(self.path().join(name))?))
    }

    fn find(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        match File::open(self.path().join(name)) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let disk = StateDirectory::open(folder.path()).unwrap();
        assert_eq!(read(&disk, "a", 10).unwrap(), None);
        for text in ["long before", "short", ""] {
            replace(&disk, "a.new", "a", text.as_bytes()).unwrap();
            assert_eq!(read(&disk, "a", 100).unwrap().unwrap(), text.as_bytes());
        }
        let mode = folder.path().join("a").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!folder.path().join("a.new").exists());
    }

    #[test]
    fn no_more_of_a_file_is_read_than_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let disk = StateDirectory::open(folder.path()).unwrap();
        replace(&disk, "a.new", "a", b"abcdef").unwrap();
        assert_eq!(read(&disk, "a", 4).unwrap().unwrap(), b"abcd");
    }

    #[test]
    fn what_an_interrupted_replacement_left_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let disk = StateDirectory::open(folder.path()).unwrap();
        replace(&disk, "a.new", "a", b"before").unwrap();
        std::fs::write(folder.path().join("a.new"), "half of something long").unwrap();
        assert_eq!(read(&disk, "a", 100).unwrap().unwrap(), b"before");
        replace(&disk, "a.new", "a", b"after").unwrap();
        assert_eq!(read(&disk, "a", 100).unwrap().unwrap(), b"after");
    }
}
