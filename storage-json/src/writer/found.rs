//! What a store is for, found before its contents are read.

use fleet_core::store::{Result, Standing, Step};

use crate::{
    error::damaged_line,
    journal::Scanned,
    line,
    manifest::Manifest,
    records::{JournalRecord, Operation},
};

/// The beginnings of the operations that change it.
const STEPS: [&[u8]; 3] = [b"{\"standing\":", b"{\"fill\":", b"{\"clear\":"];

/// What the store is for: as the manifest says it, and the journal since.
pub(crate) fn standing(manifest: &Manifest, scanned: &Scanned) -> Result<Standing> {
    let mut standing = manifest.standing.clone();
    for segment in &scanned.segments {
        for (place, text) in segment.lines() {
            if !line::operation(text).is_some_and(|op| STEPS.iter().any(|step| op.starts_with(step))) {
                continue;
            }
            let damaged = |problem: String| damaged_line(&segment.path, place, &problem);
            let record: JournalRecord<'_> = line::parse(text).map_err(damaged)?;
            standing = standing_after(&standing, &record.op).map_err(|error| damaged(error.to_string()))?;
        }
    }
    Ok(standing)
}

/// What the store is for after an operation.
pub(crate) fn standing_after(standing: &Standing, op: &Operation<'_>) -> Result<Standing> {
    let step = match op {
        Operation::Standing(now) => return Ok(now.clone()),
        // It was accepted, so what it asks for was so.
        Operation::Fill(from) => Step::Fill {
            from: from.clone(),
            empty: true,
        },
        Operation::Clear {} => Step::Clear,
        _ => return Ok(standing.clone()),
    };
    standing.after(&step)
}
