//! What server and agent say to each other. They share this and nothing else.
//!
//! ```text
//! enrol      POST /agent/v1/enrol            once, with a token and the device's new key
//! trust      POST /agent/v1/trust            the authorities that are trusted, for anybody
//! certify    POST /agent/v1/certificate      the device's next certificate, for the server's own TLS port
//! link       GET  /agent/v1/link             WebSocket, one frame per text message
//!            POST /agent/v1/exchange         the same frames by polling: frames in, frames out
//! reports    POST /agent/v1/reports/{section}  one inventory section, zstd
//! manifest   POST /agent/v1/manifest         what the device shall be, as the difference to what its agent has
//! escrow     POST /agent/v1/escrow/deposit   a secret that the device made, kept before it changes anything
//!            POST /agent/v1/escrow/conclude  what became of it
//!            POST /agent/v1/escrow/current   those of a subject that are in use, or may be
//! disk_keys  POST /agent/v1/disk-passphrase-tokens/check  whether a passphrase may be chosen by a token
//!            POST /agent/v1/disk-passphrase-tokens/use    one was
//!            POST /agent/v1/disk-keys/tell   which key of the device's own a disk has
//! ```
//!
//! On the server's own TLS port a device proves itself by its certificate, and signs only requests for the next one.
//! Elsewhere every request but `enrol` and `trust` carries an [`Assertion`]: the device proves its key anew each time, and no secret of it is on
//! the server. An agent that polls may agree on a [`SessionKey`] with one assertion and prove the exchanges of the next
//! minutes by it; both sides hold it in memory only, and where it does not count an assertion does. The server proves itself in [`Welcome`], signed over the agent's nonce with the identity key that the
//! enrolment token named. Every [`Offer`] of work is signed with the dispatch key.
//!
//! Unknown members are ignored; unknown kinds of frame become [`AgentFrame::Unknown`] or [`ServerFrame::Unknown`] and are
//! counted. The shapes are pinned by snapshot tests.

mod assertion;
mod certificate;
mod disk_keys;
mod enrolment;
mod escrow;
mod frames;
mod handover;
mod manifest;
mod offer;
mod release;
mod session_key;
mod standing;
mod welcome;

pub use assertion::{Assertion, AssertionError, Claims, MAX_SKEW, body_digest};
pub use certificate::{CertificateAnswer, CertificateBody, CertificateRequest, TrustAnswer, TrustBody};
pub use disk_keys::{
    DiskKeyReceipt, DiskKeyReceiptBody, DiskKeyTold, DiskPassphraseTokenCheck, DiskPassphraseTokenUse,
};
pub use enrolment::{EnrolAnswer, EnrolAnswerBody};
pub use escrow::{
    EscrowAnswer, EscrowConclude, EscrowDeposit, EscrowQuestion, EscrowReceipt, EscrowReceiptBody, HeldSecret,
    HeldSecrets, HeldSecretsBody,
};
pub use frames::{
    Accepted, AgentFrame, Announce, Beat, Bye, Cancel, Exchange, ExchangeAnswer, Finished, Gauges, Hello, Output,
    OutputChunk, OutputStream, Recorded, Refused, Result as RunResult, ServerFrame, Started, Want,
};
pub use handover::{Handover, MAX_HANDOVERS, follows};
pub use manifest::{
    Applied, Failing, GroupPart, MAX_FAILING, MAX_MANIFEST, ManifestAnswer, ManifestAnswerBody, ManifestMark,
    ManifestParts, ManifestRequest, OccurrencePart, Originated, Reverted, Secrets, assemble, difference,
    needed_secrets,
};
pub use offer::{Offer, OfferBody, OfferError};
pub use release::{
    AgentManifest, AgentVersion, AgentVersionError, MAX_AGENT, ManifestError, Sha256Digest, SignedManifest,
};
pub use session_key::{
    KeyAgreement, KeyAnswer, KeyAnswerBody, KeyRequest, Proof, PublicHalf, SESSION_KEY_LIFETIME, SessionKey, agree,
};
pub use standing::{Standing, StandingAnswer, StandingBody, StandingRequest};
pub use welcome::{Welcome, WelcomeBody};

/// The version of the protocol that this code speaks.
pub const PROTOCOL: u32 = 1;
/// The oldest version that it still understands.
pub const PROTOCOL_MIN: u32 = 1;
/// The largest frame, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;
/// The most frames of one exchange.
pub const MAX_FRAMES: usize = 64;
/// The largest body of an exchange, in bytes.
pub const MAX_EXCHANGE: usize = 1024 * 1024;
/// The largest report, in bytes, as sent (compressed).
pub const MAX_REPORT: usize = 8 * 1024 * 1024;
/// The largest report, in bytes, unpacked.
pub const MAX_REPORT_UNPACKED: usize = 64 * 1024 * 1024;
/// The most text of one output chunk, in bytes; with its frame it stays below [`MAX_FRAME`] however it is escaped.
pub const MAX_CHUNK: usize = 8 * 1024;
/// The header that carries an assertion.
pub const ASSERTION_HEADER: &str = "x-fleet-assertion";
/// The header that carries a proof by a session key, in place of an assertion; only for exchanges.
pub const PROOF_HEADER: &str = "x-fleet-proof";
