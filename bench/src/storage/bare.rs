//! A bare copy: records as keys and bodies, out of a file or table of the one engine and into one of the other. The same bytes,
//! pages and synchronisations as a move, and nothing else: no indexes, no revisions, nothing is read back or added up.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use fleet_core::store::{Record, RecordKey};
use sqlx::{Row as _, postgres::PgConnection, sqlite::SqliteConnection};

use super::{Kind, probe};

/// Records of a page and of a transaction: those of the engine of core.
const PAGE: usize = 2_000;

/// A place of one engine that is about to be copied from.
pub struct Copying {
    from: Place,
    records: u64,
}

impl Copying {
    /// Records of a page.
    pub const PAGE: usize = PAGE;

    /// An empty place of an engine in a folder.
    pub async fn new(from: Kind, folder: &Path) -> Result<Self> {
        let from = Place::create(from, &folder.join("from")).await?;
        Ok(Self { from, records: 0 })
    }

    /// More records to copy.
    pub async fn put(&mut self, records: &[Bare]) -> Result<()> {
        self.records += records.len() as u64;
        self.from.write(records).await
    }

    /// Copies them into a place of an engine; rows a second.
    pub async fn copy(self, to: Kind, folder: &Path) -> Result<f64> {
        let mut reader = self.from.into_reader().await?;
        let mut second = Place::create(to, &folder.join("to")).await?;
        let (begun, mut copied) = (Instant::now(), 0);
        loop {
            let page = reader.read().await?;
            if page.is_empty() {
                break;
            }
            copied += page.len() as u64;
            second.write(&page).await?;
        }
        ensure!(copied == self.records, "the bare copy lost records");
        Ok(copied as f64 / begun.elapsed().as_secs_f64())
    }
}

/// A record as bytes: name and key in one, and the body.
pub type Bare = (Vec<u8>, Bytes);

/// A record as bytes; none for the end of an export.
pub fn plain(record: Record) -> Option<Bare> {
    let mut key = match record.key()? {
        RecordKey::Doc(key) | RecordKey::Latest(key) => [key.kind.as_bytes(), b"/", key.id.as_bytes()].concat(),
        RecordKey::Row(place) => {
            let (at, n) = (place.at.to_be_bytes(), place.n.to_be_bytes());
            [place.lane.as_bytes(), b"/", place.stream.as_bytes(), &at, &n].concat()
        }
    };
    let body = match record {
        Record::Doc(doc) => {
            key.insert(0, b'd');
            doc.body
        }
        Record::Latest(latest) => {
            key.insert(0, b'l');
            latest.body
        }
        Record::Row(_, stored) => {
            key.insert(0, b'r');
            stored.row.body
        }
        Record::End { .. } => return None,
    };
    Some((key, body))
}

/// A bare file that is written.
enum Place {
    Sqlite(SqliteConnection),
    Lines(File, PathBuf),
    Postgres(PgConnection),
}

/// A bare file that is read.
enum Reader {
    Sqlite(SqliteConnection, Vec<u8>),
    Lines(BufReader<File>),
    Postgres(PgConnection, Vec<u8>),
}

impl Place {
    async fn create(kind: Kind, path: &Path) -> Result<Self> {
        Ok(match kind {
            Kind::Json | Kind::Memory => Self::Lines(File::create_new(path)?, path.to_owned()),
            Kind::Sqlite | Kind::SqliteNormal => {
                let mut connection = probe::sqlite_connection(path, true).await?;
                let create =
                    "CREATE TABLE record (key BLOB NOT NULL PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID";
                sqlx::query(create).execute(&mut connection).await?;
                Self::Sqlite(connection)
            }
            Kind::Postgres => {
                let mut connection = Kind::bare_postgres().await?;
                let create = "CREATE TABLE record (key bytea PRIMARY KEY, body bytea NOT NULL)";
                sqlx::query(create).execute(&mut connection).await?;
                Self::Postgres(connection)
            }
        })
    }

