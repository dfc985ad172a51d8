//! What the programs of fleet have in common: where words go and come from, and the one place that opens a store by its URI.

#![warn(missing_docs)]

pub mod log_file;
pub mod logging;
#[cfg(feature = "storage")]
pub mod storage;
pub mod terminal;
