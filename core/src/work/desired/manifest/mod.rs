//! The manifest: what a device shall be, as one document with a version.
//!
//! What is in it stands in a *content* under the name of its digest, which all devices that shall be the same share; a device's own
//! document is small: version, digest, content, and what is to be taken back on it. So ten thousand devices are written in some twenty
//! commits of small documents, whatever the actions weigh.
//!
//! The version rises with the digest and with nothing else. What cannot be compiled leaves version and content as they are, and a
//! problem beside them: an empty manifest would make a device take back what it has. A device that never had anything assigned has no
//! manifest at all.
//!
//! Earlier versions are rows of lane `manifest_event`: the commit needs a row as evidence anyway, and rows cost no rewriting of the
//! document. A content that no device has any more is kept for thirty days, so that those rows can be followed.

mod compile;
mod confirm;
mod device;
mod keep;
mod marks;
mod model;
mod rules;
mod service;
mod write;

pub(in crate::work::desired) use compile::{Compiled, CompiledContent};
pub(in crate::work::desired) use confirm::Confirmations;
pub(crate) use device::find_occurrences;
pub use keep::Kept;
pub(crate) use keep::{compile_pending, remove_idle_contents};
pub(in crate::work::desired) use marks::Marks;
pub use model::{
    Manifest, ManifestContent, ManifestContentId, ManifestEvent, ManifestEventKind, ManifestGroup, ManifestProblem,
    ManifestProgress, ManifestProgressId, ManifestState, ManifestView, Occurrence, OverruledBy, Round, WhyView,
};
pub use rules::{MAX_CONTENT_BYTES, MAX_OCCURRENCES, MAX_REVERT_BYTES, MAX_REVERTS, manifest_digest};
pub use service::{ManifestService, WhyFilter};
