//! **fleet-agent-lib**: what an agent is made of.
//!
//! ```text
//! worker.rs     the agent: recovers, collects, keeps a session open
//! enrol.rs      a token becomes an identity; identity.rs keeps it; token_file.rs is where a token may be left
//! escrow.rs     secrets that this device makes, kept by its server before anything is changed
//! farewell.rs   what is remembered of a server that was left
//! link/         sessions with the server, by socket or by polling; backoff.rs between them
//! runs/         runs: taken into the journal, executed at most once, reported until the server has it all
//! operations.rs what can be executed, by executor/; policy/ says what may be
//! actions/      what keeps the device in a state: files, services, packages, accounts
//! desired/      the manifest: fetched, kept on schedule with or without a connection, told of
//! journal/      the durable spool; state.rs holds the folder
//! reports/      the inventory: announced by hashes, sent where wanted; collect/ reads it
//! update/       other versions of the agent: fetched, tried, kept or left
//! limits.rs     what each of its processes takes at most
//! status.rs     what `fleet-agent status` reads; redact.rs takes secrets out of what people pass on
//! gauges.rs     what travels with each beat; clock.rs corrects the device's time
//! ```

pub mod actions;
pub mod backoff;
pub mod clock;
pub mod collect;
pub mod contents;
pub mod credentials;
pub mod desired;
pub mod disk;
pub mod enrol;
pub mod escrow;
pub mod executor;
pub mod farewell;
mod gauges;
pub mod identity;
pub mod journal;
pub mod limits;
pub mod link;
pub mod operations;
pub mod policy;
pub mod redact;
pub mod reports;
pub mod runs;
pub mod state;
pub mod status;
pub mod token_file;
pub mod update;
pub mod worker;

/// The version of this agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
