//! What every other part stands on: ids, time, randomness, errors, pages and sealed secrets.
//!
//! Nothing here does I/O. Time and randomness are values that somebody hands in: below the edge of the program there is
//! no `now()` and no random id, so a test decides both.

pub mod canonical;
mod clock;
pub mod ed25519;
mod error;
mod id;
pub mod merge_patch;
mod network;
mod page;
mod random;
mod seal;
mod time;

pub use clock::{Clock, ManualClock, SystemClock};
pub use ed25519::{PublicKey, Signature, SigningKey, Verifier};
pub use error::{Class, Code, Error, FieldError, INTERNAL, INVALID, PRECONDITION_FAILED, Result};
pub use id::{EntityId, IdParseError, define_id, named_uuid};
pub use network::{Network, NetworkParseError};
pub use page::{
    DEFAULT_LIMIT, MAX_LIMIT, PAGE_LIMIT_INVALID, PAGE_TOKEN_INVALID, Page, PageRequest, PageToken, query_fingerprint,
};
pub use random::{Randomness, SeededRandom, SystemRandom, random_bytes, random_uuid};
pub use seal::{MasterKey, SealError, Sealed, Sealer};
pub use time::Timestamp;
