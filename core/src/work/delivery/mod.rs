//! Between storage and devices: what is offered, what devices answer, and the sweep that makes it right.

mod answers;
mod offers;
mod rules;
mod sweep;

pub use answers::Answer;
pub use offers::{DeliveryService, Pending};
pub(crate) use sweep::sweep;
