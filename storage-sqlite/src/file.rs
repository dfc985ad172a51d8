//! The file: made with narrow permissions, used by one process, refused when it is foreign, damaged or newer.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fleet_core::store::{Error, Result};
use sqlx::{
    ConnectOptions as _, Row as _,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    error::{from_engine, is_damage},
    options::{SqliteOptions, Synchronous},
    sql::literal,
};

/// The version of the tables that this crate reads and writes; `user_version` in the file.
pub(crate) const FORMAT: u32 = 1;

/// `flet` in the file's header says whose it is.
const APPLICATION: i64 = 0x666c_6574;

/// The tables that do not depend on the schema. `catalogue` says what was prepared: an owner's own row has an empty column.
const BASE: &str = r#"
CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE catalogue (type TEXT NOT NULL, owner TEXT NOT NULL, column TEXT NOT NULL, spec TEXT NOT NULL,
    filled INTEGER NOT NULL, PRIMARY KEY (type, owner, column)) STRICT, WITHOUT ROWID;
CREATE TABLE fills (type TEXT NOT NULL, owner TEXT NOT NULL, stream BLOB NOT NULL, at INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (type, owner)) STRICT, WITHOUT ROWID;
CREATE TABLE feed (seq INTEGER NOT NULL, n INTEGER NOT NULL, type INTEGER NOT NULL, name TEXT NOT NULL, id BLOB NOT NULL,
    rev INTEGER, PRIMARY KEY (seq, n)) STRICT, WITHOUT ROWID;
