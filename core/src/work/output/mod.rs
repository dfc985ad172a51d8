//! What runs print: a lane of chunks, live to any number of watchers.

mod download;
mod model;
mod service;

pub use download::{OutputDownload, OutputExtent, OutputFormat};
pub use model::{Chunk, ChunkView};
pub use service::{OutputMeter, OutputService, OutputWatch, Seen};
pub(crate) use service::{append_chunks, bytes_of, store_chunks};
