//! Loads a snapshot, on all cores that there are.
//!
//! ```text
//!   read a file, compare its digest, cut it ──▶ pieces ──▶ parse, compute index values ──▶ put in place, in the order of the lines
//!   (one thread)                                           (as many as there are cores)     (the caller)
//! ```

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use bytes::Bytes;
use fleet_core::store::{
    Doc, Error, IndexedValues, Latest, Name, Result, Schema, Seq, StoredRow, Touched,
    group::Remembered,
    memory::{HeldLease, Load},
};
use serde::Deserialize;
use uuid::Uuid;

use super::read_lines;
use crate::{
    error::damaged_line,
    files::Files,
    layout::Part,
    line,
    manifest::Manifest,
    records::{BatchRecord, DocRecord, FeedRecord, LatestRecord, LeaseRecord, RowRecord},
};

/// Bytes of a piece; it ends with the line in which it reaches them.
const PIECE: usize = 1024 * 1024;

/// Pieces that are read ahead.
const AHEAD: usize = 8;

/// Threads that parse, at most: more of them would wait for the one that puts in place.
const PARSERS: usize = 4;

/// Some lines of one part.
struct Piece {
    part: Part,
    lines: Bytes,
}

/// What is in the lines of a piece.
enum Records {
    Docs(Name, Vec<(Doc, IndexedValues)>),
    Latest(Vec<Latest>),
    Rows(Name, Vec<StoredRow>),
    Feed(Vec<(Seq, Vec<Touched>)>),
    Batches(Vec<(Uuid, Remembered)>),
    Leases(Vec<HeldLease>),
}

/// The records of a piece and how many lines it has; or the line that is not one, counted from 0, and why.
type Parsed = Result<(Records, usize), (usize, String)>;

/// What comes next, in the order of the files.
enum Next {
    /// A file begins.
    File(PathBuf),
    /// A piece of it, when it is parsed.
    Piece(Receiver<Parsed>),
    /// There is no more: a file cannot be read, or is not what was written.
    Failed(Error),
}

/// Loads all parts that a manifest names.
pub(crate) fn load_into(
    load: &mut Load,
    files: &dyn Files,
    root: &Path,
    manifest: &Manifest,
    schema: &Schema,
) -> Result<()> {
    let parsers = thread::available_parallelism().map_or(1, NonZero::get).min(PARSERS);
    let (next, order) = sync_channel(AHEAD);
    let (pieces, to_parse) = sync_channel(AHEAD);
    let to_parse = Mutex::new(to_parse);
    thread::scope(|scope| {
        scope.spawn(move || read(files, root, manifest, &next, &pieces));
        for _ in 0..parsers {
            scope.spawn(|| parse_pieces(&to_parse, schema));
        }
        // By value: when this fails nobody waits for what is read after it.
        put_in_place(load, order)
    })?;
    for (lane, number) in &manifest.chains {
        load.chain(schema.lane(lane)?.name, *number)?;
    }
    load.stand(manifest.seq, manifest.floor);
    load.standing(manifest.standing.clone());
    Ok(())
}

/// Reads the files and cuts them. Ends early when nobody wants more.
fn read(
    files: &dyn Files,
    root: &Path,
    manifest: &Manifest,
    next: &SyncSender<Next>,
    pieces: &SyncSender<(Piece, SyncSender<Parsed>)>,
) {
    for listed in &manifest.files {
        let bytes = match read_lines(files, root, listed) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return drop(next.send(Next::Failed(error))),
        };
        if next.send(Next::File(root.join(&listed.file))).is_err() {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let lines = rest.split_to(piece_length(&rest));
            let (reply, parsed) = sync_channel(1);
            let part = listed.part.clone();
            if pieces.send((Piece { part, lines }, reply)).is_err() || next.send(Next::Piece(parsed)).is_err() {
                return;
            }
        }
    }
}

/// How many bytes the first piece has.
fn piece_length(lines: &[u8]) -> usize {
    let behind = lines.get(PIECE..).unwrap_or_default();
    let end = behind.iter().position(|byte| *byte == b'\n');
    end.map_or(lines.len(), |end| PIECE + end + 1)
}

fn parse_pieces(pieces: &Mutex<Receiver<(Piece, SyncSender<Parsed>)>>, schema: &Schema) {
    loop {
        let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((Piece { part, lines }, reply)) = piece else {
            return;
        };
        // Whoever waited may have failed meanwhile.
        let _ = reply.send(parse(&part, &lines, schema));
    }
}

