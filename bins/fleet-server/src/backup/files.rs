//! Backups as files.

use std::{
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use fleet_core::storage::ports::{BackupFolder, BackupSink, BackupSource};
use secrecy::SecretString;
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncWriteExt as _},
};

/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// The folders for backups of a running server.
#[derive(Debug)]
pub(crate) struct Folder {
    /// What a relative folder is below.
    pub(crate) data: PathBuf,
    /// The file with the passphrase.
    pub(crate) passphrase: Option<PathBuf>,
}

#[async_trait]
impl BackupFolder for Folder {
    async fn create(&self, folder: &str, file: &str) -> io::Result<Box<dyn BackupSink>> {
        let folder = self.data.join(folder);
        crate::files::private_folder(&folder).map_err(io::Error::other)?;
        Ok(Box::new(Sink::create(&folder.join(file)).await?))
    }

    async fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        match tokio::fs::remove_file(self.data.join(folder).join(file)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn passphrase(&self) -> io::Result<Option<SecretString>> {
        self.passphrase.as_deref().map(passphrase).transpose()
    }
}

/// The first line of a file.
pub(crate) fn passphrase(path: &Path) -> io::Result<SecretString> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().next().unwrap_or_default().into())
}

/// A file under another name until it is complete.
#[derive(Debug)]
pub(crate) struct Sink {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    finished: bool,
}

impl Sink {
    /// Begins a file of mode 0600 that is not there yet.
    pub(crate) async fn create(path: &Path) -> io::Result<Self> {
        if tokio::fs::try_exists(path).await? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there already", path.display()),
            ));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        Ok(Self {
            path: path.to_owned(),
            file: OpenOptions::from(options).open(&partial).await?,
            partial,
            finished: false,
        })
    }
}

#[async_trait]
impl BackupSink for Sink {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.file.write_all(&bytes).await
    }

    async fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        // Also when somebody put a file there meanwhile: a link, unlike a renaming, replaces nothing.
        tokio::fs::hard_link(&self.partial, &self.path).await?;
        tokio::fs::remove_file(&self.partial).await?;
        self.finished = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).await?.sync_all().await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.finished {
            crate::files::remove(&self.partial);
        }
    }
}

/// A file, read piece by piece.
#[derive(Debug)]
pub(crate) struct Source(File);

impl Source {
    pub(crate) async fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::open(path).await?))
    }
}

#[async_trait]
impl BackupSource for Source {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let mut room = BytesMut::with_capacity(READ);
        Ok((self.0.read_buf(&mut room).await? > 0).then(|| room.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_appears_complete_and_private_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.backup");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut given_up = Sink::create(&path).await.unwrap();
        given_up.write(Bytes::from_static(b"half")).await.unwrap();
        drop(given_up);
        assert_eq!(names(), 0);

        let mut sink = Box::new(Sink::create(&path).await.unwrap());
        sink.write(Bytes::from_static(b"whole")).await.unwrap();
        assert!(!path.exists());
        sink.finish().await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(), 1);
        assert_eq!(
            Sink::create(&path).await.unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
