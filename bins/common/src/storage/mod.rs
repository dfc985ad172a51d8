//! Stores by URI: `sqlite:PATH`, `json:PATH`, `postgres://…`. Server and mover both come here, so that they understand the
//! same and show no password.

mod open;
mod uri;

pub use open::{Effort, Opened, Purpose, open};
pub use uri::{StoreUri, UriError};
