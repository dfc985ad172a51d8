//! Between storage and devices: what is offered, what devices answer, and the sweep that makes it right.
//!
//! ```text
//!   service   who asks and tells; many at once share a commit
//!   offers    devices that ask ──▶ what is due for each
//!   origin    runs that devices begin by themselves
//!   told      what a device says of a run ──▶ answers: what becomes of it
//!   rules     which runs a device is offered next
//!   sweep     ends what is overdue
//! ```

mod answers;
mod offers;
mod origin;
mod rules;
mod service;
mod sweep;
mod told;

pub use answers::Answer;
pub(crate) use offers::{Ask, offer_first};
pub use service::{Deliveries, DeliveryService, Pending};
pub(crate) use sweep::sweep;
pub use told::Told;
