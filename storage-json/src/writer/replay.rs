//! Goes through the journal behind a snapshot: its lines are parsed on all cores that there are, and done again in their order.

use fleet_core::store::{
    Batch, Ingest, Layout, Move, Name, Result, Schema, Seq, Standing,
    memory::{HeldLease, Load},
};

use crate::{
    error::damaged_line,
    journal::{Place, Scanned, SegmentLines},
    line,
    manifest::Manifest,
    pieces::{PIECE, in_order},
    records::{JournalRecord, Operation},
    snapshot::Dirty,
};

/// What a line says was accepted, with all that can be computed without the state.
enum Accepted {
    Commit {
        batch: Batch,
        fingerprint: [u8; 16],
        seq: Seq,
        chains: Vec<(Name, u64)>,
    },
    Ingest(Ingest),
    Trim {
        lane: Name,
        before: i64,
    },
    Compact {
        upto: Seq,
    },
    Lease(HeldLease),
    Standing(Standing),
    Fill(Move),
    Patch(Layout),
    Clear,
    Lost {
        lines: u64,
    },
    Closed,
}

/// The lines of a piece, each with its place in the file, and the parts that they write to.
struct Parsed<'s> {
    segment: &'s SegmentLines,
    lines: Vec<(usize, Accepted)>,
    dirty: Dirty,
}

/// Does again what the journal says; returns which parts of the snapshot it changes.
pub(super) fn replay(load: &mut Load, scanned: &Scanned, manifest: &Manifest, schema: &Schema) -> Result<Dirty> {
    let mut dirty = Dirty::default();
    let pieces = scanned.segments.iter().flat_map(|segment| {
        let pieces = segment.pieces(PIECE);
        pieces.map(move |lines| (segment, lines))
    });
    let parse = |(segment, lines)| parse(segment, lines, manifest, schema);
    in_order(pieces, parse, |parsed| {
        let parsed: Parsed<'_> = parsed?;
        dirty.merge(parsed.dirty);
        for (place, accepted) in parsed.lines {
            let done = accepted.again(load);
            done.map_err(|problem| damaged_line(&parsed.segment.path, place, &problem.to_string()))?;
        }
        Ok(())
    })?;
    Ok(dirty)
}

fn parse<'s>(segment: &'s SegmentLines, places: &[Place], manifest: &Manifest, schema: &Schema) -> Result<Parsed<'s>> {
    let mut dirty = Dirty::default();
    let mut lines = Vec::with_capacity(places.len());
    for place in places {
        let accepted = line::parse::<JournalRecord<'_>>(segment.line(place))
            .and_then(|record| read(record.op, &mut dirty, manifest, schema).map_err(|error| error.to_string()));
        let accepted = accepted.map_err(|problem| damaged_line(&segment.path, place.number, &problem))?;
        lines.push((place.number, accepted));
    }
    Ok(Parsed { segment, lines, dirty })
}

/// Reads an operation and notes the parts that it writes to.
fn read(op: Operation<'_>, dirty: &mut Dirty, manifest: &Manifest, schema: &Schema) -> Result<Accepted> {
    Ok(match op {
        Operation::Commit(record) => {
            let (seq, chains) = (record.seq, record.chains(schema)?);
            let mut batch = record.batch(schema)?;
            schema.index_batch(&mut batch)?;
            dirty.commit(&batch, seq);
            Accepted::Commit {
                fingerprint: batch.fingerprint(),
                batch,
                seq,
                chains,
            }
        }
        Operation::Ingest(record) => {
            let mut ingest = record.ingest(schema)?;
            schema.index_rows(&mut ingest.rows)?;
            dirty.ingest(&ingest);
            Accepted::Ingest(ingest)
        }
        Operation::Trim { lane, before } => {
            let lane = schema.lane(lane)?.name;
            dirty.trim(lane, before, manifest);
            Accepted::Trim { lane, before }
        }
        Operation::Compact { upto } => {
            dirty.compact(upto, manifest);
            Accepted::Compact { upto }
        }
        Operation::Lease(record) => {
            dirty.lease();
            Accepted::Lease(record.lease())
        }
        Operation::Standing(standing) => Accepted::Standing(standing),
        Operation::Fill(from) => {
            dirty.history(manifest);
            Accepted::Fill(from)
        }
        Operation::Patch(record) => {
            let patch = record.patch(schema)?;
            dirty.patch(&patch);
            Accepted::Patch(patch.lay_out(schema)?)
        }
        Operation::Clear {} => {
            dirty.everything(manifest);
            Accepted::Clear
        }
        Operation::Lost { lines } => {
            // Links change behind what is lost.
            dirty.everything(manifest);
            Accepted::Lost { lines }
        }
        Operation::Closed {} => Accepted::Closed,
    })
}

impl Accepted {
    fn again(self, load: &mut Load) -> Result<()> {
        match self {
            Self::Commit {
                batch,
                fingerprint,
                seq,
                chains,
            } => load.commit(batch, fingerprint, seq, &chains)?,
            Self::Ingest(ingest) => load.ingest(ingest)?,
            Self::Trim { lane, before } => load.trim(lane, before)?,
            Self::Compact { upto } => load.compact(upto)?,
            Self::Lease(lease) => load.lease(lease),
            Self::Standing(standing) => load.standing(standing),
            Self::Fill(from) => load.fill(from)?,
            Self::Patch(layout) => load.patch(layout)?,
            Self::Clear => load.clear()?,
            Self::Lost { lines } => load.lost(lines),
            Self::Closed => {}
        }
        Ok(())
    }
}
