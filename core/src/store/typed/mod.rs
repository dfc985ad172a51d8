//! The typed layer: entities instead of bytes, written once over any backend.
//!
//! [`Entity`] says how a type is stored (derive it), [`Store`] reads, [`Tx`] writes. A `Tx` cannot exist without an actor
//! and a reason, and commits its evidence with the change.

mod disuse;
mod entity;
mod lane;
mod list;
mod observer;
mod reader;
mod store;
mod tx;

pub(crate) use disuse::Disuse;
pub use entity::{
    Entity, JsonObject, ToColumn, Versioned, decode, encode, kind_schema, one_value, parse_for_index, sorted_values,
};
pub use lane::{LaneRow, LatestValue, lane_schema, latest_schema};
pub use list::{Field, LaneQuery, Query};
pub use observer::CommitObserver;
pub use reader::Reader;
pub use store::Store;
pub use tx::{Evidence, NOT_SERVING, ROW_CONFLICT, STALE, TAKEN, Tx};
