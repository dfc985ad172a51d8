//! The agent's side of the link.
//!
//! [`Http`] sends one signed request; a [`Transport`] carries frames, by socket or by polling; [`Session`] is one session from
//! `hello` to its end; [`Connector`] opens them, [`Admission`] says which offers are taken. A [`Carrier`] takes the place of TCP
//! where there is something else. On the server's own TLS port connections prove the device by its certificate
//! (`own_tls.rs`), and believe servers of the fleet (`verifier.rs`); requests are not signed there.

mod admission;
mod carrier;
mod connector;
mod contents;
mod escrow;
mod http;
mod own_tls;
mod pin;
mod poll;
mod prover;
mod session;
mod socket;
mod standing;
mod transport;
mod verifier;

pub use admission::{Admission, Admitted};
pub use carrier::{Carrier, Post, Reply};
pub use connector::{Connector, Preference};
pub use http::{Http, LinkError};
pub(crate) use http::{client as enrolment_client, read as read_answer, unreachable as unreachable_error};
pub use session::{End, Session};
pub(crate) use standing::is_reason_to_ask;
pub use transport::{Transport, TransportKind};
pub use verifier::Trust;
