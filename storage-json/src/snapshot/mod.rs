//! The snapshot: one file of lines for each part of the state, and the manifest that names them.

mod cut;
mod dirty;
mod load;
mod read;
mod write;

pub(crate) use dirty::Dirty;
pub(crate) use load::load_into;
pub(crate) use read::{damage, read_lines};
pub(crate) use write::{Cancel, Checkpoint, remove_unlisted};
