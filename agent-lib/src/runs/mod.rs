//! The runs of this device: taken into the journal, executed at most once, reported until the server has it all.

mod execute;
mod manager;
mod output;
mod sent;

pub use execute::{Cancellation, Ending, Execute, OutputSink};
pub use manager::{Runs, Taken};
pub use sent::Sent;
