//! What handlers take from a request. Every refusal is an [`crate::problem::ApiError`], so a problem document with a stable
//! code; no framework text reaches a caller.
//!
//! ```text
//! json.rs         Json<T>            the body; also an answer
//! query.rs        Query<T>, List<T>  parameters; a name that the route does not know is refused
//! page.rs         PageParams         limit and page_token, as every list has them
//! path.rs         Path<T>            ids in the path
//! conditional.rs  IfMatch, ETag      the revision that the caller saw
//! idempotency.rs  IdempotencyKey     repeats of one creation
//! context.rs      RequestContext     request id and client address
//! request_id.rs   RequestId          the name of a request
//! serde_text.rs                      what serde says, in words for callers
//! ```

mod conditional;
mod context;
mod idempotency;
mod json;
mod page;
mod path;
mod query;
mod request_id;
mod serde_text;

pub use conditional::{ETag, IfMatch};
pub use context::{ContextSource, RequestContext};
pub use fleet_core::kernel::{Network, NetworkParseError};
pub use idempotency::{IdempotencyKey, MAX_IDEMPOTENCY_KEY};
pub use json::{Json, MAX_DEPTH, parse_json};
pub use page::PageParams;
pub use path::Path;
pub use query::{List, Query};
pub(crate) use request_id::REQUEST_ID;
pub use request_id::RequestId;
