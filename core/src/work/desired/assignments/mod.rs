//! Assignments: which actions, sets and definitions reach which devices, and how.
//!
//! An assignment whose device, group or user was deleted since reaches nobody; the pass over all devices takes it back.

mod model;
mod service;

pub use model::{
    Assignment, AssignmentChange, AssignmentFilter, AssignmentId, AssignmentView, MAX_ASSIGNMENTS, MAX_TOGETHER,
    NewAssignment,
};
pub use service::AssignmentService;