    /// One transaction, or one write and one `fdatasync`.
    async fn write(&mut self, page: &[Bare]) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                let (mut places, mut blob) = (String::from("["), Vec::new());
                for (key, body) in page {
                    use std::fmt::Write as _;
                    let separator = if blob.is_empty() { "" } else { "," };
                    write!(places, "{separator}[{},{},{}]", blob.len() + 1, key.len(), body.len())?;
                    blob.extend_from_slice(key);
                    blob.extend_from_slice(body);
                }
                places.push(']');
                sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
                sqlx::query(
                    "INSERT INTO record (key, body) SELECT substr(?2, j.value->>0, j.value->>1), \
                     substr(?2, (j.value->>0) + (j.value->>1), j.value->>2) FROM json_each(?1) j",
                )
                .bind(places)
                .bind(blob)
                .execute(&mut *connection)
                .await?;
                sqlx::query("COMMIT").execute(connection).await?;
            }
            Self::Postgres(connection) => {
                let (keys, bodies): (Vec<_>, Vec<_>) =
                    page.iter().map(|(key, body)| (key.clone(), body.to_vec())).unzip();
                let insert = "INSERT INTO record (key, body) SELECT * FROM unnest($1::bytea[], $2::bytea[])";
                sqlx::query(insert).bind(keys).bind(bodies).execute(connection).await?;
            }
            Self::Lines(file, _) => {
                let mut lines = Vec::with_capacity(page.len() * 1_024);
                for (key, body) in page {
                    lines.extend_from_slice(hex::encode(key).as_bytes());
                    lines.push(b'\t');
                    lines.extend_from_slice(body);
                    lines.push(b'\n');
                }
                let mut file = file.try_clone()?;
                tokio::task::spawn_blocking(move || {
                    file.write_all(&lines)?;
                    file.sync_data()
                })
                .await??;
            }
        }
        Ok(())
    }

    async fn into_reader(self) -> Result<Reader> {
        Ok(match self {
            Self::Sqlite(connection) => Reader::Sqlite(connection, Vec::new()),
            Self::Lines(_, path) => Reader::Lines(BufReader::with_capacity(1 << 20, File::open(path)?)),
            Self::Postgres(connection) => Reader::Postgres(connection, Vec::new()),
        })
    }
}

impl Reader {
    /// The next page; an empty one at the end.
    async fn read(&mut self) -> Result<Vec<Bare>> {
        match self {
            Self::Sqlite(connection, after) => {
                let query = "SELECT key, body FROM record WHERE key > ?1 ORDER BY key LIMIT ?2";
                let query = sqlx::query(query).bind(after.clone()).bind(PAGE as i64);
                let mut page = Vec::with_capacity(PAGE);
                for row in query.fetch_all(connection).await? {
                    page.push((
                        row.try_get::<Vec<u8>, _>(0)?,
                        Bytes::from(row.try_get::<Vec<u8>, _>(1)?),
                    ));
                }
                if let Some((last, _)) = page.last() {
                    after.clone_from(last);
                }
                Ok(page)
            }
            Self::Postgres(connection, after) => {
                let query = "SELECT key, body FROM record WHERE key > $1 ORDER BY key LIMIT $2";
                let query = sqlx::query(query).bind(after.clone()).bind(PAGE as i64);
                let mut page = Vec::with_capacity(PAGE);
                for row in query.fetch_all(connection).await? {
                    page.push((
                        row.try_get::<Vec<u8>, _>(0)?,
                        Bytes::from(row.try_get::<Vec<u8>, _>(1)?),
                    ));
                }
                if let Some((last, _)) = page.last() {
                    after.clone_from(last);
                }
                Ok(page)
            }
            Self::Lines(file) => {
                let mut page = Vec::with_capacity(PAGE);
                let mut line = Vec::new();
                while page.len() < PAGE && file.read_until(b'\n', &mut line)? > 0 {
                    let tab = line
                        .iter()
                        .position(|byte| *byte == b'\t')
                        .context("a line without a key")?;
                    let body = line[tab + 1..line.len() - 1].to_vec();
                    page.push((hex::decode(&line[..tab])?, Bytes::from(body)));
                    line.clear();
                }
                Ok(page)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bare_file_gives_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let records: Vec<Bare> = (0..5_000_u32)
            .map(|n| (n.to_be_bytes().to_vec(), Bytes::from(format!("{{\"n\":{n}}}"))))
            .collect();
        for kind in [Kind::Sqlite, Kind::Json] {
            let mut place = Place::create(kind, &folder.path().join(kind.name())).await.unwrap();
            for page in records.chunks(PAGE) {
                place.write(page).await.unwrap();
            }
            let mut reader = place.into_reader().await.unwrap();
            let mut read = Vec::new();
            loop {
                let page = reader.read().await.unwrap();
                if page.is_empty() {
                    break;
                }
                read.extend(page);
            }
            assert_eq!(read, records);
        }
    }
}