CREATE TABLE batches (id BLOB NOT NULL PRIMARY KEY, seq INTEGER NOT NULL, fingerprint BLOB NOT NULL, revs BLOB NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE INDEX batches_seq ON batches (seq);
CREATE TABLE heads (lane TEXT NOT NULL PRIMARY KEY, number INTEGER NOT NULL, hash BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE leases (name TEXT NOT NULL PRIMARY KEY, holder BLOB, until INTEGER NOT NULL, fence INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE standing (only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1), body TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('seq', 0), ('floor', 0);
INSERT INTO standing (only, body) VALUES (1, '{"phase":"serving"}');
"#;

/// Where the file is, and the lock on it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    lock: Mutex<Option<File>>,
}

impl Place {
    /// Takes the file for this process.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let failed =
            |what: &str, error: io::Error| Error::Unavailable(format!("{what} {}: {error}", path.display()).into());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        make_folder(folder).map_err(|error| failed("cannot make the folder of", error))?;
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(&lock_path)
            .map_err(|error| failed("cannot open the lock of", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Refused(format!(
                    "{} is in use by another process. A store has one server: stop the other one, or use another file",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed("cannot lock", error)),
        }
        // The engine gives its log the permissions of the file itself.
        let file = private(OpenOptions::new().create(true).truncate(false).read(true).write(true))
            .open(path)
            .map_err(|error| failed("cannot open", error))?;
        check_header(path, file)?;
        Ok(Self {
            path: path.to_owned(),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Lets another process have the file.
    pub(crate) fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether the last process left without closing.
    pub(crate) fn was_left_open(&self) -> bool {
        log_length(&self.path) > 0
    }

    /// Bytes of the file and of its logs.
    pub(crate) fn bytes(&self) -> u64 {
        let of = |more: &str| {
            let mut path = self.path.as_os_str().to_owned();
            path.push(more);
            std::fs::metadata(path).map_or(0, |found| found.len())
        };
        ["", "-wal", "-shm"].into_iter().map(of).sum()
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(false)
            .pragma("trusted_schema", "OFF")
            .pragma("temp_store", "MEMORY")
            .statement_cache_capacity(512)
            .disable_statement_logging()
    }

    pub(crate) async fn connect_writer(&self, options: &SqliteOptions) -> Result<SqliteConnection> {
        self.options()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match options.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            })
            .pragma("cell_size_check", "ON")
            .pragma("cache_size", "-32768")
            // A checkpoint every 16 MiB, in the writer's own time; it costs a second synchronisation.
            .pragma("wal_autocheckpoint", "4096")
            .pragma("journal_size_limit", "67108864")
            .connect()
            .await
            .map_err(|error| self.damaged(error))
    }

    pub(crate) async fn connect_reader(&self) -> Result<SqliteConnection> {
        self.options()
            .read_only(true)
            .pragma("query_only", "ON")
            .pragma("cache_size", "-8192")
            .row_buffer_size(32)
            .connect()
            .await
            .map_err(from_engine)
    }

    /// Refuses what is not ours or not whole; makes the tables in a new file.
    pub(crate) async fn check(&self, conn: &mut SqliteConnection, left_open: bool) -> Result<()> {
        let mut number = async |statement: &'static str| -> Result<i64> {
            let row = literal(statement).fetch_one(&mut *conn).await;
            row.and_then(|row| row.try_get(0)).map_err(|error| self.damaged(error))
        };
        let path = self.path.display();
        let application = number("PRAGMA application_id").await?;
        let format = number("PRAGMA user_version").await?;
        // Reads the whole catalogue of the engine, which finds a damaged one.
        let tables = number("SELECT count(*) FROM sqlite_schema").await?;
        if application == 0 && tables == 0 {
            return self.create(conn).await;
        }
        if application != APPLICATION {
            return Err(Error::Refused(format!(
                "{path} is a SQLite database of another program; name another file"
            )));
        }
        if format > i64::from(FORMAT) {
            return Err(Error::Refused(format!(
                "{path} was written by a newer version of fleet (format {format}, this one knows {FORMAT}); start that \
                 version, or restore a backup made before the upgrade"
            )));
        }
        if left_open {
            let said: String = literal("PRAGMA quick_check(1)")
                .fetch_one(&mut *conn)
                .await
                .and_then(|row| row.try_get(0))
                .map_err(|error| self.damaged(error))?;
            if said != "ok" {
                return Err(damaged(&self.path, &said));
            }
        }
        let metas: i64 = literal("SELECT count(*) FROM meta WHERE name IN ('seq', 'floor')")
            .fetch_one(&mut *conn)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(|error| self.damaged(error))?;
        if metas == 2 {
            Ok(())
        } else {
            Err(damaged(&self.path, "it does not say where commit order stands"))
        }
    }

    async fn create(&self, conn: &mut SqliteConnection) -> Result<()> {
        let made: Result<(), sqlx::Error> = async {
            literal("BEGIN IMMEDIATE").execute(&mut *conn).await?;
            sqlx::raw_sql(BASE).execute(&mut *conn).await?;
            // Both are part of the transaction: a file is ours and complete, or new.
            literal("PRAGMA application_id = 1718379892")
                .execute(&mut *conn)
                .await?;
            literal("PRAGMA user_version = 1").execute(&mut *conn).await?;
            literal("COMMIT").execute(&mut *conn).await.map(drop)
        }
        .await;
        made.map_err(from_engine)
    }

    fn damaged(&self, error: sqlx::Error) -> Error {
        if is_damage(&error) {
            damaged(&self.path, &error.to_string())
        } else {
            from_engine(error)
        }
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::Corrupt(format!(
        "{path} is damaged or not a database ({why}). Nothing was changed. Keep a copy of it and of {path}-wal, then restore \
         the newest backup; `sqlite3 {path} .recover` may bring back what came after it",
        path = path.display()
    ))
}

fn log_length(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).map_or(0, |log| log.len())
}

/// The first 100 bytes, by <https://sqlite.org/fileformat2.html#the_database_header>.
fn check_header(path: &Path, file: File) -> Result<()> {
    let failed = |error: io::Error| Error::Unavailable(format!("cannot read {}: {error}", path.display()).into());
    let length = file.metadata().map_err(failed)?.len();
    if length == 0 {
        return Ok(());
    }
    let mut header = Vec::with_capacity(100);
    file.take(100).read_to_end(&mut header).map_err(failed)?;
    if !header.starts_with(b"SQLite format 3\0") || header.len() < 100 {
        return Err(damaged(path, "it does not begin like one"));
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    // With a log beside it the file may lawfully be behind its header.
    if log_length(path) == 0 && length < pages * page {
        return Err(damaged(path, "its end is missing"));
    }
    Ok(())
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}
