//! Enrolment: how a machine becomes a device.
//!
//! Somebody makes an [`EnrolmentToken`] and takes its text ([`TokenText`]) to the machine. The agent makes its own key,
//! proves that it has it ([`proof_message`]) and presents the token's secret; in one commit the token's use is counted and
//! the device is there. The server keeps a hash of the secret, never the secret.

mod decision;
mod events;
mod model;
mod pins;
mod proof;
mod refusals;
mod request;
mod service;
#[cfg(test)]
mod tests;
mod text;
mod tokens;

pub use events::*;
pub use model::{EnrolmentToken, EnrolmentTokenId, EnrolmentTokenView, TokenState};
pub use pins::{EnrolmentPin, EnrolmentPinId, MAX_WRONG_TRIES, NewEnrolmentPin, PIN_LIFE, Pin};
pub use proof::{EnrolmentSecret, PREVIOUS_TAG, PROOF_TAG, proof_message};
pub(crate) use refusals::RefusalGate;
pub use request::{EnrolRequest, Enrolled, Machine, Previous};
pub use service::EnrolmentService;
pub(crate) use service::Enrolments;
pub use text::{TOKEN_PREFIX, TokenText, TokenTextError};
pub use tokens::{NewEnrolmentToken, TokenFilter};
