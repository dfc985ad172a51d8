//! **fleet-api**: the HTTP face of fleet. Routes and answers only: every rule lives in `fleet-core`.
//!
//! ```text
//! server.rs    everything together, on a listener
//! listen.rs    the port that they are served on
//! state.rs     what handlers share, and who calls
//! routes/      one file for each module of the domain
//! router.rs    the stack that every request passes; Routes in, Router out
//! extract/     what handlers take from a request, with refusals as problem documents
//! problem.rs   one shape for every failure, and the table from code to status
//! codes.rs     the error codes of this crate
//! limits.rs    bounds; tries by address
//! live/        server-sent events
//! health.rs    /healthz and /readyz
//! tls/         ports that end TLS themselves
//! openapi/     the document: normaliser, house rules, pages
//! ```

#![warn(missing_docs)]

pub mod codes;
pub mod extract;
pub mod health;
pub mod limits;
mod listen;
pub mod live;
pub mod openapi;
pub mod problem;
pub mod router;
mod routes;
mod server;
mod state;
pub mod tls;

pub use listen::listen;
pub use routes::{Messages, serve_agent};
pub use server::{
    ApiListener, Ports, agents_router, openapi_document, router, router_with_live_events, serve, serve_on,
};
pub use state::{ApiConfig, ApiState, Caller};