fn put_in_place(load: &mut Load, order: Receiver<Next>) -> Result<()> {
    let (mut path, mut lines) = (PathBuf::new(), 0);
    // All of a kind: its indexes are made at once.
    let mut docs: Option<(Name, Vec<(Doc, IndexedValues)>)> = None;
    for next in order {
        let parsed = match next {
            Next::Failed(error) => return Err(error),
            Next::File(file) => {
                (path, lines) = (file, 0);
                if let Some((kind, docs)) = docs.take() {
                    load.docs(kind, docs)?;
                }
                continue;
            }
            Next::Piece(parsed) => parsed.recv().map_err(|error| Error::Unavailable(Box::new(error)))?,
        };
        let (records, count) = parsed.map_err(|(line, problem)| damaged_line(&path, lines + line + 1, &problem))?;
        lines += count;
        match records {
            Records::Docs(kind, more) => docs.get_or_insert_with(|| (kind, Vec::new())).1.extend(more),
            Records::Latest(latest) => latest.into_iter().try_for_each(|latest| load.latest(latest))?,
            Records::Rows(lane, rows) => rows.into_iter().try_for_each(|row| load.row(lane, row))?,
            Records::Feed(feed) => feed.into_iter().for_each(|(seq, touched)| load.feed(seq, touched)),
            Records::Batches(batches) => batches.into_iter().for_each(|(id, told)| load.answered(id, told)),
            Records::Leases(leases) => leases.into_iter().for_each(|lease| load.lease(lease)),
        }
    }
    docs.map_or(Ok(()), |(kind, docs)| load.docs(kind, docs))
}

fn parse(part: &Part, lines: &[u8], schema: &Schema) -> Parsed {
    let told = |error: Error| (0, error.to_string());
    match part {
        Part::Kind(kind) => {
            let kind = schema.kind(kind).map_err(told)?;
            let docs = each(lines, |record: DocRecord<'_>| {
                let doc = record.doc(kind.name);
                let index = kind.index(&doc.body)?;
                Ok((doc, index))
            })?;
            Ok(counted(docs, |docs| Records::Docs(kind.name, docs)))
        }
        Part::Latest(set) => {
            let set = schema.latest(set).map_err(told)?.name;
            let latest = each(lines, |record: LatestRecord<'_>| Ok(record.latest(set)))?;
            Ok(counted(latest, Records::Latest))
        }
        Part::Rows { lane, .. } => {
            let lane = schema.lane(lane).map_err(told)?;
            let rows = each(lines, |record: RowRecord<'_>| {
                let mut stored = record.row();
                stored.row.index = lane.index(&stored.row.body)?;
                Ok(stored)
            })?;
            Ok(counted(rows, |rows| Records::Rows(lane.name, rows)))
        }
        Part::Feed(_) => {
            let feed = each(lines, |record: FeedRecord<'_>| {
                Ok((record.seq, record.touched(schema)?))
            })?;
            Ok(counted(feed, Records::Feed))
        }
        Part::Batches(_) => {
            let batches = each(lines, |record: BatchRecord| Ok(record.remembered()))?;
            Ok(counted(batches, Records::Batches))
        }
        Part::Leases => {
            let leases = each(lines, |record: LeaseRecord| Ok(record.lease()))?;
            Ok(counted(leases, Records::Leases))
        }
    }
}

fn each<'l, R: Deserialize<'l>, T>(lines: &'l [u8], read: impl Fn(R) -> Result<T>) -> Result<Vec<T>, (usize, String)> {
    let mut all = Vec::new();
    for (line, (text, _)) in line::split(lines).enumerate() {
        let record = line::parse(text).map_err(|problem| (line, problem))?;
        all.push(read(record).map_err(|error| (line, error.to_string()))?);
    }
    Ok(all)
}

fn counted<T>(all: Vec<T>, records: impl FnOnce(Vec<T>) -> Records) -> (Records, usize) {
    let count = all.len();
    (records(all), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of the pieces of lines of these lengths.
    #[track_caller]
    fn check(lines: &[usize], expected: &[usize]) {
        let mut rest: Vec<u8> = Vec::new();
        for length in lines {
            rest.resize(rest.len() + length - 1, b'x');
            rest.push(b'\n');
        }
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            pieces.push(piece_length(&rest));
            rest.drain(..pieces[pieces.len() - 1]);
        }
        assert_eq!(pieces, expected);
    }

    #[test]
    fn a_piece_ends_with_the_line_in_which_it_reaches_its_length() {
        check(&[], &[]);
        check(&[10, 20], &[30]);
        check(&[PIECE], &[PIECE]);
        check(&[PIECE - 1, 1, 5], &[PIECE + 5]);
        check(&[PIECE, 5], &[PIECE + 5]);
        check(&[PIECE - 1, 2, 5], &[PIECE + 1, 5]);
        check(&[3 * PIECE, 7, 8], &[3 * PIECE, 15]);
    }
}
