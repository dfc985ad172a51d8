//! What runs print: a lane of chunks, live to any number of watchers.

mod model;
mod service;

pub use model::{Chunk, ChunkView};
pub(crate) use service::store_chunks;
pub use service::{OutputMeter, OutputService, OutputWatch, Seen};
