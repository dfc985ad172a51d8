//! The runs of this device: taken into the journal, executed at most once, reported until the server has it all.
//!
//! ```text
//! manager.rs    the runs that are here: taken, refused, stopped
//! execution.rs  from a run's turn to its end in the journal;  execute.rs what executes it
//! own.rs        runs that this device begins by itself
//! recovery.rs   the runs of before a restart
//! sending.rs    what a session tells, and what the server has stored;  sent.rs what it has told
//! output.rs     output, in the journal and as it is sent
//! redaction.rs  takes secrets out of all that a run tells;  redactor.rs out of one stream of text
//! ```

mod execute;
mod execution;
mod manager;
mod output;
mod own;
mod recovery;
mod redaction;
mod redactor;
mod sending;
mod sent;
#[cfg(test)]
mod tests;

pub(crate) use execute::interrupted;
pub use execute::{Cancellation, Ending, Execute, OutputSink};
pub use manager::{Runs, Taken};
pub use own::{Own, OwnEnd, Owner};
pub use sent::Sent;
