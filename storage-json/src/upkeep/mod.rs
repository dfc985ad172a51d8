//! Looking for damage, and going on without what is damaged.

mod check;
mod repair;

pub(crate) use check::check;
pub use repair::{Repair, repair, repair_on};
