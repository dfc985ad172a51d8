//! Real processes: server and agent as they are shipped, over a real store and a real shell.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod backup;
mod crash;
mod life;
mod processes;
mod start;
mod tls;
mod upgrade;
mod upgrades;
mod world;
