//! The log in files, where no journal keeps it: one that is written, and three before it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A file has at most about this many bytes.
const MOST: u64 = 10 << 20;
/// Former files: `agent.log.1` is the latest.
const FORMER: usize = 3;

/// The log's files.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    most: u64,
    open: Mutex<(File, u64)>,
}

impl LogFile {
    /// Goes on with a file; readable to its owner and group.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_most(path, MOST)
    }

    fn with_most(path: &Path, most: u64) -> io::Result<Self> {
        Ok(Self {
            open: Mutex::new(open(path)?),
            path: path.to_owned(),
            most,
        })
    }

    fn former(&self, n: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn turn_over(&self) -> io::Result<(File, u64)> {
        for n in (1..FORMER).rev() {
            // It may not be there yet.
            let _ = std::fs::rename(self.former(n), self.former(n + 1));
        }
        std::fs::rename(&self.path, self.former(1))?;
        open(&self.path)
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

impl Write for &LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1 > 0 && open.1 + bytes.len() as u64 > self.most {
            // Where that fails the log goes on in the file that is there.
            match self.turn_over() {
                Ok(next) => *open = next,
                Err(_) => open.1 = 0,
            }
        }
        open.0.write_all(bytes)?;
        open.1 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_turned_over_before_they_are_too_long_and_three_former_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        for start in 0..2 {
            // It goes on where it was after a restart.
            let log = LogFile::with_most(&path, 100).unwrap();
            for line in 0..10 {
                (&log)
                    .write_all(format!("{start} {line} {}\n", "x".repeat(35)).as_bytes())
                    .unwrap();
            }
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let first = |name: &str| read(name)[..3].to_owned();
        assert_eq!(first("agent.log"), "1 8");
        assert_eq!(first("agent.log.1"), "1 6");
        assert_eq!(first("agent.log.3"), "1 2");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
        for name in ["agent.log", "agent.log.1", "agent.log.2", "agent.log.3"] {
            assert!(read(name).len() <= 100 && read(name).ends_with('\n'));
        }
    }
}
