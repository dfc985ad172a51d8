//! Loads a snapshot: its lines are parsed on all cores that there are, and put in place in their order.

use std::{iter, path::Path};

use fleet_core::store::{
    Doc, Error, IndexedValues, Latest, Name, Result, Schema, Seq, StoredRow, Touched,
    group::Remembered,
    memory::{HeldLease, Load},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{cut::Cutter, read_lines};
use crate::{
    error::{damaged, damaged_line},
    files::Files,
    layout::Part,
    line,
    manifest::{Listed, Manifest},
    pieces::{PIECE, in_order},
    records::{BatchRecord, DocRecord, FeedRecord, LatestRecord, LeaseRecord, RowRecord},
};

/// What is in the lines of a piece.
enum Records {
    Docs(Vec<(Doc, IndexedValues)>),
    Latest(Vec<Latest>),
    Rows(Name, Vec<StoredRow>),
    Feed(Vec<(Seq, Vec<Touched>)>),
    Batches(Vec<(Uuid, Remembered)>),
    Leases(Vec<HeldLease>),
}

/// The records of some lines; or the line that is none, counted from 0, and why.
type Parsed = Result<Records, (usize, String)>;

/// Loads all parts that a manifest names.
pub(crate) fn load_into<'m>(
    load: &mut Load,
    files: &dyn Files,
    root: &Path,
    manifest: &'m Manifest,
    schema: &Schema,
) -> Result<()> {
    let pieces = manifest.files.iter().flat_map(|listed| cut(files, root, listed));
    let parse = |(listed, lines): (&'m Listed, Option<Vec<u8>>)| {
        let parsed = lines.map(|lines| parse(listed, &lines, schema));
        (listed, parsed.and_then(Result::ok))
    };
    in_order(pieces, parse, |(listed, records)| {
        let path = root.join(&listed.file);
        let placed = match records {
            Some(records) => put(load, records),
            None => Err(damaged(&path, "it is not the same each time it is read")),
        };
        placed.map_err(|error| why(files, root, listed, schema).unwrap_or(error))
    })?;
    for (lane, number) in &manifest.chains {
        load.chain(schema.lane(lane)?.name, *number)?;
    }
    load.stand(manifest.seq, manifest.floor);
    load.standing(manifest.standing.clone());
    Ok(())
}

/// The lines of a file, in pieces, and nothing for what cannot be read or is not what was written.
fn cut<'m>(files: &dyn Files, root: &Path, listed: &'m Listed) -> impl Iterator<Item = (&'m Listed, Option<Vec<u8>>)> {
    let opened = files.reader(&root.join(&listed.file));
    let mut cutter = opened.map(|reader| Cutter::new(reader, PIECE)).ok();
    let unreadable = cutter.is_none().then_some(None);
    let rest = iter::from_fn(move || match cutter.as_mut()?.lines() {
        Ok(lines) if !lines.is_empty() => Some(Some(lines)),
        Ok(_) if cutter.take()?.digest() == listed.blake3 => None,
        Ok(_) | Err(_) => {
            cutter = None;
            Some(None)
        }
    });
    unreadable.into_iter().chain(rest).map(move |lines| (listed, lines))
}

/// What is wrong with a file that could not be loaded: it is looked at again, as a whole.
fn why(files: &dyn Files, root: &Path, listed: &Listed, schema: &Schema) -> Option<Error> {
    let parsed = read_lines(files, root, listed).map(|bytes| parse(listed, &bytes, schema));
    match parsed {
        Err(error) => Some(error),
        Ok(Err((line, problem))) => Some(damaged_line(&root.join(&listed.file), line + 1, &problem)),
        Ok(Ok(_)) => None,
    }
}

fn put(load: &mut Load, records: Records) -> Result<()> {
    match records {
        Records::Docs(docs) => docs.into_iter().try_for_each(|(doc, index)| load.doc(doc, index))?,
        Records::Latest(latest) => latest.into_iter().try_for_each(|latest| load.latest(latest))?,
        Records::Rows(lane, rows) => rows.into_iter().try_for_each(|row| load.row(lane, row))?,
        Records::Feed(feed) => feed.into_iter().for_each(|(seq, touched)| load.feed(seq, touched)),
        Records::Batches(batches) => batches.into_iter().for_each(|(id, told)| load.answered(id, told)),
        Records::Leases(leases) => leases.into_iter().for_each(|lease| load.lease(lease)),
    }
    Ok(())
}

fn parse(listed: &Listed, lines: &[u8], schema: &Schema) -> Parsed {
    let told = |error: Error| (0, error.to_string());
    match &listed.part {
        Part::Kind(kind) => {
            let kind = schema.kind(kind).map_err(told)?;
            let docs = each(lines, |record: DocRecord<'_>| {
                let doc = record.doc(kind.name);
                let index = kind.index(&doc.body)?;
                Ok((doc, index))
            })?;
            Ok(Records::Docs(docs))
        }
        Part::Latest(set) => {
            let set = schema.latest(set).map_err(told)?.name;
            let latest = each(lines, |record: LatestRecord<'_>| Ok(record.latest(set)))?;
            Ok(Records::Latest(latest))
        }
        Part::Rows { lane, .. } => {
            let lane = schema.lane(lane).map_err(told)?;
            let rows = each(lines, |record: RowRecord<'_>| {
                let mut stored = record.row();
                stored.row.index = lane.index(&stored.row.body)?;
                Ok(stored)
            })?;
            Ok(Records::Rows(lane.name, rows))
        }
        Part::Feed(_) => {
            let feed = each(lines, |record: FeedRecord<'_>| {
                Ok((record.seq, record.touched(schema)?))
            })?;
            Ok(Records::Feed(feed))
        }
        Part::Batches(_) => {
            let batches = each(lines, |record: BatchRecord| Ok(record.remembered()))?;
            Ok(Records::Batches(batches))
        }
        Part::Leases => {
            let leases = each(lines, |record: LeaseRecord| Ok(record.lease()))?;
            Ok(Records::Leases(leases))
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
