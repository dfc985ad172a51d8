//! Jobs: work in the background, each on one server at a time.
//!
//! ```text
//!   modules declare Job { name, every, tick }
//!   service   every job in a loop: sleep with jitter ─▶ lease ─▶ due? ─▶ tick, while the lease is renewed
//!   model     JobState: when a job that comes round seldom is due next, and how it went last
//!   rules     when to look, what is due
//! ```
//!
//! A job that comes round within a minute is due whenever its server looks. One that comes round more seldom remembers when it
//! is due, so that a restart neither skips it nor runs it too soon.

mod model;
mod module;
mod rules;
mod service;

pub use model::{JobId, JobState};
pub use module::module;
pub(crate) use service::run;
