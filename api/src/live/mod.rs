//! Live events: one stream of server-sent events for everything that a browser wants to follow.
//!
//! ```text
//! model.rs    LiveEvent: what a subscriber is told, tagged by `type`
//! hub.rs      Hub<T>: what happened, to all subscribers, with a bounded past for those who come back
//! item.rs     LiveItem: what a commit touched, as something to tell, and who may be told
//! feed.rs     LiveFeed: drives the hub from the store's changes
//! slots.rs    Slots<K>: how many streams one session may have
//! stream.rs   one subscriber's stream as an answer in text/event-stream
//! ```
//!
//! Nothing is promised here but order: a subscriber that falls behind, or comes back too late, is told `resync` and reads
//! again what it shows. Storage is the truth, events only make it fast.

mod feed;
mod hub;
mod item;
mod model;
mod slots;
mod stream;

pub use feed::LiveFeed;
pub use hub::{Delivery, Happened, Hub, HubLimits, Subscription};
pub use item::LiveItem;
pub use model::{LiveEvent, ResyncReason};
pub use slots::{Slot, Slots};
pub use stream::{LastEventId, StreamLimits, Told, answer};
