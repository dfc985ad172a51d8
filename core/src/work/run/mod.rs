//! Runs: one operation on one device.

mod cancel;
mod model;
mod priority;
mod service;
mod state;

pub use cancel::{CancelledRuns, DEVICE_RUNS_CANCEL, RUN_CANCEL};
pub use model::{Delivery, Ending, Run, RunEvent, RunId, RunOrigin, RunView, StateCount};
pub use priority::Priority;
pub use service::{Period, RUN_NOT_FOUND, RunCounts, RunFilter, RunService};
pub use state::{EDGES, Edge, State, Step};

pub(crate) use cancel::stop;
pub(crate) use model::OUTPUT_LIMIT;
pub(crate) use service::{event, move_run, not_found as run_not_found, step_run};
