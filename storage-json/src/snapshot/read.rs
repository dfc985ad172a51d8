//! Reads a snapshot.

use std::path::Path;

use fleet_core::store::{Error, Result, Schema, memory::Load};
use serde::Deserialize;

use crate::{
    error::{damaged, damaged_line, unavailable},
    files::Files,
    layout::Part,
    line,
    manifest::{Listed, Manifest},
    records::{BatchRecord, DocRecord, FeedRecord, LatestRecord, LeaseRecord, RowRecord},
};

/// Loads all parts that a manifest names.
pub(crate) fn load_into(
    load: &mut Load,
    files: &dyn Files,
    root: &Path,
    manifest: &Manifest,
    schema: &Schema,
) -> Result<()> {
    for listed in &manifest.files {
        let path = root.join(&listed.file);
        let bytes = read_lines(files, root, listed)?;
        for ((text, _), number) in line::split(&bytes).zip(1..) {
            load_line(load, &listed.part, text, schema).map_err(|problem| damaged_line(&path, number, &problem))?;
        }
    }
    for (lane, number) in &manifest.chains {
        load.chain(schema.lane(lane)?.name, *number)?;
    }
    load.stand(manifest.seq, manifest.floor);
    load.standing(manifest.standing.clone());
    Ok(())
}

/// A file of the snapshot, if it is what was written.
pub(crate) fn read_lines(files: &dyn Files, root: &Path, listed: &Listed) -> Result<Vec<u8>> {
    let path = root.join(&listed.file);
    let bytes = match files.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged(&path, "the file is missing"));
        }
        Err(error) => return Err(unavailable("read", &path, &error)),
    };
    match damage(&bytes, listed) {
        None => Ok(bytes),
        Some((Some(number), problem)) => Err(damaged_line(&path, number, problem)),
        Some((None, problem)) => Err(damaged(&path, problem)),
    }
}

/// What is wrong with a file of the snapshot, and in which line.
pub(crate) fn damage(bytes: &[u8], listed: &Listed) -> Option<(Option<usize>, &'static str)> {
    if *blake3::hash(bytes).as_bytes() == listed.blake3 {
        return None;
    }
    let bad = line::split(bytes)
        .zip(1..)
        .find(|((text, ended), _)| !ended || line::rest(text).is_none());
    Some(match bad {
        Some((_, number)) => (Some(number), "it is not what was written"),
        None => (None, "lines are missing or stand in another order; the digest is wrong"),
    })
}

fn load_line(load: &mut Load, part: &Part, text: &[u8], schema: &Schema) -> Result<(), String> {
    fn parse<'l, T: Deserialize<'l>>(text: &'l [u8]) -> Result<T, String> {
        line::parse(text)
    }
    let told = |error: Error| error.to_string();
    match part {
        Part::Kind(kind) => {
            let kind = schema.kind(kind).map_err(told)?.name;
            load.doc(parse::<DocRecord<'_>>(text)?.doc(kind)).map_err(told)
        }
        Part::Latest(set) => {
            let set = schema.latest(set).map_err(told)?.name;
            load.latest(parse::<LatestRecord<'_>>(text)?.latest(set)).map_err(told)
        }
        Part::Rows { lane, .. } => {
            let lane = schema.lane(lane).map_err(told)?.name;
            load.row(lane, parse::<RowRecord<'_>>(text)?.row()).map_err(told)
        }
        Part::Feed(_) => {
            let record = parse::<FeedRecord<'_>>(text)?;
            let seq = record.seq;
            load.feed(seq, record.touched(schema).map_err(told)?);
            Ok(())
        }
        Part::Batches(_) => {
            let (id, remembered) = parse::<BatchRecord>(text)?.remembered();
            load.answered(id, remembered);
            Ok(())
        }
        Part::Leases => {
            load.lease(parse::<LeaseRecord>(text)?.lease());
            Ok(())
        }
    }
}
