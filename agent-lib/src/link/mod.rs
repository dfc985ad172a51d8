//! The agent's side of the link.
//!
//! [`Http`] sends one signed request; a [`Transport`] carries frames, by socket or by polling; [`Session`] is one session from
//! `hello` to its end; [`Connector`] opens them.

mod connector;
mod http;
mod poll;
mod prover;
mod session;
mod socket;
mod transport;

pub use connector::{Connector, Preference};
pub use http::{Http, LinkError};
pub(crate) use http::{client as enrolment_client, read as read_answer, unreachable as unreachable_error};
pub use session::{End, Session};
pub use transport::{Transport, TransportKind};
