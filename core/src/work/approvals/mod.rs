//! Approvals: work that begins only when others agree to exactly what it is.
//!
//! After a dry run the question is another one: whether it goes on. Then whoever asked decides as well, unless others have to.
//!
//! Whoever asks has the right to; the approval asks that somebody else looks at it. What is agreed to is frozen: operation,
//! parameters, devices. Whoever refuses stops the whole batch.

mod events;
mod model;
mod rules;
mod service;

pub use events::*;
pub use model::{Approval, ApprovalId, ApprovalStanding, ApprovalView, Comment, Decision, Verdict};
pub(super) use service::stop;
pub use service::{ApprovalFilter, ApprovalService};
