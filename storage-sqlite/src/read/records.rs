//! Everything, a page at a time, in the order of an export.

use bytes::Bytes;
use fleet_core::store::{Behind, Doc, Error, Key, Latest, Link, Patch, Record, RecordKey, Result, Row, StoredRow};
use sqlx::{
    Row as _,
    sqlite::{SqliteConnection, SqliteRow},
};
use uuid::Uuid;

use crate::{
    error::from_engine,
    sql::Prepared,
    tables::{Pages, Tables},
};

/// A page while it is read.
struct Page<'c> {
    conn: &'c mut SqliteConnection,
    records: Vec<Record>,
    limit: usize,
    bytes: usize,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.records.len() >= self.limit || self.bytes >= Patch::BYTES
    }

    /// Takes what there is room for; `bind` binds behind what, `read` makes a record of the fields of each row.
    async fn take<R>(
        &mut self,
        pages: &Pages,
        bind: impl Fn(Prepared) -> Prepared,
        fields: impl FnOnce(&mut Fields) -> Result<R>,
        record: impl Fn(&R, usize, Bytes) -> Result<Record>,
    ) -> Result<()> {
        let room = i64::try_from(self.limit - self.records.len()).unwrap_or(i64::MAX);
        let lengths = bind(pages.lengths.query()).bind(room);
        let lengths = lengths.fetch_one(&mut *self.conn).await.map_err(from_engine)?;
        let Some(lengths) = lengths.try_get::<Option<String>, _>(0).map_err(from_engine)? else {
            return Ok(());
        };
        let mut bodies = Vec::new();
        for length in lengths.split(',') {
            let length: usize = length.parse().map_err(|_| damaged("a length"))?;
            bodies.push(length);
            self.bytes += length;
            if self.bytes >= Patch::BYTES {
                break;
            }
        }
        let statement = bind(pages.page.query()).bind(i64::try_from(bodies.len()).unwrap_or(i64::MAX));
        let row = statement.fetch_one(&mut *self.conn).await.map_err(from_engine)?;
        let mut columns = Fields {
            row,
            next: 0,
            count: bodies.len(),
        };
        let fields = fields(&mut columns)?;
        // One piece of memory for all: the records of a page come and go together.
        let mut all = Bytes::from(columns.raw()?);
        if all.len() != bodies.iter().sum::<usize>() {
            return Err(damaged("the bodies"));
        }
        self.records.reserve(bodies.len());
        for (n, length) in bodies.into_iter().enumerate() {
            self.records.push(record(&fields, n, all.split_to(length))?);
        }
        Ok(())
    }
}

/// The fields of the rows of a page, one after the other.
struct Fields {
    row: SqliteRow,
    next: usize,
    count: usize,
}

impl Fields {
    fn raw(&mut self) -> Result<Vec<u8>> {
        self.next += 1;
        self.row.try_get(self.next - 1).map_err(from_engine)
    }

    /// Bytes of fixed length.
    fn bytes<const N: usize>(&mut self) -> Result<Vec<[u8; N]>> {
        let raw = self.raw()?;
        let (values, rest) = raw.as_chunks::<N>();
        if values.len() == self.count && rest.is_empty() {
            Ok(values.to_vec())
        } else {
            Err(damaged("bytes"))
        }
    }

    fn ints(&mut self) -> Result<Vec<i64>> {
        self.next += 1;
        let text: &str = self.row.try_get(self.next - 1).map_err(from_engine)?;
        let values: Result<Vec<i64>, _> = text.split(',').map(str::parse).collect();
        match values {
            Ok(values) if values.len() == self.count => Ok(values),
            _ => Err(damaged("numbers")),
        }
    }

    /// Numbers that are never negative.
    fn uints(&mut self) -> Result<Vec<u64>> {
        let ints = self.ints()?.into_iter().map(u64::try_from).collect::<Result<_, _>>();
        ints.map_err(|_| damaged("numbers"))
    }
}

fn damaged(what: &str) -> Error {
    Error::Corrupt(format!("a page of records: {what} of its rows cannot be"))
}

/// The records after a key: tables by name, each from where `after` leaves it.
pub(super) async fn records(
    conn: &mut SqliteConnection,
    tables: &Tables,
    after: Option<RecordKey>,
    limit: usize,
) -> Result<Vec<Record>> {
    let mut page = Page {
        conn,
        records: Vec::new(),
        limit,
        bytes: 0,
    };
    for kind in tables.schema.kinds() {
        let name = kind.name;
        let Some(from) = ids(RecordKey::behind_in_kind(after, name)) else {
            continue;
        };
        if page.is_full() {
            break;
        }
        page.take(
            &tables.kind(name)?.pages,
            |query| query.bind(from.clone()),
            |fields| Ok((fields.bytes::<16>()?, fields.uints()?, fields.uints()?)),
            |(ids, revs, seqs), n, body| {
                Ok(Record::Doc(Doc {
                    key: Key::new(name, Uuid::from_bytes(ids[n])),
                    rev: revs[n],
                    seq: seqs[n],
                    body,
                }))
            },
        )
        .await?;
    }
    for latest in tables.schema.latests() {
        let name = latest.name;
        let Some(from) = ids(RecordKey::behind_in_set(after, name)) else {
            continue;
        };
        if page.is_full() {
            break;
        }
        page.take(
            &tables.latest(name)?.pages,
            |query| query.bind(from.clone()),
            Fields::bytes::<16>,
            |ids, n, body| {
                let key = Key::new(name, Uuid::from_bytes(ids[n]));
                Ok(Record::Latest(Latest { key, body }))
            },
        )
        .await?;
    }
    for lane in tables.schema.lanes() {
        let Some((stream, at, n)) = places(RecordKey::behind_in_lane(after, lane.name)) else {
            continue;
        };
        if page.is_full() {
            break;
        }
        page.take(
            &tables.lane(lane.name)?.pages,
            |query| query.bind(stream.clone()).bind(at).bind(n),
            |fields| {
                let places = (fields.bytes::<16>()?, fields.ints()?, fields.ints()?);
                let links = match lane.chained {
                    true => Some((fields.ints()?, fields.bytes::<32>()?)),
                    false => None,
                };
                Ok((places, links))
            },
            |((streams, ats, numbers), links), n, body| {
                let row = Row {
                    stream: Uuid::from_bytes(streams[n]),
                    at: ats[n],
                    n: u32::try_from(numbers[n]).map_err(|_| damaged("numbers"))?,
                    body,
                    index: Vec::new(),
                };
                let link = links.as_ref().and_then(|(numbers, hashes)| {
                    let number = u64::try_from(numbers[n]).ok()?;
                    Some(Link {
                        number,
                        hash: hashes[n],
                    })
                });
                Ok(Record::Row(lane.name, StoredRow { row, link }))
            },
        )
        .await?;
    }
    Ok(page.records)
}

/// The id that a table of documents or latest values is read behind: the empty blob sorts before every id.
fn ids(behind: Behind<Uuid>) -> Option<Vec<u8>> {
    match behind {
        Behind::All => Some(Vec::new()),
        Behind::After(id) => Some(id.as_bytes().to_vec()),
        Behind::Nothing => None,
    }
}

/// The place that a lane is read behind.
fn places(behind: Behind<(Uuid, i64, u32)>) -> Option<(Vec<u8>, i64, i64)> {
    match behind {
        Behind::All => Some((Vec::new(), 0, 0)),
        Behind::After((stream, at, n)) => Some((stream.as_bytes().to_vec(), at, i64::from(n))),
        Behind::Nothing => None,
    }
}
