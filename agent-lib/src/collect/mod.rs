//! Collectors: what the agent reads from its device, one section of the inventory each.
//!
//! - [`Collector`]: one section. [`Collectors`]: all of them, run one after the other, each alone on a thread of low priority
//!   with a time limit, so that one that fails, panics or hangs costs its own section and nothing else.
//! - one file per collector (`os`, `cpu`, `memory`, `mounts`, `interfaces`, `users`, `ports`, `systemd`, `packages`); what they
//!   read is parsed by pure functions beside them (`dpkg`, `apt`, `netlink` and the collectors' own `parse`).
//! - `apt_answer`: what apt has answered, as long as nothing changed that the answer follows from.
//! - `files`, `program`: bounded reading of files and of the output of other programs.
//!
//! Nothing here changes the device or uses the network. Memory is the tight resource: lists are read line by line.

mod apt;
mod apt_answer;
mod context;
mod cpu;
mod dpkg;
mod error;
mod files;
mod interfaces;
mod memory;
mod mounts;
mod netlink;
mod os;
mod packages;
mod ports;
mod program;
mod reboot;
mod runner;
mod systemd;
mod users;
mod virtualisation;

pub use context::CollectContext;
pub use error::CollectError;
pub use runner::{Collector, Collectors, SectionOutcome, collect_all, report};

#[cfg(test)]
mod tests;
