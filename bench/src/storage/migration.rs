//! Rows of a migration a second: the engine of core, which reads back and verifies, beside a bare copy that does neither.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use fleet_bench_dataset::{Dataset, Size};
use fleet_core::{
    kernel::{SystemClock, SystemRandom},
    modules,
    store::{Backend, Record, RecordKey, migration::Migration},
};
use futures::StreamExt as _;
use sqlx::{Row as _, postgres::PgConnection, sqlite::SqliteConnection};

use super::{Kind, probe};

/// Records of a page and of a transaction: those of the engine of core.
const PAGE: usize = 2_000;

/// A figure of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// Rows a second from the first to the last step, verification included.
    pub rate: f64,
    /// Rows a second while they were copied.
    pub copying: f64,
    /// Rows a second of the bare copy.
    pub probe: f64,
}

/// Moves a fleet from one backend into an empty other, and copies the same records barely.
pub async fn turn(from: Kind, to: Kind, devices: usize) -> Result<Moved> {
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let place = |name: &str| -> Result<PathBuf> {
        let place = folder.path().join(name);
        std::fs::create_dir_all(&place)?;
        Ok(place)
    };
    let source = from.open(&place("source")?).await?;
    Dataset::new(1, Size::of(devices)).fill(&source, |_| ()).await?;
    let probe = bare(from, to, &source, &place("bare")?).await?;
    let target = to.open(&place("target")?).await?;
    let schema = modules::schema(&modules::built_in()).map_err(|error| anyhow!(error.log()))?;
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let migration = Migration::new(source.clone(), target.clone(), schema, clock, random);
    let begun = Instant::now();
    let report = migration.run().await?;
    let seconds = begun.elapsed().as_secs_f64();
    source.close().await?;
    target.close().await?;
    let rows = report.contents.as_ref().context("a move without contents")?.records as f64;
    Ok(Moved {
        rate: rows / seconds,
        copying: rows / report.copying.as_secs_f64(),
        probe,
    })
}

/// A record as bytes: name and key in one, and the body.
type Bare = (Vec<u8>, Bytes);

/// Copies the records from a bare file of the one engine into one of the other; rows a second.
async fn bare(from: Kind, to: Kind, source: &Arc<dyn Backend>, folder: &Path) -> Result<f64> {
    let mut first = Place::create(from, &folder.join("from")).await?;
    let mut records = source.view().await?.export();
    let (mut page, mut count) = (Vec::with_capacity(PAGE), 0_u64);
    while let Some(record) = records.next().await {
        let Some(record) = plain(record?) else { continue };
        count += 1;
        page.push(record);
        if page.len() == PAGE {
            first.write(&std::mem::take(&mut page)).await?;
        }
    }
    first.write(&page).await?;
    let mut reader = first.into_reader().await?;
    let mut second = Place::create(to, &folder.join("to")).await?;
    let begun = Instant::now();
    loop {
        let page = reader.read().await?;
        if page.is_empty() {
            break;
        }
        second.write(&page).await?;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn plain(record: Record) -> Option<Bare> {
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
    /// Only written: nothing is moved out of it here.
    Postgres(PgConnection),
}

/// A bare file that is read.
enum Reader {
    Sqlite(SqliteConnection, Vec<u8>),
    Lines(BufReader<File>),
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
            Self::Postgres(_) => bail!("nothing is moved out of Postgres here"),
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

    #[tokio::test]
    async fn a_fleet_moves() {
        let moved = turn(Kind::Memory, Kind::Sqlite, 5).await.unwrap();
        assert!(moved.rate > 0.0 && moved.copying >= moved.rate && moved.probe > 0.0);
    }
}
