//! A chunk of output.

use serde::{Deserialize, Serialize};

use crate::{
    kernel::Result,
    protocol::OutputStream,
    store::{LaneRow, Name, Row},
};

/// A chunk in lane `run_output`: stream = run, time = when the run was created, number = sequence. The sequence alone orders
/// them, so that a device's clock that jumps does not shuffle its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Where it came from.
    pub stream: OutputStream,
    /// The text.
    pub text: String,
}

impl LaneRow for Chunk {
    const LANE: Name = "run_output";
    const VERSION: u32 = 1;
}

/// A chunk as people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChunkView {
    /// Its place among the chunks of the run, from 0.
    pub sequence: u32,
    /// Where it came from.
    pub stream: OutputStream,
    /// The text; what was not UTF-8 is replaced.
    pub text: String,
}

/// A stored chunk as it is shown.
pub(super) fn chunk_view(row: &Row) -> Result<ChunkView> {
    let chunk = Chunk::from_row(row)?;
    Ok(ChunkView {
        sequence: row.n,
        stream: chunk.stream,
        text: chunk.text,
    })
}
