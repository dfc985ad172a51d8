//! Runs scripts and programs for the server, and never leaves anything of them behind.
//!
//! Map: [`ShellSpec`] says what to run, [`Outcome`] how it ended; [`Executor`] does it. Inside, `output` turns bytes into
//! chunks (pure), `pump` moves them from the pipes to a bounded channel, `processes` signals and finds processes,
//! `script` keeps the files of a run, `users` knows whom to run as. [`Lanes`] says which run may begin next (pure), and
//! [`Scheduler`] lets tasks wait for it.
//!
//! How a run ends: when the leader ends, what it left in its process group may write for a second more and is then
//! killed; a process that has left the group but still holds the run's output is found and killed too. On timeout and
//! cancellation the whole group gets SIGTERM, after the grace SIGKILL, and then everything that carries the run's mark
//! in its environment. The leader is reaped last: until then its process id, which names the group, cannot be given to
//! anybody else. While a package manager is at work in it, a run is not stopped, for half an hour: what it does must not be cut short. A daemon that closed the run's output and left its group on purpose, in a run that ended by itself, stays.

mod lanes;
mod output;
mod processes;
mod pump;
mod run;
mod scheduler;
mod script;
mod spec;
mod users;

#[cfg(test)]
mod tests;

use fleet_core::kernel::{Class, Code};

pub use lanes::{LANE_FULL, LaneLimits, Lanes, Ticket};
pub use run::{Executor, ExecutorConfig};
pub use scheduler::{Scheduler, Turn};
pub(crate) use script::RunFile;
pub use spec::{MAX_INPUT, Outcome, Program, ShellSpec};
pub use users::{RunAs, User};

/// The run's parameters cannot be carried out by any agent.
pub const SPEC_INVALID: Code = Code::new("executor.invalid", Class::Invalid);
/// There is no such program or interpreter.
pub const PROGRAM_NOT_FOUND: Code = Code::new("executor.program_not_found", Class::NotFound);
/// The working directory is not there, or is no directory.
pub const DIRECTORY_NOT_FOUND: Code = Code::new("executor.directory_not_found", Class::NotFound);
/// This device has no such user.
pub const USER_UNKNOWN: Code = Code::new("executor.user_unknown", Class::NotFound);
/// The agent may not act as another user: it does not run as root.
pub const USER_DENIED: Code = Code::new("executor.user_denied", Class::Denied);
/// The system refused to start the program.
pub const START_DENIED: Code = Code::new("executor.start_denied", Class::Denied);
/// The program could not be started.
pub const START_FAILED: Code = Code::new("executor.start_failed", Class::Unavailable);
