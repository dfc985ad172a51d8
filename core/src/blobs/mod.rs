//! Blobs: what is too large for a document, kept under the name of its content.
//!
//! ```text
//!   model    BlobRef: what documents hold    Blob: what is known of one    BlobHolder: a kind that refers to blobs
//!   service  BlobService: take one in, give one out, refer to one
//!   upload   what is too large for parameters, and named by them
//!   incoming, stream   a blob on its way in, and on its way out, checked
//!   transfer all blobs of a store, copied to another place and proved to be there
//!   clean    those that nobody refers to go after seven days
//! ```
//!
//! A blob is the object `<first two digits>/<BLAKE3>` of a store that the edge hands in. It comes in under another name and is put in
//! its place when all of it is there; on its way out it is hashed again, and its last part is given only when the hash is right.
//!
//! Nothing is counted. Modules say which columns hold digests, and a job asks those columns. A document `blob` stands for each
//! object, written in the commit that refers to it, so that cleaning and referring cannot pass each other: whoever is second is
//! refused.
//!
//! *present* → nobody refers to it for seven days → *leaving* → at the next look its object goes, then its document. While it is
//! leaving nobody can refer to it, and it cannot come in.

mod actions;
mod clean;
mod incoming;
mod model;
mod module;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod transfer;
mod upload;
#[cfg(test)]
mod upload_tests;

pub use actions::{
    BLOB_CREATE, BLOB_DAMAGED, BLOB_LEAVING, BLOB_NOT_FOUND, BLOB_TOO_LARGE, BLOB_TOO_MANY, BLOB_UNAVAILABLE,
    BLOBS_CLEAN, BLOBS_UPLOAD,
};
pub use clean::UNREFERENCED_LIFE;
pub(crate) use clean::remove_blob;
pub(crate) use incoming::Incoming;
pub use model::{Blob, BlobDigest, BlobHolder, BlobId, BlobRef, BlobView};
pub use module::module;
pub use service::BlobService;
pub use stream::BlobStream;
pub use transfer::{BlobTransfer, HeldBlob, Told, copy_blobs, held_blobs, plan_blobs, prove_blobs};
pub use upload::MAX_CONTENT;
pub(crate) use upload::hold_content;
