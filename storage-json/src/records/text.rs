//! Writes the lines that come by the thousand straight from what they tell of: the same bytes as the records make, without
//! building the records. Names of kinds, sets and lanes are plain words and need no escapes.

use fleet_core::store::{
    Batch, Doc, Error, Expect, Ingest, Latest, Link, Name, Patch, Record, RecordKey, Result, Row, StoredRow, Write,
};
use fleet_core::store::{Key, group::Place};
use uuid::Uuid;

use super::is_part_of_a_line;

/// A line, or a member of one, under way.
pub(crate) struct Text<'o>(pub(crate) &'o mut Vec<u8>);

impl Text<'_> {
    /// What [`CommitRecord`](super::CommitRecord) makes of a batch; lanes are in order.
    #[cfg(test)]
    pub(crate) fn commit(&mut self, batch: &Batch, seq: u64, chains: &[(Name, u64)]) {
        self.place_in_order(batch.id, seq, chains);
        self.changes(batch);
    }

    /// The first part of a commit: what is known when it is decided. `chains`: where those stand that it lengthens, by name.
    pub(crate) fn place_in_order(&mut self, batch: Uuid, seq: u64, chains: &[(Name, u64)]) {
        self.raw(b"{\"commit\":{\"batch\":");
        self.id(batch);
        self.raw(b",\"seq\":");
        self.number(seq);
        if !chains.is_empty() {
            self.raw(b",\"chains\":{");
            self.list(chains, |text, (lane, number)| {
                text.raw(b"\"");
                text.raw(lane.as_bytes());
                text.raw(b"\":");
                text.number(*number);
            });
            self.raw(b"}");
        }
    }

    /// The second part of a commit: what is known before.
    pub(crate) fn changes(&mut self, batch: &Batch) {
        self.raw(b",\"writes\":[");
        self.list(&batch.writes, Self::write);
        self.raw(b"],\"rows\":[");
        self.list(&batch.rows, Self::row);
        self.raw(b"]}}");
    }

    /// What [`IngestRecord`](super::IngestRecord) makes of an ingest.
    pub(crate) fn ingest(&mut self, ingest: &Ingest) {
        self.raw(b"{\"ingest\":{\"latest\":[");
        self.list(&ingest.latest, |text, Latest { key, body }| {
            text.raw(b"{");
            text.named(b"\"set\":\"", key);
            text.body(body);
            text.raw(b"}");
        });
        self.raw(b"],\"rows\":[");
        self.list(&ingest.rows, Self::row);
        self.raw(b"]}}");
    }

    /// What [`PatchRecord`](super::PatchRecord) makes of a patch; fails for an end, which is no part of one.
    pub(crate) fn patch(&mut self, patch: &Patch) -> Result<()> {
        if patch.records.iter().any(|record| matches!(record, Record::End { .. })) {
            return Err(Error::Invalid("a patch holds no end".to_owned()));
        }
        self.raw(b"{\"patch\":{\"seq\":");
        self.number(patch.seq);
        self.raw(b",\"removed\":[");
        self.list(&patch.removed, Self::record_key);
        self.raw(b"],\"records\":[");
        self.list(&patch.records, |text, record| {
            match record {
                Record::Doc(doc) => {
                    text.raw(b"{\"doc\":{\"kind\":\"");
                    text.raw(doc.key.kind.as_bytes());
                    text.raw(b"\",\"doc\":");
                    text.doc(doc);
                }
                Record::Latest(latest) => {
                    text.raw(b"{\"latest\":{\"set\":\"");
                    text.raw(latest.key.kind.as_bytes());
                    text.raw(b"\",\"latest\":");
                    text.latest(latest);
                }
                Record::Row(lane, stored) => {
                    text.raw(b"{\"row\":{\"lane\":\"");
                    text.raw(lane.as_bytes());
                    text.raw(b"\",\"row\":");
                    text.stored_row(stored);
                }
                Record::End { .. } => {}
            }
            text.raw(b"}}");
        });
        self.raw(b"]}}");
        Ok(())
    }

    /// What [`DocRecord`](super::DocRecord) makes of a document.
    pub(crate) fn doc(&mut self, doc: &Doc) {
        self.raw(b"{\"id\":");
        self.id(doc.key.id);
        self.raw(b",\"rev\":");
        self.number(doc.rev);
        self.raw(b",\"seq\":");
        self.number(doc.seq);
        self.body(&doc.body);
        self.raw(b"}");
    }

    /// What [`LatestRecord`](super::LatestRecord) makes of a latest value.
    pub(crate) fn latest(&mut self, latest: &Latest) {
        self.raw(b"{\"id\":");
        self.id(latest.key.id);
        self.body(&latest.body);
        self.raw(b"}");
    }

    /// What [`RowRecord`](super::RowRecord) makes of a row.
    pub(crate) fn stored_row(&mut self, StoredRow { row, link }: &StoredRow) {
        self.raw(b"{");
        self.place(row.stream, row.at, row.n);
        if let Some(Link { number, hash }) = link {
            self.raw(b",\"link\":{\"number\":");
            self.number(*number);
            self.raw(b",\"hash\":\"");
            self.digits(hash);
            self.raw(b"\"}");
        }
        self.body(&row.body);
        self.raw(b"}");
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        // 20 digits are the most that there are.
        let mut digits = [0; 20];
        let mut from = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            from -= 1;
            if number == 0 {
                break;
            }
        }
        self.raw(digits.get(from..).unwrap_or_default());
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        for (position, one) in items.iter().enumerate() {
            if position > 0 {
                self.0.push(b',');
            }
            item(self, one);
        }
    }

    fn signed(&mut self, number: i64) {
        if number < 0 {
            self.0.push(b'-');
        }
        self.number(number.unsigned_abs());
    }

    fn id(&mut self, id: Uuid) {
        let mut text = [b'"'; 38];
        if let Some(within) = text.get_mut(1..37) {
            id.hyphenated().encode_lower(within);
        }
        self.raw(&text);
    }

    fn digits(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
        self.0
            .extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    }

    fn named(&mut self, begin: &[u8], key: &Key) {
        self.raw(begin);
        self.raw(key.kind.as_bytes());
        self.raw(b"\",\"id\":");
        self.id(key.id);
    }

    fn place(&mut self, stream: Uuid, at: i64, n: u32) {
        self.raw(b"\"stream\":");
        self.id(stream);
        self.raw(b",\"at\":");
        self.signed(at);
        self.raw(b",\"n\":");
        self.number(u64::from(n));
    }

    fn body(&mut self, body: &[u8]) {
        self.raw(b",\"body\":");
        if is_part_of_a_line(body) {
            self.raw(body);
        } else {
            self.raw(b"\"");
            self.digits(body);
            self.raw(b"\"");
        }
    }

    fn row(&mut self, (lane, row): &(Name, Row)) {
        self.raw(b"{\"lane\":\"");
        self.raw(lane.as_bytes());
        self.raw(b"\",");
        self.place(row.stream, row.at, row.n);
        self.body(&row.body);
        self.raw(b"}");
    }

    fn write(&mut self, write: &Write) {
        let (begin, key, expect): (&[u8], _, _) = match write {
            Write::Put { key, expect, .. } => (b"{\"put\":{\"kind\":\"", key, Some(expect)),
            Write::Delete { key, expect } => (b"{\"delete\":{\"kind\":\"", key, Some(expect)),
            Write::Check { key, expect } => (b"{\"check\":{\"kind\":\"", key, Some(expect)),
            Write::DropLatest { key } => (b"{\"drop_latest\":{\"set\":\"", key, None),
        };
        self.named(begin, key);
        match expect {
            None => {}
            Some(Expect::Any) => self.raw(b",\"expect\":\"any\""),
            Some(Expect::Absent) => self.raw(b",\"expect\":\"absent\""),
            Some(Expect::Present) => self.raw(b",\"expect\":\"present\""),
            Some(Expect::Rev(rev)) => {
                self.raw(b",\"expect\":{\"rev\":");
                self.number(*rev);
                self.raw(b"}");
            }
        }
        if let Write::Put { body, .. } = write {
            self.body(body);
        }
        self.raw(b"}}");
    }

    fn record_key(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Doc(key) => self.named(b"{\"doc\":{\"kind\":\"", key),
            RecordKey::Latest(key) => self.named(b"{\"latest\":{\"set\":\"", key),
            RecordKey::Row(Place { lane, stream, at, n }) => {
                self.raw(b"{\"row\":{\"lane\":\"");
                self.raw(lane.as_bytes());
                self.raw(b"\",");
                self.place(*stream, *at, *n);
            }
        }
        self.raw(b"}}");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde::Serialize;

    use super::{
        super::{
            DocRecord, LatestRecord, Operation, PatchRecord, RowRecord,
            journal::{CommitRecord, IngestRecord},
        },
        *,
    };

    const BODIES: [&[u8]; 7] = [
        br#"{"a":"b","n":-1.5e3}"#,
        b"{}",
        b"\"text\"",
        b" 1",
        b"{\n}",
        b"no JSON",
        b"\xff",
    ];

    #[track_caller]
    fn check(record: &impl Serialize, write: impl FnOnce(&mut Text<'_>)) {
        let mut bytes = Vec::new();
        write(&mut Text(&mut bytes));
        let expected = serde_json::to_string(record).expect("a record is JSON");
        assert_eq!(String::from_utf8(bytes).expect("a line is text"), expected);
    }

    fn bodies() -> impl Iterator<Item = (u32, Bytes)> {
        (0..).zip(BODIES.map(Bytes::from_static))
    }

    fn key(name: Name, n: u32) -> Key {
        Key::new(name, Uuid::from_u128(u128::MAX / 7 - u128::from(n)))
    }

    fn rows() -> Vec<(Name, Row)> {
        let ats = [0, -1, 1, i64::MIN, i64::MAX, 10, 1_795_000_000_000_000];
        let row = |((n, body), at)| Row {
            stream: key("", n).id,
            at,
            n: n * 1_000_003,
            body,
            index: Vec::new(),
        };
        bodies().zip(ats).map(row).map(|row| ("audit", row)).collect()
    }

    fn stored() -> impl Iterator<Item = StoredRow> {
        let link = |n: u32| Link {
            number: u64::MAX - u64::from(n),
            hash: [17 * n as u8; 32],
        };
        (0..).zip(rows()).map(move |(n, (_, row))| StoredRow {
            row,
            link: (n % 2 == 0).then(|| link(n)),
        })
    }

    #[test]
    fn a_commit_is_written_as_its_record() {
        let expects = [
            Expect::Any,
            Expect::Absent,
            Expect::Present,
            Expect::Rev(0),
            Expect::Rev(u64::MAX),
        ];
        let mut writes = vec![Write::DropLatest { key: key("state", 9) }];
        for (n, expect) in (0..).zip(expects) {
            let key = key("device", n);
            writes.extend(bodies().map(|(_, body)| Write::Put {
                key,
                expect,
                body,
                index: Vec::new(),
            }));
            writes.extend([Write::Delete { key, expect }, Write::Check { key, expect }]);
        }
        for (writes, rows) in [(writes.clone(), rows()), (writes, Vec::new()), (Vec::new(), rows())] {
            let id = Uuid::from_u128(0x0192_0000);
            let batch = Batch { id, writes, rows };
            for chains in [&[][..], &[("audit", 0)], &[("audit", u64::MAX), ("ledger", 7)]] {
                let record = Operation::Commit(CommitRecord::of(&batch, 10, chains));
                check(&record, |text| text.commit(&batch, 10, chains));
            }
        }
    }

    #[test]
    fn an_ingest_is_written_as_its_record() {
        let latest = |(n, body)| Latest {
            key: key("state", n),
            body,
        };
        let ingest = Ingest {
            latest: bodies().map(latest).collect(),
            rows: rows(),
        };
        for ingest in [ingest, Ingest::default()] {
            check(&Operation::Ingest(IngestRecord::of(&ingest)), |text| {
                text.ingest(&ingest)
            });
        }
    }

    #[test]
    fn records_and_patches_are_written_as_their_records() {
        let doc = |(n, body)| Doc {
            key: key("device", n),
            rev: u64::from(n) + 1,
            seq: u64::from(n) * 100,
            body,
        };
        let latest = |(n, body)| Latest {
            key: key("state", n),
            body,
        };
        bodies()
            .map(doc)
            .for_each(|doc| check(&DocRecord::of(&doc), |text| text.doc(&doc)));
        let values = bodies().map(latest);
        values.for_each(|value| check(&LatestRecord::of(&value), |text| text.latest(&value)));
        stored().for_each(|row| check(&RowRecord::of(&row), |text| text.stored_row(&row)));
        let mut records: Vec<Record> = bodies().map(doc).map(Record::Doc).collect();
        records.extend(bodies().map(latest).map(Record::Latest));
        records.extend(stored().map(|row| Record::Row("audit", row)));
        let patch = Patch {
            seq: 5,
            removed: records.iter().filter_map(Record::key).collect(),
            records,
        };
        for patch in [patch, Patch::default()] {
            let record = Operation::Patch(PatchRecord::of(&patch).expect("it has no end"));
            check(&record, |text| text.patch(&patch).expect("it has no end"));
        }
    }
}
