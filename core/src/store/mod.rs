//! Storage: one narrow contract, a reference backend in memory, and everything typed above it.
//!
//! ```text
//!   Store, Query<T>, Tx            typed: entities, actors, audit     (typed/)
//!   ───────────────────────────────────────────────────────────────
//!   Backend, View, Relocate        the contract                       (contract.rs, relocate/)
//!   schema · value · query · chain · digest · group    rules all backends share
//!   ───────────────────────────────────────────────────────────────
//!   memory/   fleet-storage-sqlite   -json   -postgres                backends
//! ```
//!
//! [`migration`] moves what one backend holds into another, on nothing but the contract; [`Switch`] lets a server use the other
//! one without a restart.
//!
//! A backend stores **documents** (kind, id, revision, canonical JSON, declared columns), **lanes** (append-only rows),
//! **latest values**, one **commit order** and one **change feed**. It never sees a domain type. What an index value
//! is, how values are ordered, whether a query is served: all of it is decided here, so that every engine gives equal
//! answers.
//!
//! ```
//! use std::sync::Arc;
//!
//! use fleet_core::{Entity, Fleet, access::{Action, Context}, define_id, modules::Module};
//! use fleet_core::{kernel::{MasterKey, SystemClock, SystemRandom}, store::{Evidence, Query, kind_schema, memory::MemoryStore}};
//! use serde::{Deserialize, Serialize};
//!
//! define_id!(RackId, "rack");
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
//! #[entity(kind = "rack", version = 1)]
//! struct Rack {
//!     #[entity(id)]
//!     id: RackId,
//!     #[entity(text)]
//!     room: String,
//! }
//!
//! const RACK_CREATE: Action = Action::new("rack.create");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fleet_core::kernel::Result<()> {
//! // An embedder's own kinds come with a module.
//! let racks = Module { name: "racks", kinds: vec![kind_schema::<Rack>()], actions: vec![RACK_CREATE], ..Module::default() };
//! let backend = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! let fleet = Fleet::builder(backend, MasterKey::generate(&SystemRandom)).module(racks).open().await?;
//!
//! // A change has an actor and its evidence, reads from one view, and is all or nothing.
//! let store = fleet.store();
//! store
//!     .change(&Context::system("example"), Evidence::Audit(RACK_CREATE), |mut tx| async move {
//!         let rack = Rack { id: RackId::new(tx.now(), &SystemRandom), room: "cellar".into() };
//!         tx.create(&rack)?;
//!         tx.commit().await
//!     })
//!     .await?;
//!
//! let in_cellar = Query::<Rack>::all().filter(Rack::ROOM.eq("cellar"));
//! assert_eq!(store.reader().await?.first(&in_cellar).await?.unwrap().room, "cellar");
//! # Ok(())
//! # }
//! ```

mod chain;
mod contract;
mod digest;
mod error;
mod finding;
pub mod group;
mod lease;
pub mod memory;
pub mod migration;
pub mod plan;
mod query;
mod relocate;
mod schema;
mod switch;
mod typed;
mod upgrade;
mod value;

pub use chain::{ChainBreak, ChainWalk, Gap, Link, link_over_losses, verify_chain};
pub use contract::{
    Backend, Batch, Change, Committed, Doc, Expect, Footprint, Info, Ingest, Key, Latest, Name, Record, Rev, Row,
    RowPage, SchemaReport, Seq, StoredRow, Touched, View, Write,
};
pub use digest::{Digest, ExportDigest};
pub use error::{BoxError, Error, Result};
pub use finding::{Finding, Severity};
pub use lease::Lease;
pub use query::{
    Cursor, Direction, DocPage, Filter, Find, ReadRows, RowCursor, Term, check_filter, check_find, check_keys,
    check_latest, check_latest_page, check_lease, check_places, check_records, check_rows, check_tally, doc_matches,
    matches, row_matches,
};
pub use relocate::{Behind, Layout, Move, Patch, Phase, RecordKey, Relocate, Standing, Step, Tracked, Tracking};
pub use schema::{
    Column, ColumnType, IndexedValues, Indexer, KindSchema, LaneSchema, LatestSchema, Schema, SchemaError, limits,
};
pub use switch::{Pause, Switch};
pub(crate) use typed::Disuse;
pub use typed::{
    CommitObserver, Entity, Evidence, Field, JsonObject, LaneQuery, LaneRow, LatestValue, NOT_SERVING, Query,
    ROW_CONFLICT, Reader, STALE, Store, TAKEN, ToColumn, Tx, Versioned, decode, encode, kind_schema, lane_schema,
    latest_schema, one_value, parse_for_index, sorted_values,
};
pub use upgrade::Prepared;
pub use value::Value;
