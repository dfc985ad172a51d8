//! Stores by URI: `sqlite:PATH`, `json:PATH`, `postgres://…`, and places for blobs: `file:PATH`. Server and mover both come here, so
//! that they understand the same and show no password.

mod blobs;
mod open;
mod opener;
mod repair;
mod uri;

pub use blobs::{BlobPlaceError, BlobUri};
pub use fleet_storage_json::Repair;
pub use open::{Effort, Opened, Purpose, open};
pub use opener::Opener;
pub use repair::repair;
pub use uri::{StoreUri, UriError};
