//! What storage needs from outside: files for backups, and stores by URI.

use std::{fmt, io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;

use crate::store::{self, Backend};

/// Takes the bytes of a backup. Dropped before [`BackupSink::finish`], it leaves nothing behind.
#[async_trait]
pub trait BackupSink: Send {
    /// Appends.
    async fn write(&mut self, bytes: Bytes) -> io::Result<()>;

    /// Makes everything durable under its name.
    async fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Gives the bytes of a backup.
#[async_trait]
pub trait BackupSource: Send {
    /// The next bytes, at most some megabytes; none at the end.
    async fn read(&mut self) -> io::Result<Option<Bytes>>;
}

/// Where a server keeps its backups.
#[async_trait]
pub trait BackupFolder: fmt::Debug + Send + Sync + 'static {
    /// Begins a file. `folder` is a setting: absolute, or below the server's data.
    async fn create(&self, folder: &str, file: &str) -> io::Result<Box<dyn BackupSink>>;

    /// Removes a file; one that is not there is no error.
    async fn remove(&self, folder: &str, file: &str) -> io::Result<()>;

    /// What the master key is put under; without it, the key is left out of backups.
    fn passphrase(&self) -> io::Result<Option<SecretString>>;
}

/// Opens stores by URI.
#[async_trait]
pub trait StorageOpener: fmt::Debug + Send + Sync + 'static {
    /// The URI without secrets.
    ///
    /// # Errors
    /// Why it names no store.
    fn redacted(&self, uri: &str) -> Result<String, String>;

    /// Whether something is there already; none where that shows only when it is opened.
    fn exists(&self, uri: &str) -> Option<bool>;

    /// Opens the store, and makes it when it is not there.
    async fn open(&self, uri: &str) -> store::Result<Arc<dyn Backend>>;
}
